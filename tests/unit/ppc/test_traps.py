# SPDX-License-Identifier: MIT
"""Trap conditions."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gdb_ppc_sstep.ppc import isa


def signed(value: int, width: int) -> int:
    value &= (1 << width) - 1
    return value if value < 1 << (width - 1) else value - (1 << width)


def conditions(a: int, b: int, width: int) -> int:
    """The TO bits of which each is a condition that holds for two registers, from the left:
    less, greater, equal, less and greater as unsigned (Power ISA 3.1B Book I 3.3.11)."""
    below = a % (1 << width) < b % (1 << width)
    above = a % (1 << width) > b % (1 << width)
    less = signed(a, width) < signed(b, width)
    greater = signed(a, width) > signed(b, width)
    equal = not below and not above
    return int("".join(str(int(one)) for one in (less, greater, equal, below, above)), 2)


EDGES = [
    0,
    1,
    2,
    0x7FFF,
    0x8000,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    0x100000000,
    0x1FFFFFFFF,
    0x7FFFFFFFFFFFFFFF,
    0x8000000000000000,
    0xFFFFFFFF00000000,
    0xFFFFFFFF80000000,
    0xFFFFFFFFFFFF8000,
    0xFFFFFFFFFFFFFFFF,
]
REGISTERS: list[tuple[str, int, int]] = [("tw", 4, 32), ("td", 68, 64)]
IMMEDIATES: list[tuple[str, int, int]] = [("twi", 3, 32), ("tdi", 2, 64)]


@pytest.mark.parametrize("to", range(32))
@pytest.mark.parametrize(("name", "extended", "width"), REGISTERS)
def test_trap_on_registers(name: str, extended: int, width: int, to: int) -> None:
    instruction = isa.decode(31 << 26 | to << 21 | 3 << 16 | 4 << 11 | extended << 1)
    wrong = [
        (hex(a), hex(b))
        for a in EDGES
        for b in EDGES
        if isa.trap_taken(instruction, {"r3": a, "r4": b}.__getitem__)
        != bool(conditions(a, b, width) & to)
    ]
    assert not wrong, name


@pytest.mark.parametrize("to", range(32))
@pytest.mark.parametrize(("name", "opcode", "width"), IMMEDIATES)
def test_trap_on_an_immediate(name: str, opcode: int, width: int, to: int) -> None:
    """The immediate is extended by its sign, for the unsigned comparisons as well."""
    wrong = []
    for immediate in (0, 1, -1, 2, 0x7FFF, -0x8000):
        instruction = isa.decode(opcode << 26 | to << 21 | 3 << 16 | immediate & 0xFFFF)
        wrong += [
            (hex(a), immediate)
            for a in EDGES
            if isa.trap_taken(instruction, {"r3": a}.__getitem__)
            != bool(conditions(a, immediate, width) & to)
        ]
    assert not wrong, name


def test_the_reference_for_traps_itself() -> None:
    """LLT 16, LGT 8, EQ 4, unsigned less 2, unsigned greater 1."""
    assert conditions(5, 5, 64) == 4
    assert conditions(0xFFFFFFFFFFFFFFFF, 1, 64) == 16 | 1
    assert conditions(1, -1, 64) == 8 | 2
    assert conditions(2, 1, 32) == 8 | 1
    assert conditions(0x100000001, 1, 32) == 4
    assert conditions(0x100000001, 1, 64) == 8 | 1


@pytest.mark.parametrize(
    ("word", "registers", "taken"),
    [
        (0x7FE00008, {"r0": 7}, True),  # trap
        (0x0B090000, {"r9": 0}, False),  # tdnei r9,0: Linux WARN_ON
        (0x0B090000, {"r9": 1}, True),
        (0x0C830000, {"r3": 0x100000000}, True),  # tweqi r3,0: 32 bits
        (0x08830000, {"r3": 0x100000000}, False),  # tdeqi r3,0: 64 bits
        (0x08800000, {"r0": 0}, True),  # r0 is the register, not 0
        (0x08800000, {"r0": 1}, False),
    ],
)
def test_trap_by_hand(word: int, registers: dict[str, int], taken: bool) -> None:
    read: Callable[[str], int] = registers.__getitem__
    assert isa.trap_taken(isa.decode(word), read) is taken
