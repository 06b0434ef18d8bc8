# SPDX-License-Identifier: MIT
"""A snapshot as a line of text, and back: the record that survives a killed session.  Pure."""

from __future__ import annotations

import functools
from typing import Any

from ..errors import BadPacket
from ..ppc import msr
from ..ppc.dawr import Window
from ..ppc.isa import decode
from .ledger import Change, Phase, Snapshot, Watched, lent_of, steps_of, windows_of
from .steps import Armed, Found, Lent, Task


def written(snapshot: Snapshot) -> str:
    """The record of a snapshot; empty where nothing of ours is in the guest."""
    if not snapshot:
        return ""
    told = [_text(one.armed, one.found) for one in steps_of(snapshot)]
    told += [repr((thread, *window)) for thread, window in windows_of(snapshot)]
    told += [repr((*lent, None)) for lent in lent_of(snapshot)]
    return f"[{', '.join(told)}]"


def read(text: str) -> Snapshot:
    """The snapshot that `written` made a record of.  BadPacket: the text is no such record."""
    if not text:
        return ()
    import ast  # it takes long, and is seldom needed

    try:
        return tuple(_change(one) for one in ast.literal_eval(text))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise BadPacket("the record of the killed session cannot be read") from None


@functools.lru_cache(maxsize=16)
def _text(armed: Armed, found: Found | None) -> str:
    thread, instruction, *others, task = armed
    step = (thread, instruction.word, *others, task and tuple(task))
    return repr((step, found and tuple(found)))


def _change(fields: tuple[Any, ...]) -> Change | Watched | Lent:
    if len(fields) == 4:
        thread, registers, places, _ = fields
        values = tuple((_name(name), _unsigned(value)) for name, value in registers)
        return Lent(_thread(thread), values, tuple(_unsigned(one) for one in places))
    if len(fields) == 3:
        thread, address, control = fields
        return Watched(_thread(thread), Window(_unsigned(address), _unsigned(control)))
    step, found = fields
    if found is not None:
        thread, srr0, srr1 = found
        found = Found(_thread(thread), _unsigned(srr0), _unsigned(srr1))
    return Change(_armed(step), Phase.ARMED, found)


def _armed(fields: tuple[Any, ...]) -> Armed:
    thread, word, pc, state, written, srr0, srr1, vector, successors, task = fields
    if task is not None:
        stack, space = task
        task = Task(_unsigned(stack), None if space is None else _unsigned(space))
    return Armed(
        _thread(thread),
        decode(_unsigned(word) & msr.MASK32),
        _unsigned(pc),
        _unsigned(state),
        _unsigned(written),
        _unsigned(srr0),
        _unsigned(srr1),
        None if vector is None else _unsigned(vector),
        tuple(_unsigned(one) for one in successors),
        task,
    )


def _unsigned(value: object) -> int:
    if not isinstance(value, int) or not 0 <= value <= msr.MASK64:
        raise ValueError(f"{value!r} is no unsigned 64-bit integer")
    return value


def _thread(value: object) -> bytes | None:
    if value is not None and not isinstance(value, bytes):
        raise ValueError(f"{value!r} is no thread-id")
    return value


def _name(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no register")
    return value
