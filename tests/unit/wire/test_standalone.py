# SPDX-License-Identifier: MIT
"""`gdb-ppc-sstep` without a process: addresses, and its options; the rest is in tests/system."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gdb_ppc_sstep.options import Interrupts, Options
from gdb_ppc_sstep.wire.standalone import Address, Service, parse_address

from .. import machine as m
from ..machine import TEXT, Machine
from .rig import STEP, TIMEOUT, Gdb, StubServer, program


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("1234", ("localhost", 1234)),
        (":1234", ("localhost", 1234)),
        ("host.example:1", ("host.example", 1)),
        ("[::1]:65535", ("::1", 65535)),
        ("/run/gdb", "/run/gdb"),
        ("./1234", "./1234"),
    ],
)
def test_address(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "host", "host:", ":x", "1:65536", "-1"])
def test_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=text or "^$"):
        parse_address(text)


@contextmanager
def served(machine: Machine, options: Options, where: Path, *, qemu: bool = True) -> Iterator[Gdb]:
    """A client of a service with these options, whose stub is a simulated machine's."""
    served: list[bool] = []
    with socket.socket(socket.AF_UNIX) as stub, socket.socket(socket.AF_UNIX) as server:
        for sock, name in ((stub, "stub"), (server, "server")):
            sock.bind(str(where / name))
            sock.listen()
        service = Service(str(where / "stub"), options=options, debug=False)
        serving = threading.Thread(
            target=lambda: served.append(service.serve(server, once=True)), daemon=True
        )
        serving.start()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(where / "server"))
            stub.settimeout(TIMEOUT)
            stub_server = StubServer(machine, stub.accept()[0], acks=True)
            stub_server.qemu = qemu
            yield Gdb(client, acks=True)
        serving.join(TIMEOUT)
        stub_server.thread.join(TIMEOUT)
        assert served == [True]
        assert stub_server.error is None, repr(stub_server.error)


@pytest.mark.parametrize("qemu", [True, False], ids=["QEMU", "another stub"])
def test_options_of_the_command_hold_for_its_clients(tmp_path: Path, qemu: bool) -> None:
    machine = program(m.NOP)
    machine.absent.add("lpcr")
    with served(machine, Options(ail=3), tmp_path, qemu=qemu) as client:
        assert client.stop(STEP) == b"T05thread:p01.01;"
    assert machine.cpu["pc"] == TEXT + 4


def test_a_client_can_change_them(tmp_path: Path) -> None:
    machine = program(m.NOP)
    machine.absent.add("lpcr")
    with served(machine, Options(3, Interrupts.OVER), tmp_path) as client:
        assert client.ask(b"Qppc-sstep.ail=auto") == b"OK"
        assert b"set ppc-sstep ail" in client.ask(STEP)
        assert client.ask(b"Qppc-sstep.ail=3") == b"OK"
        assert client.stop(STEP) == b"T05thread:p01.01;"
