# SPDX-License-Identifier: MIT
"""A gdb that the test plays, the layer, and a simulated stub, over real sockets.

Nothing sleeps.  Every wait is for something that must come, and fails after TIMEOUT.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from gdb_ppc_sstep.wire.process import main

from .. import machine as m
from ..machine import TEXT, VIRTUAL, Machine

TIMEOUT = 5.0
CHUNK, CHUNKS = 100, 40  # after CHUNK instructions the stub looks for 0x03, after CHUNKS it waits
STEP = b"vCont;s:p1.1;c:p1.-1"
INFO_KVM = b"qRcmd," + b"info kvm".hex().encode()
CONTINUE = b"vCont;c:p1.-1"
HANDLER = VIRTUAL | 0x500  # of the external interrupt
PC, MSR = b"p40", b"p41"
NOPS = [m.NOP] * 64


def framed(payload: bytes, start: bytes = b"$") -> bytes:
    return start + payload + b"#%02x" % (sum(payload) % 256)


class StubServer:
    """The simulated machine's stub on a socket, in a thread.

    A test sets these before the packet in question:
      extra: the beginning of a packet that the machine does not know -> the reply.
      quiet: beginnings of packets that the stub never answers.
      lost: beginnings of packets; the next one with each does not arrive.
      slow: beginnings of packets that the stub answers with the next one, or a moment later.
      garbled: beginnings of packets whose reply comes with a bad checksum first.
      missed: beginnings of packets that the stub NAKs first.
      before_stop: bytes that the stub sends before the next stop reply.
      leaving_after: the beginning of the packet after whose reply the stub closes the connection.
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
        self.left = threading.Event()  # gdb has detached: the guest runs, nobody may send packets
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
        """The packets that have come, without the questions of `greet`."""
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
        """Take one thing from the socket; False at the socket's end."""
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
        """Obey a packet and answer it; False if the connection is to end."""
        leaving = self.leaving_after is not None and payload.startswith(self.leaving_after)
        if leaving:
            self._sock.shutdown(socket.SHUT_RD)  # so that the layer's next write fails
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
        # When the layer has gone, the packets that it sent before still have to be read.
        with contextlib.suppress(BrokenPipeError):
            self._sock.sendall(data)

    def _reply(self, payload: bytes) -> bytes | None:
        """The reply to a packet; None if the layer has gone while the guest ran."""
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
        """Run until there is a stop or a 0x03.

        If the guest gets nowhere, wait for the 0x03.
        """
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
    """gdb's end of the connection, which the test plays."""

    def __init__(self, sock: socket.socket, *, acks: bool) -> None:
        self.sock = sock
        self.acks = acks
        self.sock.settimeout(TIMEOUT)
        self._buffer = b""

    def raw(self, size: int) -> bytes:
        """The next `size` bytes, as they come."""
        while len(self._buffer) < size:
            data = self.sock.recv(65536)
            assert data, f"the layer closed the connection after {self._buffer!r}"
            self._buffer += data
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def send(self, payload: bytes) -> None:
        """Send a packet, and assert that the layer acknowledges it."""
        self.sock.sendall(framed(payload))
        if self.acks:
            assert self.raw(1) == b"+"

    def receive(self) -> bytes:
        """Receive the next packet, and acknowledge it."""
        assert self.raw(1) == b"$"
        payload = b""
        while (byte := self.raw(1)) != b"#":
            payload += byte
        assert int(self.raw(2), 16) == sum(payload) % 256
        if self.acks:
            self.sock.sendall(b"+")
        return payload

    def ask(self, payload: bytes) -> bytes:
        """Send a packet.  Returns the reply."""
        self.send(payload)
        return self.receive()

    def stop(self, payload: bytes | None = None) -> bytes:
        """The next stop reply, or that to a packet, without its registers.

        The registers in it must have the values that the layer gives to `p`.
        """
        reply = self.receive() if payload is None else self.ask(payload)
        found = re.fullmatch(rb"(.*?;)((?:[0-9a-f]+:[0-9a-f]{16};)*)", reply)
        assert found is not None, reply
        for text in found[2].split(b";")[:-1]:
            register, _, value = text.partition(b":")
            assert value == self.ask(b"p" + register)
        return found[1]

    def rest(self) -> bytes:
        """All that comes until the layer closes the connection."""
        data, self._buffer = self._buffer, b""
        while more := self.sock.recv(65536):
            data += more
        return data

    def close(self) -> None:
        """Close the connection, as the kernel does when gdb ends or dies."""
        self.sock.close()


