# SPDX-License-Identifier: MIT
"""gdb's selected thread is as gdb has selected it."""

from __future__ import annotations

import pytest

from .. import machine as m
from .rig import STEP, Start, number, program, two_vcpus


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
    assert number(rig.gdb.ask(b"p8")) == 0x1002, "and is not selected again without need"
    assert rig.server.packets == [b"p8"]


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
