# SPDX-License-Identifier: MIT
"""What gdb knows of the program at an address: lines, functions, inlined functions, prologues."""

from __future__ import annotations

import itertools
import re
from collections.abc import Container
from typing import NamedTuple

import gdb

from . import placed, skips, versions


class Line(NamedTuple):
    """An entry of the line table.

    number: 0 where there is no line information.  start, end: the first address that it covers, and
    the one after the last.  file: tells one source file from another.
    """

    number: int
    start: int
    end: int
    file: str | None

    def __contains__(self, pc: object) -> bool:
        return isinstance(pc, int) and self.start <= pc < self.end


class Inlined(NamedTuple):
    """A call that was compiled into its caller: the function's code, and the line of the call.

    entry: where the call begins, which need not be the lowest of its addresses.
    """

    name: str
    start: int
    end: int
    entry: int
    call: tuple[int, str | None]


def line_at(pc: int) -> Line:
    """The entry of the line table for an address."""
    sal = gdb.find_pc_line(pc)
    if sal.line == 0 or sal.symtab is None or sal.last is None:
        return Line(0, pc, pc, None)
    return Line(sal.line, sal.pc, sal.last + 1, sal.symtab.fullname())


class Skips:
    """What `step` is to pass by, as it is set when a command begins."""

    def __init__(self) -> None:
        self._rows = tuple(skips.parse(gdb.execute("info skip", to_string=True)))

    def covers(self, block: gdb.Block) -> bool:
        """Whether a function, inlined or not, is to be passed by."""
        function = block.function if self._rows else None
        if function is None or function.symtab is None:
            return False
        files = (function.symtab.filename, function.symtab.fullname())
        return any(row.covers(str(function), files) for row in self._rows)

    def covers_inlined(self, pc: int, hidden: int, outer: int) -> bool:
        """Whether one of the inlined calls at pc is to be passed by, but for the innermost ones
        that are hidden and those that are `outer`.

        gdb/infrun.c inline_frame_is_marked_for_skip.
        """
        if not self._rows:
            return False
        inlined = _blocks(pc)[:-1]
        return any(map(self.covers, inlined[hidden : len(inlined) - outer]))

    def covers_function(self, pc: int) -> bool:
        """Whether the function with the code at pc is to be passed by."""
        blocks = _blocks(pc) if self._rows else []
        return bool(blocks) and self.covers(blocks[-1])


_statements: dict[str, dict[int, bool]] = {}


def is_statement(pc: int) -> bool:
    """Whether an entry of the line table at an address is the start of a statement.

    gdb's Python API does not tell; `maintenance info line-table` does.
    """
    symtab = gdb.find_pc_line(pc).symtab
    if symtab is None:
        return False
    key = symtab.fullname()
    known = _statements.get(key, {})
    if pc not in known:
        name = re.escape(symtab.filename)
        text = gdb.execute(f"maintenance info line-table {name}$", to_string=True)
        known = _statements[key] = {}
        column = 0
        for line in text.splitlines():
            row = re.match(r"\d+ +\d+ +0x([0-9a-f]+) ", line)
            if row is not None:
                address = int(row[1], 16)
                known[address] = known.get(address, False) or line[column : column + 1] == "Y"
            elif line.startswith("INDEX "):  # how many columns come before depends on gdb
                column = line.index("IS-STMT")
    return known.get(pc, True)


def function_blocks(block: gdb.Block | None) -> list[gdb.Block]:
    """The blocks of functions from a block outwards: inlined ones first, the real one last.

    A function that is declared within another one, as a lambda is, has code outside of that.
    """
    found: list[gdb.Block] = []
    while block is not None and not block.is_static and not block.is_global:
        if block.function is not None:
            if found and not block.start <= found[-1].start < block.end:
                break
            found.append(block)
        block = block.superblock
    return found


def _blocks(pc: int) -> list[gdb.Block]:
    return function_blocks(gdb.block_for_pc(pc))


def _inlined(block: gdb.Block, entry: int) -> Inlined:
    symbol = block.function  # of an inlined function: its line is that of the call
    assert symbol is not None
    file = symbol.symtab.fullname() if symbol.symtab is not None else None
    return Inlined(str(symbol), block.start, block.end, entry, (symbol.line, file))


def inlined_at(pc: int) -> tuple[Inlined, ...]:
    """The inlined calls around an address, innermost first."""
    blocks = _blocks(pc)[:-1]
    return tuple(map(_inlined, blocks, _entries(pc, blocks)))


def _entries(pc: int, blocks: list[gdb.Block]) -> list[int]:
    """Where the inlined calls around an address begin, innermost first.

    Each gdb that goes by DW_AT_entry_pc has `maintenance info blocks`, which tells it.
    """
    if not blocks or not versions.knows_entries():
        return [block.start for block in blocks]
    text = gdb.execute(f"maintenance info blocks {pc:#x}", to_string=True)
    found = re.findall(r"^  entry pc: (0x[0-9a-f]+)\n(?=  inline function: )", text, re.MULTILINE)
    return [int(entry, 16) for entry in reversed(found)]


