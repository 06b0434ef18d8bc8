# SPDX-License-Identifier: MIT
"""A stub with faults that QEMU cannot be made to show: QEMU behind a proxy that alters replies."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from gdb_ppc_sstep.rsp import Packet, Parser, frame


class Faulty:
    """Listens on `target`; what it does may be changed at any time.

    answers: requests that match a pattern get a reply and never reach the stub.  hangs_up_at: the
    pattern of a request at which gdb's end is closed.  replaced: text in the stub's replies, and
    what it becomes.  mangle: what is done to the bytes that go to gdb, given the number of the
    reply.
    """

    def __init__(self, stub: str, directory: Path) -> None:
        self.target = str(directory / "faulty")
        self.answers: dict[str, str] = {}
        self.replaced: dict[str, str] = {}
        self.hangs_up_at: str | None = None
        self.mangle: Callable[[int, bytes], list[bytes]] = lambda _number, data: [data]
        self._stub = socket.socket(socket.AF_UNIX)
        self._stub.connect(stub)
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(self.target)
        self._server.listen()
        self._client: socket.socket | None = None
        self._replies = 0
        self._sent = b""
        self._threads = [threading.Thread(target=self._serve, daemon=True)]
        self._threads[0].start()

    def _serve(self) -> None:
        try:
            self._client, _ = self._server.accept()
            answers = threading.Thread(target=self._answer, daemon=True)
            self._threads.append(answers)
            answers.start()
            parser = Parser()
            while data := self._client.recv(65536):
                for item in parser.feed(data):
                    if isinstance(item, Packet) and self._answers(item.payload):
                        continue
                    if getattr(item, "value", b"") == b"-":
                        self._client.sendall(self._sent)
                        continue
                    raw = frame(item.payload) if isinstance(item, Packet) else item[0]
                    self._stub.sendall(raw)
        except OSError:
            pass

    def _answers(self, request: bytes) -> bool:
        assert self._client is not None
        if self.hangs_up_at is not None and re.match(self.hangs_up_at.encode(), request):
            self._client.shutdown(socket.SHUT_RDWR)
            return True
        for pattern, reply in self.answers.items():
            if re.match(pattern.encode(), request):
                self._client.sendall(b"+" + frame(reply.encode()))
                return True
        return False

    def _answer(self) -> None:
        assert self._client is not None
        parser = Parser()
        try:
            while data := self._stub.recv(65536):
                for item in parser.feed(data):
                    if not isinstance(item, Packet):
                        self._client.sendall(item[0])
                        continue
                    said = item.payload
                    for old, new in self.replaced.items():
                        said = said.replace(old.encode(), new.encode())
                    self._replies += 1
                    self._sent = frame(said)
                    for part in self.mangle(self._replies, self._sent):
                        self._client.sendall(part)
        except OSError:
            pass

    def close(self) -> None:
        """End both connections."""
        for sock in (self._stub, self._server, self._client):
            if sock is not None:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
                sock.close()
        for thread in self._threads:
            thread.join(5)

    def __enter__(self) -> Faulty:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
