# SPDX-License-Identifier: MIT
"""gdb's text user interface in tmux: after each command the screen is that of native stepping."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures.bare_metal import SOURCES, Program
from fixtures.qemu import Qemu
from tests.harness.driver import EXTENSION, GDB
from tests.harness.screen import SETTINGS, Screen, same_after

pytestmark = pytest.mark.bare

COMMANDS = (
    *("layout src", "break square", "continue", "next", "step", "stepi", "nexti 2"),
    *("layout asm", "stepi", "stepi 4", "nexti", "step", "layout regs", "stepi", "next"),
    *("continue", "finish", "layout split", "up", "stepi", "condition 2 x == 2", "continue"),
    *("tui disable", "next", "tui enable", "next", "focus cmd", "step", "refresh", "stepi 9"),
)


def screen(socket: Path, target: str, elf: Path, *, extension: bool) -> Screen:
    """Start a gdb in its text user interface, connected to a guest."""
    settings = [f"-iex={one}" for one in (*SETTINGS, "set tui active-border-mode normal")]
    if extension:
        settings.append(f"-iex=source {EXTENSION}")
    connect = [f"-ex=target remote {target}", "-ex=tbreak work", "-ex=continue"]
    made = Screen(socket, [GDB, "-nx", "-q", "-d", str(SOURCES), *settings, str(elf), *connect])
    made.command("shell clear")
    made.command("tui enable")
    return made


def test_screens(
    tmp_path: Path, programs: Callable[..., Program], boot: Callable[..., Qemu]
) -> None:
    program = programs("demo")
    elf = program.elf
    guests = [boot(program, steps=steps).target for steps in (True, False)]
    with (
        screen(tmp_path / "native", guests[0], elf, extension=False) as native,
        screen(tmp_path / "ours", guests[1], elf, extension=True) as ours,
    ):
        same_after(native, ours, COMMANDS)
        assert ": taken" in ours.command("info ppc-sstep")
