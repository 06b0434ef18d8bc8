# SPDX-License-Identifier: MIT
"""MSR, SRR1, LPCR: masks, interrupt vectors, and what interrupts and returns make of the MSR."""

from __future__ import annotations

import pytest

from gdb_ppc_sstep.ppc import msr
from gdb_ppc_sstep.ppc.msr import Relocation

POWER8, POWER9, POWER10 = 0x004D0200, 0x004E1202, 0x00801200
LINUX_LE = 0x8000000000009033
USER_LE = 0x800000000280F033


# -- masks


@pytest.mark.parametrize(
    ("name", "bit", "mask"),
    [
        ("SF", 0, 1 << 63),
        ("HV", 3, 1 << 60),
        ("TM", 31, 1 << 32),
        ("EE", 48, 0x8000),
        ("PR", 49, 0x4000),
        ("ME", 51, 0x1000),
        ("SE", 53, 0x400),
        ("BE", 54, 0x200),
        ("IR", 58, 0x20),
        ("DR", 59, 0x10),
        ("RI", 62, 0x2),
        ("LE", 63, 0x1),
    ],
)
def test_msr_bit_is_numbered_from_the_left(name: str, bit: int, mask: int) -> None:
    """Power ISA 3.1B Book III 4.2.1; masks as in Linux arch/powerpc/include/asm/reg.h."""
    assert getattr(msr, name) == mask
    assert msr.bits(bit) == mask


def test_transaction_state_is_two_bits() -> None:
    """Linux asm/reg.h: MSR_TS_S is bit 33 and MSR_TS_T bit 34 from the right."""
    assert msr.TS == 0x0000_0006_0000_0000


def test_bits_joins_several_and_none() -> None:
    assert msr.bits() == 0
    assert msr.bits(0, 63) == 0x8000_0000_0000_0001


def test_srr1_status_is_what_qemu_clears() -> None:
    """QEMU target/ppc/excp_helper.c: `msr = env->msr & ~0x783f0000ULL`."""
    assert msr.SRR1_STATUS == 0x783F0000


def test_lpcr_masks() -> None:
    """Linux asm/reg.h: LPCR_AIL_3 0x01800000, LPCR_ILE 0x02000000, LPCR_HAIL 0x04000000."""
    assert 3 << msr.LPCR_AIL_SHIFT == 0x01800000
    assert msr.LPCR_ILE == 0x02000000
    assert msr.LPCR_HAIL == 0x04000000


# -- LPCR and PVR


@pytest.mark.parametrize("ail", range(4))
@pytest.mark.parametrize("noise", [0, ~0x01800000 & msr.MASK64])
def test_relocation_takes_ail_from_lpcr(ail: int, noise: int) -> None:
    assert Relocation.of(ail << 23 | noise, POWER9).ail == ail


@pytest.mark.parametrize(
    ("pvr", "power10"),
    [
        (0x004B0201, False),  # POWER8E
        (0x004C0100, False),  # POWER8NVL
        (POWER8, False),
        (POWER9, False),
        (POWER10, True),
        (0x00821200, True),  # POWER11
        (None, False),
    ],
)
def test_relocation_knows_power10_by_pvr(pvr: int | None, power10: bool) -> None:
    assert Relocation.of(0, pvr).power10 is power10


def test_relocation_takes_hail_from_lpcr() -> None:
    assert Relocation.of(0x04000000, POWER10).hail
    assert not Relocation.of(~0x04000000 & msr.MASK64, POWER10).hail


# -- vectors

AIL3 = 0xC000000000004D00
EARLIER = [0xD00, 0xD00, 0x18D00, AIL3]
SINCE_POWER10 = [0xD00, 0xD00, 0xD00, AIL3]


@pytest.mark.parametrize("ail", range(4))
@pytest.mark.parametrize(
    ("pvr", "expected"),
    [(POWER8, EARLIER), (POWER9, EARLIER), (None, EARLIER), (POWER10, SINCE_POWER10)],
)
def test_trace_vector_with_translation_on(pvr: int | None, expected: list[int], ail: int) -> None:
    """Power ISA 3.1B Book III 7.5.1; QEMU ppc_excp_apply_ail."""
    assert msr.vector(msr.TRACE, LINUX_LE, Relocation.of(ail << 23, pvr)) == expected[ail]


