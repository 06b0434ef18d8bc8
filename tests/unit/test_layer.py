# SPDX-License-Identifier: MIT
"""The step layer between a gdb that a test plays and a simulated stub, over real sockets.

Nothing sleeps: every wait is for something that is bound to come, and ends after TIMEOUT.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gdb_ppc_sstep.errors import StubGone, StubSilent
from gdb_ppc_sstep.rsp.framing import Byte, Packet
from gdb_ppc_sstep.wire import layer as layer_module
from gdb_ppc_sstep.wire.layer import GdbGone, Peer, Wire, main

from . import machine as m
from .machine import KERNEL, SE, TEXT, TRACE, VIRTUAL, Machine

TIMEOUT = 5.0
CHUNK, CHUNKS = 100, 40  # instructions after which the stub looks for 0x03; when it waits for it
STEP = b"vCont;s:p1.1;c:p1.-1"
INFO_KVM = b"qRcmd," + b"info kvm".hex().encode()
CONTINUE = b"vCont;c:p1.-1"
HANDLER = VIRTUAL | 0x500  # of the external interrupt
PC, MSR = b"p40", b"p41"
NOPS = [m.NOP] * 64


def framed(payload: bytes, start: bytes = b"$") -> bytes:
    return start + payload + b"#%02x" % (sum(payload) % 256)


def ended(received: bytes) -> bool:
    """Whether a whole packet or more, and nothing else, has been received."""
    return len(received) > 3 and received[-3:-2] == b"#"


class StubServer:
    """The simulated machine's stub on a socket, in a thread.

    Set by a test before the packet in question:
      extra: replies to packets that the machine does not know.
      quiet: beginnings of packets that are never answered.
      lost: beginnings of packets one of which does not arrive.
      slow: beginnings of packets that are answered with the next one, or a moment later.
      garbled: beginnings of packets whose reply comes with a bad checksum first.
      missed: beginnings of packets that are NAKed first.
      before_stop: what is sent before the next stop reply.
      leaving_after: the beginning of the packet after whose reply the connection is closed.
    """

    def __init__(self, machine: Machine, sock: socket.socket, *, acks: bool) -> None:
        self.machine = machine
        self.acks = acks
        self.packets: list[bytes] = []
        self.naks = 0
        self.interrupts = 0
        self.violations: list[bytes] = []
        self.qemu = True
        self.bursts = 0
        self.extra: dict[bytes, bytes] = {}
        self.quiet: set[bytes] = set()
        self.lost: set[bytes] = set()
        self.slow: set[bytes] = set()
        self.garbled: set[bytes] = set()
        self.missed: set[bytes] = set()
        self.before_stop = b""
        self.leaving_after: bytes | None = None
        self.running = threading.Event()
        self.left = threading.Event()  # detached: the guest runs on, nobody may send any more
        self.error: BaseException | None = None
        self._sock = sock
        self._buffer = b""
        self._deferred: list[bytes] = []
        self._last = b""
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def hang_up(self) -> None:
        """Close the connection."""
        self._sock.shutdown(socket.SHUT_RDWR)

    def report(self, payload: bytes) -> None:
        """Send a packet that nobody has asked for."""
        self._sock.sendall(framed(payload))

    def notify(self, payload: bytes) -> None:
        """Send a notification."""
        self._sock.sendall(framed(payload, b"%"))

    @property
    def sent(self) -> list[bytes]:
        """What came but for the questions of `greet`."""
        asked = (b"qXfer:features", INFO_KVM)
        return [packet for packet in self.packets if not packet.startswith(asked)]

    def _serve(self) -> None:
        try:
            with self._sock:
                while self._more():
                    pass
        except OSError:
            pass
        except BaseException as error:
            self.error = error

    def _read(self) -> bool:
        if self._deferred and not select.select([self._sock], [], [], 0.1)[0]:
            self._flush()
        data = self._sock.recv(65536)
        self._buffer += data
        return bool(data)

    def _more(self) -> bool:
        """Take one thing from the socket; False at its end."""
        if not self._buffer and not self._read():
            return False
        first = self._buffer[:1]
        if self.left.is_set() and first != b"+":
            self.violations.append(self._buffer)
            self._buffer = b""
            return True
        if first != b"$":
            self._buffer = self._buffer[1:]
            self.naks += first == b"-"
            if first == b"-":
                self._put(self._last)
            return True
        while (end := self._buffer.find(b"#")) < 0 or len(self._buffer) < end + 3:
            if not self._read():
                return False
        payload, check = self._buffer[1:end], self._buffer[end + 1 : end + 3]
        self._buffer = self._buffer[end + 3 :]
        missed = next((start for start in self.missed if payload.startswith(start)), None)
        if missed is not None or int(check, 16) != sum(payload) % 256:
            self.missed.discard(missed or b"")
            self._put(b"-")
            return True
        lost = next((start for start in self.lost if payload.startswith(start)), None)
        if lost is not None:
            self.lost.discard(lost)
            return True
        self.packets.append(payload)
        self.bursts += b"$" in self._buffer
        if self.acks:
            self._put(b"+")
        return self._answer(payload)

    def _answer(self, payload: bytes) -> bool:
        leaving = self.leaving_after is not None and payload.startswith(self.leaving_after)
        if leaving:
            self._sock.shutdown(socket.SHUT_RD)  # so that what is sent from now on fails
        if payload.startswith(tuple(self.quiet)):
            return not leaving
        reply = self._reply(payload)
        if reply is None:
            return False
        if payload.startswith(tuple(self.slow)):
            self._deferred.append(reply)
            return True
        self._flush()
        if reply or payload[:1] != b"k":
            garbled = next((start for start in self.garbled if payload.startswith(start)), None)
            self._send(reply, garbled=garbled is not None)
            self.garbled.discard(garbled or b"")
        if payload[:1] == b"D":
            self.left.set()
        return not leaving

    def _flush(self) -> None:
        for reply in self._deferred:
            self._send(reply)
        self._deferred.clear()

    def _send(self, reply: bytes, *, garbled: bool = False) -> None:
        self._last = framed(reply)
        self._put(self._last[:-2] + b"zz" if garbled else self._last)

    def _put(self, data: bytes) -> None:
        # When the layer is gone, what it sent before is still to be read.
        with contextlib.suppress(BrokenPipeError):
            self._sock.sendall(data)

    def _reply(self, payload: bytes) -> bytes | None:
        features = b"qXfer:features:read:"
        if payload == INFO_KVM and self.qemu:
            self._send(b"O" + b"kvm support: disabled\r\n".hex().encode())
            return b"OK"
        for start, reply in self.extra.items():
            if payload.startswith(start):
                return reply
        if payload.startswith(features):
            offset, size = (int(part, 16) for part in payload.split(b":")[-1].split(b","))
            text = self.machine.description().encode()
            return (b"m" if offset + size < len(text) else b"l") + text[offset : offset + size]
        if payload[:1] == b"D":
            return b"OK"
        if payload.startswith((b"vCont;", b"c", b"C", b"s", b"S")):
            return self._run(payload)
        return self.machine.call(payload)

    def _run(self, payload: bytes) -> bytes | None:
        """Run until there is a stop or 0x03 comes, which is waited for if nothing else happens."""
        self.machine.packets.append(payload)
        self.machine.resumes.append(payload)
        running = self.machine.running(payload)
        stop: bytes | None = None
        for _ in range(CHUNKS):
            stop = self.machine.run(running, CHUNK)
            if stop is not None or self._buffer or select.select([self._sock], [], [], 0)[0]:
                break
        else:
            self.running.set()
        while stop is None:
            if not self._buffer and not self._read():
                return None
            if self._buffer[:1] == b"\x03":
                self.interrupts += 1
                self.machine.selected = min(running)
                stop = b"T02thread:p01.%02x;" % (min(running) + 1)
            elif self._buffer[:1] != b"+":
                self.violations.append(self._buffer)
            self._buffer = self._buffer[1:]
        self.running.clear()
        self._put(self.before_stop)
        self.before_stop = b""
        return stop


class Gdb:
    """gdb's end of the connection."""

    def __init__(self, sock: socket.socket, *, acks: bool) -> None:
        self.sock = sock
        self.acks = acks
        self.sock.settimeout(TIMEOUT)
        self._buffer = b""

    def raw(self, size: int) -> bytes:
        """So many bytes as they came."""
        while len(self._buffer) < size:
            data = self.sock.recv(65536)
            assert data, f"the layer closed the connection after {self._buffer!r}"
            self._buffer += data
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def send(self, payload: bytes) -> None:
        """Send a packet, and see it acknowledged."""
        self.sock.sendall(framed(payload))
        if self.acks:
            assert self.raw(1) == b"+"

    def receive(self) -> bytes:
        """The next packet, acknowledged."""
        assert self.raw(1) == b"$"
        payload = b""
        while (byte := self.raw(1)) != b"#":
            payload += byte
        assert int(self.raw(2), 16) == sum(payload) % 256
        if self.acks:
            self.sock.sendall(b"+")
        return payload

    def ask(self, payload: bytes) -> bytes:
        """The reply to a packet."""
        self.send(payload)
        return self.receive()

    def stop(self, payload: bytes | None = None) -> bytes:
        """The stop that comes, or that a packet ends with, without the registers in it."""
        reply = self.receive() if payload is None else self.ask(payload)
        found = re.fullmatch(rb"(.*?;)((?:[0-9a-f]+:[0-9a-f]{16};)*)", reply)
        assert found is not None, reply
        for text in found[2].split(b";")[:-1]:
            register, _, value = text.partition(b":")
            assert value == self.ask(b"p" + register)
        return found[1]

    def rest(self) -> bytes:
        """What comes until the connection is closed."""
        data, self._buffer = self._buffer, b""
        while more := self.sock.recv(65536):
            data += more
        return data

    def close(self) -> None:
        """As the kernel does when gdb ends or dies."""
        self.sock.close()


