# SPDX-License-Identifier: MIT
"""The engine's `Link` over a connection: packets to the stub, and its replies."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from ..errors import StubGone, StubSilent
from ..rsp.breakpoints import GdbBreakpoints
from ..rsp.framing import ACK, INTERRUPT, Bad, Byte, Item, Notification, Packet, Parser
from ..rsp.resume import StopReply, is_final
from .peer import Peer

REPLY_TIMEOUT = 5.0
"""Seconds that a stopped stub may take for a reply (gdb's remotetimeout is 2)."""


class StubLink:
    """What the links of both doors have in common; each adds whom it listens to beside the stub.

    gdbs: gdb's breakpoints in the stub.
    """

    def __init__(self, stub: Peer, gdbs: GdbBreakpoints) -> None:
        self._stub = stub
        self._gdbs = gdbs
        self._interrupt_at: float | None = None
        self._silent: StubSilent | None = None  # from the first time on

    # -- what each door adds

    def _wait(self, timeout: float, packets: int) -> bool:
        """Wait for the stub alone to send something, `packets` of them; whether it has in time."""
        raise NotImplementedError

    def _wait_running(self, timeout: float | None, *, soon: bool) -> None:
        """Wait for the stub or the user, while the guest runs.

        timeout: None waits without a limit.  soon: the stub is likely to be first.
        """
        raise NotImplementedError

    def _patience(self) -> float:
        """Seconds that a reply may take."""
        return REPLY_TIMEOUT

    def _pass_on(self) -> None:
        """The guest runs: send the stub what has come for it meanwhile."""

    def _must_stop(self) -> bool:
        """The guest runs: whether it has to stop, as nobody will wait for it."""
        raise NotImplementedError

    def _show(self, payload: bytes) -> None:
        """Take what the stub sends while the guest runs, such as the guest's output."""
        raise NotImplementedError

    # -- questions

    def learn_acks(self) -> bool:
        """Find out whether the stub acknowledges packets; returns whether the guest ran until now.

        gdb may have agreed with the stub on QStartNoAckMode: then no `+` comes before a reply.
        QEMU sends a new client a stop reply first if the guest was running.  StubSilent, StubGone:
        no reply came.
        """
        stub = self._stub
        stub.acks = False
        stub.send(b"qC")
        end = time.monotonic() + self._patience()
        parser, ran = Parser(), False
        while True:
            if not select.select([stub.sock], [], [], max(0.0, end - time.monotonic()))[0]:
                raise self._silence(f"the stub did not answer within {self._patience():g} seconds")
            data = stub.sock.recv(4096)
            if not data:
                raise StubGone("the stub closed the connection")
            for item in parser.feed(data):
                if item == Byte(ACK):
                    stub.acks = True
                elif isinstance(item, Packet):
                    if StopReply.parse(item.payload).signal is None:
                        if stub.acks:
                            stub.send_raw(ACK)
                        return ran
                    ran = True

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
        if not self._stub.bursts:
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

        StubSilent: the next one does not come within `_patience`.
        """
        if self._silent is not None:  # the stub may still obey the writes that were sent
            raise self._silent
        outcomes: list[Item] = []
        end = time.monotonic() + self._patience()  # for each
        while True:
            before = len(outcomes)
            while self._stub.items:
                item = self._stub.items.popleft()
                if not isinstance(item, Notification):
                    outcomes.append(item)
                    if len(outcomes) == count:
                        return outcomes
            if len(outcomes) > before:
                end = time.monotonic() + self._patience()
            left = max(0.0, end - time.monotonic())
            if not self._wait(left, count - len(outcomes)):
                raise self._silence(f"the stub did not answer within {self._patience():g} seconds")

    def _silence(self, why: str) -> StubSilent:
        """The error for a stub that did not answer in time; `_outcomes` raises it from now on."""
        self._silent = StubSilent(why)
        return self._silent

    # -- resuming

    def resume(self, payload: bytes) -> bytes:
        """See `stub.link.Link`."""
        self.ask(payload)
        asked: float | None = None  # when the stub was told to stop for somebody who will not wait
        sent = time.monotonic()
        soon = 2  # an acknowledgement and, after a step, the stop
        while True:
            self._pass_on()
            while self._stub.items:
                item = self._stub.items.popleft()
                if isinstance(item, Packet):
                    if is_final(item.payload):
                        return item.payload
                    self._show(item.payload)
            now = time.monotonic()
            due = self._interrupt_at is not None and now >= self._interrupt_at
            if asked is None and (due or self._must_stop()):
                self._stub.send_raw(INTERRUPT)
                asked = now
            if asked is not None and now > asked + self._patience():
                raise self._silence("the guest did not stop")
            if not self._stub.acknowledged and now > sent + self._patience():
                raise self._silence(f"the stub did not answer within {self._patience():g} seconds")
            self._stub.acknowledge()
            pending = not (asked is None and self._interrupt_at is None and self._stub.acknowledged)
            soon -= 1
            self._wait_running(0.1 if pending else None, soon=soon >= 0)
