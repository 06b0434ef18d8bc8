# SPDX-License-Identifier: MIT
"""A client as people write scripts: few packets, and no thread is selected."""

from __future__ import annotations

import socket

from fixtures.closing import Closing
from gdb_ppc_sstep.rsp.framing import Packet, Parser, frame

TIMEOUT = 60.0
"""Seconds for one reply."""
PC = b"p40"


class Script(Closing):
    """A client at `sock`, which is closed with it."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._socket.settimeout(TIMEOUT)
        self._parser, self._acknowledged = Parser(), b""

    def ask(self, payload: bytes) -> bytes:
        """The reply to a packet."""
        # Each in a segment of its own would take 40 ms (Nagle's algorithm).
        self._socket.sendall(self._acknowledged + frame(payload))
        while True:
            data = self._socket.recv(65536)
            assert data, f"no reply to {payload!r}: the connection is closed"
            for item in self._parser.feed(data):
                if isinstance(item, Packet):
                    self._acknowledged = b"+"
                    return item.payload

    def stepped(self, count: int) -> list[bytes]:
        """The pc after each of so many steps by the old `s`, as it came, the first one before."""
        found = [self.ask(PC)]
        for _ in range(count):
            stop = self.ask(b"s")
            assert stop[:3] == b"T05", stop
            found.append(self.ask(PC))
        return found

    def close(self) -> None:
        """See `Closing`."""
        self._socket.close()
