# SPDX-License-Identifier: MIT
"""What a person sees: gdb, or a client around it, on a terminal of tmux."""

from __future__ import annotations

import contextlib
import difflib
import re
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from fixtures.closing import Closing
from fixtures.qemu import QemuError, wait_for

SETTINGS = (
    *("set confirm off", "set pagination off", "set style enabled off"),
    "set debuginfod enabled off",
    # Each prompt has a number, so that `command` sees when a command has ended.
    "python number = 0",
    "python def prompt(current): globals().update(number=number + 1); return f'(gdb {number}) '",
    "python gdb.prompt_hook = prompt",
)
"""Commands for the gdb on the screen."""


class Screen(Closing):
    """A program on a terminal of its own; the program ends with the `with` block.

    socket: the path of tmux's socket, which does not exist yet.
    """

    def __init__(self, socket: Path, command: Sequence[str]) -> None:
        self._tmux = ("tmux", "-f", "/dev/null", "-S", str(socket))
        self._run("new-session", "-d", "-x", "110", "-y", "48", shlex.join(["exec", *command]))

    def _run(self, *arguments: str) -> str:
        return subprocess.run(
            [*self._tmux, *arguments], check=True, capture_output=True, text=True, timeout=10
        ).stdout

    def text(self) -> str:
        """The text on the screen."""
        return self._run("capture-pane", "-p")

    def keys(self, *names: str) -> None:
        """Type keys, by tmux's names for them."""
        self._run("send-keys", *names)

    def command(self, text: str) -> str:
        """Type a command.  Returns the screen when the next prompt is there."""
        wait_for(lambda: self._last() != "", "a prompt", 20)
        before = self._last()
        self._run("send-keys", "-l", f"{text}\n")
        wait_for(lambda: self._last() not in (before, ""), f"the end of {text!r}", 20)
        return self.text()

    def _last(self) -> str:
        """The prompt at the end of the screen, empty if there is none."""
        lines = self.text().split("\n")
        found = re.fullmatch(r"(\(gdb \d+\)) *", next(filter(str.strip, reversed(lines)), ""))
        return found[1] if found else ""

    def close(self) -> None:
        """End tmux, and with it the program."""
        subprocess.run([*self._tmux, "kill-server"], check=False, timeout=10)


def same_after(native: Screen, ours: Screen, commands: Sequence[str]) -> None:
    """Give both screens the same commands; assert that after each both show the same."""
    for number, command in enumerate(commands):
        native.command(command)
        ours.command(command)
        with contextlib.suppress(QemuError):  # a prompt may come before a window is drawn
            wait_for(lambda: native.text() == ours.text(), "the same screen", 3)
        theirs, mine = native.text().splitlines(), ours.text().splitlines()
        diff = "\n".join(difflib.unified_diff(theirs, mine, "native", "ours", lineterm=""))
        assert not diff, f"after {commands[: number + 1]}:\n{diff}"
