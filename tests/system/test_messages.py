# SPDX-License-Identifier: MIT
"""Messages to the user: `info ppc-sstep` in all situations, and lines at the moment they matter."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from fixtures.bare_metal import SOURCES, Program
from fixtures.qemu import Qemu
from tests.harness.driver import EXTENSION, GDB, Gdb

pytestmark = pytest.mark.bare

SETTINGS = (
    "Settings: mode auto, door auto, ail auto, interrupts into, mask-interrupts on, "
    "watchpoints auto\n"
)
LINE = "ppc-sstep: this stub ignores step requests; stepping by the Trace interrupt.\n"
HOW_TO_REPORT = (
    'For a bug report: "ppc-sstep report FILE" writes one; "set debug ppc-sstep on" logs each '
    "packet\n"
)
RUNNING = (
    "ppc-sstep: the guest of inferior 1 is running; interrupt it (Ctrl-C, or `interrupt`): at that "
    "stop its connection is taken if the stub ignores steps\n"
)


@pytest.fixture
def gdb(tmp_path: Path) -> Iterator[Gdb]:
    with Gdb(tmp_path, arguments=("-d", str(SOURCES))) as gdb:
        yield gdb
        assert "Traceback" not in (tmp_path / "gdb.transcript").read_text()


# -- info


def test_info_without_a_target(gdb: Gdb) -> None:
    assert gdb.status() == SETTINGS + "Connection: none; `target remote` makes one\n"
    gdb.command("set ppc-sstep mode off")
    gdb.command("set ppc-sstep ail 3")
    gdb.command("set debug ppc-sstep on")
    assert gdb.status().startswith(
        "Settings: mode off, door auto, ail 3, interrupts into, mask-interrupts on, "
        "watchpoints auto, debug-file gdb's log\n"
    )


def test_info_on_a_native_program_and_a_core(gdb: Gdb, tmp_path: Path) -> None:
    gdb.command("file /bin/true")
    gdb.command("starti")
    native = "Connection 1 (native): not taken: only remote targets are\n"
    assert gdb.status() == SETTINGS + native
    assert "Saved corefile" in gdb.command(f"gcore {tmp_path}/core")
    gdb.command("kill")
    assert gdb.status() == SETTINGS + "Connection: none; `target remote` makes one\n"
    gdb.command(f"target core {tmp_path}/core")
    assert gdb.status() == SETTINGS + native.replace("1 (native)", "2 (core)")


def test_info_while_the_guest_runs(gdb: Gdb, guest: Qemu, demo: Program) -> None:
    gdb.connect(guest.target, demo.elf)
    gdb.command("continue &")
    assert gdb.status() == SETTINGS + (
        f"Connection 1 (remote {guest.target}): taken\n"
        "Stub steps: no (Qqemu.sstep=0x0)\n"
        "Target: not stopped; interrupt it to see more\n" + HOW_TO_REPORT
    )


def test_help_info_explains_each_line(gdb: Gdb, guest: Qemu, demo: Program) -> None:
    text = gdb.command("help info ppc-sstep")
    explained = re.findall(r"^(?: {4})?(\w[^.\n]*?) {2,}\S", text, re.MULTILINE)
    gdb.connect(guest.target, demo.elf)
    shown = [line.partition(":")[0] for line in gdb.status().splitlines()]
    assert [re.sub(r" \d.*", "", name) for name in shown] == [
        name for name in explained if name not in ("Target", "Problem")
    ]


# -- settings


def test_mode_off_says_what_the_next_step_does(gdb: Gdb, guest: Qemu, demo: Program) -> None:
    gdb.connect(guest.target, demo.elf)
    gdb.command("tbreak work")
    gdb.command("continue")
    said = "ppc-sstep: mode is off: the stub ignores the next step request, and the guest runs on\n"
    assert gdb.command("set ppc-sstep mode off") == said
    assert gdb.command("set ppc-sstep mode off") == "", "once"
    assert gdb.command("set ppc-sstep mode auto") == ""
    gdb.command("maint packet Qqemu.sstep=7")
    gdb.command("set ppc-sstep mode on")
    said = "ppc-sstep: mode is off: the stub does the next step itself\n"
    assert gdb.command("set ppc-sstep mode off") == said
    here = gdb.pc
    gdb.command("stepi")
    assert gdb.pc == here + 4


def test_mode_off_at_the_commands_door(tmp_path: Path, guest: Qemu, demo: Program) -> None:
    with Gdb(tmp_path, door="commands") as gdb:
        gdb.connect(guest.target, demo.elf)
        said = "ppc-sstep: mode is off: stepi, nexti, step and next are refused in this gdb\n"
        assert gdb.command("set ppc-sstep mode off") == said
        assert "ppc-sstep has replaced this command" in gdb.command("stepi")


def test_a_debug_file_that_cannot_be_written_is_told_at_once(gdb: Gdb, tmp_path: Path) -> None:
    for path, why in (
        (tmp_path / "no" / "log", "No such file or directory"),
        (tmp_path, "Is a directory"),
    ):
        said = f"{path} cannot be written: {why}.\n"
        assert gdb.command(f"set ppc-sstep debug-file {path}") == said
        shown = "The log of the step layer goes to the log of gdb.\n"
        assert gdb.command("show ppc-sstep debug-file") == shown
    os.mkfifo(tmp_path / "fifo")
    assert "No such device" in gdb.command(f"set ppc-sstep debug-file {tmp_path}/fifo")
    assert gdb.command(f"set ppc-sstep debug-file {tmp_path}/log") == ""
    assert "Is a directory" in gdb.command(f"set ppc-sstep debug-file {tmp_path}")
    shown = f"The log of the step layer goes to {tmp_path}/log.\n"
    assert gdb.command("show ppc-sstep debug-file") == shown


# -- at the connect


@pytest.mark.parametrize("mi_async", ["off", "on"])
@pytest.mark.parametrize(
    "connect",
    [
        "-target-select remote {}",
        "target remote {}",
        '-interpreter-exec console "target remote {}"',
    ],
    ids=["MI", "CLI", "Emacs"],
)
def test_mi_has_it_as_one_console_record(
    connect: str, mi_async: str, guest: Qemu, demo: Program
) -> None:
    """The line begins with a line feed: at the `*stopped` Emacs has already shown its prompt."""
    first = (f"set mi-async {mi_async}", "set debuginfod enabled off", f"source {EXTENSION}")
    child = pexpect.spawn(
        GDB,
        ["-nx", "-q", "-i=mi", *(f"-iex={one}" for one in first), str(demo.elf)],
        encoding="utf-8",
        echo=False,
        timeout=30,
    )
    try:
        child.expect_exact("(gdb) ")
        child.sendline(connect.format(guest.target))
        child.expect(r"\^(connected|done)\r\n\(gdb\) ")
        records = str(child.before).split("\r\n")
    finally:
        child.close(force=True)
    ours = [record for record in records if "ppc-sstep" in record and record[:1] != "&"]
    assert ours == ['~"\\nppc-sstep: {}\\n"'.format(LINE.partition(": ")[2].strip())]
    stopped = [record.startswith("*stopped") for record in records]
    assert stopped.count(True) == 1 and stopped.index(True) < records.index(ours[0])


# -- loading


def test_loading_while_the_guest_runs_says_what_to_do(
    tmp_path: Path, guest: Qemu, demo: Program
) -> None:
    """As many users begin: plain gdb's step has let the guest run away."""
    with Gdb(tmp_path, extension=False) as gdb:
        gdb.connect(guest.target, demo.elf)
        gdb.command("tbreak work")
        gdb.command("continue")
        gdb.command("stepi &")
        assert gdb.command(f"source {EXTENSION}") == RUNNING
        assert f"Connection 1 (remote {guest.target}): not looked at yet" in gdb.status()
        gdb.send("interrupt")
        gdb.finish()
        gdb.child.expect_exact(LINE.strip(), searchwindowsize=None)
        gdb.command("")
        gdb.command("tbreak work")
        gdb.command("continue")
        here = gdb.pc
        gdb.command("stepi")
        assert gdb.pc == here + 4


def test_loading_says_nothing_of_other_targets(tmp_path: Path) -> None:
    with Gdb(tmp_path, extension=False) as gdb:
        gdb.command("file /bin/sleep")
        gdb.command("run 60 &")
        assert "ppc-sstep: " not in gdb.command(f"source {EXTENSION}")
