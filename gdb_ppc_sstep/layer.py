# SPDX-License-Identifier: MIT
"""The step layer of the wire door: a process between gdb and the stub, RSP in and RSP out.

It forwards what it does not own, byte for byte, and gives what resumes the guest to the engine.
Started by `takeover`, with the two sockets as inherited file descriptors, or run by `standalone`.
It ends when either side goes away, and leaves the guest without anything of ours or of a gdb that
died.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

from . import private, record
from .engine import NOT_HOME, RELEASE_TIME, Engine
from .errors import SstepError, StubGone, StubRefused, StubSilent
from .rsp import (
    ACK,
    INTERRUPT,
    NAK,
    Bad,
    Byte,
    Item,
    Notification,
    Packet,
    Parser,
    Resume,
    StopReply,
    frame,
    is_final,
    parse_resume,
    stopped,
    thread_id,
)
from .stub import Stub, introduce

REPLY_TIMEOUT = 5.0
"""Seconds that a stopped stub may take for a reply (gdb's remotetimeout is 2)."""

LATE_INTERRUPT = 0.5
"""Seconds for which an interrupt that came too late for one resume counts for the next.

While a command runs gdb stops and resumes many times, and its interrupt may come when the stub has
just stopped for something else, which is reported first; a stub alone then loses the Ctrl-C.  At a
prompt gdb sends no interrupt; so one that is followed by a resume at once is meant for that, and
one that is not has been answered by a prompt.
"""

NOT_KEPT = b"E.ppc-sstep: the stub does not keep this register of this vCPU"

Log = Callable[[str], None]


class GdbGone(Exception):
    """gdb closed its end of the connection, or died."""


class Peer:
    """One end of a connection that speaks RSP: framing, checksums, acknowledgements.

    acks: whether packets are acknowledged (they are until QStartNoAckMode).  gone: what is raised
    when the connection is closed.  answers: whether the other end only speaks when it is asked.
    """

    def __init__(
        self, sock: socket.socket, name: str, gone: Exception, log: Log, *, answers: bool = False
    ) -> None:
        self.sock = sock
        self._gone = gone
        self._answers = answers
        self.acks = True
        self.taken = True
        """Whether the other end has acknowledged what was sent last (always without acks)."""
        self.items: deque[Packet | Notification | Byte] = deque()
        self._name = name
        self._log = log
        self._parser = Parser()
        self._last: bytes | None = None

    def send(self, payload: bytes, start: bytes = b"$") -> None:
        """Send a packet, or with another start a notification."""
        self._log(f"{self._name} <- {payload.decode('latin-1')}")
        self._last = frame(payload, start)
        if start == b"$":
            self.taken = not self.acks
        self.send_raw(self._last)

    def send_raw(self, data: bytes) -> None:
        """Send bytes that are no packet of their own, or one that is framed already."""
        try:
            self.sock.sendall(data)
        except OSError as error:
            raise self._gone from error

    def fill(self) -> None:
        """Read what is there (waiting for it if need be) into `items`."""
        try:
            data = self.sock.recv(65536)
        except OSError as error:
            raise self._gone from error
        if not data:
            raise self._gone
        for item in self._parser.feed(data):
            self._take(item)

    def _take(self, item: Item) -> None:
        if isinstance(item, Bad):
            self._log(f"{self._name} -> bad checksum: {item.payload.decode('latin-1')}")
            if self.acks:
                self.send_raw(NAK)
        elif isinstance(item, Byte):
            if item.value == NAK and self._last is not None:
                self.send_raw(self._last)
            elif item.value == ACK:
                self.taken = True
            else:
                self.items.append(item)
        else:
            self._log(f"{self._name} -> {item.payload.decode('latin-1')}")
            if isinstance(item, Packet):
                if self._answers and not self.taken:
                    # Sent before our request came: a reply that we have had, again (as gdb does).
                    self._log(f"{self._name} -> ignored, no acknowledgement came before")
                    self.send_raw(ACK)
                    return
                # A NAK from now on is not about what we sent before.
                self._last = None
                if self.acks:
                    # Who ends after a last reply takes no `+`; the end is seen at the next read.
                    with suppress(type(self._gone)):
                        self.send_raw(ACK)
            self.items.append(item)


class Wire:
    """Both peers, and the `Link` that the engine sees."""

    def __init__(self, gdb: Peer, stub: Peer) -> None:
        self.gdb = gdb
        self.stub = stub
        self.gdb_gone = False
        self.interrupt_at: float | None = None
        """When a resume is to be interrupted by us (time.monotonic), None for never."""
        self._interrupted = False

    def wait(self, timeout: float | None = None, *, gdb: bool = True) -> bool:
        """Read from whichever peer has something; whether one had within `timeout` seconds."""
        listening = gdb and not self.gdb_gone
        sockets = [self.stub.sock, self.gdb.sock] if listening else [self.stub.sock]
        ready, _, _ = select.select(sockets, [], [], timeout)
        if self.stub.sock in ready:
            self.stub.fill()
        if self.gdb.sock in ready:
            self._fill_from_gdb()
        return bool(ready)

    def _fill_from_gdb(self) -> None:
        try:
            self.gdb.fill()
        except GdbGone:
            self.gdb_gone = True

    def to_gdb(self, payload: bytes, start: bytes = b"$") -> None:
        """Send gdb a packet or notification, if it is there."""
        try:
            self.gdb.send(payload, start)
        except GdbGone:
            self.gdb_gone = True

    def call(self, payload: bytes) -> bytes:
        """See `stub.Link`."""
        self.ask(payload)
        return self.reply()

    def ask(self, payload: bytes) -> None:
        """Send the stub a packet, when it owes nothing: what is there is a reply sent twice."""
        self.stub.items.clear()
        self.stub.send(payload)

    def reply(self) -> bytes:
        """The next packet from the stopped stub.  StubGone if there is none."""
        end = time.monotonic() + REPLY_TIMEOUT
        while True:
            while self.stub.items:
                item = self.stub.items.popleft()
                if isinstance(item, Packet):
                    return item.payload
            if not self.wait(max(0.0, end - time.monotonic()), gdb=False):
                raise StubSilent(f"the stub did not answer within {REPLY_TIMEOUT:g} seconds")

    def resume(self, payload: bytes) -> bytes:
        """See `stub.Link`.  When gdb goes away the guest is stopped."""
        self.ask(payload)
        asked: float | None = None  # when the stub was told to stop for somebody who will not wait
        sent = time.monotonic()
        while True:
            while self.gdb.items:
                item = self.gdb.items.popleft()
                if isinstance(item, Packet):  # an answer to the stub's File-I/O request
                    self.stub.send(item.payload)
                elif item == Byte(INTERRUPT):
                    self._interrupted = True
                    self.stub.send_raw(INTERRUPT)
            while self.stub.items:
                item = self.stub.items.popleft()
                if isinstance(item, Packet):
                    if is_final(item.payload):
                        return item.payload
                    self.to_gdb(item.payload)  # the guest's output
            now = time.monotonic()
            nobody_waits = self.gdb_gone and self.interrupt_at is None
            due = self.interrupt_at is not None and now >= self.interrupt_at
            if asked is None and (nobody_waits or due):
                self.stub.send_raw(INTERRUPT)
                asked = now
            if asked is not None and now > asked + REPLY_TIMEOUT:
                raise StubSilent("the guest did not stop")
            if not self.stub.taken and now > sent + REPLY_TIMEOUT:
                raise StubSilent(f"the stub did not answer within {REPLY_TIMEOUT:g} seconds")
            pending = not (asked is None and self.interrupt_at is None and self.stub.taken)
            self.wait(0.1 if pending else None)

    def interrupted(self) -> bool:
        """See `stub.Link`."""
        while not self.gdb_gone and select.select([self.gdb.sock], [], [], 0)[0]:
            self._fill_from_gdb()
        interrupted, self._interrupted = self._interrupted, False
        interrupt = Byte(INTERRUPT)
        if interrupt in self.gdb.items:
            self.gdb.items.remove(interrupt)
            return True
        return interrupted


class Layer:
    """Between one gdb and one stub."""

    def __init__(self, gdb: socket.socket, stub: socket.socket, log: Log) -> None:
        self.log = log
        self.logging = False
        self._log_file: TextIO | None = None
        self._wire = Wire(
            Peer(gdb, "gdb ", GdbGone(), self._logged),
            Peer(
                stub,
                "stub",
                StubGone("the stub closed the connection"),
                self._logged,
                answers=True,
            ),
        )
        self._waiting = False  # gdb waits for the reply to something that was forwarded
        self._asked = b""  # what that was
        self._gdb_thread: bytes | None = None  # what gdb believes to have selected
        self._breakpoints: dict[bytes, int] = {}  # see Engine.breakpoints
        self._late_interrupt = -LATE_INTERRUPT  # when one came (time.monotonic)
        self._to_continue = False  # gdb went away while the guest ran
        self.active = True
        self.record_fd: int | None = None
        """Where to keep a line of what is in the middle, for who finds that we were killed."""
        self.stub = Stub(self._wire, {})
        self.engine = Engine(self.stub, self._logged)

    def _logged(self, line: str) -> None:
        if not self.logging:
            return
        if self._log_file is None:
            self.log(line)
        else:
            print(line, file=self._log_file)

    def _note(self) -> None:
        assert self.record_fd is not None
        os.pwrite(self.record_fd, record.written(self.engine).encode() + b"\n", 0)

    def log_to(self, path: str) -> None:
        """Append the debug log to a file, empty for the log that gdb reads; errors are logged."""
        if self._log_file is not None:
            self._log_file.close()
            self._log_file = None
        if path:
            try:
                self._log_file = open(path, "a", buffering=1, encoding="utf-8")  # noqa: SIM115
            except OSError as error:
                self.log(f"ppc-sstep: no log is written: {error}")

    def greet(self) -> None:
        """Learn about the stub before gdb's connection is touched.  SstepError if it won't do."""
        self._learn_acks()
        kvm = b"enabled" in self._monitor("info kvm")
        self.stub = introduce(self._wire, kvm=kvm)
        self.engine = Engine(self.stub, self._logged)
        if self.record_fd is not None:
            self.engine.note = self._note
        self.engine.breakpoints = self._breakpoints

    def _learn_acks(self) -> None:
        """gdb may have agreed with the stub on QStartNoAckMode: then no `+` comes first.

        A stop reply may come before: QEMU sends one to a new client when the guest was running.
        """
        stub = self._wire.stub
        stub.acks = self._wire.gdb.acks = False
        stub.send(b"qC")
        end = time.monotonic() + REPLY_TIMEOUT
        parser = Parser()
        while True:
            if not select.select([stub.sock], [], [], max(0.0, end - time.monotonic()))[0]:
                raise StubSilent(f"the stub did not answer within {REPLY_TIMEOUT:g} seconds")
            data = stub.sock.recv(4096)
            if not data:
                raise StubGone("the stub closed the connection")
            for item in parser.feed(data):
                if item == Byte(ACK):
                    stub.acks = self._wire.gdb.acks = True
                elif isinstance(item, Packet) and StopReply.parse(item.payload).signal is None:
                    if stub.acks:
                        stub.send_raw(ACK)
                    return

    def _monitor(self, command: str) -> bytes:
        """What QEMU's monitor prints; empty for a stub that has none."""
        text, reply = b"", self._wire.call(b"qRcmd," + command.encode().hex().encode())
        while reply[:1] == b"O" and reply != b"OK":
            text += bytes.fromhex(reply[1:].decode())
            reply = self._wire.reply()
        return text

    # -- the loop

    def run(self) -> None:
        """Until gdb or the stub goes away."""
        wire = self._wire
        try:
            while not wire.gdb_gone:
                wire.wait()
                while wire.stub.items:
                    self._from_stub(wire.stub.items.popleft())
                while wire.gdb.items and not wire.gdb_gone:
                    self._from_gdb(wire.gdb.items.popleft())
        except StubSilent as error:
            self.log(f"ppc-sstep: {error}; the connection is closed")
            return
        except StubGone as error:
            self._logged(str(error))
            return
        self._gdb_went()

    def _from_stub(self, item: Packet | Notification | Byte) -> None:
        if isinstance(item, Packet):
            self._wire.to_gdb(item.payload)
            # qRcmd's output comes in O packets before its reply.
            if item.payload[:1] != b"O" or item.payload == b"OK":
                self._waiting = False
            if item.payload == b"OK" and self._asked == b"QStartNoAckMode":
                self._wire.stub.acks = self._wire.gdb.acks = False
            if item.payload == b"OK" and self._asked[:1] == b"Z":
                self._breakpoints[self._asked[1:]] = int(self._asked.split(b",")[1], 16)
            if item.payload == b"OK" and self._asked[:1] == b"z":
                self._breakpoints.pop(self._asked[1:], None)
            thread = StopReply.parse(item.payload).thread
            if thread is not None:
                self._selected(thread)
        elif isinstance(item, Notification):
            self._wire.to_gdb(item.payload, b"%")

    def _from_gdb(self, item: Packet | Notification | Byte) -> None:
        if isinstance(item, Byte):
            # A NAK: gdb misses the reply to what was forwarded.
            if self._waiting:
                self._wire.stub.send_raw(item.value)
            elif item.value == INTERRUPT:
                self._late_interrupt = time.monotonic()
            return
        payload = item.payload
        while self._waiting:  # gdb asks one thing after the other, but for retries
            if not self._wire.wait(REPLY_TIMEOUT, gdb=False):
                self._waiting = False
            while self._wire.stub.items:
                self._from_stub(self._wire.stub.items.popleft())
        resume = parse_resume(payload)
        with suppress(StubRefused):  # gdb has been told at the stop itself
            self.engine.recover()
        try:
            if resume is not None:
                self._resume(resume)
            elif private.is_private(payload):
                self._wire.to_gdb(private.answer(self, payload))
            else:
                self._forward(payload)
        except StubGone:
            raise
        except SstepError as error:
            # gdb prints the text, ends its command, and finds the thread where it was.
            self._logged(f"error: {error}")
            self._wire.to_gdb(b"E.ppc-sstep: " + str(error).encode())

    def _resume(self, request: Resume) -> None:
        late = time.monotonic() - self._late_interrupt < LATE_INTERRUPT
        self._late_interrupt = -LATE_INTERRUPT
        if late:
            if request.stepping is not None and request.stepping.thread is not None:
                self._gdb_thread = request.stepping.thread
            thread = self._gdb_thread
            self.stub.select(thread)
            self._wire.to_gdb(stopped(thread, signal=2).payload)
            return
        if self.active or request.stepping is None:
            stop = self.engine.resume(request)
        else:
            stop = self.stub.run(request)
        if self._wire.gdb_gone:
            self._to_continue = request.stepping is None and stop.signal == 2
            return
        if self._wire.interrupted() and stop.signal != 2:
            self._late_interrupt = time.monotonic()
        if stop.thread is not None:
            self._gdb_thread = stop.thread
        self._wire.to_gdb(stop.payload)

    def _selected(self, thread: bytes | None) -> None:
        self._gdb_thread = thread
        self.stub.changed(thread)

    def _forward(self, payload: bytes) -> None:
        kind = payload[:1]
        if payload[:2] == b"Hg":
            self._selected(thread_id(payload[2:]))
        elif kind in (b"g", b"G", b"p", b"P", b"m", b"M", b"x", b"X", b"z", b"Z"):
            self.stub.select(self._gdb_thread)
            if kind != b"g":
                self.stub.synchronise()
            if kind in (b"G", b"P"):
                self.stub.changed(self._gdb_thread)
            if kind == b"P" and not self.stub.keeps(int(payload[1:].partition(b"=")[0], 16)):
                self._wire.to_gdb(NOT_KEPT)
                return
            if self.stub.kvm and payload[:2] in (b"Z0", b"z0"):
                self._asked = payload
                self._from_stub(Packet(self.stub.breakpoint(payload)))
                return
        elif kind == b"D":
            self._collect()
            self.engine.outstanding.clear()  # from now on the guest is nobody's
        self._wire.ask(payload)
        self._waiting = kind not in (b"k", b"R")
        self._asked = payload

    # -- the end

    def _collect(self) -> None:
        """Before the guest is left alone: bring interrupted steps home, or say that it failed."""
        end = time.monotonic() + RELEASE_TIME
        self._wire.interrupt_at = end
        try:
            home = self.engine.release(lambda: time.monotonic() < end)
        except SstepError as error:
            self._logged(str(error))
            home = False
        finally:
            self._wire.interrupt_at = None
        if not home:
            self.log(NOT_HOME)

    def _gdb_went(self) -> None:
        """gdb closed its end or died: the guest is left with no breakpoint and no armed step.

        As with a stub alone, a guest that was stopped stays stopped and one that ran runs on.
        """
        self._logged("gdb is gone")
        wire = self._wire
        try:
            if self._waiting:
                wire.reply()  # that gdb did not wait for
            for what in self._breakpoints:
                self.stub.breakpoint(b"z" + what)
            self._breakpoints.clear()
            self._collect()
            if self._to_continue:
                wire.stub.send(b"c")
        except SstepError as error:
            self._logged(str(error))


def main(
    gdb_fd: int, stub_fd: int, ready_fd: int, log_fd: int, record_fd: int | None = None
) -> None:
    """Run a layer on inherited file descriptors, until it ends.

    On ready_fd it says one line, `ok` or why not, and closes it.  log_fd takes the debug log; it is
    stderr as well, for the traceback of what should not have happened.  record_fd: see
    `Layer.record_fd`.
    """

    def log(line: str) -> None:
        os.write(log_fd, f"{line}\n".encode())

    def ready(line: str) -> None:
        os.write(ready_fd, line.encode())
        os.close(ready_fd)

    with socket.socket(fileno=gdb_fd) as gdb, socket.socket(fileno=stub_fd) as stub:
        layer = Layer(gdb, stub, log)
        layer.record_fd = record_fd
        try:
            layer.greet()
        except (SstepError, OSError) as error:
            ready(str(error))
            return
        ready("ok")
        layer.run()
