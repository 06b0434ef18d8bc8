# SPDX-License-Identifier: MIT
"""The version gate of gdb_ppc_sstep/__init__.py, with a gdb that cannot be had here: an old one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ENTRY = Path(__file__).parents[3] / "gdb_ppc_sstep" / "__init__.py"
FAKE = """
import runpy, sys, types
gdb = types.ModuleType("gdb")
gdb.VERSION, gdb.STDERR = {version!r}, 1
gdb.write = lambda text, stream=0: print(text, end="")
sys.modules["gdb"] = gdb
runpy.run_path({entry!r}, run_name="__main__")
"""


@pytest.mark.parametrize("version", ["10.2", "11.2", "8.1.0.20180409-git", "Fedora 8.2-6.fc29"])
def test_an_old_gdb_gets_one_line(version: str) -> None:
    code = FAKE.format(version=version, entry=str(ENTRY))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    assert done.stdout.startswith(
        f"gdb_ppc_sstep needs GDB 12 or later with Python 3.9 or later; this is GDB {version} "
    )


def test_the_entry_is_readable_by_old_pythons() -> None:
    """No annotations and no f-strings: a Python 2 must get as far as the line."""
    text = ENTRY.read_text()
    assert 'f"' not in text and "->" not in text.replace("# type: () -> None", "")
