# SPDX-License-Identifier: MIT
"""The wall: a malformed packet, or an error of ours, ends nothing but its own request."""

from __future__ import annotations

import pytest

from gdb_ppc_sstep.engine.engine import Engine
from gdb_ppc_sstep.engine.settle import Settled, Settler
from gdb_ppc_sstep.engine.targets import Target
from gdb_ppc_sstep.rsp.resume import Resume, StopReply
from gdb_ppc_sstep.wire.forward import Forwarder

from ..machine import SE, TEXT, TRACE
from .rig import NOPS, PC, STEP, Rig, Start, number, program


def goes_on(rig: Rig) -> None:
    """The session still steps, and leaves a clean guest."""
    here = number(rig.gdb.ask(PC))
    assert rig.gdb.stop(STEP) == b"T05thread:p01.01;"
    assert number(rig.gdb.ask(PC)) == here + 4
    rig.settle()
    assert rig.machine.planted == {}
    assert not rig.machine.cpu["msr"] & SE
    rig.gdb.close()
    rig.ended()


@pytest.mark.parametrize(
    "payload",
    [
        b"Pzz=00",
        b"P40=0",
        b"P=",
        b"Zz,1",
        b"Z0,zz,4",
        b"z0",
        b"Hgzz",
        b"Hg",
        b"mzz,4",
        b"m",
        b"x",
        b"Mzz,1:00",
        b"qXfer:features:read",
        b"H",
        b"\xff\x00",
    ],
)
def test_what_is_the_stubs_business_is_forwarded_as_it_came(start: Start, payload: bytes) -> None:
    rig = start(program(*NOPS))
    rig.server.extra[payload] = b"E22"
    assert rig.gdb.ask(payload) == b"E22"
    assert payload in rig.server.packets
    del rig.server.extra[payload]
    goes_on(rig)


@pytest.mark.parametrize(
    "payload",
    [
        b"vCont;r1:p1.1",
        b"vCont;r1,:p1.1",
        b"vCont;r1,zz:p1.1",
        b"vCont;s:zz",
        b"vCont;s:",
        b"vCont;",
        b"vCont;;",
        b"vCont;\xff",
        b"sx",
        b"s1000",
        b"S",
        b"Szz",
        b"Cx",
        b"c-1",
        b"Qppc-sstep.ail=x",
        b"Qppc-sstep.ail=1",
        b"Qppc-sstep.interrupts=foo",
        b"Qppc-sstep.mask-interrupts=",
        b"Qppc-sstep.active=",
        b"Qppc-sstep.log=2",
        b"Qppc-sstep.log-file=zz",
        b"Qppc-sstep.log-file=ff",
        b"Qppc-sstep.log-file=00",
        b"Qppc-sstep.log-file=6c6f6700",
        b"Qppc-sstep.nothing=1",
        b"Qppc-sstep.",
        b"Qppc-sstep.\xff=1",
        b"qppc-sstep.clean:28",
        b"qppc-sstep.clean:zz",
        b"qppc-sstep.clean",
        b"qppc-sstep.left:" + b"([(b'p1.1', 1)], None)".hex().encode(),
        b"qppc-sstep.left:" + b"([], (1, 2))".hex().encode(),
        b"qppc-sstep.clean:" + b"(((((".hex().encode() * 200,
        b"qppc-sstep.status:",
        b"qppc-sstep.",
    ],
)
def test_what_is_ours_and_malformed_is_an_error_and_is_not_forwarded(
    start: Start, payload: bytes
) -> None:
    rig = start(program(*NOPS))
    rig.server.packets.clear()
    assert rig.gdb.ask(payload).startswith(b"E.ppc-sstep: ")
    assert payload not in rig.server.packets
    assert rig.machine.resumes == []
    goes_on(rig)


def test_a_thread_that_the_stub_refuses_is_not_selected(start: Start) -> None:
    """Else every later question about the thread that is selected would be refused as well."""
    rig = start(program(*NOPS))
    assert rig.gdb.ask(b"Hgp1.1") == b"OK"
    assert rig.gdb.ask(b"Hgp1.9") == b"E22"
    goes_on(rig)


class Bug(Exception):
    """What nobody expects."""


@pytest.mark.parametrize("where", ["before", "after", "always"])
def test_an_error_of_ours_ends_nothing_else(
    start: Start, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """before, after: the guest was resumed.  The traceback is logged, and the guest left clean."""
    real, failing = Settler.settle, [True]

    def settle(settler: Settler, stop: StopReply, target: Target | None) -> Settled:
        fails = failing[0]
        failing[0] = where == "always" and fails
        if not fails or (fails and where == "after"):
            settled = real(settler, stop, target)
        if fails:
            raise Bug("no such thing")
        return settled

    monkeypatch.setattr(Settler, "settle", settle)
    rig = start(program(*NOPS))
    assert rig.gdb.ask(STEP).startswith(b"E.ppc-sstep: internal error: Bug('no such thing')")
    assert "no such thing" in rig.log and "Traceback" in rig.log
    failing[0] = False
    assert number(rig.gdb.ask(PC)) in (TEXT, TEXT + 4)
    rig.settle()
    assert rig.machine.planted == {}
    assert not rig.machine.cpu["msr"] & SE
    assert rig.machine.cpu["pc"] != TRACE
    goes_on(rig)


def test_an_error_of_ours_in_a_packet_that_is_answered_already(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Engine.prepare

    def prepare(engine: Engine, request: Resume, *, arm: bool) -> None:
        raise Bug("no such thing")

    monkeypatch.setattr(Engine, "prepare", prepare)
    rig = start(program(*NOPS))
    assert rig.gdb.stop(STEP) == b"T05thread:p01.01;"
    assert number(rig.gdb.ask(PC)) == TEXT + 4
    assert "no such thing" in rig.log
    monkeypatch.setattr(Engine, "prepare", real)
    goes_on(rig)


@pytest.mark.parametrize(
    ("payload", "start_of_reply"),
    [(b"qC", b"E.ppc-sstep: internal error: Bug("), (b"vOther", b"yes")],
    ids=["a question", "pending"],
)
def test_an_error_of_ours_about_a_reply_of_the_stub(
    start: Start, monkeypatch: pytest.MonkeyPatch, payload: bytes, start_of_reply: bytes
) -> None:
    """gdb gets one reply, and the next packet has its own."""
    rig = start(program(*NOPS))
    rig.server.extra[payload] = b"yes"

    def replied(*_: object) -> bytes:
        raise Bug("no such thing")

    with monkeypatch.context() as patch:
        patch.setattr(Forwarder, "_replied", replied)
        assert rig.gdb.ask(payload).startswith(start_of_reply)
    assert number(rig.gdb.ask(PC)) == TEXT
    assert "no such thing" in rig.log
    goes_on(rig)
