# SPDX-License-Identifier: MIT
"""gdb where something is missing that only Linux has: the wire door is taken all the same.

These are Linux gdbs from which that is taken away; nobody has run it on another Unix.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from fixtures.bare_metal import Program
from fixtures.qemu import Qemu
from tests.harness import driver
from tests.harness.driver import GDB, Gdb

pytestmark = pytest.mark.bare

TAKEN = "ppc-sstep: this stub ignores step requests; stepping by the Trace interrupt.\n"

WITHOUT_PROC = "mount -t tmpfs none /proc && exec"
HIDE = (
    "python import os; listed = os.listdir; os.listdir = lambda path='.': "
    "listed('/nothing' if str(path).startswith({folders}) else path)"
)
LESS = (
    "import os, socket, sys; sys.platform = 'other'; "
    "del os.memfd_create, os.sched_getaffinity, os.sched_yield, socket.SO_RCVLOWAT; "
)
# The layer is a process of its own, and has less from its first line on.
START = (
    "python import subprocess; start = subprocess.Popen; subprocess.Popen = "
    f"lambda command, **options: start([*command[:-1], {LESS!r} + command[-1]], **options)"
)


def assert_steps(gdb: Gdb, guest: Qemu, demo: Program) -> None:
    """Assert that gdb's connection is taken by the wire door, and that it steps."""
    gdb.command("set ppc-sstep door wire")
    assert TAKEN in gdb.connect(guest.target, demo.elf)
    assert ": taken\n" in gdb.status()
    gdb.command("break work if round == 3")
    assert "Breakpoint 1, work (n=3)" in gdb.command("continue")
    here = gdb.pc
    gdb.command("stepi 3")
    assert gdb.pc == here + 4 + 8
    gdb.command("next")
    gdb.command("finish")
    assert gdb.value("trace_hits") == 0
    assert "Outstanding: none" in gdb.status()


@pytest.mark.parametrize("folders", [("/proc",), ("/proc", "/dev")], ids=["/dev/fd", "by trying"])
def test_no_folder_lists_the_descriptors(
    folders: tuple[str, ...], gdb: Gdb, guest: Qemu, demo: Program
) -> None:
    assert gdb.command(HIDE.format(folders=folders)) == ""
    assert_steps(gdb, guest, demo)


def test_what_only_linux_has(gdb: Gdb, guest: Qemu, demo: Program) -> None:
    """Files in memory, the number of CPUs, waiting for a moment, and /proc."""
    for command in (HIDE.format(folders=("/proc", "/dev")), f"python {LESS}", START):
        assert gdb.command(command) == ""
    assert_steps(gdb, guest, demo)


@pytest.fixture
def without_proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have gdb run with an empty /proc."""
    for unshare in ("unshare -m", "unshare -Urm"):
        tried = [*unshare.split(), "sh", "-c", WITHOUT_PROC + " true"]
        if subprocess.run(tried, capture_output=True).returncode == 0:
            break
    else:
        pytest.skip("no file system can be mounted here, not even in a namespace of its own")
    script = tmp_path / "gdb-without-proc"
    script.write_text(f'#!/bin/sh\nexec {unshare} sh -c \'{WITHOUT_PROC} "$@"\' sh {GDB} "$@"\n')
    script.chmod(0o755)
    monkeypatch.setattr(driver, "GDB", str(script))


def test_there_is_no_proc(without_proc: None, tmp_path: Path, guest: Qemu, demo: Program) -> None:
    """Neither gdb nor its layer sees it."""
    with Gdb(tmp_path) as gdb:
        assert "False" in gdb.command("python import os; print(os.path.exists('/proc/self'))")
        assert_steps(gdb, guest, demo)
