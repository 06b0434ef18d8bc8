# SPDX-License-Identifier: MIT
"""gdb lets go of the guest."""

from __future__ import annotations

import pytest

from gdb_ppc_sstep.carrier import link as link_module

from .. import machine as m
from ..machine import SE
from .rig import HANDLER, STEP, Start, in_handler, program


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
    monkeypatch.setattr(link_module, "REPLY_TIMEOUT", 0.5)
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
