# SPDX-License-Identifier: MIT
"""MSR, SRR1 and LPCR: what an interrupt, or a return from one, makes of them.  Pure.

Names are those of Power ISA 3.1B Book III, chapter 3 (MSR, LPCR) and chapter 7 (interrupts); all
values are unsigned 64-bit integers.  The ISA numbers bits from the left: bit 0 is the highest.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

MASK64 = (1 << 64) - 1
MASK32 = (1 << 32) - 1


def bits(*numbers: int) -> int:
    """The 64-bit mask of ISA bit numbers (0 is the most significant)."""
    mask = 0
    for number in numbers:
        mask |= 1 << (63 - number)
    return mask


def _span(first: int, last: int) -> int:
    return bits(*range(first, last + 1))


SF = bits(0)  # 64-bit mode
HV = bits(3)  # hypervisor state
TS = bits(29, 30)  # transaction state
TM = bits(31)  # transactional memory available
EE = bits(48)  # external and decrementer interrupts enabled
PR = bits(49)  # problem (user) state
ME = bits(51)  # machine checks enabled
SE = bits(53)  # trace after every instruction
BE = bits(54)  # trace after every branch
IR = bits(58)  # instruction addresses are translated
DR = bits(59)  # data addresses are translated
RI = bits(62)  # recoverable interrupt
LE = bits(63)  # little-endian

VIEW = SF | HV | PR | IR | DR
"""The MSR bits that decide which memory is at an address, and whether it can be reached."""

# The bits of SRR1 that tell about the interrupt, and are no copy of the MSR.
# Power ISA 3.1B Book III 7.5.15; QEMU target/ppc/excp_helper.c: `msr = env->msr & ~0x783f0000ULL`.
SRR1_STATUS = _span(33, 36) | _span(42, 47)

LPCR_AIL_SHIFT = 23  # LPCR bits 39:40
LPCR_ILE = bits(38)  # interrupts are taken little-endian
"""KVM PR tells no other bit of LPCR than this one (Linux kvmppc_get_one_reg_pr)."""
LPCR_HAIL = bits(37)  # POWER10: AIL of interrupts taken in hypervisor state

# Interrupt vectors by their offset (Power ISA 3.1B Book III figure "Effective addresses of
# interrupt vectors").
SYSTEM_RESET = 0x100
PROGRAM = 0x700
SYSTEM_CALL = 0xC00
TRACE = 0xD00
EMULATION_ASSISTANCE = 0xE40
FACILITY_UNAVAILABLE = 0xF60
HV_FACILITY_UNAVAILABLE = 0xF80
SYSTEM_CALL_VECTORED = 0x17000
VECTORS = frozenset(
    [*range(0x100, 0x1000, 0x100), 0x380, 0x480, 0x980]
    + [0xE20, 0xE40, 0xE60, 0xE80, 0xEA0, 0xF20, 0xF40, 0xF60, 0xF80]
    + [0x1500, 0x1600, 0x1700, 0x1800]
    + [SYSTEM_CALL_VECTORED + 0x20 * level for level in range(128)]
)

# Vectors of interrupts that save into HSRR0 and HSRR1 (LPCR[LPES] decides for the external one).
_HYPERVISOR_VECTORS = frozenset([0x980, 0xE00, 0xE20, 0xE40, 0xE60, 0xE80, 0xEA0, 0xF80, 0x1500])

# What SRR1 tells of a Program interrupt: bit 45 a privileged instruction, bit 46 a trap.
PRIVILEGED_INSTRUCTION, TRAPPED = bits(45), bits(46)

POWER9, POWER10 = 0x4E, 0x80  # PVR versions; POWER8: 0x4b, 0x4c, 0x4d


class Relocation(NamedTuple):
    """What decides, besides the MSR, where interrupts go.

    ail: LPCR[AIL], 0 to 3.  hail: LPCR[HAIL].  power10: the rules of POWER10 and later apply.
    """

    ail: int
    hail: bool = False
    power10: bool = False

    @classmethod
    def of(cls, lpcr: int, pvr: int | None) -> Relocation:
        """From LPCR and PVR.  pvr None: it cannot be read, and counts as of before POWER10."""
        return cls(
            ail=lpcr >> LPCR_AIL_SHIFT & 3,
            hail=bool(lpcr & LPCR_HAIL),
            power10=pvr is not None and pvr >> 16 & 0xFFFF >= POWER10,
        )


def relocates(msr: int) -> bool:
    """Whether LPCR[AIL] matters: only if IR and DR are both 1 when the interrupt is taken."""
    return msr & (IR | DR) == IR | DR


def vector(offset: int, msr: int, relocation: Relocation) -> int:
    """The address of the interrupt vector `offset`, for an interrupt taken with the MSR `msr`.

    This holds for interrupts that do not change MSR[HV].  Power ISA 3.1B Book III 7.5.1 (AIL); QEMU
    target/ppc/excp_helper.c ppc_excp_apply_ail.
    """
    if not relocates(msr):
        return offset
    mode = relocation.ail
    if relocation.power10:
        if msr & HV:
            mode = 3 if relocation.hail else 0
        elif mode != 3:
            mode = 0
    if mode == 3:
        if offset >= SYSTEM_CALL_VECTORED:
            return offset - SYSTEM_CALL_VECTORED | _SCV
        return offset | 0xC000000000004000
    if mode == 2 and offset < SYSTEM_CALL_VECTORED:
        return offset | 0x18000
    return offset


_SCV = 0xC000000000003000
_BASES = (0, 0x18000, 0xC000000000004000)


def is_vector(address: int, offset: int | None = None) -> bool:
    """Whether `address` is the first instruction of an interrupt vector, wherever AIL puts it.

    offset: the vector that is meant, below 0x1000; None for any.
    """
    if offset is not None:
        return any(address ^ base == offset for base in _BASES)
    return any(address ^ base in VECTORS for base in _BASES) or address in range(
        _SCV, _SCV + 0x1000, 0x20
    )


@functools.lru_cache(maxsize=64)
def saved_in(vector: int) -> tuple[str, str]:
    """The registers in which the interrupt of a vector saves the address and the MSR."""
    if any(vector ^ base in _HYPERVISOR_VECTORS for base in _BASES):
        return ("hsrr0", "hsrr1")
    if vector in range(_SCV, _SCV + 0x1000, 0x20) or vector >> 12 == SYSTEM_CALL_VECTORED >> 12:
        return ("lr", "ctr")
    return ("srr0", "srr1")


def reaching(msr: int, address: int) -> int:
    """The MSR with which code at an address can be reached, for a thread with the MSR `msr`.

    For a vector at its real address that is privileged state without translation; for the kernel's
    half and for vectors at 0x18000 it is privileged state.  Anywhere else it is `msr` itself.
    """
    if msr & (IR | DR) and address in VECTORS:
        return msr & ~(PR | IR | DR)
    if msr & PR and (address >> 60 == 0xC or address ^ 0x18000 in VECTORS):
        return msr & ~PR
    return msr


def in_handler(state: int, address: int) -> int:
    """The MSR after an interrupt, taken with the MSR `state` to a vector at `address`.

    This holds for interrupts that leave MSR[HV] as it is, and that are taken in the byte order of
    `state`.  Power ISA 3.1B Book III 7.5, figure "MSR setting due to interrupt".
    """
    translation = IR | DR if address >= 0x18000 else 0
    return SF | state & (HV | ME | LE) | translation


def after_trace(srr1: int) -> int:
    """The MSR that a Trace interrupt saved in SRR1, with MSR[SE] as it was saved."""
    return srr1 & ~SRR1_STATUS


_TRANSLATED_STATE = bits(48, 58, 59)  # set too when the new state is problem state
_RETURNED = (
    bits(0, 1, 2, 31, 32, 49, 50, 60, 61, 62, 63) | _span(4, 28) | _span(37, 41) | _span(52, 57)
)


def after_return(msr: int, saved: int) -> int:
    """The MSR after rfid with SRR1 `saved`, or rfscv with CTR `saved`.

    Power ISA 3.1B Book III 4.3.1: rfid.  Transactional states are not handled: see `transactional`.
    """
    new = msr & ~(_RETURNED | _TRANSLATED_STATE | HV | ME)
    new |= saved & (_RETURNED | _TRANSLATED_STATE)
    new |= msr & saved & HV
    new |= (saved if msr & HV else msr) & ME
    if saved & PR:
        new |= _TRANSLATED_STATE
    return new


def transactional(msr: int, saved: int) -> bool:
    """Whether a return from an interrupt with these two values involves a transaction."""
    return bool((msr | saved) & TS)


def after_mtmsrd(msr: int, value: int) -> int:
    """The MSR after mtmsrd RS,0 of `value` in privileged state (Power ISA 3.1B Book III 4.4.1)."""
    kept = bits(3, 29, 30, 31, 51, 63)
    new = (msr & kept) | (value & ~kept)
    if value & PR:
        new |= _TRANSLATED_STATE
    return new


def after_mtmsr(msr: int, value: int) -> int:
    """The MSR after mtmsr RS,0 of `value`: like mtmsrd, but it changes only the low word."""
    return after_mtmsrd(msr, (msr & ~MASK32) | (value & MASK32))


def little_endian(wire: bytes) -> bool:
    """Whether a guest is little-endian, by the 8 bytes of its MSR as QEMU sends them.

    QEMU sends registers in the byte order of MSR[LE] (target/ppc/gdbstub.c
    ppc_maybe_bswap_register), so the order is known only when the MSR is.  If it is little, the
    first byte holds MSR[LE]=1; if it is big, the first byte's lowest bit is MSR bit 7, which the
    ISA reserves and QEMU keeps 0.
    """
    return bool(wire[0] & 1)
