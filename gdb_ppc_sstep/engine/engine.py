# SPDX-License-Identifier: MIT
"""The engine's face: steps, and everything else that resumes the guest, on one stub."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import NamedTuple

from ..errors import SstepError, StubGone, StubRefused
from ..options import Interrupts, Options
from ..ppc import isa, msr, strategy
from ..ppc.isa import Instruction
from ..rsp.breakpoints import GdbBreakpoints
from ..rsp.resume import Action, Resume, StopReply, stopped
from ..stub.stub import Stub
from .borrowed import BorrowedCode
from .code_run import CodeRun, Ran
from .ledger import Ledger, Snapshot
from .past import Past
from .planner import Planner, Step
from .prefetch import Prefetch
from .runner import Runner
from .salvage import Leftover, Salvage
from .settle import Settler
from .steps import Armed, thread_name
from .targets import HandlerTarget, PlacesTarget
from .temporary import TemporaryBreakpoints, Undo
from .undo import Undoing
from .vcpu import Vcpu
from .vectors import Vectors

RELEASE_TIME = 2.0
"""Seconds that an interrupted step is given to come home when the stub is let go."""

NOT_HOME = (
    "ppc-sstep: a step was interrupted in a handler of the guest and has not come back; the guest "
    "may see its Trace interrupt"
)


class Outcome(NamedTuple):
    """What a resume has ended with.

    stop: the stop for gdb.  instruction: the one that was stepped last, None after code was run
    through or the guest was only continued.
    """

    stop: StopReply
    instruction: Instruction | None


class Engine:
    """Steps on one stub."""

    def __init__(
        self,
        stub: Stub,
        log: Callable[..., None],
        *,
        breakpoints: GdbBreakpoints | None = None,
        journal: Callable[[Snapshot], None] = lambda snapshot: None,
        undo: Undo = Undo.AT_ONCE,
    ) -> None:
        """log: takes a line about each decision, as `str.format` does.  breakpoints: gdb's, as far
        as the engine cannot see them come and go.  journal: told of the changes of ours that are
        in the guest, before they are made and after they are undone.
        """
        gdbs = breakpoints if breakpoints is not None else GdbBreakpoints()
        # Where breakpoints are words in memory, who reads that would see ours.
        undo = Undo.AT_ONCE if stub.breakpoints_are_words else undo
        self._stub = stub
        self._log = log
        self._gdbs = gdbs
        self._undo = undo
        self._options = Options()
        self._ledger = Ledger(journal)
        self._vectors = Vectors(stub)
        self._temporary = TemporaryBreakpoints(stub, log, undo)
        borrowed = BorrowedCode(stub, self._vectors, gdbs, self._temporary)
        self._vcpu = vcpu = Vcpu(stub, self._vectors, borrowed)
        self._prefetch = Prefetch(stub, gdbs)
        self._undoing = undoing = Undoing(stub, vcpu, self._ledger, self._prefetch, log)
        self._past = Past(stub, vcpu, self._vectors, self._temporary, self._ledger, undoing, log)
        settler = Settler(stub, vcpu, self._ledger, gdbs, undoing, self._past, self._prefetch, log)
        self._runner = Runner(stub, self._ledger, self._temporary, settler, undoing, undo, log)
        self._planner = Planner(
            stub, vcpu, self._vectors, borrowed, gdbs, self._temporary, self._prefetch
        )
        self._code_run = CodeRun(
            stub, vcpu, self._vectors, borrowed, gdbs, self._planner, self._runner, log
        )
        self._salvage = Salvage(stub, vcpu, self._ledger, undoing)

    def apply(self, options: Options) -> None:
        """Step as the user wants it from now on."""
        self._options = options
        self._vectors.set_ail(options.ail)
        self._planner.apply(options)
        self._code_run.apply(options)

    # -- what it tells

    @property
    def steps(self) -> int:
        """How many steps were done."""
        return self._runner.steps

    @property
    def outstanding(self) -> list[Armed]:
        """Steps that were interrupted in a handler of the guest, which will return with MSR[SE]=1.

        Their vectors are guarded whenever the guest runs.
        """
        return self._ledger.outstanding

    @property
    def guarded(self) -> tuple[int, ...]:
        """The vectors at which the Trace interrupts of outstanding steps are collected."""
        return self._ledger.guarded

    @property
    def unsettled(self) -> bool:
        """Whether there is something for `recover` to do again."""
        return bool(self._ledger.redo)

    @property
    def snapshot(self) -> Snapshot:
        """Changes of ours that are still in the guest."""
        return self._ledger.snapshot

    def vectors(self) -> strategy.Vector:
        """Where interrupts of the selected thread go.  SstepError where that is not known."""
        return self._vectors.at_stop()

    def relocation(self) -> msr.Relocation:
        """LPCR[AIL] and the rules for it.  SstepError if it is not to be had."""
        return self._vectors.relocation()

    def landings(self) -> tuple[int, ...]:
        """Where the next instruction of the selected thread may arrive, one after another."""
        return self._planner.landings()

    # -- resuming

    def resume(self, request: Resume, prefetch: tuple[bytes, ...] = ()) -> Outcome:
        """Do what a resume packet asks for, as a stub that can step does it.

        prefetch: packets that the stub is asked at the stop, for others.  SstepError: nothing was
        resumed, and the guest is as it was (in a range: as it was before the instruction that has
        the error); but Unsettled: the guest has run, and `recover` is to be called.
        """
        self._prefetch.at_stop_for_others(prefetch)
        self._runner.recover()
        action = request.stepping
        if action is None:
            return Outcome(self._runner.run(request, None), None)
        while True:
            ran = self._range(request, action)
            if ran is not None:
                outcome, goes_on = Outcome(ran.stop, None), self._leaves_alone(action, ran)
            else:
                outcome = self._step(request, action)
                goes_on = self._is_in_range(action, outcome)
            if not goes_on:
                return outcome
            if self._stub.interrupted():
                return outcome._replace(stop=stopped(outcome.stop.thread, signal=2))

    def _stays(self, action: Action, stop: StopReply) -> int | None:
        """Where a range (`vCont;r`) may go on after a stop: the pc; None where it has ended.

        As for a stub that steps: it stops where it comes to a breakpoint of gdb's.
        """
        if action.verb != b"r" or not stop.is_breakpoint or stop.thread != self._thread(action):
            return None
        pc = self._stub.read("pc")
        return None if self._gdbs.code_at(pc) else pc

    def _leaves_alone(self, action: Action, ran: Ran) -> bool:
        """Whether it was run through until what is to be stepped by itself."""
        pc = self._stays(action, ran.stop)
        return pc is not None and pc in ran.stepped_alone

    def _is_in_range(self, action: Action, outcome: Outcome) -> bool:
        """Whether another step of a range is to follow.

        Whether this is still the same call of a function is for gdb to see.
        """
        pc = self._stays(action, outcome.stop)
        if pc is None or outcome.instruction is None or outcome.instruction.may_call:
            return False
        start, end = action.range
        return start <= pc < end

    def _range(self, request: Resume, action: Action) -> Ran | None:
        """`run_range`, if a step is one of a range."""
        if action.verb != b"r":
            return None
        self._stub.select(self._thread(action))
        return self._code_run.run_range(request.continued(), *action.range)

    def _step(self, request: Resume, action: Action) -> Outcome:
        thread = self._thread(action)
        self._stub.select(thread)
        step = self._planner.plan(request, thread)
        instruction, plan = step.instruction, step.plan
        what = "step {} pc={:#x} msr={:#x} {:08x} {}: {}"
        kind = instruction.kind.value
        self._log(what, thread_name(thread), step.pc, step.state, instruction.word, kind, plan)
        if plan.state is not None:
            self._past.emulate(plan)
            self._runner.count(1)
            return Outcome(stopped(thread), instruction)
        with self._temporary.lifted(step.blocking):
            stop = self._runner.run(step.request, step.target)
        self._planner.executed(step)
        if self._options.interrupts is Interrupts.OVER and self._is_in_handler(stop, step):
            stop = self._run_handler(request.continued(), step, stop.thread)
        return Outcome(stop, instruction)

    def _is_in_handler(self, stop: StopReply, step: Step) -> bool:
        """Whether a step has stopped at the vector of an interrupt that its instruction took."""
        if not stop.is_breakpoint:
            return False
        pc = self._stub.read("pc")
        if stop.thread != step.thread and self._gdbs.code_at(pc):
            return False
        return pc in step.plan.taken + step.plan.faults

    def _run_handler(self, request: Resume, step: Step, thread: bytes | None) -> StopReply:
        """Run the handler at whose vector a step has stopped until it returns; the stop.

        It may return to the instruction or to the next one, and is recognised by the stack.
        """
        self._runner.count(-1)  # the step is not done yet
        following = isa.in_mode(step.pc + step.instruction.length, step.state)
        frame = self._vcpu.frame(whole=True)._replace(state=step.state)
        self._log("over the interrupt, to {:#x} or {:#x}", following, step.pc)
        return self._runner.run(request, HandlerTarget(thread, (following, step.pc), frame))

    def run_range(
        self,
        request: Resume,
        start: int,
        end: int,
        stops: Collection[int] = (),
        *,
        into_calls: bool = True,
    ) -> StopReply | None:
        """See `CodeRun.run_range`; the stop."""
        ran = self._code_run.run_range(request, start, end, stops, into_calls=into_calls)
        return None if ran is None else ran.stop

    def straight(
        self, request: Resume, limit: int, stops: Collection[int]
    ) -> tuple[StopReply, int] | None:
        """See `CodeRun.straight`; the stop, and how many instructions were executed."""
        ran = self._code_run.straight(request, limit, stops)
        return None if ran is None else (ran.stop, ran.executed or 0)

    def run_to(self, request: Resume, stops: tuple[int, ...]) -> StopReply:
        """Resume, with temporary breakpoints at `stops`; the stop, there or for another reason.

        SstepError: nothing was resumed, and the guest is as it was.
        """
        return self._runner.run(request, PlacesTarget(stops))

    def collect_returned_step(self, thread: bytes | None) -> bool:
        """At a breakpoint, where a thread has stopped that was resumed by somebody else: whether
        only an interrupted step came home, and the guest is to run on.
        """
        try:
            return self._runner.settle_only(stopped(thread)) is None
        finally:
            self._stub.send_queued()
            self._stub.forget()

    # -- between resumes

    def look_ahead(self, prefetch: tuple[bytes, ...] = ()) -> None:
        """At a stop: ask at once for what gdb and the next step will ask for, if it is unknown."""
        self._prefetch.look_ahead(prefetch)

    def prepare(self, request: Resume, *, arm: bool) -> None:
        """After a step: plan what will be asked for next, if that is the same again.

        arm: the MSR is written for it as well, as far as that can be undone later (`Undo.DEFER`).
        """
        action = request.stepping
        if action is None or action.verb != b"s" or action.thread != self._stub.thread:
            return
        if self._stub.breakpoints_are_words:
            return
        try:
            step = self._planner.plan_ahead(request, action.thread)
            if arm and self._undo is Undo.DEFER:
                self._arm_ahead(step)
        except StubGone:
            raise
        except SstepError as error:
            self._log("not prepared: {}", error)  # the step itself says so again

    def _arm_ahead(self, step: Step) -> None:
        """Change the MSR for a step that gdb may ask for; what takes that back is deferred."""
        armed, target, stub = step.target.armed, step.target, self._stub
        if armed is None or armed.vector is None or step.blocking:
            return
        if self._ledger.outstanding or self._ledger.redo:
            return
        with self._temporary.planted(target.must, target.may):
            stub.write("msr", armed.written, reads_back=True)
        self._ledger.arm_ahead(armed)
        stub.send_ahead()
        stub.write("msr", armed.state, reads_back=True)
        self._temporary.remove_all()
        stub.defer(functools.partial(self._ledger.sent, armed))

    def recover(self) -> None:
        """Do again what the stub has refused in the middle of a stop.  Unsettled: it still does."""
        self._runner.recover()

    def quiesce(self) -> None:
        """Another client may look: remove temporary breakpoints, and send what is deferred."""
        self._temporary.quiesce()

    def abandon(self) -> None:
        """After an error that nobody expected: take back what is still in the guest.

        What is known of it is then as good as the record of a session that was killed.
        """
        self._planner.forget_ahead()
        try:
            self._runner.recover()
            self._temporary.quiesce()
        except StubGone:
            raise
        except Exception as error:
            self._log("abandoned: {!r}", error)
            known = self._ledger.snapshot
            self._stub.abandon()
            self._ledger.gone()
            self._salvage.clean(known)
            self._temporary.quiesce()

    # -- the end, and what others have left

    def release(self, going_on: Callable[[], bool]) -> bool:
        """Before the stub is let go: run on until no step is outstanding; whether that is so.

        going_on() is asked before each try; to interrupt one is the business of the link.
        """
        with suppress(StubRefused):
            self._stub.send_queued()
        self._runner.recover()
        while self._ledger.outstanding and going_on():
            self._runner.run(Resume((Action(b"c"),)), None, releasing=True)
        return not self._ledger.outstanding

    def disown(self) -> None:
        """From now on the guest is somebody else's."""
        self._ledger.gone()

    def leftovers(self, known: Snapshot = ()) -> list[Leftover]:
        """See `Salvage.leftovers`."""
        return self._salvage.leftovers(known)

    def clean(self, known: Snapshot = ()) -> list[Leftover]:
        """See `Salvage.clean`."""
        return self._salvage.clean(known)

    def _thread(self, action: Action) -> bytes | None:
        """The one thread that an action means; "any" and "all" mean the current one."""
        thread = action.thread
        if thread is None or thread.rpartition(b".")[2] in (b"-1", b"0"):
            return self._stub.current_thread()
        return thread
