# SPDX-License-Identifier: MIT
"""Gets past one instruction without a Trace interrupt: emulates it, or runs it to its end."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from ..errors import StubRefused
from ..ppc import msr, strategy
from ..rsp.resume import StopReply, only
from ..stub.stub import Stub
from .ledger import Ledger
from .steps import CONTEXT
from .temporary import TemporaryBreakpoints
from .undo import Undoing
from .vcpu import Vcpu
from .vectors import Vectors


class Past:
    """Gets the selected thread past an instruction."""

    def __init__(
        self,
        stub: Stub,
        vcpu: Vcpu,
        vectors: Vectors,
        temporary: TemporaryBreakpoints,
        ledger: Ledger,
        undoing: Undoing,
        log: Callable[..., None],
    ) -> None:
        self._stub = stub
        self._vcpu = vcpu
        self._vectors = vectors
        self._temporary = temporary
        self._ledger = ledger
        self._undoing = undoing
        self._log = log

    def step_past(self, thread: bytes | None, pc: int, state: int) -> StopReply | None:
        """Have the selected thread execute the one instruction at pc, past a temporary breakpoint.

        None if it did; else the stop for gdb, as something else stopped the guest meanwhile.
        """
        instruction = self._stub.instruction(pc)
        sprg = instruction.sprg
        if sprg is not None and self._stub.read_optional(sprg) is not None:
            value = self._stub.read(instruction.rt)
            self.emulate(strategy.Plan(state=(pc + 4, state), registers=((sprg, value),)))
            return None
        plan = strategy.plan(
            instruction,
            pc,
            state,
            self._vcpu.read,
            self._vectors.at_stop(),
            code=self._stub.instruction,
            traceable=False,
            reserved=False,
        )
        if plan.state is not None:
            self.emulate(plan)
            return None
        with self._temporary.planted(plan.stops[:1], plan.stops[1:] + plan.faults):
            stop = self._stub.run(only(thread))
        return None if stop.is_breakpoint else stop

    def emulate(self, plan: strategy.Plan) -> None:
        """Write what an instruction does instead of running it.  StubRefused: it was not done."""
        assert plan.state is not None
        pc, new = plan.state
        for armed in reversed(self._ledger.outstanding):
            # The handler in which an interrupted step was returns now: SE in its SRR1 is ours.
            if new & msr.SE and pc == armed.pc and not (new ^ armed.state) & CONTEXT:
                new &= ~msr.SE
                self._undoing.clean_srr1(armed)
                self._ledger.disarm(armed)
                self._log("disarmed at the return to {:#x}", pc)
                break
        for name, value in plan.registers:
            try:
                if name != "cfar" or self._stub.has(name):
                    self._vcpu.write(name, value)
                    self._stub.send_queued()
            except StubRefused as refused:
                if name != "cfar":
                    raise
                self._log("{}", refused)
        before = [(name, self._stub.read(name)) for name in ("pc", "msr")]
        try:
            self._stub.write("pc", pc)
            self._stub.write("msr", new)
            self._stub.send_queued()
        except StubRefused:
            with suppress(StubRefused):  # it refused one of the two, and may have done the other
                for name, value in before:
                    self._stub.write(name, value)
                self._stub.send_queued()
            raise
