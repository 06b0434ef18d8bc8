# SPDX-License-Identifier: MIT
"""The wall: whatever comes from gdb's side or the stub's, the layer goes on and the guest is clean.

Each example is one session of some packets.  The stub is the simulated one, made as patient as
QEMU's: what is malformed is refused.  It always answers, and a guest that runs is stopped by
somebody else soon, so that every packet has a reply and nothing waits for a time to pass.
"""

from __future__ import annotations

import os
import re
import select
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gdb_ppc_sstep.wire import ending

from .. import machine as m
from ..machine import NUMBERS, SE, TEXT, VIRTUAL, Machine
from ..malformed import ASKED, BREAKPOINTS, ENDS, PACKETS, READS, RESUMES, mutated, replies, vcpus
from .rig import INFO_KVM, TIMEOUT, Rig, StubServer, framed

pytestmark = pytest.mark.timeout(100_000)  # with --soak; each wait has a limit of its own

RESUMING = (b"vCont;", b"c", b"C", b"s", b"S")
RUNS = 200  # instructions after which somebody else stops the guest
TURNS = 40  # times that it is resumed until somebody does at once


class PatientMachine(Machine):
    """A machine whose stub refuses what is malformed, and whose vCPUs know every word.

    It says OK to each hardware breakpoint and watchpoint, however it is named, and has none.
    """

    def call(self, payload: bytes) -> bytes:
        """See `Machine`."""
        if re.match(b"[Zz][1-4]", payload):
            return b"OK"
        try:
            return super().call(payload)
        except (ValueError, AssertionError, IndexError):
            return b"E22"

    def running(self, payload: bytes, verbs: bytes = b"cCsSr") -> set[int]:
        """See `Machine`; empty if the packet is malformed."""
        try:
            running = super().running(payload, verbs)
        except (ValueError, AssertionError):
            return set()
        return running if running <= set(range(len(self.vcpus))) else set()

    def _completes(self, n: int, cpu: dict[str, int], word: int) -> bool:
        try:
            return super()._completes(n, cpu, word)
        except AssertionError:
            self.interrupt(n, 0x700, cpu["pc"], 0x80000)
            return False


def _prints(payload: bytes, reply: bytes) -> bool:
    """Whether what comes after a packet is not yet the reply to it."""
    if payload.startswith(RESUMING):
        return reply not in (b"", b"OK") and reply[:1] not in b"TSWXNE"
    return reply[:1] == b"O" and reply != b"OK"


class Trick(NamedTuple):
    """What the stub does at one packet, besides or in place of what it is asked for.

    before: a notification, or bytes that are nothing, that come before the reply.  reply: what is
    replied while nothing is done, None for what is asked for.  cut: the true reply to a question
    loses these at its end.
    """

    before: bytes = b""
    reply: bytes | None = None
    cut: int = 0


