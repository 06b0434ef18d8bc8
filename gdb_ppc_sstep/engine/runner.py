# SPDX-License-Identifier: MIT
"""The loop around a resume: plant, arm, resume, settle, until there is a stop for gdb."""

from __future__ import annotations

from collections.abc import Callable, Collection

from ..errors import StubRefused, Unsettled
from ..rsp.resume import Resume, StopReply, stopped
from ..stub.stub import Stub
from .alone import Alone
from .ledger import Ledger, Settle, Unarm
from .settle import Settler
from .steps import SRRS, Armed, Lent
from .targets import Target
from .temporary import TemporaryBreakpoints, Undo
from .undo import Undoing
from .watchpoints import WatchRooms


class Runner:
    """Resumes the guest of one engine.

    steps: the number of steps that were done.
    """

    def __init__(
        self,
        stub: Stub,
        ledger: Ledger,
        temporary: TemporaryBreakpoints,
        settler: Settler,
        watch: WatchRooms,
        undoing: Undoing,
        alone: Alone,
        undo: Undo,
        log: Callable[..., None],
    ) -> None:
        self._stub = stub
        self._ledger = ledger
        self._temporary = temporary
        self._settler = settler
        self._windows = watch.windows
        self._matches = watch.matches
        self._undoing = undoing
        self._alone = alone
        self._undo = undo
        self._log = log
        self.steps = 0

    def count(self, steps: int) -> None:
        """Add steps that `run` has not counted; less than 0: that it has counted too soon."""
        self.steps += steps

    def run(self, request: Resume, target: Target | None, *, releasing: bool = False) -> StopReply:
        """Resume the guest until there is a stop for gdb; stops that only we need are settled here.

        releasing: return too at a stop after which nothing is outstanding.  Unsettled: the guest
        has run, and `recover` has to be called until it succeeds.  Any other SstepError: the guest
        has not run, and is as it was.
        """
        if self._ledger.redo:
            # What undoes the step before went out with a question of the plan's.  So the plan is of
            # registers that are not the guest's.
            raise StubRefused("the stub has refused to undo the step before this one")
        must, may = (target.must, target.may) if target else ((), ())
        ran = False
        while True:
            try:
                self._windows.arm(request)
                needed = must + self._ledger.guarded + self._matches.must
                with self._temporary.planted(needed, may + self._matches.may) as wanted:
                    if not ran and target is not None and target.armed is not None:
                        armed = self._arm(target.armed, wanted)
                        if armed is not target.armed:
                            target = target.with_armed(armed)
                    stop = self._stub.run(request)
            except StubRefused as refused:
                armed = target.armed if target else None
                if armed is not None and armed in self._ledger.outstanding:
                    self._settle(_not_going_on(Settle(stopped(armed.thread), target)))
                if ran:
                    raise Unsettled(str(refused)) from refused
                raise
            ran = True
            self._log("stop {}", stop)
            shown = self._settle(Settle(stop, target))
            if shown is None and releasing and not self._ledger.outstanding:
                return stop
            if shown is None and self._stub.interrupted():
                shown = self._settle(_not_going_on(Settle(stop, target)))
            if shown is not None:
                return shown

    def hold(self, armed: Armed) -> None:
        """Change the MSR of a thread that gdb itself is about to resume.  Raises as `_arm`."""
        self._arm(armed, ())

    def let_go(self, thread: bytes | None) -> None:
        """Undo what `hold` changed, at this thread's stop.  Unsettled: it is to be redone."""
        self._settle(Settle(stopped(thread, signal=2), None))  # 2: whatever the real signal was

    def settle_only(self, stop: StopReply) -> StopReply | None:
        """Settle a stop of a guest that gdb itself resumed; the stop for gdb, if any."""
        shown, completed = self._settler.settle(stop, None)
        self.steps += completed
        return shown

    def _settle(self, settle: Settle) -> StopReply | None:
        """Settle a stop; the stop for gdb, None if the guest is to run on.

        Unsettled: the stub refused something, and the ledger has the stop in `redo`.
        """
        ledger = self._ledger
        ledger.must_redo(settle)
        try:
            shown: StopReply | None = settle.stop
            try:
                shown, completed = self._settler.settle(settle.stop, settle.target)
            finally:
                if shown is not None:  # else the guest runs on, mostly with the same breakpoints
                    self._temporary.resumed()
            if shown is None or ledger.outstanding or self._undo is not Undo.DEFER:
                self._stub.send_queued()
            else:
                ledger.defer(settle)
                self._stub.let_wait()
        except StubRefused as refused:
            raise Unsettled(str(refused)) from refused
        ledger.redone(settle)
        self.steps += completed
        return shown

    def _arm(self, armed: Armed, wanted: Collection[int]) -> Armed | None:
        """Change the MSR for a step when all is planted; what was changed, if anything.

        MSR[EE] is left alone unless the stub has taken all breakpoints of `wanted`.  StubRefused:
        SE cannot be set or collected; the MSR is then as before, or will be when `recover` can do
        that.
        """
        self._stub.select(armed.thread)
        self._ledger.arm(armed)
        if armed.overwrites_srrs:
            self._stub.spare(SRRS)
        try:
            self._stub.write("msr", armed.written)
            self._stub.send_queued()
            if not armed.masked or not self._temporary.refused(wanted):
                return armed
            unmasked = armed.unmasked()
            self._stub.write("msr", unmasked.written if unmasked else armed.state)
            self._stub.send_queued()
        except StubRefused:
            self._ledger.must_redo(Unarm(armed))
            self.recover()
            raise
        self._ledger.replace(armed, unmasked)
        return unmasked

    def recover(self) -> None:
        """Do again what the stub refused in the middle of a stop.

        Unsettled: it still refuses.
        """
        redo = self._ledger.redo
        if redo:
            self._log("again, as the stub has refused something")
        while redo:
            item, completed = redo[0], False
            try:
                if isinstance(item, Unarm):
                    self._undoing.unarm(item.armed)
                elif isinstance(item, Lent):
                    self._alone.give_back(item)
                else:
                    shown, completed = self._settler.settle(item.stop, item.target)
                    if shown is None:
                        self._settler.settle(*_not_going_on(item)[:2])
                    completed = completed and not item.counted
                self._stub.send_queued()
            except StubRefused as refused:
                raise Unsettled(str(refused)) from refused
            self.steps += completed
            self._ledger.redone(item)


def _not_going_on(settle: Settle) -> Settle:
    """The same stop, settled as one from which the guest does not run on, as at a Ctrl-C.

    So the changes of a step that a register shows there are undone.
    """
    return settle._replace(stop=stopped(settle.stop.thread, signal=2))
