# SPDX-License-Identifier: MIT
"""Stretches: the pieces of code in which gdb does not stop while it steps by lines."""

from __future__ import annotations

from typing import NamedTuple

import gdb

from ..commands.source import Line, function_blocks, line_at
from ..rsp.private import Stretch

_REACH = 0x1000
"""The number of bytes before and behind an address that are looked at."""

_MANY = 100
"""The number of functions that are remembered."""

Extents = tuple[tuple[int, int], ...]


class _Walked(NamedTuple):
    """The part of a function that was looked at, `start` to before `end`, and its stretches."""

    start: int
    end: int
    stretches: tuple[Stretch, ...]


_walked: dict[tuple[gdb.Objfile, tuple[int, int]], _Walked] = {}


def around(pc: int) -> tuple[Stretch, ...]:
    """The stretches of the function at an address, in their order; none if the address has no line.

    Each is an entry of the line table: gdb takes that for its range wherever it goes on stepping.
    An exception is an inlined call that gdb steps over: there it looks at its frames after each
    instruction (gdb 16 infrun.c process_event_stop_test).  So an entry is cut where such a call
    begins or ends.  The first instruction of the call is a stretch by itself, as gdb may come back
    to it.
    """
    nest, symtab = _nest(gdb.block_for_pc(pc)), gdb.find_pc_line(pc).symtab
    if not nest or symtab is None:
        return ()
    key = (symtab.objfile, nest[-1])  # a new object for each file that gdb reads
    known = _walked.get(key)
    if known is None or not known.start <= pc < known.end:
        if len(_walked) >= _MANY:
            _walked.clear()
        known = _walked[key] = _walk(pc, nest[-1])
    return known.stretches


def _nest(block: gdb.Block | None) -> Extents:
    """Where the functions around a block begin and end: inlined ones first, the real one last."""
    return tuple((one.start, one.end) for one in function_blocks(block))


def _walk(pc: int, function: tuple[int, int]) -> _Walked:
    """Look at the code of a function, from an address in it outwards in both directions."""
    start, end = pc, pc
    found: list[Stretch] = []
    while end < pc + _REACH and _is_in(end, function):
        line = _entry(end)
        found += _cut(line)
        start, end = min(start, line.start), line.end
    while start > pc - _REACH and _is_in(start - 4, function):
        line = _entry(start - 4)._replace(end=start)
        found[:0] = _cut(line)
        start = line.start
    return _Walked(start, end, tuple(found))


def _is_in(pc: int, function: tuple[int, int]) -> bool:
    return _nest(gdb.block_for_pc(pc))[-1:] == (function,)


def _entry(pc: int) -> Line:
    """The entry of the line table for an address; the instruction alone if it has no line."""
    line = line_at(pc)
    return line if line.number else Line(0, pc, pc + 4, None)


def _cut(line: Line) -> list[Stretch]:
    """The stretches of an entry; none if it has no line, or is longer than `_REACH`."""
    if not line.number or line.end - line.start > _REACH:
        return []
    cuts = [line.start]
    block = gdb.block_for_pc(line.start - 4)
    nest = _nest(block)
    for pc in range(line.start, line.end, 4):
        here = gdb.block_for_pc(pc)
        if here == block:
            continue
        before, block, nest = nest, here, _nest(here)
        if nest != before:
            cuts += (pc, pc + 4) if len(nest) > 1 else (pc,)
    places = sorted({line.end, *(cut for cut in cuts if cut < line.end)})
    return list(zip(places, places[1:]))
