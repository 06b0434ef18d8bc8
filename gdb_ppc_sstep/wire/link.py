# SPDX-License-Identifier: MIT
"""The engine's `Link` over the wire: packets to the stub, and its replies."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from ..errors import StubSilent
from ..rsp.breakpoints import GdbBreakpoints
from ..rsp.framing import INTERRUPT, Bad, Byte, Item, Notification, Packet
from ..rsp.resume import is_final
from .wire import Wire

REPLY_TIMEOUT = 5.0
"""Seconds that a stopped stub may take for a reply (gdb's remotetimeout is 2)."""


class WireLink:
    """The engine's `stub.link.Link` over the wire.  gdbs: gdb's breakpoints in the stub."""

    def __init__(self, wire: Wire, gdbs: GdbBreakpoints) -> None:
        self.wire = wire
        self._stub = wire.stub
        self._gdbs = gdbs
        self._interrupt_at: float | None = None
        self._interrupted = False
        self._silent: StubSilent | None = None  # from the first time on

    @contextmanager
    def interrupting_at(self, end: float) -> Iterator[None]:
        """Within this context we interrupt each resume at the time `end` (time.monotonic)."""
        self._interrupt_at = end
        try:
            yield
        finally:
            self._interrupt_at = None

    def call(self, payload: bytes) -> bytes:
        """See `stub.link.Link`."""
        self.ask(payload)
        return self.reply()

    def ask(self, payload: bytes) -> None:
        """Send the stub a packet while it owes no reply; what is still there was sent twice."""
        self._stub.items.clear()
        self._stub.send(payload)

    def begin(self, payloads: Sequence[bytes]) -> Callable[[], list[bytes]]:
        """See `stub.link.Link`."""
        if not self.wire.bursts:
            replies = [self.call(payload) for payload in payloads]
            return lambda: replies
        self._stub.items.clear()
        self._stub.send_all(payloads)
        return lambda: self._replies(payloads)

    def _replies(self, payloads: Sequence[bytes]) -> list[bytes]:
        """The replies to packets that were sent at once, each at the place of its packet."""
        outcomes = self._outcomes(len(payloads))
        return [
            outcome.payload if isinstance(outcome, Packet) else self._again(payload, outcome)
            for payload, outcome in zip(payloads, outcomes)
        ]

    def _again(self, payload: bytes, outcome: Item) -> bytes:
        """Ask again: the stub did not understand this packet of a burst, or we not its reply."""
        if isinstance(outcome, Bad) and payload[:1] in (b"Z", b"z"):
            # Stubs count breakpoints, and we do not know whether this packet counted.  So remove
            # what may be there, then insert gdb's own.
            what, address = payload[1:], int(payload.split(b",")[1], 16)
            for _ in range(3):
                if self.call(b"z" + what) != b"OK":
                    break
            for gdbs in self._gdbs.code_at(address):
                self.call(gdbs.insertion)
            if payload[:1] == b"z":
                return b"OK"
        return self.call(payload)

    def reply(self) -> bytes:
        """The next packet from the stub, whose guest is stopped.  StubGone: none comes."""
        while True:
            (item,) = self._outcomes(1)
            if isinstance(item, Packet):
                return item.payload

    def _outcomes(self, count: int) -> list[Item]:
        """The next `count` packets of a stub at rest, or what came in place of one.

        StubSilent: the next one does not come within `REPLY_TIMEOUT`.
        """
        if self._silent is not None:  # the stub may still obey the writes that were sent
            raise self._silent
        outcomes: list[Item] = []
        end = time.monotonic() + REPLY_TIMEOUT  # for each
        while True:
            before = len(outcomes)
            while self._stub.items:
                item = self._stub.items.popleft()
                if not isinstance(item, Notification):
                    outcomes.append(item)
                    if len(outcomes) == count:
                        return outcomes
            if len(outcomes) > before:
                end = time.monotonic() + REPLY_TIMEOUT
            left = max(0.0, end - time.monotonic())
            if not self.wire.wait(left, gdb=False, first=self._stub, packets=count - len(outcomes)):
                raise self._silence(f"the stub did not answer within {REPLY_TIMEOUT:g} seconds")

    def _silence(self, why: str) -> StubSilent:
        """The error for a stub that did not answer in time; `_outcomes` raises it from now on."""
        self._silent = StubSilent(why)
        return self._silent

    def resume(self, payload: bytes) -> bytes:
        """See `stub.link.Link`.  If gdb goes away, the guest is interrupted."""
        self.ask(payload)
        asked: float | None = None  # when the stub was told to stop for somebody who will not wait
        sent = time.monotonic()
        soon = 2  # an acknowledgement and, after a step, the stop
        while True:
            while self.wire.gdb.items:
                item = self.wire.gdb.items.popleft()
                if isinstance(item, Packet):  # an answer to the stub's File-I/O request
                    self.wire.acknowledge_gdb()
                    self._stub.send(item.payload)
                elif item == Byte(INTERRUPT):
                    self._interrupted = True
                    self._stub.send_raw(INTERRUPT)
            while self._stub.items:
                item = self._stub.items.popleft()
                if isinstance(item, Packet):
                    if is_final(item.payload):
                        return item.payload
                    self.wire.to_gdb(item.payload)  # the guest's output
            now = time.monotonic()
            nobody_waits = self.wire.gdb_gone and self._interrupt_at is None
            due = self._interrupt_at is not None and now >= self._interrupt_at
            if asked is None and (nobody_waits or due):
                self._stub.send_raw(INTERRUPT)
                asked = now
            if asked is not None and now > asked + REPLY_TIMEOUT:
                raise self._silence("the guest did not stop")
            if not self._stub.acknowledged and now > sent + REPLY_TIMEOUT:
                raise self._silence(f"the stub did not answer within {REPLY_TIMEOUT:g} seconds")
            self._stub.acknowledge()
            pending = not (asked is None and self._interrupt_at is None and self._stub.acknowledged)
            soon -= 1
            self.wire.wait(0.1 if pending else None, first=self._stub if soon >= 0 else None)

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
