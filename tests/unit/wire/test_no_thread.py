# SPDX-License-Identifier: MIT
"""Clients that select no thread, at a stub that answers `?` without one, as QEMU 11 does."""

from __future__ import annotations

import pytest

from .. import machine as m
from ..machine import TEXT, Machine
from .rig import MSR, PC, Rig, Start, number, program, two_vcpus

HALTED = b"T05core:01;"
STEPS = (b"s", b"vCont;s", b"vCont;s:p1.-1", b"vCont;s:p1.0", b"vCont;s;c", b"S05")


@pytest.fixture
def halted(start: Start) -> tuple[Rig, Machine]:
    """A client that has asked `?` and nothing else; two vCPUs, of which r9 tells which it is."""
    machine = two_vcpus()
    rig = start(machine)
    rig.server.extra[b"?"] = HALTED
    assert rig.gdb.ask(b"?") == HALTED
    return rig, machine


@pytest.mark.parametrize("step", STEPS)
def test_the_first_vcpu_is_stepped(step: bytes, halted: tuple[Rig, Machine]) -> None:
    rig, machine = halted
    machine.frozen.add(1)
    assert rig.gdb.stop(step) == b"T05thread:p01.01;"
    assert number(rig.gdb.ask(PC)) == TEXT + 4
    assert number(rig.gdb.ask(b"p9")) == 0x1001
    assert not number(rig.gdb.ask(MSR)) & m.SE


@pytest.mark.parametrize("step", STEPS)
def test_then_the_one_that_has_stopped(step: bytes, halted: tuple[Rig, Machine]) -> None:
    """Which is not the one that `qC` names: QEMU steps the CPU of the last stop (handle_step)."""
    rig, machine = halted
    machine.frozen.add(0)
    assert rig.gdb.ask(b"Z0,%x,4" % (TEXT + 4)) == b"OK"
    assert rig.gdb.stop(b"c") == b"T05thread:p01.02;"
    assert rig.gdb.ask(b"z0,%x,4" % (TEXT + 4)) == b"OK"
    assert rig.gdb.stop(step) == b"T05thread:p01.02;"
    assert number(rig.gdb.ask(PC)) == TEXT + 8
    assert number(rig.gdb.ask(b"p9")) == 0x1002
    assert machine.vcpus[0]["pc"] == TEXT


def test_the_old_step_is_of_the_thread_of_hc(halted: tuple[Rig, Machine]) -> None:
    rig, machine = halted
    machine.frozen.add(0)
    rig.server.extra[b"Hc-1"] = b"OK"
    assert rig.gdb.ask(b"Hcp1.2") == b"OK"
    assert rig.gdb.ask(b"Hc-1") == b"OK"
    assert rig.gdb.stop(b"s") == b"T05thread:p01.02;"
    assert machine.vcpus[0]["pc"] == TEXT


@pytest.mark.parametrize("any_or_all", [(), (b"Hg0", b"Hgp0.0", b"Hg-1")])
def test_registers_are_the_first_vcpus_though_we_have_looked_at_another(
    any_or_all: tuple[bytes, ...], halted: tuple[Rig, Machine]
) -> None:
    rig, machine = halted
    rig.server.extra.update(dict.fromkeys(any_or_all, b"OK"))
    machine.reply[b"Z0"] = b"E22"
    assert rig.gdb.ask(b"vCont;s:p1.2;c:p1.-1").startswith(b"E.")
    assert machine.selected == 1
    for packet in any_or_all:  # which selects none
        assert rig.gdb.ask(packet) == b"OK"
    assert number(rig.gdb.ask(b"p9")) == 0x1001


def test_any_thread_is_the_one_that_was_selected(halted: tuple[Rig, Machine]) -> None:
    rig, _machine = halted
    assert rig.gdb.ask(b"Hgp1.2") == b"OK"
    assert rig.gdb.ask(b"Hg0") == b"OK"
    assert number(rig.gdb.ask(b"p9")) == 0x1002


@pytest.mark.parametrize("first", [b"g", b"p9", b"m%x,4" % TEXT, b"s", b"vCont;s:p1.1;c"])
def test_the_description_is_read_before_any_packet_of_the_clients(
    first: bytes, start: Start
) -> None:
    """QEMU 7.2 aborts at a `g` before that (gdbstub.c:1748, handle_read_all_regs)."""
    rig = start(program(m.NOP), ready=False)
    rig.gdb.sock.sendall(b"$%s#%02x" % (first, sum(first) % 256))  # before the layer has said ok
    assert rig.start() == "ok"
    if rig.gdb.acks:
        assert rig.gdb.raw(1) == b"+"
    assert rig.gdb.receive()
    kinds = [packet[:5] for packet in rig.server.packets]
    described = kinds.index(b"qXfer")
    assert not any(kind[:1] in (b"g", b"G", b"p", b"P") for kind in kinds[:described])