class PatientServer(StubServer):
    """Its stub, which answers each packet, and leaves after a kill.

    tricks: by the count of packets from when they are set.  lies: whether the replies may be such
    that nobody can tell them from true ones.
    """

    machine: PatientMachine

    def __init__(self, machine: Machine, sock: object, *, acks: bool) -> None:
        self.resumed = 0
        self.killed = False
        self.tricks: list[Trick] = []
        self.lies = False
        super().__init__(machine, sock, acks=acks)  # type: ignore[arg-type]
        self.quiet = {b"R"}  # RSP has no reply to it

    def _answer(self, payload: bytes) -> bool:
        goes_on = super()._answer(payload)
        self.left.clear()  # QEMU goes on to answer, and so does this one
        if payload == b"QStartNoAckMode":
            self.acks = False
        return goes_on

    def _reply(self, payload: bytes) -> bytes | None:
        trick = self.tricks.pop(0) if self.tricks else Trick()
        self._put(trick.before)
        if trick.reply is not None and self._is_played(payload, trick.reply):
            return self._tricked(payload, trick.reply)
        reply = self._honest(payload)
        # What is left of OK would be taken for output of the monitor, and more would be awaited.
        if trick.cut and reply and payload[:1] in b"gpq" and not payload.startswith(b"qRcmd"):
            return reply[: -trick.cut]
        return reply

    def _tricked(self, payload: bytes, reply: bytes) -> bytes:
        """Send a reply while nothing is done, and the true one as well where it will be awaited."""
        if payload.startswith(RESUMING) and _prints(payload, reply):
            self._send(reply)
            return b"T02thread:p01.%02x;" % (self.machine.selected + 1)
        if payload.startswith(b"qRcmd") and reply[:1] == b"O" and reply != b"OK":
            self._send(reply)
            return b"OK"
        if payload == b"qC" and reply[:1] in (b"T", b"S"):
            self._send(reply)
            return b"QCp01.01"
        return reply

    def _is_played(self, payload: bytes, reply: bytes) -> bool:
        """Whether a packet is answered so: by output only where it is awaited, and unless the stub
        lies, by what shows that it is not the true reply, or may be that of a stub that has done
        nothing.
        """
        if _prints(payload, reply) and not payload.startswith((*RESUMING, b"qRcmd")):
            return False
        if self.lies:
            return True
        if payload.startswith(RESUMING):
            return reply[:1] not in (b"W", b"X", b"N")
        if payload[:1] in (b"p", b"m"):
            return re.search(rb"[*}]|^\s*(?:[0-9a-fA-F]{2}\s*)+$", reply) is None
        if payload[:1] in (b"P", b"Z", b"z", b"H", b"D"):
            return reply != b"OK"
        return not payload.startswith((b"qfThreadInfo", b"qsThreadInfo"))

    def _honest(self, payload: bytes) -> bytes | None:
        if payload.startswith(b"qEcho:"):
            return payload
        if payload == INFO_KVM and self.machine.kvm:
            self._send(b"O" + b"kvm support: enabled\r\n".hex().encode())
            return b"OK"
        if payload.startswith(b"qRcmd,") and payload != INFO_KVM:
            self._send(b"O" + b"what?\r\n".hex().encode())
            return b"OK"
        if payload == b"QStartNoAckMode":
            return b"OK"
        if payload[:1] == b"k":
            self.killed = True
            return None
        if payload[:1] == b"D":
            self.machine.breakpoints.clear()
            return b"OK"
        if payload == b"?":
            return b"T05thread:p01.01;"
        if payload == b"vCont?":
            return b"vCont;c;C;s;S"
        try:
            return super()._reply(payload)
        except ValueError:
            return b"E22"

    def _run(self, payload: bytes) -> bytes | None:
        self.machine.packets.append(payload)
        self.machine.resumes.append(payload)
        running = self.machine.running(payload)
        if not running:
            return b"E22"
        self.resumed += 1
        stop = self.machine.run(running, RUNS) if self.resumed % TURNS else None
        if stop is None:
            self.machine.selected = min(running)
            stop = b"T02thread:p01.%02x;" % (min(running) + 1)
        return stop


class Closed(Exception):
    """The layer has closed gdb's connection."""


class Client:
    """gdb's end, for packets of which nobody knows what comes of them."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._buffer = b""
        self._echoes = 0
        self.acks = rig.gdb.acks

    def packet(self) -> bytes:
        """The next one from the layer."""
        while True:
            found = re.match(rb"[^$]*\$([^#]*)#(..)", self._buffer, re.DOTALL)
            if found is not None:
                self._buffer = self._buffer[found.end() :]
                assert int(found[2], 16) == sum(found[1]) % 256
                if self.acks:
                    self.send(b"+")
                return found[1]
            assert select.select([self._rig.gdb.sock], [], [], TIMEOUT)[0], "no reply"
            try:
                data = self._rig.gdb.sock.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                raise Closed
            self._buffer += data

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        try:
            self._rig.gdb.sock.sendall(data)
        except OSError as error:
            raise Closed from error

    def ask(self, payload: bytes) -> bytes:
        """The reply to a packet, behind what the guest or a monitor prints."""
        self.send(framed(payload))
        while _prints(payload, reply := self.packet()):
            pass
        assert not re.match(rb"E\.ppc-sstep: internal error", reply), f"{payload!r}: {reply!r}"
        return reply

    def settle(self, before: bytes = b"") -> None:
        """Send bytes; see that the layer answers after them, and that all before is answered.

        The bytes may end within a packet, even within its checksum.
        """
        self._echoes += 1
        echo = b"qEcho:%d" % self._echoes
        self.send(before + b"++" + framed(echo))
        while self.packet() != echo:
            pass


Chunk = tuple[bool, bytes]  # whether it is the payload of a packet, and the bytes


class Session:
    """One client at a layer at a patient stub."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        server = rig.server
        assert isinstance(server, PatientServer)
        self.server = server
        self.client = Client(rig)
        self.gdbs: Counter[int] = Counter()
        self.greeted = ""  # what the layer has said of the stub
        self.excuses: set[str] = set()  # what gdb's side has done to vCPUs itself

    def send(self, payload: bytes) -> None:
        """Send a packet, and wait for what comes of it."""
        if set(b"$#") & set(payload):
            self.client.settle(payload)
        elif payload[:1] in (b"k", b"R"):
            self.client.settle(framed(payload))
        else:
            self._note(payload, self.client.ask(payload))

    def _note(self, payload: bytes, reply: bytes) -> None:
        if reply != b"OK":
            return
        if payload == b"QStartNoAckMode":
            self.client.acks = False
        elif payload[:3] == b"Z0,":
            self.gdbs[int(payload.split(b",")[1], 16)] += 1
        elif payload[:1] == b"P":
            number, _, value = payload[1:].partition(b"=")
            raw = bytes.fromhex(value.decode())
            names = [name for name in ("pc", "msr", "srr1") if NUMBERS[name] == int(number, 16)]
            armed = (int.from_bytes(raw, "big") | int.from_bytes(raw, "little")) & SE
            self.excuses |= {name for name in names if name == "pc" or armed}
        elif payload.startswith(b"Qppc-sstep.ail="):
            self.excuses.add("ail")

    def alive(self, sent: bytes) -> None:
        """The layer has not ended by an error of its own, or does that now."""
        self.rig.thread.join(TIMEOUT)
        if self.rig.error is not None:
            raise AssertionError(f"the layer has ended after {sent!r}") from self.rig.error

    def check(self) -> None:
        """At a prompt: what is answered is right, and nothing of ours is in the guest."""
        self.client.ask(b"qppc-sstep.status")
        assert self.client.ask(b"p40") == self.rig.machine.call(b"p40")
        self._clean()

    def _clean(self) -> None:
        planted = Counter(self.rig.machine.planted)
        assert not planted - self.gdbs, f"{planted} are planted, of which gdb's: {self.gdbs}"
        if not self.excuses:
            assert vcpus(self.rig.machine) == []

    def end(self) -> None:
        """gdb goes away."""
        self.rig.gdb.close()
        self.rig.ended()
        assert self.server.error is None, repr(self.server.error)
        assert self.server.violations == [], "packets while the guest ran"
        if not self.server.killed:
            self._clean()


