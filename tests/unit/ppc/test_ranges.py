# SPDX-License-Identifier: MIT
"""Ranges of code: how they are left, and what they may do."""

from __future__ import annotations

import pytest

from gdb_ppc_sstep.ppc import isa, ranges

from .. import machine as m
from ..machine import KERNEL, SE, TEXT, USER


def leaving(*words: int, state: int = KERNEL) -> tuple[int, ...]:
    """Where code at TEXT is left, counted in instructions."""
    exits = ranges.exits(TEXT, words, state)
    assert exits is not None
    return tuple((place - TEXT) // 4 for place in exits.stops)


def test_straight_code_is_left_at_its_end() -> None:
    assert leaving(m.NOP, m.addi(3, 3, 1)) == (2,)


def test_branches_out_of_a_range_are_exits_and_those_within_are_not() -> None:
    assert leaving(m.bdnz(8), m.bdnz(-4), m.b(0x40), m.b(-8)) == (18,)
    assert leaving(m.bdnz(0x40), m.b(-4)) == (16,)


def test_a_loop_that_is_never_left_has_no_exits() -> None:
    assert leaving(m.NOP, m.b(-4)) == ()


ALONE = {
    "blr": m.BLR,
    "bctr": 0x4E800420,
    "rfid": m.RFID,
    "sc": m.SC,
    "trap": m.TRAP,
    "mtmsrd": m.mtmsrd(3),
    "mtsrr0": m.mtspr("srr0", 3),
    "wait": 0x7C00003C,
    "stdu r1,-32(r1)": 0xF821FFE1,
    "addi r1,r1,32": 0x38210020,
    "mr r1,r3": 0x7C611B78,
    "ld r1,0(r3)": 0xE8230000,
    "prefixed": 0x04000000,
}


@pytest.mark.parametrize("word", ALONE.values(), ids=ALONE)
def test_what_must_be_stepped_by_itself_is_where_a_range_stops(word: int) -> None:
    assert leaving(m.NOP, word, m.NOP)[0] == 1


def test_calls_are_left_by_or_stepped() -> None:
    call = (m.NOP, m.b(0x40, link=True), m.NOP)
    assert leaving(*call) == (17, 3)
    stepped = ranges.exits(TEXT, call, KERNEL, into_calls=False)
    assert stepped is not None and stepped.stops == (TEXT + 4, TEXT + 12)


def test_a_call_into_the_range_itself_is_stepped() -> None:
    assert leaving(m.NOP, m.b(-4, link=True), m.NOP) == (1, 3)
    assert leaving(m.b(4, link=True), m.NOP) == (2,)  # this only asks for pc


@pytest.mark.parametrize("state", [USER, KERNEL | SE, KERNEL | m.BE])
def test_state_in_which_no_range_is_run_through(state: int) -> None:
    assert ranges.exits(TEXT, (m.NOP, m.NOP), state) is None


def test_ranges_that_are_too_long_or_have_too_many_exits() -> None:
    assert ranges.exits(TEXT, (m.NOP,) * ranges.LONGEST, KERNEL) is not None
    assert ranges.exits(TEXT, (m.NOP,) * (ranges.LONGEST + 1), KERNEL) is None
    assert ranges.exits(TEXT, (m.BLR,) * (ranges.MOST + 1), KERNEL) is None
    assert ranges.exits(TEXT, (), KERNEL) is None


def test_faults_are_those_of_all_instructions() -> None:
    exits = ranges.exits(TEXT, (m.NOP, m.lbz(3, 4)), KERNEL & ~m.IR)
    assert exits is not None and exits.faults == (0x300, 0x380, 0x600)
    exits = ranges.exits(TEXT, (m.NOP,), KERNEL)
    assert exits is not None and exits.faults == (0x400, 0x480)


@pytest.mark.parametrize(
    ("word", "written"),
    [
        (m.addi(4, 5, 1), [4]),
        (m.lbz(4, 5), [4]),
        (0x8C850001, [4, 5]),  # lbzu r4,1(r5)
        (0x9C850001, [5]),  # stbu r4,1(r5)
        (0x98850001, []),  # stb r4,1(r5)
        (0xE8850000, [4]),  # ld r4,0(r5)
        (0xE8850001, [4, 5]),  # ldu r4,0(r5)
        (0xE8850002, [4]),  # lwa r4,0(r5)
        (0xF8850000, []),  # std r4,0(r5)
        (0xF8850001, [5]),  # stdu r4,0(r5)
        (0x7C852378, [5]),  # or r5,r4,r4
        (0x60850001, [5]),  # ori r5,r4,1
        (0x5485003E, [5]),  # rlwinm r5,r4,0,0,31
        (0x7885F842, [5]),  # rldicl r5,r4,63,1
        (0x2C040000, []),  # cmpwi r4,0
        (0xFC84282A, []),  # fadd f4,f4,f5
        (0x4C85282C, []),  # isync and the like
        (0x4C850004, [4]),  # addpcis r4,5
    ],
)
def test_registers_that_an_instruction_keeps(word: int, written: list[int]) -> None:
    kept = [number for number in range(32) if isa.keeps(isa.decode(word), number)]
    assert kept == [number for number in range(32) if number not in written]


# lwzx, lswi, lqarx, lmw from r0, lq r0
@pytest.mark.parametrize("word", [0x7C20282E, 0x7C8504AA, 0x7C002A28, 0xB8050000, 0xE0050000])
def test_registers_that_an_instruction_may_write(word: int) -> None:
    assert not isa.keeps(isa.decode(word), 1)
