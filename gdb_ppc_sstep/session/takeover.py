# SPDX-License-Identifier: MIT
"""Put the step layer between gdb and its stub, without gdb noticing.

We put one end of a socketpair in the place of gdb's own descriptor (see `descriptor`), and the
layer gets the real one.  If anything fails before the layer says that it can work with the stub, we
put the real one back.

A serial line is replaced by a socket as well.  gdb has set it up by then, and does nothing with it
later that is special to a terminal, but for a break that the user may want as `set remote
interrupt-sequence` (gdb 13.1, 16.3 and 18.1 remote.c).  A pseudoterminal would pass no break on
either, and gdb 16.3 and 18.1 hang when one ends while the guest runs.
"""

from __future__ import annotations

import os
import select
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from contextlib import suppress
from typing import IO

import gdb

from ..errors import SstepError
from . import descriptor

_LOG_END = 1 << 14  # the number of bytes of a log that a report has

START_TIMEOUT = 60.0
"""Seconds that the layer may take until it says that it is ready.

It ends by itself if the stub does not answer.  At 9600 baud it takes more than 15, as it asks for
the description of all registers.
"""

END_TIMEOUT = 3.0
"""Seconds that gdb waits for the end of a layer that has a serial line."""

_RUN = (
    "import sys; sys.path.insert(0, {root!r}); "
    "from gdb_ppc_sstep.wire.process import main; main({fds})"
)


class _SerialLine:
    """A descriptor of gdb's that leads to a layer, and not to gdb's serial line."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._file = self._now()

    def _now(self) -> tuple[int, int]:
        status = os.fstat(self._fd)
        return status.st_dev, status.st_ino

    def hang_up(self) -> bool:
        """End it for the layer, while gdb has it open; False: it is closed already."""
        try:
            if self._now() != self._file:
                return False
        except OSError:
            return False
        nothing = os.open(os.devnull, os.O_RDWR)
        try:
            os.dup2(nothing, self._fd, inheritable=False)
        finally:
            os.close(nothing)
        return True


class LayerProcess:
    """A layer that runs as a child of gdb, and the files that it writes.

    log: its debug log.  record: the record of the step that it is doing.  last: what it tells for a
    report when it ends.  line: what gdb has in place of a serial line, None if its connection is
    none.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        log: IO[bytes],
        record: IO[bytes],
        last: IO[bytes],
        line: _SerialLine | None,
    ) -> None:
        self._process = process
        self._log = log
        self._record = record
        self._last = last
        self._line = line
        self._read = 0

    def let_go(self) -> None:
        """gdb is about to close its connection: if that is a serial line, end the layer first.

        A line serves all that have it open, and gdb may open it again at once.  The socket of a
        stub serves one client after the other.
        """
        if self._line is not None and self._line.hang_up():
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(END_TIMEOUT)

    def alive(self) -> bool:
        """Whether the layer still runs.  If it does not, this collects its exit status."""
        return self._process.poll() is None

    def record(self) -> str:
        """The record that the layer wrote last (see `engine.record`), or empty."""
        return os.pread(self._record.fileno(), 1 << 16, 0).partition(b"\n")[0].decode()

    def last(self) -> bytes:
        """What the layer has left for a report, as JSON; empty while it runs, or if killed."""
        return os.pread(self._last.fileno(), os.fstat(self._last.fileno()).st_size, 0)

    def log_end(self) -> str:
        """The last `_LOG_END` bytes of the layer's log."""
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), _LOG_END, max(0, size - _LOG_END)).decode(
            errors="replace"
        )

    def news(self) -> str:
        """The whole lines that the layer has logged since the last call."""
        size = os.fstat(self._log.fileno()).st_size
        data = os.pread(self._log.fileno(), size - self._read, self._read)
        whole = data.rfind(b"\n") + 1
        self._read += whole
        return data[:whole].decode(errors="replace")


def take(connection: gdb.RemoteTargetConnection) -> LayerProcess:
    """Take a connection that is at rest: the guest is stopped, and gdb waits for no reply.

    SstepError: it cannot be taken, with the reason; the connection is as it was.
    """
    fd = descriptor.find(connection)
    is_line = not stat.S_ISSOCK(os.fstat(fd).st_mode)
    ours, theirs = socket.socketpair()
    with ours, theirs, descriptor.replaced(fd, ours.fileno()) as place:
        layer = _start(theirs.fileno(), place.real, _SerialLine(fd) if is_line else None)
        place.keep()
        return layer


def _start(gdb_fd: int, stub_fd: int, line: _SerialLine | None) -> LayerProcess:
    try:
        log, record, last = map(_file_without_name, ("log", "record", "last packets"))
        ready, says_ready = os.pipe()
    except OSError as error:
        raise SstepError(f"the step layer cannot be started: {error}") from error
    fds = (gdb_fd, stub_fd, says_ready, log.fileno(), record.fileno(), last.fileno())
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
    code = _RUN.format(root=root, fds=", ".join(map(str, fds)))
    with os.fdopen(ready, "rb") as answer:
        try:
            process = subprocess.Popen(
                _command(code),
                pass_fds=fds,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,  # so a traceback is shown
                cwd="/",
                start_new_session=True,  # a Ctrl-C at the terminal is for gdb
            )
        except OSError as error:
            raise SstepError(f"the step layer cannot be started: {error}") from error
        finally:
            os.close(says_ready)
        layer, said = LayerProcess(process, log, record, last, line), b""
        try:
            if select.select([answer], [], [], START_TIMEOUT)[0]:
                said = answer.read()
        finally:
            if said != b"ok":
                process.kill()
                process.wait()
    if said != b"ok":
        layer_said = layer.news()
        reason = said.decode(errors="replace") or "the step layer did not start"
        raise SstepError("\n".join(filter(None, [reason, layer_said.rstrip()])))
    return layer


def _file_without_name(what: str) -> IO[bytes]:
    """A file that lasts while a process has it open; in memory, as disks may be full."""
    try:
        fd = os.memfd_create(f"ppc-sstep {what}")
    except (AttributeError, OSError):  # an older libc or kernel, or a sandbox
        return tempfile.TemporaryFile("wb+", buffering=0)
    return os.fdopen(fd, "wb+", buffering=0)


def _command(code: str) -> list[str]:
    """The command that runs this code: with the python3 that gdb names, else gdb itself."""
    for python in (sys.executable, os.path.join(sys.base_prefix, "bin", "python3")):
        if python and os.path.basename(python).startswith("python") and os.access(python, os.X_OK):
            return [python, "-I", "-S", "-c", code]
    found = shutil.which("python3")
    if found:
        return [found, "-I", "-S", "-c", code]
    try:
        program = os.readlink("/proc/self/exe")
    except OSError as error:  # not Linux
        raise SstepError("there is no python3 to start the step layer with") from error
    return [program, "-nx", "-q", "-batch", "-ex", "python " + code]