class Rig:
    """gdb, the layer (`main` in a thread) and the stub."""

    def __init__(
        self, machine: Machine, log: Path, *, acks: bool = True, qemu: bool = True
    ) -> None:
        gdb, layer_gdb = socket.socketpair()
        layer_stub, stub = socket.socketpair()
        ready, says_ready = os.pipe()
        self._log = log
        log_fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.machine = machine
        self.server = StubServer(machine, stub, acks=acks)
        self.server.qemu = qemu
        self.gdb = Gdb(gdb, acks=acks)
        self.error: BaseException | None = None
        self._ready = ready
        self._log_fd = log_fd
        fds = (layer_gdb.detach(), layer_stub.detach(), says_ready, log_fd)
        self.thread = threading.Thread(target=self._main, args=fds, daemon=True)

    def _main(self, *fds: int) -> None:
        try:
            main(*fds)
        except BaseException as error:
            self.error = error

    def start(self) -> str:
        """What the layer says when it has looked at the stub."""
        self.thread.start()
        assert select.select([self._ready], [], [], TIMEOUT)[0], "the layer says nothing"
        return os.read(self._ready, 65536).decode()

    def step_until_it_hangs(self, payload: bytes = STEP) -> None:
        """Send a resume packet, and wait until the guest gets nowhere."""
        self.gdb.send(payload)
        assert self.server.running.wait(TIMEOUT)

    def settle(self) -> None:
        """See to it that the layer has done what it may leave for later."""
        assert self.gdb.ask(b"qppc-sstep.status")

    def ended(self) -> None:
        """The layer returned, without an error."""
        self.thread.join(TIMEOUT)
        if self.thread.is_alive():
            self.server.hang_up()
            pytest.fail("the layer hangs")
        assert self.error is None, repr(self.error)
        self.server.thread.join(TIMEOUT)
        assert not self.server.thread.is_alive()

    @property
    def log(self) -> str:
        """What the layer has logged."""
        return self._log.read_text()

    def close(self) -> None:
        """End all of it."""
        self.gdb.close()
        self.thread.join(TIMEOUT)
        self.server.thread.join(TIMEOUT)
        os.close(self._ready)
        os.close(self._log_fd)
        assert not self.thread.is_alive(), "the layer hangs"
        assert self.server.error is None, repr(self.server.error)
        assert self.server.violations == [], "packets while the guest ran"


