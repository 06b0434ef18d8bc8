# SPDX-License-Identifier: MIT
"""One step of one vCPU, and everything else that resumes the guest.

The one place that resumes: plan, plant, resume, collect.  No gdb, no sockets: both doors run it on
a `Stub`, and unit tests on a fake one.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from ..errors import SstepError, StubGone, StubRefused
from ..options import Interrupts, Options
from ..ppc import isa, msr, ranges, strategy
from ..ppc import spr_code as lent
from ..ppc.isa import Instruction, Kind
from ..ppc.spr_code import SprAccess
from ..rsp.breakpoints import Breakpoint, GdbBreakpoints
from ..rsp.resume import Action, Resume, StopReply, stopped, thread_id
from ..stub.stub import Stub

RELEASE_TIME = 2.0
"""Seconds that an interrupted step is given to come home when the stub is let go."""

SEARCHED = 500
"""Steps after which the guest's code is searched again for what was not found (see `lent`)."""

NOT_HOME = (
    "ppc-sstep: a step was interrupted in a handler of the guest and has not come back; the guest "
    "may see its Trace interrupt"
)

# How far below the stack pointer of an interrupted step the frame of a signal's handler may be.
_SIGNAL_FRAME = 1 << 16

# Registers that a step asks for.
_STATE = ("msr", "pc", "srr0", "srr1")
_TASK = ("r1", "pid")

# What has to be the same for a Trace interrupt to come from the context that was armed.
_CONTEXT = msr.SF | msr.HV | msr.PR | msr.IR | msr.DR | msr.LE


class Task(NamedTuple):
    """What tells tasks of a guest apart, as far as a stub shows it.

    stack: r1.  space: the PID register, for problem state; None where it is not to be had.
    """

    stack: int
    space: int | None


class Armed(NamedTuple):
    """A vCPU whose MSR we changed for a step, which we have not yet undone.

    state, srr0 and srr1 are the registers before the step, written is what we made of the MSR.
    vector: where its Trace interrupt is collected, None when MSR[SE] is not ours.  successors:
    where the instruction may come to.  task: None where no other task can come in between.
    """

    thread: bytes | None
    instruction: Instruction
    pc: int
    state: int
    written: int
    srr0: int
    srr1: int
    vector: int | None
    successors: tuple[int, ...]
    task: Task | None = None

    @property
    def masked(self) -> bool:
        """Whether MSR[EE] is cleared."""
        return bool((self.state ^ self.written) & msr.EE)

    def unmasked(self) -> Armed | None:
        """The same with MSR[EE] as it was; None if nothing is changed then."""
        written = self.written | self.state & msr.EE
        return None if written == self.state else self._replace(written=written)

    def before(self, state: int) -> int:
        """An MSR without our changes, of the time before the instruction has completed."""
        ours = self.state ^ self.written
        return state & ~ours | self.state & ours

    def after(self, state: int) -> int:
        """An MSR without our changes, of the time after that: what it sets itself stays."""
        ours = (self.state ^ self.written) & ~self.instruction.sets
        return state & ~ours | self.state & ours


class Undo(enum.Enum):
    """When what a step has changed in the guest is undone, and its temporary breakpoints go."""

    AT_ONCE = "before the stop is told"
    KEEP_PLANTED = "at once, but breakpoints stay planted until `quiesce`"
    DEFER = "with the next packet that it could matter for, or at `quiesce`"


class Outcome(NamedTuple):
    """What a resume has ended with.

    stop: the stop for gdb.  instruction: the one that was stepped last, None after code was run
    through or the guest was only continued.
    """

    stop: StopReply
    instruction: Instruction | None


