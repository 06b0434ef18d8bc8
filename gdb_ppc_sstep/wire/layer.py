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
import struct
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol, TextIO

from ..engine import record, report
from ..engine.engine import NOT_HOME, RELEASE_TIME, Engine
from ..engine.ledger import Snapshot
from ..engine.temporary import Undo
from ..errors import BadPacket, SstepError, StubGone, StubRefused, StubSilent
from ..options import Options
from ..rsp import effects, private
from ..rsp.breakpoints import GdbBreakpoints
from ..rsp.effects import Changes, Request, Selects, Writes
from ..rsp.framing import ACK, INTERRUPT, NAK, Bad, Byte, Item, Notification, Packet, Parser, frame
from ..rsp.resume import Resume, StopReply, is_final, stopped
from ..stub.introduce import introduce
from ..stub.stub import Stub

REPLY_TIMEOUT = 5.0
"""Seconds that a stopped stub may take for a reply (gdb's remotetimeout is 2)."""

LATE_INTERRUPT = 0.5
"""Seconds for which an interrupt that came too late for one resume counts for the next.

While a command runs gdb stops and resumes many times, and its interrupt may come when the stub has
just stopped for something else, which is reported first; a stub alone then loses the Ctrl-C.  At a
prompt gdb sends no interrupt; so one that is followed by a resume at once is meant for that, and
one that is not has been answered by a prompt.
"""

MOMENT = 0.02
"""Seconds for which who will speak next is waited for alone: one system call in place of two."""

POLLED = 0.0002
"""Seconds for which that one is asked again and again before we sleep, if there is another CPU.

To be woken, and to find the caches cold, takes longer than a packet.  Others that wait for a CPU
get it first (sched_yield).
"""

EXPEDITED = ("pc", "r1", "lr")
"""Registers that are sent with a stop reply: gdb needs no others to go on stepping."""

NOT_KEPT = "the stub does not keep this register of this vCPU"

Log = Callable[[str], None]


class PacketLog(Protocol):
    """Takes a line about a packet, and the packet that ends it."""

    def __call__(self, line: str, payload: bytes, /) -> None: ...


class GdbGone(Exception):
    """gdb closed its end of the connection, or died."""


