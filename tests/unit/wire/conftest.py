# SPDX-License-Identifier: MIT
"""What the tests of the layer start from: a whole rig, or a wire alone."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gdb_ppc_sstep.rsp.breakpoints import GdbBreakpoints
from gdb_ppc_sstep.wire import ending
from gdb_ppc_sstep.wire.link import WireLink
from gdb_ppc_sstep.wire.wire import Wire

from ..machine import Machine
from .rig import TIMEOUT, Rig, Start, StubServer


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """start(machine, ...): start a rig, whose layer greets the stub unless ready=False.

    All rigs end with the test.
    """
    rigs: list[Rig] = []
    monkeypatch.setattr(ending, "RELEASE_TIME", 0.2)

    def starting(
        machine: Machine,
        *,
        acks: bool = True,
        ready: bool = True,
        qemu: bool = True,
        server: type[StubServer] = StubServer,
    ) -> Rig:
        log = tmp_path / f"log{len(rigs)}"
        rig = Rig(machine, log, acks=acks, qemu=qemu, server=server)
        rigs.append(rig)
        if ready:
            assert rig.start() == "ok"
            assert rig.server.sent[0] == b"qC"
            rig.server.packets.clear()
        return rig

    yield starting
    for rig in rigs:
        rig.close()


@pytest.fixture
def wire() -> Iterator[tuple[WireLink, socket.socket, socket.socket]]:
    """A `WireLink`, and the sockets of gdb and of the stub at its ends."""
    gdb, layer_gdb = socket.socketpair()
    stub, layer_stub = socket.socketpair()
    with gdb, layer_gdb, stub, layer_stub:
        for sock in (gdb, stub):
            sock.settimeout(TIMEOUT)
        link = WireLink(Wire(layer_gdb, layer_stub), GdbBreakpoints())
        link.wire.acknowledgements(False)
        yield link, gdb, stub
