# SPDX-License-Identifier: MIT
"""`gdb-ppc-sstep`, the layer alone: its clients do not know of it, and the stub seems to step."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures.bare_metal import SOURCES, Program
from fixtures.qemu import Qemu
from gdb_ppc_sstep.rsp.framing import frame
from tests.harness.driver import Gdb
from tests.harness.oracle import compare
from tests.harness.service import address, client, ended, service

pytestmark = pytest.mark.bare

SCRIPT = """
    break work
    continue
    stepi 5
    nexti 3
    step
    next
    break square if x == 3
    continue
    finish
    continue
"""


@pytest.mark.parametrize("listen", ["0", "[::1]:0", "unix"])
def test_gdb_without_the_extension(
    listen: str, tmp_path: Path, boot: Callable[..., Qemu], guest: Qemu, demo: Program
) -> None:
    native = boot(demo, steps=True)
    options = ("-d", str(SOURCES))
    where = str(tmp_path / "socket") if listen == "unix" else listen
    with (
        service("--listen", where, "--connect", guest.target) as process,
        Gdb(tmp_path, name="native", extension=False, arguments=options) as one,
        Gdb(tmp_path, name="ours", extension=False, arguments=options) as other,
    ):
        one.connect(native.target, demo.elf)
        target = address(process)
        other.connect(target, demo.elf)
        assert compare(one, other, SCRIPT) > 20
        # For a second client, which QEMU tells unasked that the guest has stopped.
        one.command("detach")
        other.command("detach")
        assert other.connect(target)
        other.command("tbreak work")
        other.command("continue")
        here = other.pc
        other.command("stepi")
        assert other.pc == here + 4


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_ended_by_a_signal_it_leaves_the_guest_clean(
    number: signal.Signals, tmp_path: Path, guest: Qemu, demo: Program
) -> None:
    with (
        service("--listen", "0", "--connect", guest.target) as process,
        Gdb(tmp_path, name="client", extension=False) as gdb,
    ):
        gdb.connect(address(process), demo.elf)
        gdb.command("break work")
        gdb.command("continue")
        gdb.send("stepi 1000000")
        time.sleep(0.2)
        process.send_signal(number)
        assert ended(process) == 0
        gdb.finish()
    with Gdb(tmp_path, name="after", extension=False) as plain:
        plain.connect(guest.target, demo.elf)
        assert plain.value("$msr") & 0x400 == 0
        assert 'received: "E22"' in plain.command("maint packet z0,d00,4")


def test_one_clients_packets_do_not_end_the_service(guest: Qemu) -> None:
    with service("--listen", "0", "--connect", guest.target) as process:
        where = address(process)
        for _ in range(3):
            with client(where) as sock:
                for payload in (b"P", b"Pzz=00", b"vCont;r1:p1.1", b"Qppc-sstep.ail=x", b"qC"):
                    sock.sendall(b"+" + frame(payload))
                    data = b""
                    while b"#" not in data[:-2]:
                        more = sock.recv(4096)
                        assert more, f"the session has ended at {payload!r}"
                        data += more
                assert b"$QC" in data
        assert process.poll() is None


LLDB = (
    "breakpoint set -n work",
    "continue",
    "thread step-inst",
    "thread step-inst-over",
    "thread step-in",
    "thread step-over",
    "breakpoint set -n square -c x==3",
    "continue",
    "thread step-out",
    "thread until 17",
    "continue",
    "thread backtrace",
    "register read pc msr srr0 srr1",
    "breakpoint list",
)


def lldb(url: str, elf: Path) -> str:
    """What LLDB prints for the test's commands."""
    commands = [word for command in (f"process connect {url}", *LLDB) for word in ("-o", command)]
    done = subprocess.run(
        ["lldb", "-x", "-b", str(elf), *commands], capture_output=True, text=True, timeout=60
    )
    return done.stdout.partition(LLDB[0])[2]


@pytest.mark.lldb
def test_lldb(boot: Callable[..., Qemu], guest: Qemu, demo: Program) -> None:
    native = lldb(f"unix-connect://{boot(demo, steps=True).target}", demo.elf)
    with service("--listen", "0", "--connect", guest.target) as process:
        ours = lldb(f"connect://{address(process)}", demo.elf)
    assert ours == native
    assert ours.count("Process 1 stopped") == 9, ours
