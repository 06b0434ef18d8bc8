# SPDX-License-Identifier: MIT
"""Everything that happens at an event of gdb's, and all connecting to events."""

from __future__ import annotations

import gdb

from . import sessions


def _on_stop(_event: gdb.StopEvent) -> None:
    # `target remote` ends with a stop, also in scripts and front ends that never prompt.
    sessions.look()


def _before_prompt(*_nothing: object) -> None:
    sessions.look()
    sessions.reap()


def _on_connection_removed(event: gdb.ConnectionEvent) -> None:
    sessions.removed(event.connection.num)


def connect() -> None:
    """Connect the handlers, and look at what is connected already."""
    gdb.events.stop.connect(_on_stop)
    gdb.events.before_prompt.connect(_before_prompt)
    gdb.events.connection_removed.connect(_on_connection_removed)
    sessions.look()
