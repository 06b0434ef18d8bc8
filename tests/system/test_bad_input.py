# SPDX-License-Identifier: MIT
"""Bad input and bad stubs: one clear line for the user, the target as before, nothing planted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fixtures.bare_metal import SOURCES, Program
from fixtures.qemu import Qemu
from tests.harness.driver import Gdb, layers_of
from tests.harness.faulty import Faulty

pytestmark = pytest.mark.bare


@pytest.fixture
def gdb(tmp_path: Path) -> Iterator[Gdb]:
    with Gdb(tmp_path, arguments=("-d", str(SOURCES))) as gdb:
        yield gdb
        assert "Traceback" not in (tmp_path / "gdb.transcript").read_text()


def to_work(gdb: Gdb, target: str, demo: Program) -> None:
    assert "stepping by the Trace interrupt" in gdb.connect(target, demo.elf)
    gdb.command("tbreak work")
    gdb.command("continue")


REGISTERS = "info registers r0 r1 r3 r31 pc msr lr ctr srr0 srr1"


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (r"Z0,d00", "the stub refused a temporary breakpoint at 0xd00 (reply 'E22')"),
        (r"P41=", "the stub refused to write msr (reply 'E22')"),
        (r"m202e0,4", "cannot read the instruction at 0x202e0"),
        (r"p40$", "the stub refused to read pc (reply 'E22')"),
    ],
)
def test_a_refused_packet(
    request_: str, message: str, gdb: Gdb, faulty: Faulty, demo: Program
) -> None:
    to_work(gdb, faulty.target, demo)
    before = gdb.command(REGISTERS)
    # gdb itself reads code before it steps; only the layer's reads must fail.
    gdb.command("set remote software-breakpoint-packet off")
    gdb.command("maint packet vWhatever")  # what the layer knows of this stop is forgotten
    faulty.answers = {request_: "E22"}
    output = gdb.command("stepi")
    if request_.startswith("m"):
        assert "Cannot access memory at address 0x202e0" in output or message in output
    else:
        assert f"ppc-sstep: {message}" in output
    faulty.answers = {}
    gdb.command("maint flush register-cache")
    assert gdb.command(REGISTERS) == before
    assert 'received: "E22"' in gdb.command("maint packet z0,d00,4")
    here = gdb.pc
    gdb.command("stepi")
    assert gdb.pc == here + 4


def test_an_error_ends_a_count(gdb: Gdb, faulty: Faulty, demo: Program) -> None:
    to_work(gdb, faulty.target, demo)
    faulty.answers = {"Z0,": "E22"}
    assert gdb.command("stepi 1000000", 10).count("the stub refused") == 1
    assert gdb.command("next 5", 10).count("the stub refused") == 1
    faulty.answers = {}
    assert gdb.command("next").startswith("41\t")


def test_refused_while_collecting(gdb: Gdb, faulty: Faulty, demo: Program) -> None:
    """The stub refuses to write pc back after a step, so the guest stays at its Trace vector.

    The user is told when gdb next asks for the guest's state.  The layer undoes the step as soon as
    the stub lets it.
    """
    to_work(gdb, faulty.target, demo)
    faulty.answers = {"P40=": "E22"}
    assert gdb.command("stepi").startswith("0x00000000000202e4")
    gdb.command("shell sleep 0.3")  # the layer tries when gdb asks for nothing
    said = gdb.command("maint flush register-cache") + gdb.command("info registers lr")
    assert said.count("ppc-sstep: the stub refused to write pc (reply 'E22')") == 1
    assert "Outstanding: p1.1 from 0x202e0" in gdb.status()
    assert "the stub refused to write pc" in gdb.command("stepi")
    faulty.answers = {}
    assert "Outstanding: none" in gdb.status()
    gdb.command("maint flush register-cache")
    assert (gdb.pc, gdb.value("$msr") & 0x400) == (0x202E4, 0)


def test_missing_register(gdb: Gdb, faulty: Faulty, demo: Program) -> None:
    faulty.replaced = {'name="srr0"': 'name="xrr0"'}
    output = gdb.connect(faulty.target, demo.elf)
    line = "the stub's target description has no register srr0"
    assert f"ppc-sstep: this connection is not taken: {line}\n" in output
    assert f"not taken: {line}" in gdb.status()
    assert layers_of(gdb) == []
    assert gdb.command("x/i $pc")  # the connection works as before
    assert "stepping" not in gdb.command("stepi") + gdb.command("info threads")


def test_lpcr_that_cannot_be_read(
    gdb: Gdb, boot: Callable[..., Qemu], programs: Callable[..., Program], tmp_path: Path
) -> None:
    program = programs("demo", ail=3)
    with Faulty(boot(program, steps=False).target, tmp_path) as faulty:
        faulty.replaced = {'name="lpcr"': 'name="xpcr"'}
        to_work(gdb, faulty.target, program)  # gdb needs no step to get there
        here = gdb.pc
        assert "use `set ppc-sstep ail 0`, `2` or `3`" in gdb.command("stepi")
        assert gdb.pc == here
        gdb.command("set ppc-sstep ail 3")
        gdb.command("stepi")
        assert gdb.pc == here + 4
        assert "LPCR[AIL]: 3 (set by hand)" in gdb.status()


def test_a_stub_that_is_no_qemu(gdb: Gdb, faulty: Faulty, demo: Program) -> None:
    faulty.answers = {"qqemu": ""}
    assert "ppc-sstep" not in gdb.connect(faulty.target, demo.elf)
    status = gdb.status()
    assert "Stub steps: unknown (the stub is not QEMU's" in status
    assert "`set ppc-sstep mode on` takes it" in status
    assert "stepping by the Trace interrupt" in gdb.command("set ppc-sstep mode on")


@pytest.mark.parametrize("request_", ["qqemu.sstep", "qRcmd", "qC", "qXfer", "p41"])
def test_a_stub_that_dies_while_it_is_looked_at(
    request_: str, gdb: Gdb, faulty: Faulty, demo: Program
) -> None:
    """It dies between gdb's own handshake and the first command: at most one line, and a prompt."""
    gdb.command("set ppc-sstep mode off")
    gdb.connect(faulty.target, demo.elf)
    faulty.hangs_up_at = request_
    output = gdb.command("set ppc-sstep mode auto", 20)
    assert "Python Exception" not in output and "Error occurred in Python" not in output
    assert "stepping by the Trace interrupt" not in output
    assert layers_of(gdb) == []
    assert "Python Exception" not in gdb.command("stepi") + gdb.status()


