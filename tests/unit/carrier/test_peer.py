# SPDX-License-Identifier: MIT
"""One end of the connection by itself."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from gdb_ppc_sstep.carrier.peer import Peer
from gdb_ppc_sstep.rsp.framing import INTERRUPT, LONGEST, Byte, Packet
from gdb_ppc_sstep.stub.recent import LONGEST as KEPT
from gdb_ppc_sstep.wire.wire import GdbGone

from ..wire.rig import TIMEOUT, framed


@pytest.fixture
def pair() -> Iterator[tuple[Peer, socket.socket]]:
    """A peer, and the socket at the other side of it."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(TIMEOUT)
    with ours, theirs:
        yield Peer(ours, "peer", GdbGone()), theirs


@pytest.fixture
def to_server() -> Iterator[tuple[Peer, socket.socket]]:
    """A peer whose other side is a server, and the socket there."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(TIMEOUT)
    with ours, theirs:
        yield Peer(ours, "stub", GdbGone(), is_server=True), theirs


def test_of_a_long_packet_only_the_beginning_is_kept(
    pair: tuple[Peer, socket.socket],
) -> None:
    """In both directions: a client cannot fill our memory."""
    peer, other = pair
    peer.send(b"s" * (KEPT + 1))
    other.sendall(framed(b"r" * (KEPT + 1)) + framed(b"OK"))
    while len(peer.items) < 2:
        peer.fill()
    kept = peer.recent.texts()
    assert kept == ["peer <- " + "s" * KEPT, "peer -> " + "r" * KEPT, "peer -> OK"]
    assert peer.items[0] == Packet(b"r" * (KEPT + 1)), "what is done with it is done with all of it"


def test_peer_waits_for_the_second_half(pair: tuple[Peer, socket.socket]) -> None:
    peer, other = pair
    for piece in (b"$O", b"K#", b"9"):
        other.sendall(piece)
        peer.fill()
        assert not peer.items
    other.sendall(b"a\x03")
    peer.fill()
    assert list(peer.items) == [Packet(b"OK"), Byte(b"\x03")]
    peer.acknowledge()
    assert other.recv(100) == b"+"


def test_peer_acknowledges_only_if_that_is_agreed(pair: tuple[Peer, socket.socket]) -> None:
    peer, other = pair
    peer.acks = False
    other.sendall(b"$OK#9a$OK#00")
    peer.fill()
    assert list(peer.items) == [Packet(b"OK")]
    assert not select.select([other], [], [], 0)[0]


def test_peer_takes_what_is_sent_again_once(pair: tuple[Peer, socket.socket]) -> None:
    """By one that had no acknowledgement in time.  Later the same may be asked again."""
    peer, other = pair
    for _ in range(2):
        for data in (b"$OK#9a", b"$OK#9a$OK#9a"):
            other.sendall(data)
            peer.fill()
        assert list(peer.items) == [Packet(b"OK")]
        peer.items.clear()
        peer.acknowledge()
        assert other.recv(100) == b"+"


def test_peer_that_answers_late_takes_what_was_sent_again_meanwhile_once(
    pair: tuple[Peer, socket.socket],
) -> None:
    """As after SIGSTOP: the copies have come, and are not read yet."""
    peer, other = pair
    other.sendall(b"$s#73")
    peer.fill()
    assert peer.heard is not None
    peer.heard -= 5
    other.sendall(b"$s#73$s#73\x03")
    peer.send(b"T05")
    assert other.recv(100) == b"+$T05#b9"
    assert list(peer.items) == [Packet(b"s"), Byte(INTERRUPT)]
    other.sendall(b"+$s#73")
    peer.fill()
    assert list(peer.items)[2:] == [Packet(b"s")]


def test_peer_takes_an_answer_that_is_sent_again_once(
    to_server: tuple[Peer, socket.socket],
) -> None:
    """By a server.  What a monitor command or the guest prints may well be twice the same."""
    peer, theirs = to_server
    peer.send(b"c")
    theirs.sendall(b"+" + 2 * framed(b"O41") + 2 * framed(b"T05"))
    peer.fill()
    theirs.sendall(b"$T05#b9")
    peer.fill()
    assert list(peer.items) == [Packet(b"O41"), Packet(b"O41"), Packet(b"T05")]
    peer.send(b"s")
    theirs.sendall(b"+$T05#b9")
    peer.fill()
    assert list(peer.items)[3:] == [Packet(b"T05")]


def test_peer_sends_nothing_behind_a_request_for_what_came_again(
    to_server: tuple[Peer, socket.socket],
) -> None:
    """A server that runs the guest by now, as QEMU, would take a `+` for an interrupt."""
    peer, theirs = to_server
    peer.send(b"P1=0")
    theirs.sendall(b"+$OK#9a")
    peer.fill()
    peer.send(b"vCont;c")
    assert theirs.recv(100) == framed(b"P1=0") + b"+" + framed(b"vCont;c")
    theirs.sendall(b"$OK#9a")
    peer.fill()
    peer.acknowledge()
    assert not select.select([theirs], [], [], 0)[0]
    assert list(peer.items) == [Packet(b"OK")]


def test_peer_answers_a_bad_checksum(pair: tuple[Peer, socket.socket]) -> None:
    peer, other = pair
    other.sendall(b"$OK#00")
    peer.fill()
    assert not peer.items
    assert other.recv(100) == b"-"


def test_peer_sends_again_what_is_naked(pair: tuple[Peer, socket.socket]) -> None:
    peer, other = pair
    peer.send(b"m0,4")
    assert other.recv(100) == b"$m0,4#fd"
    other.sendall(b"-")
    peer.fill()
    assert other.recv(100) == b"$m0,4#fd"
    assert not peer.items


def test_peer_hands_a_nak_on_that_is_not_about_its_own(pair: tuple[Peer, socket.socket]) -> None:
    peer, other = pair
    other.sendall(b"$g#67-")
    peer.fill()
    assert list(peer.items) == [Packet(b"g"), Byte(b"-")]


def test_peer_says_when_the_other_side_is_gone(pair: tuple[Peer, socket.socket]) -> None:
    peer, other = pair
    other.close()
    with pytest.raises(GdbGone):
        peer.fill()
    with pytest.raises(GdbGone):
        peer.send(b"g")


def test_peer_takes_no_packet_without_end(pair: tuple[Peer, socket.socket]) -> None:
    peer, other = pair
    sending = threading.Thread(target=other.sendall, args=(b"$" + b"x" * (LONGEST + 65536),))
    sending.start()
    with pytest.raises(GdbGone, match="it sent a packet of more than 1 MiB"):
        while True:
            assert peer.fill()
            assert not peer.items
    peer.sock.close()
    other.close()
    sending.join(TIMEOUT)


def test_peer_knows_when_a_packet_came(pair: tuple[Peer, socket.socket]) -> None:
    peer, other = pair
    other.sendall(b"+$OK#9")
    peer.fill()
    assert peer.heard is None
    before = time.monotonic()
    other.sendall(b"a")
    peer.fill()
    assert peer.heard is not None and before <= peer.heard <= time.monotonic()
