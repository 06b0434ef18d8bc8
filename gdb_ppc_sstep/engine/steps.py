# SPDX-License-Identifier: MIT
"""The values that describe a step: what we changed in a vCPU, and what tells tasks apart."""

from __future__ import annotations

import functools
from typing import NamedTuple

from ..ppc import msr
from ..ppc.isa import SRR, Instruction, Kind, decode

CONTEXT = msr.SF | msr.HV | msr.PR | msr.IR | msr.DR | msr.LE
"""The bits of the MSR that say in which context a vCPU is: mode, state, translation, byte order."""

SRRS = tuple(SRR.values())


@functools.lru_cache(maxsize=1024)
def _is_plain(word: int) -> bool:
    """Whether an instruction completes or takes an interrupt, and does not use SRR0 and SRR1."""
    one = decode(word)
    if one.kind in (Kind.MFSPR, Kind.MTSPR):
        return one.spr not in SRR
    return one.kind in (Kind.ORDINARY, Kind.BRANCH) and not (one.sleeps or one.hints)


class Task(NamedTuple):
    """What tells one task of the guest from another, as far as a stub shows it.

    stack: r1.  space: the PID register in problem state; None in other states, or if it is not
    given.
    """

    stack: int
    space: int | None


class Armed(NamedTuple):
    """A vCPU whose MSR we change for a step, and what is needed to recognise and undo that.

    thread: its thread-id.  instruction, pc: what is stepped.  state, srr0, srr1: the registers
    before the step (state is the MSR).  written: the MSR that we write.  vector: the address at
    which its Trace interrupt will arrive, None when only MSR[EE] is changed.  successors: the
    addresses to which the instruction may lead.  task: the one that is stepped, None where no other
    can come in between.
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
        """Whether we clear MSR[EE], so that interrupts from outside wait."""
        return bool((self.state ^ self.written) & msr.EE)

    @property
    def overwrites_srrs(self) -> bool:
        """Whether the step's end overwrites SRR0 and SRR1, and its instruction leaves them alone.

        Then the step before need not have put them back: `srr0` and `srr1` say what they have to be
        after this step, or when this step comes to nothing.
        """
        return self.vector is not None and _is_plain(self.instruction.word)

    def unmasked(self) -> Armed | None:
        """The same change without MSR[EE]; None if nothing is left of it then."""
        written = self.written | self.state & msr.EE
        return None if written == self.state else self._replace(written=written)

    def without_ours(self, state: int, *, completed: bool) -> int:
        """The MSR `state` of the stepped vCPU, with our changes taken out.

        completed: the instruction has completed, so the MSR bits that it writes itself stay.
        """
        ours = self.state ^ self.written
        if completed:
            ours &= ~self.instruction.sets
        return state & ~ours | self.state & ours

    def was_interrupted(self, address: int, state: int) -> bool:
        """Whether an interrupt that saved this address and MSR came before the step was done.

        The address may be that of the next instruction: QEMU's TCG takes no Trace interrupt after
        `or 1,1,1`, `wait` and the like, which leave its loop.
        """
        ours = msr.SE if self.vector is not None else msr.EE
        return not (state ^ self.written) & ours and address in (self.pc, *self.successors)

    def is_reaching(self, state: int) -> bool:
        """Whether this MSR was written only so that the stub can reach the step's vector.

        Then it is not the thread's own.
        """
        if self.vector is None:
            return False
        return state != self.state and state == msr.reaching(self.state, self.vector)

    def is_before(self, thread: bytes | None, pc: int, state: int) -> bool:
        """Whether a vCPU with this pc and MSR stands where the step began, or in what it executes.

        Then the vCPU's MSR itself still has our changes.
        """
        if (state ^ self.state) & CONTEXT:
            return False
        if self.vector is None:
            return thread == self.thread and pc in (self.pc, *self.successors)
        return pc == self.pc and bool(state & msr.SE)

    def may_be_of(self, task: Task, max_frame: int) -> bool:
        """Whether a Trace interrupt that was taken in `task` may be this step's.

        max_frame: r1 may be lower than before the step by fewer bytes than this (for a signal
        frame).
        """
        if self.task is None:
            return True
        before = self.task
        if None not in (before.space, task.space) and before.space != task.space:
            return False
        return self.instruction.may_write_r1 or 0 <= before.stack - task.stack < max_frame


class Found(NamedTuple):
    """The Trace interrupt of a step: its thread, and the SRR0 and SRR1 that it saved."""

    thread: bytes | None
    srr0: int
    srr1: int


class Lent(NamedTuple):
    """A thread to which we gave other registers for a moment, mostly to execute a little code.

    registers: the values to put back afterwards, pc the last of them.  places: the address where
    the code begins, then those where it may end.
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
        """Whether two frames are of the same execution.

        moved: they were seen on two vCPUs, as the guest may have moved the task.  Then r14 to r31
        count as well.  On the same vCPU they do not: a handler may have changed one, such as the
        target of a load that it has done in the program's stead.
        """
        if self.stack != other.stack or (self.state ^ other.state) & CONTEXT:
            return False
        return not moved or self.kept == other.kept


def thread_name(thread: bytes | None) -> str:
    """The name of a thread in a log line."""
    return thread.decode("latin-1") if thread else "the vCPU"
