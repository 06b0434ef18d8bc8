# SPDX-License-Identifier: MIT
"""The versions of this process and its host, for a bug report."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress

from ..version import VERSION


def lines() -> Iterator[str]:
    """Our version, Python's, the kernel, and the distribution if /etc/os-release has it."""
    yield f"gdb_ppc_sstep {VERSION}"
    yield f"Python {sys.version.split()[0]}"
    uname = os.uname()
    yield f"Host {uname.sysname} {uname.release} {uname.machine}"
    with suppress(OSError), open("/etc/os-release", encoding="utf-8") as file:
        for line in file:
            name, _, value = line.strip().partition("=")
            if name == "PRETTY_NAME":
                yield "Host " + value.strip("\"'")
