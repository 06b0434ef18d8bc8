# SPDX-License-Identifier: MIT
"""The end of a session: nothing of ours, or of a gdb that died, stays in the guest."""

from __future__ import annotations

import time

from ..engine.engine import Engine
from ..engine.release import NOT_HOME, RELEASE_TIME
from ..errors import SstepError
from ..rsp.breakpoints import GdbBreakpoints
from ..stub.stub import Stub
from .link import WireLink
from .log import DebugLog


class Ending:
    """Ends the session of one layer."""

    def __init__(
        self, link: WireLink, stub: Stub, engine: Engine, gdbs: GdbBreakpoints, log: DebugLog
    ) -> None:
        self._link = link
        self._stub = stub
        self._engine = engine
        self._gdbs = gdbs
        self._log = log

    def let_go(self) -> None:
        """Called before gdb detaches: bring interrupted steps home, and forget the guest."""
        self._collect()
        self._engine.disown()

    def gdb_went(self, *, runs: bool) -> None:
        """Called when gdb has closed its end or died: remove all breakpoints and armed steps.

        runs: whether the guest ran when gdb went.  If so it runs on, else it stays stopped, as with
        a stub alone.  SstepError: not all of it could be done.
        """
        for one in self._gdbs:
            if one.stops_code:
                self._stub.breakpoint(one.removal)
            else:
                self._engine.watch(one.removal, one, inserts=False)
        self._gdbs.clear()
        self._collect()
        if runs:
            self._link.wire.stub.send(b"c")

    def _collect(self) -> None:
        """Bring interrupted steps home before the guest is left alone, or say that it failed."""
        end = time.monotonic() + RELEASE_TIME
        try:
            with self._link.interrupting_at(end):
                home = self._engine.release(lambda: time.monotonic() < end)
        except SstepError as error:
            self._log.line(str(error))
            home = False
        if not home:
            self._log.say(NOT_HOME)
