# SPDX-License-Identifier: MIT
"""The table of strategies: what is planned for each kind of instruction."""

from __future__ import annotations

import pytest

from gdb_ppc_sstep.ppc import isa, msr
from gdb_ppc_sstep.ppc.strategy import Plan, guest_traces, plan

from .planning import (
    BACK,
    BEQ,
    BLR,
    HRFID,
    KERNEL,
    MFLR,
    MFMSR,
    MFSRR1,
    MTMSR,
    MTMSRD,
    MTMSRD_1,
    MTSRR0,
    NOP,
    PC,
    REAL,
    RFID,
    RFSCV,
    SC,
    SC1,
    SCV0,
    SCV5,
    SELF,
    TDNEI,
    TRAP,
    USER,
    VIRTUAL,
    Unreadable,
    ail3,
    planned,
    refuse,
    traced,
)

# -- trace


@pytest.mark.parametrize(
    "word",
    [NOP, SELF, BACK, BEQ, BLR, MFMSR, MTSRR0, MFSRR1, MFLR, MTMSRD_1, 0x06000000],
    ids=["nop", "b .", "b", "beq", "blr", "mfmsr", "mtsrr0", "mfsrr1", "mflr", "mtmsrd 1", "pnop"],
)
@pytest.mark.parametrize(
    ("state", "vector"), [(KERNEL, VIRTUAL | 0xD00), (REAL, 0xD00), (REAL | msr.IR, 0xD00)]
)
def test_what_completes_is_traced_and_reads_no_register(word: int, state: int, vector: int) -> None:
    """The indirect branch too: only what follows it is in a register."""
    assert planned(word, state) == traced(vector=vector)


@pytest.mark.parametrize("word", [NOP, BLR, MFLR, 0x7C6342A6])
def test_problem_state_is_traced_for_unprivileged_instructions(word: int) -> None:
    assert planned(word, USER) == traced()


def test_trap_not_taken_is_traced() -> None:
    assert planned(TDNEI, r9=0) == traced()


@pytest.mark.parametrize(
    ("word", "value", "state", "vector"),
    [
        (MTMSRD, KERNEL, KERNEL, VIRTUAL | 0xD00),
        (MTMSRD, REAL, KERNEL, 0xD00),
        (MTMSRD, KERNEL & ~msr.IR, KERNEL, 0xD00),
        (MTMSRD, KERNEL & ~msr.DR, KERNEL, 0xD00),
        (MTMSRD, KERNEL, REAL, VIRTUAL | 0xD00),
        (MTMSRD, REAL | msr.PR, REAL, VIRTUAL | 0xD00),  # PR=1 turns translation on
        (MTMSR, 0x1002, KERNEL, 0xD00),
        (MTMSR, 0x1032, REAL, VIRTUAL | 0xD00),
    ],
)
def test_mtmsr_is_traced_where_the_new_msr_puts_the_vector(
    word: int, value: int, state: int, vector: int
) -> None:
    """The next instruction is a stop as well: the ISA leaves open which SE decides."""
    assert planned(word, state, r3=value) == traced(PC + 4, vector=vector)


def test_mtmsrd_l1_keeps_translation() -> None:
    """mtmsrd with L=1 writes EE and RI only, whatever RS holds."""
    assert planned(MTMSRD_1, KERNEL) == traced()


# -- the guest's own tracing


@pytest.mark.parametrize("word", [NOP, BEQ, MFMSR])
def test_step_of_a_guest_that_traces_itself_ends_at_its_trace_vector(word: int) -> None:
    """Nothing is armed, and nothing will be undone: native stepping shows the vector."""
    assert planned(word, KERNEL | msr.SE) == Plan((VIRTUAL | 0xD00,))


def test_own_branch_trace_is_for_branches_only() -> None:
    assert planned(BEQ, KERNEL | msr.BE) == Plan((VIRTUAL | 0xD00,))
    assert planned(NOP, KERNEL | msr.BE) == traced()


def test_mtmsrd_of_a_guest_that_traces_itself() -> None:
    state = KERNEL | msr.SE
    assert planned(MTMSRD, state, r3=KERNEL) == Plan((VIRTUAL | 0xD00, PC + 4))


@pytest.mark.parametrize(
    ("state", "word", "expected"),
    [
        (KERNEL, NOP, False),
        (KERNEL, BLR, False),
        (KERNEL | msr.SE, NOP, True),
        (KERNEL | msr.SE, BLR, True),
        (KERNEL | msr.BE, NOP, False),
        (KERNEL | msr.BE, BLR, True),
        (KERNEL | msr.BE, SC, False),
    ],
)
def test_guest_traces(state: int, word: int, expected: bool) -> None:
    assert guest_traces(isa.decode(word), state) is expected


# -- land: instructions that take an interrupt instead of completing


