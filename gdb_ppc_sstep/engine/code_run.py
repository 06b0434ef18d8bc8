# SPDX-License-Identifier: MIT
"""Runs through many instructions at once, to where control leaves the code."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

from ..errors import StubRefused, Unsettled
from ..options import Interrupts, Options
from ..ppc import isa, msr, ranges
from ..rsp.breakpoints import GdbBreakpoints
from ..rsp.resume import Resume, StopReply
from ..stub.stub import Stub
from .planner import Planner
from .runner import Runner
from .steps import Armed, Frame
from .targets import RangeTarget
from .vcpu import Vcpu
from .vectors import Vectors


class Ran(NamedTuple):
    """What running through code ended with.

    stop: the stop for gdb.  executed: the number of instructions executed, None where it is not
    known.  stepped_alone: the addresses in the range of those that have to be stepped by
    themselves.
    """

    stop: StopReply
    executed: int | None
    stepped_alone: tuple[int, ...]


class CodeRun:
    """Runs through code of the selected thread."""

    def __init__(
        self,
        stub: Stub,
        vcpu: Vcpu,
        vectors: Vectors,
        gdbs: GdbBreakpoints,
        planner: Planner,
        runner: Runner,
        log: Callable[..., None],
    ) -> None:
        self._stub = stub
        self._vcpu = vcpu
        self._vectors = vectors
        self._gdbs = gdbs
        self._planner = planner
        self._runner = runner
        self._log = log
        self._interrupts = Interrupts.INTO

    def apply(self, options: Options) -> None:
        """Follow the user's options from the next run on."""
        self._interrupts = options.interrupts

    def run_range(
        self,
        request: Resume,
        start: int,
        end: int,
        stops: Collection[int] = (),
        *,
        into_calls: bool = True,
    ) -> Ran | None:
        """Run through code from `start` to before `end`, until it is left or must be stepped.

        stops: addresses at which to end as well.  into_calls: False if a call is to be stepped by
        itself.  None: the thread stands where it must be stepped or is to end, or this code cannot
        be run through.  Unsettled: see `Runner.run`.
        """
        stub, thread = self._stub, self._stub.thread
        stub.prefetch(("msr", "pc", "r1"))
        pc, frame = stub.read("pc"), self._vcpu.frame(whole=False)
        count = -((start - end) // 4)  # rounded up: the range of `until` ends in the one at pc
        end = start + 4 * count
        if not (start <= pc < end and start % 4 == pc % 4 == 0 and count <= ranges.LONGEST):
            return None
        if frame.stack == 0 or self._gdbs.code_at(pc):
            return None
        try:
            words = stub.code(start, count)
            exits = ranges.exits(start, words, frame.state, into_calls=into_calls)
            if exits is None or pc in exits.stops or pc in stops:
                return None
            within = [place for place in stops if start <= place < end]
            planted = tuple(dict.fromkeys((*exits.stops, *within)))
            target = self._target(request, thread, pc, frame, start, words, planted, exits.faults)
            if target is None:
                return None
            places = " ".join(map(hex, planted))
            self._log("through {:#x} to {:#x} from {:#x}, to {}", start, end, pc, places)
            self._planner.ran_elsewhere()
            alone = tuple(place for place in exits.stops if start <= place < end)
            return Ran(self._runner.run(request, target), None, alone)
        except Unsettled:
            raise
        except StubRefused as refused:
            self._log("not run through: {}", refused)
            self._runner.recover()  # it may have been what undoes the step before
            return None

    def _target(
        self,
        request: Resume,
        thread: bytes | None,
        pc: int,
        frame: Frame,
        start: int,
        words: tuple[int, ...],
        planted: tuple[int, ...],
        faults: tuple[int, ...],
    ) -> RangeTarget | None:
        """The target of a run; None where an interrupt vector is in the code."""
        end = start + 4 * len(words)
        vector = self._vectors.at_stop()
        vectors = tuple(vector(offset, frame.state) for offset in faults)
        if any(start <= place < end for place in vectors):
            return None
        armed: Armed | None = None
        transient: tuple[int, ...] = ()
        reached = not vectors or self._vcpu.reaches_srrs()
        over = self._interrupts is Interrupts.OVER
        if self._planner.masks(request) and frame.state & msr.EE and reached:
            first, inside = isa.decode(words[(pc - start) // 4]), tuple(range(start, end, 4))
            masked = frame.state & ~msr.EE
            armed = Armed(thread, first, pc, frame.state, masked, 0, 0, None, inside + planted)
            # Handlers of these return to the code: we put MSR[EE] right in SRR1 at their vectors.
            transient = vectors if over else ()
        faults_that_end = () if over else vectors
        return RangeTarget(thread, start, end, planted, frame, armed, faults_that_end, transient)

    def straight(self, request: Resume, limit: int, stops: Collection[int]) -> Ran | None:
        """Run through code of which each instruction leads to the next one.

        limit: the most instructions to run through.  For the rest see `run_range`.
        """
        stub = self._stub
        if limit < 2 or not self._vcpu.gives_srrs():
            return None
        stub.prefetch(("msr", "pc"))
        state, pc = stub.read("msr"), stub.read("pc")
        count = min(limit, ranges.STRAIGHT, (-pc % 0x1000 or 0x1000) // 4)
        try:
            words = stub.code(pc, count) if pc % 4 == 0 else ()
        except StubRefused:
            self._runner.recover()
            return None
        count = ranges.straight(pc, words, state)
        ran = self.run_range(request, pc, pc + 4 * count, stops) if count > 1 else None
        if ran is None:
            return None
        if not ran.stop.is_breakpoint:
            return ran._replace(executed=0)
        arrived = stub.read("pc")
        executed = (arrived - pc) // 4
        if not pc <= arrived <= pc + 4 * count:  # one of the instructions took an interrupt
            saved = self._vcpu.saved_by(arrived)
            executed = 1 if saved is None else (saved[0] - pc) // 4 + 1
        self._runner.count(executed - 1)
        return ran._replace(executed=executed)
