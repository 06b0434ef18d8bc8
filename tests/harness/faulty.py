# SPDX-License-Identifier: MIT
"""A stub with faults that QEMU cannot be made to show: QEMU behind a proxy that alters packets."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Union

from fixtures.closing import Closing
from gdb_ppc_sstep.rsp.framing import Bad, Byte, Notification, Packet, Parser, frame

Item = Union[Packet, Notification, Bad, Byte]

FAULTS = {
    "request": ("drop", "delay", "corrupt", "refuse", "close"),
    "reply": ("drop", "delay", "corrupt", "cut", "duplicate", "close"),
}
"""What `Faulty.strike` can do to a packet on its way to the stub ("request") or from it ("reply").
Besides these there is `kill`, on both ways.
"""


class Faulty(Closing):
    """The proxy.  It listens on `target` and serves one client after the other.

    A test may change its attributes at any time: answers: pattern of a request -> the reply that
    the proxy gives; the stub never sees the request.  hangs_up_at: the pattern of a request at
    which the proxy closes gdb's end.  replaced: text in the stub's replies -> the text that the
    proxy puts in its place.  mangle: changes the bytes that go to gdb, given the number of the
    reply and its bytes.  repeats: whether the proxy sends every reply again, before the reply to
    the next request.  delay: seconds by which the fault `delay` holds a packet back.  kill: ends
    the stub, for the fault `kill`.  struck: the packet to which the fault of `strike` has happened,
    if one came.
    """

    def __init__(self, stub: str, directory: Path) -> None:
        self.target = str(directory / "faulty")
        self.answers: dict[str, str] = {}
        self.replaced: dict[str, str] = {}
        self.hangs_up_at: str | None = None
        self.mangle: Callable[[int, bytes], list[bytes]] = lambda _number, data: [data]
        self.repeats = False
        self.delay = 0.2
        self.kill: Callable[[], None] = lambda: None
        self.struck: str | None = None
        self._strike: tuple[str, str, int, str] | None = None
        self._pending: deque[bytes] = deque()  # requests without a reply; the stub keeps the order
        self._answered = threading.Condition()
        self._target = stub
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(self.target)
        self._server.listen()
        self._stub: socket.socket | None = None
        self._client: socket.socket | None = None
        self._replies = 0
        self._sent = b""
        self._ended = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def strike(self, way: str, fault: str, after: int, pattern: str = "") -> None:
        """Do a fault (see FAULTS) to one packet, after letting `after` others on that way pass.

        Only packets count that match the pattern, or whose request matches it.
        """
        self.struck = None
        self._strike = (way, fault, after, pattern)

    def _fault(self, way: str, packet: bytes, request: bytes) -> str:
        """The fault for this packet, which is a request or the reply to it; empty for none."""
        strike = self._strike
        if strike is None or strike[0] != way or not re.match(strike[3].encode(), request):
            return ""
        if strike[2] > 0:
            self._strike = (way, strike[1], strike[2] - 1, strike[3])
            return ""
        self._strike = None
        self.struck = packet.decode("latin-1")
        if way == "reply":
            self.struck += " to " + request.decode("latin-1")
        if strike[1] == "delay":
            time.sleep(self.delay)
            return ""
        if strike[1] == "kill":
            self.kill()
        if strike[1] in ("kill", "close"):
            self._hang_up()
        return strike[1]

    def _serve(self) -> None:
        """Serve one client after the other, each with a connection of its own to the stub."""
        while not self._ended:
            with contextlib.suppress(OSError):
                self._client, _ = self._server.accept()
                self._stub = socket.socket(socket.AF_UNIX)
                self._stub.connect(self._target)
                self._pending.clear()
                answers = threading.Thread(
                    target=self._answer, args=(self._stub, self._client), daemon=True
                )
                answers.start()
                with contextlib.suppress(OSError):
                    self._ask(self._stub, self._client)
                self._hang_up()
                answers.join(5)

    def _hang_up(self) -> None:
        for sock in (self._stub, self._client):
            if sock is not None:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def _ask(self, stub: socket.socket, client: socket.socket) -> None:
        """Pass on to the stub what the client sends, until the client has gone."""
        parser = Parser()
        while data := client.recv(65536):
            for item in parser.feed(data):
                if not isinstance(item, Packet):
                    if getattr(item, "value", b"") == b"-":
                        client.sendall(self._sent)
                    else:
                        stub.sendall(item[0])
                    continue
                if self._answers(item.payload, client):
                    continue
                fault = self._fault("request", item.payload, item.payload)
                if fault == "refuse":
                    self._reply_for_stub(client, b"E22")
                elif fault == "corrupt":
                    stub.sendall(_corrupt(frame(item.payload)))
                elif fault not in ("drop", "close", "kill"):
                    if self.repeats and not self._pending:
                        client.sendall(self._sent)
                    self._pending.append(item.payload)
                    stub.sendall(frame(item.payload))

    def _answers(self, request: bytes, client: socket.socket) -> bool:
        """Whether the proxy deals with a request itself; if so, it does."""
        if self.hangs_up_at is not None and re.match(self.hangs_up_at.encode(), request):
            client.shutdown(socket.SHUT_RDWR)
            return True
        for pattern, reply in self.answers.items():
            if re.match(pattern.encode(), request):
                self._reply_for_stub(client, reply.encode())
                return True
        return False

    def _reply_for_stub(self, client: socket.socket, reply: bytes) -> None:
        """Send a reply in the stub's place, once the stub has answered all earlier requests."""
        with self._answered:
            self._answered.wait_for(lambda: not self._pending, 5)
        self._sent = frame(reply)
        client.sendall(b"+" + self._sent)

    def _answer(self, stub: socket.socket, client: socket.socket) -> None:
        """Pass on to the client what the stub sends."""
        parser = Parser()
        with contextlib.suppress(OSError):
            while data := stub.recv(65536):
                for item in parser.feed(data):
                    if isinstance(item, Packet):
                        for part in self._reply(item.payload):
                            client.sendall(part)
                        with self._answered:
                            console = item.payload[:1] == b"O" and item.payload != b"OK"
                            if self._pending and not console:
                                self._pending.popleft()
                            self._answered.notify_all()
                    else:
                        client.sendall(item[0])

    def _reply(self, said: bytes) -> list[bytes]:
        """The bytes to send to gdb for a reply of the stub."""
        for old, new in self.replaced.items():
            said = said.replace(old.encode(), new.encode())
        self._replies += 1
        self._sent = frame(said)
        fault = self._fault("reply", said, self._pending[0] if self._pending else b"")
        if fault in ("drop", "close", "kill"):
            return []
        if fault == "corrupt":
            return [_corrupt(self._sent)]
        if fault == "cut":
            return [self._sent[: len(self._sent) // 2], self._sent[-3:]]
        return self.mangle(self._replies, self._sent) * (1 + (fault == "duplicate"))

    def close(self) -> None:
        """End both connections, and stop listening."""
        self._ended = True
        self._hang_up()
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        for sock in (self._stub, self._client, self._server):
            if sock is not None:
                sock.close()


def _corrupt(framed: bytes) -> bytes:
    """A packet with one byte changed, so that its checksum is wrong."""
    middle = (len(framed) - 3) // 2
    return framed[:middle] + bytes([framed[middle] ^ 1]) + framed[middle + 1 :]
