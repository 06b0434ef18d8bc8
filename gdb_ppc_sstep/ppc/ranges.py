# SPDX-License-Identifier: MIT
"""Where control leaves a range of code, so that it can be run through instead of stepped.  Pure."""

from __future__ import annotations

import functools
from typing import NamedTuple

from . import faults, isa, msr
from .isa import Instruction, Kind

LONGEST = 256
"""The most instructions that a range may have; and the most temporary breakpoints:"""
MOST = 32

STRAIGHT = 16
"""The most instructions of straight code that are looked for at once."""


class Exits(NamedTuple):
    """How control leaves a range.

    stops: addresses outside the range, and in it those of what must be stepped by itself.  faults:
    offsets of the interrupt vectors to which its instructions may go.
    """

    stops: tuple[int, ...]
    faults: tuple[int, ...]


@functools.lru_cache(maxsize=256)
def exits(
    start: int, words: tuple[int, ...], state: int, *, into_calls: bool = True
) -> Exits | None:
    """The exits of the code at `start`, executed with the MSR `state`; None: do not run through it.

    into_calls: True if a call leaves the range, False if it is to be stepped by itself.
    """
    if not words or len(words) > LONGEST or state & (msr.PR | msr.SE | msr.BE):
        # In problem state r1 does not tell one program from another.
        return None
    end = start + 4 * len(words)
    stops: dict[int, None] = {}
    offsets = dict.fromkeys(faults.FETCH if state & msr.IR else ())
    place = start
    while place < end:
        instruction = isa.decode(words[(place - start) // 4])
        following = isa.in_mode(place + instruction.length, state)
        targets = _targets(instruction, place, state)
        calls = instruction.links and targets is not None and targets[-1] != following
        if targets is None or (calls and (not into_calls or start <= targets[-1] < end)):
            stops[place] = None
        else:
            stops.update((target, None) for target in targets if not start <= target < end)
            offsets.update(dict.fromkeys(faults.vectors(instruction, state)))
        place += instruction.length
    return Exits(tuple(stops), tuple(offsets)) if len(stops) <= MOST else None


@functools.lru_cache(maxsize=256)
def straight(start: int, words: tuple[int, ...], state: int) -> int:
    """How many instructions of this code, from the first on, lead to the following one each.

    All of these can be run through.
    """
    if state & (msr.PR | msr.SE | msr.BE):
        return 0
    for count, word in enumerate(words):
        place = start + 4 * count
        instruction = isa.decode(word)
        following = isa.in_mode(place + 4, state)
        if instruction.length != 4 or _targets(instruction, place, state) != (following,):
            return count
    return len(words)


def _targets(instruction: Instruction, pc: int, state: int) -> tuple[int, ...] | None:
    """Where an instruction of a range leads; None if it must be stepped by itself.

    That is what may go anywhere, what has to do with the machine's state, and what may change r1,
    by which one execution of the code is told from another.
    """
    kind = instruction.kind
    if kind is Kind.BRANCH:
        if instruction.word >> 26 == 19:
            return None
    elif kind is Kind.MTSPR:
        if instruction.privileged:
            return None
    elif kind not in (Kind.ORDINARY, Kind.MFSPR) or instruction.sleeps:
        return None
    if not isa.keeps(instruction, 1):
        return None
    return isa.successors(instruction, pc, state, isa.no_register)
