# SPDX-License-Identifier: MIT
"""What the doors of connections that are gone have left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from .doors import Door


class Last(NamedTuple):
    """The connection that ended last.

    where: that of the stub.  told: see `Door.last`.  log: see `Door.log_end`.
    """

    where: str | None
    told: dict[str, Any] | None
    log: str


_killed: dict[str | None, str] = {}  # what doors were in the middle of, by where the stub is
_last: Last | None = None


def keep(where: str | None, door: Door) -> None:
    """The connection of a door is gone, and nothing of the door runs any more."""
    global _last
    _last = Last(where, door.last(), door.log_end())
    record = door.record()
    if record:
        _killed[where] = record


def last() -> Last | None:
    """The connection that ended last, None if none has."""
    return _last


def record(where: str | None) -> str:
    """The record of a session with that stub that was killed, or empty (see `engine.record`)."""
    return _killed.get(where, "")


def cleaned(where: str | None) -> None:
    """What that session has left is undone."""
    _killed.pop(where, None)
