# SPDX-License-Identifier: MIT
"""Does by steps what a resume packet asks for, as a stub that can step does it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..options import Interrupts, Options
from ..ppc import isa, ranges
from ..ppc.isa import Instruction
from ..rsp.breakpoints import GdbBreakpoints
from ..rsp.resume import Action, Resume, StopReply, names_one, stopped
from ..stub.stub import Stub
from .code_run import CodeRun, Ran
from .past import Past
from .planner import Planner, Step
from .runner import Runner
from .steps import thread_name
from .targets import HandlerTarget
from .temporary import TemporaryBreakpoints
from .vcpu import Vcpu
from .watching import Watching


class Outcome(NamedTuple):
    """What a resume ended with.

    stop: the stop for gdb.  instruction: the one that was stepped last; None if code was run
    through, if the next access hits a watchpoint, so that nothing was stepped, or if gdb asked for
    no step.
    """

    stop: StopReply
    instruction: Instruction | None


class Stepper:
    """Carries out resume packets: steps, ranges, and watchpoints that only steps can see."""

    def __init__(
        self,
        stub: Stub,
        vcpu: Vcpu,
        gdbs: GdbBreakpoints,
        temporary: TemporaryBreakpoints,
        planner: Planner,
        runner: Runner,
        code_run: CodeRun,
        past: Past,
        watching: Watching,
        log: Callable[..., None],
    ) -> None:
        self._stub = stub
        self._vcpu = vcpu
        self._gdbs = gdbs
        self._temporary = temporary
        self._planner = planner
        self._runner = runner
        self._code_run = code_run
        self._past = past
        self._watching = watching
        self._log = log
        self._interrupts = Interrupts.INTO

    def apply(self, options: Options) -> None:
        """Follow the user's options from the next step on."""
        self._interrupts = options.interrupts

    def resume(self, request: Resume) -> Outcome:
        """Do what a resume packet asks for.  For errors see `Engine.resume`."""
        action = request.stepping
        if action is None and self._watching.by_steps:
            return self._continue_by_steps(request)
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

    def _continue_by_steps(self, request: Resume) -> Outcome:
        """Carry out a continue by steps, as nothing else can see gdb's watchpoints.

        Only one thread is stepped: the one that runs alone, else the one that stopped last.
        Accesses of other threads meanwhile are not seen, as with gdb's own software watchpoints.
        """
        stub = self._stub
        thread = request.alone or stub.thread or stub.current_thread()
        action = Action(b"s", b"", thread)
        others = () if request.alone is not None else (Action(b"c"),)
        stepping = Resume((action, *others) if request.vcont else (Action(b"s"),), request.vcont)
        while True:
            stub.select(thread)
            ran = self._code_run.straight(request, ranges.STRAIGHT, self._watching.accesses())
            outcome = self._step(stepping, action) if ran is None else Outcome(ran.stop, None)
            stop = outcome.stop
            if not stop.is_breakpoint or stop.thread != thread:
                return outcome
            if self._gdbs.code_at(stub.read("pc")):
                return outcome
            if stub.interrupted():
                return outcome._replace(stop=stopped(thread, signal=2))

    def _stays(self, action: Action, stop: StopReply) -> int | None:
        """The pc at which a range (`vCont;r`) may go on after a stop; None where it has ended.

        A range ends at a breakpoint of gdb's, as on a stub that steps.
        """
        if action.verb != b"r" or not stop.is_breakpoint or stop.thread != self._thread(action):
            return None
        pc = self._stub.read("pc")
        return None if self._gdbs.code_at(pc) else pc

    def _leaves_alone(self, action: Action, ran: Ran) -> bool:
        """Whether it stopped at an instruction of the range that has to be stepped by itself."""
        pc = self._stays(action, ran.stop)
        return pc is not None and pc in ran.stepped_alone

    def _is_in_range(self, action: Action, outcome: Outcome) -> bool:
        """Whether the range goes on with another step after this one.

        A call or return ends it, as only gdb can see whether this is still the same call of a
        function.
        """
        pc = self._stays(action, outcome.stop)
        if pc is None or outcome.instruction is None or outcome.instruction.may_call:
            return False
        start, end = action.range
        return start <= pc < end

    def _range(self, request: Resume, action: Action) -> Ran | None:
        """Run through the range that an action asks for; None if there is none or it is stepped."""
        if action.verb != b"r" or self._watching.by_steps:
            return None
        self._stub.select(self._thread(action))
        return self._code_run.run_range(request.continued(), *action.range)

    def _step(self, request: Resume, action: Action) -> Outcome:
        thread = self._thread(action)
        self._stub.select(thread)
        hit = self._watching.look(thread)
        if hit is not None:
            return Outcome(hit, None)
        over = self._watching.over
        reserved = over is None or over != (thread, self._stub.read("pc"))
        step = self._planner.plan(request, thread, reserved=reserved)
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
        if self._interrupts is Interrupts.OVER and self._is_in_handler(stop, step):
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
        """Run the handler at whose vector a step has stopped, until it returns; the stop for gdb.

        It may return to the instruction or to the next one.  Its return is told from another one's
        by r1, and on another vCPU also by r14 to r31.
        """
        self._runner.count(-1)  # the step is not done yet
        following = isa.in_mode(step.pc + step.instruction.length, step.state)
        frame = self._vcpu.frame(whole=True)._replace(state=step.state)
        self._log("over the interrupt, to {:#x} or {:#x}", following, step.pc)
        return self._runner.run(request, HandlerTarget(thread, (following, step.pc), frame))

    def _thread(self, action: Action) -> bytes | None:
        """The thread that an action is for; for "any" and "all" it is the stub's current one."""
        return action.thread if names_one(action.thread) else self._stub.current_thread()
