# SPDX-License-Identifier: MIT
"""`gdb-ppc-sstep -- COMMAND`: what the command is told, and its status."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gdb_ppc_sstep.errors import SstepError
from gdb_ppc_sstep.wire.companion import with_address
from gdb_ppc_sstep.wire.service import start_thread
from gdb_ppc_sstep.wire.standalone import main

from .. import machine as m
from .rig import program
from .test_standalone import Stub, handlers  # noqa: F401 (a fixture)

TARGET = ["-ex", "target remote ADDRESS"]


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["gdb"], ["gdb", *TARGET]),
        (["/bin/gdb-multiarch", "v", "-x", "y"], ["/bin/gdb-multiarch", *TARGET, "v", "-x", "y"]),
        (["powerpc64le-linux-gnu-gdb"], ["powerpc64le-linux-gnu-gdb", *TARGET]),
        (["lldb-14", "v"], ["lldb-14", "-o", "process connect connect://ADDRESS", "v"]),
        (["script", "--to={}", "{}"], ["script", "--to=ADDRESS", "ADDRESS"]),
        (["gdb", "-ex", "target remote {}"], ["gdb", *TARGET]),
    ],
)
def test_where_it_has_to_connect(command: list[str], told: list[str]) -> None:
    assert with_address(command, "ADDRESS") == told


def test_lldb_and_a_unix_socket() -> None:
    assert with_address(["lldb"], "/x/y")[1:] == ["-o", "process connect unix-connect:///x/y"]


def test_another_program_has_to_say_where() -> None:
    with pytest.raises(SstepError, match=r"say with \{\} where ddd takes the address"):
        with_address(["ddd", "x"], "ADDRESS")


@pytest.fixture
def stub(tmp_path: Path) -> Iterator[Stub]:
    yield Stub(tmp_path, program(m.NOP))


CONNECTS = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
packet = b"qppc-sstep.layer"
s.sendall(b"+$%s#%02x" % (packet, sum(packet) % 256))
assert s.recv(7, socket.MSG_WAITALL) == b"+$OK#9a"
"""


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ((sys.executable, "-c", CONNECTS, "{}"), 0),
        ((sys.executable, "-c", "import sys; sys.exit(9)", "{}"), 9),
        ((sys.executable, "-c", "import os; os.kill(os.getpid(), 9)", "{}"), 137),
        (("/nothing", "{}"), 127),
        (("/etc/passwd", "{}"), 126),
    ],
    ids=["connects", "fails", "is killed", "is not there", "is no program"],
)
def test_its_status_is_ours(command: tuple[str, ...], status: int, stub: Stub) -> None:
    assert main(["--connect", stub.path, "--", *command]) == status


def test_a_signal_ends_it(stub: Stub, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")

    def end() -> None:
        (tmp_path / "fifo").read_text()  # it is there
        main_thread = threading.main_thread().ident
        assert main_thread is not None
        for number in (signal.SIGINT, signal.SIGTERM):  # of which the first is its own business
            signal.pthread_kill(main_thread, number)  # other threads of the tests take some too

    start_thread(end)
    code = f"import time; open('{tmp_path}/fifo', 'w').close(); time.sleep(60)  # {{}}"
    assert main(["--connect", stub.path, "--", sys.executable, "-c", code]) == 143
