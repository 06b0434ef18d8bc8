# SPDX-License-Identifier: MIT
"""What a store-conditional without its reservation leads into: the loop that tries again."""

from __future__ import annotations

import pytest

from gdb_ppc_sstep.ppc import isa, sequences

LARX, STCX, FILL, NOP = 0x7C601828, 0x7C60192D, 0x38630001, 0x60000000
B, BLR = 0x48000000, 0x4E800020
PC = 0x1000


def bne(offset: int) -> int:
    return 0x40820000 | offset & 0xFFFC


def retried(*words: int, at: int) -> sequences.Sequence | None:
    """words: from PC on.  at: which of them is looked at."""
    code = {PC + 4 * n: isa.decode(word) for n, word in enumerate(words)}
    nop = isa.decode(NOP)
    return sequences.retried(PC + 4 * at, 1 << 63, lambda address: code.get(address, nop))


@pytest.mark.parametrize(
    ("words", "at", "exits"),
    [
        ((LARX, FILL, STCX, bne(-12)), 2, (0x1010,)),
        ((LARX, FILL, STCX, NOP, bne(-16)), 2, (0x1014,)),
        # Back to a little before the larx, as where an operand is loaded again.
        ((FILL, LARX, STCX, bne(-12)), 2, (0x1010,)),
        # A way out of the loop, as of a compare and swap.
        ((LARX, bne(0x40), STCX, bne(-12)), 2, (0x1010, 0x1044)),
    ],
)
def test_retried(words: tuple[int, ...], at: int, exits: tuple[int, ...]) -> None:
    loop = retried(*words, at=at)
    assert loop is not None
    assert set(exits) <= set(loop.exits)
    assert all(not PC <= exit < exits[0] for exit in loop.exits)
    assert PC + 4 * at in loop.code


@pytest.mark.parametrize(
    ("words", "at"),
    [
        ((LARX, FILL, STCX, bne(-12)), 0),  # no store-conditional
        ((LARX, FILL, STCX, NOP), 2),  # it is not tried again
        ((LARX, FILL, STCX, bne(8)), 2),  # elsewhere
        ((LARX, FILL, STCX, B | 0x03FFFFF4), 2),  # in any case: it is no test of the result
        ((LARX, FILL, STCX, BLR), 2),
        ((FILL, FILL, STCX, bne(-12)), 2),  # no larx there
        ((LARX, STCX, STCX, bne(-12)), 2),  # the larx is another one's
        ((LARX, FILL, STCX, *[NOP] * 20, bne(-92)), 2),  # too far
    ],
)
def test_what_is_no_such_loop(words: tuple[int, ...], at: int) -> None:
    assert retried(*words, at=at) is None
