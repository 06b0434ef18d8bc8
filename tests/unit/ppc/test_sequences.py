# SPDX-License-Identifier: MIT
"""Atomic sequences of load-and-reserve and store-conditional."""

from __future__ import annotations

import pytest

from gdb_ppc_sstep.ppc import isa, sequences

TBEGIN, TEND = 0x7C00051D, 0x7C00055D
LARX, STCX, FILL, BNE = 0x7C601828, 0x7C60192D, 0x38630001, 0x40820000


def left_at(*words: int, pc: int = 0x1000) -> tuple[int, ...]:
    code = {pc + 4 * n: isa.decode(word) for n, word in enumerate(words)}
    nop = isa.decode(0x60000000)
    sequence = sequences.atomic_sequence(pc, 1 << 63, lambda address: code.get(address, nop))
    if sequence is None:
        return ()
    assert list(sequence.code) == list(range(pc, sequence.exits[0], 4))
    return sequence.exits


@pytest.mark.parametrize(
    ("words", "places"),
    [
        ((LARX, FILL, STCX, BNE), (0x100C,)),
        ((LARX, BNE | 0x40, STCX), (0x100C, 0x1044)),
        ((LARX, BNE | 0x40, BNE | 0x50, STCX), (0x1010, 0x1044, 0x1058)),
        ((LARX, BNE | 0xFFFC, STCX), (0x100C,)),  # back to the larx: spins inside
        ((LARX, BNE | 0xFF00, STCX), (0x100C, 0xF04)),
        ((LARX, BNE | 8, FILL, STCX), (0x1010,)),  # forward, inside
        ((LARX, 0x48000041, STCX), (0x100C, 0x1044)),  # bl
        ((LARX, 0x4D820020, STCX), (0x100C, 0x1004)),  # beqlr: a place of its own
        ((LARX, 0x44000002, STCX), (0x100C, 0x1004)),  # sc
        ((LARX, LARX, STCX, STCX), (0x100C,)),  # nested: the first store ends it
        ((LARX, *[FILL] * 40, STCX), (0x10A8,)),
        ((TBEGIN, BNE | 0x40, FILL, STCX, TEND), (0x1014, 0x1044)),
        ((TBEGIN, BNE | 8, 0x48000041, TEND), (0x1010,)),  # a call comes back
        ((TBEGIN, FILL, STCX), ()),
        ((FILL, LARX, STCX), ()),
        ((LARX, FILL, TEND), ()),
        ((LARX, FILL), ()),
        ((LARX, *[FILL] * 200, STCX), ()),
    ],
)
def test_atomic_sequence(words: tuple[int, ...], places: tuple[int, ...]) -> None:
    assert left_at(*words) == places


@pytest.mark.parametrize("words", [(0x7C601828, 0x7C60192D), (0x7C6018A8, 0x7C6019AD)])
def test_reserving_and_storing(words: tuple[int, int]) -> None:
    larx, stcx = map(isa.decode, words)
    assert larx.reserves and not larx.stores_conditionally
    assert stcx.stores_conditionally and not stcx.reserves