class Rig:
    """gdb, the layer (`main` in a thread) and the stub."""

    def __init__(
        self,
        machine: Machine,
        log: Path,
        *,
        acks: bool = True,
        qemu: bool = True,
        server: type[StubServer] = StubServer,
        record: int | None = None,
        last: int | None = None,
    ) -> None:
        """record, last: the descriptors for `main`; the test closes them."""
        gdb, layer_gdb = socket.socketpair()
        layer_stub, stub = socket.socketpair()
        ready, says_ready = os.pipe()
        self._log = log
        log_fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.machine = machine
        self.server = server(machine, stub, acks=acks)
        self.server.qemu = qemu
        self.gdb = Gdb(gdb, acks=acks)
        self.error: BaseException | None = None
        self._ready = ready
        self._log_fd = log_fd
        fds = (layer_gdb.detach(), layer_stub.detach(), says_ready, log_fd)
        self.thread = threading.Thread(target=self._main, args=(*fds, record, last), daemon=True)

    def _main(self, gdb: int, stub: int, ready: int, log: int, *kept: int | None) -> None:
        try:
            main(gdb, stub, ready, log, *kept)
        except BaseException as error:
            self.error = error

    def start(self) -> str:
        """Start the layer.  Returns what it says when it has looked at the stub."""
        self.thread.start()
        assert select.select([self._ready], [], [], TIMEOUT)[0], "the layer says nothing"
        return os.read(self._ready, 65536).decode()

    def step_until_it_hangs(self, payload: bytes = STEP) -> None:
        """Send a resume packet, and wait until the guest gets nowhere."""
        self.gdb.send(payload)
        assert self.server.running.wait(TIMEOUT)

    def settle(self) -> None:
        """Have the layer do what it may leave for later: it does so before it tells its status."""
        assert self.gdb.ask(b"qppc-sstep.status")

    def ended(self) -> None:
        """Assert that the layer has returned without an error."""
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
        """End gdb, the layer and the stub."""
        self.gdb.close()
        self.thread.join(TIMEOUT)
        self.server.thread.join(TIMEOUT)
        os.close(self._ready)
        os.close(self._log_fd)
        assert not self.thread.is_alive(), "the layer hangs"
        assert self.server.error is None, repr(self.server.error)
        assert self.server.violations == [], "packets while the guest ran"


Start = Callable[..., Rig]


def program(*words: int, vcpus: int = 1) -> Machine:
    """A machine with code at TEXT that ends in a loop."""
    machine = Machine(vcpus)
    machine.put(TEXT, *words, m.SELF)
    return machine


def in_handler(handler: tuple[int, ...] = (m.NOP, m.SELF), *, vcpus: int = 1) -> Machine:
    """A machine whose first step an interrupt takes to a handler that never returns."""
    machine = program(m.addi(5, 0, 0x5A), m.NOP, vcpus=vcpus)
    machine.put(HANDLER, *handler)
    machine.interrupt_at[0, TEXT] = HANDLER & 0xFFF
    return machine


def number(hexadecimal: bytes) -> int:
    return int.from_bytes(bytes.fromhex(hexadecimal.decode()), "little")


def two_vcpus() -> Machine:
    """Two vCPUs that differ in r8 and r9."""
    machine = program(m.addi(4, 4, 1), m.addi(4, 4, 1), vcpus=2)
    for cpu, value in zip(machine.vcpus, (0x1001, 0x1002)):
        cpu["r8"] = cpu["r9"] = value
    return machine
