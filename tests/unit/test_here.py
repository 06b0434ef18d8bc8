# SPDX-License-Identifier: MIT
"""This machine as a host of KVM HV: what it needs, what it is, and what is told of it."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from fixtures import here, linux
from fixtures.here import Here
from fixtures.qemu import wait_for
from tests import here as run
from tests.matrix import ROOT, Result

POWERNV = """processor\t: 0
cpu\t\t: POWER9 (raw), altivec supported
clock\t\t: 2300.000000MHz
revision\t: {revision} (pvr 004e 1202)

processor\t: 4
cpu\t\t: POWER9 (raw), altivec supported

timebase\t: 512000000
platform\t: PowerNV
model\t\t: 9006-22P
machine\t\t: PowerNV 9006-22P
firmware\t: OPAL
MMU\t\t: Radix
"""
LPAR = "processor\t: 0\ncpu\t\t: POWER10 (architected), altivec supported\nrevision\t: 2.0 (pvr)\n"


def test_what_a_machine_lacks(tmp_path: Path) -> None:
    device = tmp_path / "kvm"
    assert "and this one is x86_64" in here.lacking("x86_64", device)
    assert "modprobe kvm_hv" in here.lacking("ppc64le", device)
    device.touch()
    assert here.lacking("ppc64le", device) == ""
    assert "\n" not in here.lacking("x86_64", device)


def test_the_machine_is_looked_at_before_anything_is_installed() -> None:
    """tests/run --here asks a Python that has no packages."""
    command = [sys.executable, "-S", "-m", "tests.here", "--check"]  # -S: no site-packages
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lacks = here.lacking()
    assert done.returncode == (2 if lacks else 0)
    assert done.stderr == (f"tests/run --here: {lacks}\n" if lacks else "")


def test_a_device_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may open anything
    assert "group kvm" in here.lacking("ppc64le", tmp_path)


@pytest.mark.parametrize(
    ("text", "cpu", "dawr"),
    [
        (POWERNV.format(revision="2.2"), "POWER9", False),
        (POWERNV.format(revision="2.3"), "POWER9", True),
        (LPAR, "POWER10", True),
        (POWERNV.replace("POWER9", "POWER8").format(revision="2.0"), "POWER8", True),
    ],
)
def test_the_row_of_a_machine(text: str, cpu: str, dawr: bool) -> None:
    row = here.row_of(here.cpu_facts(text))
    assert (row.name, row.cpu, row.dawr) == (here.NAME, cpu, dawr)


@pytest.fixture
def qemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What this machine's QEMU, which is none, writes its arguments to."""
    said = tmp_path / "arguments"
    program = tmp_path / "qemu-system-ppc64"
    program.write_text(
        "#!/bin/sh\n"
        '[ "$1" = --version ] && exec echo "QEMU emulator version 8.2.1 (x)"\n'
        f'echo "$*" > {said}.new && mv {said}.new {said}\n'
        "exec sleep 60\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(linux, "ensure", lambda: None)
    return said


@pytest.mark.parametrize("pages", [4096, 65536])
def test_how_it_starts_a_guest(qemu: Path, pages: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sysconf", lambda name: pages)
    monkeypatch.setattr(here, "cpu_facts", lambda: {"cpu": "POWER10", "revision": "2.0"})
    with Here() as host:
        assert host.image.oracle.version == "8.2.1"
        with host.bare(Path("/image.bin"), smp=2) as guest:
            wait_for(qemu.exists, "QEMU's arguments", 10)
            said = qemu.read_text()
            first = guest.process
            host.bare(Path("/image.bin"))
            assert first.poll() is not None, "one at a time"
    assert "-M pseries,accel=kvm," in said
    assert " -cpu host " in said and " -smp 2 " in said and "-bios /image.bin" in said
    assert (",cap-hpt-max-page-size=4096 " in said) == (pages == 4096)


def test_the_report() -> None:
    home = str(Path.home())
    failed = {"test_kvm::test_b": "\n".join([*map(str, range(200)), f"in {home}/x"])}
    result = Result(
        here.NAME,
        versions={"guest": "Linux 6.1"},
        passed=["test_kvm::test_a"],
        failed=["test_kvm::test_b"],
        skipped=["test_watch_kvm::test_c (no DAWR)"],
        outputs=failed,
        seconds=61.4,
    )
    text = run.report(result, [("CPU", "POWER9 (raw)"), ("pages", "64K")])
    assert "\n1 passed, 1 failed, 1 skipped, in 61 s.\n" in text
    for line in ("- CPU: POWER9 (raw)", "- pages: 64K", "- guest, as the tests saw it: Linux 6.1"):
        assert f"\n{line}\n" in text
    assert "### skipped\n\n- test_watch_kvm::test_c (no DAWR)\n" in text
    assert "### passed\n\n- test_kvm::test_a\n" in text
    shown = text.partition("### failed: test_kvm::test_b\n\n~~~text\n")[2].partition("\n~~~")[0]
    assert shown.splitlines() == [*map(str, range(200 - run.MOST_LINES + 1, 200)), "in x"]
    unfinished = run.report(Result(here.NAME, reason="Not complete: no kernel."), [])
    assert "\n0 passed, 0 failed, 0 skipped, in 0 s. Not complete: no kernel.\n" in unfinished


def test_what_this_machine_is() -> None:
    known = dict(run.versions(here.TCG))
    assert list(known) == [
        *("CPU", "kernel", "pages", "accelerator", "QEMU", "gdb", "distribution", "gdb_ppc_sstep")
    ]
    assert all(known.values())
