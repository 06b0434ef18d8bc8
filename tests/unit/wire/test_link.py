# SPDX-License-Identifier: MIT
"""The link to the stub over sockets, by itself."""

from __future__ import annotations

import select
import socket
import threading

import pytest

from gdb_ppc_sstep.carrier import link as link_module
from gdb_ppc_sstep.errors import StubGone, StubSilent
from gdb_ppc_sstep.rsp.framing import Packet
from gdb_ppc_sstep.wire.link import WireLink

from .rig import TIMEOUT, framed


def test_interrupt_before_a_resume_is_passed_on_after_it(
    wire: tuple[WireLink, socket.socket, socket.socket],
) -> None:
    link, gdb, stub = wire
    gdb.sendall(b"\x03")
    assert link.wire.wait(TIMEOUT)
    stub.sendall(framed(b"T02thread:p01.01;"))
    assert link.resume(b"vCont;c") == b"T02thread:p01.01;"
    assert stub.recv(100) == framed(b"vCont;c") + b"\x03"
    assert link.interrupted()
    assert not link.interrupted()


def test_interrupt_that_came_too_late_is_known_all_the_same(
    wire: tuple[WireLink, socket.socket, socket.socket],
) -> None:
    link, gdb, stub = wire
    gdb.sendall(b"\x03" + framed(b"g"))
    assert link.interrupted()
    assert not link.interrupted()
    assert list(link.wire.gdb.items) == [Packet(b"g")], "what else came is kept"
    assert not select.select([stub], [], [], 0)[0]


def test_resume_is_interrupted_by_itself_when_that_is_due(
    wire: tuple[WireLink, socket.socket, socket.socket],
) -> None:
    link, _gdb, stub = wire

    def answer() -> None:
        stub.recv(len(framed(b"c")), socket.MSG_WAITALL)
        assert stub.recv(1) == b"\x03"
        stub.sendall(framed(b"T02"))

    answered = threading.Thread(target=answer, daemon=True)
    answered.start()
    with link.interrupting_at(0.0):
        assert link.resume(b"c") == b"T02"
    answered.join(TIMEOUT)
    assert not answered.is_alive()
    assert not link.interrupted(), "nobody asked for it"


def test_call_raises_when_the_stub_is_gone(
    wire: tuple[WireLink, socket.socket, socket.socket],
) -> None:
    """Whether that is found when sending or when waiting."""
    link, _gdb, stub = wire
    stub.close()
    with pytest.raises(StubGone):
        link.call(b"g")


def test_call_raises_when_the_stub_is_silent(
    wire: tuple[WireLink, socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "REPLY_TIMEOUT", 0.05)
    link, *_ = wire
    with pytest.raises(StubSilent):
        link.call(b"g")


def test_call_passes_over_what_is_no_packet(
    wire: tuple[WireLink, socket.socket, socket.socket],
) -> None:
    link, _gdb, stub = wire
    stub.sendall(b"++" + framed(b"Stop:T05", b"%") + framed(b"OK"))
    assert link.call(b"g") == b"OK"
