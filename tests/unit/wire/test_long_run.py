# SPDX-License-Identifier: MIT
"""A layer that steps for days: its memory and its file descriptors stay as they are.

The layer is a process of its own, as gdb starts it, so that what it has is told apart from ours.
--soak 250 is 1,000,000 steps.
"""

from __future__ import annotations

import os
import random
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .. import machine as m
from ..machine import SE, TEXT, Machine
from .rig import PC, STEP, TIMEOUT, Gdb, StubServer, number

STEPS = 4000
"""Of the ordinary tests.  The first half is for what is read and kept once."""

MORE = 1024
"""KiB that a layer may have grown by: the allocator's granularity, and not one byte a step."""

LENGTH = 4096
"""Instructions of the loop: more than any cache of ours is to hold."""

ROOT = Path(__file__).resolve().parents[3]
RUN = "import sys; sys.path.insert(0, {!r}); from gdb_ppc_sstep.wire.process import main; main({})"


def guest() -> Machine:
    """A loop of instructions that change registers, load, call, and read the MSR."""
    choose = random.Random(1)
    words = [
        m.addi(4, 4, 1),
        m.addi(5, 4, 7),
        m.NOP,
        m.b(4),
        m.b(4, link=True),
        m.mfmsr(7),
        m.mfspr(8, "srr0"),
        m.lbz(9, 6),
    ]
    machine = Machine(1)
    machine.put(TEXT, *choose.choices(words, k=LENGTH), m.b(-4 * LENGTH))
    return machine


class Child:
    """The layer as a process, between a gdb that the test plays and a simulated stub."""

    def __init__(self, machine: Machine, directory: Path) -> None:
        gdb, layer_gdb = socket.socketpair()
        layer_stub, stub = socket.socketpair()
        ready, says_ready = os.pipe()
        self.machine = machine
        self.server = StubServer(machine, stub, acks=False)
        self.gdb = Gdb(gdb, acks=False)
        self.log = directory / "log"
        with self.log.open("ab") as log, (directory / "record").open("wb+") as record:
            with layer_gdb, layer_stub:
                fds = [layer_gdb.fileno(), layer_stub.fileno(), says_ready]
                fds += [log.fileno(), record.fileno()]
                code = RUN.format(str(ROOT), ", ".join(map(str, fds)))
                command = [sys.executable, "-I", "-S", "-c", code]
                self.process = subprocess.Popen(command, pass_fds=fds, stderr=log)
            os.close(says_ready)
        try:
            with open(ready, "rb") as said:
                assert select.select([said], [], [], 3 * TIMEOUT)[0], "the layer says nothing"
                assert said.read() == b"ok"
        except BaseException:
            self.close()
            raise

    def memory(self) -> int:
        """What it has of memory, in KiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])

    def descriptors(self) -> int:
        """How many file descriptors it has."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def close(self) -> None:
        """gdb goes away, and the layer with it."""
        self.gdb.close()
        try:
            self.process.wait(TIMEOUT)
        finally:
            self.process.kill()
            self.process.wait()
            self.server.thread.join(TIMEOUT)


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    child = Child(guest(), tmp_path)
    yield child
    child.close()


def walk(child: Child, steps: int, choose: random.Random) -> None:
    """Steps, and what gdb asks for between them."""
    gdb = child.gdb
    others: list[Callable[[], object]] = [
        lambda: gdb.ask(b"g"),
        lambda: gdb.ask(b"m%x,40" % (TEXT + 64 * choose.randrange(LENGTH // 16))),
        lambda: gdb.ask(b"P4=%016x" % choose.getrandbits(64)),
        lambda: gdb.ask(b"qppc-sstep.status"),
        lambda: gdb.ask(b"qfThreadInfo"),
        lambda: gdb.ask(b"Hgp1.1"),
        lambda: gdb.ask(b"Qppc-sstep.interrupts=%s" % choose.choice([b"into", b"over"])),
        lambda: gdb.ask(b"Qppc-sstep.mask-interrupts=%s" % choose.choice([b"on", b"off"])),
        lambda: gdb.ask(b"vCont;r1;%x" % choose.getrandbits(32)),  # malformed
    ]
    planted: list[int] = []
    for count in range(steps):
        reply = gdb.ask(STEP)
        assert reply.startswith(b"T05thread:p01.01;") or reply == b"T05thread:p1.1;", reply
        if choose.random() < 0.1:
            choose.choice(others)()
        if choose.random() < 0.02:
            planted.append(TEXT + 4 * choose.randrange(LENGTH))
            assert gdb.ask(b"Z0,%x,4" % planted[-1]) == b"OK"
        if len(planted) > 3:
            assert gdb.ask(b"z0,%x,4" % planted.pop(0)) == b"OK"
        if count % 1000 == 0:
            for packets in (child.server.packets, child.machine.packets, child.machine.resumes):
                packets.clear()
        if count % 50_000 == 49_999:
            print(f"{count + 1} steps: {child.memory()} KiB, {child.descriptors()} descriptors")
    while planted:
        assert gdb.ask(b"z0,%x,4" % planted.pop()) == b"OK"


@pytest.mark.timeout(100_000)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc")
def test_memory_and_descriptors_stay_as_they_are(
    child: Child, request: pytest.FixtureRequest
) -> None:
    steps = STEPS * request.config.getoption("soak")
    choose = random.Random(request.config.getoption("seed") or 1)
    walk(child, STEPS // 2, choose)
    memory, descriptors = child.memory(), child.descriptors()
    walk(child, steps - STEPS // 2, choose)
    later = child.memory()
    print(f"{steps} steps: {memory} KiB and {descriptors} descriptors became")
    print(f"{later} KiB and {child.descriptors()}")
    assert child.descriptors() == descriptors
    assert later <= memory + MORE
    assert child.gdb.ask(b"qppc-sstep.status").startswith(b"7b")
    assert number(child.gdb.ask(PC)) == child.machine.cpu["pc"]
    assert child.machine.planted == {}
    assert not child.machine.cpu["msr"] & SE
    assert child.machine.executed >= steps
    child.gdb.close()
    assert child.process.wait(TIMEOUT) == 0
    assert child.log.read_text() == ""
