# SPDX-License-Identifier: MIT
"""Instructions, as far as stepping one differs from stepping another.  Pure.

`decode` sorts a word into a `Kind`; `successors` and `trap_taken` say where an instruction leads.
Opcodes are those of Power ISA 3.1B Book I and Book III, appendix "Opcode maps"; an instruction
field is named as there.  Words, addresses and registers are unsigned integers.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import NamedTuple

from .msr import EE, MASK32, MASK64, SE, SF

Reader = Callable[[str], int]
"""A function that gives a register's value by gdb's name for it ("r3", "lr", "ctr", "srr0")."""


class Kind(enum.Enum):
    """The classes of instructions that are stepped in different ways."""

    ORDINARY = "ordinary"
    BRANCH = "branch"
    TRAP = "trap"  # tw, td, twi, tdi: a Program interrupt when the condition holds
    SYSTEM_CALL = "sc"
    SYSTEM_CALL_VECTORED = "scv"
    RFID = "rfid"
    HRFID = "hrfid"
    RFSCV = "rfscv"
    RFEBB = "rfebb"
    MFMSR = "mfmsr"
    MTMSR = "mtmsr"
    MTMSRD = "mtmsrd"
    MFSPR = "mfspr"
    MTSPR = "mtspr"


RETURNS = frozenset([Kind.RFID, Kind.HRFID, Kind.RFSCV])
"""Privileged returns from interrupts: a Trace interrupt never follows them."""

SRR = {26: "srr0", 27: "srr1"}
"""The special-purpose registers that a Trace interrupt overwrites, by number."""


class Instruction(NamedTuple):
    """One instruction.  word: its (first) 32 bits.  length: bytes, 4, or 8 for a prefixed one."""

    kind: Kind
    word: int
    length: int = 4

    def field(self, first: int, last: int) -> int:
        """Bits first..last of the word, numbered as in the ISA (0 is the most significant)."""
        return self.word >> (31 - last) & ((1 << (last - first + 1)) - 1)

    @property
    def rt(self) -> str:
        """gdb's name of the general register in bits 6:10 (RT or RS)."""
        return f"r{self.field(6, 10)}"

    @property
    def ra(self) -> str:
        """gdb's name of the general register in bits 11:15."""
        return f"r{self.field(11, 15)}"

    @property
    def rb(self) -> str:
        """gdb's name of the general register in bits 16:20."""
        return f"r{self.field(16, 20)}"

    @property
    def spr(self) -> int:
        """Number of the special-purpose register of mtspr and mfspr (its halves are swapped)."""
        return self.field(16, 20) << 5 | self.field(11, 15)

    @property
    def sprg(self) -> str | None:
        """gdb's name of the SPRG register that the instruction writes, None for all others.

        Handlers of interrupts begin with such an instruction: it saves a register, and does nothing
        else.
        """
        writes = self.kind is Kind.MTSPR and 272 <= self.spr <= 275
        return f"sprg{self.spr - 272}" if writes else None

    @property
    def lev(self) -> int:
        """The LEV field of sc and scv."""
        return self.field(20, 26)

    @property
    def links(self) -> bool:
        """Whether it is a branch that sets LR (LK=1), as a call does."""
        return self.kind is Kind.BRANCH and bool(self.field(31, 31))

    @property
    def returns(self) -> bool:
        """Whether it is a branch to LR that leaves LR alone (bclr with LK=0), as a return is."""
        return self.kind is Kind.BRANCH and self.word & 0xFC0007FF == 0x4C000020

    @property
    def may_call(self) -> bool:
        """Whether it is a branch that may call a function or return from one."""
        return self.kind is Kind.BRANCH and (self.links or self.word >> 26 == 19)

    @property
    def tar(self) -> bool:
        """Whether it is bctar, whose facility (TAR) may be off."""
        return self.kind is Kind.BRANCH and self.word >> 26 == 19 and self.field(21, 30) == 560

    @property
    def reserves(self) -> bool:
        """Whether it is lbarx, lharx, lwarx, ldarx or lqarx."""
        return self.word >> 26 == 31 and self.field(21, 30) in (52, 116, 20, 84, 276)

    @property
    def stores_conditionally(self) -> bool:
        """Whether it is stbcx., sthcx., stwcx., stdcx. or stqcx."""
        return self.word >> 26 == 31 and self.field(21, 30) in (694, 726, 150, 214, 182)

    @property
    def begins_transaction(self) -> bool:
        """Whether it is tbegin."""
        return self.word >> 26 == 31 and self.field(21, 30) == 654

    @property
    def ends_transaction(self) -> bool:
        """Whether it is tend."""
        return self.word >> 26 == 31 and self.field(21, 30) == 686

    @property
    def begins_sequence(self) -> bool:
        """Whether an atomic sequence or transaction begins, which a stop would spoil."""
        return self.reserves or self.begins_transaction

    @property
    def sleeps(self) -> bool:
        """Whether the thread may sleep: nap, doze, sleep, rvwinkle, stop, wait."""
        opcode, extended = self.word >> 26, self.field(21, 30)
        return (opcode, extended) == (31, 30) or (
            opcode == 19 and extended in (370, 402, 434, 466, 498)
        )

    @property
    def hints(self) -> bool:
        """Whether it is `or rx,rx,rx`, which sets a thread's priority or yields; not with x=0."""
        same = self.field(6, 10) == self.field(11, 15) == self.field(16, 20) != 0
        return self.word >> 26 == 31 and self.field(21, 31) == 444 << 1 and same

    @property
    def may_write_r1(self) -> bool:
        """Whether it may change the stack pointer: r1 is RT or RA, or one of several targets."""
        if self.kind is Kind.BRANCH:
            return False
        string = self.word >> 26 == 31 and self.field(21, 30) in (533, 597)
        return string or self.length == 8 or self.field(6, 10) <= 1 or self.field(11, 15) == 1

    @property
    def writes_se(self) -> bool:
        """Whether it writes the whole MSR: mtmsr and mtmsrd with L=0 (L=1: only EE and RI)."""
        return self.kind in (Kind.MTMSR, Kind.MTMSRD) and not self.field(15, 15)

    @property
    def sets(self) -> int:
        """Which of MSR[SE] and MSR[EE] it sets, to what its register says, as a mask."""
        if self.writes_se:
            return SE | EE
        return EE if self.kind in (Kind.MTMSR, Kind.MTMSRD) else 0

    @property
    def privileged(self) -> bool:
        """Whether problem state may not execute it; of ORDINARY ones that is not told: False."""
        if self.kind in (Kind.MTSPR, Kind.MFSPR):
            return bool(self.spr & 0x10)
        return self.kind in RETURNS or self.kind in (Kind.MFMSR, Kind.MTMSR, Kind.MTMSRD)