class Peer:
    """One end of a connection that speaks RSP: framing, checksums, acknowledgements.

    acks: whether packets are acknowledged (they are until QStartNoAckMode).  gone: what is raised
    when the connection is closed.  answers: whether the other end only speaks when it is asked.
    """

    def __init__(
        self,
        sock: socket.socket,
        name: str,
        gone: Exception,
        *,
        answers: bool = False,
    ) -> None:
        self.sock = sock
        self._gone = gone
        self._answers = answers
        self.acks = True
        self.items: deque[Item] = deque()
        self._name = name
        self.log: PacketLog | None = None
        self._parser = Parser()
        self._last: bytes | None = None
        self._sent = self._replied = self._acked = 0  # of the packets that were sent at once
        self._polls = False
        self._owed = 0  # packets that are to be acknowledged, with what is sent next
        self._came = 0.0  # when the last of these came (time.monotonic)

    @property
    def taken(self) -> bool:
        """Whether the other end has acknowledged what was sent last (always without acks)."""
        return not self.acks or self._acked >= self._sent

    def send(self, payload: bytes, start: bytes = b"$") -> None:
        """Send a packet, or with another start a notification."""
        if self.log:
            self.log(f"{self._name} <- ", payload)
        self._last = frame(payload, start)
        if start == b"$":
            self._sent, self._replied, self._acked = 1, 0, 0
        self.send_raw(self._last)

    def send_all(self, payloads: Sequence[bytes]) -> None:
        """Send packets in one go.  A NAK, and a reply with a bad checksum, is among the `items`
        then, unless it is about the last.
        """
        if not payloads:
            return
        if self.log:
            for payload in payloads:
                self.log(f"{self._name} <- ", payload)
        frames = [frame(payload) for payload in payloads]
        self._last = frames[-1]
        self._sent, self._replied, self._acked = len(frames), 0, 0
        self.send_raw(b"".join(frames))

    def send_raw(self, data: bytes) -> None:
        """Send bytes that are no packet of their own, or one that is framed already."""
        if self._owed:
            data, self._owed = self._owed * ACK + data, 0
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
        return self._owed > 0 and time.monotonic() > self._came + MOMENT

    def hurry(self) -> None:
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
        taken = 0
        for item in self._parser.feed(data):
            if self.log and not isinstance(item, Byte):
                bad = "bad checksum: " if isinstance(item, Bad) else ""
                self.log(f"{self._name} -> {bad}", item.payload)
            taken += self._take(item)
        if self.acks and taken:
            self._owed += taken
            self._came = time.monotonic()
        return True

    def _take(self, item: Item) -> bool:
        """Note an item; whether it is to be acknowledged."""
        among = self._replied < self._sent - 1
        if isinstance(item, Packet):
            if self._answers and self.acks and self._acked <= min(self._replied, self._sent - 1):
                # Sent before our request came: a reply that we have had, again (as gdb does).
                if self.log:
                    self.log(f"{self._name} -> ignored, no acknowledgement came before", b"")
                return True
            if not among:
                self._last = None  # a NAK from now on is not about what we sent before
            self._replied += 1
        elif isinstance(item, Bad):
            if not among:
                if self.acks:
                    self.send_raw(NAK)
                return False
            self._replied += 1
        elif isinstance(item, Notification):
            pass
        elif item.value == ACK:
            self._acked += 1
            return False
        elif item.value == NAK and among:
            self._replied += 1
            self._acked += 1  # as nothing else will come for it
        elif item.value == NAK and self._last is not None:
            self.send_raw(self._last)
            return False
        self.items.append(item)
        return isinstance(item, (Packet, Bad))