Start = Callable[..., Rig]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts a rig whose layer has greeted the stub; all is ended with the test."""
    rigs: list[Rig] = []
    monkeypatch.setattr(layer_module, "RELEASE_TIME", 0.2)

    def starting(
        machine: Machine, *, acks: bool = True, ready: bool = True, qemu: bool = True
    ) -> Rig:
        rig = Rig(machine, tmp_path / f"log{len(rigs)}", acks=acks, qemu=qemu)
        rigs.append(rig)
        if ready:
            assert rig.start() == "ok"
            assert rig.server.sent[0] == b"qC"
            rig.server.packets.clear()
        return rig

    yield starting
    for rig in rigs:
        rig.close()


def program(*words: int, vcpus: int = 1) -> Machine:
    """A machine with code at TEXT that ends in a loop."""
    machine = Machine(vcpus)
    machine.put(TEXT, *words, m.SELF)
    return machine


def in_handler(handler: tuple[int, ...] = (m.NOP, m.SELF), *, vcpus: int = 1) -> Machine:
    """A machine whose first step is interrupted, for a handler that never returns."""
    machine = program(m.addi(5, 0, 0x5A), m.NOP, vcpus=vcpus)
    machine.put(HANDLER, *handler)
    machine.interrupt_at[0, TEXT] = HANDLER & 0xFFF
    return machine


def number(hexadecimal: bytes) -> int:
    return int.from_bytes(bytes.fromhex(hexadecimal.decode()), "little")


# -- greeting


@pytest.mark.parametrize("acks", [True, False], ids=["acks", "no acks"])
def test_greet_learns_whether_packets_are_acknowledged(start: Start, acks: bool) -> None:
    rig = start(program(m.NOP), acks=acks)
    assert number(rig.gdb.ask(PC)) == TEXT
    rig.gdb.ask(STEP)
    assert number(rig.gdb.ask(PC)) == TEXT + 4
    assert rig.server.naks == 0
    rig.gdb.sock.sendall(framed(b"qC"))
    assert rig.gdb.raw(1) == (b"+" if acks else b"$")


def test_greet_after_a_stop_that_the_stub_reports_by_itself(start: Start) -> None:
    """As QEMU does to a client that connects while the guest runs."""
    rig = start(program(m.NOP), ready=False)
    rig.server.report(b"T02thread:p01.01;")
    assert rig.start() == "ok"
    assert number(rig.gdb.ask(PC)) == TEXT
    assert rig.gdb.stop(STEP) == b"T05thread:p01.01;"


def test_client_that_ends_acknowledgements(start: Start) -> None:
    rig = start(program(m.NOP))
    rig.server.extra[b"QStartNoAckMode"] = b"OK"
    assert rig.gdb.ask(b"QStartNoAckMode") == b"OK"
    rig.gdb.acks = rig.server.acks = False
    assert number(rig.gdb.ask(PC)) == TEXT
    rig.gdb.sock.sendall(framed(b"qC"))
    assert rig.gdb.raw(1) == b"$"


@pytest.mark.parametrize("name", ["srr0", "srr1", "pc", "msr"])
def test_greet_without_a_register_says_which(start: Start, name: str) -> None:
    machine = program(m.NOP)
    machine.absent.add(name)
    rig = start(machine, ready=False)
    assert rig.start() == f"the stub's target description has no register {name}"
    rig.ended()
    assert rig.gdb.rest() == b""


@pytest.mark.parametrize("reply", [b"", b"E00", b"E.no such annex"])
def test_greet_without_a_target_description_says_so(start: Start, reply: bytes) -> None:
    rig = start(program(m.NOP), ready=False)
    rig.server.extra[b"qXfer:features"] = reply
    assert rig.start() == "the stub has no target description, so SRR0 has no number"
    rig.ended()


def test_greet_of_a_stub_that_refuses_registers_says_so(start: Start) -> None:
    rig = start(program(m.NOP), ready=False)
    rig.machine.reply[b"p"] = b"E01"
    assert "msr" in (said := rig.start())
    assert "E01" in said


@pytest.mark.parametrize("packet", [b"qC", b"qXfer", b"p"])
def test_greet_of_a_silent_stub_says_so(
    start: Start, packet: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer_module, "REPLY_TIMEOUT", 0.1)
    rig = start(program(m.NOP), ready=False)
    rig.server.quiet.add(packet)
    assert rig.start() == "the stub did not answer within 0.1 seconds"
    rig.ended()


@pytest.mark.parametrize("packet", [b"qC", b"qXfer", b"p"])
def test_greet_of_a_stub_that_closes_says_so(start: Start, packet: bytes) -> None:
    rig = start(program(m.NOP), ready=False)
    rig.server.quiet.add(packet)
    rig.server.leaving_after = packet
    assert rig.start() == "the stub closed the connection"
    rig.ended()


def test_description_in_several_pieces_is_put_together(start: Start) -> None:
    rig = start(program(m.NOP))
    assert len(rig.machine.description()) > 0x800
    assert number(rig.gdb.ask(b"p%x" % m.NUMBERS["lpcr"])) == rig.machine.cpu["lpcr"]


# -- forwarding


@pytest.mark.parametrize("acks", [True, False], ids=["acks", "no acks"])
@pytest.mark.parametrize(
    ("payload", "reply"),
    [
        (b"qSupported:multiprocess+;vContSupported+", b"PacketSize=1000;multiprocess+"),
        (b"vMustReplyEmpty", b""),
        (b"X1000,6:}\x03}\x04}]}\n\x00\xff+-%", b"OK"),
        (b"x1000,4", b"b}\x03* \x00\xff}]"),
        (b"qXfer:memory-map:read::0,1000", b"l<map>0*~</map>"),
        (b"vFile:open:2f", b"F-1,2"),
        (b"Qqemu.sstep=0", b"OK"),
        (b"\x80\xfe\xff", b"\x81\x00\x03"),
        (b"qTStatus", b"T0;tnotrun:0"),  # no stop reply, though it begins with a T
    ],
)
def test_packets_that_it_does_not_own_pass_byte_for_byte(
    start: Start, payload: bytes, reply: bytes, acks: bool
) -> None:
    rig = start(program(m.NOP), acks=acks)
    rig.server.extra[payload] = reply
    rig.gdb.sock.sendall(framed(payload))
    if acks:
        assert rig.gdb.raw(1) == b"+"
    assert rig.gdb.raw(len(framed(reply))) == framed(reply)
    assert rig.server.packets == [payload]
    assert rig.gdb.ask(b"qC") == b"QCp01.01"


def test_output_of_a_monitor_command_comes_before_its_reply(start: Start) -> None:
    rig = start(program(m.NOP))
    rig.server.extra[b"qRcmd,6869"] = b"O68656c6c6f#%02x$OK" % (sum(b"O68656c6c6f") % 256)
    rig.gdb.sock.sendall(framed(b"qRcmd,6869"))
    wanted = b"+" + framed(b"O68656c6c6f")
    assert rig.gdb.raw(len(wanted)) == wanted


def test_several_packets_at_once_are_answered_in_order(start: Start) -> None:
    """gdb sends the next one without waiting only when it gave up on a reply."""
    rig = start(program(m.NOP), acks=False)
    rig.gdb.sock.sendall(framed(b"qC") + framed(PC) + framed(b"vMustReplyEmpty"))
    assert rig.gdb.receive() == b"QCp01.01"
    assert number(rig.gdb.receive()) == TEXT
    assert rig.gdb.receive() == b""


def test_notification_of_the_stub_passes(start: Start) -> None:
    rig = start(program(m.NOP), acks=False)
    rig.server.notify(b"Stop:T05thread:p01.01;")
    wanted = framed(b"Stop:T05thread:p01.01;", b"%")
    assert rig.gdb.raw(len(wanted)) == wanted


@pytest.mark.parametrize("packet", [b"qC", b"vCont;c", b"p", b"P", b"Z0", b"z0", b"m"])
@pytest.mark.parametrize("at_vector", [0, 1], ids=["", "with gdb's at the vector"])
def test_bad_checksum_from_the_stub_is_naked_and_the_resend_delivered(
    start: Start, packet: bytes, at_vector: int
) -> None:
    """Whether the packet is gdb's or the layer's own.  Of several that were sent at once, one
    is asked again.
    """
    rig = start(program(m.NOP))
    for _ in range(at_vector):
        assert rig.gdb.ask(b"Z0,%x,4" % m.TRACE) == b"OK"
    rig.server.garbled.add(packet)
    assert rig.gdb.ask(b"qC") == b"QCp01.01"
    assert rig.gdb.ask(STEP)[:3] == b"T05"
    assert number(rig.gdb.ask(PC)) == TEXT + 4
    assert rig.server.naks == (packet not in (b"p", b"Z0", b"z0"))
    assert rig.server.garbled == set()
    assert rig.machine.planted == ({m.TRACE: 1} if at_vector else {})


@pytest.mark.parametrize("packet", [b"Z0", b"P41="])
def test_garbled_refusal_among_others_is_no_consent(start: Start, packet: bytes) -> None:
    """The guest does not run when it is not known whether all is planted and armed."""
    machine = program(m.NOP)
    before = machine.state()
    rig = start(machine)
    rig.server.garbled.add(packet)
    rig.machine.reply[packet] = b"E22"
    assert rig.gdb.ask(STEP).startswith(b"E.ppc-sstep: the stub refused")
    assert rig.server.garbled == set()
    assert machine.planted == {}
    assert machine.resumes == []
    assert machine.state() == before


# -- what undoes a step is left for later


@pytest.mark.parametrize("ends", [True, False], ids=["", "the next is begun"])
def test_a_step_is_undone_when_gdb_asks_for_nothing(start: Start, ends: bool) -> None:
    """ends: gdb asks for all registers, as where a command ends."""
    machine = program(*NOPS)
    native = machine.native(steps=3)
    rig = start(machine)
    for count in (1, 2, 3):
        assert rig.gdb.stop(STEP) == b"T05thread:p01.01;"
        if ends:
            assert rig.gdb.ask(b"g") == rig.gdb.ask(b"g")
            assert machine.cpu["pc"] == TRACE
        assert number(rig.gdb.ask(PC)) == TEXT + 4 * count
        assert number(rig.gdb.ask(MSR)) == KERNEL
    if not ends:
        rig.gdb.ask(b"m1000,4")  # the replies to what was sent ahead come first
        assert (machine.cpu["pc"], machine.cpu["msr"] & SE) == (TEXT + 12, SE)
    assert machine.planted == {TRACE: 1}
    assert machine.packets.count(b"Z0,%x,4" % TRACE) == 1
    end = time.monotonic() + TIMEOUT
    while machine.planted:
        assert time.monotonic() < end
        time.sleep(0.001)
    assert machine.changed(native) == {}


@pytest.mark.parametrize("steps", [1, 3], ids=["", "the next is begun"])
@pytest.mark.parametrize("asked", [b"M0,0:", b"qppc-sstep.status", b"Hgp1.2", b"vCont?", b"D"])
def test_a_step_is_undone_before_what_might_see_it(start: Start, asked: bytes, steps: int) -> None:
    machine = program(*NOPS, vcpus=2)
    native = machine.native(steps=steps)
    rig = start(machine)
    rig.server.extra[b"vCont?"] = b"vCont;c;s"
    for _ in range(steps):
        rig.gdb.ask(b"vCont;s:p1.1")
    rig.gdb.ask(b"m1000,4")
    assert machine.cpu["pc"] == (TRACE if steps == 1 else TEXT + 4 * steps)
    rig.gdb.ask(asked)
    assert machine.planted == {}
    assert machine.changed(native) == {}


@pytest.mark.parametrize("asked", [b"qfThreadInfo", b"m1000,4", b"p5"])
def test_a_step_need_not_be_undone_before_what_does_not_see_it(start: Start, asked: bytes) -> None:
    machine = program(*NOPS)
    rig = start(machine)
    rig.gdb.ask(STEP)
    replied = rig.gdb.ask(asked)
    assert machine.cpu["pc"] == TRACE
    rig.settle()
    assert machine.cpu["pc"] == TEXT + 4
    assert replied == machine.call(asked)


def test_a_step_that_was_begun_is_another_if_gdb_has_a_breakpoint_there(start: Start) -> None:
    machine = program(*NOPS)
    rig = start(machine)
    for _ in range(3):
        rig.gdb.ask(STEP)
    assert rig.gdb.ask(b"Z0,%x,4" % (TEXT + 12)) == b"OK"
    assert rig.gdb.stop(STEP) == b"T05thread:p01.01;"
    assert number(rig.gdb.ask(PC)) == TEXT + 16
    rig.settle()
    assert machine.planted == {TEXT + 12: 1}
    assert not machine.cpu["msr"] & SE


@pytest.mark.parametrize("packet", [b"P41=", b"P40=", b"Pb2=", b"Pb3="])
@pytest.mark.parametrize("then", [b"", b"M0,0:", STEP, CONTINUE, b"qppc-sstep.status", b"D"])
def test_a_step_that_cannot_be_undone_later_is_told_of_and_tried_again(
    start: Start, packet: bytes, then: bytes
) -> None:
    machine = program(*NOPS)
    native = machine.native()
    rig = start(machine)
    assert rig.gdb.stop(STEP) == b"T05thread:p01.01;"
    machine.reply[packet] = b"E22"
    count = len(rig.server.packets)
    if then:
        assert rig.gdb.ask(then).startswith(b"E.ppc-sstep: the stub refused to write")
    else:
        end = time.monotonic() + TIMEOUT
        while not any(one.startswith(packet) for one in rig.server.packets[count:]):
            assert time.monotonic() < end
            time.sleep(0.001)
        assert rig.gdb.ask(b"g").startswith(b"E.ppc-sstep: the stub refused to write")
    assert machine.resumes == [b"vCont;c:p1.1;c:p1.-1"], "the guest did not run on"
    del machine.reply[packet]
    rig.settle()
    assert machine.planted == {}
    assert machine.changed(native) == {}
    assert number(rig.gdb.ask(PC)) == TEXT + 4


@pytest.mark.parametrize(("qemu", "acks"), [(True, True), (False, True), (False, False)])
def test_only_qemu_gets_a_packet_before_it_has_answered_the_last(
    start: Start, qemu: bool, acks: bool
) -> None:
    rig = start(program(m.NOP), qemu=qemu, acks=acks)
    assert rig.gdb.ask(STEP)[:3] == b"T05"
    assert bool(rig.server.bursts) == qemu


@pytest.mark.parametrize("packet", [b"qC", b"vCont;c", b"p", b"P", b"Z0", b"m"])
def test_packet_that_the_stub_naks_is_sent_again(start: Start, packet: bytes) -> None:
    rig = start(program(m.NOP))
    rig.server.missed.add(packet)
    assert rig.gdb.ask(b"qC") == b"QCp01.01"
    assert rig.gdb.ask(STEP)[:3] == b"T05"
    assert number(rig.gdb.ask(PC)) == TEXT + 4
    assert rig.server.missed == set()


def test_bad_checksum_from_gdb_is_naked_and_the_resend_forwarded(start: Start) -> None:
    rig = start(program(m.NOP))
    rig.gdb.sock.sendall(b"$qC#00")
    assert rig.gdb.raw(1) == b"-"
    assert rig.gdb.ask(b"qC") == b"QCp01.01"
    assert rig.server.packets == [b"qC"], "the bad one went nowhere"


@pytest.mark.parametrize("payload", [b"qC", STEP, b"qppc-sstep.status"])
def test_reply_that_gdb_naks_is_sent_again(start: Start, payload: bytes) -> None:
    rig = start(program(*NOPS))
    rig.gdb.send(payload)
    rig.gdb.acks = False
    first = rig.gdb.receive()
    count = len(rig.server.packets)
    rig.gdb.sock.sendall(b"-")
    assert rig.gdb.receive() == first
    rig.gdb.acks = True
    rig.gdb.sock.sendall(b"+")
    assert number(rig.gdb.ask(b"p9")) == rig.machine.cpu["r9"]
    assert len(rig.server.packets) == count + 1, "the stub was not asked again"


def test_packet_from_gdb_in_two_halves(start: Start) -> None:
    rig = start(program(m.NOP))
    packet = framed(STEP)
    for at in (1, 8, len(packet) - 2, len(packet) - 1):
        rig.machine.cpu["pc"] = TEXT
        rig.gdb.sock.sendall(packet[:at])
        assert not select.select([rig.gdb.sock], [], [], 0)[0]
        rig.gdb.sock.sendall(packet[at:])
        assert rig.gdb.raw(1) == b"+"
        assert rig.gdb.receive()[:3] == b"T05"


# -- stepping


@pytest.mark.parametrize("acks", [True, False], ids=["acks", "no acks"])
def test_step_is_answered_as_by_a_stub_that_steps(start: Start, acks: bool) -> None:
    machine = program(m.addi(4, 4, 1))
    native = machine.native()
    rig = start(machine, acks=acks)
    assert rig.gdb.stop(STEP) in (b"T05thread:p01.01;", b"T05thread:p1.1;")
    assert machine.changed(native) == {}
    assert machine.planted == {}


def test_switched_off_layer_forwards_steps(start: Start) -> None:
    rig = start(program(m.NOP))
    assert rig.gdb.ask(b"Qppc-sstep.active=off") == b"OK"
    rig.step_until_it_hangs()
    rig.gdb.sock.sendall(b"\x03")
    assert rig.gdb.receive()[:3] == b"T02"
    assert rig.server.packets == [STEP]


def test_refused_breakpoint_is_an_error_reply_with_its_reason(start: Start) -> None:
    machine = program(m.NOP)
    machine.reply[b"Z0"] = b"E22"
    before = machine.state()
    rig = start(machine)
    reply = rig.gdb.ask(STEP)
    assert reply.startswith(b"E.ppc-sstep: ")
    assert b"0xc000000000004d00" in reply
    assert machine.changed(before) == {}
    assert machine.resumes == []
    assert number(rig.gdb.ask(PC)) == TEXT, "and the session goes on"


def test_missing_lpcr_is_an_error_until_the_user_sets_ail(start: Start) -> None:
    machine = program(m.NOP)
    machine.absent.add("lpcr")
    rig = start(machine)
    assert b"set ppc-sstep ail" in rig.gdb.ask(STEP)
    assert rig.gdb.ask(b"Qppc-sstep.ail=3") == b"OK"
    assert rig.gdb.ask(STEP)[:3] == b"T05"
    assert machine.cpu["pc"] == TEXT + 4
    assert rig.gdb.ask(b"Qppc-sstep.ail=auto") == b"OK"
    assert rig.gdb.ask(STEP).startswith(b"E.")


def test_ctrl_c_reaches_a_running_guest(start: Start) -> None:
    rig = start(program(m.NOP))
    rig.step_until_it_hangs(CONTINUE)
    rig.gdb.sock.sendall(b"\x03")
    assert rig.gdb.stop() == b"T02thread:p01.01;"
    assert rig.server.interrupts == 1


def test_ctrl_c_in_a_step_that_hangs_takes_it_back(start: Start) -> None:
    machine = program(m.NOP)
    machine.frozen.add(0)
    before = machine.state()
    rig = start(machine)
    rig.step_until_it_hangs()
    assert machine.cpu["msr"] & SE
    rig.gdb.sock.sendall(b"\x03")
    assert rig.gdb.stop() == b"T02thread:p01.01;"
    assert machine.changed(before) == {}
    assert machine.planted == {}


def test_ctrl_c_while_stopped_is_ignored(start: Start) -> None:
    rig = start(program(m.NOP))
    assert rig.gdb.ask(b"qC") == b"QCp01.01"
    rig.gdb.sock.sendall(b"\x03")
    assert rig.gdb.ask(b"qC") == b"QCp01.01"
    assert rig.server.interrupts == 0


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt that came too late counts for long enough for the slowest machine."""
    monkeypatch.setattr(layer_module, "LATE_INTERRUPT", 60.0)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("word", [m.NOP, m.SC, m.RFID], ids=["trace", "land", "emulate"])