def beside(pc: int, other: int) -> int:
    """How many of the innermost of `inlined_at` pc are not around the other address."""
    around = inlined_at(other)
    return len(tuple(itertools.takewhile(lambda one: one not in around, inlined_at(pc))))


def entered_at(pc: int, shown: Container[str] = ()) -> int:
    """How many of `inlined_at` begin at the address: gdb hides those after a step by lines.

    shown: the functions of breakpoints there, which it does not hide; empty for the innermost one.
    gdb/inline-frame.c skip_inline_frames and block_starting_point_at.
    """
    if "" in shown:
        return 0
    inlined = inlined_at(pc)
    before = set(inlined_at(pc - 1))
    count = 0
    while count < len(inlined) and (inlined[count].entry == pc or inlined[count] not in before):
        if inlined[count].name in shown:
            break
        count += 1
    return count


def hidden_at(pc: int) -> int:
    """How many inlined calls begin where gdb has stopped and are not yet shown as frames."""
    hidden = len(inlined_at(pc))
    frame = gdb.newest_frame() if hidden else None
    while frame is not None and frame.type() == gdb.INLINE_FRAME:
        hidden, frame = hidden - 1, frame.older()
    return hidden


def names_place(name: str, pc: int) -> bool:
    """Whether one of the places that gdb knows of a function is pc."""
    try:
        found = gdb.decode_line(name)[1] or ()
    except gdb.error:
        return False
    return any(sal.pc == pc for sal in found)


def function_at(pc: int) -> str | None:
    """What tells the function with symbols at an address from others; None without."""
    blocks = _blocks(pc)
    return f"{blocks[-1].function}@{blocks[-1].start:#x}" if blocks else None


def function_entry(pc: int) -> int | None:
    """Where the function with symbols at an address is entered; None without."""
    blocks = _blocks(pc)
    return _entry(blocks[-1]) if blocks else None


def _entry(block: gdb.Block) -> int:
    """Where a function is entered: a part of it may be below that (gdb/block.h BLOCK_ENTRY_PC)."""
    assert block.function is not None
    address = block.function.value().address
    return int(block.start if address is None else address)


def until_end(pc: int) -> int:
    """Behind which address gdb's `until` from pc may end: that of a line, with what is no statement
    of it.
    """
    line = line_at(pc)
    following = line_at(line.end)
    while following[::3] == line[::3] and not is_statement(following.start):
        following = line_at(following.end)
    return following.start


def is_assembler(pc: int) -> bool:
    """Whether the code at an address is an assembler's, or has no debugging information."""
    symtab = gdb.find_pc_line(pc).symtab
    return symtab is None or symtab.filename.endswith((".S", ".s"))


def symbol_at(pc: int) -> str | None:
    """The name of the symbol before an address, with or without debugging information."""
    text = gdb.execute(f"info symbol {pc:#x}", to_string=True)
    found = re.match(r"(\S+)(?: \+ \d+)? in section ", text)
    return found[1] if found else None


def body_of(entry: int) -> int:
    """Where a step into the function with this entry stops: after its prologue.

    gdb/symtab.c skip_prologue_using_sal and gdb/infrun.c handle_step_into_function.
    """
    blocks = _blocks(entry)
    if not blocks:
        return entry
    block = blocks[-1]
    if is_assembler(entry):
        return entry
    body = _after_prologue(block)
    if body is None:
        body = _breakpoint_address(block)
    body = max(entry, body)
    line = line_at(body)
    if line.number and line.start != body and line.end < block.end:
        return line.end
    return body


def _after_prologue(block: gdb.Block) -> int | None:
    """By the line table; None where that does not tell."""
    start = _entry(block)
    line = line_at(start)
    if not line.number:
        return None
    symtab = gdb.find_pc_line(start).symtab
    assert symtab is not None
    if sum(1 for entry in symtab.linetable() if entry.pc == start) > 1:
        return start  # two entries at the same address: no prologue
    if line.end >= block.end:
        return None
    while line.end < block.end:
        following = line_at(line.end)
        if not following.number or following.number >= line.number or following.file != line.file:
            break
        if inlined_at(line.end):
            break
        line = following
    return line.end if line.end < block.end else line.start


def _breakpoint_address(block: gdb.Block) -> int:
    """Where gdb puts a breakpoint at a function."""
    symbol = block.function
    assert symbol is not None
    probe = gdb.Breakpoint(
        source=symbol.symtab.fullname(), function=str(symbol.name), internal=True
    )
    try:
        probe.enabled = False
        text = placed.said("maintenance info breakpoints")
        for row in re.finditer(rf"^{probe.number}(?:\.\d+)?\s.*?(0x[0-9a-f]+)", text, re.MULTILINE):
            if block.start <= int(row[1], 16) < block.end:
                return int(row[1], 16)
    finally:
        probe.delete()
    return _entry(block)
