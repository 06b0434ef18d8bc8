# SPDX-License-Identifier: MIT
"""What gdb's DAP server (gdb >= 14) hears while commands are ours.

It takes each event of gdb's for one that a client has to know of: each stop for the end of a
request, each breakpoint for the user's.  So its functions for events are no longer connected to
gdb, and are called here: for the user's breakpoints, and once a command for its resume and stop.
They are named as in gdb 16.3 and 18.1, gdb/dap/events.py and gdb/dap/breakpoint.py.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import gdb

if TYPE_CHECKING:
    from .door import CommandsDoor

Find = Callable[[], "CommandsDoor | None"]

_HEARD = {
    "cont": ("gdb.dap.events", "_cont"),
    "stop": ("gdb.dap.events", "_on_stop"),
    "breakpoint_created": ("gdb.dap.breakpoint", "_bp_created"),
    "breakpoint_modified": ("gdb.dap.breakpoint", "_bp_modified"),
    "breakpoint_deleted": ("gdb.dap.breakpoint", "_bp_deleted"),
}
"""The server's functions for events, by the event: module and name."""


class Server:
    """gdb's DAP server, if there is one; else nothing happens here."""

    def __init__(self, find: Find) -> None:
        self._find = find
        self._within = False  # a command of ours that steps
        self._resumed = self._stopped = False  # and what the server has been told of it
        self._calls: dict[str, Callable[[Any], None]] = {}
        hears = {"cont": self._cont, "stop": self._stop}
        for event, (module, name) in _HEARD.items():
            call = getattr(sys.modules.get(module), name, None)
            if call is not None:
                self._calls[event] = call
                registry = getattr(gdb.events, event)
                registry.disconnect(call)
                registry.connect(hears.get(event) or partial(self._changed, event))

    @contextmanager
    def one_stop(self) -> Iterator[None]:
        """A command of ours that steps: it resumes once and stops once, whatever gdb does."""
        self._within, self._resumed, self._stopped = True, False, False
        try:
            yield
            if not self._stopped and "stop" in self._calls:
                self._calls["stop"](_stop_of_a_step({}))
        finally:
            self._within = False

    def _cont(self, event: gdb.ContinueEvent) -> None:
        if not (self._within and self._resumed):
            self._resumed = True
            self._calls["cont"](event)

    def _stop(self, event: gdb.StopEvent) -> None:
        door = self._find()
        if door is not None and not door.reporter.ends_command():
            return
        self._stopped = True
        self._calls["stop"](self._shown(event))

    def _shown(self, event: gdb.StopEvent) -> object:
        """The event without guards."""
        hit = getattr(event, "breakpoints", [])
        users = [one for one in hit if one.visible]
        if hit and users:
            hit[:] = users
        elif hit or (self._within and "reason" not in event.details):
            return _stop_of_a_step(event.details)
        return event

    def _changed(self, what: str, breakpoint: gdb.Breakpoint) -> None:
        if breakpoint.visible:
            self._calls[what](breakpoint)


def _stop_of_a_step(details: dict[str, Any]) -> object:
    """A stop at no breakpoint, as the server takes one."""
    return SimpleNamespace(details={"reason": "end-stepping-range", **details})
