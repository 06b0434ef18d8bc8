# SPDX-License-Identifier: MIT
"""The table of strategies at the Trace vector itself and in the real-mode vectors."""

from __future__ import annotations

import pytest

from gdb_ppc_sstep.ppc import isa, msr
from gdb_ppc_sstep.ppc.strategy import Plan, plan

from .planning import (
    BACK,
    BEQ,
    BLR,
    KERNEL,
    MTSRR0,
    NOP,
    PC,
    REAL,
    RFID,
    SC,
    SELF,
    TRAP,
    VIRTUAL,
    ail3,
    planned,
    refuse,
    traced,
)

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