@pytest.mark.parametrize("ail", range(4))
@pytest.mark.parametrize("pvr", [POWER8, POWER9, POWER10])
@pytest.mark.parametrize("translation", [0, msr.IR, msr.DR])
def test_trace_vector_without_both_translations_is_d00(
    translation: int, pvr: int, ail: int
) -> None:
    state = (LINUX_LE & ~(msr.IR | msr.DR)) | translation
    assert not msr.relocates(state)
    assert msr.vector(msr.TRACE, state, Relocation.of(ail << 23 | msr.LPCR_HAIL, pvr)) == 0xD00


def test_relocates_needs_ir_and_dr() -> None:
    assert msr.relocates(msr.IR | msr.DR)
    assert msr.relocates(LINUX_LE)


@pytest.mark.parametrize("ail", range(4))
@pytest.mark.parametrize(("hail", "expected"), [(0, 0xD00), (msr.LPCR_HAIL, AIL3)])
def test_power10_hypervisor_goes_by_hail_not_ail(hail: int, expected: int, ail: int) -> None:
    relocation = Relocation.of(ail << 23 | hail, POWER10)
    assert msr.vector(msr.TRACE, LINUX_LE | msr.HV, relocation) == expected


@pytest.mark.parametrize("ail", range(4))
def test_power10_guest_ignores_hail(ail: int) -> None:
    relocation = Relocation.of(ail << 23 | msr.LPCR_HAIL, POWER10)
    assert msr.vector(msr.TRACE, LINUX_LE, relocation) == SINCE_POWER10[ail]


@pytest.mark.parametrize("ail", range(4))
def test_power9_hypervisor_goes_by_ail(ail: int) -> None:
    relocation = Relocation.of(ail << 23 | msr.LPCR_HAIL, POWER9)
    assert msr.vector(msr.TRACE, LINUX_LE | msr.HV, relocation) == EARLIER[ail]


@pytest.mark.parametrize(
    ("offset", "ail2", "ail3"),
    [
        (0x300, 0x18300, 0xC000000000004300),
        (msr.PROGRAM, 0x18700, 0xC000000000004700),
        (msr.SYSTEM_CALL, 0x18C00, 0xC000000000004C00),
        (msr.EMULATION_ASSISTANCE, 0x18E40, 0xC000000000004E40),
    ],
)
def test_other_vectors_move_alike(offset: int, ail2: int, ail3: int) -> None:
    assert msr.vector(offset, LINUX_LE, Relocation(0)) == offset
    assert msr.vector(offset, LINUX_LE, Relocation(2)) == ail2
    assert msr.vector(offset, LINUX_LE, Relocation(3)) == ail3


@pytest.mark.parametrize("level", [0, 1, 5, 127])
@pytest.mark.parametrize(
    ("ail", "state", "base"),
    [
        (0, LINUX_LE, 0x17000),
        (2, LINUX_LE, 0x17000),
        (3, LINUX_LE, 0xC000000000003000),
        (3, LINUX_LE & ~msr.DR, 0x17000),
    ],
)
def test_scv_vectors(ail: int, state: int, base: int, level: int) -> None:
    """Power ISA 3.1B Book III 7.5.27: 0x17000 or 0xc000000000003000, plus LEV x 0x20."""
    offset = msr.SYSTEM_CALL_VECTORED + 0x20 * level
    assert msr.vector(offset, state, Relocation(ail)) == base + 0x20 * level


BASES = (0x100, 0x200, 0x300, 0x400, 0x500, 0x600, 0x700, 0x800, 0x900, 0xA00, 0xC00, 0xD00)
SEGMENTS = (0x380, 0x480)
HYPERVISOR_ONES = (0x980, 0xE00, 0xE20, 0xE40, 0xE60, 0xE80, 0xEA0)
FACILITIES = (0xF00, 0xF20, 0xF40, 0xF60, 0xF80)


@pytest.mark.parametrize("offset", [*BASES, *SEGMENTS, *HYPERVISOR_ONES, *FACILITIES])
@pytest.mark.parametrize("base", [0, 0x18000, 0xC000000000004000])
def test_is_vector_in_all_three_places(base: int, offset: int) -> None:
    assert msr.is_vector(base + offset)


@pytest.mark.parametrize("level", [0, 1, 127])
@pytest.mark.parametrize("base", [0x17000, 0xC000000000003000])
def test_is_vector_for_scv(base: int, level: int) -> None:
    assert msr.is_vector(base + 0x20 * level)


