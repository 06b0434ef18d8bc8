# SPDX-License-Identifier: MIT
"""Settles one stop: whose it is, which changes of ours it shows, and whether gdb is to see it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from ..errors import StubGone, StubRefused
from ..ppc import msr
from ..rsp.breakpoints import GdbBreakpoints
from ..rsp.resume import StopReply, stopped
from ..stub.stub import Stub
from .ledger import Ledger
from .matches import Matches
from .past import Past
from .prefetch import Prefetch
from .steps import CONTEXT, Armed, Found, thread_name
from .targets import Hit, Target, Verdict
from .undo import Undoing
from .vcpu import Vcpu

# Bytes by which r1 in the handler of a signal may be below the r1 of an interrupted step.
_SIGNAL_FRAME = 1 << 16


class Settled(NamedTuple):
    """What settling a stop ended with.

    shown: the stop for gdb, None where the guest is to run on.  completed: whether the target's
    step has ended with it.
    """

    shown: StopReply | None
    completed: bool


class Settler:
    """Settles the stops of one engine."""

    def __init__(
        self,
        stub: Stub,
        vcpu: Vcpu,
        ledger: Ledger,
        gdbs: GdbBreakpoints,
        undoing: Undoing,
        past: Past,
        matches: Matches,
        prefetch: Prefetch,
        log: Callable[..., None],
    ) -> None:
        self._stub = stub
        self._vcpu = vcpu
        self._ledger = ledger
        self._gdbs = gdbs
        self._undoing = undoing
        self._past = past
        self._matches = matches
        self._prefetch = prefetch
        self._log = log

    def settle(self, stop: StopReply, target: Target | None) -> Settled:
        """Decide whose stop this is, and undo the changes of ours that it shows.

        It may be called again for the same stop, if the stub refused something in the middle.
        """
        ledger = self._ledger
        if stop.payload[:1] in (b"W", b"X"):
            ledger.gone()
            with suppress(StubGone, StubRefused):
                self._stub.send_queued()
            return Settled(stop, False)
        again = ledger.collecting
        if again is not None:
            assert again.found is not None
            self._stub.select(again.found.thread)
            self._undoing.collect(again.armed, again.found)
        armed = target.armed if target else None
        shown: StopReply | None = stop
        elsewhere: list[bytes | None] = []
        if ledger.outstanding:
            shown, elsewhere = self._collect_all(stop, target)
        elif target is not None and stop.is_breakpoint:
            self._stub.select(stop.thread)
            self._prefetch.at_stop(target, [])
        if shown is stop and stop.is_breakpoint and self._matches.must:
            shown = self._watched(stop, target)
        if shown is stop and target is not None and self._is_passing(stop, target):
            pc, state = self._stub.read("pc"), self._stub.read("msr")
            shown = self._past.step_past(stop.thread, pc, state)
        if shown is None and armed is not None and armed not in ledger.outstanding:
            shown = stopped(armed.thread)  # another vCPU's stop hid the end of the step
        if shown is None:
            return Settled(None, False)
        for thread in elsewhere:
            self._stub.select(thread)
            pc, state = self._stub.read("pc"), self._stub.read("msr")
            self._undoing.disarm(target, thread, pc, state)
        ledger.drop_masked()
        self._stub.select(shown.thread)  # gdb counts on the stop reply's thread being selected
        return Settled(shown, target is not None and armed not in ledger.outstanding)

    def _collect_all(
        self, stop: StopReply, target: Target | None
    ) -> tuple[StopReply | None, list[bytes | None]]:
        """Collect the steps whose Trace interrupt has come.

        Gives the stop for gdb (None: the guest is to run on), and the threads that do not stand at
        the vector of an outstanding step.
        """
        ledger, armed = self._ledger, target.armed if target else None
        shown: StopReply | None = stop
        elsewhere: list[bytes | None] = []
        outstanding = ledger.outstanding
        for thread in dict.fromkeys([stop.thread, *(one.thread for one in outstanding)]):
            outstanding = ledger.outstanding
            if not outstanding:
                break
            self._stub.select(thread)
            self._prefetch.at_stop(target, outstanding)
            state, pc = self._stub.read("msr"), self._stub.read("pc")
            if pc not in [one.vector for one in outstanding]:
                elsewhere.append(thread)
                continue
            srrs = self._vcpu.saved_by(msr.TRACE)
            if srrs is None and thread in [one.thread for one in outstanding if one.vector]:
                raise StubRefused("the stub refused to read srr0 or srr1 after a step")
            owner = self._owner(thread, pc, srrs)
            only_ours = thread == stop.thread and stop.is_breakpoint
            if owner is not None and srrs is not None:
                self._undoing.collect(owner, Found(thread, *srrs))
                if only_ours and owner is not armed:
                    shown = None  # an earlier step came home: nobody asked for this stop
            elif only_ours and not self._gdbs.code_at(pc):
                self._log("{} has a Trace interrupt of its own at {:#x}", thread_name(thread), pc)
                shown = self._past.step_past(thread, pc, state)
        return shown, elsewhere

    def _owner(
        self, thread: bytes | None, vector: int, srrs: tuple[int, int] | None
    ) -> Armed | None:
        """The outstanding step to which a Trace interrupt with these SRR0 and SRR1 belongs, if any.

        It belongs to a step if it came from one of its successors, on whichever vCPU; else (a
        handler may have changed the address to which it returns) if it came from the same vCPU and
        context.  In either case the task must be the same: while a step is in a handler, the guest
        may run another task that it traces itself.
        """
        candidates = [one for one in reversed(self._ledger.outstanding) if one.vector == vector]
        if srrs is None or not candidates:
            return None

        def same_task(one: Armed, max_frame: int) -> bool:
            return one.task is None or one.may_be_of(self._vcpu.task(srrs[1]), max_frame)

        for one in candidates:
            if srrs[0] in one.successors and same_task(one, 1):
                return one
        for one in candidates:
            if one.thread != thread or (srrs[1] ^ one.state) & CONTEXT:
                continue
            if same_task(one, _SIGNAL_FRAME):
                return one
        return None

    def _watched(self, stop: StopReply, target: Target | None) -> StopReply | None:
        """What a stop becomes, if it is where matches of watchpoints are caught.

        That is the stop for gdb, or None if the guest is to run on.
        """
        self._stub.select(stop.thread)
        pc = self._stub.read("pc")
        if not self._matches.catches(pc):
            return stop
        shown = self._matches.settle(stop, pc)
        planted = self._ledger.guarded + (target.must + target.may if target else ())
        if shown is not stop or pc in planted or self._gdbs.code_at(pc):
            return shown
        return self._past.step_past(stop.thread, pc, self._stub.read("msr"))

    def _is_passing(self, stop: StopReply, target: Target) -> bool:
        """Whether a stop is at a temporary breakpoint of a target, and gdb is not to see it."""
        if not stop.is_breakpoint or not target.shared:
            return False
        self._stub.select(stop.thread)
        pc = self._stub.read("pc")
        if (pc not in target.must and pc not in target.may) or self._gdbs.code_at(pc):
            return False
        armed = target.armed
        if armed is not None and pc == armed.vector:
            return False  # `_owner` has judged it
        verdict = target.judge(Hit(stop.thread, pc), self._vcpu)
        if verdict is Verdict.RETURNS:
            assert armed is not None
            # The handler returns to the step, which still needs MSR[SE]; MSR[EE] is put right.
            self._undoing.clean_srr1(armed, pc, keep=msr.SE)
        return verdict is not Verdict.OURS
