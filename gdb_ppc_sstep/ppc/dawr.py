# SPDX-License-Identifier: MIT
"""The CPU's own watchpoint: the window that DAWR0 and DAWRX0 describe.  Pure.

Power ISA 3.1B Book III 10.4, "Data Address Watchpoint"; POWER8 to POWER11 have it.  An access in
the window takes a Data Storage interrupt with DSISR bit 41, before the access is done.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from .msr import POWER10

MATCH = 0x00400000
"""The bit of DSISR that says that the access is in the window."""

DATA_STORAGE = 0x300
"""The offset of the vector to which a match goes."""

# Fields of DAWRX0: stores and loads match (DW, DR), whatever MSR[DR] is (WTI), in privileged and in
# problem state (PNH, PRO).  KVM clears the bit for hypervisor state.
_STORES, _LOADS, _ANY_TRANSLATION, _ANY_STATE = 0x40, 0x20, 0x08, 0x03
_LENGTH_SHIFT = 10  # MRD: doublewords less one
_LONGEST = 512  # bytes; before POWER10 a window may not cross a boundary of as many

SLACK = 128
"""Bytes by which the DAR of a match may be outside the window: it is any address of the access."""


class Watch(NamedTuple):
    """What is watched: `length` bytes from `address` on, for accesses that read or write them."""

    address: int
    length: int
    loads: bool
    stores: bool

    def touches(self, address: int, length: int, *, loads: bool, stores: bool) -> bool:
        """Whether an access of `length` bytes at `address` is one that is watched."""
        meant = (self.loads and loads) or (self.stores and stores)
        return meant and address < self.address + self.length and self.address < address + length


class Window(NamedTuple):
    """The values of DAWR0 (address) and DAWRX0 (control)."""

    address: int
    control: int

    @property
    def length(self) -> int:
        """The bytes in the window; 0 if no access matches at all."""
        if not self.matches:
            return 0
        return 8 * ((self.control >> _LENGTH_SHIFT & 63) + 1)

    @property
    def matches(self) -> bool:
        """Whether any access matches."""
        return bool(self.control & (_STORES | _LOADS) and self.control & _ANY_STATE)

    def has(self, address: int, length: int) -> bool:
        """Whether an access of `length` bytes at `address`, of whatever kind, is in the window."""
        return address < self.address + self.length and self.address < address + length

    def is_near(self, dar: int) -> bool:
        """Whether a match with this DAR may be of this window, which may be off by now."""
        behind = self.address + (self.length or _LONGEST)
        return self.address - SLACK <= dar < behind + SLACK


OFF = Window(0, 0)


def window(watches: Iterable[Watch], pvr: int | None) -> Window | None:
    """The one window that contains all of these; None where none is long enough.

    pvr: the CPU's, None if it is not known.
    """
    watches = tuple(watches)
    if not watches:
        return OFF
    first = min(one.address for one in watches) & ~7
    behind = max(one.address + one.length for one in watches) + 7 & ~7
    crosses = first // _LONGEST != (behind - 1) // _LONGEST
    if behind - first > _LONGEST or (crosses and not _may_cross(pvr)):
        return None
    control = _ANY_TRANSLATION | _ANY_STATE | ((behind - first) // 8 - 1) << _LENGTH_SHIFT
    for one in watches:
        control |= (_STORES if one.stores else 0) | (_LOADS if one.loads else 0)
    return Window(first, control)


def may_end_at(address: int, length: int) -> bool:
    """Whether a window of `length` bytes with its last doubleword here is valid on every CPU."""
    return address % _LONGEST >= length - 8


def _may_cross(pvr: int | None) -> bool:
    """Whether a window may cross a 512-byte boundary: from ISA 3.1 on.

    Linux arch/powerpc/kernel/hw_breakpoint.c hw_breakpoint_validate_len.
    """
    return pvr is not None and pvr >> 16 >= POWER10
