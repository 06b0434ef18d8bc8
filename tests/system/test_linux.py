# SPDX-License-Identifier: MIT
"""A real Debian ppc64el kernel under TCG: little-endian, translated, LPCR[AIL]=3, interrupts on."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fixtures import linux
from fixtures.linux import LinuxImage
from fixtures.qemu import QUIET, Qemu
from tests.driver import ROOT, Gdb
from tests.kernel import assert_healthy, attach

pytestmark = pytest.mark.linux

SE = 0x400


@pytest.fixture(scope="module")
def image() -> LinuxImage:
    return linux.ensure()


@pytest.fixture
def start(image: LinuxImage) -> Iterator[Callable[..., Qemu]]:
    guests: list[Qemu] = []

    def boot(*, steps: bool = False, smp: int = 1) -> Qemu:
        guest = Qemu(
            linux.qemu_arguments(image),
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
def door() -> str:
    return "wire"


@pytest.fixture
def gdb(tmp_path: Path, door: str) -> Iterator[Gdb]:
    with Gdb(tmp_path, door=door) as gdb:
        yield gdb


@pytest.mark.parametrize("door", ["wire", "commands"])
def test_steps_in_kernel_code(gdb: Gdb, start: Callable[..., Qemu], image: LinuxImage) -> None:
    guest = start()
    attach(gdb, guest, image)
    gdb.command("break do_sys_openat2")
    assert "Breakpoint 2, " in gdb.command("continue", 60)
    assert "Trace vector now: 0xc000000000004d00" in gdb.status()
    output = gdb.command("python follow(200)", 120)
    assert re.search(r"followed 200 with [1-9][0-9]* jumps", output), output
    assert gdb.value("$msr") & SE == 0
    for _ in range(3):
        assert "Breakpoint 2, " in gdb.command("continue", 60)
    assert "already hit 4 times" in gdb.command("info breakpoints")
    gdb.command("delete")
    gdb.command("detach")
    assert_healthy(guest)


STEPS = 20_000


@pytest.mark.timeout(100_000)
def test_many_steps_through_the_kernel(
    request: pytest.FixtureRequest, gdb: Gdb, start: Callable[..., Qemu], image: LinuxImage
) -> None:
    """From a system call on, wherever the guest goes, interrupts on: see follow.py."""
    guest = start()
    attach(gdb, guest, image)
    gdb.command(f"source {ROOT / 'tests' / 'follow.py'}")
    # Steps take longer than the guest's timer, so what begins in its interrupt code stays there.
    # This one begins in user space, where a timer interrupt has come from.
    for where in ("*0xc000000000004900 if ($srr1 & 0x4000)", "*$srr0"):
        gdb.command(f"tbreak {where}")
        assert "emporary breakpoint" in gdb.command("continue", 60)
    begun = int(gdb.status().partition("Steps done: ")[2].split()[0])
    output = gdb.command("python Follower().follow(2000)", 60)
    assert re.search(r"[1-9]\d* in user space", output), output
    gdb.command("maint flush register-cache")
    gdb.command("tbreak sys_openat")
    assert "emporary breakpoint" in gdb.command("continue", 60)
    count = STEPS * request.config.getoption("--soak")
    output += gdb.command(f"python Follower().follow({count})", count / 40)
    print(output)
    assert f"followed {count}: " in output, output
    for what in ("jumps", "atomic"):
        assert re.search(rf"[1-9]\d* {what}", output), output
    gdb.command("maint flush register-cache")
    status = gdb.status()
    assert "Outstanding: none" in status, status
    assert int(status.partition("Steps done: ")[2].split()[0]) >= begun + 2000 + count
    gdb.command("detach")
    assert_healthy(guest)


@pytest.mark.parametrize("door", ["wire", "commands"])
def test_conditions_finish_and_watch(
    gdb: Gdb, start: Callable[..., Qemu], image: LinuxImage
) -> None:
    guest = start()
    attach(gdb, guest, image)
    gdb.command("break ksys_read if $r5 == 123456")
    gdb.command("ignore 2 2")
    gdb.command('dprintf kernel_clone,"cloned\\n"')
    gdb.command("break do_sys_openat2")
    gdb.command("ignore 4 5")
    output = gdb.command("continue", 60)
    assert "Breakpoint 4, " in output and "cloned" in output
    assert "already hit 6 times" in gdb.command("info breakpoints")
    gdb.command("delete")
    gdb.command("tbreak *$lr")
    assert "emporary breakpoint" in gdb.command("continue", 60)
    gdb.command("nexti 20")
    assert "Outstanding: none" in gdb.status()
    gdb.command("detach")
    assert_healthy(guest)


@pytest.mark.parametrize("door", ["wire", "commands"])
def test_interrupting_long_steps(gdb: Gdb, start: Callable[..., Qemu], image: LinuxImage) -> None:
    guest = start()
    attach(gdb, guest, image)
    for number in range(10):
        gdb.send("stepi 1000000" if number % 2 else "continue")
        time.sleep(0.1 + 0.1 * number)
        begin = time.monotonic()
        output = gdb.interrupt(10)
        # "Quit", natively too: gdb was busy with itself between two steps.
        assert "SIGINT" in output or "Quit" in output, output
        assert time.monotonic() - begin < 2
        assert gdb.value("$msr") & SE == 0
    gdb.command("detach")
    assert_healthy(guest)


def test_sigkill_in_mid_step(tmp_path: Path, start: Callable[..., Qemu], image: LinuxImage) -> None:
    guest = start()
    with Gdb(tmp_path, name="killed") as gdb:
        attach(gdb, guest, image)
        gdb.send("stepi 1000000")
        time.sleep(1)
        gdb.kill()
    with Gdb(tmp_path, name="next") as gdb:
        attach(gdb, guest, image)
        assert gdb.value("$msr") & SE == 0
        gdb.command("detach")
    assert_healthy(guest)


@pytest.mark.parametrize("door", ["wire", "commands"])
def test_two_vcpus(gdb: Gdb, start: Callable[..., Qemu], image: LinuxImage) -> None:
    guest = start(smp=2)
    attach(gdb, guest, image)
    gdb.command("break do_sys_openat2")
    seen = set()
    for _ in range(12):
        assert "hit Breakpoint 2" in gdb.command("continue", 60)
        seen.add(gdb.value("$_thread"))
        here = gdb.pc
        gdb.command("stepi")
        assert gdb.pc == here + 4
        gdb.command("stepi 20")
        gdb.command("nexti 5")
    assert seen == {1, 2}
    gdb.command("delete")
    gdb.command("detach")
    assert_healthy(guest)
