# SPDX-License-Identifier: MIT
"""The engine's face: steps, and everything else that resumes the guest, on one stub."""

from __future__ import annotations

from collections.abc import Callable, Collection

from ..errors import StubGone
from ..options import Options
from ..ppc import msr, strategy
from ..rsp.breakpoints import Breakpoint, GdbBreakpoints
from ..rsp.resume import Resume, StopReply, stopped
from ..stub.stub import Stub
from .ahead import Ahead
from .alone import Alone
from .borrowed import BorrowedCode
from .code_run import CodeRun
from .ledger import Ledger, Snapshot
from .past import Past
from .planner import Planner
from .prefetch import Prefetch
from .release import Release
from .runner import Runner
from .salvage import Leftover, Salvage
from .settle import Settler
from .stepper import Outcome, Stepper
from .steps import Armed
from .targets import PlacesTarget
from .temporary import TemporaryBreakpoints, Undo
from .undo import Undoing
from .vcpu import Vcpu
from .vectors import Vectors
from .watchpoints import WatchRooms


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
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        """log: takes a line about each decision, as `str.format` does.  breakpoints: gdb's, as far
        as the engine cannot see them come and go.  journal: told of the changes of ours that are
        in the guest, before they are made and after they are undone.  tell: takes a line for the
        user, while the guest runs for gdb.
        """
        gdbs = breakpoints if breakpoints is not None else GdbBreakpoints()
        self._stub = stub
        self._log = log
        self._ledger = Ledger(journal)
        self._vectors = Vectors(stub)
        self._temporary = TemporaryBreakpoints(stub, log, undo)
        alone = Alone(stub, gdbs, self._temporary, self._ledger.lend, self._ledger.given_back)
        borrowed = BorrowedCode(stub, self._vectors, alone)
        vcpu = Vcpu(stub, self._vectors, borrowed)
        self._prefetch = Prefetch(stub, self._vectors, gdbs)
        undoing = Undoing(stub, vcpu, self._vectors, self._ledger, self._prefetch, log)
        past = Past(stub, vcpu, self._vectors, self._temporary, self._ledger, undoing, log)
        self._watch = watch = WatchRooms(
            stub, vcpu, self._vectors, gdbs, self._ledger, past, alone, log, tell
        )
        settler = Settler(
            stub, vcpu, self._ledger, gdbs, undoing, past, watch.matches, self._prefetch, log
        )
        self._runner = Runner(
            stub, self._ledger, self._temporary, settler, watch, undoing, alone, undo, log
        )
        self._release = Release(stub, self._ledger, self._temporary, self._runner, watch)
        self._planner = Planner(stub, vcpu, self._vectors, gdbs, self._temporary, self._prefetch)
        self._code_run = CodeRun(stub, vcpu, self._vectors, gdbs, self._planner, self._runner, log)
        self._stepper = Stepper(
            stub,
            vcpu,
            gdbs,
            self._temporary,
            self._planner,
            self._runner,
            self._code_run,
            past,
            watch.watching,
            log,
        )
        self._ahead = Ahead(
            stub, self._ledger, self._temporary, self._planner, gdbs, watch.watching, undo, log
        )
        self._salvage = Salvage(
            stub, vcpu, self._ledger, undoing, alone, watch.windows, watch.matches
        )

    def apply(self, options: Options) -> None:
        """Step as the user wants it from now on."""
        self._vectors.set_ail(options.ail)
        self._planner.apply(options)
        self._code_run.apply(options)
        self._stepper.apply(options)
        self._watch.watching.apply(options)

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

    @property
    def watchpoints(self) -> str:
        """How watchpoints are seen, or would be, in words."""
        return self._watch.how

    def vectors(self) -> strategy.Vector:
        """Where interrupts of the selected thread go.  SstepError where that is not known."""
        return self._vectors.at_stop()

    def relocation(self) -> msr.Relocation:
        """LPCR[AIL] and the rules for it.  SstepError if it is not to be had."""
        return self._vectors.relocation()

    def landings(self) -> tuple[int, ...]:
        """Where the next instruction of the selected thread may arrive, one after another."""
        return self._planner.landings()

    # -- watchpoints

    def watch(self, payload: bytes, one: Breakpoint, *, inserts: bool) -> bytes:
        """The reply to a `Z` or `z` packet of gdb's about a watchpoint."""
        return self._watch.watching.answer(payload, one, inserts=inserts)

    # -- resuming

    def resume(self, request: Resume, prefetch: tuple[bytes, ...] = ()) -> Outcome:
        """Do what a resume packet asks for, as a stub that can step does it.

        prefetch: packets that the stub is asked at the stop, for others.  SstepError: nothing was
        resumed, and the guest is as it was (in a range: as it was before the instruction that has
        the error); but Unsettled: the guest has run, and `recover` is to be called.
        """
        self._prefetch.at_stop_for_others(prefetch)
        self._runner.recover()
        self._watch.begin(request)
        return self._stepper.resume(request)

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

    def hold_interrupts(self) -> None:
        """Before somebody else resumes the selected thread alone, at a breakpoint: interrupts from
        outside wait until `let_interrupts_come`, as their handlers may wait for another vCPU.

        In problem state they cannot be held.  SstepError: nothing has changed.
        """
        state, pc = self._stub.read("msr"), self._stub.read("pc")
        if state & (msr.EE | msr.PR) == msr.EE:
            instruction, held = self._stub.instruction(pc), state & ~msr.EE
            self._runner.hold(
                Armed(self._stub.thread, instruction, pc, state, held, 0, 0, None, ())
            )

    def let_interrupts_come(self, thread: bytes | None) -> bool:
        """At the stop after `hold_interrupts`, of this thread: whether any were held.

        Unsettled: `recover` is to be called.
        """
        if not any(one.vector is None for one in self._ledger.outstanding):
            return False
        self._runner.let_go(thread)
        return True

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
        self._ahead.prepare(request, arm=arm)

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
        """See `Release.release`."""
        return self._release.release(going_on)

    def disown(self) -> None:
        """From now on the guest is somebody else's."""
        self._ledger.gone()

    def leftovers(self, known: Snapshot = ()) -> list[Leftover]:
        """See `Salvage.leftovers`."""
        return self._salvage.leftovers(known)

    def clean(self, known: Snapshot = ()) -> list[Leftover]:
        """See `Salvage.clean`."""
        return self._salvage.clean(known)