@pytest.mark.parametrize("following", [STEP, CONTINUE])
def test_ctrl_c_that_came_while_a_step_ended_stops_the_next_resume(
    start: Start, following: bytes, word: int
) -> None:
    """gdb sees the step end first, and goes on with the command that the user interrupted."""
    machine = program(word)
    native = machine.native()
    rig = start(machine)
    rig.gdb.sock.sendall(framed(STEP) + b"\x03")
    assert rig.gdb.raw(1) == b"+"
    assert rig.gdb.receive()[:3] == b"T05"
    assert machine.changed(native) == {}
    resumes = list(machine.resumes)
    assert rig.gdb.stop(following) == b"T02thread:p1.1;"
    assert machine.changed(native) == {}
    assert machine.resumes == resumes, "the guest did not run"


@pytest.mark.usefixtures("patient")
def test_ctrl_c_that_came_between_two_resumes_stops_the_second_once(start: Start) -> None:
    machine = program(m.NOP, m.NOP)
    rig = start(machine)
    rig.gdb.ask(b"Hgp1.1")
    rig.gdb.sock.sendall(b"\x03")
    assert rig.gdb.stop(STEP) == b"T02thread:p1.1;"
    assert machine.cpu["pc"] == TEXT
    assert rig.gdb.ask(STEP)[:3] == b"T05"
    assert machine.cpu["pc"] == TEXT + 4


