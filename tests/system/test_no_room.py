# SPDX-License-Identifier: MIT
"""A machine without room on its disk, or without /proc: one clear line, and steps are done."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fixtures.bare_metal import Program
from fixtures.qemu import Qemu
from tests.harness import driver
from tests.harness.driver import GDB, Gdb, layers_of

pytestmark = pytest.mark.bare

FULL = Path("/dev/full")
WITHOUT_PROC = "mount -t tmpfs none /proc && exec"
NO_PROC = (
    "ppc-sstep: this stub ignores step requests; not through its connection (gdb's file "
    "descriptors are not to be seen in /proc (No such file or directory)), but stepping by the "
    "Trace interrupt; stepi, nexti, step, next and continue are replaced until gdb ends.\n"
)


@pytest.fixture
def door() -> str:
    return "auto"


@pytest.fixture
def gdb(tmp_path: Path, door: str) -> Iterator[Gdb]:
    with Gdb(tmp_path, door=door) as gdb:
        yield gdb
        assert "Traceback" not in (tmp_path / "gdb.transcript").read_text()


def steps_well(gdb: Gdb) -> str:
    """Do three steps.  Returns what gdb prints."""
    here = gdb.pc
    output = gdb.command("stepi 3")
    assert gdb.pc == here + 12
    assert gdb.value("$msr") & 0x400 == 0
    return output


@pytest.mark.skipif(not FULL.is_char_device(), reason="there is no /dev/full")
@pytest.mark.parametrize("door", ["wire", "commands"])
def test_the_log_cannot_be_written(
    gdb: Gdb, boot: Callable[..., Qemu], demo: Program, tmp_path: Path
) -> None:
    """The file can be opened, so only the next packet's write fails.  The user is told once."""
    gdb.connect(boot(demo, steps=False).target, demo.elf)
    gdb.command("tbreak work")
    gdb.command("continue")
    output = gdb.command(f"set ppc-sstep debug-file {FULL}")
    output += gdb.command("set debug ppc-sstep on")
    output += steps_well(gdb) + gdb.command("next") + steps_well(gdb)
    said = "ppc-sstep: the log is not written: No space left on device\n"
    assert output.count(said) == 1 and output.count("ppc-sstep: ") == 1, output
    log = tmp_path / "log"
    gdb.command(f"set ppc-sstep debug-file {log}")
    assert "the log is not written" not in gdb.command("stepi")
    assert log.read_text().count("\n") > 10


def test_the_record_is_on_no_disk(gdb: Gdb, boot: Callable[..., Qemu], demo: Program) -> None:
    """The layer's record and log are in memory, so no full disk can stop it."""
    gdb.connect(boot(demo, steps=False).target, demo.elf)
    (layer,) = layers_of(gdb)
    opened = {os.readlink(one) for one in Path(f"/proc/{layer}/fd").iterdir()}
    files = {one for one in opened if one.startswith("/") and one != "/dev/null"}
    kept = ("log", "record", "last packets")
    assert files == {f"/memfd:ppc-sstep {what} (deleted)" for what in kept}


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


@pytest.mark.parametrize("door", ["auto", "wire"])
def test_there_is_no_proc(
    without_proc: None, gdb: Gdb, door: str, boot: Callable[..., Qemu], demo: Program
) -> None:
    """Ours cannot find gdb's connection: steps are done by commands, unless the door is `wire`."""
    guest = boot(demo, steps=False)
    output = gdb.connect(guest.target, demo.elf)
    if door == "wire":
        assert output.count("ppc-sstep: ") == 1
        assert "this connection is not taken: gdb's file descriptors are not to be" in output
        assert "not taken: gdb's file descriptors" in gdb.status()
        return
    assert output.endswith(NO_PROC), output
    gdb.command("tbreak work")
    gdb.command("continue")
    assert "ppc-sstep" not in steps_well(gdb)
    assert "Outstanding: none" in gdb.status()
