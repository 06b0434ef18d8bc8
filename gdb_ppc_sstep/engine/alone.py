# SPDX-License-Identifier: MIT
"""A few instructions of the guest's own, executed by a thread that stands still otherwise.

Nothing is written to the guest's memory for it.  It is how what the stub does not give is had: an
mfspr (`borrowed`), a hypercall (`hypercall`), a load that shows whether DAWR works (`dawr`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress

from ..errors import StubGone, StubRefused
from ..ppc import msr
from ..rsp.breakpoints import GdbBreakpoints
from ..rsp.resume import only
from ..stub.stub import Stub
from .steps import thread_name
from .temporary import TemporaryBreakpoints


class Alone:
    """Of one stub."""

    def __init__(self, stub: Stub, gdbs: GdbBreakpoints, temporary: TemporaryBreakpoints) -> None:
        self._stub = stub
        self._gdbs = gdbs
        self._temporary = temporary

    @contextmanager
    def executed(
        self,
        registers: Mapping[str, int],
        ends: tuple[int, ...],
        *,
        changes: Iterable[str] = (),
        optional: tuple[int, ...] = (),
    ) -> Iterator[int]:
        """Have the selected thread run from one place until one of `ends`; gives which.

        registers: what is put there before, pc and msr among them; of msr without EE, SE and BE.
        changes: others that the code changes.  Behind the block all of these are as they were.
        optional: of the ends, those that the stub may refuse.  StubRefused: the thread does not
        come there, or the stub refuses.
        """
        stub, thread = self._stub, self._stub.thread
        kept = {name: stub.read(name) for name in dict.fromkeys((*registers, *changes))}
        start = registers["pc"]
        quiet = registers["msr"] & ~(msr.EE | msr.SE | msr.BE)
        try:
            for name, value in (dict(registers) | {"msr": quiet}).items():
                if name == "msr" or kept[name] != value:
                    stub.write(name, value)
            gdbs = self._gdbs.code_at(start)
            must = tuple(one for one in ends if one not in optional)
            with self._temporary.lifted(gdbs), self._temporary.planted(must, optional):
                while stub.read("pc") == start:
                    stub.run(only(thread))  # a Ctrl-C may come before it is executed
                    stub.select(thread)
            arrived = stub.read("pc")
            if arrived not in ends:
                raise StubRefused(f"{thread_name(thread)} does not execute {start:#x}")
            yield arrived
        finally:
            with suppress(StubGone):
                self._temporary.resumed()
                for name, before in kept.items():
                    if name != "msr":
                        stub.write(name, before)
                stub.write("msr", kept["msr"])
                stub.send_queued()