class Wire:
    """Both peers, and the `Link` that the engine sees."""

    def __init__(self, gdb: Peer, stub: Peer) -> None:
        self.gdb = gdb
        self.stub = stub
        self.gdb_gone = False
        self.bursts = False
        """Whether the stub takes packets before it has answered the one before, as QEMU does.

        Nor does QEMU wait for acknowledgements: they come with the next packet.
        """
        self.breakpoints = GdbBreakpoints()
        """gdb's, which are planted in the stub."""
        self.interrupt_at: float | None = None
        """When a resume is to be interrupted by us (time.monotonic), None for never."""
        self._interrupted = False
        self.hurries = False
        """Whether `wait` waits a `MOMENT` for who will speak next, before it looks for all."""

    def hurry(self) -> None:
        """Set `hurries`, if that can be had."""
        if sys.platform == "linux":
            with suppress(OSError):
                self.gdb.hurry()
                self.stub.hurry()
                self.hurries = True

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

        gdb: whether it is listened to as well.  first: who will speak next, so many packets.  idle:
        called when that has not spoken for a `MOMENT`.
        """
        if self.gdb.overdue:
            self.acknowledge_gdb()
        if self.hurries and first is not None:
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

    def _fill(self, peer: Peer, packets: int = 1) -> bool:
        try:
            return peer.fill(packets)
        except GdbGone:
            self.gdb_gone = True
            return True

    def acknowledge_gdb(self) -> None:
        """Acknowledge what gdb has sent, if it cannot be answered at once."""
        with suppress(GdbGone):  # seen when it is read from
            self.gdb.acknowledge()

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

    def begin(self, payloads: Sequence[bytes]) -> Callable[[], list[bytes]]:
        """See `stub.Link`."""
        if not self.bursts:
            replies = [self.call(payload) for payload in payloads]
            return lambda: replies
        self.stub.items.clear()
        self.stub.send_all(payloads)
        return lambda: self._replies(payloads)

    def _replies(self, payloads: Sequence[bytes]) -> list[bytes]:
        """To packets that were sent at once: each belongs to its request by its place."""
        outcomes = self._outcomes(len(payloads))
        return [
            outcome.payload if isinstance(outcome, Packet) else self._again(payload, outcome)
            for payload, outcome in zip(payloads, outcomes)
        ]

    def _again(self, payload: bytes, outcome: Item) -> bytes:
        """Of several requests, one was not understood, or its reply."""
        if isinstance(outcome, Bad) and payload[:1] in (b"Z", b"z"):
            # Stubs count these, and whether this one counts is not known: so none, then gdb's own.
            what, address = payload[1:], int(payload.split(b",")[1], 16)
            for _ in range(3):
                if self.call(b"z" + what) != b"OK":
                    break
            for gdbs in self.breakpoints.code_at(address):
                self.call(gdbs.insertion)
            if payload[:1] == b"z":
                return b"OK"
        return self.call(payload)

    def reply(self) -> bytes:
        """The next packet from the stopped stub.  StubGone if there is none."""
        while True:
            (item,) = self._outcomes(1)
            if isinstance(item, Packet):
                return item.payload

    def _outcomes(self, count: int) -> list[Item]:
        """The next so many packets from the stopped stub, or what came in place of one."""
        outcomes: list[Item] = []
        end = time.monotonic() + REPLY_TIMEOUT  # for each
        while True:
            before = len(outcomes)
            while self.stub.items:
                item = self.stub.items.popleft()
                if not isinstance(item, Notification):
                    outcomes.append(item)
                    if len(outcomes) == count:
                        return outcomes
            if len(outcomes) > before:
                end = time.monotonic() + REPLY_TIMEOUT
            left = max(0.0, end - time.monotonic())
            if not self.wait(left, gdb=False, first=self.stub, packets=count - len(outcomes)):
                raise StubSilent(f"the stub did not answer within {REPLY_TIMEOUT:g} seconds")

    def resume(self, payload: bytes) -> bytes:
        """See `stub.Link`.  When gdb goes away the guest is stopped."""
        self.ask(payload)
        asked: float | None = None  # when the stub was told to stop for somebody who will not wait
        sent = time.monotonic()
        hurries = 2  # an acknowledgement and, after a step, the stop
        while True:
            while self.gdb.items:
                item = self.gdb.items.popleft()
                if isinstance(item, Packet):  # an answer to the stub's File-I/O request
                    self.acknowledge_gdb()
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
            self.stub.acknowledge()
            pending = not (asked is None and self.interrupt_at is None and self.stub.taken)
            hurries -= 1
            self.wait(0.1 if pending else None, first=self.stub if hurries >= 0 else None)

    def interrupted(self) -> bool:
        """See `stub.Link`."""
        while not self.gdb_gone and select.select([self.gdb.sock], [], [], 0)[0]:
            self._fill(self.gdb)
        interrupt = Byte(INTERRUPT)
        if interrupt in self.gdb.items:
            self.gdb.items.remove(interrupt)
            return True
        return self.passed_on() or self.gdb_gone

    def passed_on(self) -> bool:
        """Whether an interrupt of gdb's was passed on to the stub since this was last asked."""
        passed, self._interrupted = self._interrupted, False
        return passed


