# SPDX-License-Identifier: MIT
"""Runs inside gdb: `walk` steps instruction by instruction and writes down every register."""

from __future__ import annotations

from pathlib import Path

import gdb

# Which SPRs there are depends on the version of QEMU.
NAMES = [
    *("pc", "msr", "cr", "lr", "ctr", "xer", "srr0", "srr1"),
    *("sprg0", "sprg3", "dar", "dsisr", "spr_cfar", "cfar"),
    *(f"r{number}" for number in range(32)),
]
LOW = 0x0FFFFFFFFFFFFFFF


def _is_swapped(pc: int) -> bool:
    """In a handler of the other byte order gdb reads registers swapped, natively as well."""
    return pc >> 32 not in (0, 0xC0000000)


def walk(label: str, path: str, most: int = 2000) -> None:
    """`stepi` until pc is at `label`; a line of registers after each step goes to `path`."""
    end = int(gdb.parse_and_eval(f"(unsigned long)&{label}"))
    lines: list[str] = []
    pc = 0
    while len(lines) < most and pc & LOW != end:
        before = pc
        gdb.execute("stepi", to_string=True)
        pc = _note(lines)
        if _is_swapped(pc):  # it cannot step on there: leave by the handler's return
            gdb.execute(f"tbreak *{before + 4}", to_string=True)
            gdb.execute("continue", to_string=True)
            pc = _note(lines)
    Path(path).write_text("\n".join(lines), encoding="utf-8")
    gdb.write(f"walked {len(lines)}\n")


def _note(lines: list[str]) -> int:
    frame = gdb.newest_frame()
    known = {register.name for register in frame.architecture().registers()}
    values = {
        name: int(frame.read_register(name)) & (1 << 64) - 1 for name in NAMES if name in known
    }
    lines.append(" ".join(f"{name}={value:x}" for name, value in values.items()))
    return values["pc"]
