# SPDX-License-Identifier: MIT
"""How to step one instruction: decided here, carried out by `engine`.  Pure.

The one table of strategies:

  trace    MSR[SE]=1 and a temporary breakpoint at the Trace vector: for what completes;
  land     temporary breakpoints where the instruction must arrive, MSR[SE] as it is: for what
           takes an interrupt instead of completing, and for what stands at the Trace vector itself.
           A whole atomic sequence (larx .. stcx.) or transaction (tbegin. .. tend.) is stepped so
           as well, as any interrupt in it makes it begin again or fail; gdb itself does so for
           the plain ones of the first kind;
  emulate  registers are written by the ISA's rules: for returns from interrupts, which are never
           followed by a Trace interrupt, and for what leads to its own address.

Whatever may fault has breakpoints at the vectors of its faults as well (see `faults`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..options import Interrupts
from . import faults, isa, msr, sequences
from .isa import Instruction, Kind, Reader

# QEMU's translator raises no Trace interrupt when the next word is here, in the real-mode vectors.
# target/ppc/translate.c ppc_tr_tb_stop: `nip <= 0x100 || nip > 0xf00` (seen with QEMU 7.2).
_UNTRACED = range(0x101, 0xF01)

Vector = Callable[[int, int], int]
"""vector(offset, msr): the address at which an interrupt taken with the MSR `msr` arrives."""


class Plan(NamedTuple):
    """How to step one instruction.

    stops: addresses of temporary breakpoints.  The stub must take the first; the others are for
        what a CPU or machine may do instead, and the stub may refuse them (an unmapped page, say).
    trace: the one of `stops` that is the Trace vector, when MSR[SE] is to be set.
    taken: those of `stops` that are the vectors of an interrupt that the instruction is to take.
    faults: the vectors of interrupts that the instruction may take instead.  They end the step if
        this instruction takes them; others may pass there.
    transient: the vectors of interrupts that do not end the step: those of the rest of an atomic
        sequence, and those whose handler returns to the step.  They matter only where MSR[EE] is
        cleared.
    masks: whether MSR[EE] may be cleared for it (see `_maskable`).
    inside: the addresses of the rest of an atomic sequence.
    state: (pc, msr) to write, when the instruction is emulated and the guest does not run.
    registers: other registers to write then, by name; CFAR only where the stub has it.
    """

    stops: tuple[int, ...] = ()
    trace: int | None = None
    taken: tuple[int, ...] = ()
    faults: tuple[int, ...] = ()
    transient: tuple[int, ...] = ()
    masks: bool = False
    inside: tuple[int, ...] = ()
    state: tuple[int, int] | None = None
    registers: tuple[tuple[str, int], ...] = ()

    @property
    def handlers(self) -> tuple[int, ...]:
        """The vectors of all interrupts that the step's instructions may take."""
        return self.taken + self.faults + self.transient

    def __str__(self) -> str:
        if self.state is not None:
            return f"emulate, to pc={self.state[0]:#x} msr={self.state[1]:#x}"
        how = "land on" if self.trace is None else "trace, stop at"
        how += "".join(f" {address:#x}" for address in self.stops)
        return how + "".join(f", fault {address:#x}" for address in self.faults)


def guest_traces(instruction: Instruction, state: int) -> bool:
    """Whether the guest itself has asked for a Trace interrupt after this instruction."""
    return bool(state & msr.SE or (state & msr.BE and instruction.kind is Kind.BRANCH))


