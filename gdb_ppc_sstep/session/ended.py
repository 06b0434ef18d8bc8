# SPDX-License-Identifier: MIT
"""What the doors of closed connections have left: a last report, and records of kills."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from .doors import Door


class Last(NamedTuple):
    """The connection that ended last.

    where: gdb's `details` of it, which say where the stub is.  told: see `Door.last`.  log: see
    `Door.log_end`.
    """

    where: str | None
    told: dict[str, Any] | None
    log: str


_killed: dict[str | None, str] = {}  # the records of killed sessions, by where the stub is
_last: Last | None = None


def keep(where: str | None, door: Door) -> None:
    """Keep what a door has left: its connection is closed, and nothing of it runs any more."""
    global _last
    _last = Last(where, door.last(), door.log_end())
    record = door.record()
    if record:
        _killed[where] = record


def last() -> Last | None:
    """The connection that ended last, None if none has."""
    return _last


def record(where: str | None) -> str:
    """The record (see `engine.record`) of a killed session with the stub there, or empty."""
    return _killed.get(where, "")


def cleaned(where: str | None) -> None:
    """Forget that record, as what the session had left in the guest is undone."""
    _killed.pop(where, None)