@pytest.mark.parametrize(
    "address",
    [
        0,
        4,
        0x104,
        0xD04,
        0xD20,
        0xE10,
        0x2000,
        0x18000,
        0x18D04,
        0x4D00,  # the place of AIL=3 is at its effective address only
        0xC000000000000D00,
        0xC000000000018D00,
        0xC000000000004D04,
        0xC000000000003004,
        0xC000000000004000,
        0xC000000000002FE0,
        0x8000000000000D00,
        0xC0000000000A4D00,
    ],
)
def test_is_vector_denies_what_is_none(address: int) -> None:
    assert not msr.is_vector(address)


@pytest.mark.parametrize("ail", range(4))
@pytest.mark.parametrize("offset", sorted(msr.VECTORS))
def test_every_vector_is_recognised_where_it_is_taken(offset: int, ail: int) -> None:
    assert msr.is_vector(msr.vector(offset, LINUX_LE, Relocation(ail)))


# -- after a Trace interrupt


def test_after_trace_of_the_recorded_example() -> None:
    """Seen under KVM HV: SRR1 0x8000000040009433 for an MSR of 0x8000000000009033."""
    saved = msr.after_trace(0x8000000040009433)
    assert saved == 0x8000000000009433
    assert saved & ~msr.SE == 0x8000000000009033


@pytest.mark.parametrize("status", [0x40000000, 0x48000000, 0x50000000, 0x783F0000])
@pytest.mark.parametrize("state", [LINUX_LE, USER_LE | msr.SE, 0x1000, msr.SF | msr.TM])
def test_after_trace_drops_the_status_and_nothing_else(state: int, status: int) -> None:
    assert msr.after_trace(state | status) == state


# -- returns from interrupts

GUEST = 0x8000000000001033  # kernel, EE=0 and RI=1
HYPERVISOR = GUEST | msr.HV


@pytest.mark.parametrize("missing", [0, msr.EE, msr.IR, msr.DR, msr.EE | msr.IR | msr.DR])
def test_return_to_problem_state_sets_ee_ir_dr(missing: int) -> None:
    """MSR[48] = SRR1[48] | SRR1[49], and so for 58 and 59."""
    assert msr.after_return(GUEST, USER_LE & ~missing) == USER_LE


@pytest.mark.parametrize("kept", [0, msr.EE, msr.IR, msr.DR])
def test_return_to_privileged_state_takes_ee_ir_dr_as_they_are(kept: int) -> None:
    saved = msr.SF | msr.ME | kept
    assert msr.after_return(GUEST, saved) == saved


@pytest.mark.parametrize(
    ("state", "saved", "hv"),
    [
        (HYPERVISOR, LINUX_LE | msr.HV, msr.HV),
        (HYPERVISOR, LINUX_LE, 0),
        (GUEST, LINUX_LE | msr.HV, 0),
        (GUEST, LINUX_LE, 0),
    ],
)
def test_return_may_only_drop_hv(state: int, saved: int, hv: int) -> None:
    assert msr.after_return(state, saved) == LINUX_LE | hv


@pytest.mark.parametrize("old", [0, msr.ME])
@pytest.mark.parametrize("saved", [0, msr.ME])
@pytest.mark.parametrize("hv", [0, msr.HV])
def test_return_changes_me_only_in_hypervisor_state(hv: int, saved: int, old: int) -> None:
    new = msr.after_return(msr.SF | hv | old, msr.SF | hv | saved)
    assert new & msr.ME == (saved if hv else old)


@pytest.mark.parametrize("order", [0, msr.LE])
@pytest.mark.parametrize("old", [0, msr.LE])
def test_return_takes_the_byte_order(old: int, order: int) -> None:
    assert msr.after_return(GUEST & ~msr.LE | old, LINUX_LE & ~msr.LE | order) & msr.LE == order


@pytest.mark.parametrize("bit", [msr.SF, msr.SE, msr.BE, msr.RI, msr.bits(50), msr.bits(52)])
@pytest.mark.parametrize("old", [0, 1])
def test_return_takes_the_rest_from_srr1(old: int, bit: int) -> None:
    state = GUEST | bit if old else GUEST & ~bit
    assert msr.after_return(state, LINUX_LE | bit) & bit == bit
    assert msr.after_return(state, LINUX_LE & ~bit) & bit == 0


