# SPDX-License-Identifier: MIT
"""The CPU's own watchpoint: the window that DAWR0 and DAWRX0 describe.  Pure.

Power ISA 3.1B Book III 10.4, "Data Address Watchpoint"; POWER8 to POWER11 have it.  An access in
the window takes a Data Storage interrupt with DSISR bit 41, before it is done.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from .msr import POWER10

MATCH = 0x00400000
"""The bit of DSISR that says that the access is one in the window."""

DATA_STORAGE = 0x300
"""The vector of a match."""

# Of DAWRX: which accesses match (DW, DR), whatever MSR[DR] is (WTI), privileged ones and those in
# problem state (PNH, PRO).  KVM clears the bit for hypervisor state.
_STORES, _LOADS, _ANY_TRANSLATION, _ANY_STATE = 0x40, 0x20, 0x08, 0x03
_LENGTH_SHIFT = 10  # MRD: doublewords less one
_LONGEST = 512  # bytes; before POWER10 it may not cross a boundary of as many

SLACK = 128
"""How far below or behind a window the DAR of a match may be: it is any address of the access."""


class Watch(NamedTuple):
    """What is watched: so many bytes from an address on, for accesses that read or write them."""

    address: int
    length: int
    loads: bool
    stores: bool

    def touches(self, address: int, length: int, *, loads: bool, stores: bool) -> bool:
        """Whether an access is one that is watched."""
        meant = (self.loads and loads) or (self.stores and stores)
        return meant and address < self.address + self.length and self.address < address + length


class Window(NamedTuple):
    """The values of DAWR0 and DAWRX0."""

    address: int
    control: int

    @property
    def length(self) -> int:
        """Bytes in it; 0 if no access matches at all."""
        if not self.matches:
            return 0
        return 8 * ((self.control >> _LENGTH_SHIFT & 63) + 1)

    @property
    def matches(self) -> bool:
        """Whether any access matches."""
        return bool(self.control & (_STORES | _LOADS) and self.control & _ANY_STATE)

    def has(self, address: int, length: int) -> bool:
        """Whether an access is in it, of whatever kind."""
        return address < self.address + self.length and self.address < address + length

    def is_near(self, dar: int) -> bool:
        """Whether a match with this DAR may be one of this window, or of it before it was off."""
        behind = self.address + (self.length or _LONGEST)
        return self.address - SLACK <= dar < behind + SLACK


OFF = Window(0, 0)


def window(watches: Iterable[Watch], pvr: int | None) -> Window | None:
    """The one window in which all of these are; None where there is none that is long enough.

    pvr: of the CPU, None if it is not known.
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
    """Whether a window of such a length whose last doubleword has this address is one window on
    every CPU.
    """
    return address % _LONGEST >= length - 8


def _may_cross(pvr: int | None) -> bool:
    """Linux arch/powerpc/kernel/hw_breakpoint.c hw_breakpoint_validate_len: from ISA 3.1 on."""
    return pvr is not None and pvr >> 16 >= POWER10
