# SPDX-License-Identifier: MIT
"""A guest that uses the Trace interrupt itself, while gdb steps it from outside.

The guest's ptrace single-stepper (linux-stepper.c), kprobes, uprobes and xmon must see every step
of their own and none of ours, and every step of ours must be done.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest

from fixtures.linux import LinuxImage
from fixtures.qemu import Qemu
from tests.harness.driver import ROOT, Gdb
from tests.harness.kernel import ask, assert_healthy, attach

pytestmark = pytest.mark.linux

SE = 0x400
TRACE = 0xC000000000004D00
COUNTED = ("-icount", "shift=6")  # as in test_linux


def assert_stepped(guest: Qemu, *, rounds: int, may_die: bool = False) -> dict[str, int]:
    """End the guest's stepper and assert that it saw nothing wrong.  Returns its counts.

    may_die: whether a SIGTRAP may end it.  That happens after some hundred rounds with a kprobe in
    copy_thread and no debugger at all (Linux 6.1 on QEMU 7.2 and TCG, 3 of 3).
    """
    seen = len(guest.console())
    told = ask(guest, "enough")
    if may_die and told == "ended with 133":
        told = guest.wait_console("leaked=", start=seen)[seen:]
    counts = {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", told)}
    assert counts.get("wrong") == counts.get("leaked") == 0, told
    assert counts["rounds"] >= rounds and counts["steps"] == 28 * counts["rounds"], told
    return counts


# A place on the way out to a process whose pt_regs->msr has the guest's own MSR[SE].
TO_TRACED = "interrupt_return_srr_user if *(unsigned long *)($r1 + 376) & 0x400"
# Where walks begin, in turn: where the kernel steps for ptrace, and in the child that it steps.
STARTS = [
    *("single_step_exception", "user_enable_single_step", "arch_ptrace", "ptrace_get_reg"),
    *("force_sig_fault", "do_sys_openat2", "interrupt_exit_user_prepare", f"*{TRACE:#x}"),
    *("*&s4", "*&s9", "*&called", "*&s22", "*handler", TO_TRACED),
]


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("clock", "mask", "steps"),
    [(COUNTED, "off", 500), ((), "on", 200)],
    ids=["by its instructions", "by the host, interrupts masked"],
)
def test_ptrace(
    request: pytest.FixtureRequest,
    clock: tuple[str, ...],
    mask: str,
    steps: int,
    gdb: Gdb,
    start: Callable[..., Qemu],
    image: LinuxImage,
) -> None:
    guest = start(arguments=clock)
    assert ask(guest, "stepper") == "started"
    attach(gdb, guest, image)
    gdb.command(f"add-symbol-file {image.stepper}")
    gdb.command(f"set ppc-sstep mask-interrupts {mask}")
    gdb.command(f"source {ROOT / 'tests' / 'harness' / 'follow.py'}")
    gdb.command("python follower = Follower()")
    for where in STARTS * request.config.getoption("--soak"):
        gdb.command(f"tbreak {where}")
        assert "emporary breakpoint" in gdb.command("continue", 60), where
        output = gdb.command(f"python follower.follow({steps})", 60)
        assert output == f"followed {steps}\n", f"from {where}: {output}"
        gdb.command("maint flush register-cache")
    output = gdb.command("python follower.tell()")
    print(output)
    for what in ("traced by the guest", "with the guest's own MSR[SE]", "in user space"):
        assert not clock or re.search(rf"[1-9]\d* {re.escape(what)}", output), output
    gdb.command("detach")
    time.sleep(2)
    assert_stepped(guest, rounds=3)
    assert_healthy(guest)


def test_kprobes_and_uprobes(gdb: Gdb, start: Callable[..., Qemu], image: LinuxImage) -> None:
    """A kprobe that the kernel single-steps, one that it emulates, and a uprobe.

    gdb steps through them and near them.  Once a round the stepper makes the system call of the
    emulated kprobe, and comes to the uprobe.
    """
    guest = start()
    attach(gdb, guest, image)
    code = "(unsigned int *)&copy_thread, +0x400"
    assert "1 pattern found" in gdb.command(f"find /w1 {code}, 0x7d3102a6")  # mfspr r9, DSCR
    stepped = gdb.value("$_")
    offset = stepped - gdb.value("(unsigned long)&copy_thread")
    gdb.command(f"add-symbol-file {image.stepper}")
    probed = gdb.value("(unsigned long)&counted") & 0xFFFF
    gdb.command("detach")
    assert ask(guest, f"probe p:stepped copy_thread+{offset:#x}") == "stepped"
    assert ask(guest, "probe p:emulated sys_sched_get_priority_max") == "emulated"
    assert ask(guest, f"probe p:user /bin/stepper:{probed:#x}") == "user"
    assert ask(guest, "stepper") == "started"
    attach(gdb, guest, image)
    places = {
        f"*{stepped - 8:#x}": 12,  # into the trap of the probe
        "kprobe_handler": 300,  # which sets the guest's own MSR[SE], and steps
        "kprobe_post_handler": 300,
        "uprobe_post_sstep_notifier": 300,
        "sys_sched_get_priority_max": 60,
        f"*{stepped:#x}": 1,  # gdb's breakpoint on the probe's own trap
    }
    for place, steps in places.items():
        gdb.command(f"tbreak {place}")
        assert "emporary breakpoint" in gdb.command("continue", 60), place
        gdb.command(f"stepi {steps}", 60)
        assert gdb.value("$msr") & SE == 0, place
        assert "Outstanding: none" in gdb.status()
    gdb.command("detach")
    rounds = assert_stepped(guest, rounds=1, may_die=True)["rounds"]
    counts = dict(one.split("=") for one in ask(guest, "probes").split())
    assert counts["emulated"] == f"{rounds}+0" and counts["user"] == str(rounds), counts
    hits, missed = counts["stepped"].split("+")
    assert int(hits) >= rounds and missed == "0", counts
    assert_healthy(guest)


def test_xmon(gdb: Gdb, start: Callable[..., Qemu], image: LinuxImage) -> None:
    """xmon, the kernel's own debugger, steps the kernel, mostly by emulation; gdb steps xmon."""
    guest = start()

    def xmon_steps() -> tuple[int, int]:
        """Where xmon's `s` has come to, and where the instruction there leads (a branch or not)."""
        text = guest.wait_console("mon> ", start=guest.console().index("stepped to", seen))[seen:]
        found = re.search(r"stepped to ([0-9a-f]+).*\s+(?:(b)\s+([0-9a-f]+))?", text)
        assert found, text
        here = int(found[1], 16)
        return here, int(found[3], 16) if found[2] else here + 4

    guest.enter("xmon")
    guest.wait_console("mon> ")
    gdb.connect(guest.target, image.vmlinux)
    gdb.command("stepi 50", 60)
    seen = len(guest.console())
    guest.enter("s")
    gdb.command("tbreak emulate_step")
    assert "emporary breakpoint" in gdb.command("continue", 60)
    gdb.command("stepi 200", 60)
    assert gdb.value("$msr") & SE == 0
    assert "Outstanding: none" in gdb.status()
    gdb.command("detach")
    guest.wait_console("stepped to", start=seen)
    _, following = xmon_steps()
    seen = len(guest.console())
    guest.enter("s")
    guest.wait_console("stepped to", start=seen)
    assert xmon_steps()[0] == following
    guest.enter("x")
    assert_healthy(guest)
