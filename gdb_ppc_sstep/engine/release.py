# SPDX-License-Identifier: MIT
"""Before the stub is let go: lets the guest run until nothing of ours is on its way in it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from ..errors import StubRefused
from ..rsp.resume import Action, Resume
from ..stub.stub import Stub
from .ledger import Ledger
from .runner import Runner
from .temporary import TemporaryBreakpoints
from .watchpoints import WatchRooms

RELEASE_TIME = 2.0
"""Seconds for which the guest runs on, at the most, so that an interrupted step comes home."""

NOT_HOME = (
    "ppc-sstep: a step was interrupted in a handler of the guest and has not come back; the guest "
    "may see its Trace interrupt"
)


class Release:
    """Brings the interrupted steps and the matches of one engine home."""

    def __init__(
        self,
        stub: Stub,
        ledger: Ledger,
        temporary: TemporaryBreakpoints,
        runner: Runner,
        watch: WatchRooms,
    ) -> None:
        self._stub = stub
        self._ledger = ledger
        self._temporary = temporary
        self._runner = runner
        self._watch = watch

    def release(self, going_on: Callable[[], bool]) -> bool:
        """Let the guest run until no step is outstanding, and no vCPU has a window or a match.

        Returns whether no step is outstanding.  going_on() is asked before each try; False ends it.
        The caller has its link interrupt a try that takes too long.
        """
        with suppress(StubRefused):
            self._stub.send_queued()
        self._runner.recover()
        run_on = Resume((Action(b"c"),))
        while True:
            quiet = self._watch.let_go()
            home = not self._ledger.outstanding
            if (home and quiet) or not going_on():
                self._temporary.quiesce()
                return home
            self._runner.run(run_on, None, releasing=True)
