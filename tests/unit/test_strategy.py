# SPDX-License-Identifier: MIT
"""The table of strategies: what is planned for each kind of instruction."""

from __future__ import annotations

import pytest

from gdb_ppc_sstep.ppc import isa, msr
from gdb_ppc_sstep.ppc.strategy import Plan, guest_traces, plan

KERNEL = 0x8000000000009033
USER = 0x800000000280F033
REAL = 0x8000000000001003
PC = 0xC000000000010000
VIRTUAL = 0xC000000000004000  # where AIL=3 puts the vectors

NOP = 0x60000000
SELF = 0x48000000  # b .
BACK = 0x4BFFFF00  # b .-0x100
BEQ = 0x41820040  # beq .+0x40
BLR = 0x4E800020
SC, SC1, SCV0, SCV5 = 0x44000002, 0x44000022, 0x44000001, 0x440000A1
TRAP = 0x7FE00008
TDNEI = 0x0B090000  # tdnei r9,0
RFID, HRFID, RFSCV = 0x4C000024, 0x4C000224, 0x4C0000A4
MFMSR, MTMSR, MTMSRD, MTMSRD_1 = 0x7C6000A6, 0x7C600124, 0x7C600164, 0x7C610164  # of r3
MTSRR0, MFSRR1, MFLR = 0x7C7A03A6, 0x7C7B02A6, 0x7C6802A6


def ail3(offset: int, state: int) -> int:
    """The vectors of a POWER9 guest with LPCR[AIL]=3."""
    return msr.vector(offset, state, msr.Relocation(3))


def planned(
    word: int, state: int = KERNEL, pc: int = PC, *, traceable: bool = True, **registers: int
) -> Plan:
    """The plan where only the registers given may be read.

    Without what `taken`, `faults` and `registers` say, which have tests of their own.
    """
    whole = plan(isa.decode(word), pc, state, registers.__getitem__, ail3, traceable=traceable)
    return Plan(whole.stops, whole.trace, state=whole.state)


def traced(*more: int, vector: int = VIRTUAL | 0xD00) -> Plan:
    """The plan of a Trace-interrupt step that may also stop elsewhere."""
    return Plan((vector, *more), trace=vector)


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


# -- at the Trace vector itself

VECTOR = VIRTUAL | 0xD00


@pytest.mark.parametrize(
    ("word", "stops"),
    [
        (NOP, (VECTOR + 4,)),
        (MTSRR0, (VECTOR + 4,)),
        (0x06000000, (VECTOR + 8,)),
    ],
)
def test_at_the_trace_vector_it_lands_on_the_successors(word: int, stops: tuple[int, ...]) -> None:
    """A breakpoint at the vector would hit before the instruction ran."""
    assert planned(word, pc=VECTOR) == Plan(stops)


@pytest.mark.parametrize(
    ("word", "pc", "written"),
    [
        (BACK, VECTOR - 0x100, {"cfar": VECTOR}),
        (BACK | 1, VECTOR - 0x100, {"lr": VECTOR + 4, "cfar": VECTOR}),
        (BEQ, VECTOR + 4, {}),  # with cr0 as below
        (0x40820040, VECTOR + 0x40, {"cfar": VECTOR}),  # bne
        (0x40820041, VECTOR + 0x40, {"lr": VECTOR + 4, "cfar": VECTOR}),  # bnel
        (0x41A20041, VECTOR + 4, {"lr": VECTOR + 4}),  # beql, not taken
        (BLR, PC, {"cfar": VECTOR}),
        (0x4E800021, PC, {"lr": VECTOR + 4, "cfar": VECTOR}),  # blrl
        (0x4E800420, 0x1000, {"cfar": VECTOR}),  # bctr
        (0x42000000, VECTOR, {"ctr": 0xFFF, "cfar": VECTOR}),  # bdnz .
        (0x42400000, VECTOR + 4, {"ctr": 0xFFF}),  # bdz .
        (0x41000000, VECTOR, {"ctr": 0xFFF, "cfar": VECTOR}),  # bdnzt lt,.
        (0x41020000, VECTOR + 4, {"ctr": 0xFFF}),  # bdnzt eq,.
    ],
)
def test_branches_at_the_trace_vector_are_emulated(
    word: int, pc: int, written: dict[str, int]
) -> None:
    registers = {"lr": PC + 2, "ctr": 0x1000, "cr": 0x80000000}
    done = plan(isa.decode(word), VECTOR, KERNEL, registers.__getitem__, ail3)
    assert done == Plan(state=(pc, KERNEL), registers=tuple(written.items()))