def plan(
    instruction: Instruction,
    pc: int,
    state: int,
    read: Reader,
    vector: Vector,
    *,
    code: Callable[[int], Instruction] | None = None,
    traceable: bool = True,
    fetched: bool = True,
    reserved: bool = True,
    interrupts: Interrupts = Interrupts.INTO,
) -> Plan:
    """The strategy for `instruction` at `pc` with the MSR `state`.

    read gives the other registers, and vector the interrupt vectors; both are called only for what
    the instruction needs, and what they raise is passed on.  code gives the instruction at an
    address, for a sequence that has to be executed as a whole; without it there is none.
    traceable: False where the stub does not give SRR0 and SRR1, so that a Trace interrupt could not
    be undone.  fetched: whether an instruction of the same page has just been executed, so that
    this one's fetch is no fault.  reserved: False if a store-conditional has lost its reservation
    at the stop; then the whole loop around it is executed, as the store alone would fail for ever.
    """
    unit: sequences.Sequence | None = None
    if instruction.begins_sequence and code is not None and not guest_traces(instruction, state):
        unit = sequences.atomic_sequence(pc, state, code)
    if code is not None and not reserved and not guest_traces(instruction, state):
        unit = unit or sequences.retried(pc, state, code)
    planned = Plan(unit.exits) if unit else _by_kind(instruction, pc, state, read, vector)
    if planned.state is None and (
        pc in planned.stops or (planned.trace is not None and not traceable)
    ):
        # No Trace interrupt can be had, or the instruction stands where a breakpoint would be.
        planned = _arriving(instruction, pc, state, read)
    if planned.state is not None:
        return planned
    inside = {place: one for place, one in unit.code.items() if place != pc} if unit else {}
    offsets = list(faults.vectors(instruction, state))
    if state & msr.IR and not fetched:
        offsets += faults.FETCH
    through = [offset for one in inside.values() for offset in faults.vectors(one, state)]
    if interrupts is Interrupts.OVER:
        # These handlers return to the instruction, with our MSR[SE]: the step then just goes on.
        through += [offset for offset in offsets if offset in faults.RESOLVED]
        offsets = [offset for offset in offsets if offset not in faults.RESOLVED]

    def places(offsets: list[int], other: tuple[int, ...]) -> tuple[int, ...]:
        if not offsets:
            return ()
        vectors = dict.fromkeys(vector(offset, state) for offset in offsets)
        return tuple(place for place in vectors if place != pc and place not in other)

    ending = places(offsets, planned.stops)
    return planned._replace(
        faults=ending,
        transient=places(through, planned.stops + ending),
        masks=_maskable(instruction, state)
        and (planned.trace is not None or instruction.kind is not Kind.MFMSR)
        and all(
            _maskable(one, state) and one.kind is not Kind.MFMSR and not one.sets
            for one in inside.values()
        ),
        inside=tuple(inside),
    )


def lands_alone(instruction: Instruction, state: int) -> bool:
    """Whether a breakpoint at the next instruction does as well as a Trace interrupt.

    This is for a vCPU that runs alone: nobody else can arrive there, if interrupts from outside can
    be kept away.
    """
    plain = instruction.kind in (Kind.ORDINARY, Kind.MFSPR, Kind.MTSPR)
    if (
        not plain
        or instruction.begins_sequence
        or instruction.sleeps
        or instruction.hints
        or guest_traces(instruction, state)
    ):
        return False
    return not state & (msr.EE | msr.PR) or _maskable(instruction, state)


def _maskable(instruction: Instruction, state: int) -> bool:
    """Whether interrupts from outside may be kept away from an instruction, by MSR[EE]=0.

    Not in problem state, where MSR[EE] is always 1; not for an instruction that waits for one, nor
    for one that saves or changes the MSR as it goes elsewhere; nor where the guest's own Trace
    interrupt would show it.
    """
    if state & (msr.EE | msr.PR) != msr.EE or guest_traces(instruction, state):
        return False
    return not instruction.sleeps and instruction.kind not in isa.LEAVES


def _arriving(instruction: Instruction, pc: int, state: int, read: Reader) -> Plan:
    """The plan without a Trace interrupt.  A branch is emulated: it may lead to its own address."""
    targets = isa.successors(instruction, pc, state, read)
    traced = guest_traces(instruction, state)
    if instruction.kind is Kind.BRANCH and not traced and (pc in targets or not instruction.tar):
        target, written = isa.branch(instruction, pc, state, read)
        return Plan(state=(target, state), registers=written)
    return Plan(tuple(target for target in targets if target != pc))


def _interrupt(pc: int, state: int, place: int, saved: int, status: int = 0) -> Plan:
    """The plan for an instruction that takes the interrupt at `place`.

    saved, status: what the interrupt puts into SRR0, and into the status bits of SRR1.  An
    instruction that stands at that vector itself is emulated.  The handler is in the byte order in
    which interrupts are taken.
    """
    if place != pc:
        return Plan((place,), taken=(place,))
    srr1 = state & ~msr.SRR1_STATUS | status
    return Plan(
        state=(place, msr.in_handler(state, place)), registers=(("srr0", saved), ("srr1", srr1))
    )


