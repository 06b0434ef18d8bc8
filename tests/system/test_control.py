# SPDX-License-Identifier: MIT
"""Our commands and settings have help, completion and errors like gdb's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.driver import Gdb

pytestmark = pytest.mark.bare

SETTINGS = ("ail", "debug-file", "door", "interrupts", "mask-interrupts", "mode", "watchpoints")


@pytest.fixture
def gdb(tmp_path: Path) -> Iterator[Gdb]:
    with Gdb(tmp_path) as gdb:
        yield gdb


@pytest.mark.parametrize(
    "command",
    [
        *("info ppc-sstep", "ppc-sstep", "maintenance ppc-sstep"),
        *(f"ppc-sstep {name}" for name in ("clean", "probe", "report")),
        *("set ppc-sstep", "show ppc-sstep"),
        *("set debug ppc-sstep", "show debug ppc-sstep"),
        *(f"{verb} ppc-sstep {name}" for verb in ("set", "show") for name in SETTINGS),
    ],
)
def test_help(gdb: Gdb, command: str) -> None:
    lines = gdb.command(f"help {command}").splitlines()
    assert lines[0].endswith(".") and len(lines[0]) <= 80
    if command.startswith(("set", "show")):
        assert lines[0].lower().startswith(command.split()[0])
    listed = [line for line in lines[1:] if " -- " in line or line.startswith("Type ")]  # gdb's
    assert all(len(line) <= 82 for line in lines[1:] if line not in listed)
    assert "This command is not documented" not in "".join(lines)
    if command != "ppc-sstep":
        usage = command.replace("show ", "set ") if command != "show ppc-sstep" else command
        assert lines[1].strip().startswith(f"Usage: {usage}"), "as gdb's own, right behind"


def test_apropos_lists_all(gdb: Gdb) -> None:
    """gdb looks for the word in the help too, but not in what precedes the last word of a name."""
    said = gdb.command("apropos ppc-sstep")
    listed = [line.partition(" -- ")[0] for line in said.splitlines()]
    for name in ("info ppc-sstep", "ppc-sstep report", "show debug ppc-sstep"):
        assert name in listed
    for name in SETTINGS:
        assert f"set ppc-sstep {name}" in listed and f"show ppc-sstep {name}" in listed


def test_prefixes_list_their_commands(gdb: Gdb) -> None:
    for prefix in ("ppc-sstep", "set ppc-sstep"):
        assert gdb.command(prefix) == gdb.command(f"help {prefix}")
        listed = gdb.command(prefix).replace('"', "")  # gdb 18 quotes the prefix
        assert f"List of {prefix} subcommands:" in listed
        expected = f'Undefined {prefix} command: "foo".  Try "help {prefix}".\n'
        assert gdb.command(f"{prefix} foo") == expected
    assert gdb.command("show ppc-sstep").count("\n") == len(SETTINGS)


@pytest.mark.parametrize(
    ("typed", "completions"),
    [
        ("info ppc", ["info ppc-sstep"]),
        ("ppc", ["ppc-sstep"]),
        ("ppc-sstep ", ["ppc-sstep clean", "ppc-sstep probe", "ppc-sstep report"]),
        ("ppc-sstep report /etc/passw", ["ppc-sstep report /etc/passwd"]),
        ("ppc-sstep probe ", []),
        ("info ppc-sstep ", []),
        ("set ppc-sstep ", [f"set ppc-sstep {name}" for name in SETTINGS]),
        ("show ppc-sstep d", ["show ppc-sstep debug-file", "show ppc-sstep door"]),
        ("set ppc-sstep mode ", [f"set ppc-sstep mode {one}" for one in ("auto", "off", "on")]),
        ("set ppc-sstep ail ", [f"set ppc-sstep ail {one}" for one in ("0", "2", "3", "auto")]),
        ("set debug ppc", ["set debug ppc-sstep"]),
        ("set ppc-sstep debug-file /etc/passw", ["set ppc-sstep debug-file /etc/passwd"]),
    ],
)
def test_completion(gdb: Gdb, typed: str, completions: list[str]) -> None:
    found = gdb.command(f"complete {typed}").splitlines()
    assert [one for one in found if not one.endswith("-")] == completions
