# SPDX-License-Identifier: MIT
"""Which bytes of storage an instruction accesses.  Pure.

All loads and stores of Power ISA 3.1B, those of its predecessors that POWER8 and POWER9 have, and
dcbz, copy and paste.  Numbers: Power ISA 3.1B Book I, appendix opcode maps.  Sizes: the description
of each instruction in Book I chapters 3 to 7, in Book II chapter 4 (atomics, copy, dcbz) and Book
III chapter 5 (cache-inhibited).  binutils (opcodes/ppc-opc.c) and QEMU (target/ppc/insn32.decode)
have the same.

Instructions that touch a cache or a translation, and no data (dcbt, dcbst, icbi, tlbie), access
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from .isa import Instruction, Reader, in_mode

DCBZ_BLOCK = 128
"""Bytes that dcbz sets to zero, on POWER8 to POWER10."""


class Access(NamedTuple):
    """Bytes of storage that an instruction accesses.

    address: effective, 64-bit unsigned (32 bits of it with MSR[SF]=0).  length: bytes, 1 or more;
    they may go beyond the last address.  loads, stores: whether the instruction reads and writes
    them.
    """

    address: int
    length: int
    loads: bool
    stores: bool


class _Form(NamedTuple):
    """What the word of an instruction alone tells about its access.

    length: bytes, 0 where fields or registers say it.  multiple: what the displacement is a
    multiple of, or in opcode 31 the address (its low bits are ignored).
    """

    length: int
    loads: bool
    stores: bool
    multiple: int = 1


_ANY = 0  # a length that fields or registers tell


def _loads(length: int, *numbers: int, multiple: int = 1) -> Iterator[tuple[int, _Form]]:
    return ((number, _Form(length, True, False, multiple)) for number in numbers)


def _stores(length: int, *numbers: int, multiple: int = 1) -> Iterator[tuple[int, _Form]]:
    return ((number, _Form(length, False, True, multiple)) for number in numbers)


def _both(length: int, *numbers: int) -> Iterator[tuple[int, _Form]]:
    return ((number, _Form(length, True, True)) for number in numbers)


# By primary opcode, which for those with a shorter displacement is followed by the word's low bits:
# DS-forms by two (`58 << 2 | 1`: ldu), DQ-forms by four.
_D_FORMS = dict(
    [
        *_loads(1, 34, 35),  # lbz, lbzu
        *_loads(2, 40, 41, 42, 43),  # lhz, lhzu, lha, lhau
        *_loads(4, 32, 33, 48, 49),  # lwz, lwzu, lfs, lfsu
        *_loads(8, 50, 51),  # lfd, lfdu
        *_loads(_ANY, 46),  # lmw
        *_loads(16, 56, multiple=16),  # lq
        *_stores(1, 38, 39),  # stb, stbu
        *_stores(2, 44, 45),  # sth, sthu
        *_stores(4, 36, 37, 52, 53),  # stw, stwu, stfs, stfsu
        *_stores(8, 54, 55),  # stfd, stfdu
        *_stores(_ANY, 47),  # stmw
    ]
)
_DS_FORMS = dict(
    [
        *_loads(4, 58 << 2 | 2, 57 << 2 | 3, multiple=4),  # lwa, lxssp
        *_loads(8, 58 << 2, 58 << 2 | 1, 57 << 2 | 2, multiple=4),  # ld, ldu, lxsd
        *_loads(16, 57 << 2, multiple=4),  # lfdp
        *_stores(4, 61 << 2 | 3, multiple=4),  # stxssp
        *_stores(8, 62 << 2, 62 << 2 | 1, 61 << 2 | 2, multiple=4),  # std, stdu, stxsd
        *_stores(16, 62 << 2 | 2, 61 << 2, multiple=4),  # stq, stfdp
    ]
)
_DQ_FORMS = dict(
    [
        *_loads(16, 61 << 4 | 1, 61 << 4 | 9, multiple=16),  # lxv; one bit is of its target
        *_loads(32, 6 << 4, multiple=16),  # lxvp
        *_stores(16, 61 << 4 | 5, 61 << 4 | 13, multiple=16),  # stxv
        *_stores(32, 6 << 4 | 1, multiple=16),  # stxvp
    ]
)

# Opcode 31, by bits 21:30.  Bit 31 is Rc or a part of the target, and decides nothing here.
_LSWX, _LSWI, _STSWX, _STSWI = 533, 597, 661, 725
_LXVL, _LXVLL, _STXVL, _STXVLL = 269, 301, 397, 429
_LWAT, _LDAT, _STWAT, _STDAT = 582, 614, 710, 742
_HASHSTP, _HASHCHKP, _HASHST, _HASHCHK = 658, 690, 722, 754
_X_FORMS = dict(
    [
        *_loads(1, 87, 119, 52, 853),  # lbzx, lbzux, lbarx, lbzcix
        *_loads(1, 7, 781, 13),  # lvebx, lxsibzx, lxvrbx
        *_loads(2, 279, 311, 343, 375),  # lhzx, lhzux, lhax, lhaux
        *_loads(2, 790, 116, 821),  # lhbrx, lharx, lhzcix
        *_loads(2, 813, 45),  # lxsihzx, lxvrhx
        *_loads(2, 39, multiple=2),  # lvehx
        *_loads(4, 23, 55, 341, 373),  # lwzx, lwzux, lwax, lwaux
        *_loads(4, 534, 20, 789),  # lwbrx, lwarx, lwzcix
        *_loads(4, 535, 567, 855, 887),  # lfsx, lfsux, lfiwax, lfiwzx
        *_loads(4, 12, 76, 524, 364, 77),  # lxsiwzx, lxsiwax, lxsspx, lxvwsx, lxvrwx
        *_loads(4, 71, multiple=4),  # lvewx
        *_loads(8, 21, 53, 532, 84, 885),  # ldx, ldux, ldbrx, ldarx, ldcix
        *_loads(8, 309),  # ldmx (Power ISA 3.0)
        *_loads(8, 599, 631),  # lfdx, lfdux
        *_loads(8, 588, 332, 109),  # lxsdx, lxvdsx, lxvrdx
        *_loads(16, 276, 791),  # lqarx, lfdpx
        *_loads(16, 268, 300, 844, 780, 812, 876),  # lxvx (twice), lxvd2x, lxvw4x, lxvh8x, lxvb16x
        *_loads(16, 103, 359, multiple=16),  # lvx, lvxl
        *_loads(32, 333),  # lxvpx
        *_loads(128, 774),  # copy
        *_loads(_ANY, _LSWX, _LSWI, _LXVL, _LXVLL),
        *_loads(8, _HASHCHK, _HASHCHKP),
        *_stores(1, 215, 247, 694, 981),  # stbx, stbux, stbcx., stbcix
        *_stores(1, 135, 909, 141),  # stvebx, stxsibx, stxvrbx
        *_stores(2, 407, 439, 918, 726, 949),  # sthx, sthux, sthbrx, sthcx., sthcix
        *_stores(2, 941, 173),  # stxsihx, stxvrhx
        *_stores(2, 167, multiple=2),  # stvehx
        *_stores(4, 151, 183, 662, 150, 917),  # stwx, stwux, stwbrx, stwcx., stwcix
        *_stores(4, 663, 695, 983),  # stfsx, stfsux, stfiwx
        *_stores(4, 140, 652, 205),  # stxsiwx, stxsspx, stxvrwx
        *_stores(4, 199, multiple=4),  # stvewx
        *_stores(8, 149, 181, 660, 214, 1013),  # stdx, stdux, stdbrx, stdcx., stdcix
        *_stores(8, 727, 759),  # stfdx, stfdux
        *_stores(8, 716, 237),  # stxsdx, stxvrdx
        *_stores(16, 182, 919),  # stqcx., stfdpx
        *_stores(16, 396, 972, 908, 940, 1004),  # stxvx, stxvd2x, stxvw4x, stxvh8x, stxvb16x
        *_stores(16, 231, 487, multiple=16),  # stvx, stvxl
        *_stores(32, 461),  # stxvpx
        *_stores(128, 902),  # paste.
        *_stores(DCBZ_BLOCK, 1014, multiple=DCBZ_BLOCK),  # dcbz
        *_stores(_ANY, _STSWX, _STSWI, _STXVL, _STXVLL),
        *_stores(8, _HASHST, _HASHSTP),
        *_both(4, _LWAT, _STWAT),
        *_both(8, _LDAT, _STDAT),
        *_both(128, 406),  # icswx (Power ISA 2.07): writes a word of a block, and sends the block
    ]
)

# Prefixed, by the suffix's primary opcode.  MLS: what has the same number without a prefix.
_MLS_FORMS = {n: _D_FORMS[n] for n in (32, 34, 36, 38, 40, 42, 44, 48, 50, 52, 54)}
_8LS_FORMS = dict(
    [
        *_loads(4, 41, 43),  # plwa, plxssp
        *_loads(8, 57, 42),  # pld, plxsd
        *_loads(16, 56, 50, 51),  # plq, plxv (one bit is of its target)
        *_loads(32, 58),  # plxvp
        *_stores(4, 47),  # pstxssp
        *_stores(8, 61, 46),  # pstd, pstxsd
        *_stores(16, 60, 54, 55),  # pstq, pstxv
        *_stores(32, 62),  # pstxvp
    ]
)


def _form(instruction: Instruction, suffix: int) -> _Form | None:
    word = instruction.word
    opcode = word >> 26
    if opcode == 31:
        return _X_FORMS.get(instruction.field(21, 30))
    if opcode == 1:
        forms = {0b000: _8LS_FORMS, 0b100: _MLS_FORMS}.get(instruction.field(6, 8), {})
        return forms.get(suffix >> 26)
    return (
        _D_FORMS.get(opcode)
        or _DS_FORMS.get(opcode << 2 | word & 3)
        or _DQ_FORMS.get(opcode << 4 | word & 15)
    )


def may_access(instruction: Instruction, suffix: int) -> bool:
    """Whether an instruction may access storage; with the registers `access` says what.

    suffix: as for `access`.
    """
    return _form(instruction, suffix) is not None


def access(
    instruction: Instruction, suffix: int, pc: int, state: int, read: Reader
) -> Access | None:
    """What an instruction accesses if it is executed with these registers; None: nothing.

    suffix: the second word of a prefixed instruction, ignored for others.  state: the MSR.
    Registers are read only where they matter.  An update form with RA=0, which is invalid, is taken
    for the form without update.  The access may still not be made: it may fault, and a
    store-conditional may fail.
    """
    form = _form(instruction, suffix)
    if form is None:
        return None
    opcode, length = instruction.word >> 26, form.length
    if opcode == 1:
        address = _prefixed(instruction, suffix, pc, read)
    elif opcode == 31:
        offset, length = _indexed(instruction, length, read)
        address = _base(instruction, read) + offset & -form.multiple
    else:
        displacement = (instruction.word & 0xFFFF ^ 0x8000) - 0x8000  # D, DS or DQ, signed
        address = _base(instruction, read) + (displacement & -form.multiple)
        if length == _ANY:  # lmw, stmw: to r31
            length = 4 * (32 - instruction.field(6, 10))
    if not length:
        return None
    return Access(in_mode(address, state), length, form.loads, form.stores)


def _base(instruction: Instruction, read: Reader) -> int:
    """The value that the ISA writes as (RA|0)."""
    return read(instruction.ra) if instruction.field(11, 15) else 0


def _prefixed(instruction: Instruction, suffix: int, pc: int, read: Reader) -> int:
    """The address of a prefixed load or store: 34 bits added to (RA|0), or with R=1 to pc."""
    displacement = instruction.field(14, 31) << 16 | suffix & 0xFFFF
    displacement = (displacement ^ 1 << 33) - (1 << 33)
    if instruction.field(11, 11):
        return pc + displacement
    ra = suffix >> 16 & 31
    return (read(f"r{ra}") if ra else 0) + displacement


def _indexed(instruction: Instruction, length: int, read: Reader) -> tuple[int, int]:
    """What opcode 31 adds to (RA|0), and the length; most add RB, and have a fixed length."""
    extended, field = instruction.field(21, 30), instruction.field(16, 20)
    if extended in (_HASHST, _HASHSTP, _HASHCHK, _HASHCHKP):
        # Six bits of a negative displacement: the lowest is bit 10, the highest bit 31.
        return (instruction.field(31, 31) << 5 | instruction.field(6, 10)) * 8 - 512, length
    if extended in (_LSWI, _STSWI):
        return 0, field or 32  # NB
    if extended in (_LXVL, _LXVLL, _STXVL, _STXVLL):
        return 0, min(read(instruction.rb) >> 56, 16)
    if extended in (_LWAT, _LDAT, _STWAT, _STDAT):
        return _atomic(extended, field, length)
    if extended in (_LSWX, _STSWX):
        length = read("xer") & 0x7F
    return read(instruction.rb), length


def _atomic(extended: int, function: int, size: int) -> tuple[int, int]:
    """What an atomic on memory adds to (RA|0), and the length.

    Some have two operands side by side: both count as read and written, though fetch and increment
    or decrement write only one.  gcc's amo.h has the function codes, and the side of the second
    operand.
    """
    if extended in (_LWAT, _LDAT):
        if function == 0b11100:  # fetch and decrement bounded: the bound lies before
            return -size, 2 * size
        twice = function in (0b11000, 0b11001)  # fetch and increment bounded, or equal
    else:
        twice = function == 0b11000  # store twin
    return 0, 2 * size if twice else size
