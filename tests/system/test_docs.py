# SPDX-License-Identifier: MIT
"""The commands of the documents do what is said there: see tests/documents.py for their blocks.

What a reader has to put in by himself is put in here: see `_with_ours`.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from fixtures.bare_metal import Program
from fixtures.linux import LinuxImage
from fixtures.qemu import Qemu
from tests.documents import Block, all_blocks, says
from tests.harness.driver import GDB, ROOT, Gdb
from tests.harness.oracle import complaint

BLOCKS = all_blocks()
CLONE = "/PATH/TO/gdb_ppc_sstep"
STUB = "127.0.0.1:1234"
LOG = "/tmp/ppc-sstep.log"
TAKEN = "ppc-sstep: this stub ignores step requests; stepping by the Trace interrupt.\n"
PROMPTS = re.compile(r"^(\$|\(gdb\)) (.*)\n((?:(?!\$ |\(gdb\)).*\n)*)", re.MULTILINE)


def of(*kinds: str, guest: str = "bare") -> list[object]:
    """The blocks of these kinds that are run with this guest, by their places."""
    chosen = [
        block
        for block in BLOCKS
        if block.kind in kinds and not block.not_run and block.guest == guest
    ]
    assert chosen, f"the documents have no block of {kinds} for the guest {guest}"
    return [pytest.param(block, id=block.name) for block in chosen]


@pytest.fixture
def ours(guest: Qemu, demo: Program, tmp_path: Path) -> dict[str, str]:
    """What stands in the documents, and what is there in a test with fixtures/bare/demo.c."""
    return {
        CLONE: str(ROOT),
        STUB: guest.target,
        LOG: str(tmp_path / "log"),
        **dict.fromkeys(("vmlinux", "demo.elf"), str(demo.elf)),
        "sys_openat": "work",
    }


def _with_ours(text: str, ours: dict[str, str]) -> str:
    for theirs, here in ours.items():
        text = text.replace(theirs, here)
    return text


def _as_documented(output: str, ours: dict[str, str], document: str) -> str:
    for theirs, here in ours.items():
        if theirs in document:
            output = output.replace(here, theirs)
    return output


@pytest.mark.bare
@pytest.mark.parametrize("block", of("gdb"))
def test_gdb_commands(
    block: Block, tmp_path: Path, guest: Qemu, demo: Program, ours: dict[str, str]
) -> None:
    with Gdb(tmp_path, extension="gdb_ppc_sstep" not in block.text) as gdb:
        gdb.command(f"file {demo.elf}")
        if "target " not in block.text:
            gdb.connect(guest.target)
        sourced(gdb, _with_ours(block.text, ours), tmp_path)
        assert gdb.status().startswith("Settings: "), "the extension is there at the end"


@pytest.mark.linux
@pytest.mark.parametrize("block", of("gdb", guest="linux"))
def test_gdb_commands_on_linux(
    block: Block, tmp_path: Path, start: Callable[..., Qemu], image: LinuxImage
) -> None:
    with Gdb(tmp_path) as gdb:
        gdb.command("set osabi none")
        assert TAKEN in gdb.connect(start().target, image.vmlinux)
        sourced(gdb, block.text, tmp_path)


def sourced(gdb: Gdb, text: str, directory: Path) -> None:
    """Give gdb the commands of a block, none of which may fail."""
    script = directory / "block.gdb"
    script.write_text(text)
    gdb.command("set breakpoint pending off")  # else a function that is not there is no error
    output = gdb.command(f"source {script}", timeout=60)
    assert "Error in sourced command file" not in output, output
    assert "Traceback" not in output and not complaint("", output), output


@pytest.mark.bare
@pytest.mark.parametrize("block", of("console"))
def test_sessions_are_as_documented(
    block: Block, tmp_path: Path, ours: dict[str, str], request: pytest.FixtureRequest
) -> None:
    if "(gdb) watch " in block.text:
        request.getfixturevalue("stub_watches")
    steps = PROMPTS.findall(block.text)
    assert steps and PROMPTS.sub("", block.text) == "", "it begins with a prompt"
    gdb: Gdb | None = None
    try:
        for prompt, command, expected in steps:
            words = shlex.split(_with_ours(command, ours)) if prompt == "$" else []
            if words[:1] == ["gdb-multiarch"]:
                assert gdb is None, "one gdb a session"
                gdb = Gdb(tmp_path, extension=False, arguments=tuple(words[1:]))
                continue
            if prompt == "$":
                output = shell(_with_ours(command, ours), tmp_path)
            else:
                assert gdb is not None, "the session starts gdb"
                output = gdb.command(_with_ours(command, ours))
            said = _as_documented(output, ours, block.text)
            assert says(expected, said), f"{command}\nhas said:\n{said}\nnot:\n{expected}"
    finally:
        if gdb is not None:
            gdb.close()


@pytest.mark.bare
def test_the_example_of_a_gdbinit(tmp_path: Path, guest: Qemu, ours: dict[str, str]) -> None:
    """It has all settings, and each of them can be uncommented."""
    text = (ROOT / "gdbinit.example").read_text("utf-8")
    text = re.sub(r"^#(?=set )", "", text, flags=re.MULTILINE)
    with Gdb(tmp_path, extension=False) as gdb:
        sourced(gdb, _with_ours(text, ours), tmp_path)
        settings = re.findall(r"^set ppc-sstep (\S+)", gdb.command("complete set ppc-sstep "), re.M)
        assert settings
        for name in settings:
            assert f"set ppc-sstep {name} " in text
        gdb.connect(guest.target)
        assert "taken\n" in gdb.status()
    assert (tmp_path / "log").read_text()


@pytest.mark.bare
@pytest.mark.parametrize("block", of("sh"))
def test_shell_commands(block: Block, tmp_path: Path, ours: dict[str, str]) -> None:
    shell(_with_ours(block.text, ours), tmp_path)


def shell(commands: str, directory: Path) -> str:
    """Run commands in a clone, with a home of their own; what they print.  They must not fail."""
    programs = directory / "bin"
    programs.mkdir(exist_ok=True)
    for name, command in (
        ("gdb-ppc-sstep", f"PYTHONPATH={ROOT} exec {sys.executable} -m gdb_ppc_sstep"),
        ("gdb-multiarch", f"exec {GDB} -nx"),
    ):
        shim = programs / name
        if name != GDB:
            shim.write_text(f'#!/bin/sh\n{command} "$@"\n')
            shim.chmod(0o755)
    process = subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=ROOT,
        env={
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(directory),
            "TERM": "dumb",
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=60)
    finally:
        with suppress(ProcessLookupError):  # of what it has left running
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert process.returncode == 0, output
    return output
