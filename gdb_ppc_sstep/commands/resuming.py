# SPDX-License-Identifier: MIT
"""What is done when gdb is about to resume the guest: guards, and the step off a breakpoint.

gdb tells of each resume when it has decided how it will begin it (gdb/infrun.c proceed:
set_running, of which gdb.events.cont tells).  So every command is covered, and MI's -exec-continue,
which no hook comes before.  What is done then is in `Guards`.
"""

from __future__ import annotations

from collections.abc import Callable

import gdb

from . import acting
from .guards import Guards
from .link import interrupts_held
from .view import selected, stopped_at


class Resuming:
    """What one door does then, and where gdb has last seen the guest stop."""

    def __init__(self, guards: Guards, busy: Callable[[], bool]) -> None:
        """busy: whether the guest is being moved behind gdb's back."""
        self._guards = guards
        self._busy = busy
        self._jumps = False
        self._stopped: tuple[tuple[int, int, int] | None, int | None] = None, None

    def at_stop(self) -> None:
        """gdb has stopped, also where that is for a command of ours."""
        try:
            self._stopped = selected(), int(gdb.parse_and_eval("$pc"))
        except gdb.error:
            self._stopped = None, None

    def at_rest(self) -> None:
        """gdb is at rest, perhaps by an error in the middle of a command, and not by a stop."""
        self._stopped = selected(), stopped_at()

    @property
    def stopped_at(self) -> int | None:
        """Where gdb has last seen the selected thread stop; None if it has not."""
        thread, pc = self._stopped
        return pc if thread == selected() else None

    def before_jump(self) -> None:
        """What comes is a `jump`, which hits a breakpoint where it goes to."""
        self._jumps = True

    def begin(self) -> None:
        """gdb is about to resume the guest."""
        try:
            with interrupts_held():
                self._prepare()
        except KeyboardInterrupt:  # gdb resumes nevertheless
            acting.interrupt()

    def _prepare(self) -> None:
        jumps, self._jumps = self._jumps, False
        if self._busy():
            return
        self._guards.refresh(resuming=True)
        here = self.stopped_at
        if here is not None and not jumps:
            self._guards.leave(here)
