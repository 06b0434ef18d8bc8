# SPDX-License-Identifier: MIT
"""Count the packets of a client to a stub: a relay between the two that changes nothing.

It works with every client: gdb alone, ours at either door, and the raw packets of `floor`.  It
takes time, so the benchmark does not count and measure in the same run.
"""

from __future__ import annotations

import contextlib
import select
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from fixtures.closing import Closing
from gdb_ppc_sstep.rsp.framing import ACK, Byte, Packet, Parser

QUIET = 0.15
"""Seconds: a client that has sent nothing for so long has nothing deferred (the layer waits for
0.02).
"""


class Counts(NamedTuple):
    """packets: how many have reached the stub.  exchanges: bursts of them, of one packet or more.

    An exchange begins with a packet that the client sends when all before it have been answered.
    """

    packets: int
    exchanges: int

    def since(self, before: Counts) -> Counts:
        """What has been added since an earlier count."""
        return Counts(self.packets - before.packets, self.exchanges - before.exchanges)


class Relay(Closing):
    """Listens on `target` for one client, and relays its packets.

    connect: makes the connection to the stub once that client has come.  lone: the NAKs and
    interrupts that the client has sent.
    """

    def __init__(self, connect: Callable[[], socket.socket]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="relay-")
        self.target = str(Path(self._folder.name) / "stub")
        self._to_stub = connect
        self.lone: list[bytes] = []
        self._packets = self._exchanges = self._unanswered = 0
        self._last = time.monotonic()
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(self.target)
        self._server.listen()
        self._closing, self._closed = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def connect(self) -> socket.socket:
        """Connect to the relay as its client."""
        client = socket.socket(socket.AF_UNIX)
        client.connect(self.target)
        return client

    def counts(self, timeout: float = 60) -> Counts:
        """The counts so far, once both sides are quiet.  TimeoutError: they are not in time."""
        start = time.monotonic()
        while self._unanswered or time.monotonic() - max(start, self._last) < QUIET:
            if time.monotonic() - start > timeout:
                raise TimeoutError(f"the stub's client was not quiet for {timeout:g} s")
            time.sleep(QUIET / 10)
        return Counts(self._packets, self._exchanges)

    def waits(self) -> bool:
        """Whether the stub owes a reply, and has for a moment, as while the guest runs."""
        return self._unanswered > 0 and time.monotonic() - self._last > QUIET

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            client = self._accept()
            if client is None:
                return
            with client, self._to_stub() as stub:
                self._pass_on(client, stub)

    def _accept(self) -> socket.socket | None:
        ready, _, _ = select.select([self._server, self._closing], [], [])
        return None if self._closing in ready else self._server.accept()[0]

    def _pass_on(self, client: socket.socket, stub: socket.socket) -> None:
        """Relay until one of the two ends or `close` is called."""
        asked, said = Parser(), Parser()
        while True:
            ready, _, _ = select.select([stub, client, self._closing], [], [])
            if self._closing in ready:
                return
            for end, other in ((stub, client), (client, stub)):
                if end not in ready:
                    continue
                data = end.recv(65536)
                if not data:
                    return
                self._last = time.monotonic()
                if end is client:
                    self._count(asked, data)
                else:
                    self._settle(said, data)
                other.sendall(data)

    def _count(self, parser: Parser, data: bytes) -> None:
        """Count the packets in what the client sends."""
        for item in parser.feed(data):
            if isinstance(item, Packet):
                self._packets += 1
                self._exchanges += not self._unanswered
                self._unanswered += 1
            elif isinstance(item, Byte) and item.value != ACK:
                self.lone.append(item.value)

    def _settle(self, parser: Parser, data: bytes) -> None:
        """Count the replies in what the stub sends, so that no request stays unanswered."""
        for item in parser.feed(data):
            console = item[0][:1] == b"O" and item[0] != b"OK"
            if isinstance(item, Packet) and not console:
                self._unanswered = max(0, self._unanswered - 1)

    def close(self) -> None:
        """End both connections."""
        self._closed.close()
        self._thread.join(10)
        for one in (self._closing, self._server):
            one.close()
        self._folder.cleanup()
