# SPDX-License-Identifier: MIT
"""A function of one byte at address 0, for gdb's own `until` to end like `stepi`.

In a function without lines `until` steps until pc is behind where it began (gdb/infcmd.c
until_next_command).  Where gdb believes that to have been 0 this is 1, which gdb takes for the mark
of a step by one instruction (gdb/infrun.c, step_range_end == 1): the step ends wherever the guest
is, with the reason of a step, which MI tells.  gdb has to know a symbol there, so MI's gdb is given
a symbol file, and no other.  And gdb has to be able to read it: in a Linux kernel it is not.
"""

from __future__ import annotations

import re
import struct
import tempfile
from functools import cache
from pathlib import Path

import gdb

ADDRESS = 0
NAME = "ppc_sstep_nowhere"

_HEADER = 64
_PPC64 = 21


def is_known() -> bool:
    """Whether gdb knows a function without lines there, which it is told of if need be."""
    if gdb.block_for_pc(0) is not None:
        return False
    if not _has_symbol():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "nowhere"
            path.write_bytes(_elf())
            gdb.execute(f"with confirm off -- add-symbol-file {path}", to_string=True)
    return _has_symbol()


def _has_symbol() -> bool:
    return not gdb.execute("info symbol 0", to_string=True).startswith("No symbol")


@cache
def speaks_mi() -> bool:
    """Whether this gdb was started for a front end: nobody else is told the reason of a stop."""
    try:
        line = Path("/proc/self/cmdline").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return re.search(r"\0--?i\w*[=\0]mi\d?\0", line) is not None


def _elf() -> bytes:
    """An executable for ppc64 without contents: one section of one byte, and its symbol."""
    strings = b"\0.text\0.symtab\0.strtab\0" + NAME.encode() + b"\0"
    symbols = bytes(24) + struct.pack(">IBBHQQ", strings.index(NAME.encode()), 0x12, 0, 1, 0, 1)
    at = _HEADER + len(symbols)
    sections = (
        (0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
        (strings.index(b".text"), 8, 6, 0, _HEADER, 1, 0, 0, 1, 0),
        (strings.index(b".symtab"), 2, 0, 0, _HEADER, len(symbols), 3, 1, 8, 24),
        (strings.index(b".strtab"), 3, 0, 0, at, len(strings), 0, 0, 1, 0),
    )
    table = b"".join(struct.pack(">IIQQQQIIQQ", *one) for one in sections)
    ident = b"\x7fELF" + bytes((2, 2, 1)) + bytes(9)
    offset = at + len(strings)
    header = struct.pack(
        ">HHIQQQIHHHHHH", 2, _PPC64, 1, 0, 0, offset, 2, _HEADER, 0, 0, 64, len(sections), 3
    )
    return ident + header + symbols + strings + table
