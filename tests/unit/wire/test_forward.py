# SPDX-License-Identifier: MIT
"""Packets that are not the layer's own pass, and damaged ones are sent again."""

from __future__ import annotations

import select

import pytest

from .. import machine as m
from ..machine import TEXT
from .rig import NOPS, PC, STEP, Start, framed, number, program, two_vcpus


@pytest.mark.parametrize("acks", [True, False], ids=["acks", "no acks"])
@pytest.mark.parametrize(
    ("payload", "reply"),
    [
        (b"qSupported:multiprocess+;vContSupported+", b"PacketSize=1000;multiprocess+"),
        (b"vMustReplyEmpty", b""),
        (b"X1000,6:}\x03}\x04}]}\n\x00\xff+-%", b"OK"),
        (b"x1000,4", b"b}\x03* \x00\xff}]"),
        (b"qXfer:memory-map:read::0,1000", b"l<map>0*~</map>"),
        (b"vFile:open:2f", b"F-1,2"),
        (b"Qqemu.sstep=0", b"OK"),
        (b"\x80\xfe\xff", b"\x81\x00\x03"),
        (b"qTStatus", b"T0;tnotrun:0"),  # no stop reply, though it begins with a T
    ],
)
def test_packets_that_it_does_not_own_pass_byte_for_byte(
    start: Start, payload: bytes, reply: bytes, acks: bool
) -> None:
    rig = start(program(m.NOP), acks=acks)
    rig.server.extra[payload] = reply
    rig.gdb.sock.sendall(framed(payload))
    if acks:
        assert rig.gdb.raw(1) == b"+"
    assert rig.gdb.raw(len(framed(reply))) == framed(reply)
    assert rig.server.packets == [payload]
    assert rig.gdb.ask(b"qC") == b"QCp01.01"


def test_output_of_a_monitor_command_comes_before_its_reply(start: Start) -> None:
    rig = start(program(m.NOP))
    rig.server.extra[b"qRcmd,6869"] = b"O68656c6c6f#%02x$OK" % (sum(b"O68656c6c6f") % 256)
    rig.gdb.sock.sendall(framed(b"qRcmd,6869"))
    wanted = b"+" + framed(b"O68656c6c6f")
    assert rig.gdb.raw(len(wanted)) == wanted


def test_several_packets_at_once_are_answered_in_order(start: Start) -> None:
    """gdb sends the next one without waiting only when it gave up on a reply."""
    rig = start(program(m.NOP), acks=False)
    rig.gdb.sock.sendall(framed(b"qC") + framed(PC) + framed(b"vMustReplyEmpty"))
    assert rig.gdb.receive() == b"QCp01.01"
    assert number(rig.gdb.receive()) == TEXT
    assert rig.gdb.receive() == b""


def test_notification_of_the_stub_passes(start: Start) -> None:
    rig = start(program(m.NOP), acks=False)
    rig.server.notify(b"Stop:T05thread:p01.01;")
    wanted = framed(b"Stop:T05thread:p01.01;", b"%")
    assert rig.gdb.raw(len(wanted)) == wanted


@pytest.mark.parametrize("packet", [b"qC", b"vCont;c", b"p", b"P", b"Z0", b"z0", b"m"])
@pytest.mark.parametrize("at_vector", [0, 1], ids=["", "with gdb's at the vector"])
def test_bad_checksum_from_the_stub_is_naked_and_the_resend_delivered(
    start: Start, packet: bytes, at_vector: int
) -> None:
    """Whether the packet is gdb's or the layer's own.  Of several that were sent at once, one
    is asked again.
    """
    rig = start(program(m.NOP))
    for _ in range(at_vector):
        assert rig.gdb.ask(b"Z0,%x,4" % m.TRACE) == b"OK"
    rig.server.garbled.add(packet)
    assert rig.gdb.ask(b"qC") == b"QCp01.01"
    assert rig.gdb.ask(STEP)[:3] == b"T05"
    assert number(rig.gdb.ask(PC)) == TEXT + 4
    assert rig.server.naks == (packet not in (b"p", b"Z0", b"z0"))
    assert rig.server.garbled == set()
    assert rig.machine.planted == ({m.TRACE: 1} if at_vector else {})


