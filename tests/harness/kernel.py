# SPDX-License-Identifier: MIT
"""What the tests on a Linux guest share."""

from __future__ import annotations

import re

from fixtures.linux import LinuxImage
from fixtures.qemu import Guest, wait_for
from tests.harness.driver import ROOT, Gdb


def ask(guest: Guest, command: str) -> str:
    """Give the guest's init a command (see linux-init.sh).  Returns the answer.

    The answer's first word, which names its kind, is left out.
    """
    seen = len(guest.console())
    guest.enter(command)
    pattern = r"^(HEALTH|MODULE|STEPPER|PROBES?|UNKNOWN) ?(.*)\n"

    def answer() -> re.Match[str] | None:
        return re.search(pattern, guest.console()[seen:], re.MULTILINE)

    wait_for(lambda: answer() is not None, f"an answer to {command}", 60)
    found = answer()
    assert found is not None
    return found[2]


def assert_healthy(guest: Guest) -> None:
    """Assert that the guest works and that its kernel log is clean."""
    text = ask(guest, "health")
    if "oops=0" not in text:
        seen = len(guest.console())
        guest.enter("oops")
        print(guest.wait_console("OOPS end", start=seen)[seen:])
    assert "oops=0 faults=0 user=ok" in text, text


def attach(gdb: Gdb, guest: Guest, image: LinuxImage) -> None:
    """Connect gdb to a running guest, stop in its kernel, and load `follow` of walk.py."""
    output = gdb.connect(guest.target, image.vmlinux)
    assert "stepping by the Trace interrupt" in output
    # With the guest in user space gdb cannot read the kernel's code, and puts `break FUNCTION` at
    # the global entry.  Calls inside the kernel skip that, but sys_openat is called there only.
    gdb.command("tbreak sys_openat")
    assert "emporary breakpoint" in gdb.command("continue", 60)
    assert "little-endian" in gdb.status()
    assert "LPCR[AIL]: 3" in gdb.status()
    gdb.command(f"source {ROOT / 'tests' / 'harness' / 'walk.py'}")
