# SPDX-License-Identifier: MIT
"""The steps that an engine is in the middle of, as a line for those who outlive it.  Pure."""

from __future__ import annotations

import functools
from typing import Any

from .engine import Armed, Collecting, Engine, Lost, Task
from .isa import decode


def written(engine: Engine) -> str:
    """The record of an engine, empty where nothing is in the middle."""
    middle = engine.middle
    if not middle.outstanding and middle.collecting is None:
        return ""
    outstanding = ", ".join(map(_text, middle.outstanding))
    collecting = "None"
    if middle.collecting is not None:
        armed, *others = middle.collecting
        collecting = f"({_text(armed)}, {tuple(others)})"
    return f"([{outstanding}], {collecting})"


def read(text: str) -> Lost | None:
    """What `written` has told, None for an empty record."""
    if not text:
        return None
    import ast  # seldom, and it takes long

    outstanding, collecting = ast.literal_eval(text)
    return Lost(
        tuple(map(_armed, outstanding)),
        collecting and Collecting(_armed(collecting[0]), *collecting[1]),
    )


@functools.lru_cache(maxsize=16)
def _text(armed: Armed) -> str:
    thread, instruction, *others, task = armed
    return repr((thread, instruction.word, *others, task and tuple(task)))


def _armed(fields: tuple[Any, ...]) -> Armed:
    thread, word, *others, task = fields
    return Armed._make((thread, decode(word), *others, task and Task(*task)))
