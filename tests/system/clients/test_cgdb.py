# SPDX-License-Identifier: MIT
"""cgdb: after each command its screen, source and gdb window, is that of native stepping."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest

from fixtures.bare_metal import SOURCES, Program
from fixtures.qemu import wait_for
from tests.harness.driver import GDB
from tests.harness.screen import SETTINGS, Screen, same_after

from .conftest import Side, program_of

COMMANDS = (
    *("break square", "continue", "next", "step", "stepi", "nexti 2", "finish", "up", "stepi 4"),
    *("condition 2 x == 3", "continue", "until", "next 3", "info breakpoints", "delete 2", "next"),
    *("watch total", "continue", "continue", "delete", "step", "stepi", "frame 1", "finish"),
)


def cgdb(directory: Path, name: str, side: Side, program: Program) -> Screen:
    """Start cgdb with a gdb that is connected to a side's target."""
    settings = [f"-iex={one}" for one in SETTINGS]
    command = [
        *("env", f"HOME={directory}", program_of("cgdb", "cgdb"), "-d", GDB, "--"),
        *("-nx", "-q", "-d", str(SOURCES), *settings, *side.arguments, str(program.elf)),
        # Not by hand: cgdb, which finds no code there, would put a warning behind the prompt.
        *(f"-ex=target remote {side.target}", "-ex=tbreak work", "-ex=continue"),
    ]
    screen = Screen(directory / f"tmux-{name}", command)
    try:
        screen.command("next")
        # At the connect it shows its logo, a random one, or instructions, as it comes.
        screen.keys("Escape", ":", *"set nodisasm", "Enter", "i")
        wait_for(lambda: "long work(int n)" in screen.text(), "the program's text", 20)
        screen.command("python print('\\n' * 50)")  # the line with the target is away then
    except BaseException:
        screen.close()
        raise
    return screen


@pytest.mark.timeout(90)
@pytest.mark.parametrize("how", ["extension", "service"])
def test_screens(
    how: str,
    tmp_path: Path,
    side: Callable[[str], AbstractContextManager[Side]],
    demo: Program,
) -> None:
    with ExitStack() as stack:
        screens = [
            stack.enter_context(cgdb(tmp_path, one, stack.enter_context(side(one)), demo))
            for one in ("native", how)
        ]
        native, ours = screens
        same_after(native, ours, COMMANDS)
