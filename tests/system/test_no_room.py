# SPDX-License-Identifier: MIT
"""A machine without room on its disk: one clear line, and steps are done."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fixtures.bare_metal import Program
from fixtures.qemu import Qemu
from tests.harness.driver import Gdb, layers_of

pytestmark = pytest.mark.bare

FULL = Path("/dev/full")


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
