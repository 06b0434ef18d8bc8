# SPDX-License-Identifier: MIT
"""Instructions in the guest's own code that read or write what the stub withholds.  Pure.

QEMU 7.2 gives special-purpose registers of the first vCPU only (fixed in QEMU 8).  But the code at
the interrupt vectors of any guest reads SRR0 and SRR1, and mostly writes them.  A vCPU that stands
still otherwise executes such an instruction, which moves the register to a general one or back.
Nothing is written to the guest's memory for that.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from . import isa, msr
from .isa import Kind

BLOCK = 0x400
"""Bytes of code that are searched at once."""
_FAR = 0x10000


class SprAccess(NamedTuple):
    """An mfspr, or an mtspr if `writes`, of the register `name`; its general one is `register`."""

    name: str
    writes: bool
    address: int
    register: str
    word: int


def blocks(state: int, vector: int) -> Iterator[int]:
    """The addresses of the blocks of `BLOCK` bytes to search, for a thread with the MSR `state`.

    vector: the address of any interrupt taken with that MSR.  There are none in problem state, and
    where the vectors' code is not mapped.
    """
    if state & msr.PR or bool(state & msr.IR) != bool(state & msr.DR):
        return
    if msr.relocates(state) and vector < 0x18000:
        return
    # Linux begins with its real-mode vectors; the code that returns from interrupts is behind.
    first = 0xC000000000000000 if vector >> 60 else vector & ~0xFFF
    yield from range(first, first + _FAR, BLOCK)


def search(code: bytes, address: int, order: Literal["little", "big"]) -> Iterator[SprAccess]:
    """The instructions that can be used in some code, which begins at an address."""
    for offset in range(0, len(code) - 3, 4):
        word = int.from_bytes(code[offset : offset + 4], order)
        instruction = isa.decode(word)
        if instruction.kind in (Kind.MFSPR, Kind.MTSPR) and instruction.spr in isa.SRR:
            writes = instruction.kind is Kind.MTSPR
            name = isa.SRR[instruction.spr]
            yield SprAccess(name, writes, address + offset, instruction.rt, word)
