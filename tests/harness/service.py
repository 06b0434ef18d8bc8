# SPDX-License-Identifier: MIT
"""The program `gdb-ppc-sstep` as a process that ends with the `with` block."""

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
ENDS = 30  # seconds: with a silent stub the end may take two of the link's time-outs


def _heeds_hangups() -> None:
    """Set SIGHUP to its default: a service leaves it ignored where it was, as under nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@contextmanager
def service(
    *arguments: str | Path, pass_fds: tuple[int, ...] = ()
) -> Iterator[subprocess.Popen[str]]:
    """Start `gdb-ppc-sstep` with these arguments."""
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
    """The address on which a service says that it listens."""
    assert process.stdout is not None
    said = process.stdout.readline()
    found = re.fullmatch(r"listening on (.+)\n", said)
    assert found, (said, process.stderr and process.stderr.read())
    return found[1]


def ended(process: subprocess.Popen[str]) -> int:
    """Wait for a service to end by itself.  Returns its status.

    AssertionError: it does not end in time; the text shows where its threads are.
    """
    try:
        return process.wait(ENDS)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        raise AssertionError(process.communicate()[1]) from None


def says(process: subprocess.Popen[str]) -> str:
    """The next line that a service prints on stderr."""
    assert process.stderr is not None
    return process.stderr.readline()


def client(where: str) -> socket.socket:
    """Connect to a service, by TCP or a unix socket."""
    if "/" in where:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(20)
        sock.connect(where)
        return sock
    host, _, port = where.rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), timeout=20)
