# SPDX-License-Identifier: MIT
"""How to step one instruction: decided here, carried out by `engine`.  Pure.

The one table of strategies:

  trace    MSR[SE]=1 and a temporary breakpoint at the Trace vector: whatever completes;
  land     temporary breakpoints where the instruction must arrive, MSR[SE] as it is: what takes an
           interrupt instead of completing, and what stands at the Trace vector itself;
  emulate  pc and MSR are written by the ISA's rules: returns from interrupts, which are never
           followed by a Trace interrupt.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from . import isa, msr
from .isa import Instruction, Kind, Reader

# QEMU's translator raises no Trace interrupt when the next word is here, in the real-mode vectors.
# target/ppc/translate.c ppc_tr_tb_stop: `nip <= 0x100 || nip > 0xf00` (seen with QEMU 7.2).
_UNTRACED = range(0x101, 0xF01)

Vector = Callable[[int, int], int]
"""vector(offset, msr): where an interrupt taken with `msr` goes."""


class Plan(NamedTuple):
    """How to step one instruction.

    stops: addresses of temporary breakpoints.  The stub must take the first; the others are for
        what a CPU or machine may do instead, and may be refused (say, by an unmapped page).
    trace: the one of `stops` that is the Trace vector, when MSR[SE] is to be set.
    state: (pc, msr) to write, when the instruction is emulated and the guest does not run.
    """

    stops: tuple[int, ...] = ()
    trace: int | None = None
    state: tuple[int, int] | None = None


def guest_traces(instruction: Instruction, state: int) -> bool:
    """Whether the guest itself asked for a Trace interrupt after this instruction."""
    return bool(state & msr.SE or (state & msr.BE and instruction.kind is Kind.BRANCH))


def plan(
    instruction: Instruction,
    pc: int,
    state: int,
    read: Reader,
    vector: Vector,
    *,
    traceable: bool = True,
) -> Plan:
    """The strategy for `instruction` at `pc` with MSR `state`.

    read gives the other registers, and vector the interrupt vectors; both are asked only for what
    the instruction needs, and what they raise is passed on.  traceable: False where the stub does
    not give SRR0 and SRR1, so that what a Trace interrupt does could not be undone.
    """
    planned = _by_kind(instruction, pc, state, read, vector)
    if pc not in planned.stops and (traceable or planned.trace is None):
        return planned
    # No Trace interrupt can be had, or the breakpoint would hit before the instruction ran.
    stops = tuple(target for target in isa.successors(instruction, pc, state, read) if target != pc)
    return Plan(stops) if stops else Plan(state=(pc, state))  # a branch to itself


def _by_kind(instruction: Instruction, pc: int, state: int, read: Reader, vector: Vector) -> Plan:
    kind = instruction.kind
    following = isa.in_mode(pc + instruction.length, state)

    if kind is Kind.SYSTEM_CALL:
        system_call = vector(msr.SYSTEM_CALL, state)
        if instruction.lev == 0:
            return Plan((system_call,))
        # A hypercall: the hypervisor is below (KVM, or QEMU's pseries machine) and returns to the
        # next instruction; on a machine that runs a hypervisor itself it goes to the vector.
        return Plan((system_call, following) if state & msr.HV else (following, msr.SYSTEM_CALL))
    if kind is Kind.SYSTEM_CALL_VECTORED:
        offset = msr.SYSTEM_CALL_VECTORED + 0x20 * instruction.lev
        # FSCR[SCV]=0, or a CPU that has no scv (POWER8).
        others = (msr.FACILITY_UNAVAILABLE, msr.PROGRAM)
        return Plan(tuple(vector(place, state) for place in (offset, *others)))
    if instruction.privileged and state & msr.PR:
        return Plan((vector(msr.PROGRAM, state),))
    if kind is Kind.TRAP and isa.trap_taken(instruction, read):
        return Plan((vector(msr.PROGRAM, state),))
    if kind is Kind.RFEBB:
        return Plan((isa.in_mode(read("ebbrr") & ~3, state),))
    if kind in isa.RETURNS:
        return _return(kind, state, read, vector)

    traced = state
    stops: tuple[int, ...] = ()
    if instruction.writes_se:
        after = msr.after_mtmsr if kind is Kind.MTMSR else msr.after_mtmsrd
        # The interrupt is taken with the new MSR.  Whether the old or the new SE decides that it
        # is taken the ISA does not say (QEMU: the old): the next instruction is a stop as well.
        traced = after(state, read(instruction.rt))
        stops = (following,)
    trace = vector(msr.TRACE, traced)
    if following in _UNTRACED:
        own = (trace,) if guest_traces(instruction, state) else ()
        return Plan(own + isa.successors(instruction, pc, state, read))
    if guest_traces(instruction, state):
        return Plan((trace, *stops))  # as the guest asked, and as native stepping shows
    return Plan((trace, *stops), trace=trace)


def _return(kind: Kind, state: int, read: Reader, vector: Vector) -> Plan:
    if kind is Kind.HRFID:
        if not state & msr.HV:  # to the hypervisor, which gives the guest a Program interrupt
            return Plan((vector(msr.PROGRAM, state), vector(msr.EMULATION_ASSISTANCE, state)))
        target, saved = read("hsrr0"), read("hsrr1")
    elif kind is Kind.RFSCV:
        target, saved = read("lr"), read("ctr")
    else:
        target, saved = read("srr0"), read("srr1")
    new = msr.after_return(state, saved)
    target = isa.in_mode(target & ~3, new)
    if state & msr.HV or msr.transactional(state, saved):
        # The stub cannot write MSR[HV] (QEMU ppc_store_msr) nor a transaction's state.
        return Plan((target,))
    return Plan(state=(target, new))
