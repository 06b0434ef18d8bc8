# SPDX-License-Identifier: MIT
"""Gives a thread that stands still other registers for a moment, to see or execute code.

The thread executes a few instructions of the guest's own; nothing is written to memory for it.  So
we get what the stub does not give: by an mfspr (`borrowed`), by a hypercall (`hypercall`), by a
load that shows whether DAWR works (`dawr`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress

from ..errors import StubGone, StubRefused, Unsettled
from ..ppc import msr
from ..rsp.breakpoints import GdbBreakpoints
from ..rsp.resume import only
from ..stub.stub import Stub
from .steps import Lent, thread_name
from .temporary import TemporaryBreakpoints


class Alone:
    """Lends registers to the threads of one stub, and puts the thread's own back."""

    def __init__(
        self,
        stub: Stub,
        gdbs: GdbBreakpoints,
        temporary: TemporaryBreakpoints,
        lend: Callable[[Lent], None],
        given_back: Callable[[Lent, bool], None],
    ) -> None:
        """lend, given_back: see `Ledger`."""
        self._stub = stub
        self._gdbs = gdbs
        self._temporary = temporary
        self._lend = lend
        self._given_back = given_back

    @contextmanager
    def executed(
        self,
        registers: Mapping[str, int],
        ends: tuple[int, ...],
        *,
        changes: Iterable[str] = (),
        optional: tuple[int, ...] = (),
    ) -> Iterator[int]:
        """Have the selected thread run alone from one address until one of `ends`; yields which.

        registers: the values to put there before, pc and msr among them; EE, SE and BE of msr are
        cleared.  changes: other registers that the code changes.  After the block all of these are
        as they were.  optional: those of `ends` at which the stub may refuse a breakpoint.
        StubRefused: the thread does not arrive there, or the stub refuses; Unsettled: the stub
        refuses to put registers back.
        """
        stub, thread = self._stub, self._stub.thread
        start = registers["pc"]
        # pc is changed first and put back last: by it `salvage` knows what a killed session did.
        names = [name for name in dict.fromkeys((*registers, *changes)) if name != "pc"]
        kept = tuple((name, stub.read(name)) for name in (*names, "pc"))
        quiet = registers["msr"] & ~(msr.EE | msr.SE | msr.BE)
        lent = Lent(thread, kept, (start, *ends))
        self._lend(lent)
        try:
            for name, value in ({"pc": start} | dict(registers) | {"msr": quiet}).items():
                if name == "msr" or dict(kept)[name] != value:
                    stub.write(name, value)
            gdbs = self._gdbs.code_at(start)
            must = tuple(one for one in ends if one not in optional)
            with self._temporary.lifted(gdbs), self._temporary.planted(must, optional):
                while stub.read("pc") == start:
                    stub.run(only(thread))  # again if a Ctrl-C stops it before the instruction
                    stub.select(thread)
            arrived = stub.read("pc")
            if arrived not in ends:
                raise StubRefused(f"{thread_name(thread)} does not execute {start:#x}")
            yield arrived
        finally:
            with suppress(StubGone):
                self._temporary.resumed()
            self._end(lent)

    @contextmanager
    def seeing(self, state: int) -> Iterator[None]:
        """Within the block, the selected thread sees memory as with the MSR `state`."""
        own = self._stub.read("msr")
        seen = own & ~msr.VIEW | state & msr.VIEW
        if seen == own:
            yield
            return
        pc = self._stub.read("pc")
        lent = Lent(self._stub.thread, (("msr", own), ("pc", pc)), (pc,))
        self._lend(lent)
        try:
            self._stub.write("msr", seen)
            yield
        finally:
            self._end(lent)

    def put(self, thread: bytes | None, registers: Mapping[str, int], place: int) -> None:
        """Write registers of `thread`, which is selected and stands at `place`; pc is last.

        They are in the ledger first, so that what is still to be written outlives a killed session.
        """
        lent = Lent(thread, tuple(registers.items()), (place,))
        self._lend(lent)
        self._end(lent)

    def give_back(self, lent: Lent) -> None:
        """Write a thread's own registers back.  StubRefused: that is to be done again."""
        self._stub.select(lent.thread)
        for name, before in lent.registers:
            self._stub.write(name, before)
        self._stub.send_queued()
        self._given_back(lent, True)

    def _end(self, lent: Lent) -> None:
        """Write a thread's own registers back, in two tries.  Unsettled: the stub refuses."""
        with suppress(StubGone):
            try:
                self.give_back(lent)
                return
            except StubRefused:
                pass  # it is tried once more
            try:
                self.give_back(lent)
            except StubRefused as refused:
                self._given_back(lent, False)
                raise Unsettled(str(refused)) from refused
