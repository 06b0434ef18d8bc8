# SPDX-License-Identifier: MIT
"""The values that a step is made of: what was changed in a vCPU, and what tells tasks apart."""

from __future__ import annotations

import functools
from typing import NamedTuple

from ..ppc import msr
from ..ppc.isa import SRR, Instruction, Kind, decode

CONTEXT = msr.SF | msr.HV | msr.PR | msr.IR | msr.DR | msr.LE
"""What has to be the same in two MSRs for the vCPU to be in the same context."""

SRRS = tuple(SRR.values())


@functools.lru_cache(maxsize=1024)
def _is_plain(word: int) -> bool:
    """Whether an instruction completes or takes an interrupt, and does not use SRR0 and SRR1."""
    one = decode(word)
    if one.kind in (Kind.MFSPR, Kind.MTSPR):
        return one.spr not in SRR
    return one.kind in (Kind.ORDINARY, Kind.BRANCH) and not (one.sleeps or one.hints)


class Task(NamedTuple):
    """What tells tasks of a guest apart, as far as a stub shows it.

    stack: r1.  space: the PID register in problem state, None where it is not to be had.
    """

    stack: int
    space: int | None


class Armed(NamedTuple):
    """A vCPU whose MSR we changed for a step.

    thread: its thread-id.  instruction, pc: what is stepped.  state, srr0, srr1: the registers
    before the step (state is the MSR).  written: what we made of the MSR.  vector: where its Trace
    interrupt will be, None when only MSR[EE] is changed.  successors: where the instruction may
    lead to.  task: the one that is stepped, None where no other task can come in between.
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

    @property
    def overwrites_srrs(self) -> bool:
        """Whether SRR0 and SRR1 are overwritten by what ends it, and it does not use them.

        Then the step before need not have put them back: `srr0` and `srr1` tell what they are to be
        after this one, and where it does not come to that.
        """
        return self.vector is not None and _is_plain(self.instruction.word)

    def unmasked(self) -> Armed | None:
        """The same with MSR[EE] as it was; None if nothing is changed then."""
        written = self.written | self.state & msr.EE
        return None if written == self.state else self._replace(written=written)

    def without_ours(self, state: int, *, completed: bool) -> int:
        """An MSR of the stepped vCPU without our changes.

        completed: the instruction has completed, and what it writes itself stays.
        """
        ours = self.state ^ self.written
        if completed:
            ours &= ~self.instruction.sets
        return state & ~ours | self.state & ours

    def was_interrupted(self, address: int, state: int) -> bool:
        """Whether an interrupt that saved this address and MSR took a step that has not done its
        work.

        It may be at the next instruction: QEMU's TCG takes no Trace interrupt after `or 1,1,1`,
        `wait` and the like, which leave its loop.
        """
        ours = msr.SE if self.vector is not None else msr.EE
        return not (state ^ self.written) & ours and address in (self.pc, *self.successors)

    def is_reaching(self, state: int) -> bool:
        """Whether this MSR is not the thread's own, but the one by which its vector is reached."""
        if self.vector is None:
            return False
        return state != self.state and state == msr.reaching(self.state, self.vector)

    def is_before(self, thread: bytes | None, pc: int, state: int) -> bool:
        """Whether a vCPU with this pc and MSR stands where the step began, or within what it does.

        Then the MSR itself shows our changes.
        """
        if (state ^ self.state) & CONTEXT:
            return False
        if self.vector is None:
            return thread == self.thread and pc in (self.pc, *self.successors)
        return pc == self.pc and bool(state & msr.SE)

    def may_be_of(self, task: Task, max_frame: int) -> bool:
        """Whether a Trace interrupt that was taken in `task` may be this step's.

        max_frame: r1 may be lower than before by less than this (a signal frame).
        """
        if self.task is None:
            return True
        before = self.task
        if None not in (before.space, task.space) and before.space != task.space:
            return False
        return self.instruction.may_write_r1 or 0 <= before.stack - task.stack < max_frame


class Found(NamedTuple):
    """A Trace interrupt of a step: in which thread, and the SRR0 and SRR1 that it saved."""

    thread: bytes | None
    srr0: int
    srr1: int


class Lent(NamedTuple):
    """A thread that executes a little code of the guest's own, for us.

    registers: what is to be in them again behind it, pc the last.  places: where the code begins,
    and where it may end.
    """

    thread: bytes | None
    registers: tuple[tuple[str, int], ...]
    places: tuple[int, ...]


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
        if self.stack != other.stack or (self.state ^ other.state) & CONTEXT:
            return False
        return not moved or self.kept == other.kept


def thread_name(thread: bytes | None) -> str:
    """A thread as a log line names it."""
    return thread.decode("latin-1") if thread else "the vCPU"
