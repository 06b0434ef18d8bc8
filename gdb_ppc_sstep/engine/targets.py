# SPDX-License-Identifier: MIT
"""Where a resume is expected to stop, and how to tell its own hit from another's.

Whoever comes by hits a temporary breakpoint: another vCPU, an interrupt handler, or another task.
A target judges a hit, and does nothing about it; `settle` acts.
"""

from __future__ import annotations

import enum
from typing import NamedTuple, Protocol

from .steps import Armed, Frame
from .vcpu import Vcpu


class Verdict(enum.Enum):
    """Whose hit of a temporary breakpoint it is."""

    OURS = "what was resumed has arrived"
    FOREIGN = "another vCPU, handler or task passes"
    RETURNS = "an interrupt of what was resumed, whose handler comes back to it"


class Hit(NamedTuple):
    """A thread's stop at one of the places of a target."""

    thread: bytes | None
    pc: int


class Target(Protocol):
    """Where a resume is expected to stop, and who is expected there."""

    @property
    def armed(self) -> Armed | None:
        """The change of the MSR that the step needs, None where there is none."""

    @property
    def must(self) -> tuple[int, ...]:
        """The addresses of the temporary breakpoints that the stub must take."""

    @property
    def may(self) -> tuple[int, ...]:
        """The addresses of those that the stub may refuse."""

    @property
    def stops(self) -> tuple[int, ...]:
        """Those of `must` and `may` at which what was resumed arrives."""

    @property
    def registers(self) -> tuple[str, ...]:
        """The registers that `judge` reads at a stop, where no Trace interrupt is waited for."""

    @property
    def shared(self) -> bool:
        """Whether anybody else may come by; if not, there is nothing to judge."""

    def with_armed(self, armed: Armed | None) -> Target:
        """The same target, with what was really changed in the MSR."""

    def judge(self, hit: Hit, vcpu: Vcpu) -> Verdict:
        """Whose hit it is, at `must` or `may`, and not at the Trace vector of `armed`.

        vcpu: that of the hit's thread, which is selected.
        """


class StepTarget(NamedTuple):
    """The end of a step of one instruction.

    thread, pc: what is stepped.  stops, taken, faults, transient: see `strategy.Plan`.  stack: r1,
    by which others at `stops` are told apart; None where `stops` is only the Trace vector.
    """

    thread: bytes | None
    pc: int
    stops: tuple[int, ...]
    armed: Armed | None = None
    taken: tuple[int, ...] = ()
    faults: tuple[int, ...] = ()
    transient: tuple[int, ...] = ()
    stack: int | None = None

    @property
    def must(self) -> tuple[int, ...]:
        """See `Target`."""
        return self.stops[:1]

    @property
    def may(self) -> tuple[int, ...]:
        """See `Target`."""
        return self.stops[1:] + self.faults + self.transient

    @property
    def registers(self) -> tuple[str, ...]:
        """See `Target`."""
        return ()

    @property
    def shared(self) -> bool:
        """See `Target`."""
        return bool(self.faults or self.transient or self.stack is not None)

    def with_armed(self, armed: Armed | None) -> StepTarget:
        """See `Target`."""
        return self._replace(armed=armed)

    def judge(self, hit: Hit, vcpu: Vcpu) -> Verdict:
        """See `Target`."""
        pc = hit.pc
        if hit.thread != self.thread and (pc not in self.stops or vcpu.read("r1") != self.stack):
            return Verdict.FOREIGN  # our task, if the guest had moved it, would have the same r1
        if pc in self.taken:
            return Verdict.OURS if self._takes(pc, vcpu) else Verdict.FOREIGN
        if pc not in self.faults and pc not in self.transient:
            return Verdict.OURS
        saved = vcpu.saved_by(pc)
        if saved is None:
            return Verdict.OURS
        mine = self.armed is None or self.armed.was_interrupted(*saved)
        if mine and pc in self.faults and saved[0] == self.pc:
            return Verdict.OURS
        return Verdict.RETURNS if mine and self.armed is not None else Verdict.FOREIGN

    def _takes(self, vector: int, vcpu: Vcpu) -> bool:
        """Whether the interrupt at a vector is the one that the stepped instruction takes.

        It may be another task's system call, if an interrupt from outside has come in between.
        """
        saved = vcpu.saved_by(vector)
        if saved is not None and not self.pc <= saved[0] <= self.pc + 8:
            return False
        return vcpu.read("r1") == self.stack


