# SPDX-License-Identifier: MIT
"""Scripts for kernels: breakpoints whose stop() does something and lets the guest run on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fixtures import linux
from fixtures.linux import LinuxImage
from fixtures.qemu import QUIET, Qemu
from tests.harness.driver import ROOT, Gdb
from tests.harness.kernel import ask, assert_healthy

pytestmark = pytest.mark.linux

WHERE = "dummy_get_stats64"
SCRIPT = ROOT / "tests" / "harness" / "modules.py"


def session(gdb: Gdb, guest: Qemu, image: LinuxImage) -> list[str]:
    """Run the guest from its first instruction to a breakpoint in a module that it loads."""
    gdb.connect(guest.target, image.vmlinux)
    gdb.command("set breakpoint pending on")
    gdb.command(f"source {SCRIPT}")
    gdb.command(f"python loads = ModuleLoad({{'{linux.MODULE}': '{image.module}'}})")
    gdb.command(f"break {WHERE}")
    gdb.command("break do_exit")
    gdb.command("disable 2")
    said = [gdb.command("continue", 90)]
    gdb.command("stepi")  # a call by the module's table: four straight instructions lead on
    here = gdb.pc
    gdb.command("stepi 3")
    # One of QEMU's own steps may stay where it is (seen once), so this is not compared.
    assert gdb.name == "native" or gdb.pc == here + 12
    said += [gdb.command("info breakpoints"), gdb.command("continue", 60)]
    loaded = gdb.command("python print(loads.seen)")
    assert re.fullmatch(rf"\[\('{linux.MODULE}', \d+\)\]\n", loaded), loaded
    gdb.command("delete")
    gdb.command("detach")
    guest.wait_console(linux.READY)
    assert int(ask(guest, "module"), 0) == int(re.sub(r"\D", "", loaded))
    assert_healthy(guest)
    # Each guest may load the module at another address.
    return [re.sub(r"0xc008[0-9a-f]{12}", "0xMODULE", one) for one in said]


@pytest.mark.parametrize("door", ["wire", "commands"])
def test_symbols_of_a_module_as_lx_symbols_loads_them(
    door: str, image: LinuxImage, tmp_path: Path
) -> None:
    sessions = []
    for ours in (False, True):
        name = "ours" if ours else "native"
        with (
            Qemu(
                linux.qemu_arguments(image),
                steps=not ours,
                machine=f"pseries,{QUIET},x-vof=on",
                memory="512M",
            ) as guest,
            Gdb(tmp_path, name=name, extension=ours, door=door if ours else None) as gdb,
        ):
            sessions.append(session(gdb, guest, image))
    native, ours_said = sessions
    assert WHERE in native[0]
    assert ours_said == native
