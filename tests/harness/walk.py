# SPDX-License-Identifier: MIT
"""Runs inside gdb: `walk` and `follow` step instruction by instruction and look at each step."""

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
    """Whether pc is in a handler of the other byte order.

    There gdb reads registers with their bytes swapped, natively as well.
    """
    return pc >> 32 not in (0, 0xC0000000)


def walk(label: str, path: str, most: int = 2000) -> None:
    """Do `stepi` until pc is at `label`; write a line of registers for each step to `path`."""
    end = int(gdb.parse_and_eval(f"(unsigned long)&{label}"))
    lines: list[str] = []
    pc = 0
    while len(lines) < most and pc & LOW != end:
        before = pc
        gdb.execute("stepi")
        pc = _note(lines)
        if _is_swapped(pc):  # gdb cannot step on there: let the handler return
            gdb.execute(f"tbreak *{before + 4}", to_string=True)
            gdb.execute("continue", to_string=True)
            pc = _note(lines)
    Path(path).write_text("\n".join(lines), encoding="utf-8")
    gdb.write(f"walked {len(lines)}\n")


def _note(lines: list[str]) -> int:
    """Append a line with the registers.  Returns pc."""
    frame = gdb.newest_frame()
    known = {register.name for register in frame.architecture().registers()}
    values = {
        name: int(frame.read_register(name)) & (1 << 64) - 1 for name in NAMES if name in known
    }
    lines.append(" ".join(f"{name}={value:x}" for name, value in values.items()))
    return values["pc"]


def follow(count: int) -> None:
    """Do `stepi` COUNT times; each must come to a successor of its instruction."""
    taken = 0
    # gdb reads a function's prologue at every stop, which takes most of the time on a slow stub.
    step = "with trust-readonly-sections on -- stepi"
    for number in range(count):
        pc = _frame_pc()
        wanted = _successors(pc)
        gdb.execute(step, to_string=True)
        new = _frame_pc()
        assert new in wanted, f"step {number}: {pc:#x} came to {new:#x}, not to {wanted}"
        taken += new != pc + 4
    gdb.write(f"followed {count} with {taken} jumps\n")


def _frame_pc() -> int:
    return gdb.newest_frame().pc()


def _successors(pc: int) -> set[int]:
    """Where the instruction at pc may lead, by gdb's disassembler."""
    frame = gdb.newest_frame()
    text = frame.architecture().disassemble(pc)[0]["asm"].split("<")[0]
    word = text.split()[0]
    wanted = {pc + 4}
    if word[0] == "b" and word != "brd":
        if "lr" in word:
            wanted.add(_register(frame, "lr") & ~3)
        elif "ctr" in word:
            wanted.add(_register(frame, "ctr") & ~3)
        else:
            wanted.add(int(text.split(",")[-1].split()[-1], 16))
    if word in ("lwarx", "ldarx"):  # gdb steps over the whole sequence
        wanted.update(pc + 4 * n for n in range(2, 17))
    return wanted


def _register(frame: gdb.Frame, name: str) -> int:
    return int(frame.read_register(name)) & (1 << 64) - 1
