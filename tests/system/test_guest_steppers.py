# SPDX-License-Identifier: MIT
"""A guest that uses the Trace interrupt itself, while it is stepped from outside.

Its ptrace single-stepper (linux-stepper.c), kprobes, uprobes and xmon must see every step of their
own and none of ours; ours must arrive.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest

from fixtures.linux import LinuxImage
from fixtures.qemu import Qemu
from tests.driver import ROOT, Gdb
from tests.kernel import ask, assert_healthy, attach

pytestmark = pytest.mark.linux

SE = 0x400
TRACE = 0xC000000000004D00
COUNTED = ("-icount", "shift=6")  # as in test_linux


def assert_stepped(guest: Qemu, *, rounds: int) -> dict[str, int]:
    """End the guest's stepper; its counts, where nothing is wrong."""
    told = ask(guest, "enough")
    counts = {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", told)}
    assert counts["wrong"] == counts["leaked"] == 0, told
    assert counts["rounds"] >= rounds and counts["steps"] == 28 * counts["rounds"], told
    return counts


# On the way out to a process whose pt_regs->msr has the guest's own MSR[SE].
TO_TRACED = "interrupt_return_srr_user if *(unsigned long *)($r1 + 376) & 0x400"
# Where walks begin, in turn: the guest's own stepping in the kernel, and the child that is stepped.
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
    gdb.command(f"source {ROOT / 'tests' / 'follow.py'}")
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
    time.sleep(1)
    assert_stepped(guest, rounds=10)
    assert_healthy(guest)