def test_branch_to_itself_at_the_trace_vector_changes_nothing() -> None:
    assert planned(SELF, pc=VECTOR) == Plan(state=(VECTOR, KERNEL))


def test_trap_at_the_program_vector_is_emulated() -> None:
    """Power ISA 3.1B Book III 7.5.9: SRR1 bit 46."""
    place = VIRTUAL | 0x700
    done = plan(isa.decode(TRAP), place, KERNEL, {"r0": 0}.__getitem__, ail3)
    srrs = (("srr0", place), ("srr1", KERNEL | 1 << 17))
    assert done == Plan(state=(place, 0x8000000000001031), registers=srrs)
    done = plan(isa.decode(TRAP), 0x700, REAL, {"r0": 0}.__getitem__, ail3)
    assert done.state == (0x700, 0x8000000000001001 & REAL)


def test_sc_at_its_vector_is_emulated() -> None:
    done = plan(isa.decode(SC), 0xC00, REAL & ~msr.SF | msr.EE, refuse, ail3)
    srrs = (("srr0", 0xC04), ("srr1", REAL & ~msr.SF | msr.EE))
    assert done == Plan(state=(0xC00, REAL & ~msr.RI | msr.SF), registers=srrs)


def test_trace_vector_of_the_other_mode_is_an_ordinary_address() -> None:
    assert planned(NOP, REAL, pc=VECTOR) == traced(vector=0xD00)
    assert planned(NOP, pc=0x18D00) == traced()


def test_system_call_at_the_trace_vector_lands_as_elsewhere() -> None:
    assert planned(SC, pc=VECTOR) == Plan((VIRTUAL | 0xC00,))


def test_guests_own_trace_at_the_vector_lands_on_the_successor() -> None:
    assert planned(NOP, KERNEL | msr.SE, pc=VECTOR) == Plan((VECTOR + 4,))


# -- in the real-mode vectors, where QEMU's TCG raises no Trace interrupt


@pytest.mark.parametrize("state", [KERNEL, REAL])
@pytest.mark.parametrize(
    ("pc", "untraced"),
    [
        (0xF8, False),
        (0xFC, False),  # the next word is at 0x100
        (0x100, True),
        (0x300, True),
        (0xCFC, True),
        (0xEFC, True),  # at 0xf00
        (0xF00, False),
        (0x1000, False),
        (0xC000000000000300, False),
        (0x18300, False),
    ],
)
def test_in_the_real_mode_vectors_it_lands_on_the_successors(
    pc: int, untraced: bool, state: int
) -> None:
    """QEMU target/ppc/translate.c ppc_tr_tb_stop: only if `nip <= 0x100 || nip > 0xf00`."""
    trace = 0xD00 if state == REAL else VECTOR
    landing = Plan((pc + 4,))
    assert planned(NOP, state, pc=pc) == (landing if untraced else traced(vector=trace))


def test_branches_in_the_real_mode_vectors() -> None:
    assert planned(BEQ, REAL, pc=0x300, cr=0) == Plan(state=(0x304, REAL))
    assert planned(BLR, REAL, pc=0x300, lr=0x4001) == Plan(state=(0x4000, REAL))
    assert planned(SELF, REAL, pc=0x300) == Plan(state=(0x300, REAL))


def test_guests_own_trace_in_the_real_mode_vectors_may_be_taken_or_not() -> None:
    assert planned(NOP, REAL | msr.SE, pc=0x300) == Plan((0xD00, 0x304))


def test_other_strategies_in_the_real_mode_vectors_are_as_elsewhere() -> None:
    assert planned(SC, REAL, pc=0x300) == Plan((0xC00,))
    assert planned(TRAP, REAL, pc=0x300, r0=0) == Plan((0x700,))
    assert planned(RFID, REAL, pc=0x300, srr0=PC, srr1=KERNEL) == Plan(state=(PC, KERNEL))


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


class Unreadable(Exception):
    """What a reader raises here."""


def refuse(name: str) -> int:
    raise Unreadable(name)


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
