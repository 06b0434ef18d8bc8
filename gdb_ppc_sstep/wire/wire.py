# SPDX-License-Identifier: MIT
"""Both connections of the layer: waiting for either peer, and sending to gdb."""

from __future__ import annotations

import select
import sys
from collections.abc import Callable
from contextlib import suppress

from ..carrier.peer import PacketLog, Peer
from ..carrier.streams import Stream
from ..errors import StubGone
from ..stub.recent import RecentPackets


class GdbGone(Exception):
    """gdb closed its end of the connection or died; or (with a text) it sends what is no use."""


class Wire:
    """The connections to gdb and to the stub.

    recent: the last packets of both.  gdb_gone: gdb has closed its end, or died.  gdb_trouble: why
    gdb is taken for gone although it is there, else empty.  polls: whether `wait` waits a `MOMENT`
    for the one peer that will speak next, before it waits for both.
    """

    def __init__(self, gdb: Stream, stub: Stream) -> None:
        self.recent = RecentPackets()
        self.gdb = Peer(gdb, "gdb ", GdbGone(), recent=self.recent)
        gone = StubGone("the stub closed the connection")
        self.stub = Peer(stub, "stub", gone, recent=self.recent, is_server=True)
        self.gdb_gone = False
        self.gdb_trouble = ""
        self.polls = False

    def log_packets(self, log: PacketLog | None) -> None:
        """Give each packet to `log` from now on, or (None) no more."""
        self.gdb.log = self.stub.log = log

    def acknowledgements(self, used: bool) -> None:
        """gdb and the stub have agreed on whether packets are acknowledged."""
        self.gdb.acks = self.stub.acks = used

    @property
    def bursts(self) -> bool:
        """Whether the stub takes a packet before it has answered the one before."""
        return self.stub.bursts

    def enable_bursts(self) -> None:
        """The stub is QEMU's, which takes several packets at once.

        It takes what comes byte by byte and answers in order.  Nor does it wait for
        acknowledgements, which come with the next packet (QEMU 7.2 gdb_read_byte).
        """
        self.stub.bursts = True

    def enable_polling(self) -> None:
        """Set `polls`, where the system allows it.  From now on only we may read the sockets."""
        if sys.platform == "linux":
            with suppress(OSError):
                self.gdb.enable_polling()
                self.stub.enable_polling()
                self.polls = True

    def wait(
        self,
        timeout: float | None = None,
        *,
        gdb: bool = True,
        first: Peer | None = None,
        packets: int = 1,
        idle: Callable[[], None] = lambda: None,
    ) -> bool:
        """Read from whichever peer has something; whether one had within `timeout` seconds.

        timeout: None waits without a limit.  gdb: whether gdb is listened to as well.  first: the
        peer that will speak next, with `packets` packets.  idle: called when it has not spoken for
        a `MOMENT`.
        """
        if self.gdb.overdue:
            self.acknowledge_gdb()
        if self.polls and first is not None:
            if self._fill(first, packets):
                return True
            idle()
        self.acknowledge_gdb()
        if gdb and not self.bursts:
            self.stub.acknowledge()
        listening = gdb and not self.gdb_gone
        sockets = [self.stub.sock, self.gdb.sock] if listening else [self.stub.sock]
        ready, _, _ = select.select(sockets, [], [], timeout)
        if self.stub.sock in ready:
            self.stub.fill()
        if self.gdb.sock in ready:
            self._fill(self.gdb)
        return bool(ready)

    def look_at_gdb(self) -> None:
        """Read what gdb has sent, without waiting for more."""
        while not self.gdb_gone and select.select([self.gdb.sock], [], [], 0)[0]:
            self._fill(self.gdb)

    def _fill(self, peer: Peer, packets: int = 1) -> bool:
        try:
            return peer.fill(packets)
        except GdbGone as gone:
            self.gdb_gone = True
            self.gdb_trouble = str(gone)
            return True

    def acknowledge_gdb(self) -> None:
        """Acknowledge what gdb has sent, where it cannot be answered at once."""
        with suppress(GdbGone):  # the next read of gdb's socket sees that
            self.gdb.acknowledge()

    def to_gdb(self, payload: bytes, start: bytes = b"$") -> None:
        """Send gdb a packet, or (with start `%`) a notification; or set `gdb_gone`."""
        try:
            self.gdb.send(payload, start)
        except GdbGone:
            self.gdb_gone = True