class Engine:
    """Steps on one stub.

    steps: how many were done.  outstanding: steps that were interrupted in a handler of the guest,
    which will return with MSR[SE]=1; their vectors are guarded whenever the guest runs.
    """

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
        self._stub = stub
        self._log = log
        self._breakpoints = breakpoints if breakpoints is not None else GdbBreakpoints()
        self._journal = journal
        # Where breakpoints are words in memory, who reads that would see ours.
        words = stub.breakpoints_are_words
        self._undo = Undo.AT_ONCE if words else undo
        self._options = Options()
        self.steps = 0
        self._stepped: Instruction | None = None
        self.outstanding: list[Armed] = []
        self._planted_at: dict[int, None] = {}
        self._watched: dict[int, None] = {}  # of these the vectors of faults
        self._asked_next: tuple[bytes, ...] = ()  # of the stub at the end of a step, for others
        self._accesses: dict[tuple[str, bool, bool], SprAccess] = {}  # see _find_spr_access
        self._missed: dict[tuple[str, bool, bool], int] = {}  # not found, at so many steps
        self._fetched: tuple[bytes | None, int, int] | None = None  # see _page
        self._prepared: Step | None = None
        self._hit = -1  # where gdb's breakpoint was that was hit last
        self._unfinished: Callable[[], object] | None = None  # see recover
        self._collecting: Collecting | None = None  # what `_collect` is in the middle of
        self._collected: Collecting | None = None  # whose registers are queued, and not yet written
        self._deferred: Callable[[], object] | None = None  # how to do that again
        self._ahead: Armed | None = None  # see prepare
        self._alone: list[int] = []  # what is to be stepped by itself of the range run through
        # What the next step will ask for, as far as one can guess: the instruction at _next, and
        # these registers.
        self._next: int | None = None
        self._pvr: int | None = None
        self._given: bytes | None = None  # the last one whose SRR0 and SRR1 the stub gave
        self._before: tuple[str, ...] = _STATE

    def apply(self, options: Options) -> None:
        """Step as the user wants it from now on."""
        self._options = options

    def _note(self) -> None:
        self._journal(self.snapshot)

    @property
    def unsettled(self) -> bool:
        """Whether there is something for `recover` to do again."""
        return self._unfinished is not None

    @property
    def snapshot(self) -> Snapshot:
        """What is not as the guest should find it, if nothing more were done."""
        armed, collecting = self.outstanding, self._collecting
        if self._collected is not None:
            armed, collecting = [*armed, self._collected.armed], self._collected
        if self._ahead is not None and self._ahead not in armed:
            armed = [*armed, self._ahead]
        return Snapshot(tuple(armed), collecting)

    @property
    def guarded(self) -> tuple[int, ...]:
        """The vectors at which the Trace interrupts of outstanding steps are collected."""
        return tuple(one.vector for one in self.outstanding if one.vector is not None)

    # -- resuming

    def resume(self, request: Resume, prefetch: tuple[bytes, ...] = ()) -> Outcome:
        """Do what a resume packet asks for, as a stub that can step does it.

        prefetch: packets that the stub is asked at the stop, for others.  SstepError: nothing was
        resumed, and the guest is as it was (in a range: as it was before the instruction that has
        the error).
        """
        self._asked_next = prefetch
        self._stepped = None
        self.recover()
        action = request.stepping
        if action is None:
            return Outcome(self._run(request, None), None)
        while True:
            stop = self._range(request, action) or self._step(request, action)
            if self._goes_on(action, stop):
                if not self._stub.interrupted():
                    continue
                stop = stopped(stop.thread, signal=2)
            return Outcome(stop, self._stepped)

    def _goes_on(self, action: Action, stop: StopReply) -> bool:
        """Whether a step was one of a range (`vCont;r`), and another is to follow it.

        As for a stub that steps: it stops where it comes to a breakpoint of gdb's.  Whether this is
        still the same call of a function is for gdb to see.
        """
        if action.verb != b"r" or not stop.is_breakpoint or stop.thread != self._thread(action):
            return False
        pc = self._stub.read("pc")
        if self._stepped is None:  # run through until here
            return pc in self._alone and not self._breakpoints.code_at(pc)
        start, end = action.range
        return (
            start <= pc < end and not self._stepped.may_call and not self._breakpoints.code_at(pc)
        )

    def _range(self, request: Resume, action: Action) -> StopReply | None:
        """`run_range`, if a step is one of a range."""
        if action.verb != b"r":
            return None
        self._stub.select(self._thread(action))
        return self.run_range(request.continued(), *action.range)

    def run_range(
        self,
        request: Resume,
        start: int,
        end: int,
        stops: Collection[int] = (),
        *,
        into_calls: bool = True,
    ) -> StopReply | None:
        """Run the selected thread through code, to where that is left or must be stepped.

        stops: end as well where these are.  into_calls: else a call is stepped by itself.  None
        where the thread stands at such, or this code cannot be run through.
        """
        thread = self._stub.thread
        self._stub.prefetch(("msr", "pc", "r1"))
        pc, frame = self._stub.read("pc"), self._frame(whole=False)
        count = -((start - end) // 4)  # `until` ends its range within the instruction at pc
        end = start + 4 * count
        if not (start <= pc < end and start % 4 == pc % 4 == 0 and count <= ranges.LONGEST):
            return None
        if frame.stack == 0 or self._breakpoints.code_at(pc):
            return None
        try:
            words = self._stub.code(start, count)
            exits = ranges.exits(start, words, frame.state, into_calls=into_calls)
            if exits is None or pc in exits.stops or pc in stops:
                return None
            within = [place for place in stops if start <= place < end]
            planted = tuple(dict.fromkeys((*exits.stops, *within)))
            vector = self.vectors()
            faults = tuple(vector(offset, frame.state) for offset in exits.faults)
            if any(start <= place < end for place in faults):
                return None
            landing = Landing(
                planted, None, thread, pc, faults, frame, len(planted), code=(start, end)
            )
            if self._options.interrupts is Interrupts.OVER:
                # Their handlers return to where they came from, and MSR[EE] must be right then.
                landing = landing._replace(faults=(), through=faults)
            reached = not faults or self._given_srrs() or self._reaches_srrs()
            if self._masks(request) and frame.state & msr.EE and reached:
                first, inside = isa.decode(words[(pc - start) // 4]), tuple(range(start, end, 4))
                masked = frame.state & ~msr.EE
                armed = Armed(thread, first, pc, frame.state, masked, 0, 0, None, inside + planted)
                landing = landing._replace(armed=armed)
            else:
                landing = landing._replace(through=())
            places = " ".join(map(hex, planted))
            self._log("through {:#x} to {:#x} from {:#x}, to {}", start, end, pc, places)
            self._stepped = self._fetched = None
            self._alone = [place for place in exits.stops if start <= place < end]
            return self._run(request, landing)
        except StubRefused as refused:
            if self._unfinished is not None or any(one.vector is None for one in self.outstanding):
                raise  # it has been
            self._log("not run through: {}", refused)
            return None

    def straight(
        self, request: Resume, limit: int, stops: Collection[int]
    ) -> tuple[StopReply, int] | None:
        """Run the selected thread through code that leads from one instruction to the next.

        limit: of how many at the most.  The stop, and how many instructions were executed.  Else
        see `run_range`.
        """
        thread = self._stub.thread
        if thread != self._given or limit < 2:
            return None
        self._stub.prefetch(("msr", "pc"))
        state, pc = self._stub.read("msr"), self._stub.read("pc")
        count = min(limit, ranges.STRAIGHT, (-pc % 0x1000 or 0x1000) // 4)
        try:
            words = self._stub.code(pc, count) if pc % 4 == 0 else ()
        except StubRefused:
            return None
        count = ranges.straight(pc, words, state)
        stop = self.run_range(request, pc, pc + 4 * count, stops) if count > 1 else None
        if stop is None:
            return None
        if not stop.is_breakpoint:
            return stop, 0
        arrived = self._stub.read("pc")
        done = (arrived - pc) // 4
        if not pc <= arrived <= pc + 4 * count:  # an interrupt, which one of them has taken
            saved = self._saved(arrived)
            done = 1 if saved is None else (saved[0] - pc) // 4 + 1
        self.steps += done - 1
        return stop, done

    def prepare(self, request: Resume, *, arm: bool) -> None:
        """After a step: plan what will be asked for next, if that is the same again.

        arm: the MSR is written for it as well, as far as that can be undone later (`defers`).
        """
        action = request.stepping
        if action is None or action.verb != b"s" or action.thread != self._stub.thread:
            return
        if self._stub.breakpoints_are_words:
            return
        try:
            step = self._prepared = self._planned(request, action.thread)
            armed = step.landing.armed
            ready = not (self.outstanding or step.blocking) and self._unfinished is None
            if (
                arm
                and self._undo is Undo.DEFER
                and ready
                and armed is not None
                and armed.vector is not None
            ):
                self._arm_ahead(armed, step.landing)
        except StubGone:
            raise
        except SstepError as error:
            self._log("not prepared: {}", error)  # the step itself says so again

    def _arm_ahead(self, armed: Armed, landing: Landing) -> None:
        with self._planted(landing.must, landing.may):
            self._stub.write("msr", armed.written, reads_back=True)
        self._ahead = armed
        if self._collected is None:  # else the record tells of that until all is written
            self._note()
        self._stub.send_ahead()
        self._stub.write("msr", armed.state, reads_back=True)
        self._unplant(list(self._planted_at))
        self._stub.defer(self._disarmed)

    def _disarmed(self, all_: bool) -> None:
        """What undoes `_arm_ahead` was sent, but for what a step needs; all_: it is done."""
        armed, self._ahead = self._ahead, None
        assert armed is not None
        if not all_:
            self.outstanding.append(armed)
            self._unfinished = functools.partial(self._unarm, armed, self._unfinished)
        self._note()

    def _step(self, request: Resume, action: Action) -> StopReply:
        thread = self._thread(action)
        self._stub.select(thread)
        step, self._prepared = self._prepared, None
        if step is None or not (
            (step.asked, step.thread, step.version) == (request, thread, self._stub.version)
            and step.blocking == self._breakpoints.code_at(step.pc)
        ):
            step = self._planned(request, thread)
        instruction, plan = step.instruction, step.plan
        self._stepped = instruction
        what = "step {} pc={:#x} msr={:#x} {:08x} {}: {}"
        kind = instruction.kind.value
        self._log(what, _name(thread), step.pc, step.state, instruction.word, kind, plan)
        if plan.state is not None:
            self._emulate(plan)
            self.steps += 1
            return stopped(thread)
        with self._lifted(step.blocking):
            stop = self._run(step.request, step.landing)
        self._fetched = _page(thread, step.pc, step.state)
        if self._options.interrupts is Interrupts.OVER and self._in_handler(stop, thread, plan):
            self.steps -= 1  # it is not done yet
            following = isa.in_mode(step.pc + instruction.length, step.state)
            landing = step.landing._replace(thread=stop.thread)
            return self._return(request.continued(), landing, following, step.state)
        return stop

    def _planned(self, request: Resume, thread: bytes | None) -> Step:
        """A step of the selected thread."""
        self._stub.prefetch(self._before, () if self._next is None else (self._next,))
        state, pc = self._stub.read("msr"), self._stub.read("pc")
        if pc & 3:
            raise SstepError(f"pc {pc:#x} is no multiple of 4, so there is no instruction")
        self._before = _STATE + (_TASK if state & msr.PR else ())
        if msr.relocates(state):
            self._before += ("lpcr",)
        instruction = self._stub.instruction(pc)
        srrs = self._given_srrs()
        self._given = thread if srrs else None
        plan = strategy.plan(
            instruction,
            pc,
            state,
            self._read,
            self.vectors(),
            traceable=srrs is not None,
            code=self._stub.instruction,
            fetched=self._fetched == _page(thread, pc, state),
            interrupts=self._options.interrupts,
        )
        blocking = self._breakpoints.code_at(pc)
        masks = self._masks(request) or bool(blocking)  # then it will run alone
        armed = self._armed(thread, instruction, pc, state, plan, srrs, masks=masks)
        landing = Landing(plan.stops, armed, thread, pc, self._watching(plan, pc))
        if plan.stops != (plan.trace,):
            landing = landing._replace(taken=plan.taken, stack=self._stub.read("r1"))
        in_code = any(place not in (plan.trace, *plan.taken) for place in plan.stops)
        masked = armed is not None and armed.masked
        # Only this vCPU: another one must not run past a breakpoint of the user's that is lifted,
        # and need not run into temporary breakpoints in code where no interrupt can come first.
        alone = request.vcont and (blocking or (in_code and masked))
        resumed = _only(thread) if alone else request.continued()
        if masked:
            landing = landing._replace(through=plan.through)
        version = self._stub.version
        return Step(
            request, thread, version, pc, state, instruction, plan, blocking, resumed, landing
        )

    def _masks(self, request: Resume) -> bool:
        """Whether interrupts from outside are to wait for what is resumed.

        Always for what runs alone: their handlers may wait for another vCPU.
        """
        return self._options.mask_interrupts or request.alone is not None

    def _armed(
        self,
        thread: bytes | None,
        instruction: Instruction,
        pc: int,
        state: int,
        plan: strategy.Plan,
        srrs: tuple[int, int] | None,
        *,
        masks: bool,
    ) -> Armed | None:
        """What is to be changed in the MSR for a step, if anything.  masks: EE, if possible."""
        written = state | (msr.SE if plan.trace is not None else 0)
        # In the handler of an interrupt that it takes, MSR[EE] has to be put right in SRR1.
        if (masks and plan.masks) and (srrs or not plan.handlers or self._reaches_srrs()):
            written &= ~msr.EE
        if written == state:
            return None
        if plan.trace is None:
            successors = plan.inside + plan.stops
        else:
            successors = isa.successors(instruction, pc, state, self._stub.read)
        mixed = written & msr.EE or self._options.interrupts is Interrupts.OVER
        task = self._task(state) if mixed else None
        saved = srrs or (0, 0)
        return Armed(thread, instruction, pc, state, written, *saved, plan.trace, successors, task)

    def _watching(self, plan: strategy.Plan, pc: int) -> tuple[int, ...]:
        """The vectors of faults that are planted for a step.

        Those of the steps before stay, so that they need not be planted again for the next load.
        """
        if self._undo is not Undo.KEEP_PLANTED or self._options.interrupts is not Interrupts.INTO:
            return plan.faults
        self._watched.update(dict.fromkeys(plan.faults))
        return tuple(one for one in self._watched if one != pc and one not in plan.stops)

    def _in_handler(self, stop: StopReply, thread: bytes | None, plan: strategy.Plan) -> bool:
        """Whether a step has stopped at the vector of an interrupt that its instruction took."""
        if not stop.is_breakpoint:
            return False
        pc = self._stub.read("pc")
        if stop.thread != thread and self._breakpoints.code_at(pc):
            return False
        return pc in plan.taken + plan.faults

    def _return(self, request: Resume, step: Landing, following: int, state: int) -> StopReply:
        """Run the handler at whose vector a step has stopped until it returns; the stop.

        It may return to the instruction or to the next one, and is recognised by the stack.
        """
        frame = self._frame(whole=True)._replace(state=state)
        returned = Landing((following, step.pc), None, step.thread, step.pc, frame=frame)
        self._log("over the interrupt, to {:#x} or {:#x}", following, step.pc)
        return self._run(request, returned)

    def run_to(self, request: Resume, stops: tuple[int, ...]) -> StopReply:
        """Resume, with temporary breakpoints at `stops`; the stop, there or for another reason.

        SstepError: nothing was resumed, and the guest is as it was.
        """
        return self._run(request, Landing(stops, needed=len(stops)))

    def collect_returned_step(self, thread: bytes | None) -> bool:
        """At a breakpoint, where a thread has stopped that was resumed by somebody else: whether
        only an interrupted step came home, and the guest is to run on.
        """
        try:
            return self._settle(stopped(thread), None) is None
        finally:
            self._stub.send_queued()
            self._stub.forget()

    def landings(self) -> tuple[int, ...]:
        """Where the next instruction of the selected thread may arrive, one after another."""
        state, pc = self._stub.read("msr"), self._stub.read("pc")
        instruction, read = self._stub.instruction(pc), self._read
        plan = strategy.plan(instruction, pc, state, read, self.vectors())
        if plan.state is not None:
            return (plan.state[0],)
        if plan.trace is None:
            return plan.stops
        return isa.successors(instruction, pc, state, read)

    @contextmanager
    def _lifted(self, breakpoints: list[Breakpoint]) -> Iterator[None]:
        """Without gdb's breakpoints where a step starts, as for a stub that steps.

        gdb lifts one by itself where it stopped at it, but not where pc was set to it, or another
        vCPU stands at it.
        """
        lifted: list[Breakpoint] = []
        try:
            for one in breakpoints:
                self._stub.expect_ok(one.removal, "to lift gdb's breakpoint")
                lifted.append(one)
            yield
        finally:
            with suppress(StubGone):
                for one in lifted:
                    self._stub.expect_ok(one.insertion, "to put gdb's breakpoint back")

    def _run(
        self, request: Resume, landing: Landing | None, *, releasing: bool = False
    ) -> StopReply:
        """Resume until there is a stop for gdb; a stop that is only ours is dealt with here.

        releasing: nor is the guest resumed again once nothing is outstanding.
        """
        must, may = (landing.must, landing.may) if landing else ((), ())
        arming = True
        while True:
            with self._planted(must + self.guarded, may) as wanted:
                if arming and landing is not None and landing.armed is not None:
                    landing = landing._replace(armed=self._arm(landing.armed, wanted))
                arming = False
                stop = self._stub.run(request)
            self._log("stop {}", stop)
            self._unfinished = functools.partial(self._settle, stop, landing)
            try:
                shown = self._settle(stop, landing)
            finally:
                if self._undo is not Undo.KEEP_PLANTED:
                    self._unplant(list(self._planted_at))
            if shown is None or self.outstanding or self._undo is not Undo.DEFER:
                self._stub.send_queued()
            elif self._collected is not None:
                self._deferred = self._unfinished
            self._unfinished = None
            if shown is not None:
                return shown
            if releasing and not self.outstanding:
                return stop
            if self._stub.interrupted():
                return stopped(stop.thread, signal=2)

    @contextmanager
    def _planted(
        self, needed: tuple[int, ...], others: tuple[int, ...]
    ) -> Iterator[Collection[int]]:
        """Temporary breakpoints here and nowhere else while the guest runs; see `keeps_planted`.

        others: those that the stub may refuse.  Gives all of them.
        """
        wanted = dict.fromkeys(needed, True)
        wanted.update((address, False) for address in others if address not in wanted)
        try:
            self._unplant([address for address in self._planted_at if address not in wanted])
            for address, must in wanted.items():
                if address not in self._planted_at:
                    self._plant(address, must=must)
            yield wanted
        except BaseException:
            with suppress(StubGone, StubRefused):
                self.quiesce()
            raise
        if self._undo is not Undo.KEEP_PLANTED and self._undo is not Undo.DEFER:
            self._unplant(list(self._planted_at))

    def _plant(self, address: int, *, must: bool) -> None:
        def refused(error: StubRefused) -> bool:
            self._planted_at.pop(address, None)
            if not must:
                self._log("not planted, and not needed: {}", error)
            return not must

        self._planted_at[address] = None
        self._stub.insert(address, refused)

    def _unplant(self, addresses: list[int]) -> None:
        def still_refused(error: StubRefused) -> bool:
            self._log("{}", error)
            return True

        def remove(address: int) -> None:
            def refused(_error: StubRefused) -> bool:
                self._stub.remove(address, still_refused)  # it would stop the guest some day
                return True

            self._stub.remove(address, refused)

        for address in reversed(addresses):
            del self._planted_at[address]
            self._watched.pop(address, None)
            with suppress(StubGone):
                remove(address)

    def quiesce(self) -> None:
        """The guest is left as it is to others: without temporary breakpoints."""
        self._unplant(list(self._planted_at))
        self._stub.send_queued()

    def look_ahead(self, prefetch: tuple[bytes, ...] = ()) -> None:
        """At a stop: ask at once for what gdb and the next step will ask for, if it is unknown."""
        stub = self._stub
        self._asked_next = prefetch
        if stub.breakpoints_are_words:
            return
        with suppress(StubRefused):
            if stub.known_register("pc") is None:
                # Often at that which was hit last, or at that which was planted for this resume.
                planted = self._breakpoints
                places = [self._hit] if self._hit in planted else []
                if planted.last_inserted is not None:
                    places.append(planted.last_inserted)
                stub.prefetch(_STATE, places, self._asked_next)
                if stub.read("pc") in planted:
                    self._hit = stub.read("pc")
            stub.prefetch(_STATE, (stub.read("pc"),), self._asked_next)
            stub.forget_refusals()

    def _arm(self, armed: Armed, wanted: Collection[int]) -> Armed | None:
        """Change the MSR for a step when all is planted; what was changed, if anything.

        MSR[EE] is left alone unless all that is wanted is planted.  StubRefused if SE cannot be
        set or collected; the MSR is then as before, or will be when `recover` can do that.
        """
        self._stub.select(armed.thread)
        self.outstanding.append(armed)
        if self._collected is None:  # else the record tells of that until all is written
            self._note()
        try:
            self._stub.write("msr", armed.written)
            self._stub.send_queued()
            if armed.masked and any(address not in self._planted_at for address in wanted):
                return self._unmask(armed)
        except StubRefused:
            self._unfinished = functools.partial(self._unarm, armed, self._unfinished)
            self.recover()
            raise
        return armed

    def _unmask(self, armed: Armed) -> Armed | None:
        unmasked = armed.unmasked()
        self._stub.write("msr", unmasked.written if unmasked else armed.state)
        self._stub.send_queued()
        self.outstanding[self.outstanding.index(armed) :] = [unmasked] if unmasked else []
        self._note()
        return unmasked

    def _unarm(self, armed: Armed, before: Callable[[], object] | None) -> None:
        """before: what else is to be done again, of the step before."""
        self._stub.select(armed.thread)
        if self._stub.read("msr") != armed.state:
            self._stub.write("msr", armed.state)
            self._stub.send_queued()
        if armed in self.outstanding:
            self.outstanding.remove(armed)
        if before is not None:
            before()
        self._note()

    # -- collecting

    def recover(self) -> None:
        """Deal with the last stop again, if the stub refused something in the middle of that.

        StubRefused: it still does.
        """
        if self._unfinished is not None:
            self._log("again, as the stub has refused something")
            self._unfinished()
            self._stub.send_queued()
            self._unfinished = None

    def abandon(self) -> None:
        """After an error that nobody expected: take back what is still in the guest.

        What is known of it is then as good as the record of a session that was killed.
        """
        self._prepared = None
        try:
            self.recover()
            self.quiesce()
        except StubGone:
            raise
        except Exception as error:
            self._log("abandoned: {!r}", error)
            lost = self.snapshot
            self._stub.abandon()
            self._unfinished = self._deferred = self._collecting = self._collected = None
            self._ahead = None
            self.outstanding.clear()
            self.clean(lost)
            self.quiesce()
        self._note()

    def _settle(self, stop: StopReply, landing: Landing | None) -> StopReply | None:
        """Put right what our own doing shows at this stop; the stop for gdb, None to go on."""
        try:
            return self._settled(stop, landing)
        finally:
            self._note()

    def _settled(self, stop: StopReply, landing: Landing | None) -> StopReply | None:
        if stop.payload[:1] in (b"W", b"X"):
            self.outstanding.clear()
            with suppress(StubGone, StubRefused):
                self._stub.send_queued()
            return stop
        if self._collecting is not None:
            self._stub.select(self._collecting.thread)
            self._collect(*self._collecting)
        armed = landing.armed if landing else None
        shown: StopReply | None = stop
        elsewhere: list[bytes | None] = []
        for thread in dict.fromkeys([stop.thread, *(one.thread for one in self.outstanding)]):
            if not self.outstanding:
                break
            self._stub.select(thread)
            registers, code = self._asked_at_stop(landing)
            self._stub.prefetch(registers, code, self._asked_next)
            state, pc = self._stub.read("msr"), self._stub.read("pc")
            if pc not in [one.vector for one in self.outstanding]:
                elsewhere.append(thread)
                continue
            srrs = self._saved(msr.TRACE)
            if srrs is None and thread in [one.thread for one in self.outstanding if one.vector]:
                raise StubRefused("the stub refused to read srr0 or srr1 after a step")
            owner = self._owner(thread, pc, srrs)
            only_ours = thread == stop.thread and stop.is_breakpoint
            if owner is not None and srrs is not None:
                self._collect(owner, thread, *srrs)
                if only_ours and owner is not armed:
                    shown = None  # an earlier step came home: nobody asked for this stop
            elif only_ours and not self._breakpoints.code_at(pc):
                self._log("{} has a Trace interrupt of its own at {:#x}", _name(thread), pc)
                shown = self._leave(thread, pc, state)
        if shown is stop and landing is not None and self._passes(stop, landing):
            shown = self._leave(stop.thread, self._stub.read("pc"), self._stub.read("msr"))
        if shown is None and armed is not None and armed not in self.outstanding:
            shown = stopped(armed.thread)  # another vCPU's stop hid the end of the step
        if shown is not None:
            for thread in elsewhere:
                self._stub.select(thread)
                self._disarm(landing, thread, self._stub.read("pc"), self._stub.read("msr"))
            # MSR[EE] alone is undone in the vCPU itself or at the vector.
            self.outstanding[:] = [one for one in self.outstanding if one.vector is not None]
            if landing is not None and armed not in self.outstanding:
                self.steps += 1
            self._stub.select(shown.thread)  # as gdb counts on
        return shown

    def _asked_at_stop(self, landing: Landing | None) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """The registers of a thread, and the code, that are asked for after a stop, as a rule."""
        traced = any(one.vector is not None for one in self.outstanding)
        if landing is not None and landing.code is not None and not traced:
            return ("msr", "pc", "r1"), ()
        armed = self.outstanding[-1]
        registers = self._before if armed.task is None else (*self._before, *_TASK)
        if armed.vector is None or self._stub.breakpoints_are_words:
            return registers, ()
        # The handler's code is that of the step only if memory is the same in both.
        handler = msr.in_handler(armed.state, armed.vector)
        same = not (handler ^ armed.state) & (msr.IR | msr.DR)
        return registers, armed.successors if same else ()

    def _passes(self, stop: StopReply, landing: Landing) -> bool:
        """Whether a stop is at a temporary breakpoint of a step, but not of what was stepped.

        That is another vCPU, a handler of an interrupt that came in between, or another task.
        """
        faults = landing.faults + landing.through
        if not stop.is_breakpoint or not (faults or landing.frame or landing.stack is not None):
            return False
        self._stub.select(stop.thread)
        pc = self._stub.read("pc")
        if pc not in landing.stops + faults or self._breakpoints.code_at(pc):
            return False
        if landing.armed is not None and pc == landing.armed.vector:
            return False  # see _owner
        if landing.frame is not None and landing.code is not None:
            if not self._has_left(landing, landing.frame, landing.code, stop.thread, pc):
                return True
            if pc not in landing.through:
                return False
            if landing.armed is not None and stop.thread == landing.thread:
                self._clean_srr1(landing.armed, pc)  # it comes back, with interrupts as they were
            return True
        if landing.frame is not None:
            moved = stop.thread != landing.thread
            return not self._frame(whole=moved).is_of(landing.frame, moved=moved)
        if stop.thread != landing.thread and (
            pc not in landing.stops or self._stub.read("r1") != landing.stack
        ):
            return True  # the guest has not moved the task there
        if pc in landing.taken:
            return not self._takes(landing, pc)
        if pc not in faults:
            return False
        saved = self._saved(pc)
        if saved is None:
            return False
        ours = landing.armed is None or _interrupted(landing.armed, *saved)
        if ours and pc in landing.faults and saved[0] == landing.pc:
            return False
        if landing.armed is not None:
            self._clean_srr1(landing.armed, pc, keep=msr.SE)  # it comes back to the step
        return True

    def _takes(self, landing: Landing, vector: int) -> bool:
        """Whether the interrupt at a vector is the one that the stepped instruction takes.

        Another task may call the system first, if an interrupt from outside has come in between.
        """
        saved = self._saved(vector)
        if saved is not None and not landing.pc <= saved[0] <= landing.pc + 8:
            return False
        return self._stub.read("r1") == landing.stack

    def _has_left(
        self,
        landing: Landing,
        frame: Frame,
        code: tuple[int, int],
        thread: bytes | None,
        pc: int,
    ) -> bool:
        """Whether a thread at a stop of `landing` is the one that ran through a range.

        The guest may have moved it to another vCPU: a stack belongs to one thread of execution.
        """
        now = self._frame(whole=False)
        if pc in landing.faults + landing.through:
            saved = self._saved(pc)
            if saved is None:
                return thread == landing.thread
            if not code[0] <= saved[0] < code[1]:
                return False
            now = now._replace(state=saved[1])
        return now.is_of(frame, moved=False)

    def _owner(
        self, thread: bytes | None, vector: int, srrs: tuple[int, int] | None
    ) -> Armed | None:
        """Which armed step a thread's Trace interrupt with these SRR0 and SRR1 belongs to, if any.

        Recognised by where it came from, on whichever vCPU; else (a handler may have changed the
        address to return to) by coming from the same vCPU and state of the machine.  In either case
        from the same task: while a step is in a handler, another task may be one that the guest
        itself traces.
        """
        candidates = [one for one in reversed(self.outstanding) if one.vector == vector]
        if srrs is None or not candidates:
            return None

        def same_task(one: Armed, below: int = 1) -> bool:
            return one.task is None or _same_task(one, one.task, self._task(srrs[1]), below)

        for one in candidates:
            if srrs[0] in one.successors and same_task(one):
                return one
        for one in candidates:
            if one.thread != thread or (srrs[1] ^ one.state) & _CONTEXT:
                continue
            if same_task(one, _SIGNAL_FRAME):
                return one
        return None

    def _task(self, state: int) -> Task:
        """The task that the selected thread is in, or was at an interrupt that saved `state`."""
        space = self._optional_here("pid") if state & msr.PR else None
        return Task(self._stub.read("r1"), space)

    def _collect(self, armed: Armed, thread: bytes | None, srr0: int, srr1: int) -> None:
        """Undo a Trace interrupt that we caused, in the selected thread."""
        self._collecting = Collecting(armed, thread, srr0, srr1)
        self._note()
        instruction, read, write = armed.instruction, self._stub.read, self._stub.write
        state = armed.after(msr.after_trace(srr1))
        restored = {"srr0": armed.srr0, "srr1": armed.srr1}
        if instruction.kind is Kind.MTSPR and instruction.spr in isa.SRR:
            restored[isa.SRR[instruction.spr]] = read(instruction.rt)
        if instruction.kind is Kind.MFMSR:
            restored[instruction.rt] = armed.before(read(instruction.rt))
        # SRR0 and SRR1 last: if we are killed in between, they tell where the step was.
        # A stub may have its own idea of an MSR that it never gave.
        write("msr", state, reads_back=state == armed.state)
        write("pc", srr0, reads_back=True)
        for name, value in restored.items():
            write(name, value, reads_back=True)
        self._next = srr0
        self._collected, self._collecting = self._collecting, None
        self.outstanding.remove(armed)
        self._stub.defer(self._written)
        self._log("collected {}: pc={:#x} msr={:#x}", _name(thread), srr0, state)

    def _written(self, all_: bool) -> None:
        """What `_collect` has queued was sent; all_: it is done, else it has to be done again."""
        collected, self._collected = self._collected, None
        deferred, self._deferred = self._deferred, None
        assert collected is not None
        if not all_:
            self._collecting = collected
            self.outstanding.append(collected.armed)
            if deferred is not None:
                self.steps -= 1
                self._unfinished = deferred
        self._note()

    def _disarm(self, landing: Landing | None, thread: bytes | None, pc: int, state: int) -> None:
        """Undo in the selected thread what a step changed in the MSR, where that lies open.

        That is in the MSR of a vCPU that has not executed the instruction or has come back to it,
        or has arrived without a Trace interrupt, and in SRR1 at the very first instruction of an
        interrupt handler.  Anywhere else it is in a frame that only the handler knows, and stays
        outstanding.
        """
        for armed in reversed(self.outstanding):
            arriving = landing is not None and armed is landing.armed and thread == armed.thread
            if landing and arriving and pc in landing.stops:
                how = "arrived without a Trace interrupt"
                if not msr.is_vector(pc) or not self._clean_srr1(armed, pc):
                    self._write_state(state, armed.after(state))
            elif self._is_before(armed, thread, pc, state):
                if armed.vector is not None:
                    self._clean_srr1(armed)
                self._write_state(state, armed.before(state))
                how = "disarmed in MSR"
            elif msr.is_vector(pc) and self._clean_srr1(armed, pc):
                how = "disarmed in SRR1"
            else:
                continue
            self._stub.send_queued()
            self.outstanding.remove(armed)
            self._log("{} at {:#x}: {}", _name(thread), pc, how)
            return

    @staticmethod
    def _is_before(armed: Armed, thread: bytes | None, pc: int, state: int) -> bool:
        """Whether a vCPU with this pc and MSR stands where a step began, or within what it does."""
        if (state ^ armed.state) & _CONTEXT:
            return False
        if armed.vector is None:
            return thread == armed.thread and pc in (armed.pc, *armed.successors)
        return pc == armed.pc and bool(state & msr.SE)

    def _write_state(self, old: int, new: int) -> None:
        if new != old:
            self._stub.write("msr", new)

    def _clean_srr1(self, armed: Armed, vector: int = msr.TRACE, keep: int = 0) -> bool:
        """Undo a step's changes in the selected thread's SRR1, if an interrupt of it saved that.

        vector: of that interrupt; some have registers of their own (HSRR1).  keep: bits of the MSR
        that are not undone.
        """
        saved = self._saved(vector)
        if saved is None or not _interrupted(armed, *saved):
            return False
        address, state = saved
        undone = armed.before(state) if address == armed.pc else armed.after(state)
        self._write(msr.saved_in(vector)[1], undone & ~keep | state & keep)
        self._stub.send_queued()
        return True

    def _leave(self, thread: bytes | None, pc: int, state: int) -> StopReply | None:
        """Let the selected thread execute the instruction at a vector that stays guarded.

        The stop for gdb if it was stopped for anything else meanwhile.
        """
        instruction = self._stub.instruction(pc)
        plan = strategy.plan(instruction, pc, state, self._read, self.vectors(), traceable=False)
        if plan.state is not None:
            self._emulate(plan)
            return None
        with self._planted(plan.stops[:1], plan.stops[1:] + plan.faults):
            stop = self._stub.run(_only(thread))
        return None if stop.is_breakpoint else stop

    def _emulate(self, plan: strategy.Plan) -> None:
        """Write what an instruction does instead of running it."""
        assert plan.state is not None
        pc, new = plan.state
        for armed in reversed(self.outstanding):
            # The handler that an interrupted step was left in returns: its SE is ours.
            if new & msr.SE and pc == armed.pc and not (new ^ armed.state) & _CONTEXT:
                new &= ~msr.SE
                self._clean_srr1(armed)
                self.outstanding.remove(armed)
                self._note()
                self._log("disarmed at the return to {:#x}", pc)
                break
        for name, value in plan.registers:
            try:
                if name != "cfar" or self._stub.has(name):
                    self._write(name, value)
                    self._stub.send_queued()
            except StubRefused as refused:
                if name != "cfar":
                    raise
                self._log("{}", refused)
        self._stub.write("pc", pc)
        self._stub.write("msr", new)
        self._stub.send_queued()

    def release(self, going_on: Callable[[], bool]) -> bool:
        """Before the stub is let go: run on until no step is outstanding; whether that is so.

        going_on() is asked before each try; to interrupt one is the business of the link.
        """
        with suppress(StubRefused):
            self._stub.send_queued()
        self.recover()
        while self.outstanding and going_on():
            self._run(Resume((Action(b"c"),)), None, releasing=True)
        return not self.outstanding

    # -- what others have left

    def leftovers(self, known: Snapshot | None = None) -> list[Leftover]:
        """What a session that was killed in the middle of a step has left; the guest is stopped.

        known: what is known of it, as far as it fits what is found.  Without that, MSR[SE] and
        Trace interrupts that no step of ours has to do with: they may be the guest's own.
        """
        threads = self._stub.threads()
        selected = self._stub.thread or next(iter(threads), None)
        try:
            found = [self._left(thread) for thread in threads]
            ours, away = self._surviving(known)
            left = [one for one in found if one and one.thread not in [a.thread for a in ours]]
            return [
                *(_told(one) for one in ours),
                *left,
                *(_told(one, " that may be in a handler") for one in away),
            ]
        finally:
            self._stub.select(selected)

    def _left(self, thread: bytes) -> Leftover | None:
        self._stub.select(thread)
        state, pc = self._stub.read("msr"), self._stub.read("pc")
        if state & msr.SE:
            return Leftover(thread, pc, state & ~msr.SE, f"MSR[SE] is set at {pc:#x}")
        srrs = self._given_srrs() if msr.is_vector(pc, msr.TRACE) else None
        if srrs is None or not srrs[1] & msr.SE:
            return None
        what = f"a Trace interrupt from before {srrs[0]:#x}"
        return Leftover(thread, srrs[0], msr.after_trace(srrs[1]) & ~msr.SE, what)

    def _take_back(self, armed: Armed, collecting: Collecting | None) -> None:
        """Undo one step of a killed session, which `_surviving` has found in the middle.

        collecting: the Trace interrupt that was being undone when it was killed, if any.
        """
        if collecting is not None and collecting.armed == armed:
            self._stub.select(collecting.thread)
            self._collect(*collecting)
        else:
            self._stub.select(armed.thread)
            state, pc = self._stub.read("msr"), self._stub.read("pc")
            srrs = self._given_srrs() if pc == armed.vector else None
            if srrs is not None:
                self._collect(armed, armed.thread, *srrs)
            else:
                self._write_state(state, armed.before(state))
                self.outstanding.remove(armed)
        self._stub.send_queued()
        self._note()

    def _surviving(self, known: Snapshot | None) -> tuple[list[Armed], list[Armed]]:
        """Those steps of a killed session that are in the middle now; and those that are in a
        handler of the guest's, which will return with our MSR[SE].
        """
        found: list[Armed] = []
        away: list[Armed] = []
        if known is None:
            return found, away
        for armed in known.outstanding:
            collecting = known.collecting
            if collecting is not None and collecting.armed != armed:
                collecting = None
            try:
                self._stub.select(collecting.thread if collecting else armed.thread)
            except StubRefused:
                continue  # another guest
            state, pc = self._stub.read("msr"), self._stub.read("pc")
            srrs = self._given_srrs() if pc == armed.vector else None
            if (
                (collecting and pc in (armed.vector, collecting.srr0))
                or (srrs and srrs[0] in armed.successors)
                or (state == armed.written and self._is_before(armed, armed.thread, pc, state))
            ):
                found.append(armed)
            elif armed.vector is not None and pc not in (armed.pc, *armed.successors):
                away.append(armed)
        return found, away

    def clean(self, known: Snapshot | None = None) -> list[Leftover]:
        """Undo all of `leftovers`, and return it; what is in a handler is outstanding then.

        Where nothing is known SRR0 and SRR1 are lost, and MSR[EE] is set again only in problem
        state: the session may have masked interrupts.
        """
        found = self.leftovers(known)
        if known is not None:
            ours, away = self._surviving(known)
            self.outstanding += ours + away
            for armed in ours:
                self._take_back(armed, known.collecting)
        for one in self.leftovers():
            self._stub.select(one.thread)
            self._stub.write("msr", one.state | (msr.EE if one.state & msr.PR else 0))
            self._stub.write("pc", one.home)
            self._stub.send_queued()
        return found

    # -- what is asked of the stub

    def vectors(self) -> strategy.Vector:
        """Where interrupts of the selected thread go; LPCR is read once, where it matters."""
        relocation: msr.Relocation | None = None

        def vector(offset: int, state: int) -> int:
            nonlocal relocation
            if not msr.relocates(state):
                return offset
            if relocation is None:
                relocation = self.relocation()
            return msr.vector(offset, state, relocation)

        return vector

    def relocation(self) -> msr.Relocation:
        """LPCR[AIL] and the rules for it.  SstepError if it is not to be had."""
        pvr = self._processor()
        if self._options.ail is not None:
            return msr.Relocation(
                self._options.ail, self._options.ail == 3, msr.Relocation.of(0, pvr).power10
            )
        lpcr = self._optional("lpcr")
        if lpcr is None:
            raise SstepError(
                "the stub does not give LPCR, so where interrupts go is not known; "
                "use `set ppc-sstep ail 0`, `2` or `3` (Linux guests use 3)"
            )
        return msr.Relocation.of(lpcr, pvr)

    def _processor(self) -> int | None:
        """The PVR, asked for once; None if it is not to be had."""
        if self._pvr is None:
            self._pvr = self._optional("pvr")
        return self._pvr

    def _optional(self, name: str) -> int | None:
        """A register that is the same on all vCPUs, None where the stub has it on none."""
        value = self._optional_here(name)
        if value is not None or not self._stub.has(name):
            return value
        # QEMU 7.2 gives SPRs of the first vCPU only (fixed in QEMU 8).
        selected = self._stub.thread
        try:
            self._stub.select(_first(selected))
            return self._optional_here(name)
        except StubRefused:
            return None
        finally:
            self._stub.select(selected)

    def _optional_here(self, name: str) -> int | None:
        """A register of the selected thread, None where the stub does not give it."""
        try:
            return self._stub.read(name) if self._stub.has(name) else None
        except StubRefused:
            return None

    def _given_srrs(self) -> tuple[int, int] | None:
        """SRR0 and SRR1 of the selected thread, None where the stub keeps them to itself."""
        for name in ("srr0", "srr1"):
            if not self._stub.has(name):
                raise StubRefused(f"the stub's target description has no register {name}")
        try:
            return self._stub.read("srr0"), self._stub.read("srr1")
        except StubRefused:
            return None  # QEMU 7.2 on every vCPU but the first

    def _saved(self, vector: int) -> tuple[int, int] | None:
        """What the interrupt of a vector saved, address and MSR; None where that is not known."""
        address, state = msr.saved_in(vector)
        try:
            return self._read(address), self._read(state)
        except StubRefused:
            return None

    # -- what the stub keeps to itself

    def _read(self, name: str) -> int:
        """A register of the selected thread; SRR0, SRR1 and PVR even where the stub gives them not.

        StubRefused: nothing gives it.
        """
        try:
            return self._stub.read(name)
        except StubRefused:
            if name == "pvr" and (pvr := self._processor()) is not None:
                return pvr
            found = self._find_spr_access(name, writes=False)
            if found is None:
                raise
        return self._run_borrowed(found)

    def _write(self, name: str, value: int) -> None:
        """Set a register of the selected thread; SRR0 and SRR1 as in `_read`."""
        if name in isa.SRR.values():
            try:
                self._stub.read(name)
            except StubRefused:
                found = self._find_spr_access(name, writes=True)
                if found is None:
                    raise
                self._run_borrowed(found, value)
                return
        self._stub.write(name, value)

    def _reaches_srrs(self) -> bool:
        """Whether a handler's SRR0 and SRR1 can be read and SRR1 written, from code like this."""
        wanted = (("srr0", False), ("srr1", False), ("srr1", True))
        return all(
            self._find_spr_access(name, writes=writes) is not None for name, writes in wanted
        )

    def _find_spr_access(self, name: str, *, writes: bool) -> SprAccess | None:
        """An instruction of the guest's that the selected thread can execute (see `lent`)."""
        if not self._stub.has(name) or name not in isa.SRR.values():
            return None
        state = self._stub.read("msr")
        key = name, writes, msr.relocates(state)
        known = self._accesses.get(key)
        if state & msr.PR:
            return None
        if known is not None and self._stub.instruction(known.address).word == known.word:
            return known
        if self.steps < self._missed.get(key, -SEARCHED) + SEARCHED:
            return None
        for block in lent.blocks(state, self.vectors()(msr.TRACE, state)):
            code = self._stub.memory(block, lent.BLOCK)
            for found in lent.search(code, block, self._stub.order):
                if (found.name, found.writes) == (name, writes):
                    self._accesses[key] = found
                    return found
        self._missed[key] = self.steps
        return None

    def _run_borrowed(self, found: SprAccess, value: int | None = None) -> int:
        """Have the selected thread execute this alone; what is in the general register then.

        value: what is put there before.  All other registers stay as they are.
        """
        thread, register, end = self._stub.thread, found.register, found.address + 4
        kept = {name: self._stub.read(name) for name in (register, "pc", "msr")}
        quiet = kept["msr"] & ~(msr.EE | msr.SE | msr.BE)
        try:
            if value is not None:
                self._stub.write(register, value)
            self._stub.write("pc", found.address)
            self._stub.write("msr", quiet)
            with self._lifted(self._breakpoints.code_at(found.address)), self._planted((end,), ()):
                while self._stub.read("pc") == found.address:
                    self._stub.run(_only(thread))  # a Ctrl-C may come before it is executed
                    self._stub.select(thread)
            if self._stub.read("pc") != end:
                raise StubRefused(f"{_name(thread)} does not execute {found.address:#x}")
            return self._stub.read(register)
        finally:
            with suppress(StubGone):
                for name, before in kept.items():
                    self._stub.write(name, before)
                self._stub.send_queued()

    def _frame(self, *, whole: bool) -> Frame:
        numbers = range(14, 32) if whole else ()
        kept = tuple(self._stub.read(f"r{number}") for number in numbers)
        return Frame(self._stub.read("r1"), self._stub.read("msr"), kept)

    def _thread(self, action: Action) -> bytes | None:
        """The one thread that an action means; "any" and "all" mean the current one."""
        thread = action.thread
        if thread is None or thread.rpartition(b".")[2] in (b"-1", b"0"):
            reply = self._stub.call(b"qC")
            return thread_id(reply[2:]) if reply.startswith(b"QC") else None
        return thread


class Frame(NamedTuple):
    """What tells one execution of some code from another.

    stack: r1.  state: the MSR.  kept: r14 to r31, which handlers and system calls keep, or nothing.
    """

    stack: int
    state: int
    kept: tuple[int, ...]

    def is_of(self, other: Frame, *, moved: bool) -> bool:
        """Whether it is the same execution; moved: on another vCPU, to which a task may have gone.

        On the same vCPU a handler may have changed registers, such as the target of a load that
        it has done in the program's stead.
        """
        if self.stack != other.stack or (self.state ^ other.state) & _CONTEXT:
            return False
        return not moved or self.kept == other.kept


class Collecting(NamedTuple):
    """A Trace interrupt of a step, and the SRR0 and SRR1 that it was found with in a thread."""

    armed: Armed
    thread: bytes | None
    srr0: int
    srr1: int


class Snapshot(NamedTuple):
    """What is known of an engine that is no more: see its attributes of these names."""

    outstanding: tuple[Armed, ...]
    collecting: Collecting | None


class Leftover(NamedTuple):
    """What a killed session has left on a vCPU.

    home, state: the pc and MSR without it.  what: the same in words.
    """

    thread: bytes
    home: int
    state: int
    what: str


class Landing(NamedTuple):
    """Where a step will stop.

    armed: the step itself, when the MSR is changed for it.  thread, pc: what is stepped.  faults,
    through: see `strategy.Plan`.  frame: at `stops` only this execution is meant.  needed: how many
    of the stops, from the first on, the stub must take.  taken: those of `stops` where the
    instruction arrives by an interrupt.  stack: r1, by which others at `stops` are told apart.
    code: the range that is run through.
    """

    stops: tuple[int, ...]
    armed: Armed | None = None
    thread: bytes | None = None
    pc: int = 0
    faults: tuple[int, ...] = ()
    frame: Frame | None = None
    needed: int = 1
    through: tuple[int, ...] = ()
    taken: tuple[int, ...] = ()
    stack: int | None = None
    code: tuple[int, int] | None = None

    @property
    def must(self) -> tuple[int, ...]:
        """Where the stub must take temporary breakpoints."""
        return self.stops[: self.needed]

    @property
    def may(self) -> tuple[int, ...]:
        """Where it may refuse them."""
        return self.stops[self.needed :] + self.faults + self.through


class Step(NamedTuple):
    """A step that is planned.

    asked, thread: what for.  version: the stub's at that time.  blocking: gdb's breakpoints at pc,
    which are lifted for it.  request: what is resumed.
    """

    asked: Resume
    thread: bytes | None
    version: int
    pc: int
    state: int
    instruction: Instruction
    plan: strategy.Plan
    blocking: list[Breakpoint]
    request: Resume
    landing: Landing


def _told(armed: Armed, where: str = "") -> Leftover:
    what = f"a step from {armed.pc:#x}{where}"
    return Leftover(armed.thread or b"", armed.pc, armed.state, what)


def _same_task(armed: Armed, before: Task, task: Task, below: int) -> bool:
    """Whether a Trace interrupt that was taken in `task` may be of a step armed in task `before`.

    below: by how much less than this the stack pointer may have been lowered meanwhile.
    """
    if None not in (before.space, task.space) and before.space != task.space:
        return False
    return armed.instruction.may_write_r1 or 0 <= before.stack - task.stack < below


def _page(thread: bytes | None, pc: int, state: int) -> tuple[bytes | None, int, int]:
    """What has to be the same for the fetch of one instruction to be as good as another's."""
    return thread, pc >> 12, state & _CONTEXT


def _interrupted(armed: Armed, address: int, state: int) -> bool:
    """Whether an interrupt that saved this took a step that has not done its work.

    It may be at the next instruction: QEMU's TCG takes no Trace interrupt after `or 1,1,1`, `wait`
    and the like, which leave its loop.
    """
    ours = msr.SE if armed.vector is not None else msr.EE
    return not (state ^ armed.written) & ours and address in (armed.pc, *armed.successors)


def _first(thread: bytes | None) -> bytes | None:
    """The thread-id of the first vCPU of the process that a thread is in."""
    if thread is None:
        return None
    process, dot, _ = thread.rpartition(b".")
    return process + dot + b"1"


def _only(thread: bytes | None) -> Resume:
    """Continue one vCPU, and none of the others."""
    return Resume((Action(b"c", b"", thread),), vcont=thread is not None)


def _name(thread: bytes | None) -> str:
    return thread.decode() if thread else "the vCPU"