@pytest.mark.parametrize("state", [KERNEL, USER, KERNEL | msr.SE])
def test_sc_lands_on_its_vector(state: int) -> None:
    assert planned(SC, state) == Plan((VIRTUAL | 0xC00,))


def test_sc_in_real_mode_lands_on_c00() -> None:
    assert planned(SC, REAL) == Plan((0xC00,))


def test_hypercall_of_a_guest_returns_to_the_next_instruction() -> None:
    """Without HV the hypervisor is below and answers; if not, it goes to 0xc00 in real mode."""
    assert planned(SC1) == Plan((PC + 4, 0xC00))


def test_hypercall_of_a_hypervisor_goes_to_its_own_vector() -> None:
    assert planned(SC1, KERNEL | msr.HV) == Plan((VIRTUAL | 0xC00, PC + 4))


@pytest.mark.parametrize(
    ("word", "state", "target"),
    [
        (SCV0, USER, 0xC000000000003000),
        (SCV5, USER, 0xC0000000000030A0),
        (SCV0, REAL, 0x17000),
        (SCV5, REAL, 0x170A0),
    ],
)
def test_scv_lands_on_the_vector_of_its_level(word: int, state: int, target: int) -> None:
    """Or on that of what happens where FSCR or the CPU has no scv."""
    base = VIRTUAL if state == USER else 0
    assert planned(word, state) == Plan((target, base | 0xF60, base | 0x700))


@pytest.mark.parametrize("state", [KERNEL, USER])
def test_trap_taken_lands_on_the_program_vector(state: int) -> None:
    assert planned(TRAP, state, r0=0) == Plan((VIRTUAL | 0x700,))
    assert planned(TDNEI, state, r9=1) == Plan((VIRTUAL | 0x700,))


@pytest.mark.parametrize("word", [RFID, HRFID, RFSCV, MFMSR, MTMSR, MTMSRD, MTSRR0, MFSRR1])
def test_privileged_instruction_in_problem_state_lands_on_the_program_vector(word: int) -> None:
    """And no register is read: it does nothing else."""
    assert planned(word, USER) == Plan((VIRTUAL | 0x700,))


# -- emulate: returns from interrupts


@pytest.mark.parametrize(
    ("srr0", "srr1", "pc", "new"),
    [
        (0x10000470, USER, 0x10000470, USER),
        (0x10000473, USER, 0x10000470, USER),
        (PC + 0x40, KERNEL, PC + 0x40, KERNEL),
        (PC + 0x40, KERNEL | 0x40000000, PC + 0x40, KERNEL),  # status of the interrupt
        (0x100, REAL, 0x100, REAL),
        (0xC000000012345678, KERNEL & ~msr.SF, 0x12345678, KERNEL & ~msr.SF),
        (PC, KERNEL | msr.HV, PC, KERNEL),  # a guest cannot enter hypervisor state
        (PC, KERNEL | msr.SE, PC, KERNEL | msr.SE),  # the guest's own
    ],
)
def test_rfid_is_emulated(srr0: int, srr1: int, pc: int, new: int) -> None:
    state = KERNEL & ~(msr.EE | msr.RI)
    assert planned(RFID, state, srr0=srr0, srr1=srr1) == Plan(state=(pc, new))


def test_rfid_to_itself_and_to_the_trace_vector_is_emulated() -> None:
    assert planned(RFID, srr0=PC, srr1=KERNEL) == Plan(state=(PC, KERNEL))
    assert planned(RFID, srr0=0xD00, srr1=REAL) == Plan(state=(0xD00, REAL))


def test_rfscv_is_emulated_from_lr_and_ctr() -> None:
    assert planned(RFSCV, lr=0x10000473, ctr=USER, pvr=0x004E1202) == Plan(state=(0x10000470, USER))


def test_rfid_in_hypervisor_state_lands_on_its_target() -> None:
    """A stub cannot write MSR[HV]."""
    state = KERNEL | msr.HV
    assert planned(RFID, state, srr0=0x10000471, srr1=USER) == Plan((0x10000470,))


def test_hrfid_in_hypervisor_state_lands_on_its_target() -> None:
    state = KERNEL | msr.HV
    assert planned(HRFID, state, hsrr0=PC + 0x103, hsrr1=KERNEL) == Plan((PC + 0x100,))
    narrow = planned(HRFID, state, hsrr0=0x1000000100, hsrr1=KERNEL & ~msr.SF)
    assert narrow == Plan((0x100,))


def test_rfscv_is_illegal_before_power9() -> None:
    assert planned(RFSCV, pvr=0x004D0200) == Plan((VIRTUAL | 0x700, VIRTUAL | 0xE40))


@pytest.mark.parametrize("word", [0x7C210B78, 0x7FFFFB78], ids=["or 1,1,1", "or 31,31,31"])
def test_hints_stop_at_the_next_instruction_without_a_trace_interrupt(word: int) -> None:
    assert planned(word) == traced(PC + 4)
    assert planned(word & ~(1 << 16)) == traced()