def test_bad_checksums_and_half_packets(gdb: Gdb, faulty: Faulty, demo: Program) -> None:
    to_work(gdb, faulty.target, demo)

    def mangle(number: int, data: bytes) -> list[bytes]:
        if number % 5 == 0:
            return [data[:-2] + (b"00" if data[-2:] != b"00" else b"01")]
        return [data[:3], data[3:7], data[7:]]

    faulty.mangle = mangle
    here = gdb.pc
    gdb.command("stepi 3")
    assert gdb.pc == here + 12
    gdb.command("next")
    gdb.command("break work")
    assert "Breakpoint 2, work" in gdb.command("continue")
    assert "Breakpoint 2, work" in gdb.command("continue")


def test_unreadable_pc(gdb: Gdb, boot: Callable[..., Qemu], demo: Program) -> None:
    to_work(gdb, boot(demo, steps=False).target, demo)
    gdb.command("set $pc = 0x7fffffff0000")
    assert "Cannot access memory at address 0x7fffffff0000" in gdb.command("stepi")
    assert gdb.pc == 0x7FFFFFFF0000


def test_odd_pc(gdb: Gdb, boot: Callable[..., Qemu], demo: Program) -> None:
    to_work(gdb, boot(demo, steps=False).target, demo)
    gdb.command("set $pc = $pc + 2")
    before = gdb.command(REGISTERS)
    line = f"ppc-sstep: pc {gdb.pc:#x} is not a multiple of 4, so there is no instruction"
    assert line in gdb.command("stepi")
    assert gdb.command(REGISTERS) == before
    gdb.command("set $pc = $pc - 2")
    here = gdb.pc
    gdb.command("stepi")
    assert gdb.pc == here + 4


def test_no_target(gdb: Gdb) -> None:
    assert gdb.command("stepi") == "The program is not being run.\n"
    assert gdb.command("ppc-sstep probe").startswith("Not connected to a remote target")
    assert gdb.command("info ppc-sstep x") == '"info ppc-sstep" takes no arguments.\n'


def test_a_core_file(gdb: Gdb, tmp_path: Path) -> None:
    core = tmp_path / "core"
    gdb.command("file /bin/true")
    gdb.command("starti")
    assert "Saved corefile" in gdb.command(f"gcore {core}")
    gdb.command("kill")
    assert "ppc-sstep" not in gdb.command(f"target core {core}")
    assert gdb.command("stepi") == "The program is not being run.\n"
    assert gdb.status().endswith("Connection 2 (core): not taken: only remote targets are\n")


def test_no_connection(gdb: Gdb, tmp_path: Path) -> None:
    assert "No such file" in gdb.command(f"target remote {tmp_path}/nothing")
    assert gdb.command("stepi") == "The program is not being run.\n"


def test_malformed_packets_end_nothing(gdb: Gdb, guest: Qemu, demo: Program) -> None:
    """Packets that once ended the layer, and gdb's connection with it."""
    to_work(gdb, guest.target, demo)
    assert "received: " in gdb.command("maint packet Pzz=00")
    for packet in (
        "vCont;r1:p1.1",
        "Qppc-sstep.ail=x",
        "Qppc-sstep.interrupts=foo",
        "qppc-sstep.clean:28",
    ):
        assert 'received: "E.ppc-sstep: ' in gdb.command(f"maint packet {packet}")
    before = gdb.command("p $pc")
    assert gdb.command("next").startswith("41\t")
    assert gdb.command("p $pc") != before
    assert "Outstanding: none\n" in gdb.status()
