# SPDX-License-Identifier: MIT
"""`ppc-sstep report FILE`: at both doors, behind `gdb-ppc-sstep`, and without a connection."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures.bare_metal import Program
from fixtures.qemu import Qemu
from gdb_ppc_sstep.version import VERSION
from tests.harness.driver import Gdb, layers_of
from tests.harness.service import address, service

pytestmark = pytest.mark.bare

SECTIONS = (
    *("Versions", "Settings", "Connection", "Registers", "Target description"),
    *("Log, its end", "Versions of the step layer", "Packets, the last ones"),
)
NO_MEMORY = "It has no memory contents\nbut those that these packets carry."


def written(gdb: Gdb, path: Path) -> dict[str, str]:
    """The sections of a report that gdb writes now; the first, without a title, is its head."""
    assert gdb.command(f"ppc-sstep report {path}") == f"Saved to file '{path}'.\n"
    parts = re.split(r"^== (.*)\n", path.read_text(), flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2]))}


def step_in_work(gdb: Gdb) -> None:
    gdb.command("tbreak work")
    gdb.command("continue")
    gdb.command("stepi 5")


@pytest.mark.parametrize("door", ["wire", "commands"])
def test_at_both_doors(door: str, tmp_path: Path, guest: Qemu, demo: Program) -> None:
    with Gdb(tmp_path, door=door) as gdb:
        gdb.connect(guest.target, demo.elf)
        step_in_work(gdb)
        here = gdb.pc
        found = written(gdb, tmp_path / "report")
        assert tuple(found)[1:] == SECTIONS
        assert NO_MEMORY in found[""]
        assert f"gdb_ppc_sstep {VERSION}\n" in found["Versions"]
        assert re.search(r"^QEMU, info version: \d+\.\d+\.\d+", found["Versions"], re.MULTILINE)
        assert f"door {door}, ail auto" in found["Settings"]
        assert "scheduler-locking" in found["Settings"] or "scheduler" in found["Settings"]
        assert "Steps done: 5\n" in found["Connection"]
        assert "Guest runs on: QEMU without KVM (TCG)\n" in found["Connection"]
        assert f"pc {here:#x}\n" in found["Registers"]
        assert '<reg name="srr0"' in found["Target description"]
        packets = found["Packets, the last ones"].splitlines()
        assert any(line.startswith("stub <- vCont;c") for line in packets)
        assert any(line.startswith("stub -> T05thread:") for line in packets)
        assert ("gdb  <- " in found["Packets, the last ones"]) == (door == "wire")
        assert gdb.pc == here
        gdb.command("stepi")
        assert "Steps done: 6\n" in gdb.status()


def test_behind_the_service(tmp_path: Path, guest: Qemu, demo: Program) -> None:
    with (
        service("--listen", "0", "--connect", guest.target, "--interrupts", "over") as process,
        Gdb(tmp_path) as gdb,
    ):
        gdb.connect(address(process), demo.elf)
        step_in_work(gdb)
        found = written(gdb, tmp_path / "report")
        assert layers_of(gdb) == []
        assert "Interrupts: a step goes over one" in found["Connection"], "as the service has it"
        assert "Steps done: 5\n" in found["Connection"]
        assert "stub <- vCont;c" in found["Packets, the last ones"]


def test_of_a_connection_that_is_not_taken(
    tmp_path: Path, boot: Callable[..., Qemu], demo: Program
) -> None:
    with Gdb(tmp_path) as gdb:
        gdb.connect(boot(demo, steps=True).target, demo.elf)
        found = written(gdb, tmp_path / "report")
        assert "not taken: the stub steps by itself" in found["Connection"]
        assert '<reg name="srr0"' in found["Target description"]
        assert found["Packets, the last ones"] == "none\n"


@pytest.mark.parametrize("door", ["wire", "commands"])
def test_after_the_stub_has_gone(
    door: str, tmp_path: Path, boot: Callable[..., Qemu], demo: Program
) -> None:
    """The packets before that are what a bug report is about."""
    with Gdb(tmp_path, door=door) as gdb:
        guest = boot(demo, steps=False)
        gdb.connect(guest.target, demo.elf)
        step_in_work(gdb)
        guest.close()
        gdb.command("stepi")
        found = written(gdb, tmp_path / "report")
        assert "Connection: none" in found["Connection"]
        ended = f"Connection that has ended ({guest.target})"
        assert "Steps done: 5\n" in found[ended]
        assert "stub -> T05thread:" in found[f"{ended}, packets"]


def test_of_a_layer_that_refuses_to_tell(tmp_path: Path, guest: Qemu, demo: Program) -> None:
    """It is no less of a report.  The refusal is that of a packet that the layer does not know."""
    with Gdb(tmp_path) as gdb:
        gdb.connect(guest.target, demo.elf)
        gdb.command("python import gdb_ppc_sstep.session.doors as doors")
        unknown = "lambda door, **_: doors._ask(door._connection, 'qppc-sstep.unknown')"
        gdb.command(f"python doors.WireDoor.report = {unknown}")
        found = written(gdb, tmp_path / "report")
        assert f"gdb_ppc_sstep {VERSION}\n" in found["Versions"]
        assert "Problem: ppc-sstep: malformed packet 'qppc-sstep.unknown'" in found["Connection"]
        assert '<reg name="srr0"' in found["Target description"]
        assert found["Packets, the last ones"].strip() == "none"


def test_while_the_guest_runs_and_without_a_target(
    tmp_path: Path, guest: Qemu, demo: Program
) -> None:
    with Gdb(tmp_path) as gdb:
        found = written(gdb, tmp_path / "report")
        assert "Connection: none" in found["Connection"]
        gdb.connect(guest.target, demo.elf)
        gdb.command("continue &")
        found = written(gdb, tmp_path / "report")
        assert "Target: not stopped" in found["Connection"]
        assert found["Registers"] == "none\n\n"


def test_errors_are_gdbs_own(tmp_path: Path) -> None:
    with Gdb(tmp_path) as gdb:
        for command in ("ppc-sstep report", "save breakpoints"):
            said = "Argument required (file name in which to save)"
            assert gdb.command(command).rstrip(".\n") == said
        gdb.command("break *0")  # else there is nothing to save
        no_file = f"{tmp_path}/no/file"
        for command in ("ppc-sstep report", "save breakpoints"):
            said = f"Unable to open file '{no_file}' for saving (No such file or directory)"
            assert gdb.command(f"{command} {no_file}").rstrip(".\n") == said


def test_of_the_service_at_a_signal(tmp_path: Path, guest: Qemu, demo: Program) -> None:
    """For clients that cannot ask: before one is there, and while its guest runs."""
    file = tmp_path / "report"

    def written_at_signal() -> str:
        process.send_signal(signal.SIGUSR1)
        assert process.stderr is not None
        assert process.stderr.readline() == f"gdb-ppc-sstep: {file} is written\n"
        return file.read_text()

    with (
        service("--listen", "0", "--connect", guest.target, "--report", file) as process,
        Gdb(tmp_path, extension=False) as gdb,
    ):
        where = address(process)
        text = written_at_signal()
        assert NO_MEMORY in text and f"gdb_ppc_sstep {VERSION}\n" in text
        assert "== Stub\n" + guest.target in text and "== Client\nnone\n" in text
        gdb.connect(where, demo.elf)
        step_in_work(gdb)
        gdb.command("continue &")
        text = written_at_signal()
        assert "Steps done: 5\n" in text
        assert "gdb  -> vCont;c" in text and "stub -> T05thread:" in text
    with service("--listen", "0", "--connect", guest.target, "--report", tmp_path) as process:
        address(process)
        process.send_signal(signal.SIGUSR1)
        assert process.stderr is not None
        said = f"gdb-ppc-sstep: {tmp_path} cannot be written: Is a directory\n"
        assert process.stderr.readline() == said
