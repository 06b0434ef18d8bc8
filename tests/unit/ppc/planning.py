# SPDX-License-Identifier: MIT
"""Words to plan for, and plans as the tests of `strategy` write them."""

from __future__ import annotations

from gdb_ppc_sstep.ppc import isa, msr
from gdb_ppc_sstep.ppc.strategy import Plan, plan

KERNEL = 0x8000000000009033
USER = 0x800000000280F033
REAL = 0x8000000000001003
PC = 0xC000000000010000
VIRTUAL = 0xC000000000004000  # where AIL=3 puts the vectors

NOP = 0x60000000
SELF = 0x48000000  # b .
BACK = 0x4BFFFF00  # b .-0x100
BEQ = 0x41820040  # beq .+0x40
BLR = 0x4E800020
SC, SC1, SCV0, SCV5 = 0x44000002, 0x44000022, 0x44000001, 0x440000A1
TRAP = 0x7FE00008
TDNEI = 0x0B090000  # tdnei r9,0
RFID, HRFID, RFSCV = 0x4C000024, 0x4C000224, 0x4C0000A4
MFMSR, MTMSR, MTMSRD, MTMSRD_1 = 0x7C6000A6, 0x7C600124, 0x7C600164, 0x7C610164  # of r3
MTSRR0, MFSRR1, MFLR = 0x7C7A03A6, 0x7C7B02A6, 0x7C6802A6


def ail3(offset: int, state: int) -> int:
    """The vectors of a POWER9 guest with LPCR[AIL]=3."""
    return msr.vector(offset, state, msr.Relocation(3))


def planned(
    word: int, state: int = KERNEL, pc: int = PC, *, traceable: bool = True, **registers: int
) -> Plan:
    """The plan for a word, where only the given registers may be read.

    It lacks `taken`, `faults` and `registers`, which have tests of their own.
    """
    whole = plan(isa.decode(word), pc, state, registers.__getitem__, ail3, traceable=traceable)
    return Plan(whole.stops, whole.trace, state=whole.state)


def traced(*more: int, vector: int = VIRTUAL | 0xD00) -> Plan:
    """The plan of a step by the Trace interrupt that may also stop at other addresses."""
    return Plan((vector, *more), trace=vector)


class Unreadable(Exception):
    """Raised by `refuse`, a reader that reads no register."""


def refuse(name: str) -> int:
    raise Unreadable(name)
