# SPDX-License-Identifier: MIT
"""The interrupts that an instruction may take instead of completing.  Pure.

Which one it takes cannot be known before it runs: page tables, facilities and the CPU's version
decide.  So an answer is a set of vectors that is never too small, and that is empty for the
fixed-point instructions and branches of which most code consists.  Power ISA 3.1B Book I and Book
III chapter 7; what QEMU's TCG does beyond that was seen.
"""

from __future__ import annotations

from collections.abc import Iterator

from . import msr
from .isa import Instruction, Kind

# An access of storage: DSI, Data Segment, Alignment.
STORAGE = (0x300, 0x380, 0x600)
# The fetch of the instruction: ISI, Instruction Segment.
FETCH = (0x400, 0x480)

RESOLVED = frozenset([0x300, 0x380, 0x400, 0x480, 0x800, 0xF20, 0xF40])
"""Vectors whose handler makes the instruction possible and returns to it.

The handlers of the others may execute the instruction in its stead, and then look whether the
interrupted context has MSR[SE] set (Linux emulate_single_step): it must not be set for them.
"""

# MSR[FP], MSR[VEC], MSR[VSX] and the interrupts of a facility that is off.
_FP, _VEC, _VSX = msr.bits(50), msr.bits(38), msr.bits(40)
_FACILITIES = ((_FP, 0x800), (_VEC, 0xF20), (_VSX, 0xF40))

# Primary opcodes that complete whatever happens: D-form arithmetic and logic, rotates.
_COMPLETE = frozenset([7, 8, *range(10, 16), 20, 21, 23, *range(24, 31)])
# Opcode 19: CR logic, mcrf, isync, bclr, bcctr.
_COMPLETE_19 = frozenset([0, 16, 33, 129, 150, 193, 225, 257, 289, 417, 449, 528])
# Opcode 31, X and XO forms: compare, arithmetic, logic, shift, sync, CR; lastly sradi's two.
_COMPLETE_31 = frozenset(
    [0, 32, 26, 28, 58, 60, 122, 124, 154, 186, 252, 284, 316, 378, 412, 444, 476, 506, 508]
    + [8, 9, 10, 11, 40, 73, 75, 104, 136, 138, 200, 202, 232, 233, 234, 235, 266]
    + [512 + n for n in (8, 10, 40, 104, 136, 138, 200, 202, 232, 233, 234, 235, 266)]
    + [n + oe for n in (393, 395, 425, 427, 457, 459, 489, 491) for oe in (0, 512)]
    + [19, 144, 24, 27, 536, 539, 792, 794, 824, 598, 854, 922, 954, 986, 826, 827]
)
_ISEL = 15  # opcode 31 with five bits of extended opcode
# Special-purpose registers that are there always and are no facility: XER, LR, CTR, SRR0, SRR1,
# SPRG0 to SPRG3 and its copy for problem state.
_PLAIN_SPRS = frozenset([1, 8, 9, 26, 27, 259, 272, 273, 274, 275])


def vectors(instruction: Instruction, state: int) -> Iterator[int]:
    """Offsets of the vectors to which `instruction` may go with the MSR `state`, but for its fetch.

    Taken traps, system calls and privileged instructions are left to `strategy`, which knows their
    vector.
    """
    opcode = instruction.word >> 26
    arithmetic = opcode in (59, 63)  # floating point, and quad precision in VSX registers
    if _completes(instruction, opcode):
        return
    if 48 <= opcode <= 55 and not state & _FP:
        yield 0x800
        return
    if not arithmetic:
        yield from STORAGE
    if _is_load_or_store(instruction, opcode):
        return
    for enabled, offset in _FACILITIES:
        if not state & enabled:
            yield offset
    yield msr.PROGRAM
    if not arithmetic:
        yield msr.FACILITY_UNAVAILABLE
    if state & msr.HV:
        yield msr.EMULATION_ASSISTANCE
        yield msr.HV_FACILITY_UNAVAILABLE


def _is_load_or_store(instruction: Instruction, opcode: int) -> bool:
    """Whether it is a valid D-form or DS-form load or store of those that every CPU has."""
    rt, ra = instruction.field(6, 10), instruction.field(11, 15)
    if opcode in (58, 62):
        extended = instruction.field(30, 31)
        known, update, load = extended < (3 if opcode == 58 else 2), extended == 1, opcode == 58
    else:
        known, update = 32 <= opcode <= 55, opcode % 2 == 1 and opcode != 47  # stmw
        load = opcode in (33, 35, 41, 43)
    if update and (ra == 0 or (load and ra == rt)):
        return False
    return known and (opcode != 46 or ra < rt)  # lmw does not load its own RA


def _completes(instruction: Instruction, opcode: int) -> bool:
    """Whether it takes no interrupt, but for its fetch."""
    if opcode in _COMPLETE or opcode in (16, 18):
        return True
    extended = instruction.field(21, 30)
    if opcode == 19 and instruction.kind in (Kind.ORDINARY, Kind.BRANCH):
        return extended in _COMPLETE_19
    if instruction.kind in (Kind.MTSPR, Kind.MFSPR):
        return instruction.spr in _PLAIN_SPRS
    if instruction.kind is not Kind.ORDINARY:
        return True
    return opcode == 31 and (extended in _COMPLETE_31 or extended & 31 == _ISEL)