@pytest.mark.parametrize(
    "word",
    [0x7C00003C, 0x4C0002E4, 0x4C000364, 0x4C000324, 0x4C0003A4, 0x4C0003E4],
    ids=["wait", "stop", "nap", "doze", "sleep", "rvwinkle"],
)
def test_sleepers_stop_where_they_wake_up(word: int) -> None:
    assert planned(word) == traced(PC + 4, 0x100)


def test_hrfid_of_a_guest_lands_on_an_interrupt_vector() -> None:
    """Which one depends on the CPU: Program, or Hypervisor Emulation Assistance."""
    assert planned(HRFID) == Plan((VIRTUAL | 0x700, VIRTUAL | 0xE40))


@pytest.mark.parametrize("bit", [msr.bits(29), msr.bits(30)])
def test_return_into_a_transaction_lands_on_its_target(bit: int) -> None:
    assert planned(RFID, srr0=0x10000470, srr1=USER | bit) == Plan((0x10000470,))
    assert planned(RFID, KERNEL | bit, srr0=0x10000470, srr1=USER) == Plan((0x10000470,))


# -- where SRR0 and SRR1 cannot be read


def test_untraceable_lands_on_the_successors() -> None:
    assert planned(NOP, traceable=False) == Plan((PC + 4,))


def test_untraceable_branches_are_emulated() -> None:
    assert planned(BEQ, traceable=False, cr=0) == Plan(state=(PC + 4, KERNEL))
    assert planned(BEQ, traceable=False, cr=0x20000000) == Plan(state=(PC + 0x40, KERNEL))
    assert planned(BLR, traceable=False, lr=0x1000) == Plan(state=(0x1000, KERNEL))
    bctar = 0x4E800460
    assert planned(bctar, traceable=False, tar=0x1000) == Plan((0x1000,)), "it may be unavailable"


def test_untraceable_branch_to_itself_changes_nothing() -> None:
    assert planned(SELF, traceable=False) == Plan(state=(PC, KERNEL))


def test_untraceable_what_lands_anyway_is_the_same() -> None:
    assert planned(SC, traceable=False) == Plan((VIRTUAL | 0xC00,))
    assert planned(TRAP, traceable=False, r0=0) == Plan((VIRTUAL | 0x700,))


def test_untraceable_mtmsrd_lands_on_the_next_instruction() -> None:
    assert planned(MTMSRD, traceable=False, r3=REAL) == Plan((PC + 4,))


# -- laziness


def no_vector(offset: int, state: int) -> int:
    raise Unreadable(f"vector {offset:#x} with {state:#x}")


@pytest.mark.parametrize("word", [NOP, BEQ, BLR, SC, SC1, SCV0, MFMSR, MTSRR0, MFLR, MTMSRD_1])
def test_registers_are_not_read_without_need(word: int) -> None:
    assert plan(isa.decode(word), PC, KERNEL, refuse, ail3).stops


@pytest.mark.parametrize(
    ("word", "name"),
    [(TDNEI, "r9"), (MTMSRD, "r3"), (RFID, "srr0"), (RFSCV, "pvr")],
)
def test_what_a_needed_register_raises_is_passed_on(word: int, name: str) -> None:
    with pytest.raises(Unreadable, match=f"^{name}$"):
        plan(isa.decode(word), PC, KERNEL, refuse, ail3)


@pytest.mark.parametrize("word", [RFID, RFSCV])
def test_emulation_asks_for_no_vector(word: int) -> None:
    registers = {"srr0": PC, "srr1": KERNEL, "lr": PC, "ctr": KERNEL, "pvr": 0x004E1202}
    read = registers.__getitem__
    assert plan(isa.decode(word), PC, KERNEL, read, no_vector).state == (PC, KERNEL)


@pytest.mark.parametrize("word", [NOP, SC, SCV0, TRAP])
def test_what_a_needed_vector_raises_is_passed_on(word: int) -> None:
    with pytest.raises(Unreadable, match="vector"):
        plan(isa.decode(word), PC, KERNEL, {"r0": 0}.__getitem__, no_vector)


@pytest.mark.parametrize(
    ("word", "asked"),
    [
        (NOP, [(0xD00, KERNEL)]),
        (SC, [(0xC00, KERNEL)]),
        (SCV5, [(0x170A0, KERNEL), (0xF60, KERNEL), (0x700, KERNEL)]),
        (TRAP, [(0x700, KERNEL)]),
        (MTMSRD, [(0xD00, REAL)]),
    ],
)
def test_only_the_vectors_that_matter_are_asked_for(
    word: int, asked: list[tuple[int, int]]
) -> None:
    seen = []

    def vector(offset: int, state: int) -> int:
        seen.append((offset, state))
        return ail3(offset, state)

    plan(isa.decode(word), PC, KERNEL, {"r0": 0, "r3": REAL}.__getitem__, vector)
    assert seen == asked
