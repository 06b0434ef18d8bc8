# SPDX-License-Identifier: MIT
"""Plans one step: by which strategy, what is changed in the MSR, and who runs meanwhile."""

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
    """A planned step.

    asked, thread: the resume that asks for it, and the stepped thread.  version: the stub's when it
    was planned.  blocking: gdb's breakpoints at pc, which are lifted for it.  request: what the
    stub is asked to resume.
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
        self._fetched: tuple[bytes | None, int, int] | None = None  # the `_page` of the last fetch

    def apply(self, options: Options) -> None:
        """Follow the user's options from the next plan on."""
        self._options = options
        self._ahead = None

    def plan_ahead(self, request: Resume, thread: bytes | None) -> Step:
        """Plan a step that gdb may ask for next, and keep it for `plan`."""
        self._ahead = self._planned(request, thread)
        return self._ahead

    def plan(self, request: Resume, thread: bytes | None, *, reserved: bool = True) -> Step:
        """Plan a step of the selected thread.  SstepError: it cannot be stepped.

        A step that was planned ahead is used if nothing has changed since.  reserved: see
        `strategy.plan`.
        """
        step, self._ahead = self._ahead, None
        if (
            step is not None
            and (step.asked, step.thread, step.version) == (request, thread, self._stub.version)
            and step.blocking == self._gdbs.code_at(step.pc)
        ):
            # Breakpoints that earlier steps left at vectors may have been removed meanwhile.
            if step.target.faults != step.plan.faults:
                faults = self._faults(step.plan, step.pc)
                step = step._replace(target=step.target._replace(faults=faults))
            self._prefetch.stepping(step.state, traced=step.plan.trace is not None)
            return step
        return self._planned(request, thread, reserved=reserved)

    def forget_ahead(self) -> None:
        """Do not use what was planned ahead."""
        self._ahead = None

    def executed(self, step: Step) -> None:
        """The instruction of this step was executed: a fetch from the same page is no fault."""
        self._fetched = _page(step.thread, step.pc, step.state)

    def ran_elsewhere(self) -> None:
        """Code was run through: it is not known from which page the last fetch was."""
        self._fetched = None

    def masks(self, request: Resume) -> bool:
        """Whether interrupts from outside are to wait for what is resumed.

        They always do for a thread that runs alone: their handlers may wait for another vCPU.
        """
        return self._options.mask_interrupts or request.alone is not None

    def landings(self) -> tuple[int, ...]:
        """The addresses at which the next instruction of the selected thread may arrive."""
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
        masks = self.masks(request) or bool(blocking)  # for a lifted breakpoint it runs alone
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
        # Only this vCPU runs then: another one must not run past a breakpoint of gdb's that is
        # lifted; nor need it hit our breakpoints in code, where no interrupt can come first.
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
        """What to change in the MSR for a step, if anything.

        masks: interrupts from outside are to wait, so EE is cleared too, where that can be undone.
        """
        written = state | (msr.SE if plan.trace is not None else 0)
        # If the instruction takes an interrupt, MSR[EE] has to be put right in the handler's SRR1.
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
        """The vectors of faults at which breakpoints are planted for a step."""
        if self._options.interrupts is not Interrupts.INTO:
            return plan.faults
        return self._temporary.with_earlier_vectors(plan.faults, pc, plan.stops)


def _page(thread: bytes | None, pc: int, state: int) -> tuple[bytes | None, int, int]:
    """A key: fetches with the same one are translated alike; if one works, so does the other."""
    return thread, pc >> 12, state & CONTEXT
