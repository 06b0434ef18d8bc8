# SPDX-License-Identifier: MIT
"""The layer as gdb's child: run on inherited file descriptors (see `session.takeover`)."""

from __future__ import annotations

import os
import socket
import stat
from contextlib import closing, suppress

from ..carrier.streams import Descriptor
from ..errors import SstepError
from ..rsp.breakpoints import GdbBreakpoints
from .greet import greet
from .journal import Journal
from .layer import Layer
from .link import WireLink
from .log import DebugLog
from .wire import Wire


def main(
    gdb_fd: int,
    stub_fd: int,
    ready_fd: int,
    log_fd: int,
    record_fd: int | None = None,
    last_fd: int | None = None,
) -> None:
    """Run a layer until gdb or the stub goes away.  All arguments are file descriptors.

    gdb_fd, stub_fd: the two connections, sockets or terminals.  ready_fd: one line is written to
    it, `ok` or why the layer cannot start, and it is closed.  log_fd: takes the debug log; it is
    stderr as well, for the traceback of a bug.  record_fd: the file of the `Journal`.  last_fd: at
    the end, takes what a report tells of a layer.
    """

    def say(line: str) -> None:
        with suppress(OSError):  # a full disk: there is nobody else to tell
            os.write(log_fd, f"{line}\n".encode())

    def ready(line: str) -> None:
        os.write(ready_fd, line.encode())
        os.close(ready_fd)

    with closing(_opened(gdb_fd)) as gdb, closing(_opened(stub_fd)) as sock:
        gdbs = GdbBreakpoints()
        link = WireLink(Wire(gdb, sock), gdbs)
        try:
            stub = greet(link)
        except (SstepError, OSError) as error:
            ready(str(error))
            return
        ready("ok")
        layer = Layer(link, stub, gdbs, DebugLog(say), journal=Journal(record_fd, say))
        try:
            layer.run()
        finally:
            if last_fd is not None:
                _leave(last_fd, layer.told())


def _opened(fd: int) -> socket.socket | Descriptor:
    return socket.socket(fileno=fd) if stat.S_ISSOCK(os.fstat(fd).st_mode) else Descriptor(fd)


def _leave(fd: int, told: dict[str, object]) -> None:
    """Write what a report tells of a layer, as JSON."""
    import json  # only at the end

    data = json.dumps(told).encode()
    with suppress(OSError), os.fdopen(fd, "wb", closefd=False) as file:  # such as a full disk
        file.write(data)
