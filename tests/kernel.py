# SPDX-License-Identifier: MIT
"""What the tests on a Linux guest have in common."""

from __future__ import annotations

from fixtures.linux import LinuxImage
from fixtures.qemu import Guest
from tests.driver import ROOT, Gdb


def assert_healthy(guest: Guest) -> None:
    """The guest works and its log is clean."""
    seen = len(guest.console())
    guest.enter("health")
    text = guest.wait_console("loops=", start=seen, timeout=60)[seen:]
    assert "oops=0 faults=0 user=ok" in text, text


def attach(gdb: Gdb, guest: Guest, image: LinuxImage) -> None:
    """Connect to a guest that runs, and stop in its kernel; `follow` of walk.py is there."""
    output = gdb.connect(guest.target, image.vmlinux)
    assert "stepping by the Trace interrupt" in output
    # With the guest in user space gdb cannot read the kernel's code, and would put `break FUNCTION`
    # at the global entry, which calls inside the kernel pass by.  This one is only called there.
    gdb.command("tbreak sys_openat")
    assert "emporary breakpoint" in gdb.command("continue", 60)
    assert "little-endian" in gdb.status()
    assert "LPCR[AIL]: 3" in gdb.status()
    gdb.command(f"source {ROOT / 'tests' / 'walk.py'}")
