# SPDX-License-Identifier: MIT
"""pytest fixtures: Linux guests under TCG, the host of the guests under KVM HV, and a gdb."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fixtures import linux
from fixtures.bare_metal import SOURCES, Program
from fixtures.kvm_hv import AnyHost
from fixtures.linux import LinuxImage
from fixtures.qemu import QUIET, Qemu
from tests.harness.driver import Gdb
from tests.harness.faulty import Faulty
from tests.harness.oracle import Oracle, oracle
from tests.row import host_of


@pytest.fixture(scope="session")
def image() -> LinuxImage:
    return linux.ensure()


@pytest.fixture(scope="session")
def host(request: pytest.FixtureRequest) -> Iterator[AnyHost]:
    """The KVM HV host of the row that was asked for; it has one guest at a time."""
    with host_of(request.config) as host:
        yield host


@pytest.fixture
def start(image: LinuxImage) -> Iterator[Callable[..., Qemu]]:
    """start(smp=..., append=...): boot a Linux guest and let it run."""
    guests: list[Qemu] = []

    def boot(
        *, steps: bool = False, smp: int = 1, append: str = "", arguments: Sequence[str] = ()
    ) -> Qemu:
        guest = Qemu(
            [*linux.qemu_arguments(image, append=append), *arguments],
            steps=steps,
            machine=f"pseries,{QUIET},x-vof=on",
            memory="512M",
            smp=smp,
        )
        guests.append(guest)
        guest.release()
        guest.wait_console(linux.READY)
        return guest

    yield boot
    for guest in guests:
        guest.close()


@pytest.fixture
def pair(
    program: str,
    variant: dict[str, Any],
    tmp_path: Path,
    programs: Callable[..., Program],
    boot: Callable[..., Qemu],
    door: str,
) -> Iterator[Oracle]:
    """Native stepping and ours at a door, each with a guest that runs a variant of a program."""
    built = programs(program, **variant)
    with oracle(tmp_path, partial(boot, built), built.elf, ["-d", str(SOURCES)], door) as pair:
        yield pair


@pytest.fixture
def faulty(boot: Callable[..., Qemu], demo: Program, tmp_path: Path) -> Iterator[Faulty]:
    """A stub that ignores steps, behind a proxy that spoils its packets."""
    with Faulty(boot(demo, steps=False).target, tmp_path) as faulty:
        yield faulty


@pytest.fixture
def door() -> str:
    return "wire"


@pytest.fixture
def gdb(tmp_path: Path, door: str) -> Iterator[Gdb]:
    with Gdb(tmp_path, door=door) as gdb:
        yield gdb
