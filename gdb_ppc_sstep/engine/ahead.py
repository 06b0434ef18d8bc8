# SPDX-License-Identifier: MIT
"""Begins the next step of the same command while gdb is busy with the stop."""

from __future__ import annotations

import functools
from collections.abc import Callable

from ..errors import SstepError, StubGone
from ..rsp.breakpoints import GdbBreakpoints
from ..rsp.resume import Resume
from ..stub.stub import Stub
from .ledger import Ledger
from .planner import Planner, Step
from .steps import SRRS
from .temporary import TemporaryBreakpoints, Undo
from .watching import Watching


class Ahead:
    """Plans and arms steps that gdb has not asked for yet."""

    def __init__(
        self,
        stub: Stub,
        ledger: Ledger,
        temporary: TemporaryBreakpoints,
        planner: Planner,
        gdbs: GdbBreakpoints,
        watching: Watching,
        undo: Undo,
        log: Callable[..., None],
    ) -> None:
        self._stub = stub
        self._ledger = ledger
        self._temporary = temporary
        self._planner = planner
        self._gdbs = gdbs
        self._watching = watching
        self._undo = undo
        self._log = log

    def prepare(self, request: Resume, *, arm: bool) -> None:
        """See `Engine.prepare`."""
        action = request.stepping
        if action is None or action.verb != b"s" or action.thread != self._stub.thread:
            return
        if self._watching.over is not None:
            return  # gdb is only stepping over an access: it will ask for something else
        if self._ledger.redo:
            return  # the stub has refused writes: the registers are not yet those after the step
        try:
            if self._gdbs.code_at(self._stub.read("pc")):
                return  # gdb will remove this breakpoint before it asks for the step
            step = self._planner.plan_ahead(request, action.thread)
            if arm and self._undo is Undo.DEFER:
                self._arm(step)
        except StubGone:
            raise
        except SstepError as error:
            self._log("not prepared: {}", error)  # the step itself will raise it again

    def _arm(self, step: Step) -> None:
        """Write the MSR for a step now, and defer the write that undoes it."""
        armed, target, stub = step.target.armed, step.target, self._stub
        if armed is None or armed.vector is None or step.blocking:
            return
        if self._ledger.outstanding:
            return
        with self._temporary.planted(target.must, target.may):
            stub.write("msr", armed.written, reads_back=True)
        self._ledger.arm_ahead(armed)
        stub.send_ahead(but=SRRS if armed.overwrites_srrs else ())
        stub.write("msr", armed.state, reads_back=True)
        self._temporary.remove_all()
        stub.defer(functools.partial(self._ledger.sent, armed))
