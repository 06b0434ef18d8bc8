# SPDX-License-Identifier: MIT
"""Watchpoints through the layer, between a gdb and the stub of a KVM HV guest."""

from __future__ import annotations

import pytest

from .. import linux
from .. import machine as m
from .. import words as w
from ..dawr_machine import DawrMachine
from ..machine import TEXT
from .rig import CONTINUE, INFO_KVM, TIMEOUT, Rig, Start, StubServer, framed, number

DATA = 0xC000000000C00100
COUNT = (w.ld(5, 6), m.addi(5, 5, 1), w.std(5, 6), m.b(-12))
Z2, REMOVED = b"Z2,%x,8" % DATA, b"z2,%x,8" % DATA
HIT = b"T05watch:%x;" % DATA
DAWRX = m.NUMBERS["dawrx0"]


class KvmServer(StubServer):
    """A stub of QEMU with KVM."""

    def _reply(self, payload: bytes) -> bytes | None:
        if payload == INFO_KVM:
            self._send(b"O" + b"kvm support: enabled\r\n".hex().encode())
            return b"OK"
        return super()._reply(payload)


def counting(*, vcpus: int = 1, honours: bool = True) -> DawrMachine:
    """The first vCPU counts; others do nothing."""
    machine = linux.booted(*COUNT, vcpus=vcpus, honours=honours)
    for cpu in machine.vcpus:
        cpu.update(r6=DATA, pc=TEXT + 0x400)
    machine.cpu["pc"] = TEXT
    machine.put(TEXT + 0x400, m.SELF)
    machine.put_value(DATA, 0)
    return machine


def started(start: Start, machine: DawrMachine) -> Rig:
    rig = start(machine, server=KvmServer)
    assert rig.gdb.ask(b"Hgp1.1") == b"OK"
    return rig


def armed(machine: DawrMachine) -> list[int]:
    """The vCPUs that have a window."""
    return [n for n, cpu in enumerate(machine.vcpus, 1) if cpu["dawrx0"] & 0x60]


def hit(rig: Rig, count: int) -> None:
    """A continue that ends at the store, and gdb's step over it."""
    assert rig.gdb.stop(CONTINUE).startswith(HIT)
    assert number(rig.gdb.ask(b"p40")) == TEXT + 8
    assert rig.machine.value(DATA) == count  # type: ignore[attr-defined]
    assert rig.gdb.ask(REMOVED) == b"OK"
    assert rig.gdb.stop(b"vCont;s:p1.1").startswith(b"T05thread:")
    assert rig.gdb.ask(Z2) == b"OK"


def test_a_stub_that_takes_it_keeps_it(start: Start) -> None:
    machine = counting()
    machine.reply[b"Z2"] = machine.reply[b"z2"] = b"OK"
    rig = started(start, machine)
    assert rig.gdb.ask(Z2) == b"OK"
    assert rig.gdb.ask(REMOVED) == b"OK"
    assert rig.gdb.ask(Z2) == b"OK"
    machine.stop_at[0, TEXT + 8] = b"T05watch:%x;thread:p01.01;" % DATA
    assert rig.gdb.stop(CONTINUE).startswith(HIT)
    asked = [packet for packet in rig.server.packets if packet[:2] in (b"Z2", b"z2")]
    assert asked == [Z2, REMOVED, Z2]
    assert not any(packet.startswith(b"P%x=" % DAWRX) for packet in rig.server.packets)


def test_a_stub_that_refuses_it_is_not_asked_again(start: Start) -> None:
    machine = counting()
    rig = started(start, machine)
    assert rig.gdb.ask(Z2) == b"OK"
    for count in range(3):
        hit(rig, count)
    asked = [packet for packet in rig.server.packets if packet[:2] in (b"Z2", b"z2")]
    assert asked == [Z2]
    assert rig.log == ""
    assert rig.gdb.ask(REMOVED) == b"OK"
    assert rig.gdb.ask(b"D;1") == b"OK"
    assert armed(machine) == []
    assert machine.planted == {}


