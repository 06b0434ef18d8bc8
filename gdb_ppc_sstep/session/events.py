# SPDX-License-Identifier: MIT
"""The handlers of all events of gdb's, and what connects them."""

from __future__ import annotations

import gdb

from ..commands import acting, overrides
from . import hooks, lines, sessions


def _on_stop(event: gdb.StopEvent) -> None:
    try:
        overrides.note_stop(event)
        lines.forget()
        sessions.stopped()
    except KeyboardInterrupt:
        acting.interrupt()
    # `target remote` ends with a stop, also in scripts and front ends that never prompt.
    # Where a breakpoint has commands any `gdb.execute` would execute them now, and gdb would not
    # delete a temporary breakpoint that was hit as well (gdb/python/python.c execute_gdb_command).
    hit = getattr(event, "breakpoints", ())
    if not any(one.is_valid() and one.commands for one in hit):
        sessions.look()


def _on_resume(_event: gdb.ContinueEvent) -> None:
    overrides.note_resume(sessions.commands_door)


def _before_prompt(*_nothing: object) -> None:
    try:
        lines.forget()
        overrides.before_prompt()
        sessions.before_prompt()
    except KeyboardInterrupt:
        acting.drop()


def _before_prompt_again(*_nothing: object) -> None:
    """Ctrl-C may have ended `_before_prompt` before its first line; commands would still act then,
    and resume the guest behind the prompt.
    """
    overrides.before_prompt()


def _on_connection_removed(event: gdb.ConnectionEvent) -> None:
    sessions.removed(event.connection.num)


def _on_breakpoint_created(breakpoint: gdb.Breakpoint) -> None:
    if breakpoint.visible:
        hooks.warn_of(breakpoint, sessions.door_at_rest)


def _on_exit(_event: gdb.GdbExitingEvent) -> None:
    door = sessions.door_at_rest()
    if door is not None:
        door.leaving()


def connect() -> None:
    """Connect the handlers to gdb's events, and look at the connection that is there already."""
    gdb.events.stop.connect(_on_stop)
    gdb.events.cont.connect(_on_resume)
    gdb.events.before_prompt.connect(_before_prompt)
    gdb.events.before_prompt.connect(_before_prompt_again)
    gdb.events.connection_removed.connect(_on_connection_removed)
    gdb.events.gdb_exiting.connect(_on_exit)
    gdb.events.breakpoint_created.connect(_on_breakpoint_created)
    sessions.loaded()
