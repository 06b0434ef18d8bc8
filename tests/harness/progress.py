# SPDX-License-Identifier: MIT
"""How fast a Linux guest does its own work while gdb waits: with a watchpoint, and without."""

from __future__ import annotations

import re
from pathlib import Path

from fixtures.qemu import Guest, QemuError

from .cases import Case
from .results import Results
from .seats import Seat
from .side import Side


def rounds(guest: Guest) -> int:
    """How many rounds a guest that runs has done, as its console says."""
    start = len(guest.console())
    guest.enter("health")
    at = guest.wait_console("HEALTH", 120, start=start).index("HEALTH", start)
    line = guest.wait_console("\n", 10, start=at)[at:].splitlines()[0]
    found = re.search(r" loops=([0-9,]+)", line)
    if found is None:
        raise QemuError(f"the guest says of its health: {line}")
    return sum(map(int, found[1].split(",")))


def measure(case: Case, seat: Seat, folder: Path, results: Results) -> None:
    """Add the seconds of a round: the floor is without what the case prepares."""
    interrupt = f"threading.Timer({case.seconds}, os.kill, (os.getpid(), 2)).start()"
    measured = (f"python import os, threading; {interrupt}", "continue")
    for name, prepare in (("floor", ()), ("wire", case.prepare)):
        seat.guest.release()  # whoever was connected may have left it stopped
        before = rounds(seat.guest)
        with Side("wire", seat.guest.target, seat.elf, folder / "progress.log") as side:
            seconds = side.ask(measured, prepare)["seconds"]
        results.add(case.name, name, seconds / (rounds(seat.guest) - before))
