# SPDX-License-Identifier: MIT
"""Addresses of `gdb-ppc-sstep`: read from text, shown as text, and sockets at them."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import stat
import struct
from typing import Union

from ..errors import SstepError

Address = Union[str, tuple[str, int]]  # a unix socket's path, or host and port

KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 6}
"""TCP keepalive: a host that vanished is noticed after 60 + 6 * 10 seconds of silence."""


CONNECT_TIMEOUT = 10.0
"""Seconds that the other host may take to accept a connection."""


def parse_address(text: str) -> Address:
    """Parse `PORT`, `:PORT`, `HOST:PORT`, `[IPV6]:PORT` or a path with a `/`.

    ValueError: the text is no address.
    """
    if "/" in text:
        return text
    host, _, port = text.rpartition(":")
    if not re.fullmatch(r"[0-9]+", port) or int(port) > 65535:
        raise ValueError(f"{text!r} is neither [HOST:]PORT nor a PATH with a /")
    if host == "*":
        raise ValueError(f"{text!r}: * is not a host; 0.0.0.0 or [::] means every interface")
    return host.strip("[]") or "localhost", int(port)


def shown(address: Address) -> str:
    """The text of an address, as `parse_address` and `target remote` take it."""
    if isinstance(address, str):
        return address
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def same(one: Address, other: Address) -> bool:
    """Whether two addresses are one place.  OSError: the name of a host is not known."""
    if isinstance(one, str) or isinstance(other, str):
        return (
            isinstance(one, str)
            and isinstance(other, str)
            and os.path.realpath(one) == os.path.realpath(other)
        )
    return one[1] == other[1] and not _resolved(one).isdisjoint(_resolved(other))


def _resolved(address: tuple[str, int]) -> set[str]:
    found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)
    return {str(where[0]) for _, _, _, _, where in found}


def is_local(address: Address) -> bool:
    """Whether only this machine can reach an address.  OSError: its host's name is not known."""
    if isinstance(address, str):
        return True
    return all(
        ipaddress.ip_address(one.partition("%")[0]).is_loopback for one in _resolved(address)
    )


def connected(address: Address) -> socket.socket:
    """A socket that is connected to an address.  OSError: nobody accepts the connection."""
    if isinstance(address, tuple):
        sock = prompt(socket.create_connection(address, CONNECT_TIMEOUT))
        sock.settimeout(None)
        return sock
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.connect(address)
    except OSError:
        sock.close()
        raise
    return sock


def prompt(sock: socket.socket) -> socket.socket:
    """Set up a connected TCP socket for RSP, and return it; a unix socket stays as it is.

    It sends small packets at once (else each step waits for a timer), and notices that the other
    host has gone.
    """
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEPALIVE.items():
            if hasattr(socket, name):  # macOS has another one
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return sock


def listening(address: Address) -> socket.socket:
    """A socket that listens at an address.  OSError, SstepError: it cannot listen there.

    If nobody listens at the path of a unix socket, as after a service was killed, it is taken over.
    """
    if isinstance(address, tuple):
        family, _, _, _, where = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0]
        return socket.create_server(where[:2], family=family)
    if os.path.lexists(address):
        _remove_stale(address)
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.bind(address)
        sock.listen()
    except OSError:
        sock.close()
        raise
    return sock


def _remove_stale(path: str) -> None:
    if not stat.S_ISSOCK(os.stat(path).st_mode):
        raise SstepError("there is a file of this name, which is not a socket")
    try:
        connected(path).close()
    except ConnectionRefusedError:
        os.unlink(path)
    else:
        raise SstepError("another program listens at this socket")


def named(client: socket.socket) -> str:
    """The name of a client in messages."""
    if client.family != socket.AF_UNIX:
        return shown(client.getpeername())
    if not hasattr(socket, "SO_PEERCRED"):
        return "a client at the unix socket"
    size = struct.calcsize("3i")
    pid, _, _ = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return f"process {pid}"


def reason(error: Exception) -> str:
    """Why something failed, in the words for a message."""
    return (isinstance(error, OSError) and error.strerror) or str(error)
