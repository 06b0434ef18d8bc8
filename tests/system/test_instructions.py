# SPDX-License-Identifier: MIT
"""Single instructions, poked where the guest stands, against the oracle."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fixtures.bare_metal import SOURCES, Program
from fixtures.qemu import Qemu
from tests.oracle import Oracle, oracle, variant_name

pytestmark = pytest.mark.bare

SE = 0x400
HERE = "$here"

# By name: the word, and gdb commands before the step.  r20 to r23 are free to use.
CASES: dict[str, tuple[int, list[str]]] = {
    "rfid": (0x4C000024, ["set $srr0 = $pc + 8", "set $srr1 = $msr"]),
    "rfid, low bits of SRR0": (0x4C000024, ["set $srr0 = $pc + 11", "set $srr1 = $msr"]),
    "rfid, status bits in SRR1": (
        0x4C000024,
        ["set $srr0 = $pc + 8", "set $srr1 = $msr | 0x783f0000"],
    ),
    "rfid, other MSR": (0x4C000024, ["set $srr0 = $pc + 8", "set $srr1 = $msr ^ 0x2002"]),
    "rfid to a 32-bit state": (
        0x4C000024,
        ["set $srr0 = $pc + 8 | 0x100000000", "set $srr1 = $msr & 0x7fffffffffffffff"],
    ),
    "rfid with the guest's own SE": (
        0x4C000024,
        ["set $srr0 = $pc + 8", "set $srr1 = $msr | 0x400"],
    ),
    "hrfid without MSR[HV]": (0x4C000224, ["set $hsrr0 = $pc + 8"]),
    "rfscv": (0x4C0000A4, ["set $lr = $pc + 8", "set $ctr = $msr"]),
    "sc": (0x44000002, []),
    "sc 1": (0x44000022, ["set $r3 = 0xfffc"]),
    "scv 0": (0x44000001, []),
    "trap": (0x7FE00008, []),
    "tdeqi taken": (0x08940007, ["set $r20 = 7"]),
    "tdeqi not taken": (0x08940007, ["set $r20 = 8"]),
    "tw on the low word": (0x7C94A808, ["set $r20 = 0x100000007", "set $r21 = 7"]),
    "mfmsr": (0x7E8000A6, []),
    "mfsrr0": (0x7E9A02A6, ["set $srr0 = 0x123456789abcdef0"]),
    "mfsrr1": (0x7E9B02A6, ["set $srr1 = 0x8000000012345670"]),
    "mtsrr0": (0x7E9A03A6, ["set $r20 = 0x123456789abcdef0"]),
    "mtsrr1": (0x7E9B03A6, ["set $r20 = 0x8000000000000402"]),
    "mtmsrd": (0x7E800164, ["set $r20 = $msr ^ 0x2002"]),
    "mtmsrd that leaves translation": (0x7E800164, ["set $r20 = $msr & ~0x30"]),
    "mtmsrd 1": (0x7E810164, ["set $r20 = $msr ^ 0x2"]),
    "mtmsr": (0x7E800124, ["set $r20 = $msr ^ 0x2002"]),
    "branch to itself": (0x48000000, []),
    "bl": (0x48000011, []),
    "bctr": (0x4E800420, ["set $ctr = $pc + 12"]),
    "bdnz not taken": (0x4200FFF8, ["set $ctr = 1"]),
    "bdnz taken": (0x42000008, ["set $ctr = 9"]),
}

VARIANTS: list[dict[str, Any]] = [
    {"endian": "le"},
    {"endian": "be", "ail": 3},
    {"endian": "le", "ail": 3},
]


@pytest.fixture(params=VARIANTS, ids=variant_name)
def pair(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    programs: Callable[..., Program],
    boot: Callable[..., Qemu],
) -> Iterator[Oracle]:
    program = programs("demo", **request.param)
    start = partial(boot, program)
    with oracle(tmp_path, start, program.elf, ["-d", str(SOURCES)]) as pair:
        pair.both("tbreak work")
        pair.both("continue")
        pair.both(f"set {HERE} = $pc")
        yield pair


def _step_over(pair: Oracle, where: str, name: str, word: int, before: list[str]) -> None:
    """Put an instruction and a few nops at an address, set registers, and step."""
    pair.both(f"set $pc = {where}")
    for offset in range(0, 24, 4):
        pair.both(f"set {{unsigned int}}({where} + {offset}) = 0x60000000")
    pair.both(f"set {{unsigned int}}$pc = {word:#x}")
    for command in before:
        pair.both(command)
    pair.both(f"echo {name}\\n")
    pair.both("stepi")


def test_every_case(pair: Oracle) -> None:
    """All in one guest: each starts with the registers that it is given and a few nops after it."""
    pair.both("set $old = $msr")
    for name, (word, before) in CASES.items():
        pair.both("set $msr = $old")
        _step_over(pair, HERE, name, word, before)
    pair.both("set $msr = $old")
    assert pair.ours.value("trace_hits") == 0
    assert pair.compared > 20 * len(CASES)
    assert f"Steps done: {len(CASES)}\n" in pair.ours.status()


def test_the_guests_own_trace_interrupt(pair: Oracle) -> None:
    """With MSR[SE] set by the guest a step ends at its Trace vector, as natively."""
    pair.both("set $msr = $msr | 0x400")
    pair.both("stepi")
    assert pair.both("p/x $pc").strip().endswith(("0xd00", "004d00"))
    for _ in range(3):
        pair.both("stepi")  # through its handler


def test_steps_at_the_trace_vector(pair: Oracle) -> None:
    vector = "0xc000000000004d00" if "004d00" in pair.ours.status() else "0xd00"
    pair.both(f"set $pc = {vector}")
    pair.both("break *$pc")
    for _ in range(5):
        pair.both("stepi")
    pair.both(f"set $pc = {vector}")
    pair.both("stepi")


@pytest.mark.parametrize(
    "pair", [one for one in VARIANTS if one.get("ail")], ids=variant_name, indirect=True
)
def test_interrupted_in_a_handler(pair: Oracle) -> None:
    """A load that faults into a handler which never returns: Ctrl-C, and nothing of ours stays."""
    gdb = pair.ours
    gdb.command(f"set {{unsigned int}}{HERE} = 0xea940000")  # ld r20,0(r20)
    gdb.command("set $r20 = 0x100000000000")
    gdb.send("stepi")
    time.sleep(0.5)  # in the handler, which never ends
    output = gdb.interrupt()
    assert "SIGINT" in output
    assert gdb.value("$srr0") == gdb.value(HERE)
    assert gdb.value("$srr1") & SE == 0
    assert gdb.value("$msr") & SE == 0
    assert "Outstanding: none" in gdb.status()


HYPERVISOR_CASES: dict[str, tuple[int, list[str]]] = {
    "hrfid": (0x4C000224, ["set $hsrr0 = 0x20108", "set $hsrr1 = $msr"]),
    "hrfid, other MSR": (0x4C000224, ["set $hsrr0 = 0x2010b", "set $hsrr1 = $msr ^ 0x2002"]),
    "rfid": (0x4C000024, ["set $srr0 = 0x20108", "set $srr1 = $msr"]),
    "rfid that changes ME": (0x4C000024, ["set $srr0 = 0x20108", "set $srr1 = $msr ^ 0x1000"]),
    "nop": (0x60000000, []),
    "sc": (0x44000002, []),
    "sc 1": (0x44000022, []),
    "trap": (0x7FE00008, []),
    "mtmsrd": (0x7E800164, ["set $r20 = $msr ^ 0x2002"]),
}


def test_in_hypervisor_state(
    tmp_path: Path, programs: Callable[..., Program], boot: Callable[..., Qemu]
) -> None:
    """The bare machine (powernv), where MSR[HV]=1 and hrfid is allowed."""
    program = programs("demo", endian="be")
    start = partial(boot, program, machine="powernv9", memory="2G")
    with oracle(tmp_path, start, program.elf) as pair:
        for name, (word, before) in HYPERVISOR_CASES.items():
            _step_over(pair, "0x20100", name, word, before)
        assert pair.ours.value("$msr") >> 60 & 1 == 1
        assert f"Steps done: {len(HYPERVISOR_CASES)}\n" in pair.ours.status()
