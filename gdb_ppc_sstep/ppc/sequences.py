# SPDX-License-Identifier: MIT
"""Instructions between which no interrupt may come: atomic sequences and transactions.  Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .isa import LEAVES, Instruction, Kind, in_mode, no_register, successors

LONGEST = 128
"""The most instructions that an atomic sequence may have; gdb's own limit is 16."""

# Instructions from a store-conditional to the branch that tries again, or from there to the larx.
_UNTIL_RETRY = 8


class Sequence(NamedTuple):
    """Instructions that a stop would spoil: where control leaves them, and each by its address."""

    exits: tuple[int, ...]
    code: dict[int, Instruction]


def atomic_sequence(pc: int, msr: int, code: Callable[[int], Instruction]) -> Sequence | None:
    """The sequence that begins at `pc`: from a larx to its store-conditional, or a transaction.

    None for anything else, and where the end is not found.  A transaction goes from a tbegin. to
    its tend.  Control leaves the sequence behind its end, and where branches lead out of it; an
    indirect branch, or an instruction that leaves by an interrupt, is an exit itself.  But calls in
    a transaction come back.  code gives the instruction at an address.  As gdb's rs6000-tdep.c
    ppc_deal_with_atomic_sequence, which knows one branch and no transactions.
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


def retried(pc: int, msr: int, code: Callable[[int], Instruction]) -> Sequence | None:
    """The loop that is executed if a store-conditional at `pc` has lost its reservation.

    The store fails, and a branch behind it leads back to its larx; None for anything else.  Control
    leaves the loop behind the branch, or where the sequence itself leads out.
    """
    if not code(pc).stores_conditionally:
        return None
    place = in_mode(pc + 4, msr)
    for _ in range(_UNTIL_RETRY):
        instruction = code(place)
        following = in_mode(place + instruction.length, msr)
        if instruction.kind is Kind.BRANCH:
            if instruction.word >> 26 != 16:
                return None
            *_, back = successors(instruction, place, msr, no_register)
            for first in range(back, min(pc, back + 4 * _UNTIL_RETRY), 4):
                loop = atomic_sequence(first, msr, code) if code(first).reserves else None
                if loop is not None and pc in loop.code:
                    outside = (exit for exit in loop.exits if not first <= exit <= place)
                    return Sequence((following, *outside), {pc: code(pc), **loop.code})
            return None
        place = following
    return None
