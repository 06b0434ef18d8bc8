# SPDX-License-Identifier: MIT
"""The engine's face: what both doors call to step the guest of one stub and to resume it."""

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
    """Steps the guest of one stub, and does everything else that resumes it."""

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
        """log: called for each decision with a format and its values, as `str.format` takes them.
        breakpoints: gdb's, which the caller keeps up to date; the engine only looks at them.
        journal: called with the changes of ours that are in the guest, before each is made and
        after it is undone.  undo: when a step is undone.  tell: called with a line for the user.
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
        """Follow the user's options from the next step on."""
        self._vectors.set_ail(options.ail)
        self._planner.apply(options)
        self._code_run.apply(options)
        self._stepper.apply(options)
        self._watch.watching.apply(options)

    # -- what it tells

    @property
    def steps(self) -> int:
        """The number of steps that were done."""
        return self._runner.steps

    @property
    def outstanding(self) -> list[Armed]:
        """The armed steps whose Trace interrupt is still to come; between two resumes these are
        steps that were interrupted in a handler of the guest, which will return with MSR[SE]=1.
        """
        return self._ledger.outstanding

    @property
    def guarded(self) -> tuple[int, ...]:
        """The vectors at which the Trace interrupts of outstanding steps are collected."""
        return self._ledger.guarded

    @property
    def unsettled(self) -> bool:
        """Whether the stub has refused something that `recover` has to do again."""
        return bool(self._ledger.redo)

    @property
    def snapshot(self) -> Snapshot:
        """The changes of ours that are still in the guest."""
        return self._ledger.snapshot

    @property
    def watchpoints(self) -> str:
        """How watchpoints are seen, or would be, in words."""
        return self._watch.how

    def vectors(self) -> strategy.Vector:
        """A function vector(offset, msr): where an interrupt of the selected thread arrives.

        It raises SstepError where LPCR decides that, and neither the stub nor the user gives it.
        """
        return self._vectors.at_stop()

    def relocation(self) -> msr.Relocation:
        """LPCR[AIL] and the rules for it.  SstepError: neither the stub nor the user gives it."""
        return self._vectors.relocation()

    def landings(self) -> tuple[int, ...]:
        """The addresses at which the next instruction of the selected thread may arrive."""
        return self._planner.landings()

    # -- watchpoints

    def watch(self, payload: bytes, one: Breakpoint, *, inserts: bool) -> bytes:
        """Do what gdb's `Z` or `z` packet about the watchpoint `one` asks for; the reply."""
        return self._watch.watching.answer(payload, one, inserts=inserts)

    # -- resuming

    def resume(self, request: Resume, prefetch: tuple[bytes, ...] = ()) -> Outcome:
        """Do what a resume packet asks for, as a stub that can step does it.

        prefetch: what gdb will probably ask after the stop, to be asked of the stub at once.
        SstepError: nothing was resumed, and the guest is as it was (in a range: as it was before
        the instruction that has the error); but Unsettled: the guest has run, and `recover` is to
        be called.
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
        """See `CodeRun.run_range`; the stop for gdb."""
        ran = self._code_run.run_range(request, start, end, stops, into_calls=into_calls)
        return None if ran is None else ran.stop

    def straight(
        self, request: Resume, limit: int, stops: Collection[int]
    ) -> tuple[StopReply, int] | None:
        """See `CodeRun.straight`; the stop for gdb, and how many instructions were executed."""
        ran = self._code_run.straight(request, limit, stops)
        return None if ran is None else (ran.stop, ran.executed or 0)

    def run_to(self, request: Resume, stops: tuple[int, ...]) -> StopReply:
        """Resume the guest, with temporary breakpoints at `stops`, until it stops for any reason.

        SstepError: nothing was resumed, and the guest is as it was.
        """
        return self._runner.run(request, PlacesTarget(stops))

    def hold_interrupts(self) -> bool:
        """Before gdb resumes the selected thread alone, at a breakpoint: clear its MSR[EE], if set.

        So interrupts from outside, whose handlers may wait for another vCPU, wait for
        `let_interrupts_come`.  In problem state they cannot be held.  Returns whether they are.
        SstepError: nothing has changed.
        """
        state, pc = self._stub.read("msr"), self._stub.read("pc")
        if state & (msr.EE | msr.PR) != msr.EE:
            return False
        instruction, held = self._stub.instruction(pc), state & ~msr.EE
        self._runner.hold(Armed(self._stub.thread, instruction, pc, state, held, 0, 0, None, ()))
        return True

    def let_interrupts_come(self, thread: bytes | None) -> bool:
        """At this thread's stop, put back MSR[EE] if `hold_interrupts` cleared it; returns whether.

        Unsettled: `recover` is to be called.
        """
        if not any(one.vector is None for one in self._ledger.outstanding):
            return False
        self._runner.let_go(thread)
        return True

    def collect_returned_step(self, thread: bytes | None) -> bool:
        """A thread that gdb itself resumed has stopped at a breakpoint: collect a step that came
        home there.  Returns whether the stop was for nothing else, so that the guest is to run on.
        """
        try:
            return self._runner.settle_only(stopped(thread)) is None
        finally:
            self._stub.send_queued()
            self._stub.forget()

    # -- between resumes

    def look_ahead(self, prefetch: tuple[bytes, ...] = ()) -> None:
        """At a stop, ask the stub at once for what gdb and the next step will ask for."""
        self._prefetch.look_ahead(prefetch)

    def prepare(self, request: Resume, *, arm: bool) -> None:
        """After a step, plan the next one while gdb is busy, in case gdb asks for the same again.

        arm: also write the MSR for it, where that can be undone later (`Undo.DEFER`).
        """
        self._ahead.prepare(request, arm=arm)

    def recover(self) -> None:
        """Do again what the stub refused in the middle of a stop.  Unsettled: it still does."""
        self._runner.recover()

    def quiesce(self) -> None:
        """Another client may look: remove our breakpoints, and send all deferred writes."""
        self._temporary.quiesce()

    def remove_temporary(self) -> None:
        """Remove our breakpoints with the next packets; one that is planted again meanwhile stays.

        `quiesce` sends that, as whatever else is queued.
        """
        self._temporary.remove_all()

    def abandon(self) -> None:
        """After an exception that is a bug: undo what is still in the guest; if `recover` cannot,
        by what is seen of it, as after a killed session.
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
        """Bring interrupted steps home before the stub is let go: see `Release.release`."""
        return self._release.release(going_on)

    def disown(self) -> None:
        """Forget all changes: from now on the guest is somebody else's."""
        self._ledger.gone()

    def leftovers(self, known: Snapshot = ()) -> list[Leftover]:
        """Find what a killed session has left in the guest: see `Salvage.leftovers`."""
        return self._salvage.leftovers(known)

    def clean(self, known: Snapshot = ()) -> list[Leftover]:
        """Undo what a killed session has left in the guest: see `Salvage.clean`."""
        return self._salvage.clean(known)