_PRIMARY = {
    2: Kind.TRAP,  # tdi
    3: Kind.TRAP,  # twi
    16: Kind.BRANCH,  # bc
    18: Kind.BRANCH,  # b
}
_EXTENDED_19 = {
    16: Kind.BRANCH,  # bclr
    528: Kind.BRANCH,  # bcctr
    560: Kind.BRANCH,  # bctar
    18: Kind.RFID,
    82: Kind.RFSCV,
    146: Kind.RFEBB,
    274: Kind.HRFID,
}
_EXTENDED_31 = {
    4: Kind.TRAP,  # tw
    68: Kind.TRAP,  # td
    83: Kind.MFMSR,
    146: Kind.MTMSR,
    178: Kind.MTMSRD,
    339: Kind.MFSPR,
    467: Kind.MTSPR,
}


def decode(word: int) -> Instruction:
    """The instruction whose first (or only) word is `word`.

    A word that is no instruction is ORDINARY: the CPU says what it makes of it.
    """
    opcode = word >> 26
    if opcode == 1:
        return Instruction(Kind.ORDINARY, word, 8)
    if opcode == 17:
        if word & 2:
            return Instruction(Kind.SYSTEM_CALL, word)
        if word & 1:
            return Instruction(Kind.SYSTEM_CALL_VECTORED, word)
        return Instruction(Kind.ORDINARY, word)
    extended = word >> 1 & 0x3FF
    if opcode == 19:
        kind = _EXTENDED_19.get(extended, Kind.ORDINARY)
    elif opcode == 31:
        kind = _EXTENDED_31.get(extended, Kind.ORDINARY)
    else:
        kind = _PRIMARY.get(opcode, Kind.ORDINARY)
    return Instruction(kind, word)


def _signed(value: int, width: int) -> int:
    return value - (1 << width) if value >> (width - 1) & 1 else value


def in_mode(address: int, msr: int) -> int:
    """An effective address as the CPU forms it: only its low 32 bits if MSR[SF]=0."""
    return address & (MASK64 if msr & SF else MASK32)