VARIANTS = ("acks", "no acks", "not QEMU", "KVM")


def machine(variant: str) -> PatientMachine:
    """Two vCPUs in a loop with a call, a load and a system call."""
    machine = PatientMachine(2)
    loop = (m.addi(5, 0, 0x5A), m.b(8), m.NOP, m.mfmsr(6), m.lbz(7, 3), m.SC, m.NOP)
    machine.put(TEXT, *loop, m.b(-4 * len(loop)))
    for vector in (0x700, 0xC00):
        machine.put(VIRTUAL | vector, m.NOP, m.RFID)
    machine.kvm = variant == "KVM"
    return machine


Begin = Callable[..., Session]


@pytest.fixture
def begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Begin]:
    """begin(variant): a session whose layer has greeted the stub, which has played its tricks."""
    monkeypatch.chdir(tmp_path)  # for logs that a packet names
    monkeypatch.setattr(ending, "RELEASE_TIME", 0.05)
    sessions: list[Session] = []

    def beginning(variant: str, tricks: Sequence[Trick] = ()) -> Session:
        while sessions:
            _close(sessions.pop())
        rig = Rig(
            machine(variant),
            tmp_path / "log",
            acks=variant != "no acks",
            qemu=variant != "not QEMU",
            server=PatientServer,
        )
        session = Session(rig)
        sessions.append(session)
        session.server.tricks, session.server.lies = list(tricks), True
        rig.thread.start()
        while not select.select([rig._ready], [], [], 0.02)[0] and rig.thread.is_alive():
            pass
        if select.select([rig._ready], [], [], 0)[0]:
            session.greeted = os.read(rig._ready, 65536).decode()
        session.server.tricks, session.server.lies = [], False
        assert tricks or session.greeted == "ok"
        return session

    yield beginning
    for session in sessions:
        _close(session)


def _close(session: Session) -> None:
    session.rig.gdb.close()
    with suppress(OSError):  # it is closed already
        session.server.hang_up()
    session.rig.close()


def _garbage(data: bytes) -> bool:
    """Whether there is no whole packet in it, which would be answered some time."""
    packets = re.findall(rb"\$([^$#]*)#([0-9a-fA-F]{2})", data)
    return not any(int(check, 16) == sum(payload) % 256 for payload, check in packets)


CHUNKS: st.SearchStrategy[tuple[bool, bytes]] = st.one_of(
    mutated().map(lambda payload: (True, payload)),
    mutated().map(lambda payload: (True, payload)),
    st.binary(max_size=20).map(lambda payload: (True, payload)),
    st.one_of(
        st.binary(max_size=20),
        mutated([framed(payload) for payload in PACKETS]),
        mutated([framed(payload) for payload in PACKETS]).map(lambda data: data[:-1]),
    )
    .filter(_garbage)
    .map(lambda data: (False, data)),
)
SESSIONS = st.one_of(st.lists(CHUNKS, max_size=4), st.lists(CHUNKS, min_size=10, max_size=40))