class HandlerTarget(NamedTuple):
    """The return of the handler at whose vector a step has stopped.

    thread: the one that is in the handler.  stops: the addresses to which the handler may return.
    frame: of the stepped code.
    """

    thread: bytes | None
    stops: tuple[int, ...]
    frame: Frame

    @property
    def armed(self) -> Armed | None:
        """See `Target`."""
        return None

    @property
    def must(self) -> tuple[int, ...]:
        """See `Target`."""
        return self.stops[:1]

    @property
    def may(self) -> tuple[int, ...]:
        """See `Target`."""
        return self.stops[1:]

    @property
    def registers(self) -> tuple[str, ...]:
        """See `Target`."""
        return ()

    @property
    def shared(self) -> bool:
        """See `Target`."""
        return True

    def with_armed(self, armed: Armed | None) -> HandlerTarget:
        """See `Target`."""
        assert armed is None
        return self

    def judge(self, hit: Hit, vcpu: Vcpu) -> Verdict:
        """See `Target`."""
        moved = hit.thread != self.thread
        same = vcpu.frame(whole=moved).is_of(self.frame, moved=moved)
        return Verdict.OURS if same else Verdict.FOREIGN


class RangeTarget(NamedTuple):
    """The end of a run through some code: where control leaves it.

    thread: the one that runs.  start, end: the code, `end` not included.  stops: the addresses
    where control leaves it, or where it has to be stepped.  frame: of the execution that is meant.
    faults: the vectors of interrupts that end the run.  transient: the vectors of those whose
    handler returns to the code.
    """

    thread: bytes | None
    start: int
    end: int
    stops: tuple[int, ...]
    frame: Frame
    armed: Armed | None = None
    faults: tuple[int, ...] = ()
    transient: tuple[int, ...] = ()

    @property
    def must(self) -> tuple[int, ...]:
        """See `Target`."""
        return self.stops

    @property
    def may(self) -> tuple[int, ...]:
        """See `Target`."""
        return self.faults + self.transient

    @property
    def registers(self) -> tuple[str, ...]:
        """See `Target`."""
        return ("msr", "pc", "r1")

    @property
    def shared(self) -> bool:
        """See `Target`."""
        return True

    def with_armed(self, armed: Armed | None) -> RangeTarget:
        """See `Target`."""
        return self._replace(armed=armed)

    def judge(self, hit: Hit, vcpu: Vcpu) -> Verdict:
        """See `Target`."""
        if not self._is_ours(hit, vcpu):
            return Verdict.FOREIGN
        if hit.pc not in self.transient:
            return Verdict.OURS
        mine = self.armed is not None and hit.thread == self.thread
        return Verdict.RETURNS if mine else Verdict.FOREIGN

    def _is_ours(self, hit: Hit, vcpu: Vcpu) -> bool:
        """Whether the thread of a hit is the one that ran through the code.

        The guest may have moved it to another vCPU: a stack belongs to one thread of execution.
        """
        now = vcpu.frame(whole=False)
        if hit.pc in self.faults or hit.pc in self.transient:
            saved = vcpu.saved_by(hit.pc)
            if saved is None:
                return hit.thread == self.thread
            if not self.start <= saved[0] < self.end:
                return False
            now = now._replace(state=saved[1])
        return now.is_of(self.frame, moved=False)


class PlacesTarget(NamedTuple):
    """Some addresses; whoever arrives there is meant."""

    stops: tuple[int, ...]

    @property
    def armed(self) -> Armed | None:
        """See `Target`."""
        return None

    @property
    def must(self) -> tuple[int, ...]:
        """See `Target`."""
        return self.stops

    @property
    def may(self) -> tuple[int, ...]:
        """See `Target`."""
        return ()

    @property
    def registers(self) -> tuple[str, ...]:
        """See `Target`."""
        return ()

    @property
    def shared(self) -> bool:
        """See `Target`."""
        return False

    def with_armed(self, armed: Armed | None) -> PlacesTarget:
        """See `Target`."""
        assert armed is None
        return self

    def judge(self, hit: Hit, vcpu: Vcpu) -> Verdict:
        """See `Target`."""
        return Verdict.OURS