@pytest.mark.parametrize("number", [*range(33, 37), *range(42, 48)])
def test_return_does_not_copy_status_bits(number: int) -> None:
    """Power ISA 3.1B Book III 4.3.1: SRR1[33:36 42:47] are not among the bits that rfid copies."""
    bit = msr.bits(number)
    assert msr.after_return(GUEST, LINUX_LE | bit) == LINUX_LE
    assert msr.after_return(GUEST | bit, LINUX_LE) == LINUX_LE | bit


@pytest.mark.parametrize(
    ("old", "saved"), [(0, msr.TM), (msr.TM, 0), (msr.TM, msr.TM)], ids=["set", "cleared", "kept"]
)
def test_return_takes_tm_from_srr1(old: int, saved: int) -> None:
    """Power ISA 3.0B Book III 4.3.1, rfid: unless MSR[29:31]=0b010 and SRR1[29:31]=0b000,
    MSR[29:31] = SRR1[29:31]; 2.06 copies SRR1[4:32] always.  Linux returns to a task that uses
    transactions with SRR1[TM]=1 out of a kernel that runs with TM=0."""
    assert not msr.transactional(GUEST | old, USER_LE | saved)
    assert msr.after_return(GUEST | old, USER_LE | saved) == USER_LE | saved


@pytest.mark.parametrize(
    ("state", "saved", "expected"),
    [
        (GUEST, LINUX_LE, False),
        (GUEST | msr.bits(30), LINUX_LE, True),
        (GUEST, LINUX_LE | msr.bits(29), True),
        (GUEST, LINUX_LE | msr.bits(30), True),
    ],
)
def test_transactional_by_ts_of_either_side(state: int, saved: int, expected: bool) -> None:
    assert msr.transactional(state, saved) is expected


# -- mtmsr, mtmsrd


def test_mtmsrd_sets_ee_ir_dr_for_problem_state() -> None:
    value = msr.SF | msr.PR | msr.ME
    assert msr.after_mtmsrd(GUEST, value) & (msr.EE | msr.IR | msr.DR) == 0x8030


@pytest.mark.parametrize("bit", [msr.HV, msr.ME, msr.LE], ids=["HV", "ME", "LE"])
@pytest.mark.parametrize("old", [0, 1])
@pytest.mark.parametrize("value", [0, msr.MASK64 & ~msr.PR])
def test_mtmsrd_leaves_hv_me_le(value: int, old: int, bit: int) -> None:
    """Power ISA 3.1B Book III 4.4.1: mtmsrd with L=0 does not alter MSR[3], [51] and [63]."""
    state = GUEST | bit if old else GUEST & ~bit
    assert msr.after_mtmsrd(state, value) & bit == state & bit


@pytest.mark.parametrize("bit", [msr.SF, msr.EE, msr.SE, msr.BE, msr.IR, msr.DR, msr.RI])
@pytest.mark.parametrize("old", [0, 1])
def test_mtmsrd_writes_the_rest(old: int, bit: int) -> None:
    state = GUEST | bit if old else GUEST & ~bit
    assert msr.after_mtmsrd(state, LINUX_LE | bit) & bit == bit
    assert msr.after_mtmsrd(state, LINUX_LE & ~bit) & bit == 0


def test_mtmsr_leaves_the_high_word() -> None:
    """Power ISA 3.1B Book III 4.4.1: mtmsr does not alter MSR[0:31]."""
    assert msr.after_mtmsr(LINUX_LE, 0x1002) == 0x8000000000001003
    assert msr.after_mtmsr(0x1000, msr.MASK64 & ~msr.PR & ~0x783F0000) >> 32 == 0


def test_mtmsr_turns_translation_on_and_off() -> None:
    assert msr.after_mtmsr(0x8000000000001003, 0x1032) == 0x8000000000001033
    assert msr.after_mtmsr(0x8000000000001033, 0x1002) == 0x8000000000001003


# -- byte order on the wire


@pytest.mark.parametrize(
    "state",
    [
        0x8000000000009033,
        0x800000000280F033,
        0x9000000000001033,
        0x8000000000001001,
        0x1001,
        0x8000000100009433,
    ],
)
def test_little_endian_guest_sends_the_low_byte_first(state: int) -> None:
    assert msr.little_endian(state.to_bytes(8, "little"))


@pytest.mark.parametrize(
    "state",
    [
        0x8000000000009032,
        0x9000000000001000,
        0x8000000000000000,
        0x1000,
        0x0,
        0x800000010000D032,
        0x8000000002000000,
    ],
)
def test_big_endian_guest_sends_the_high_byte_first(state: int) -> None:
    assert not msr.little_endian(state.to_bytes(8, "big"))
