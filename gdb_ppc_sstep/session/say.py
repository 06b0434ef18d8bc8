# SPDX-License-Identifier: MIT
"""Everything that is printed without being asked for."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import gdb

from .settings import SETTINGS


def announce(line: str) -> None:
    """Tell the user something, among what gdb prints at a stop, on a line of its own.

    In MI that is one record of the console stream.  Emacs has shown its prompt at the `*stopped`
    before it; there, the line would follow that prompt.
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


def log(line: str) -> None:
    """A line of a door that runs in gdb itself."""
    if not SETTINGS.debug:
        return
    if SETTINGS.debug_file:
        with open(SETTINGS.debug_file, "a", encoding="utf-8") as file:
            file.write(line + "\n")
    else:
        gdb.write(line + "\n", gdb.STDLOG)
