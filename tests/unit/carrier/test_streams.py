# SPDX-License-Identifier: MIT
"""A terminal as a connection of the layer's: a serial line, as gdb leaves it."""

from __future__ import annotations

import os
import socket
import termios
import threading
import tty
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

from gdb_ppc_sstep.carrier.peer import Peer
from gdb_ppc_sstep.carrier.streams import Descriptor, limit_wait
from gdb_ppc_sstep.errors import StubGone
from gdb_ppc_sstep.rsp.breakpoints import GdbBreakpoints
from gdb_ppc_sstep.rsp.framing import Packet
from gdb_ppc_sstep.wire.link import WireLink
from gdb_ppc_sstep.wire.wire import GdbGone, Wire

from ..wire.rig import TIMEOUT, framed


def as_gdb_has_it(fd: int) -> None:
    """Make a terminal raw, and let no read of it wait (gdb 13.1 ser-unix.c hardwire_raw)."""
    tty.setraw(fd)
    attributes = termios.tcgetattr(fd)
    attributes[6][termios.VMIN] = attributes[6][termios.VTIME] = 0
    termios.tcsetattr(fd, termios.TCSANOW, attributes)


@pytest.fixture
def ends() -> Iterator[list[int]]:
    """The master and the other end of a pseudoterminal; the test may close either (-1)."""
    fds = list(os.openpty())
    as_gdb_has_it(fds[1])
    yield fds
    for fd in fds:
        with suppress(OSError):
            os.close(fd)


def close(ends: list[int], which: int) -> None:
    os.close(ends[which])
    ends[which] = -1


@pytest.mark.parametrize("which", [0, 1], ids=["its other end", "the line"])
def test_a_terminal_is_read_and_written(ends: list[int], which: int) -> None:
    peer = Peer(Descriptor(ends[which]), "peer", GdbGone())
    os.write(ends[1 - which], b"$O")
    assert peer.fill()
    assert not peer.items
    os.write(ends[1 - which], b"K#9a")
    while not peer.items:
        peer.fill()
    assert list(peer.items) == [Packet(b"OK")]
    peer.send(bytes(range(1, 0x20)) + b"\x7f\xff")  # what a terminal that is not raw would act upon
    assert os.read(ends[1 - which], 100) == b"+" + framed(bytes(range(1, 0x20)) + b"\x7f\xff")


@pytest.mark.parametrize("which", [0, 1], ids=["its other end", "the line"])
def test_a_terminal_that_is_silent_is_not_at_its_end(ends: list[int], which: int) -> None:
    stream = Descriptor(ends[which])
    with pytest.raises(BlockingIOError):
        stream.recv(10, socket.MSG_DONTWAIT)
    limit_wait(stream, 0.01)
    with pytest.raises(BlockingIOError):
        stream.recv(10)


@pytest.mark.parametrize("which", [0, 1], ids=["its other end", "the line"])
def test_what_was_sent_before_the_end_is_read_before_it(ends: list[int], which: int) -> None:
    """Who is at the other end has closed it."""
    peer = Peer(Descriptor(ends[which]), "peer", GdbGone())
    peer.acks = False
    if which == 0:  # what is on its way to the other side is lost when the master is closed
        os.write(ends[1], framed(b"D"))
    close(ends, 1 - which)
    if which == 0:
        assert peer.fill()
        assert list(peer.items) == [Packet(b"D")]
    with pytest.raises(GdbGone):
        peer.fill()
    if which == 1:
        with pytest.raises(GdbGone):
            peer.send(b"g")


def test_more_than_a_terminal_holds_is_sent(ends: list[int]) -> None:
    """A terminal holds some kilobytes: the rest is written when there is room."""
    data = bytes(range(0x30, 0x70)) * 1024
    sending = threading.Thread(target=Descriptor(ends[1]).sendall, args=(data,), daemon=True)
    sending.start()
    received = b""
    while len(received) < len(data):
        received += Descriptor(ends[0]).recv(65536)
    sending.join(TIMEOUT)
    assert received == data


def test_the_wire_polls_a_terminal(ends: list[int]) -> None:
    gdb, other = socket.socketpair()
    with gdb, other, closing(Descriptor(os.dup(ends[1]))) as line:
        link = WireLink(Wire(gdb, line), GdbBreakpoints())
        link.wire.acknowledgements(False)
        link.wire.enable_polling()
        assert link.wire.polls
        idle = []
        os.write(ends[0], framed(b"OK"))
        assert link.call(b"g") == b"OK"
        assert not link.wire.wait(0.01, first=link.wire.stub, idle=lambda: idle.append(True))
        assert idle
        close(ends, 0)
        with pytest.raises(StubGone):
            link.call(b"g")
