# SPDX-License-Identifier: MIT
"""The steps that an engine is in the middle of, as a line for those who outlive it.  Pure."""

from __future__ import annotations

import functools
from typing import Any

from ..errors import BadPacket
from ..ppc import msr
from ..ppc.isa import decode
from .engine import Armed, Collecting, Snapshot, Task


def written(middle: Snapshot) -> str:
    """The record of an engine's changes in the guest, empty where there are none."""
    if not middle.outstanding and middle.collecting is None:
        return ""
    outstanding = ", ".join(map(_text, middle.outstanding))
    collecting = "None"
    if middle.collecting is not None:
        armed, *others = middle.collecting
        collecting = f"({_text(armed)}, {tuple(others)})"
    return f"([{outstanding}], {collecting})"


def read(text: str) -> Snapshot | None:
    """What `written` has told, None for an empty record.  BadPacket: it tells nothing that fits."""
    if not text:
        return None
    import ast  # seldom, and it takes long

    try:
        outstanding, collecting = ast.literal_eval(text)
        return Snapshot(
            tuple(_armed(one) for one in outstanding),
            None if collecting is None else _collecting(*collecting),
        )
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise BadPacket("the record of the killed session cannot be read") from None


@functools.lru_cache(maxsize=16)
def _text(armed: Armed) -> str:
    thread, instruction, *others, task = armed
    return repr((thread, instruction.word, *others, task and tuple(task)))


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


def _collecting(armed: tuple[Any, ...], others: tuple[Any, ...]) -> Collecting:
    thread, srr0, srr1 = others
    return Collecting(_armed(armed), _thread(thread), _unsigned(srr0), _unsigned(srr1))


def _unsigned(value: object) -> int:
    if not isinstance(value, int) or not 0 <= value <= msr.MASK64:
        raise ValueError(f"{value!r} is no unsigned 64-bit integer")
    return value


def _thread(value: object) -> bytes | None:
    if value is not None and not isinstance(value, bytes):
        raise ValueError(f"{value!r} is no thread-id")
    return value
