# SPDX-License-Identifier: MIT
"""Every instruction of fixtures/bare/steps.S, one `stepi` after another, against the oracle."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fixtures import kvm_hv_image
from fixtures.bare_metal import Program
from fixtures.qemu import Qemu
from tests.harness.driver import ROOT
from tests.harness.oracle import Oracle, oracle, variant_name

pytestmark = pytest.mark.bare

# The program's byte order, its LPCR[AIL], and the byte order of its interrupts if that differs.
VARIANTS: list[dict[str, Any]] = [
    {"endian": "le"},
    {"endian": "be"},
    {"endian": "le", "ile": False},
    {"endian": "le", "ail": 3},
    {"endian": "be", "ail": 3},
    {"endian": "be", "ail": 2},
    {"endian": "le", "ail": 3, "ile": False},
]


@pytest.mark.usefixtures("variant_runs")
@pytest.mark.parametrize(
    ("variant", "door"),
    [(variant, "wire") for variant in VARIANTS]
    + [(VARIANTS[0], "commands"), (VARIANTS[4], "commands")],
    ids=lambda value: value if isinstance(value, str) else variant_name(value),
)
def test_every_register_after_every_step(
    variant: dict[str, Any],
    tmp_path: Path,
    programs: Callable[..., Program],
    boot: Callable[..., Qemu],
    door: str,
) -> None:
    program = programs("steps", **variant)
    # In user mode a system call returns elsewhere, so walk.py could not leave a swapped handler.
    label = "case_user" if variant.get("ile") is False and variant.get("ail") else "done"
    with oracle(tmp_path, partial(boot, program), program.elf, door=door) as pair:
        walk_both(pair, label, tmp_path)
        assert pair.ours.value("trace_hits") == 0
        assert pair.ours.value("&failed") != pair.ours.pc


@pytest.mark.parametrize("cpu", ["POWER8", "POWER10"])
def test_other_cpus(
    cpu: str, tmp_path: Path, programs: Callable[..., Program], boot: Callable[..., Qemu]
) -> None:
    program = programs("steps", ail=3 if cpu == "POWER10" else 0)
    with oracle(tmp_path, partial(boot, program, cpu=cpu), program.elf) as pair:
        walk_both(pair, "done", tmp_path)
        assert pair.ours.value("trace_hits") == 0


@pytest.mark.kvm  # that tier has an emulator newer than Debian 12's own QEMU
@pytest.mark.emulated
@pytest.mark.timeout(600)
@pytest.mark.parametrize("variant", [VARIANTS[0], VARIANTS[4]], ids=variant_name)
def test_cfar(variant: dict[str, Any], tmp_path: Path, programs: Callable[..., Program]) -> None:
    """CFAR under a QEMU that keeps it.  QEMU 7.2 does not, so no other test compares it there."""
    program = programs("steps", **variant)
    start = partial(kvm_hv_image.ensure().emulator.bare, program.image)
    with oracle(tmp_path, start, program.elf) as pair:
        walk_both(pair, "done", tmp_path, timeout=300)
        walked = (tmp_path / "ours.walk").read_text()
        assert len(set(re.findall(r" cfar=(\w+)", walked))) > 15


def _registers(names: tuple[str, ...]) -> re.Pattern[str]:
    """A pattern for what walk.py writes of these registers."""
    return re.compile(rf"\b(?:{'|'.join(names or ('none',))})=\w+")


def walk_both(
    pair: Oracle,
    label: str,
    directory: Path,
    *,
    clobbered: tuple[str, ...] = (),
    unknown: tuple[str, ...] = (),
    timeout: float = 120,
) -> None:
    """Step both sides from main to a label, and compare the registers after each step.

    clobbered: registers that are not compared after the first hypercall, as the hypervisor may
    change them.  unknown: registers that are not compared at all.
    """
    pair.both("tbreak main")
    pair.both("continue")
    for gdb in (pair.native, pair.ours):
        gdb.command(f"source {ROOT / 'tests' / 'harness' / 'walk.py'}")
        gdb.send(f"python walk({label!r}, '{directory / gdb.name}.walk')")
    outputs = [gdb.finish(timeout) for gdb in (pair.native, pair.ours)]
    native, ours = (
        (directory / f"{gdb.name}.walk").read_text().splitlines()
        for gdb in (pair.native, pair.ours)
    )
    hypercall = f"pc={pair.ours.value('&case_hypercall'):x} "
    ignored = _registers(unknown)
    for number, (theirs, mine) in enumerate(zip(native, ours)):
        if clobbered and theirs.startswith(hypercall):
            ignored = _registers((*clobbered, *unknown))
        same = ignored.sub("", mine) == ignored.sub("", theirs)
        assert same, f"step {number}, from {native[number - 1]}\n{theirs}\n{mine}"
    assert outputs[0] == outputs[1]
    assert 250 < len(native) < 1000
    assert f"pc={pair.ours.value(f'&{label}'):x} " in ours[-1].replace("pc=c", "pc=")