def _play(
    session: Session, chunks: Sequence[Chunk], last: bytes = b"", *, then: bytes = b""
) -> None:
    """All of a session.  then: sent before it is checked, once the stub plays no tricks (it may
    have named a thread that is not there).  last: sent after that.
    """
    sent = b""
    try:
        for is_packet, sent in chunks:
            if is_packet:
                session.send(sent)
            else:
                session.client.settle(sent)
        session.server.tricks.clear()
        if then:
            session.send(then)
        session.check()
        if last:
            session.send(last)
    except Closed:
        session.alive(sent)
        assert session.server.killed, f"the layer has closed the connection after {sent!r}"
    session.end()


def times(number: int) -> settings:
    """So many times as many examples as of what is fast."""
    return settings(max_examples=number * settings().max_examples)


@times(10)
@given(variant=st.sampled_from(VARIANTS), chunks=SESSIONS, last=st.sampled_from([b"", *ENDS]))
@example("acks", [(True, b"Pzz=00")], b"")
@example("acks", [(True, b"vCont;r1:p1.1")], b"")
@example("acks", [(True, b"Qppc-sstep.ail=x")], b"")
@example("acks", [(True, b"Qppc-sstep.interrupts=foo")], b"")
@example("acks", [(True, b"qppc-sstep.clean:28")], b"")
@example("acks", [(True, b"qppc-sstep.\xff")], b"")
@example("acks", [(True, b"Qppc-sstep.log-file=00")], b"")
@example("acks", [(True, b"Qppc-sstep.log-file=zz")], b"")
@example("acks", [(True, b"Z2")], b"")
@example("acks", [(True, b"")], b"")
def test_nothing_from_gdb_ends_the_layer(
    begin: Begin, variant: str, chunks: list[Chunk], last: bytes
) -> None:
    _play(begin(variant), chunks, last)


REQUESTS = st.lists(
    st.one_of(*(st.sampled_from(some) for some in (RESUMES, READS, BREAKPOINTS, ASKED))),
    min_size=1,
    max_size=12,
)
TRICKS = st.lists(
    st.one_of(
        st.just(Trick()),
        st.just(Trick()),
        replies().map(lambda reply: Trick(reply=reply)),
        st.integers(1, 6).map(lambda cut: Trick(cut=cut)),
        replies().map(lambda reply: Trick(before=framed(reply, b"%"))),
        st.binary(max_size=8)
        .filter(lambda junk: not set(b"$%#+-\x03") & set(junk))
        .map(lambda junk: Trick(before=junk)),
    ),
    max_size=30,
)


@times(10)
@given(variant=st.sampled_from(VARIANTS), requests=REQUESTS, tricks=TRICKS)
@example("acks", [b"Hgp1.2", b"?", b"vCont;s:p1.1"], [])
@example("KVM", [b"Z0,c000000000010008,4"], [Trick(), Trick(reply=b""), Trick(reply=b"")])
def test_no_reply_of_the_stub_leaves_anything_in_the_guest(
    begin: Begin, variant: str, requests: list[bytes], tricks: list[Trick]
) -> None:
    """A stub that does not do what it is asked, and does not pretend that it did."""
    session = begin(variant)
    session.server.tricks = tricks.copy()
    _play(session, [(True, payload) for payload in requests], then=b"Hgp1.1")


@times(5)
@given(variant=st.sampled_from(VARIANTS), requests=REQUESTS, tricks=TRICKS)
def test_no_lie_of_the_stub_ends_the_layer(
    begin: Begin, variant: str, requests: list[bytes], tricks: list[Trick]
) -> None:
    session = begin(variant)
    session.server.tricks, session.server.lies = tricks.copy(), True
    try:
        for payload in requests:
            session.send(payload)
        session.server.tricks.clear()
        session.client.settle()
    except Closed:
        session.alive(payload)
        raise
    session.rig.gdb.close()
    session.rig.ended()


@times(5)
@given(variant=st.sampled_from(VARIANTS), tricks=TRICKS)
def test_a_stub_is_greeted_or_refused(begin: Begin, variant: str, tricks: list[Trick]) -> None:
    session = begin(variant, tricks or [Trick()])
    session.rig.gdb.close()
    session.alive(b"")
    session.rig.ended()
    assert session.greeted, "it says why it refuses a stub"
