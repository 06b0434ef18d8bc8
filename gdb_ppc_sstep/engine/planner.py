# SPDX-License-Identifier: MIT
"""Plan one step: which strategy, what is changed in the MSR, and who runs meanwhile."""

from __future__ import annotations

from typing import NamedTuple

from ..errors import SstepError
from ..options import Interrupts, Options
from ..ppc import isa, msr, strategy
from ..ppc.isa import Instruction
from ..rsp.breakpoints import Breakpoint, GdbBreakpoints
from ..rsp.resume import Resume, only
from ..stub.stub import Stub
from .prefetch import Prefetch
from .steps import CONTEXT, Armed
from .targets import StepTarget
from .temporary import TemporaryBreakpoints
from .vcpu import Vcpu
from .vectors import Vectors


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
    target: StepTarget


class Planner:
    """Plans the steps of one engine."""

    def __init__(
        self,
        stub: Stub,
        vcpu: Vcpu,
        vectors: Vectors,
        gdbs: GdbBreakpoints,
        temporary: TemporaryBreakpoints,
        prefetch: Prefetch,
    ) -> None:
        self._stub = stub
        self._vcpu = vcpu
        self._vectors = vectors
        self._gdbs = gdbs
        self._temporary = temporary
        self._prefetch = prefetch
        self._options = Options()
        self._ahead: Step | None = None
        self._fetched: tuple[bytes | None, int, int] | None = None  # see _page

    def apply(self, options: Options) -> None:
        """Plan as the user wants it from now on."""
        self._options = options
        self._ahead = None

    def plan_ahead(self, request: Resume, thread: bytes | None) -> Step:
        """Plan a step that gdb may ask for next; `plan` then has it already."""
        self._ahead = self._planned(request, thread)
        return self._ahead

    def plan(self, request: Resume, thread: bytes | None, *, reserved: bool = True) -> Step:
        """A step of the selected thread.  SstepError: it cannot be stepped.

        reserved: see `strategy.plan`.
        """
        step, self._ahead = self._ahead, None
        if (
            step is not None
            and (step.asked, step.thread, step.version) == (request, thread, self._stub.version)
            and step.blocking == self._gdbs.code_at(step.pc)
        ):
            # Which breakpoints of earlier steps are still there may be another matter by now.
            if step.target.faults != step.plan.faults:
                faults = self._faults(step.plan, step.pc)
                step = step._replace(target=step.target._replace(faults=faults))
            self._prefetch.stepping(step.state, traced=step.plan.trace is not None)
            return step
        return self._planned(request, thread, reserved=reserved)

    def forget_ahead(self) -> None:
        """What was planned ahead is not to be used."""
        self._ahead = None

    def executed(self, step: Step) -> None:
        """The instruction of a step was executed, so the fetch of one in its page is no fault."""
        self._fetched = _page(step.thread, step.pc, step.state)

    def ran_elsewhere(self) -> None:
        """Code was run through: which page was fetched last is not known."""
        self._fetched = None

    def masks(self, request: Resume) -> bool:
        """Whether interrupts from outside are to wait for what is resumed.

        Always for what runs alone: their handlers may wait for another vCPU.
        """
        return self._options.mask_interrupts or request.alone is not None

    def landings(self) -> tuple[int, ...]:
        """Where the next instruction of the selected thread may arrive, one after another."""
        state, pc = self._stub.read("msr"), self._stub.read("pc")
        instruction, read = self._stub.instruction(pc), self._vcpu.read
        code, vectors = self._stub.instruction, self._vectors.at_stop()
        plan = strategy.plan(instruction, pc, state, read, vectors, code=code)
        if plan.state is not None:
            return (plan.state[0],)
        if plan.trace is None:
            return plan.stops
        return isa.successors(instruction, pc, state, read)

    def _planned(self, request: Resume, thread: bytes | None, *, reserved: bool = True) -> Step:
        stub = self._stub
        self._prefetch.before_step(alone=request.alone is not None)
        state, pc = stub.read("msr"), stub.read("pc")
        if pc & 3:
            raise SstepError(f"pc {pc:#x} is not a multiple of 4, so there is no instruction")
        instruction = stub.instruction(pc)
        blocking = self._gdbs.code_at(pc)
        alone = request.alone is not None or (request.vcont and bool(blocking))
        retried = instruction.stores_conditionally and not reserved
        lands = alone and not retried and strategy.lands_alone(instruction, state)
        srrs = None if lands else self._vcpu.given_srrs()
        plan = strategy.plan(
            instruction,
            pc,
            state,
            self._vcpu.read,
            self._vectors.at_stop(),
            traceable=srrs is not None,
            code=stub.instruction,
            reserved=reserved,
            fetched=self._fetched == _page(thread, pc, state),
            interrupts=self._options.interrupts,
        )
        self._prefetch.stepping(state, traced=plan.trace is not None)
        masks = self.masks(request) or bool(blocking)  # then it will run alone
        armed = self._armed(thread, instruction, pc, state, plan, srrs, masks=masks)
        masked = armed is not None and armed.masked
        target = StepTarget(
            thread,
            pc,
            plan.stops,
            armed,
            faults=self._faults(plan, pc),
            transient=plan.transient if masked else (),
        )
        in_code = False
        if plan.stops != (plan.trace,):
            target = target._replace(taken=plan.taken, stack=stub.read("r1"))
            in_code = any(place not in (plan.trace, *plan.taken) for place in plan.stops)
        # Only this vCPU: another one must not run past a breakpoint of the user's that is lifted,
        # and need not run into temporary breakpoints in code where no interrupt can come first.
        by_itself = request.vcont and (blocking or (in_code and masked))
        resumed = only(thread) if by_itself else request.continued()
        version = stub.version
        return Step(
            request, thread, version, pc, state, instruction, plan, blocking, resumed, target
        )

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
        if (masks and plan.masks) and (not plan.handlers or self._vcpu.reaches_srrs()):
            written &= ~msr.EE
        if written == state:
            return None
        if plan.trace is None:
            successors = plan.inside + plan.stops
        else:
            successors = isa.successors(instruction, pc, state, self._stub.read)
        mixed = written & msr.EE or self._options.interrupts is Interrupts.OVER
        task = self._vcpu.task(state) if mixed else None
        saved = srrs or (0, 0)
        return Armed(thread, instruction, pc, state, written, *saved, plan.trace, successors, task)

    def _faults(self, plan: strategy.Plan, pc: int) -> tuple[int, ...]:
        """The vectors of faults that are planted for a step."""
        if self._options.interrupts is not Interrupts.INTO:
            return plan.faults
        return self._temporary.with_earlier_vectors(plan.faults, pc, plan.stops)


def _page(thread: bytes | None, pc: int, state: int) -> tuple[bytes | None, int, int]:
    """What has to be the same for the fetch of one instruction to be as good as another's."""
    return thread, pc >> 12, state & CONTEXT
