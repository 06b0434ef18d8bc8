# SPDX-License-Identifier: MIT
"""The steps that an engine is in the middle of, as a line for those who outlive it.  Pure."""

from __future__ import annotations

import functools
import json
from typing import Any

from .engine import Armed, Collecting, Engine, Lost, Task
from .isa import Instruction, decode


def written(engine: Engine) -> str:
    """The record of an engine, empty where nothing is in the middle."""
    if not engine.outstanding and engine.collecting is None:
        return ""
    outstanding = ", ".join(map(_text, engine.outstanding))
    collecting = "null"
    if engine.collecting is not None:
        armed, *others = engine.collecting
        collecting = f"[{_text(armed)}, {json.dumps(_plain(tuple(others)))}]"
    return f"[[{outstanding}], {collecting}]"


def read(text: str) -> Lost | None:
    """What `written` has told, None for an empty record."""
    if not text:
        return None
    outstanding, collecting = json.loads(text)
    return Lost(
        tuple(_armed(one) for one in outstanding),
        collecting and _collecting(*collecting),
    )


@functools.lru_cache(maxsize=16)
def _text(armed: Armed) -> str:
    return json.dumps(_plain(armed))


def _plain(value: Any) -> Any:
    if isinstance(value, Instruction):
        return value.word
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return value


def _thread(name: str | None) -> bytes | None:
    return None if name is None else name.encode()


def _collecting(armed: list[Any], others: list[Any]) -> Collecting:
    thread, *srrs = others
    return Collecting(_armed(armed), _thread(thread), *srrs)


def _armed(fields: list[Any]) -> Armed:
    thread, word, *numbers, successors, task = fields
    task = task and Task(*task)
    return Armed._make([_thread(thread), decode(word), *numbers, tuple(successors), task])