def _by_kind(instruction: Instruction, pc: int, state: int, read: Reader, vector: Vector) -> Plan:
    """The plan for one instruction by its kind, without the faults that it may take."""
    kind = instruction.kind
    following = isa.in_mode(pc + instruction.length, state)

    if kind is Kind.SYSTEM_CALL:
        system_call = vector(msr.SYSTEM_CALL, state)
        if instruction.lev == 0 or (state & msr.HV and pc == system_call):
            return _interrupt(pc, state, system_call, following)
        # A hypercall: a hypervisor below the guest (KVM, or QEMU's pseries machine) returns to the
        # next instruction; where the debugged machine runs the hypervisor, it goes to the vector.
        if state & msr.HV:
            return Plan((system_call, following), taken=(system_call,))
        return Plan((following, msr.SYSTEM_CALL), taken=(msr.SYSTEM_CALL,))
    if kind is Kind.SYSTEM_CALL_VECTORED:
        offset = msr.SYSTEM_CALL_VECTORED + 0x20 * instruction.lev
        # The others are for FSCR[SCV]=0, and for a CPU that has no scv (POWER8).
        places = tuple(
            vector(place, state) for place in (offset, msr.FACILITY_UNAVAILABLE, msr.PROGRAM)
        )
        return Plan(places, taken=places)
    if instruction.privileged and state & msr.PR:
        place = vector(msr.PROGRAM, state)
        return _interrupt(pc, state, place, pc, msr.PRIVILEGED_INSTRUCTION)
    if kind is Kind.TRAP and isa.trap_taken(instruction, read):
        return _interrupt(pc, state, vector(msr.PROGRAM, state), pc, msr.TRAPPED)
    if kind is Kind.RFEBB:
        places = tuple(vector(place, state) for place in (msr.FACILITY_UNAVAILABLE, msr.PROGRAM))
        return Plan((isa.in_mode(read("ebbrr") & ~3, state), *places), taken=places)
    if kind is Kind.RFSCV and read("pvr") >> 16 < msr.POWER9:
        places = vector(msr.PROGRAM, state), vector(msr.EMULATION_ASSISTANCE, state)
        return Plan(places, taken=places)
    if kind in isa.RETURNS:
        return _return(kind, pc, state, read, vector)

    traced = state
    stops: tuple[int, ...] = ()
    if instruction.writes_se:
        after = msr.after_mtmsr if kind is Kind.MTMSR else msr.after_mtmsrd
        # The interrupt is taken with the new MSR.  The ISA does not say whether the old or the new
        # SE decides that it is taken (QEMU: the old): so the next instruction is a stop as well.
        traced = after(state, read(instruction.rt))
        stops = (following,)
    if instruction.sleeps or instruction.hints:
        # QEMU's TCG ends its loop there, without a Trace interrupt; natively it then steps the next
        # instruction as well.  Some sleepers wake up at the vector of System Reset.
        stops = (following, msr.SYSTEM_RESET) if instruction.sleeps else (following,)
    trace = vector(msr.TRACE, traced)
    if following in _UNTRACED:
        if guest_traces(instruction, state):
            return Plan((trace, *isa.successors(instruction, pc, state, read)))
        return _arriving(instruction, pc, state, read)
    if guest_traces(instruction, state):
        return Plan((trace, *stops))  # at the guest's own Trace interrupt, as in native stepping
    return Plan((trace, *stops), trace=trace)


def _return(kind: Kind, pc: int, state: int, read: Reader, vector: Vector) -> Plan:
    """The plan for a return from an interrupt: emulated, where the stub can write its MSR."""
    if kind is Kind.HRFID:
        if not state & msr.HV:  # the hypervisor gets it, and gives the guest a Program interrupt
            places = vector(msr.PROGRAM, state), vector(msr.EMULATION_ASSISTANCE, state)
            return Plan(places, taken=places)
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
    return Plan(state=(target, new), registers=(("cfar", pc),))
