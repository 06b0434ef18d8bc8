# SPDX-License-Identifier: MIT
"""Lines that no command of the user's asked for, and the log of doors that run in gdb itself."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import gdb

from .settings import SETTINGS


def announce(line: str) -> None:
    """Tell the user something, among what gdb prints at a stop, on a line of its own.

    With MI the line is one record of the console stream.  It starts with a newline there: Emacs has
    shown its prompt at the `*stopped` before it, and the line would follow that prompt.
    """
    gdb.write(f"{chr(10) if _speaks_mi() else ''}ppc-sstep: {line}\n")


_MI = re.compile(rb"\0--?i(n[a-z]*)?[=\0]mi[0-9]?\0")


@functools.cache
def _speaks_mi() -> bool:
    """Whether gdb was started with MI; it does not tell Python, so its command line has to."""
    try:
        return _MI.search(Path("/proc/self/cmdline").read_bytes()) is not None
    except OSError:  # not Linux
        return False


def warn(line: str) -> None:
    """Tell the user of trouble that ends nothing."""
    gdb.write(f"ppc-sstep: {line}\n", gdb.STDERR)


_not_logged_to = ""
"""The path to which the last line of the log could not be written, else empty."""


def log(line: str) -> None:
    """Log a line of a door that runs in gdb itself; this may be in the middle of a step."""
    global _not_logged_to
    if not SETTINGS.debug:
        return
    path = SETTINGS.debug_file
    if not path:
        gdb.write(line + "\n", gdb.STDLOG)
        return
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(line + "\n")
        _not_logged_to = ""
    except OSError as error:
        if _not_logged_to != path:
            warn(f"the log is not written: {error.strerror}")
        _not_logged_to = path