@pytest.mark.usefixtures("patient")
def test_ctrl_c_that_was_answered_stops_nothing_else(start: Start) -> None:
    machine = program(m.NOP)
    rig = start(machine)
    rig.step_until_it_hangs(CONTINUE)
    rig.gdb.sock.sendall(b"\x03")
    assert rig.gdb.receive()[:3] == b"T02"
    assert rig.gdb.ask(STEP)[:3] == b"T05"


def test_ctrl_c_of_long_ago_stops_nothing(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_module, "LATE_INTERRUPT", 0.0)
    rig = start(program(m.NOP))
    rig.gdb.sock.sendall(b"\x03")
    assert rig.gdb.ask(STEP)[:3] == b"T05"
    assert rig.machine.cpu["pc"] == TEXT + 4


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("payload", [b"vCont;s:p1.2;c:p1.-1", CONTINUE])
def test_thread_that_a_late_ctrl_c_reports_is_selected(start: Start, payload: bytes) -> None:
    """gdb takes the thread of a stop reply for selected (remote.c record_currthread)."""
    machine = two_vcpus()
    rig = start(machine)
    assert rig.gdb.ask(b"Hgp1.1") == b"OK"
    rig.gdb.sock.sendall(b"\x03")
    stop = rig.gdb.ask(payload)
    assert stop in (b"T02thread:p1.1;", b"T02thread:p1.2;")
    assert number(rig.gdb.ask(b"p9")) == 0x1000 + int(stop[-2:-1])


def test_console_output_of_the_guest_passes_in_a_step(start: Start) -> None:
    rig = start(program(m.NOP))
    rig.server.before_stop = framed(b"O6869")
    rig.gdb.send(STEP)
    assert rig.gdb.receive() == b"O6869"
    assert rig.gdb.receive()[:3] == b"T05"


# -- gdb's selected thread


def two_vcpus() -> Machine:
    machine = program(m.addi(4, 4, 1), m.addi(4, 4, 1), vcpus=2)
    machine.vcpus[0]["r9"], machine.vcpus[1]["r9"] = 0x1001, 0x1002
    return machine


def test_thread_is_as_gdb_selected_it_after_a_step_that_failed(start: Start) -> None:
    """The engine had to select the thread to be stepped; gdb does not know."""
    machine = two_vcpus()
    rig = start(machine)
    assert rig.gdb.ask(b"Hgp1.1") == b"OK"
    machine.reply[b"Z0"] = b"E22"
    assert rig.gdb.ask(b"vCont;s:p1.2;c:p1.-1").startswith(b"E.")
    assert machine.selected == 1
    assert number(rig.gdb.ask(b"p9")) == 0x1001
    machine.selected = 1
    rig.server.packets.clear()
    assert number(rig.gdb.ask(b"p9")) == 0x1002, "and is not selected again without need"
    assert rig.server.packets == [b"p9"]


@pytest.mark.parametrize("packet", [b"g", b"p9", b"P9=00", b"m0,4", b"M0,1:00", b"X0,1:c", b"x0,1"])
def test_thread_is_restored_for_every_packet_that_depends_on_it(
    start: Start, packet: bytes
) -> None:
    machine = two_vcpus()
    rig = start(machine)
    rig.server.extra[packet] = b"OK"
    rig.gdb.ask(b"Hgp1.1")
    machine.reply[b"Z0"] = b"E22"
    rig.gdb.ask(b"vCont;s:p1.2;c:p1.-1")
    rig.server.packets.clear()
    rig.gdb.ask(packet)
    assert (rig.server.packets[0], rig.server.packets[-1]) == (b"Hgp1.1", packet)


def test_after_a_step_the_thread_that_stopped_is_selected(start: Start) -> None:
    """gdb takes it for selected (remote.c record_currthread)."""
    machine = two_vcpus()
    machine.frozen.add(0)
    rig = start(machine)
    rig.gdb.ask(b"Hgp1.1")
    assert rig.gdb.ask(b"vCont;s:p1.2;c:p1.-1")[:3] == b"T05"
    assert number(rig.gdb.ask(b"p9")) == 0x1002


def test_after_an_emulated_step_the_thread_that_stopped_is_selected(start: Start) -> None:
    machine = program(m.RFID, vcpus=2)
    machine.vcpus[0]["r9"], machine.vcpus[1]["r9"] = 0x1001, 0x1002
    rig = start(machine)
    rig.gdb.ask(b"Hgp1.1")
    assert rig.gdb.stop(b"vCont;s:p1.2;c:p1.-1") == b"T05thread:p1.2;"
    assert number(rig.gdb.ask(b"p9")) == 0x1002


def test_status_does_not_change_the_thread(start: Start) -> None:
    machine = two_vcpus()
    machine.first_only = True
    rig = start(machine)
    rig.gdb.ask(b"Hgp1.2")
    rig.gdb.ask(b"qppc-sstep.status")
    assert number(rig.gdb.ask(b"p9")) == 0x1002


def test_write_that_the_stub_ignores_is_no_ok(start: Start) -> None:
    machine = two_vcpus()
    machine.first_only = True
    rig = start(machine)
    write = b"P%x=0000000000001234" % m.NUMBERS["srr0"]
    assert rig.gdb.ask(b"Hgp1.1") == rig.gdb.ask(write) == b"OK"
    rig.gdb.ask(b"Hgp1.2")
    assert rig.gdb.ask(write).startswith(b"E.ppc-sstep: ")


def test_registers_written_by_gdb_count_in_the_next_step(start: Start) -> None:
    """gdb may have changed the byte order of the packets by writing the MSR."""
    machine = program(m.NOP)
    machine.put(TEXT, m.addi(4, 0, 5), m.SELF, order="big")
    rig = start(machine)
    state = (KERNEL & ~m.LE).to_bytes(8, "little").hex().encode()
    assert rig.gdb.ask(b"P41=" + state) == b"OK"
    assert rig.gdb.ask(STEP)[:3] == b"T05"
    assert (machine.cpu["pc"], machine.cpu["r4"]) == (TEXT + 4, 5)
    assert machine.cpu["msr"] == KERNEL & ~m.LE


def test_range_stepping_is_announced_and_done_without_asking_the_stub_for_it(start: Start) -> None:
    rig = start(program(m.NOP, m.NOP, m.NOP, m.NOP))
    rig.server.extra[b"vCont?"] = b"vCont;c;C;s;S"
    assert rig.gdb.ask(b"vCont?") == b"vCont;c;C;s;S;r"
    step = b"vCont;r%x,%x:p1.1;c:p1.-1" % (TEXT, TEXT + 12)
    assert rig.gdb.ask(step)[:3] == b"T05"
    assert number(rig.gdb.ask(PC)) == TEXT + 12
    assert rig.machine.resumes == [CONTINUE.replace(b"c:p1.-1", b"c:p1.1;c:p1.-1")]


# -- private packets


def test_private_packets_never_reach_the_stub(start: Start) -> None:
    rig = start(program(m.NOP))
    for name in (b"active=on", b"ail=3", b"ail=auto", b"log=on", b"log=off"):
        assert rig.gdb.ask(b"Qppc-sstep." + name) == b"OK"
    assert rig.gdb.ask(b"Qppc-sstep.nonsense=1").startswith(b"E.ppc-sstep: ")
    rig.gdb.ask(b"qppc-sstep.status")
    assert not [packet for packet in rig.server.packets if b"ppc-sstep" in packet]


def test_status_tells_what_the_layer_knows(start: Start) -> None:
    rig = start(program(m.NOP))
    rig.gdb.ask(STEP)
    status = json.loads(bytes.fromhex(rig.gdb.ask(b"qppc-sstep.status").decode()))
    assert status == {
        "active": True,
        "steps": 1,
        "outstanding": [],
        "msr": KERNEL,
        "order": "little",
        "ail": 3,
        "vector": TRACE,
    }


