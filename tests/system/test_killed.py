# SPDX-License-Identifier: MIT
"""SIGKILL of the layer in the middle of steps: the next session finds what the layer has left."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures.linux import LinuxImage
from fixtures.qemu import Qemu
from tests.harness.driver import Gdb, layers_of
from tests.harness.kernel import assert_healthy

pytestmark = pytest.mark.linux

SE = 0x400
TRACE = (0xD00, 0xC000000000004D00)
# gdb sends bare packets, so the layer is in the middle of a step nearly all the time.
STEPPING = (
    "python import itertools; send = gdb.selected_inferior().connection.send_packet; "
    "[send('vCont;s:p1.1;c:p1.-1') for _ in itertools.count()]"
)
LEFT = r"ppc-sstep: p1\.1: (.*), left by a session that was killed"


def kill_layer(gdb: Gdb, command: str, after: float) -> None:
    """Kill the layer in the middle of a command; gdb must say that its connection is closed."""
    (layer,) = layers_of(gdb)
    gdb.send(command)
    time.sleep(after)
    os.kill(layer, signal.SIGKILL)
    assert re.search("Remote connection closed|Target disconnected", gdb.finish(20))


def clean(gdb: Gdb, output: str, found: Counter[str]) -> None:
    """Undo what the next session has found at its connect, by `ppc-sstep clean`."""
    said = re.search(LEFT, output)
    found["nothing" if said is None else " ".join(said[1].split()[:3])] += 1
    told = gdb.command("ppc-sstep clean")
    if said is None:
        assert told == "Nothing to clean.\n"
    else:
        assert f"p1.1: {said[1]} is taken back" in told, told
        assert gdb.command("ppc-sstep clean") == "Nothing to clean.\n"
    assert gdb.value("$msr") & SE == 0
    assert gdb.pc not in TRACE


@pytest.mark.timeout(240)
@pytest.mark.parametrize("mask", ["on", "off"])
def test_in_a_linux_kernel(
    mask: str, tmp_path: Path, start: Callable[..., Qemu], image: LinuxImage
) -> None:
    guest, found, choose = start(), Counter[str](), random.Random(1)
    with Gdb(tmp_path) as gdb:
        gdb.command(f"set ppc-sstep mask-interrupts {mask}")
        for _ in range(20):
            output = gdb.connect(guest.target, image.vmlinux)
            assert "stepping by the Trace interrupt" in output
            clean(gdb, output, found)
            where = choose.choice(["do_sys_openat2", "ksys_read", "schedule", "timer_interrupt"])
            gdb.command(f"tbreak {where}")
            assert "emporary breakpoint" in gdb.command("continue", 60)
            kill_layer(gdb, STEPPING, 0.1 + choose.random() / 10)
        clean(gdb, gdb.connect(guest.target), found)
        gdb.command("detach")
    print(dict(found))
    assert found["a step from"] >= 5 and len(found) <= 2
    assert_healthy(guest)