@pytest.mark.parametrize("packet", [b"Z0", b"P41="])
def test_garbled_refusal_among_others_is_no_consent(start: Start, packet: bytes) -> None:
    """The guest does not run when it is not known whether all is planted and armed."""
    machine = program(m.NOP)
    before = machine.state()
    rig = start(machine)
    rig.server.garbled.add(packet)
    rig.machine.reply[packet] = b"E22"
    assert rig.gdb.ask(STEP).startswith(b"E.ppc-sstep: the stub refused")
    assert rig.server.garbled == set()
    assert machine.planted == {}
    assert machine.resumes == []
    assert machine.state() == before


@pytest.mark.parametrize(("qemu", "acks"), [(True, True), (False, True), (False, False)])
def test_only_qemu_gets_a_packet_before_it_has_answered_the_last(
    start: Start, qemu: bool, acks: bool
) -> None:
    rig = start(program(m.NOP), qemu=qemu, acks=acks)
    assert rig.gdb.ask(STEP)[:3] == b"T05"
    assert bool(rig.server.bursts) == qemu


@pytest.mark.parametrize("packet", [b"qC", b"vCont;c", b"p", b"P", b"Z0", b"m"])
def test_packet_that_the_stub_naks_is_sent_again(start: Start, packet: bytes) -> None:
    rig = start(program(m.NOP))
    rig.server.missed.add(packet)
    assert rig.gdb.ask(b"qC") == b"QCp01.01"
    assert rig.gdb.ask(STEP)[:3] == b"T05"
    assert number(rig.gdb.ask(PC)) == TEXT + 4
    assert rig.server.missed == set()


def test_bad_checksum_from_gdb_is_naked_and_the_resend_forwarded(start: Start) -> None:
    rig = start(program(m.NOP))
    rig.gdb.sock.sendall(b"$qC#00")
    assert rig.gdb.raw(1) == b"-"
    assert rig.gdb.ask(b"qC") == b"QCp01.01"
    assert rig.server.packets == [b"qC"], "the bad one went nowhere"


@pytest.mark.parametrize("payload", [b"qC", STEP, b"qppc-sstep.status"])
def test_reply_that_gdb_naks_is_sent_again(start: Start, payload: bytes) -> None:
    rig = start(program(*NOPS))
    rig.gdb.send(payload)
    rig.gdb.acks = False
    first = rig.gdb.receive()
    count = len(rig.server.packets)
    rig.gdb.sock.sendall(b"-")
    assert rig.gdb.receive() == first
    rig.gdb.acks = True
    rig.gdb.sock.sendall(b"+")
    assert number(rig.gdb.ask(b"p42")) == rig.machine.cpu["cr"]
    assert len(rig.server.packets) == count + 1, "the stub was not asked again"


def test_packet_from_gdb_in_two_halves(start: Start) -> None:
    rig = start(program(m.NOP))
    packet = framed(STEP)
    for at in (1, 8, len(packet) - 2, len(packet) - 1):
        rig.machine.cpu["pc"] = TEXT
        rig.gdb.sock.sendall(packet[:at])
        assert not select.select([rig.gdb.sock], [], [], 0)[0]
        rig.gdb.sock.sendall(packet[at:])
        assert rig.gdb.raw(1) == b"+"
        assert rig.gdb.receive()[:3] == b"T05"


def test_write_that_the_stub_ignores_is_no_ok(start: Start) -> None:
    machine = two_vcpus()
    machine.first_only = True
    rig = start(machine)
    write = b"P%x=0000000000001234" % m.NUMBERS["srr0"]
    assert rig.gdb.ask(b"Hgp1.1") == rig.gdb.ask(write) == b"OK"
    rig.gdb.ask(b"Hgp1.2")
    assert rig.gdb.ask(write).startswith(b"E.ppc-sstep: ")
