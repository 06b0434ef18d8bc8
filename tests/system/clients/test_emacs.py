# SPDX-License-Identifier: MIT
"""Emacs' gdb-mi, in batch mode: its buffers after each stop, and the text of the session."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from fixtures.bare_metal import SOURCES, Program
from tests.harness.driver import GDB

from .conftest import Side, program_of

SCRIPT = Path(__file__).parent / "gdb_mi.el"
SETTINGS = ("set confirm off", "set pagination off", "set width 0", "set debuginfod enabled off")


def emacs(side: Side, program: Program, directory: Path) -> list[str]:
    """The lines that a session shows, without our own ones."""
    options = directory / "options.gdb"  # Emacs splits a command at each space
    options.write_text("\n".join([*SETTINGS, *(one.partition("=")[2] for one in side.arguments)]))
    environment = {
        **os.environ,
        "GDB_COMMAND": f"{GDB} -i=mi -nx -q -d {SOURCES} -ix {options}",
        "TARGET": side.target,
        "ELF": str(program.elf),
    }
    with subprocess.Popen(
        [program_of("emacs-nox", "emacs"), "-Q", "--batch", "-l", str(SCRIPT)],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            said, complaints = process.communicate(timeout=60)
        finally:
            process.kill()  # gdb ends with its terminal, which is Emacs'
    assert process.returncode == 0, complaints
    # What is typed may come before the prompt or after it; and our line is between two prompts.
    lines = re.sub(r"\(gdb\) ", "", said.replace(side.target, "TARGET")).splitlines()
    return [line for line in lines if line and not line.startswith("ppc-sstep: ")]


@pytest.mark.timeout(150)
@pytest.mark.parametrize("how", ["extension", "service"])
def test_the_same_session(
    how: str,
    side: Callable[[str], AbstractContextManager[Side]],
    demo: Program,
    tmp_path: Path,
) -> None:
    with side("native") as theirs:
        native = emacs(theirs, demo, tmp_path)
    with side(how) as mine:
        assert emacs(mine, demo, tmp_path) == native
    assert sum("end-stepping-range" in line for line in native) >= 6, native
