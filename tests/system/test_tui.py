# SPDX-License-Identifier: MIT
"""gdb's text user interface in tmux: after each command the screen is that of native stepping."""

from __future__ import annotations

import contextlib
import difflib
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures.bare_metal import SOURCES, Program
from fixtures.qemu import Qemu, QemuError, wait_for
from tests.harness.driver import EXTENSION, GDB

pytestmark = pytest.mark.bare

SETTINGS = (
    *("set confirm off", "set pagination off", "set style enabled off"),
    *("set tui active-border-mode normal", "set debuginfod enabled off"),
)
# Each prompt has a number, so that the end of a command is seen.
PROMPTS = (
    "python number = 0",
    "python def prompt(current): globals().update(number=number + 1); return f'(gdb {number}) '",
    "python gdb.prompt_hook = prompt",
)
COMMANDS = (
    *("layout src", "break square", "continue", "next", "step", "stepi", "nexti 2"),
    *("layout asm", "stepi", "stepi 4", "nexti", "step", "layout regs", "stepi", "next"),
    *("continue", "finish", "layout split", "up", "stepi", "condition 2 x == 2", "continue"),
    *("tui disable", "next", "tui enable", "next", "focus cmd", "step", "refresh", "stepi 9"),
)


class Screen:
    """gdb in a tmux of its own, connected to a guest, ended with the `with` block."""

    def __init__(self, directory: Path, target: str, elf: Path, *, extension: bool) -> None:
        self._tmux = ("tmux", "-f", "/dev/null", "-S", str(directory / f"tmux{extension:d}"))
        settings = [f"-iex={one}" for one in (*SETTINGS, *PROMPTS)]
        if extension:
            settings.append(f"-iex=source {EXTENSION}")
        connect = [f"-ex=target remote {target}", "-ex=tbreak work", "-ex=continue"]
        command = [GDB, "-nx", "-q", "-d", str(SOURCES), *settings, str(elf), *connect]
        self._run("new-session", "-d", "-x", "110", "-y", "48", shlex.join(["exec", *command]))
        self.command("shell clear")
        self.command("tui enable")

    def _run(self, *arguments: str) -> str:
        return subprocess.run(
            [*self._tmux, *arguments], check=True, capture_output=True, text=True, timeout=10
        ).stdout

    def text(self) -> str:
        """What stands on the screen."""
        return self._run("capture-pane", "-p")

    def command(self, text: str) -> str:
        """Type a command; the screen when the next prompt is there."""
        wait_for(lambda: self._last() != "", "a prompt", 20)
        before = self._last()
        self._run("send-keys", "-l", f"{text}\n")
        wait_for(lambda: self._last() not in (before, ""), f"the end of {text!r}", 20)
        return self.text()

    def _last(self) -> str:
        """The prompt at the end, empty if there is none."""
        lines = self.text().split("\n")
        found = re.fullmatch(r"(\(gdb \d+\)) *", next(filter(str.strip, reversed(lines)), ""))
        return found[1] if found else ""

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *_error: object) -> None:
        subprocess.run([*self._tmux, "kill-server"], check=False, timeout=10)


def test_screens(
    tmp_path: Path, programs: Callable[..., Program], boot: Callable[..., Qemu]
) -> None:
    program = programs("demo")
    elf = program.elf
    with (
        Screen(tmp_path, boot(program, steps=True).target, elf, extension=False) as native,
        Screen(tmp_path, boot(program, steps=False).target, elf, extension=True) as ours,
    ):
        for number, command in enumerate(COMMANDS):
            native.command(command)
            ours.command(command)
            with contextlib.suppress(QemuError):  # a prompt may come before the last of a window
                wait_for(lambda: native.text() == ours.text(), "the same screen", 3)
            theirs, mine = native.text().splitlines(), ours.text().splitlines()
            diff = "\n".join(difflib.unified_diff(theirs, mine, "native", "ours", lineterm=""))
            assert not diff, f"after {COMMANDS[: number + 1]}:\n{diff}"
        assert ": taken" in ours.command("info ppc-sstep")