def test_status_tells_of_outstanding_steps_and_of_problems(start: Start) -> None:
    machine = in_handler()
    rig = start(machine)
    rig.step_until_it_hangs()
    rig.gdb.sock.sendall(b"\x03")
    rig.gdb.receive()
    assert rig.gdb.ask(b"Hgp1.1") == b"OK"  # what is known is forgotten
    machine.reply[b"p%x" % m.NUMBERS["lpcr"]] = b"E14"
    status = json.loads(bytes.fromhex(rig.gdb.ask(b"qppc-sstep.status").decode()))
    assert status["outstanding"] == [{"thread": "p1.1", "pc": TEXT}]
    assert "set ppc-sstep ail" in status["problem"]


def test_log_is_written_only_when_asked_for(start: Start) -> None:
    rig = start(program(m.NOP, m.NOP))
    rig.gdb.ask(STEP)
    assert rig.log == ""
    rig.gdb.ask(b"Qppc-sstep.log=on")
    rig.gdb.ask(STEP)
    assert f"step p1.1 pc={TEXT + 4:#x}" in rig.log


# -- gdb goes away


def test_gdb_gone_in_mid_step_leaves_the_guest_stopped_and_clean(start: Start) -> None:
    machine = program(m.NOP)
    machine.frozen.add(0)
    before = machine.state()
    rig = start(machine)
    assert rig.gdb.ask(b"Z0,c000000000020000,4") == b"OK"
    rig.step_until_it_hangs()
    fetch = {m.VIRTUAL | 0x400: 1, m.VIRTUAL | 0x480: 1}
    assert machine.planted == {TRACE: 1, 0xC000000000020000: 1} | fetch
    assert machine.cpu["msr"] & SE
    rig.gdb.close()
    rig.ended()
    assert rig.server.interrupts == 1
    assert machine.changed(before) == {}
    assert machine.planted == {}
    assert len(machine.resumes) == 1, "it was stopped, and stays so"
    assert rig.log == ""


def test_gdb_gone_with_a_step_outstanding_brings_it_home(start: Start) -> None:
    """It is given RELEASE_TIME, so it is not interrupted at once; and then the guest stays
    stopped, as it was."""
    machine = in_handler((m.NOP, m.bdnz(0), m.RFID))
    machine.cpu["ctr"] = 5 * CHUNK
    machine.stop_at[0, HANDLER + 4] = b"T02thread:p01.01;"
    rig = start(machine)
    assert rig.gdb.ask(b"Z0,c000000000020000,4") == b"OK"
    assert rig.gdb.ask(STEP)[:3] == b"T02"
    rig.gdb.close()
    rig.ended()
    assert machine.planted == {}
    assert not machine.cpu["msr"] & SE
    assert machine.cpu["r5"] == 0x5A
    assert machine.cpu["pc"] == TEXT + 4
    assert len(machine.resumes) == 2
    assert rig.server.interrupts == 0


def test_gdb_gone_with_a_step_that_does_not_come_home_says_so(start: Start) -> None:
    """Design, invariant 2: "deal with it first, or say plainly that they could not"."""
    machine = in_handler()
    rig = start(machine)
    rig.step_until_it_hangs()
    rig.gdb.sock.sendall(b"\x03")
    assert rig.gdb.receive()[:3] == b"T02"
    rig.gdb.close()
    rig.ended()
    assert machine.planted == {}
    assert "has not come back" in rig.log


def test_gdb_gone_while_stopped_does_not_resume_the_guest(start: Start) -> None:
    machine = program(m.NOP)
    before = machine.state()
    rig = start(machine)
    rig.gdb.ask(b"Z0,c000000000020000,4")
    rig.gdb.ask(b"Z0,c000000000020010,4")
    rig.gdb.ask(b"z0,c000000000020010,4")
    rig.gdb.close()
    rig.ended()
    assert machine.planted == {}
    assert machine.resumes == []
    assert rig.server.interrupts == 0
    assert machine.changed(before) == {}
    assert rig.server.packets.count(b"z0,c000000000020010,4") == 1


@pytest.mark.parametrize("payload", [CONTINUE, b"c", b"vCont;C05:p1.1;c"])
def test_gdb_gone_while_the_guest_runs_lets_it_run_on_clean(start: Start, payload: bytes) -> None:
    machine = program(m.NOP)
    rig = start(machine)
    rig.gdb.ask(b"Z0,c000000000020000,4")
    rig.step_until_it_hangs(payload)
    rig.gdb.close()
    rig.thread.join(TIMEOUT)
    rig.ended()
    assert rig.server.interrupts == 1
    assert machine.planted == {}
    assert rig.server.packets[-1] == b"c"
    assert len(machine.resumes) == 2


def test_gdb_gone_with_output_of_the_guest_on_its_way(start: Start) -> None:
    """The stub's console output cannot be delivered any more; the guest is put right all the
    same, and runs on as it did."""
    machine = program(m.NOP)
    rig = start(machine)
    rig.gdb.ask(b"Z0,c000000000020000,4")
    rig.step_until_it_hangs(CONTINUE)
    rig.server.before_stop = framed(b"O6869")
    rig.gdb.close()
    rig.ended()
    assert machine.planted == {}
    assert rig.server.packets[-1] == b"c"


def test_gdb_gone_in_mid_step_with_output_of_the_guest_on_its_way(start: Start) -> None:
    machine = program(m.NOP)
    machine.frozen.add(0)
    before = machine.state()
    rig = start(machine)
    rig.step_until_it_hangs()
    rig.server.before_stop = framed(b"O6869")
    rig.gdb.close()
    rig.ended()
    assert machine.planted == {}
    assert machine.changed(before) == {}
    assert len(machine.resumes) == 1, "it was stopped, and stays so"


def test_gdb_gone_while_it_waits_for_a_reply(start: Start) -> None:
    """That reply must not be taken for one to what the layer asks to put the guest right."""
    machine = in_handler((m.NOP, m.NOP, m.RFID))
    before = machine.state()[0]
    machine.stop_at[0, HANDLER + 4] = b"T02thread:p01.01;"
    rig = start(machine)
    rig.gdb.ask(b"Z0,c000000000020000,4")
    assert rig.gdb.ask(STEP)[:3] == b"T02"
    rig.server.extra[b"qSlow"] = b"slow"
    rig.server.slow.add(b"qSlow")
    rig.gdb.send(b"qSlow")
    rig.gdb.close()
    rig.ended()
    assert machine.planted == {}
    assert machine.cpu == before | {"r5": 0x5A, "pc": TEXT + 4}, "the step came home"


# -- gdb lets go


def test_detach_without_anything_outstanding_is_forwarded(start: Start) -> None:
    rig = start(program(m.NOP))
    assert rig.gdb.ask(b"D;1") == b"OK"
    rig.gdb.close()
    rig.ended()
    assert rig.server.packets == [b"D;1"]
    assert rig.log == ""


def test_detach_brings_an_outstanding_step_home_first(start: Start) -> None:
    machine = in_handler((m.NOP, m.NOP, m.RFID))
    machine.stop_at[0, HANDLER + 4] = b"T02thread:p01.01;"
    rig = start(machine)
    rig.gdb.ask(STEP)
    assert rig.gdb.ask(b"D;1") == b"OK"
    assert machine.planted == {}
    assert not machine.cpu["msr"] & SE
    assert machine.cpu["r5"] == 0x5A
    rig.gdb.close()
    rig.ended()
    assert rig.log == ""


