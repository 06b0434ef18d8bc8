# SPDX-License-Identifier: MIT
"""Generated programs, stepped instruction by instruction, against the oracle.

`--soak N` runs N times as many.  `--seed S` starts with another seed, or repeats a failure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest

from fixtures.bare_metal import Program, assemble
from fixtures.qemu import Qemu
from tests.harness import generate
from tests.harness.driver import ROOT
from tests.harness.oracle import Oracle, oracle

pytestmark = pytest.mark.bare

FLOATING = re.compile(r"\s(f|m[tf]fs|l[fxv]|st[fxv]|v|x[sxv]|m[ft]v|pl[fx])")
MOST = 150  # steps of a program
EACH = 7  # programs of a variant

VARIANTS = [
    ("POWER9", "le", 0),
    ("POWER9", "be", 0),
    ("POWER9", "le", 3),
    ("POWER9", "be", 3),
    ("POWER8", "le", 0),
    ("POWER8", "be", 0),
    ("POWER10", "le", 3),
    ("POWER10", "be", 0),
]


@pytest.mark.timeout(100_000)
@pytest.mark.parametrize(("cpu", "endian", "ail"), VARIANTS)
def test_all_registers_after_every_step(
    cpu: str,
    endian: Literal["le", "be"],
    ail: int,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    programs: Callable[..., Program],
    boot: Callable[..., Qemu],
) -> None:
    seed, soak = request.config.getoption("--seed"), request.config.getoption("--soak")
    first = VARIANTS.index((cpu, endian, ail)) * 1000 if seed is None else seed
    made = [
        generate.program(number, cpu, translated=bool(ail))
        for number in range(first, first + (1 if seed is not None and soak == 1 else EACH * soak))
    ]
    code, listing = assemble(generate.source(made), endian, tmp_path)
    (tmp_path / "code").write_bytes(code)
    (tmp_path / "plan").write_text(json.dumps(_plan(made, listing, endian)))
    program = programs("demo", endian=endian, ail=ail)
    with oracle(tmp_path, partial(boot, program, cpu=cpu), program.elf) as pair:
        pair.both("tbreak main")
        pair.both("continue")
        native, ours = _replay(pair, tmp_path, 100 * soak)
    assert len(ours) > 20 * len(made)
    for number, (theirs, mine) in enumerate(zip(native, ours)):
        if theirs != mine:
            pytest.fail(_difference(native, ours, number, made, listing, tmp_path), pytrace=False)
    assert len(native) == len(ours)


def _plan(made: list[generate.Program], listing: str, endian: str) -> dict[str, Any]:
    """What replay.py needs: where each program is, and where each of its instructions is."""
    plan = []
    for number, one in enumerate(made):
        lines = _instructions(listing, number)
        addresses = [address for address, _ in lines]
        end = next(address for address, text in lines if re.search(r"\sb  +.*P\d+_40>", text))
        plan.append(
            {
                "seed": one.seed,
                "start": addresses[0],
                "end": end,
                "registers": one.registers,
                "msr": one.msr,
                "next": dict(zip(addresses, addresses[1:])),
                "floating": [address for address, text in lines if FLOATING.search(text)],
            }
        )
    order = "little" if endian == "le" else "big"
    return {"programs": plan, "data": generate.DATA, "most": MOST, "order": order}


def _instructions(listing: str, number: int) -> list[tuple[int, str]]:
    """The address and text of each instruction of a program, from objdump's listing."""
    found = []
    for line in listing.splitlines():
        match = re.match(r"\s+([0-9a-f]+):\t(?:[0-9a-f]{2} ){4}\s*\t?(.*)", line)
        if match and int(match[1], 16) // generate.SIZE == number and match[2]:
            found.append((generate.CODE + int(match[1], 16), "\t" + match[2]))
    return found


def _replay(pair: Oracle, directory: Path, timeout: float) -> list[list[str]]:
    both = (pair.native, pair.ours)
    for gdb in both:
        gdb.command(f"restore {directory / 'code'} binary {generate.CODE:#x}")
        gdb.command(f"source {ROOT / 'tests' / 'harness' / 'replay.py'}")
        gdb.send(f"python Replay('{directory / 'plan'}').run('{directory / gdb.name}.steps')")
    outputs = [gdb.finish(timeout) for gdb in both]
    for output in outputs:
        assert re.search(r"replayed \d+\n", output), output[-500:]
    return [(directory / f"{gdb.name}.steps").read_text().splitlines() for gdb in both]


def _difference(
    native: list[str],
    ours: list[str],
    number: int,
    made: list[generate.Program],
    listing: str,
    directory: Path,
) -> str:
    """What differs, the listing of the program, and how to run it again."""
    begin = max(n for n in range(number + 1) if native[n].startswith("program "))
    seed = int(native[begin].split()[1])
    index = next(n for n, one in enumerate(made) if one.seed == seed)
    before, theirs, mine = (
        _named(line) for line in (native[number - 1], native[number], ours[number])
    )
    registers = [
        f"  {name}: {theirs.get(name)} natively, {mine.get(name)} ours"
        for name in dict.fromkeys([*theirs, *mine])
        if theirs.get(name) != mine.get(name)
    ]
    raw = bytes.fromhex(before.get("pc", ""))
    pc = int.from_bytes(raw, "big" if raw[:1] == b"\0" or raw[:1] == b"\xc0" else "little")
    text = [
        f"{address:8x}{'  ->' if address == pc else '    '}{line}"
        for address, line in _instructions(listing, index)
    ]
    return "\n".join(
        [
            f"seed {seed}: after step {number - begin}, from pc={pc:#x}:",
            *registers[:20],
            f"to repeat it: the same test with --seed={seed}; its steps are in {directory}",
            "state: " + ", ".join(f"{word:#x}" for word in made[index].msr) + " set, cleared",
            *text,
        ]
    )


# What is in QEMU's `g` (gdb-xml/power64-core.xml), with the number of hexadecimal digits.
_CORE = [*((f"r{n}", 16) for n in range(32)), ("pc", 16), ("msr", 16), ("cr", 8), ("lr", 16)]
_CORE += [("ctr", 16), ("xer", 8)]


def _named(line: str) -> dict[str, str]:
    """The registers of one line, by name, as the stub sent them."""
    values = dict(word.split("=") for word in line.split() if "=" in word)
    core = values.pop("g", "")
    named, start = {}, 0
    for name, digits in _CORE:
        named[name] = core[start : start + digits]
        start += digits
    return named | values
