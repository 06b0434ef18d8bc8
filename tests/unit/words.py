# SPDX-License-Identifier: MIT
"""More instructions, for `dawr_machine`: those that access memory, and those of a kernel."""

from __future__ import annotations

SC1 = 0x44000022  # sc 1
BCTR = 0x4E800420


def _d(opcode: int, rt: int, ra: int, low: int) -> int:
    return opcode << 26 | rt << 21 | ra << 16 | low & 0xFFFF


def _x(extended: int, rt: int, ra: int, rb: int, record: int = 0) -> int:
    return 31 << 26 | rt << 21 | ra << 16 | rb << 11 | extended << 1 | record


def lwz(rt: int, ra: int, offset: int = 0) -> int:
    """lwz rt,offset(ra)."""
    return _d(32, rt, ra, offset)


def lhz(rt: int, ra: int, offset: int = 0) -> int:
    """lhz rt,offset(ra)."""
    return _d(40, rt, ra, offset)


def stw(rs: int, ra: int, offset: int = 0) -> int:
    """stw rs,offset(ra)."""
    return _d(36, rs, ra, offset)


def stb(rs: int, ra: int, offset: int = 0) -> int:
    """stb rs,offset(ra)."""
    return _d(38, rs, ra, offset)


def sth(rs: int, ra: int, offset: int = 0) -> int:
    """sth rs,offset(ra)."""
    return _d(44, rs, ra, offset)


def ld(rt: int, ra: int, offset: int = 0) -> int:
    """ld rt,offset(ra)."""
    return _d(58, rt, ra, offset & ~3)


def std(rs: int, ra: int, offset: int = 0) -> int:
    """std rs,offset(ra)."""
    return _d(62, rs, ra, offset & ~3)


def ldu(rt: int, ra: int, offset: int) -> int:
    """ldu rt,offset(ra)."""
    return ld(rt, ra, offset) | 1


def stdu(rs: int, ra: int, offset: int) -> int:
    """stdu rs,offset(ra)."""
    return std(rs, ra, offset) | 1


def lq(rtp: int, ra: int, offset: int = 0) -> int:
    """lq rtp,offset(ra)."""
    return _d(56, rtp, ra, offset & ~15)


def stq(rsp: int, ra: int, offset: int = 0) -> int:
    """stq rsp,offset(ra)."""
    return std(rsp, ra, offset) | 2


def ldx(rt: int, ra: int, rb: int) -> int:
    """ldx rt,ra,rb."""
    return _x(21, rt, ra, rb)


def stdx(rs: int, ra: int, rb: int) -> int:
    """stdx rs,ra,rb."""
    return _x(149, rs, ra, rb)


def lwarx(rt: int, ra: int, rb: int) -> int:
    """lwarx rt,ra,rb."""
    return _x(20, rt, ra, rb)


def ldarx(rt: int, ra: int, rb: int) -> int:
    """ldarx rt,ra,rb."""
    return _x(84, rt, ra, rb)


def stwcx(rs: int, ra: int, rb: int) -> int:
    """stwcx.  rs,ra,rb (it always records)."""
    return _x(150, rs, ra, rb, 1)


def stdcx(rs: int, ra: int, rb: int) -> int:
    """stdcx.  rs,ra,rb (it always records)."""
    return _x(214, rs, ra, rb, 1)


def dcbz(ra: int, rb: int) -> int:
    """dcbz ra,rb."""
    return _x(1014, 0, ra, rb)


def mr(ra: int, rs: int) -> int:
    """mr ra,rs: or ra,rs,rs."""
    return _x(444, rs, ra, rs)


def mfcr(rt: int) -> int:
    """mfcr rt."""
    return _x(19, rt, 0, 0)


def mtcr(rs: int) -> int:
    """mtcr rs: mtcrf 0xff,rs."""
    return _x(144, rs, 0, 0) | 0xFF << 12


def addis(rt: int, ra: int, value: int) -> int:
    """addis rt,ra,value; with ra=0 it is lis."""
    return _d(15, rt, ra, value)


def ori(ra: int, rs: int, value: int) -> int:
    """ori ra,rs,value."""
    return _d(24, rs, ra, value)


def andi(ra: int, rs: int, value: int) -> int:
    """andi.  ra,rs,value (it always records)."""
    return _d(28, rs, ra, value)


def andis(ra: int, rs: int, value: int) -> int:
    """andis.  ra,rs,value (it always records)."""
    return _d(29, rs, ra, value)


def cmpdi(ra: int, value: int) -> int:
    """cmpdi cr0,ra,value."""
    return _d(11, 1, ra, value)


def beq(offset: int) -> int:
    """beq cr0,.+offset."""
    return _d(16, 12, 2, offset & ~3)


def bne(offset: int) -> int:
    """bne cr0,.+offset."""
    return _d(16, 4, 2, offset & ~3)
