# SPDX-License-Identifier: MIT
"""One end of a connection that speaks RSP: framing, checksums, acknowledgements."""

from __future__ import annotations

import os
import select
import socket
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from ..errors import Endless
from ..rsp.framing import ACK, NAK, Bad, Byte, Item, Notification, Packet, Parser, frame
from ..stub.recent import LONGEST, RecentPackets
from .streams import Stream, limit_wait

MOMENT = 0.02
"""Seconds to wait for the one peer that will speak next: one system call, where both take two."""

POLLED = 0.0002
"""Seconds for which `fill` asks the socket again and again before it sleeps, with several CPUs.

To be woken, and to find the caches cold, takes longer than a packet.  A process that waits for this
CPU gets it first (sched_yield).
"""


_DONTWAIT = int(socket.MSG_DONTWAIT)


class PacketLog(Protocol):
    """Takes a line that says who has sent a packet to whom, and the packet."""

    def __call__(self, line: str, payload: bytes, /) -> None: ...


class Peer:
    """One end of a connection that speaks RSP: framing, checksums, acknowledgements.

    items: what came and was not taken yet.  acks: whether packets are acknowledged (they are until
    QStartNoAckMode).  heard: when the last packet came (time.monotonic), None if none has.  sent:
    the number of packets sent.  gone: the exception to raise when the connection is closed.
    recent: keeps the last packets.  is_server: whether the other end speaks only when it is asked.
    bursts: whether it takes a packet before it has answered the one before.
    """

    def __init__(
        self,
        sock: Stream,
        name: str,
        gone: Exception,
        *,
        recent: RecentPackets | None = None,
        is_server: bool = False,
    ) -> None:
        self.sock = sock
        self._gone = gone
        self.recent = recent or RecentPackets()
        self._keep = self.recent.keep
        self._is_server = is_server
        self.acks = True
        self.bursts = False
        self.heard: float | None = None
        self.items: deque[Item] = deque()
        self._out, self._in = f"{name} <- ", f"{name} -> "
        self.sent = 0
        self.log: PacketLog | None = None
        self._parser = Parser()
        self._last: bytes | None = None
        self._burst = self._replies = self._acks = 0  # packets sent at once; what came for these
        self._polls = False
        self._owed = 0  # packets that came, and are acknowledged with the next bytes that we send
        self._unacknowledged: bytes | None = None  # the last of these
        self._answer: bytes | None = None  # the last reply to what was sent last

    @property
    def acknowledged(self) -> bool:
        """Whether the other end has acknowledged what was sent last (always without acks)."""
        return not self.acks or self._acks >= self._burst

    def send(self, payload: bytes, start: bytes = b"$") -> None:
        """Send a packet, or (with start `%`) a notification."""
        self.sent += 1
        self._keep((self._out, payload if len(payload) <= LONGEST else payload[:LONGEST]))
        if self.log:
            self.log(self._out, payload)
        self._last = frame(payload, start)
        if start == b"$":
            self._burst, self._replies, self._acks, self._answer = 1, 0, 0, None
        self.send_raw(self._last)

    def send_all(self, payloads: Sequence[bytes]) -> None:
        """Send packets in one go.

        For all but the last, a NAK or a reply with a bad checksum is put into `items` in the
        reply's place.  For the last it is dealt with here, as after `send`.
        """
        if not payloads:
            return
        self.sent += len(payloads)
        for payload in payloads:
            self._keep((self._out, payload if len(payload) <= LONGEST else payload[:LONGEST]))
            if self.log:
                self.log(self._out, payload)
        frames = [frame(payload) for payload in payloads]
        self._last = frames[-1]
        self._burst, self._replies, self._acks, self._answer = len(frames), 0, 0, None
        self.send_raw(b"".join(frames))

    def send_raw(self, data: bytes) -> None:
        """Send bytes as they are, such as a framed packet.  The `+` that we owe go first."""
        if not self._is_server and self.overdue:
            self._read_copies()
        if self._owed:
            data, self._owed, self._unacknowledged = self._owed * ACK + data, 0, None
        try:
            self.sock.sendall(data)
        except OSError as error:
            raise self._gone from error

    def acknowledge(self) -> None:
        """Send the acknowledgements that we owe now, as the next packet may be long in coming."""
        if self._owed:
            # A peer that ended after its last reply takes no `+`; the next read sees that end.
            with suppress(type(self._gone)):
                self.send_raw(b"")

    def _read_copies(self) -> None:
        """Read what has come: a client that waits for a `+` sends its packet again and again, and a
        copy that is read behind the `+` would be taken for a request of its own.
        """
        while select.select([self.sock], [], [], 0)[0]:
            self.fill()

    @property
    def overdue(self) -> bool:
        """Whether we owe an acknowledgement, and the last packet came more than a `MOMENT` ago."""
        return self._owed > 0 and time.monotonic() > (self.heard or 0.0) + MOMENT

    def enable_polling(self) -> None:
        """Have `fill` wait for a `MOMENT` at most (see `limit_wait`).  OSError: it cannot."""
        limit_wait(self.sock, MOMENT)
        self._polls = sys.platform == "linux" and len(os.sched_getaffinity(0)) > 1

    def _poll(self, packets: int) -> bytes:
        """Read for up to `POLLED` seconds without sleeping, until as many packets may have come."""
        data, end = b"", time.monotonic() + POLLED
        while True:
            try:
                more = self.sock.recv(65536, _DONTWAIT)
                data += more
                if not more or data.count(b"#") >= packets:
                    return data
            except BlockingIOError:
                if time.monotonic() > end:
                    return data
                os.sched_yield()

    def fill(self, packets: int = 1) -> bool:
        """Read what has come into `items`, waiting for it if need be.

        packets: how many will come.  False: nothing came in time (after `enable_polling`).  The
        exception `gone`: the connection is closed.
        """
        try:
            data = (self._polls and self._poll(packets)) or self.sock.recv(65536)
        except BlockingIOError:
            return False
        except OSError as error:
            raise self._gone from error
        if not data:
            raise self._gone
        try:
            items = self._parser.feed(data)
        except Endless as error:
            raise type(self._gone)(str(error)) from error
        taken = 0
        for item in items:
            if not isinstance(item, Byte):
                what = f"{self._in}bad checksum: " if isinstance(item, Bad) else self._in
                payload = item.payload
                self._keep((what, payload if len(payload) <= LONGEST else payload[:LONGEST]))
                if self.log:
                    self.log(what, payload)
            taken += self._take(item)
        if taken:
            self.heard = time.monotonic()
            if self.acks:
                self._owed += taken
        return True

    def _take(self, item: Item) -> bool:
        """Count an item, and put it into `items` if the caller needs it; whether we owe a `+`."""
        among = self._replies < self._burst - 1
        if isinstance(item, Packet):
            if self.acks and self._came_again(item.payload):
                # A packet from before our request had its `+` in front of that.  Another `+` behind
                # a resume would stop the guest: QEMU takes any byte for an interrupt.
                return self._is_server and self.acknowledged
            if not among:
                self._last = None  # a NAK that comes later is not about what we have sent
            self._replies += 1
        elif isinstance(item, Bad):
            if not among:
                if self.acks:
                    self.send_raw(NAK)
                return False
            self._replies += 1
        elif isinstance(item, Notification):
            pass
        elif item.value == ACK:
            self._acks += 1
            return False
        elif item.value == NAK and among:
            self._replies += 1
            self._acks += 1  # as nothing else will come for it
        elif item.value == NAK and self._last is not None:
            self.send_raw(self._last)
            return False
        self.items.append(item)
        return isinstance(item, (Packet, Bad))

    def _came_again(self, payload: bytes) -> bool:
        """Whether a packet is one that we have had, sent again; if not, it is noted."""
        if not self._is_server:
            # A client sends again when it has waited for our `+` for too long, as while we were
            # stopped.  An answer to each would be one too many.
            again = payload == self._unacknowledged
            self._unacknowledged = payload
            why = "it came twice"
        elif self._acks <= min(self._replies, self._burst - 1):
            # It is no reply to our request, which would be acknowledged first.  gdb drops it too.
            again, why = True, "no acknowledgement came before"
        else:
            # gdb would take it for the reply to its next request.  Output may well come twice.
            again = payload == self._answer and self._replies >= self._burst
            if payload[:1] != b"O" or payload == b"OK":
                self._answer = payload
            why = "it came twice"
        if again and self.log:
            self.log(f"{self._in}ignored, {why}", b"")
        return again
