# SPDX-License-Identifier: MIT
"""Which of gdb's file descriptors is a connection of its own: gdb does not say.

So we try each that may be one.  We put one end of a socketpair in its place, with a canned reply
ready, and have gdb send a question: if gdb reads that reply, this descriptor is the connection.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress

import gdb

from ..errors import SstepError
from ..rsp.framing import frame
from .detect import send

_QUESTION = "qppc-sstep.here"
_ANSWER = b"+" + frame(b"here")  # gdb drops the `+` where it does not wait for one

_FOLDERS = ("/proc/self/fd", "/dev/fd")  # Linux, and other Unixes
_MANY = 1 << 16  # descriptors that are tried where neither folder is there; gdb's are low


def find(connection: gdb.RemoteTargetConnection) -> int:
    """gdb's descriptor of a connection that is at rest: the guest is stopped, no reply is due.

    The lowest are tried first, because a pipe's stderr comes after it.  SstepError: none is found.
    """
    if os.name != "posix":  # there a socket is no descriptor, and has no number to be put under
        raise SstepError("gdb's connection can be exchanged on Unix alone")
    for fd in _candidates():
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.sendall(_ANSWER)
            with replaced(fd, ours.fileno()):
                try:
                    if send(connection, _QUESTION) == b"here":
                        return fd
                except gdb.error as error:
                    raise SstepError(f"gdb's connection did not answer: {error}") from error
    raise SstepError(
        "none of gdb's file descriptors is this connection; connect by `target remote HOST:PORT`, "
        "by a unix socket, `| COMMAND` or a serial line"
    )


class replaced:
    """A context in which another descriptor stands in the place of gdb's.

    keep: called in it, leaves the other one there.  real: what gdb's was, until the context ends.
    """

    def __init__(self, fd: int, other: int) -> None:
        self._fd, self._other, self._kept = fd, other, False
        self.real = -1

    def __enter__(self) -> replaced:
        self.real = os.dup(self._fd)
        os.dup2(self._other, self._fd, inheritable=False)
        return self

    def keep(self) -> None:
        """Leave the other descriptor there."""
        self._kept = True

    def __exit__(self, *_error: object) -> None:
        if not self._kept:
            os.dup2(self.real, self._fd, inheritable=False)
        os.close(self.real)


def _candidates() -> Iterator[int]:
    """The connected sockets and the serial lines among gdb's descriptors, but the standard ones."""
    for fd in _all():
        if fd > 2 and (_is_connected(fd) or _is_serial_line(fd)):
            yield fd


def _all() -> Iterable[int]:
    """The numbers of all descriptors, ascending, and perhaps some that are not in use."""
    for folder in _FOLDERS:
        with suppress(OSError):
            return sorted(int(name) for name in os.listdir(folder))
    import resource  # seldom

    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return range(min(limit, _MANY) if limit != resource.RLIM_INFINITY else _MANY)


def _is_serial_line(fd: int) -> bool:
    """Whether it is a terminal with which gdb speaks RSP, and none of the user's.

    gdb makes it raw, and lets no read of it wait (gdb 13.1 ser-unix.c hardwire_raw).
    """
    import termios  # Windows has none

    try:
        iflag, oflag, _, lflag, _, _, characters = termios.tcgetattr(fd)
    except termios.error:
        return False
    waits = characters[termios.VMIN], characters[termios.VTIME]
    return (iflag, oflag, lflag, *waits) == (0, 0, 0, 0, 0)


def _is_connected(fd: int) -> bool:
    try:
        if not stat.S_ISSOCK(os.fstat(fd).st_mode):
            return False
        with socket.socket(fileno=os.dup(fd)) as sock:
            sock.getpeername()
            return sock.type in (socket.SOCK_STREAM, socket.SOCK_DGRAM)  # UDP
    except OSError:
        return False