def test_detach_with_a_step_that_does_not_come_home_says_so_once(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And when the stub is let go nothing more is sent to it: its guest runs."""
    monkeypatch.setattr(layer_module, "REPLY_TIMEOUT", 0.5)
    machine = in_handler()
    rig = start(machine)
    rig.step_until_it_hangs()
    rig.gdb.sock.sendall(b"\x03")
    assert rig.gdb.receive()[:3] == b"T02"
    assert rig.gdb.ask(b"D;1") == b"OK"
    assert rig.log.count("has not come back") == 1
    assert machine.planted == {}
    rig.gdb.close()
    rig.ended()
    assert rig.server.violations == []
    assert rig.server.packets[-1] == b"D;1"


def test_kill_is_forwarded_and_waits_for_nothing(start: Start) -> None:
    rig = start(program(m.NOP))
    rig.gdb.send(b"k")
    rig.gdb.close()
    rig.ended()
    assert rig.server.packets == [b"k"]


# -- the stub goes away


def test_stub_gone_while_stopped_closes_gdbs_end(start: Start) -> None:
    rig = start(program(m.NOP))
    rig.server.hang_up()
    assert rig.gdb.rest() == b""
    rig.ended()


def test_stub_gone_while_the_guest_runs_closes_gdbs_end(start: Start) -> None:
    rig = start(program(m.NOP), acks=False)
    rig.step_until_it_hangs(CONTINUE)
    rig.server.hang_up()
    assert rig.gdb.rest() == b""
    rig.ended()


@pytest.mark.parametrize("packet", [b"p41", b"Z0", b"P41", b"z0"])
@pytest.mark.parametrize("breakpoints", [0, 1])
def test_stub_gone_after_a_reply_in_mid_step_closes_gdbs_end(
    start: Start, packet: bytes, breakpoints: int
) -> None:
    """What is sent next fails at once, instead of finding the end of the stream."""
    rig = start(program(m.NOP), acks=False)
    for _ in range(breakpoints):
        rig.gdb.ask(b"Z0,c000000000020000,4")
    rig.server.leaving_after = packet
    rig.gdb.send(STEP)
    assert rig.gdb.rest() in (b"", framed(b"T05thread:p01.01;"))
    rig.ended()
    assert rig.log == ""


@pytest.mark.parametrize("acks", [True, False], ids=["acks", "no acks"])
def test_exit_of_the_guest_is_passed_on_before_the_end(start: Start, acks: bool) -> None:
    machine = program(m.NOP)
    machine.stop_at[0, TEXT] = b"W00"
    rig = start(machine, acks=acks)
    rig.server.leaving_after = b"vCont"
    rig.gdb.send(STEP)
    assert rig.gdb.rest() == framed(b"W00")
    rig.ended()


@pytest.mark.parametrize("acks", [True, False], ids=["acks", "no acks"])
def test_last_reply_of_a_stub_is_passed_on_before_the_end(start: Start, acks: bool) -> None:
    rig = start(program(m.NOP), acks=acks)
    rig.server.extra[b"vKill"] = b"OK"
    rig.server.leaving_after = b"vKill"
    rig.gdb.send(b"vKill;1")
    assert rig.gdb.rest() == framed(b"OK")
    rig.ended()


@pytest.mark.parametrize("packet", [b"p41", b"m", b"Z0"])
def test_silent_stub_ends_it_with_a_line_in_the_log(
    start: Start, packet: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = start(program(m.NOP), acks=False)
    monkeypatch.setattr(layer_module, "REPLY_TIMEOUT", 0.1)
    rig.server.quiet.add(packet)
    rig.gdb.send(STEP)
    assert rig.gdb.rest() == b""
    rig.ended()
    assert rig.log == (
        "ppc-sstep: the stub did not answer within 0.1 seconds; the connection is closed\n"
    )


def test_resume_that_the_stub_does_not_take_ends_it(
    wire: tuple[Wire, socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With acknowledgements; what runs may run for ever."""
    link, _, _ = wire
    link.gdb.acks = link.stub.acks = True
    monkeypatch.setattr(layer_module, "REPLY_TIMEOUT", 0.1)
    with pytest.raises(StubSilent, match="did not answer"):
        link.resume(b"vCont;c")


def test_reply_that_comes_twice_is_used_once(
    wire: tuple[Wire, socket.socket, socket.socket],
) -> None:
    """The second one may come before or after the next request has been sent."""
    link, _, stub = wire
    link.gdb.acks = link.stub.acks = True
    stub.sendall(framed(b"T05") + framed(b"T05") + b"+" + framed(b"one") + framed(b"one"))
    assert link.call(b"p1") == b"one"
    stub.sendall(framed(b"one") + b"+" + framed(b"two"))
    assert link.call(b"p2") == b"two"


@pytest.mark.parametrize("number", [1, 2])
def test_reply_that_comes_twice_among_several_is_used_once(
    wire: tuple[Wire, socket.socket, socket.socket], number: int
) -> None:
    link, _, stub = wire
    link.gdb.acks = link.stub.acks = link.bursts = True
    first, second = b"+" + framed(b"one"), b"+" + framed(b"two")
    again = framed(b"one") if number == 1 else framed(b"two")
    stub.sendall(first + (again if number == 1 else b"") + second + (again if number == 2 else b""))
    assert link.begin([b"p1", b"p2"])() == [b"one", b"two"]
    stub.sendall(b"+" + framed(b"three"))
    assert link.call(b"p3") == b"three"


def test_a_write_among_several_that_is_lost_is_repeated_before_the_end(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer_module, "REPLY_TIMEOUT", 0.2)
    machine = program(*NOPS)
    native = machine.native()
    rig = start(machine)
    rig.gdb.ask(STEP)
    rig.server.lost.add(PC.replace(b"p", b"P"))
    rig.gdb.send(b"M0,0:")
    assert b"E" not in rig.gdb.rest()
    rig.ended()
    assert rig.server.lost == set()
    assert machine.changed(native) == {}


def test_a_reply_among_several_that_is_lost_ends_it(
    wire: tuple[Wire, socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose reply the other is cannot be told."""
    link, _, stub = wire
    link.gdb.acks = link.stub.acks = link.bursts = True
    monkeypatch.setattr(layer_module, "REPLY_TIMEOUT", 0.1)
    stub.sendall(b"++" + framed(b"two"))
    with pytest.raises(StubSilent, match="did not answer"):
        link.begin([b"p1", b"p2"])()


def test_guest_that_does_not_stop_for_a_gdb_that_is_gone_ends_it(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = start(program(m.NOP))
    monkeypatch.setattr(layer_module, "REPLY_TIMEOUT", 0.1)
    rig.server.quiet.add(b"vCont;c")
    rig.gdb.send(CONTINUE)
    rig.gdb.close()
    rig.ended()
    assert rig.log == "ppc-sstep: the guest did not stop; the connection is closed\n"


# -- the parts by themselves


@pytest.fixture
def pair() -> Iterator[tuple[Peer, socket.socket]]:
    """A peer, and the socket at the other side of it."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(TIMEOUT)
    with ours, theirs:
        yield Peer(ours, "peer", GdbGone()), theirs


def test_peer_waits_for_the_second_half(pair: tuple[Peer, socket.socket]) -> None:
    peer, other = pair
    for piece in (b"$O", b"K#", b"9"):
        other.sendall(piece)
        peer.fill()
        assert not peer.items
    other.sendall(b"a\x03")
    peer.fill()
    assert list(peer.items) == [Packet(b"OK"), Byte(b"\x03")]
    peer.acknowledge()
    assert other.recv(100) == b"+"


def test_peer_acknowledges_only_if_that_is_agreed(pair: tuple[Peer, socket.socket]) -> None:
    peer, other = pair
    peer.acks = False
    other.sendall(b"$OK#9a$OK#00")
    peer.fill()
    assert list(peer.items) == [Packet(b"OK")]
    assert not select.select([other], [], [], 0)[0]


def test_peer_answers_a_bad_checksum(pair: tuple[Peer, socket.socket]) -> None:
    peer, other = pair
    other.sendall(b"$OK#00")
    peer.fill()
    assert not peer.items
    assert other.recv(100) == b"-"


def test_peer_sends_again_what_is_naked(pair: tuple[Peer, socket.socket]) -> None:
    peer, other = pair
    peer.send(b"m0,4")
    assert other.recv(100) == b"$m0,4#fd"
    other.sendall(b"-")
    peer.fill()
    assert other.recv(100) == b"$m0,4#fd"
    assert not peer.items


def test_peer_hands_a_nak_on_that_is_not_about_its_own(pair: tuple[Peer, socket.socket]) -> None:
    peer, other = pair
    other.sendall(b"$g#67-")
    peer.fill()
    assert list(peer.items) == [Packet(b"g"), Byte(b"-")]


def test_peer_says_when_the_other_side_is_gone(pair: tuple[Peer, socket.socket]) -> None:
    peer, other = pair
    other.close()
    with pytest.raises(GdbGone):
        peer.fill()
    with pytest.raises(GdbGone):
        peer.send(b"g")


@pytest.fixture
def wire() -> Iterator[tuple[Wire, socket.socket, socket.socket]]:
    """A wire, gdb's and the stub's sockets."""
    gdb, layer_gdb = socket.socketpair()
    stub, layer_stub = socket.socketpair()
    with gdb, layer_gdb, stub, layer_stub:
        for sock in (gdb, stub):
            sock.settimeout(TIMEOUT)
        link = Wire(
            Peer(layer_gdb, "gdb ", GdbGone()),
            Peer(layer_stub, "stub", StubGone("closed"), answers=True),
        )
        link.gdb.acks = link.stub.acks = False
        yield link, gdb, stub


def test_interrupt_before_a_resume_is_passed_on_after_it(
    wire: tuple[Wire, socket.socket, socket.socket],
) -> None:
    link, gdb, stub = wire
    gdb.sendall(b"\x03")
    assert link.wait(TIMEOUT)
    stub.sendall(framed(b"T02thread:p01.01;"))
    assert link.resume(b"vCont;c") == b"T02thread:p01.01;"
    assert stub.recv(100) == framed(b"vCont;c") + b"\x03"
    assert link.interrupted()
    assert not link.interrupted()


def test_interrupt_that_came_too_late_is_known_all_the_same(
    wire: tuple[Wire, socket.socket, socket.socket],
) -> None:
    link, gdb, stub = wire
    gdb.sendall(b"\x03" + framed(b"g"))
    assert link.interrupted()
    assert not link.interrupted()
    assert list(link.gdb.items) == [Packet(b"g")], "what else came is kept"
    assert not select.select([stub], [], [], 0)[0]


def test_resume_is_interrupted_by_itself_when_that_is_due(
    wire: tuple[Wire, socket.socket, socket.socket],
) -> None:
    link, _gdb, stub = wire
    link.interrupt_at = 0.0

    def answer() -> None:
        stub.recv(len(framed(b"c")), socket.MSG_WAITALL)
        assert stub.recv(1) == b"\x03"
        stub.sendall(framed(b"T02"))

    answered = threading.Thread(target=answer, daemon=True)
    answered.start()
    assert link.resume(b"c") == b"T02"
    answered.join(TIMEOUT)
    assert not answered.is_alive()
    assert not link.interrupted(), "nobody asked for it"


def test_call_raises_when_the_stub_is_gone(
    wire: tuple[Wire, socket.socket, socket.socket],
) -> None:
    """Whether that is found when sending or when waiting."""
    link, _gdb, stub = wire
    stub.close()
    with pytest.raises(StubGone):
        link.call(b"g")


def test_call_raises_when_the_stub_is_silent(
    wire: tuple[Wire, socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer_module, "REPLY_TIMEOUT", 0.05)
    link, *_ = wire
    with pytest.raises(StubSilent):
        link.call(b"g")


def test_call_passes_over_what_is_no_packet(
    wire: tuple[Wire, socket.socket, socket.socket],
) -> None:
    link, _gdb, stub = wire
    stub.sendall(b"++" + framed(b"Stop:T05", b"%") + framed(b"OK"))
    assert link.call(b"g") == b"OK"


def test_a_thread_that_cannot_be_selected_is_an_error_and_no_end(start: Start) -> None:
    """gdb asks about a thread that has gone: that request fails, and the layer lives."""
    machine = program(m.NOP, m.NOP, vcpus=2)
    rig = start(machine)
    rig.gdb.ask(b"Hgp1.1")
    rig.gdb.ask(b"Hgp1.2")
    machine.reply[b"Hgp1.1"] = b"E22"
    assert rig.gdb.ask(STEP).startswith(b"E.ppc-sstep: the stub refused to select thread p1.1")
    assert rig.gdb.ask(b"qC")
    machine.reply.clear()
    assert rig.gdb.ask(STEP).startswith(b"T05")


# -- what is known is not asked again

CODE = b"m%x,4" % (TEXT + 4)


@pytest.mark.parametrize("asked", [b"g", b"p40", b"p41", b"pb2", b"pb3", CODE, b"m%x,8" % TEXT])
def test_what_gdb_asks_after_a_step_is_known(start: Start, asked: bytes) -> None:
    rig = start(program(*NOPS))
    assert rig.gdb.ask(STEP)[:3] == b"T05"
    count = len(rig.server.packets)
    replies = {rig.gdb.ask(asked), rig.gdb.ask(asked)}
    assert rig.server.packets[count:] == []
    rig.settle()
    assert replies == {rig.machine.call(asked)}


@pytest.mark.parametrize(
    "payload",
    [
        *(b"P9=0000000000000000", b"Pb2=0000000000000000", b"M%x,4:00000060" % TEXT, b"X0,0:"),
        *(b"G00", b"qRcmd,00", b"Hgp1.1", b"Qother", b"vOther"),
    ],
)
def test_nothing_is_known_after_what_may_change_it(start: Start, payload: bytes) -> None:
    rig = start(program(*NOPS))
    assert rig.gdb.ask(STEP)[:3] == b"T05"
    rig.server.extra = {begin: b"OK" for begin in (b"P", b"M", b"G", b"X", b"q", b"Q", b"vO")}
    rig.gdb.ask(payload)
    for asked in (b"g", PC, CODE):
        count = len(rig.server.packets)
        rig.gdb.ask(asked)
        assert rig.server.packets[count:] == [asked]


def test_what_was_known_is_of_the_last_stop(start: Start) -> None:
    rig = start(program(m.addi(4, 0, 1), m.addi(4, 0, 2), m.NOP, *NOPS))
    rig.machine.stop_at[0, TEXT + 8] = b"T05thread:p01.01;"
    rig.gdb.ask(STEP)
    assert rig.gdb.stop(b"vCont;c") == b"T05thread:p01.01;"
    assert number(rig.gdb.ask(PC)) == TEXT + 8
    assert rig.gdb.ask(b"g") == rig.machine.call(b"g")
    assert number(rig.gdb.ask(b"p4")) == 2


def test_breakpoints_of_gdbs_change_nothing_that_is_known(start: Start) -> None:
    rig = start(program(*NOPS))
    assert rig.gdb.ask(STEP)[:3] == b"T05"
    assert rig.gdb.ask(b"Z0,%x,4" % (TEXT + 4)) == b"OK"
    count = len(rig.server.packets)
    rig.gdb.ask(CODE)
    rig.gdb.ask(b"g")
    assert rig.server.packets[count:] == []


def test_refusals_are_not_remembered(start: Start) -> None:
    rig = start(program(m.NOP, m.NOP))
    rig.machine.reply[PC] = b"E22"
    assert rig.gdb.ask(STEP).startswith(b"E.ppc-sstep")
    rig.machine.reply.clear()
    assert rig.gdb.ask(STEP)[:3] == b"T05"
    assert number(rig.gdb.ask(PC)) == TEXT + 4


@pytest.mark.parametrize("asked", [b"g", PC, MSR, CODE, STEP])
def test_what_was_refused_when_asked_ahead_is_asked_again_for_gdb(
    start: Start, asked: bytes
) -> None:
    rig = start(program(*NOPS))
    rig.machine.stop_at[0, TEXT + 4] = b"T05thread:p01.01;"
    rig.machine.reply[b"p41" if asked == STEP else asked] = b"E22"
    rig.machine.reply[b"m%x," % (TEXT + 4 - 32)] = b"E22"
    assert rig.gdb.stop(CONTINUE) == b"T05thread:p01.01;"
    rig.machine.reply.clear()
    if asked == STEP:
        assert rig.gdb.stop(STEP) == b"T05thread:p01.01;"
        rig.settle()
        assert rig.machine.cpu["pc"] == TEXT + 8
    else:
        assert rig.gdb.ask(asked) == rig.machine.call(asked)


def test_memory_elsewhere_is_asked_for_each_time(start: Start) -> None:
    """It may be a device."""
    rig = start(program(*NOPS))
    rig.machine.put(TEXT + 0x1000, 1)
    rig.gdb.ask(STEP)
    count = len(rig.server.packets)
    for _ in range(2):
        rig.gdb.ask(b"m%x,4" % (TEXT + 0x1000))
    assert len(rig.server.packets) == count + 2


def test_other_threads_are_asked_for_themselves(start: Start) -> None:
    rig = start(program(m.NOP, m.NOP, vcpus=2))
    rig.gdb.ask(STEP)
    assert rig.gdb.ask(b"Hgp1.2") == b"OK"
    assert rig.gdb.ask(b"g") != rig.gdb.ask(b"Hgp1.1")
    assert number(rig.gdb.ask(PC)) == rig.machine.cpu["pc"]
