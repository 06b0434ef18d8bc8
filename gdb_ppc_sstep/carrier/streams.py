# SPDX-License-Identifier: MIT
"""What connections are: sockets, and descriptors of any kind that are used like one."""

from __future__ import annotations

import os
import select
import socket
import struct
from typing import Protocol


class Stream(Protocol):
    """What is needed of a connection: these methods of a socket's, with their meaning."""

    def fileno(self) -> int:
        """The descriptor, for select."""

    def sendall(self, data: bytes, /) -> None:
        """Send all of it.  OSError: the connection is closed."""

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """Wait for bytes and return them; empty or an OSError: the connection is closed.

        BlockingIOError: none came in time (see `limit_wait`), or none is there (MSG_DONTWAIT).
        """

    def close(self) -> None:
        """Close the descriptor."""


_DONTWAIT = int(socket.MSG_DONTWAIT)  # as an IntFlag it takes longer than select does


class Descriptor:
    """A descriptor as a `Stream`: a terminal, or what somebody else has open and has set up.

    No option of it is changed, and only what select has told of is read.  gdb makes its terminals
    raw and lets no read of them wait (VMIN and VTIME are 0: gdb 13.1 ser-unix.c hardwire_raw), so a
    read that finds nothing looks like the end.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._limit: float | None = None
        self._end: socket.socket | None = None  # the other end, once it is `cut`

    def fileno(self) -> int:
        """See `Stream`."""
        return self._fd

    def sendall(self, data: bytes, /) -> None:
        """See `Stream`."""
        while data:
            data = data[os.write(self._fd, data) :]

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """See `Stream`."""
        timeout = 0.0 if flags & _DONTWAIT else self._limit
        if not select.select([self._fd], [], [], timeout)[0]:
            raise BlockingIOError
        return os.read(self._fd, size)

    def limit_wait(self, seconds: float) -> None:
        """See `limit_wait`."""
        self._limit = seconds

    def close(self) -> None:
        """See `Stream`."""
        os.close(self._fd)

    def cut(self) -> None:
        """Have who reads it find the connection closed; what is written is taken, and lost."""
        if self._end is None:
            one, self._end = socket.socketpair()
            with one:
                self._end.shutdown(socket.SHUT_WR)
                os.dup2(one.fileno(), self._fd, inheritable=False)


def limit_wait(stream: Stream, seconds: float) -> None:
    """Have `recv` wait for so many seconds at most.

    With a unix socket a lone byte, such as a `+`, does not end that wait.  OSError: the socket
    lacks the options.
    """
    if isinstance(stream, Descriptor):
        stream.limit_wait(seconds)
    elif isinstance(stream, socket.socket):
        timeval = struct.pack("@ll", 0, int(1e6 * seconds))
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
        if stream.family == socket.AF_UNIX:  # with TCP, select would not see a lone byte
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 2)
