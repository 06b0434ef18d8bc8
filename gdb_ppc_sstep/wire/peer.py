# SPDX-License-Identifier: MIT
"""One end of a connection that speaks RSP: framing, checksums, acknowledgements."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from ..errors import Endless
from ..rsp.framing import ACK, NAK, Bad, Byte, Item, Notification, Packet, Parser, frame
from ..stub.recent import LONGEST, RecentPackets

MOMENT = 0.02
"""Seconds for which who will speak next is waited for alone: one system call in place of two."""

POLLED = 0.0002
"""Seconds for which that one is asked again and again before we sleep, if there is another CPU.

To be woken, and to find the caches cold, takes longer than a packet.  Others that wait for a CPU
get it first (sched_yield).
"""


class PacketLog(Protocol):
    """Takes a line about a packet, and the packet that ends it."""

    def __call__(self, line: str, payload: bytes, /) -> None: ...


class GdbGone(Exception):
    """gdb closed its end of the connection, or died; or (with a text) what it sends is no use."""


class Peer:
    """One end of a connection that speaks RSP: framing, checksums, acknowledgements.

    acks: whether packets are acknowledged (they are until QStartNoAckMode).  heard: when the last
    packet came (time.monotonic), None if none has.  sent: how many packets were sent.  gone: what
    is raised when the connection is closed.  recent: keeps the last packets.  is_server: whether
    the other end only speaks when it is asked.
    """

    def __init__(
        self,
        sock: socket.socket,
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
        self.heard: float | None = None
        self.items: deque[Item] = deque()
        self._out, self._in = f"{name} <- ", f"{name} -> "
        self.sent = 0
        self.log: PacketLog | None = None
        self._parser = Parser()
        self._last: bytes | None = None
        self._burst = self._replies = self._acks = 0  # packets sent at once, and what came for them
        self._polls = False
        self._owed = 0  # packets that are to be acknowledged, with what is sent next
        self._unacknowledged: bytes | None = None  # the last of these
        self._answer: bytes | None = None  # the last to what was sent last

    @property
    def acknowledged(self) -> bool:
        """Whether the other end has acknowledged what was sent last (always without acks)."""
        return not self.acks or self._acks >= self._burst

    def send(self, payload: bytes, start: bytes = b"$") -> None:
        """Send a packet, or with another start a notification."""
        self.sent += 1
        self._keep((self._out, payload if len(payload) <= LONGEST else payload[:LONGEST]))
        if self.log:
            self.log(self._out, payload)
        self._last = frame(payload, start)
        if start == b"$":
            self._burst, self._replies, self._acks, self._answer = 1, 0, 0, None
        self.send_raw(self._last)

    def send_all(self, payloads: Sequence[bytes]) -> None:
        """Send packets in one go.  A NAK, and a reply with a bad checksum, is among the `items`
        then, unless it is about the last.
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
        """Send bytes that are no packet of their own, or one that is framed already."""
        if self._owed:
            data, self._owed, self._unacknowledged = self._owed * ACK + data, 0, None
        try:
            self.sock.sendall(data)
        except OSError as error:
            raise self._gone from error

    def acknowledge(self) -> None:
        """Acknowledge what has come, before nothing else may be sent for long."""
        if self._owed:
            # Who ends after a last reply takes no `+`; the end is seen at the next read.
            with suppress(type(self._gone)):
                self.send_raw(b"")

    @property
    def overdue(self) -> bool:
        """Whether something should have been acknowledged before now."""
        return self._owed > 0 and time.monotonic() > (self.heard or 0.0) + MOMENT

    def enable_polling(self) -> None:
        """Have `fill` wait only `MOMENT`, and for a lone `+` to be followed by what it precedes.

        OSError if that cannot be had.
        """
        timeval = struct.pack("@ll", 0, int(1e6 * MOMENT))
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
        if self.sock.family == socket.AF_UNIX:  # with TCP, select would not see a lone byte
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 2)
        self._polls = len(os.sched_getaffinity(0)) > 1

    def _poll(self, packets: int) -> bytes:
        """What comes within `POLLED`, until so many packets may have."""
        data, end = b"", time.monotonic() + POLLED
        while True:
            try:
                more = self.sock.recv(65536, socket.MSG_DONTWAIT)
                data += more
                if not more or data.count(b"#") >= packets:
                    return data
            except BlockingIOError:
                if time.monotonic() > end:
                    return data
                os.sched_yield()

    def fill(self, packets: int = 1) -> bool:
        """Read what is there (waiting for it if need be) into `items`; whether there was.

        packets: how many will come.
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
        """Note an item; whether it is to be acknowledged."""
        among = self._replies < self._burst - 1
        if isinstance(item, Packet):
            if self.acks and self._came_again(item.payload):
                # One from before our request has its `+` in front of that.  Another, behind a
                # request that resumes, would stop the guest: QEMU takes any byte for an interrupt.
                return self._is_server and self.acknowledged
            if not among:
                self._last = None  # a NAK from now on is not about what we sent before
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
            # By one that has waited for our `+` for too long, as while we were stopped: an answer
            # to each would be one too many.
            again = payload == self._unacknowledged
            self._unacknowledged = payload
            why = "it came twice"
        elif self._acks <= min(self._replies, self._burst - 1):
            again, why = True, "no acknowledgement came before"  # nor our request (as gdb does)
        else:
            # gdb would take it for the answer to what it asks next.  Output may well be repeated.
            again = payload == self._answer and self._replies >= self._burst
            if payload[:1] != b"O" or payload == b"OK":
                self._answer = payload
            why = "it came twice"
        if again and self.log:
            self.log(f"{self._in}ignored, {why}", b"")
        return again