class Layer:
    """Between one gdb and one stub."""

    def __init__(self, gdb: socket.socket, stub: socket.socket, log: Log) -> None:
        self.log = log
        self._log_file: TextIO | None = None
        self._wire = Wire(
            Peer(gdb, "gdb ", GdbGone()),
            Peer(
                stub,
                "stub",
                StubGone("the stub closed the connection"),
                answers=True,
            ),
        )
        self._waiting = False  # gdb waits for the reply to something that was forwarded
        self._asked = Request(b"")  # what that was
        self._unanswered: Request | None = None  # what gdb has sent and the layer works on
        self._options = Options()
        self._gdb_thread: bytes | None = None  # what gdb believes to have selected
        self._late_interrupt = -LATE_INTERRUPT  # when one came (time.monotonic)
        self._to_continue = False  # gdb went away while the guest ran
        self._told = False  # of what `Engine.recover` is to do again
        self._expedited: dict[str, bytes] = {}  # the packets that ask for these
        self._asks_all = True  # whether gdb has asked for all registers since the guest last ran
        self.active = True
        self._recorded = ""
        self.record_fd: int | None = None
        """Where to keep a line of what is in the middle, for who finds that we were killed."""
        self.stub = Stub(self._wire, {})
        self.engine = self._new_engine(Undo.AT_ONCE)

    @property
    def logging(self) -> bool:
        """Whether packets and decisions are logged."""
        return self._wire.stub.log is not None

    @logging.setter
    def logging(self, logs: bool) -> None:
        self._wire.stub.log = self._wire.gdb.log = self._logged if logs else None

    def _logged(self, line: str, payload: bytes = b"") -> None:
        if not self.logging:
            return
        line += payload.decode("latin-1")
        if self._log_file is None:
            self.log(line)
        else:
            print(line, file=self._log_file)

    def _decided(self, line: str, *values: object) -> None:
        if self.logging:
            self._logged(line.format(*values))

    def _new_engine(self, undo: Undo) -> Engine:
        return Engine(
            self.stub,
            self._decided,
            breakpoints=self._wire.breakpoints,
            journal=self._note,
            undo=undo,
        )

    def _note(self, snapshot: Snapshot) -> None:
        if self.record_fd is None:
            return
        text = record.written(snapshot)
        if text != self._recorded:
            os.pwrite(self.record_fd, text.encode() + b"\n", 0)
            self._recorded = text

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
        told = self._monitor("info kvm")
        kvm = b"enabled" in told
        self._wire.bursts = b"kvm support" in told
        self.stub = introduce(self._wire, kvm=kvm)
        self.engine = self._new_engine(Undo.AT_ONCE)
        self._expedited = {name: asks for name, asks in self.stub.asks.items() if name in EXPEDITED}

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
            with suppress(ValueError):
                text += bytes.fromhex(reply[1:].decode())
            reply = self._wire.reply()
        return text

    # -- the loop

    def run(self) -> None:
        """Until gdb or the stub goes away."""
        wire = self._wire
        wire.hurry()
        if wire.hurries and wire.bursts:
            self.engine = self._new_engine(Undo.DEFER)
            self.engine.apply(self._options)
        try:
            while not wire.gdb_gone:
                wire.wait(first=wire.stub if self._waiting else wire.gdb, idle=self._rest)
                while wire.stub.items:
                    self._walled(self._from_stub, wire.stub.items.popleft())
                while wire.gdb.items and not wire.gdb_gone:
                    self._walled(self._from_gdb, wire.gdb.items.popleft())
        except StubSilent as error:
            self.log(f"ppc-sstep: {error}; the connection is closed")
            with suppress(StubGone):  # one of them may have been lost, and others not
                wire.stub.send_all(self.stub.unanswered)
            return
        except StubGone as error:
            self._logged(str(error))
            return
        self._gdb_went()

    def _walled(self, work: Callable[[Item], None], item: Item) -> None:
        """Do something about an item.  An error of ours in that ends nothing else."""
        try:
            work(item)
        except StubGone:
            raise
        except Exception as error:
            self._failed(error)

    def _from_stub(self, item: Item) -> None:
        if isinstance(item, Packet):
            payload, asked = item.payload, self._asked
            if asked.payload == b"vCont?" and b";s" in payload and b";r" not in payload:
                payload += b";r"  # ranges are the engine's
            self._wire.to_gdb(payload)
            # qRcmd's output comes in O packets before its reply.
            if item.payload[:1] != b"O" or item.payload == b"OK":
                self._waiting = False
                self._unanswered = None
            if item.payload == b"OK" and asked.payload == b"QStartNoAckMode":
                self._wire.stub.acks = self._wire.gdb.acks = False
            if item.payload == b"OK" and isinstance(asked.meaning, Changes):
                if asked.meaning.inserts:
                    self._wire.breakpoints.insert(asked.meaning.breakpoint)
                else:
                    self._wire.breakpoints.remove(asked.meaning.breakpoint)
            if item.payload == b"OK" and isinstance(asked.meaning, Selects):
                self._selected(asked.meaning.thread)
            thread = StopReply.parse(item.payload).thread
            if thread is not None:
                self._selected(thread)
        elif isinstance(item, Notification):
            self._wire.to_gdb(item.payload, b"%")

    def _from_gdb(self, item: Item) -> None:
        if isinstance(item, Byte):
            # A NAK: gdb misses the reply to what was forwarded.
            if self._waiting:
                self._wire.stub.send_raw(item.value)
            elif item.value == INTERRUPT:
                self._late_interrupt = time.monotonic()
            return
        payload = item.payload
        if payload == b"g":
            self._asks_all = True
        if not self._waiting and self.stub.thread == self._gdb_thread:
            known = self.stub.known(payload)
            if known is not None:
                self._wire.to_gdb(known)
                return
        while self._waiting:  # gdb asks one thing after the other, but for retries
            if not self._wire.wait(REPLY_TIMEOUT, gdb=False):
                self._waiting = False
            while self._wire.stub.items:
                self._from_stub(self._wire.stub.items.popleft())
        try:
            request = effects.parse(payload)
        except BadPacket as error:
            self._logged(f"error: {error}")
            self._answer(Request(payload).error(str(error)))
            return
        self._unanswered = request
        try:
            self._do(request)
        except StubGone:
            raise
        except SstepError as error:
            # gdb prints the text, ends its command, and finds the thread where it was.
            self._logged(f"error: {error}")
            self.stub.forget()
            self._told = request.shows_error_text and self.engine.unsettled
            self._answer(request.error(str(error)))

    def _do(self, request: Request) -> None:
        """What a packet asks for.  SstepError: it cannot be done."""
        try:
            self.engine.recover()
            self._told = False
        except StubRefused:
            if request.shows_error_text and not self._told:
                raise
            self.stub.forget()
        meaning = request.meaning
        if isinstance(meaning, Resume):
            self._resume(meaning)
        elif private.is_private(request.payload):
            self.stub.send_queued()
            self.stub.forget()  # it may change what is planned
            self._answer(self._private(request))
        else:
            self._forward(request)

    def _failed(self, error: Exception) -> None:
        """An error of ours that nobody expected: tell of it, and leave the guest clean."""
        self.log("".join(traceback.format_exception(type(error), error, error.__traceback__)))
        try:
            self.engine.abandon()
        except StubGone:
            raise
        except Exception as another:
            self.log(f"ppc-sstep: the guest cannot be put right now: {another!r}")
        if self._unanswered is not None:
            what = f"internal error: {error!r}; the log has more, please report it"
            self._answer(self._unanswered.error(what))

    def _answer(self, payload: bytes) -> None:
        """Reply to the packet that the layer works on."""
        self._unanswered = None
        self._wire.to_gdb(payload)

    def _private(self, request: Request) -> bytes:
        """Do what one of our own packets asks for; the reply."""
        asked = request.meaning
        if isinstance(asked, private.AskStatus):
            return _json(report.status(self.engine, self.stub, active=self.active))
        if isinstance(asked, private.AskLeftovers):
            return _json(report.leftovers(self.engine, asked.record, clean=asked.clean))
        if isinstance(asked, private.SetActive):
            self.active = asked.active
        elif isinstance(asked, private.SetLogging):
            self.logging = asked.logs
        elif isinstance(asked, private.SetLogFile):
            self.log_to(asked.path)
        elif isinstance(asked, private.SetOption):
            self._options = self._options.with_text(asked.name, asked.value)
            self.engine.apply(self._options)
        return b"OK"

    def _rest(self) -> None:
        """gdb asks for nothing: the guest is left as it is to others."""
        try:
            self.engine.quiesce()
        except StubRefused as error:
            self._logged(f"error: {error}")  # gdb is told when it asks for something
        except StubGone:
            raise
        except Exception as error:
            self._failed(error)

    def _resume(self, request: Resume) -> None:
        late = time.monotonic() - self._late_interrupt < LATE_INTERRUPT
        self._late_interrupt = -LATE_INTERRUPT
        if late:
            if request.stepping is not None and request.stepping.thread is not None:
                self._gdb_thread = request.stepping.thread
            thread = self._gdb_thread
            self.stub.select(thread)
            self._answer(stopped(thread, signal=2).payload)
            return
        # It asks as after the stop before: for none, as a rule, but where a command ends.
        asks_all, self._asks_all = self._asks_all, False
        prefetch = (b"g",) if asks_all else tuple(self._expedited.values())
        if self.active or request.stepping is None:
            stop = self.engine.resume(request, prefetch).stop
        else:
            stop = self.stub.run(request.without_ranges())
        if self._wire.gdb_gone:
            self._to_continue = request.stepping is None and stop.signal == 2
            return
        if self._wire.passed_on() and stop.signal != 2:
            self._late_interrupt = time.monotonic()
        if stop.thread is not None:
            self._gdb_thread = stop.thread
            if self.active:
                self.engine.look_ahead(prefetch)
        self._answer(self._with_registers(stop))
        if self.active and stop.is_breakpoint:
            self.engine.prepare(request, arm=not asks_all)

    def _with_registers(self, stop: StopReply) -> bytes:
        """A stop reply with the registers that gdb looks at first, as gdbserver's has them."""
        payload = stop.payload
        if stop.thread is not None and payload.endswith(b";"):
            for name, asked in self._expedited.items():
                text = self.stub.known_register(name)
                if text is not None:
                    payload += b"%s:%s;" % (asked[1:], text)
        return payload

    def _selected(self, thread: bytes | None) -> None:
        self._gdb_thread = thread
        self.stub.changed(thread)

    def _keeps(self, request: Request) -> bool:
        """Whether a packet leaves registers and memory as they are."""
        if isinstance(request.meaning, Changes):
            return not self.stub.breakpoints_are_words
        return request.asks

    def _forward(self, request: Request) -> None:
        payload, meaning, keeps = request.payload, request.meaning, self._keeps(request)
        if not keeps:
            self.stub.send_queued()
            self.stub.forget()
        if request.of_thread:
            self.stub.select(self._gdb_thread)
            if payload[:1] != b"g":
                self.stub.synchronise()
            if payload[:1] in (b"G", b"P"):
                self.stub.changed(self._gdb_thread)
            if isinstance(meaning, Writes) and not self.stub.keeps(meaning.register):
                self._answer(request.error(NOT_KEPT))
                return
            if (
                self.stub.breakpoints_are_words
                and isinstance(meaning, Changes)
                and meaning.breakpoint.kind == 0
            ):
                self._asked = request
                self._from_stub(Packet(self.stub.breakpoint(payload)))
                return
        self._asked = request
        if keeps:
            self._from_stub(Packet(self.stub.query(payload)))
            return
        if payload[:1] == b"D":
            self._collect()
            self.engine.disown()  # from now on the guest is nobody's
        self._wire.ask(payload)
        self._waiting = payload[:1] not in (b"k", b"R")

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
            self._rest()
            for one in self._wire.breakpoints:
                self.stub.breakpoint(one.removal)
            self._wire.breakpoints.clear()
            self._collect()
            if self._to_continue:
                wire.stub.send(b"c")
        except SstepError as error:
            self._logged(str(error))


def _json(value: object) -> bytes:
    import json  # seldom

    return json.dumps(value).encode().hex().encode()


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
