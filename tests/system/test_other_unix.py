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
from tests.harness.driver import EXTENSION, GDB, Gdb, layers_of

pytestmark = pytest.mark.bare

TAKEN = "ppc-sstep: this stub ignores step requests; stepping by the Trace interrupt.\n"

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
    assert len(layers_of(gdb)) == 1
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


def test_without_proc(guest: Qemu, demo: Program, tmp_path: Path) -> None:
    """Neither gdb nor its layer sees /proc at all."""
    script = tmp_path / "script"
    steps = ("tbreak work", "continue", "set $before = $pc", "stepi 3", "print $pc - $before")
    script.write_text("\n".join([f"target remote {guest.target}", *steps, "info ppc-sstep"]))
    gdb = f"exec {GDB} -nx -q -batch -iex 'source {EXTENSION}' -x {script} {demo.elf}"
    hidden = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")
    done = subprocess.run(
        [*hidden, f"mount -t tmpfs none /proc || exit 77; {gdb}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    if done.returncode == 77 or done.stderr.startswith("unshare: "):
        pytest.skip("no user namespaces here")
    assert TAKEN in done.stdout and ": taken\n" in done.stdout, done
    assert "$1 = 12\n" in done.stdout, done
