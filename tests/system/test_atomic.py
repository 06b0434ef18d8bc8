# SPDX-License-Identifier: MIT
"""Atomic sequences: those that gdb itself steps over, and those that it leaves to the stub.

Natively, TCG keeps a reservation across its stops.  So it shows each instruction of a sequence that
gdb does not know.  A Trace interrupt (like any stop under KVM) loses the reservation.  So ours
executes the sequence as a whole, and after it the registers are those after the native steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest

from fixtures.bare_metal import Program, assemble
from fixtures.qemu import Qemu
from tests.harness.oracle import Oracle, oracle, variant_name

pytestmark = pytest.mark.bare

CODE, CELL = 0x40000, 0x41000

# By name: whether gdb itself steps over the sequence; the code, which ends at `done`.
SEQUENCES: dict[str, tuple[bool, str]] = {
    "byte": (True, "lbarx 4,0,3; addi 4,4,1; stbcx. 4,0,3"),
    "halfword": (True, "lharx 4,0,3; addi 4,4,1; sthcx. 4,0,3"),
    "quadword": (True, "lqarx 4,0,3; addi 5,5,1; stqcx. 4,0,3"),
    "loop": (True, "1: lwarx 4,0,3; addi 4,4,1; stwcx. 4,0,3; bne- 1b"),
    "branch out": (True, "lwarx 4,0,3; cmpwi 4,99; beq done; stwcx. 5,0,3"),
    "branch out, taken": (True, "lwarx 4,0,3; cmpw 4,4; beq done; stwcx. 5,0,3; nop; nop"),
    "branch inside": (True, "ldarx 4,0,3; cmpd 4,4; beq 1f; li 4,9; 1: stdcx. 4,0,3"),
    "nested": (True, "ldarx 4,0,3; ldarx 5,0,6; stdcx. 5,0,6; stdcx. 4,0,3"),
    "two exits": (
        False,
        "lwarx 4,0,3; cmpwi 4,99; beq 1f; cmpwi 4,98; beq 1f; stwcx. 5,0,3; 1: nop",
    ),
    "two exits, the second taken": (
        False,
        "lwarx 4,0,3; cmpwi 4,99; beq 1f; cmpw 4,4; beq done; stwcx. 5,0,3; 1: nop; nop",
    ),
    "long": (False, "ldarx 4,0,3;" + "addi 4,4,1;" * 30 + "stdcx. 4,0,3"),
    "spins inside": (
        False,
        "li 7,5; mtctr 7; 1: ldarx 4,0,3; bdnz 1b; cmpd 4,4; bne 1b; stdcx. 4,0,3",
    ),
    "no store": (True, "lwarx 4,0,3; addi 4,4,1; nop; nop"),
}
VARIANTS: list[dict[str, Any]] = [{"endian": "le"}, {"endian": "be", "ail": 3}]


@pytest.fixture(params=VARIANTS, ids=variant_name)
def variant(request: pytest.FixtureRequest) -> dict[str, Any]:
    chosen: dict[str, Any] = request.param
    return chosen


@pytest.fixture
def pair(
    variant: dict[str, Any],
    tmp_path: Path,
    programs: Callable[..., Program],
    boot: Callable[..., Qemu],
) -> Iterator[Oracle]:
    program = programs("demo", **variant)
    with oracle(tmp_path, partial(boot, program), program.elf) as pair:
        pair.both("tbreak main")
        pair.both("continue")
        yield pair


def test_sequences(pair: Oracle, variant: dict[str, Any], tmp_path: Path) -> None:
    for name, (gdbs, text) in SEQUENCES.items():
        _place(pair, text, variant["endian"], tmp_path)
        larx = next(n for n, one in enumerate(text.split(";")) if "arx" in one)
        for _ in range(larx):
            pair.both("stepi")
        pair.both(f"echo {name}\\n")
        if gdbs:
            for _ in range(text.count(";") - larx + 1):
                if pair.native.pc != pair.native.value("$done"):
                    pair.both("stepi")
        else:
            pair.ours.command("stepi")
            after = pair.ours.pc
            assert after > CODE + 4 * larx + 4
            for _ in range(60):
                pair.native.command("stepi")
                if pair.native.pc == after:
                    break
            pair.both("p $pc")
            pair.both("stepi")
        pair.both(f"x/4gx {CELL}")
        status = pair.ours.status()
        assert "Outstanding: none" in status


def _place(pair: Oracle, text: str, endian: Literal["le", "be"], directory: Path) -> None:
    code, _ = assemble(text.replace(";", "\n") + "\ndone: nop\nnop\n", endian, directory)
    (directory / "code").write_bytes(code)
    for gdb in (pair.native, pair.ours):
        gdb.command(f"restore {directory / 'code'} binary {CODE:#x}")
    for line in (
        f"set $pc = {CODE}",
        f"set $done = {CODE + len(code) - 8}",
        f"set $r3 = {CELL}",
        f"set $r6 = {CELL + 16}",
        "set $r5 = 77",
        f"set {{long}}{CELL} = 5",
        f"set {{long}}{CELL + 8} = 6",
    ):
        pair.both(line)


def test_transaction(
    tmp_path: Path, programs: Callable[..., Program], boot: Callable[..., Qemu]
) -> None:
    """Under TCG a transaction always fails, so the step over it ends in its failure handler."""
    program = programs("demo")
    with oracle(tmp_path, partial(boot, program, cpu="POWER8"), program.elf) as pair:
        pair.both("tbreak main")
        pair.both("continue")
        text = "tbegin. 0; beq 1f; addi 4,4,1; tend. 0; li 5,1; 1: li 5,2"
        _place(pair, text, "le", tmp_path)
        pair.both("set $msr = $msr | (1UL << 32)")
        pair.ours.command("stepi")
        assert pair.ours.pc == CODE + 20
        for _ in range(2):
            pair.native.command("stepi")
        pair.both("p $pc")
        pair.both("stepi")