@pytest.mark.parametrize("vcpus", [1, 2])
@pytest.mark.parametrize("removed", [True, False])
def test_detach(start: Start, removed: bool, vcpus: int) -> None:
    machine = counting(vcpus=vcpus)
    rig = started(start, machine)
    rig.gdb.ask(Z2)
    hit(rig, 0)
    assert rig.gdb.stop(CONTINUE).startswith(HIT)
    assert armed(machine) == list(range(1, vcpus + 1))
    if removed:
        assert rig.gdb.ask(REMOVED) == b"OK"
    assert rig.gdb.ask(b"D;1") == b"OK"
    assert armed(machine) == []
    assert machine.planted == {}
    rig.gdb.close()
    rig.ended()
    assert rig.log == ""
    assert linux.breaks(machine) == 0


@pytest.mark.parametrize("vcpus", [1, 2])
@pytest.mark.parametrize("while_it_runs", [False, True])
def test_gdb_goes_away(start: Start, while_it_runs: bool, vcpus: int) -> None:
    machine = counting(vcpus=vcpus)
    rig = started(start, machine)
    rig.gdb.ask(Z2)
    hit(rig, 0)
    if while_it_runs:
        machine.put(TEXT + 12, m.SELF)
        rig.gdb.send(CONTINUE)
        assert rig.server.running.wait(TIMEOUT)
    else:
        assert rig.gdb.stop(CONTINUE).startswith(HIT)
    rig.gdb.close()
    rig.ended()
    assert armed(machine) == []
    assert machine.planted == {}
    assert rig.log == ""


def output(text: str) -> bytes:
    """Text of the guest, which gdb prints while it waits for a stop."""
    return b"O" + text.encode().hex().encode()


def test_a_line_for_the_user_comes_while_gdb_waits(start: Start) -> None:
    """As output of the guest, before the stop; gdb would take it for a reply anywhere else."""
    machine = counting(honours=False)
    rig = started(start, machine)
    assert rig.gdb.ask(Z2) == b"OK"
    rig.gdb.send(CONTINUE)
    line = "this host does not honour a DAWR of 8 bytes: watching by steps, which is slow"
    assert rig.gdb.receive() == output(f"ppc-sstep: {line}\n")
    assert rig.gdb.stop().startswith(HIT)
    assert rig.gdb.ask(REMOVED) == b"OK"
    assert rig.gdb.stop(b"vCont;s:p1.1").startswith(b"T05thread:")
    assert rig.gdb.ask(Z2) == b"OK"
    assert rig.gdb.stop(CONTINUE).startswith(HIT), "it is told once"
    assert rig.log == ""


def test_a_line_for_the_user_goes_to_the_log_when_gdb_asks_for_nothing_that_runs(
    start: Start,
) -> None:
    """Here: it detaches, and the hypervisor does not take the window away."""
    machine = counting(vcpus=2)
    rig = started(start, machine)
    rig.gdb.ask(Z2)
    hit(rig, 0)
    assert rig.gdb.stop(CONTINUE).startswith(HIT)
    assert armed(machine) == [1, 2]
    machine.honours = False
    rig.gdb.send(b"D;1")
    assert rig.gdb.receive() == b"OK", "no packet of output comes before it"
    assert "the watchpoints do not see p1.2: the hypervisor has no DAWR: it answers -55" in rig.log


def test_ctrl_c_while_it_watches(start: Start) -> None:
    machine = counting()
    machine.put(TEXT, m.SELF)
    rig = started(start, machine)
    rig.gdb.ask(Z2)
    rig.gdb.send(CONTINUE)
    assert rig.server.running.wait(TIMEOUT)
    rig.gdb.sock.sendall(b"\x03")
    assert rig.gdb.stop()[:3] == b"T02"
    assert rig.gdb.ask(REMOVED) == b"OK"
    assert rig.gdb.ask(b"D;1") == b"OK"
    assert armed(machine) == []


def test_a_malformed_watchpoint_ends_nothing(start: Start) -> None:
    rig = started(start, counting())
    for payload in (b"Z2,", b"Z2,xyz,8", b"z2,1", b"Z3,%x,zz" % DATA):
        rig.gdb.sock.sendall(framed(payload))
        assert rig.gdb.raw(1) == b"+"
        assert rig.gdb.receive()[:1] in (b"E", b"")
    rig.gdb.ask(Z2)
    hit(rig, 0)