def successors(instruction: Instruction, pc: int, msr: int, read: Reader) -> tuple[int, ...]:
    """The addresses of which one is next if the instruction completes.

    A conditional branch has two: that of the following word comes first.  Registers are read only
    where a target depends on them.
    """
    following = in_mode(pc + instruction.length, msr)
    if instruction.kind is not Kind.BRANCH:
        return (following,)
    opcode = instruction.word >> 26
    base = 0 if instruction.word & 2 else pc  # AA
    if opcode == 18:
        return (in_mode(base + _signed(instruction.word & 0x03FFFFFC, 26), msr),)
    if opcode == 16:
        target = base + _signed(instruction.word & 0xFFFC, 16)
    else:
        target = read({16: "lr", 528: "ctr", 560: "tar"}[instruction.field(21, 30)]) & ~3
    target = in_mode(target, msr)
    if instruction.field(6, 10) & 0b10100 == 0b10100:  # BO: branch always
        return (target,)
    return (following, target)


def branch(
    instruction: Instruction, pc: int, msr: int, read: Reader
) -> tuple[int, tuple[tuple[str, int], ...]]:
    """The next pc after a branch, and the registers that it writes (Power ISA 3.1B Book I 2.4)."""
    following = in_mode(pc + 4, msr)
    *_, target = successors(instruction, pc, msr, read)
    written: dict[str, int] = {}
    taken = True
    if instruction.word >> 26 != 18:
        bo = instruction.field(6, 10)
        if not bo & 4:  # CTR is decremented, but not by a valid bcctr
            written["ctr"] = count = read("ctr") - 1 & MASK64
            taken = bool(in_mode(count, msr)) != bool(bo & 2)
        if not bo & 16:
            bit = read("cr") >> (31 - instruction.field(11, 15)) & 1
            taken = taken and bit == bo >> 3 & 1
    if instruction.word & 1:
        written["lr"] = following
    if taken:
        written["cfar"] = pc
    return (target if taken else following), tuple(written.items())


LEAVES = RETURNS | {Kind.SYSTEM_CALL, Kind.SYSTEM_CALL_VECTORED, Kind.RFEBB}
"""Instructions that go elsewhere, and may save or change the MSR."""


def no_register(name: str) -> int:
    """A `Reader` for instructions that depend on no register."""
    raise AssertionError(f"a direct branch depends on no register, not on {name}")


# By primary opcode, which general registers are written: none, that in bits 6:10 (RT), that in bits
# 11:15 (RA), or both.  DS-forms and opcode 31 have more to be looked at.
_NO_REGISTER = frozenset([10, 11, 16, 18, 36, 38, 44, 47, 48, 50, 52, 54, 57, 59, 61, 63])
_RT = frozenset([4, 7, 8, 12, 13, 14, 15, 32, 34, 40, 42, 60])
_RA = frozenset([20, 21, *range(23, 31), 37, 39, 45, 49, 51, 53, 55])
_BOTH = frozenset([33, 35, 41, 43, 31])
_SEVERAL = (533, 597, 276)  # lswx, lswi, lqarx


def keeps(instruction: Instruction, number: int) -> bool:
    """Whether an instruction certainly does not write general register `number` (0 to 31).

    False also for some that do not: all prefixed ones, and of opcode 31 what only reads the
    register.
    """
    opcode, extended = instruction.word >> 26, instruction.field(21, 30)
    update = instruction.field(30, 31)
    in_rt, in_ra = opcode in _RT | _BOTH, opcode in _RA | _BOTH
    if opcode == 58:  # ld, ldu, lwa
        in_rt, in_ra = True, update == 1
    elif opcode == 62:  # std, stdu, stq
        in_ra = update == 1
    elif opcode == 19:  # addpcis
        in_rt = extended & 31 == 2
    elif opcode == 31 and extended == 444:  # or
        in_rt = False
    elif (opcode == 31 and extended in _SEVERAL) or (
        not in_rt and not in_ra and opcode not in _NO_REGISTER
    ):
        return False
    rt, ra = instruction.field(6, 10), instruction.field(11, 15)
    return not (in_rt and rt == number) and not (in_ra and ra == number)


def trap_taken(instruction: Instruction, read: Reader) -> bool:
    """Whether a tw, td, twi or tdi traps with these registers (Power ISA 3.1B Book I 3.3.11)."""
    opcode = instruction.word >> 26
    width = 32 if opcode == 3 or (opcode == 31 and instruction.field(21, 30) == 4) else 64
    mask = (1 << width) - 1
    a = read(instruction.ra) & mask
    b = _signed(instruction.word & 0xFFFF, 16) if opcode < 31 else read(instruction.rb)
    b &= mask
    to = instruction.field(6, 10)
    return bool(
        (to & 16 and _signed(a, width) < _signed(b, width))
        or (to & 8 and _signed(a, width) > _signed(b, width))
        or (to & 4 and a == b)
        or (to & 2 and a < b)
        or (to & 1 and a > b)
    )
