# SPDX-License-Identifier: MIT
"""The engine's `Link` over the wire: gdb's interrupts and File-I/O reach the stub meanwhile."""

from __future__ import annotations

from ..carrier.link import StubLink
from ..rsp.breakpoints import GdbBreakpoints
from ..rsp.framing import INTERRUPT, Byte, Packet
from .wire import Wire


class WireLink(StubLink):
    """The engine's `stub.link.Link` over the wire.  If gdb goes away, a resume is interrupted.

    gdbs: gdb's breakpoints in the stub.
    """

    def __init__(self, wire: Wire, gdbs: GdbBreakpoints) -> None:
        super().__init__(wire.stub, gdbs)
        self.wire = wire
        self._interrupted = False

    def _wait(self, timeout: float, packets: int) -> bool:
        return self.wire.wait(timeout, gdb=False, first=self._stub, packets=packets)

    def _wait_running(self, timeout: float | None, *, soon: bool) -> None:
        self.wire.wait(timeout, first=self._stub if soon else None)

    def _pass_on(self) -> None:
        while self.wire.gdb.items:
            item = self.wire.gdb.items.popleft()
            if isinstance(item, Packet):  # an answer to the stub's File-I/O request
                self.wire.acknowledge_gdb()
                self._stub.send(item.payload)
            elif item == Byte(INTERRUPT):
                self._interrupted = True
                self._stub.send_raw(INTERRUPT)

    def _must_stop(self) -> bool:
        return self.wire.gdb_gone and self._interrupt_at is None

    def _show(self, payload: bytes) -> None:
        self.wire.to_gdb(payload)

    def interrupted(self) -> bool:
        """See `stub.link.Link`."""
        self.wire.look_at_gdb()
        interrupt = Byte(INTERRUPT)
        if interrupt in self.wire.gdb.items:
            self.wire.gdb.items.remove(interrupt)
            return True
        return self.passed_on() or self.wire.gdb_gone

    def passed_on(self) -> bool:
        """Whether an interrupt of gdb's was passed on to the stub since this was last asked."""
        passed, self._interrupted = self._interrupted, False
        return passed
