# SPDX-License-Identifier: MIT
"""The layer learns what stub it has before gdb may speak."""

from __future__ import annotations

import pytest

from gdb_ppc_sstep.carrier import link as link_module

from .. import machine as m
from ..machine import TEXT
from .rig import PC, STEP, Start, framed, number, program


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
    monkeypatch.setattr(link_module, "REPLY_TIMEOUT", 0.1)
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
