# SPDX-License-Identifier: MIT
"""Clients that are not served: when one begins to speak, and what it is told."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from gdb_ppc_sstep.errors import SstepError
from gdb_ppc_sstep.wire import refusal
from gdb_ppc_sstep.wire.wire import GdbGone

from .rig import TIMEOUT, Gdb


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The service's socket, and the client's."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.mark.parametrize("said", [b"$", b"+$qC#b4", b"\x03++$", b"GET /\r\n$q"])
def test_the_first_packet(said: bytes, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.sendall(said)
    refusal.begins(ours, TIMEOUT)
    assert ours.recv(100) == said[said.index(b"$") :]


@pytest.mark.parametrize("said", [b"", b"++", b"GET / HTTP/1.1\r\n\r\n"])
def test_no_packet(said: bytes, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.sendall(said)
    with pytest.raises(SstepError, match=r"it sent no packet within 0\.05 seconds"):
        refusal.begins(ours, 0.05)
    theirs.close()
    with pytest.raises(GdbGone):
        refusal.begins(ours, TIMEOUT)


def test_noise_does_not_make_the_time_longer(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    over = threading.Event()

    def noise() -> None:
        while not over.wait(0.001):
            theirs.sendall(b"x" * 100)

    thread = threading.Thread(target=noise)
    thread.start()
    try:
        with pytest.raises(SstepError, match="it sent no packet"):
            refusal.begins(ours, 0.05)
    finally:
        over.set()
        thread.join()


def test_every_request_is_answered(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    thread = threading.Thread(target=refusal.refuse, args=(ours, "because of #1"))
    thread.start()
    client = Gdb(theirs, acks=True)
    assert client.ask(b"qSupported:multiprocess+") == client.ask(b"QStartNoAckMode") == b""
    for request in (b"?", b"vMustReplyEmpty", b"g", b"nonsense"):
        assert client.ask(request) == b"E.ppc-sstep: because of \\x231"
    assert client.ask(b"m0,4") == b"E22"
    theirs.close()
    thread.join(TIMEOUT)
    assert not thread.is_alive()


def test_who_does_not_go_is_left(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusal, "PATIENCE", 0.05)
    refusal.refuse(pair[0], "because")
