# SPDX-License-Identifier: MIT
"""A real Debian ppc64el kernel under TCG: little-endian, translated, LPCR[AIL]=3, interrupts on."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures.linux import LinuxImage
from fixtures.qemu import Qemu
from tests.harness.driver import ROOT, Gdb
from tests.harness.kernel import assert_healthy, attach

from .test_mi import Mi

pytestmark = pytest.mark.linux

SE = 0x400
# The guest's time advances by 64 ns with each instruction, and by the host's clock while it idles.
COUNTED = ("-icount", "shift=6")


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


def test_reason_of_a_step_in_mi(start: Callable[..., Qemu], image: LinuxImage) -> None:
    """At the commands door gdb cannot be made believe that it began at 0: no memory is there."""
    mi = Mi(extension=True, asynchronous=False, door="commands")
    try:
        mi.command(f"-file-exec-and-symbols {image.vmlinux}")
        mi.command(f"-target-select remote {start().target}")
        mi.command("-break-insert -t sys_openat")
        mi.command("-exec-continue")
        for command in ("-exec-step-instruction 3", "-exec-next-instruction"):
            record = mi.command(command)
            assert record.count('*stopped,reason="location-reached"') == 1, record
    finally:
        mi.child.close(force=True)


# Where walks begin, in turn.  FROM_USER: the vector of a timer interrupt that came in user space.
# TO_USER: on the way out of a system call, shortly before its rfscv.
FROM_USER = "*0xc000000000004900 if ($srr1 & 0x4000)"
TO_USER = "*$rfscv - 16"
STARTS = [
    *("sys_openat", "ksys_read", "kernel_clone", "do_page_fault", "do_exit", "schedule"),
    *(TO_USER, "timer_interrupt", "syscall_exit_prepare", "system_call_vectored_common"),
    *("interrupt_return_srr_user", "interrupt_return_srr_kernel", FROM_USER),
]
STEPS = 2 * len(STARTS) * 650


@pytest.mark.timeout(100_000)
@pytest.mark.parametrize(
    ("clock", "starts", "steps", "wanted"),
    [
        (COUNTED, 2 * STARTS, STEPS, "jumps atomic rfid rfscv places in_user_space"),
        ((), ["sys_openat"], 20_000, "jumps atomic"),
    ],
    ids=["by its instructions", "by the host"],
)
def test_many_steps_through_the_kernel(
    request: pytest.FixtureRequest,
    gdb: Gdb,
    start: Callable[..., Qemu],
    image: LinuxImage,
    clock: tuple[str, ...],
    starts: list[str],
    steps: int,
    wanted: str,
) -> None:
    """20 000 steps in a row, and steps from many places, interrupts masked and not (follow.py).

    By the host's clock a step takes longer than the guest's timer, so without masking most steps
    are in interrupt code.  With a clock that counts instructions they go where the guest would go.
    """
    guest = start(arguments=clock)
    attach(gdb, guest, image)
    gdb.command(f"source {ROOT / 'tests' / 'harness' / 'follow.py'}")
    gdb.command("python follower = Follower()")
    code = "(unsigned int *)&system_call_vectored_common"
    assert "1 pattern found" in gdb.command(f"find /w1 {code}, +0x800, 0x4c0000a4")
    gdb.command("set $rfscv = (unsigned long)$_")
    begun = int(gdb.status().partition("Steps done: ")[2].split()[0])
    each = steps // len(starts)
    starts = starts * request.config.getoption("--soak")
    for number, where in enumerate(starts):
        masked = "on" if number < len(starts) // 2 else "off"
        gdb.command(f"set ppc-sstep mask-interrupts {masked}")
        for place in (where, "*$srr0") if where == FROM_USER else (where,):
            gdb.command(f"tbreak {place}")
            assert "emporary breakpoint" in gdb.command("continue", 60)
        output = gdb.command(f"python follower.follow({each})", each / 20)
        assert output == f"followed {each}\n", f"from {where}: {output}"
        gdb.command("maint flush register-cache")
    output = gdb.command("python follower.tell()")
    print(output)
    for what in wanted.split():
        assert re.search(rf"[1-9]\d* {what.replace('_', ' ')}\b", output), output
    status = gdb.status()
    assert "Outstanding: none" in status, status
    assert int(status.partition("Steps done: ")[2].split()[0]) >= begun + steps
    gdb.command("detach")
    assert_healthy(guest)


@pytest.mark.parametrize("masked", [True, False], ids=["masked", "not masked"])
def test_interrupts_wait_for_steps(
    masked: bool, gdb: Gdb, start: Callable[..., Qemu], image: LinuxImage
) -> None:
    guest = start()
    attach(gdb, guest, image)
    gdb.command(f"set ppc-sstep mask-interrupts {'on' if masked else 'off'}")
    gdb.command(f"source {ROOT / 'tests' / 'harness' / 'follow.py'}")
    gdb.command("python follower = Follower()")
    ticked = False
    for _ in range(5 if masked else 50):
        gdb.command("tbreak sys_openat")
        assert "emporary breakpoint" in gdb.command("continue", 60)
        gdb.command("maint packet Z0,c000000000004900,4")  # the decrementer interrupt's vector
        assert gdb.command("python follower.follow(500)", 60) == "followed 500\n"
        gdb.command("maint packet z0,c000000000004900,4")
        gdb.command("maint flush register-cache")
        ticked = " to 0x900" in gdb.command("python follower.tell()")
        if ticked:
            break
    assert ticked is not masked
    gdb.command("delete")
    gdb.command("detach")
    assert_healthy(guest)


@pytest.mark.parametrize("setting", ["into", "over"])
def test_instructions_that_the_kernel_executes(
    setting: str, gdb: Gdb, start: Callable[..., Qemu], image: LinuxImage
) -> None:
    """mfpvr and a little-endian lmw fault in user space, and Linux emulates them.

    It then looks for MSR[SE] in the interrupted context (emulate_single_step).  If it found ours,
    the program would get a SIGTRAP.
    """
    guest = start()
    attach(gdb, guest, image)
    gdb.command(f"add-symbol-file {image.user}")
    gdb.command(f"set ppc-sstep interrupts {setting}")
    for where, vector in ("privileged", 0x700), ("unaligned", 0x600):
        gdb.command(f"tbreak *&{where} if $r14 > 0")
        assert "emporary breakpoint" in gdb.command("continue", 60)
        here = gdb.pc
        gdb.command("stepi")
        if setting == "into":
            assert gdb.pc == 0xC000000000004000 + vector
            assert (gdb.value("$srr0"), gdb.value("$srr1") & SE) == (here, 0)
            gdb.command(f"tbreak *{here + 4}")
            assert "emporary breakpoint" in gdb.command("continue", 60)
        assert gdb.pc == here + 4
        assert gdb.value("$msr") & SE == 0
    assert gdb.value("$r30") == gdb.value("$r14")
    gdb.command("tbreak ksys_read")
    assert "emporary breakpoint" in gdb.command("continue", 60)
    # In the kernel too, which emulates its own instruction.
    here, before = gdb.pc, (gdb.value("$r30"), gdb.value("$r31"))
    word = gdb.value("{unsigned int}$pc")
    wanted = gdb.value("{unsigned long}$r1")
    gdb.command("set {unsigned int}$pc = 0xbbc10000")  # lmw r30,0(r1)
    gdb.command("stepi")
    if setting == "into":
        assert gdb.pc == 0xC000000000004600
        gdb.command(f"tbreak *{here + 4}")
        assert "emporary breakpoint" in gdb.command("continue", 60)
    assert gdb.pc == here + 4
    assert gdb.value("$r31") << 32 | gdb.value("$r30") == wanted
    gdb.command(f"set {{unsigned int}}{here} = {word:#x}")
    gdb.command(f"set $r30 = {before[0]:#x}")
    gdb.command(f"set $r31 = {before[1]:#x}")
    gdb.command(f"set $pc = {here}")
    assert "Outstanding: none" in gdb.status()
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
        command, after = "stepi 1000000" if number % 2 else "continue", 0.1 + 0.1 * number
        begin = time.monotonic()
        output = gdb.interrupt_after(after, command)
        # "Quit", natively too: gdb was busy with itself between two steps.
        assert "SIGINT" in output or "Quit" in output, output
        assert time.monotonic() - begin < 2 * after + 2
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


def test_step_over_a_system_call_that_sleeps(
    gdb: Gdb, start: Callable[..., Qemu], image: LinuxImage
) -> None:
    """The call may return on the other vCPU.  gdb then shows the stop in that thread."""
    guest = start(smp=2)
    attach(gdb, guest, image)
    gdb.command(f"add-symbol-file {image.user}")
    gdb.command("set ppc-sstep interrupts over")
    nanosleep = gdb.value("(long)&call") - 16
    for _ in range(20):
        # A temporary breakpoint: gdb would step off one that stays with this vCPU alone, and the
        # call may wait for the other vCPU.
        gdb.command(f"tbreak *{nanosleep}")
        assert "emporary breakpoint" in gdb.command("continue", 60)
        assert gdb.value("{unsigned int}$pc") == 0x44000002
        rounds, thread = gdb.value("$r14"), gdb.value("$_thread")
        output = gdb.command("stepi", 60)
        assert gdb.pc == nanosleep + 4, output
        assert (gdb.value("$r14"), gdb.value("$r3")) == (rounds, 0)
        assert (gdb.value("$_thread") != thread) == ("[Switching to " in output), output
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
