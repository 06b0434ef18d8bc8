# SPDX-License-Identifier: MIT
"""gdb's own breakpoints and watchpoints, by what a packet names and by address.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Breakpoint(NamedTuple):
    """The breakpoint or watchpoint that a `Z` or `z` packet names.

    kind: the packet's digit, 0 and 1 for breakpoints, 2 to 4 for watchpoints.  address: 64-bit
    unsigned.  length: gdb's breakpoint kind (4 for ppc64), or the number of bytes that are watched.
    """

    kind: int
    address: int
    length: int

    @property
    def counts_loads(self) -> bool:
        """Whether an access that reads hits it, if it is a watchpoint."""
        return self.kind in (3, 4)

    @property
    def counts_stores(self) -> bool:
        """Whether an access that writes hits it, if it is a watchpoint."""
        return self.kind in (2, 4)

    @property
    def stops_code(self) -> bool:
        """Whether it stops a vCPU before an instruction: it is a breakpoint, not a watchpoint."""
        return self.kind <= 1

    @property
    def insertion(self) -> bytes:
        """The packet that inserts it."""
        return b"Z%x,%x,%x" % self

    @property
    def removal(self) -> bytes:
        """The packet that removes it."""
        return b"z%x,%x,%x" % self


class GdbBreakpoints:
    """The breakpoints and watchpoints that gdb has planted in the stub.

    A question by address takes no longer with many of them.  watched: the watchpoints, in the order
    in which gdb inserted them.
    """

    def __init__(self, planted: Iterable[Breakpoint] = ()) -> None:
        self._at: dict[int, list[Breakpoint]] = {}
        self._last: int | None = None
        self.watched: tuple[Breakpoint, ...] = ()
        for one in planted:
            self.insert(one)

    def __iter__(self) -> Iterator[Breakpoint]:
        for planted in self._at.values():
            yield from planted

    def __contains__(self, address: int) -> bool:
        """Whether gdb has planted a breakpoint or watchpoint at an address."""
        return address in self._at

    @property
    def last_inserted(self) -> int | None:
        """The address of the last insertion, None if nothing is planted there any more."""
        return self._last if self._last in self._at else None

    def code_at(self, address: int) -> list[Breakpoint]:
        """The breakpoints at an address, without the watchpoints."""
        if address not in self._at:
            return []
        return [one for one in self._at[address] if one.stops_code]

    def insert(self, one: Breakpoint) -> None:
        """gdb has inserted one; inserting it a second time changes nothing."""
        planted = self._at.setdefault(one.address, [])
        if one not in planted:
            planted.append(one)
            if not one.stops_code:
                self.watched = (*self.watched, one)
        self._last = one.address

    def remove(self, one: Breakpoint) -> None:
        """gdb has removed one; removing one that is not there changes nothing."""
        planted = self._at.get(one.address, [])
        if one in planted:
            planted.remove(one)
            self.watched = tuple(other for other in self.watched if other != one)
        if not planted:
            self._at.pop(one.address, None)

    def clear(self) -> None:
        """Forget all: they are removed from the stub."""
        self.watched = ()
        self._at.clear()
