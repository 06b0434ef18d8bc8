# SPDX-License-Identifier: MIT
"""`gdb-ppc-sstep` as a process, ended with the `with` block."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.harness.driver import ROOT

COMMAND = (sys.executable, "-m", "gdb_ppc_sstep")
ENDS = 30  # seconds: with a silent stub it may take two of the link's time-outs


def _heeds_hangups() -> None:
    """SIGHUP as by default: a service leaves it ignored where it was, as with nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@contextmanager
def service(
    *arguments: str | Path, pass_fds: tuple[int, ...] = ()
) -> Iterator[subprocess.Popen[str]]:
    """One with these arguments."""
    with subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=pass_fds,
        env={**os.environ, "PYTHONFAULTHANDLER": "1"},  # see `ended`
        preexec_fn=_heeds_hangups,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def address(process: subprocess.Popen[str]) -> str:
    """Where a service listens."""
    assert process.stdout is not None
    said = process.stdout.readline()
    found = re.fullmatch(r"listening on (.+)\n", said)
    assert found, (said, process.stderr and process.stderr.read())
    return found[1]


def ended(process: subprocess.Popen[str]) -> int:
    """Its status, when it has ended by itself.  If it does not, where its threads are is told."""
    try:
        return process.wait(ENDS)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        raise AssertionError(process.communicate()[1]) from None


def says(process: subprocess.Popen[str]) -> str:
    """The next line that it says on stderr."""
    assert process.stderr is not None
    return process.stderr.readline()


def client(where: str) -> socket.socket:
    """A connection to a service, by TCP or a unix socket."""
    if "/" in where:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(20)
        sock.connect(where)
        return sock
    host, _, port = where.rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), timeout=20)
