# SPDX-License-Identifier: MIT
"""The stub goes away, or is silent."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from gdb_ppc_sstep.carrier import link as link_module
from gdb_ppc_sstep.errors import StubSilent
from gdb_ppc_sstep.wire.link import WireLink

from .. import machine as m
from ..machine import TEXT
from .rig import CONTINUE, NOPS, PC, STEP, Rig, Start, framed, program


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
    monkeypatch.setattr(link_module, "REPLY_TIMEOUT", 0.1)
    rig.server.quiet.add(packet)
    rig.gdb.send(STEP)
    assert rig.gdb.rest() == b""
    rig.ended()
    assert rig.log == (
        "ppc-sstep: the stub did not answer within 0.1 seconds; the connection is closed\n"
    )


def test_resume_that_the_stub_does_not_take_ends_it(
    wire: tuple[WireLink, socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With acknowledgements; what runs may run for ever."""
    link, _, _ = wire
    link.wire.acknowledgements(True)
    monkeypatch.setattr(link_module, "REPLY_TIMEOUT", 0.1)
    with pytest.raises(StubSilent, match="did not answer"):
        link.resume(b"vCont;c")


def test_reply_that_comes_twice_is_used_once(
    wire: tuple[WireLink, socket.socket, socket.socket],
) -> None:
    """The second one may come before or after the next request has been sent."""
    link, _, stub = wire
    link.wire.acknowledgements(True)
    stub.sendall(framed(b"T05") + framed(b"T05") + b"+" + framed(b"one") + framed(b"one"))
    assert link.call(b"p1") == b"one"
    stub.sendall(framed(b"one") + b"+" + framed(b"two"))
    assert link.call(b"p2") == b"two"


@pytest.mark.parametrize("number", [1, 2])
def test_reply_that_comes_twice_among_several_is_used_once(
    wire: tuple[WireLink, socket.socket, socket.socket], number: int
) -> None:
    link, _, stub = wire
    link.wire.acknowledgements(True)
    link.wire.enable_bursts()
    first, second = b"+" + framed(b"one"), b"+" + framed(b"two")
    again = framed(b"one") if number == 1 else framed(b"two")
    stub.sendall(first + (again if number == 1 else b"") + second + (again if number == 2 else b""))
    assert link.begin([b"p1", b"p2"])() == [b"one", b"two"]
    stub.sendall(b"+" + framed(b"three"))
    assert link.call(b"p3") == b"three"


def test_a_write_among_several_that_is_lost_is_repeated_before_the_end(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "REPLY_TIMEOUT", 0.2)
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
    wire: tuple[WireLink, socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose reply the other is cannot be told."""
    link, _, stub = wire
    link.wire.acknowledgements(True)
    link.wire.enable_bursts()
    monkeypatch.setattr(link_module, "REPLY_TIMEOUT", 0.1)
    stub.sendall(b"++" + framed(b"two"))
    with pytest.raises(StubSilent, match="did not answer"):
        link.begin([b"p1", b"p2"])()


def test_guest_that_does_not_stop_for_a_gdb_that_is_gone_ends_it(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = start(program(m.NOP))
    monkeypatch.setattr(link_module, "REPLY_TIMEOUT", 0.1)
    rig.server.quiet.add(b"vCont;c")
    rig.gdb.send(CONTINUE)
    rig.gdb.close()
    rig.ended()
    assert rig.log == "ppc-sstep: the guest did not stop; the connection is closed\n"


@pytest.mark.parametrize("full", [False, True])
def test_the_last_packets_are_left_for_a_report(full: bool, tmp_path: Path) -> None:
    """In a file of whoever has started the layer; a disk that is full is no error."""
    where = Path("/dev/full") if full else tmp_path / "last"
    with where.open("wb") as last:
        rig = Rig(program(m.NOP), tmp_path / "log", last=last.fileno())
        try:
            assert rig.start() == "ok"
            assert rig.gdb.stop(STEP) == b"T05thread:p01.01;"
            rig.server.hang_up()
            rig.gdb.rest()
            rig.ended()
        finally:
            rig.close()
    if not full:
        told = json.loads(where.read_text())
        assert told["status"]["steps"] == 1
        assert any(line.startswith("stub -> T05thread") for line in told["packets"])
        assert told["host"][0].startswith("gdb_ppc_sstep ")
