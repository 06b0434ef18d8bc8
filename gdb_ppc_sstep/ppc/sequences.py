# SPDX-License-Identifier: MIT
"""Instructions between which no interrupt may come: atomic sequences and transactions.  Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .isa import LEAVES, Instruction, Kind, in_mode, no_register, successors

LONGEST = 128
"""Instructions that an atomic sequence may have; gdb's own limit is 16."""


class Sequence(NamedTuple):
    """What a stop within would spoil: where it is left, and its instructions by address."""

    exits: tuple[int, ...]
    code: dict[int, Instruction]


def atomic_sequence(pc: int, msr: int, code: Callable[[int], Instruction]) -> Sequence | None:
    """The sequence that begins at `pc`: of a larx to its store-conditional, or a transaction of a
    tbegin. to its tend.; None for anything else, and where the end is not found.

    It is left behind its end, and where branches lead out of it; an indirect branch, or what leaves
    by an interrupt, is a place of its own.  But calls in a transaction come back.  code gives the
    instruction at an address.  As gdb's rs6000-tdep.c ppc_deal_with_atomic_sequence, which knows
    one branch and no transactions.
    """
    first = code(pc)
    if not first.begins_sequence:
        return None
    read = {pc: first}
    targets: list[int] = []
    inside: list[int] = []
    place = pc
    for _ in range(LONGEST):
        instruction = read[place] = read.get(place) or code(place)
        following = in_mode(place + instruction.length, msr)
        ends = instruction.stores_conditionally if first.reserves else instruction.ends_transaction
        if ends:
            outside = (target for target in targets if not pc <= target <= place)
            return Sequence((following, *outside, *inside), read)
        comes_back = instruction.links and first.begins_transaction
        if instruction.kind is Kind.BRANCH and not comes_back:
            if instruction.word >> 26 != 19:
                targets.append(successors(instruction, place, msr, no_register)[-1])
            else:
                inside.append(place)
        elif instruction.kind in LEAVES:
            inside.append(place)
        place = following
    return None
