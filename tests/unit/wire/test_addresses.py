# SPDX-License-Identifier: MIT
"""Addresses of the service, and sockets at them."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest

from gdb_ppc_sstep.errors import SstepError
from gdb_ppc_sstep.wire import addresses
from gdb_ppc_sstep.wire.addresses import Address, parse_address


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
    assert parse_address(addresses.shown(address)) == address


@pytest.mark.parametrize(
    "text", ["", "host", "host:", ":x", "1:65536", "-1", "*:0", "*:1234", "1:\u0661"]
)
def test_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(text))):
        parse_address(text)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("localhost", 1), ("127.0.0.1", 1), True),
        (("localhost", 1), ("127.0.0.1", 2), False),
        (("127.0.0.1", 1), ("127.0.0.2", 1), False),
        ("/run/x", "/run/../run/x", True),
        ("/run/x", "/run/y", False),
        ("/run/x", ("localhost", 1), False),
    ],
)
def test_same(one: Address, other: Address, same: bool) -> None:
    assert addresses.same(one, other) == addresses.same(other, one) == same


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("/run/x", True),
        (("localhost", 1), True),
        (("127.1.2.3", 1), True),
        (("::1", 1), True),
        (("0.0.0.0", 1), False),
        (("::", 1), False),
        (("192.0.2.1", 1), False),
    ],
)
def test_is_local(address: Address, local: bool) -> None:
    assert addresses.is_local(address) == local


def test_a_connection_is_prompt_and_kept_alive() -> None:
    with (
        addresses.listening(("127.0.0.1", 0)) as server,
        addresses.connected(server.getsockname()) as sock,
    ):
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
        assert addresses.named(sock) == addresses.shown(server.getsockname())


def test_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with pytest.raises(FileNotFoundError):
        addresses.connected(path)
    with addresses.listening(path), addresses.connected(path) as sock:
        assert addresses.named(sock) == f"process {os.getpid()}"
        with pytest.raises(SstepError, match="another program listens at this socket"):
            addresses.listening(path)
    with addresses.listening(path):  # that nobody listens at any more
        addresses.connected(path).close()
    os.unlink(path)
    os.symlink("nowhere", path)
    with pytest.raises(FileNotFoundError):
        addresses.listening(path)
    os.unlink(path)
    Path(path).write_text("precious")
    with pytest.raises(SstepError, match="which is not a socket"):
        addresses.listening(path)
    assert Path(path).read_text() == "precious"
    with pytest.raises(OSError, match="No such file"):
        addresses.listening(str(tmp_path / "no" / "socket"))


def test_reasons_have_no_numbers() -> None:
    assert addresses.reason(FileNotFoundError(2, "No such file")) == "No such file"
    assert addresses.reason(OSError("said so")) == "said so"
    assert addresses.reason(SstepError("why")) == "why"
