# SPDX-License-Identifier: MIT
"""gdb's connection is a serial line: the wire door takes it as it takes a socket.

The oracle is plain gdb on such a line to a stub that steps.
"""

from __future__ import annotations

import os
import pty
import re
import signal
import termios
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from fixtures.bare_metal import Program
from fixtures.qemu import Qemu, wait_for
from tests.harness.driver import Gdb, is_running, layers_of, open_files, serial_line
from tests.harness.line import LineQemu
from tests.harness.oracle import oracle

pytestmark = pytest.mark.bare

ANNOUNCEMENT = "ppc-sstep: this stub ignores step requests; stepping by the Trace interrupt.\n"
SE = 0x400
REGISTERS = "info registers pc msr lr ctr cr srr0 srr1 r1 r3"
SCRIPT = """
info line main
tbreak work
continue
stepi
stepi 7
nexti 3
step
next
next 2
break largest if seed < 0
break largest
ignore 3 2
continue
finish
up
delete 2
watch total
continue
delete
until
advance largest
print $msr
x/8i $pc
set $r3 = 7
print twice(4)  # may fail
tbreak work
continue
backtrace
"""


@pytest.fixture
def line(demo: Program) -> Iterator[LineQemu]:
    """A guest whose stub ignores steps, and is at a serial line."""
    with LineQemu(demo, steps=False) as line:
        yield line


def no_breakpoint_at(gdb: Gdb, address: int) -> bool:
    """Whether the stub has no breakpoint at an address: it then refuses to remove one."""
    return 'received: "E22"' in gdb.command(f"maint packet z0,{address:x},4")


def to_work(gdb: Gdb, target: str, demo: Program) -> None:
    """Connect, and run to where the demo works."""
    assert ANNOUNCEMENT in gdb.connect(target, demo.elf)
    gdb.command("tbreak work")
    gdb.command("continue")


def test_commands_are_as_natively(tmp_path: Path, demo: Program) -> None:
    with oracle(tmp_path, partial(LineQemu, demo), demo.elf) as pair:
        pair.run(SCRIPT)


def test_what_is_said_is_as_natively(tmp_path: Path, demo: Program) -> None:
    """Connecting both ways, leaving, and coming back."""
    told = []
    for steps, extension in ((True, False), (False, True)):
        with (
            LineQemu(demo, steps=steps) as line,
            Gdb(tmp_path, name=str(extension), extension=extension) as gdb,
        ):
            gdb.command(f"file {demo.elf}")
            said = []
            # Not after `detach`: QEMU 7.2 looks once a second who is at its terminal, and dies of
            # packets from somebody whom it has not seen come while its guest runs.
            for kind, leave in (
                ("remote", "disconnect"),
                ("extended-remote", "disconnect"),
                ("remote", "disconnect"),
                ("extended-remote", "detach"),
            ):
                said.append(gdb.connect(line.target, kind=kind))
                for command in ("tbreak work", "continue", "stepi 3", "next", REGISTERS):
                    said.append(gdb.command(command))
                said.append(gdb.command(leave) + gdb.command("info inferiors"))
                if (kind, leave) == ("extended-remote", "detach"):
                    said.append(gdb.command("disconnect"))
                if extension:
                    assert layers_of(gdb) == [], "the line is free at gdb's prompt"
            text = "".join(said).replace(line.target, "LINE").replace(ANNOUNCEMENT, "")
            told.append(re.sub(r"\b(remote|breakpoint) \d+|\(remote LINE\)", "", text))
    assert told[0] == told[1]


def test_the_line_is_free_again(gdb: Gdb, line: LineQemu, demo: Program) -> None:
    """gdb opens it again at once: what the layer sends last does not meet gdb's first packets."""
    gdb.connect(line.target, demo.elf)
    gdb.command("break work")
    gdb.command("continue")
    files, layers = open_files(gdb), set(layers_of(gdb))
    for leave in 3 * ("disconnect",):
        gdb.command("stepi 2")
        gdb.command(f"python gdb.execute('{leave}'); gdb.execute('target remote {line.target}')")
        (layer,) = layers_of(gdb)
        assert layer not in layers
        layers.add(layer)
        assert "Breakpoint 1, work" in gdb.command("continue")
        here = gdb.pc
        gdb.command("stepi 2")
        assert gdb.pc == here + 8
    assert open_files(gdb) <= files


def test_the_commands_door(tmp_path: Path, line: LineQemu, demo: Program) -> None:
    """It has gdb's descriptor, of whatever kind that is."""
    with Gdb(tmp_path, door="commands") as gdb:
        assert "are replaced until gdb ends" in gdb.connect(line.target, demo.elf)
        gdb.command("tbreak work")
        gdb.command("continue")
        here = gdb.pc
        gdb.command("stepi 2")
        assert gdb.pc == here + 8
        gdb.command("next")
        assert "Run till exit" in gdb.command("finish")
        gdb.send("stepi 1000000")
        time.sleep(0.3)
        gdb.interrupt()
        assert gdb.value("$msr") & SE == 0
        assert no_breakpoint_at(gdb, 0xD00)


def test_ctrl_c(gdb: Gdb, line: LineQemu, demo: Program) -> None:
    to_work(gdb, line.target, demo)
    for command in ("continue", "stepi 1000000"):
        gdb.send(command)
        time.sleep(0.3)
        assert "SIGINT" in gdb.interrupt()
        assert gdb.value("$msr") & SE == 0
        gdb.command("stepi 3")
    assert no_breakpoint_at(gdb, 0xD00)
    assert "Outstanding: none" in gdb.status()


@pytest.mark.parametrize("command", ["stepi 1000000", "continue"])
def test_gdb_is_killed(command: str, tmp_path: Path, line: LineQemu, demo: Program) -> None:
    with Gdb(tmp_path, name="killed") as gdb:
        to_work(gdb, line.target, demo)
        gdb.command("break largest if seed < 0")
        (layer,) = layers_of(gdb)
        gdb.send(command)
        time.sleep(0.2)
        gdb.kill()
        wait_for(lambda: not is_running(layer), "the layer's end", 5)
    with Gdb(tmp_path, name="next", extension=False) as plain:
        plain.connect(line.target, demo.elf)
        assert plain.value("$msr") & SE == 0
        assert no_breakpoint_at(plain, 0xD00)
        assert no_breakpoint_at(plain, plain.value("largest"))
        assert plain.value("trace_hits") == 0


@pytest.mark.parametrize("command", ["stepi 1000000", "continue", "monitor info version"])
def test_the_layer_is_killed(command: str, gdb: Gdb, line: LineQemu, demo: Program) -> None:
    """gdb says that its connection is closed, and can open the line again."""
    to_work(gdb, line.target, demo)
    (layer,) = layers_of(gdb)
    if command.startswith("monitor"):
        os.kill(layer, signal.SIGKILL)
        wait_for(lambda: not is_running(layer), "the layer's end", 5)
        gdb.send(command)
    else:
        gdb.send(command)
        time.sleep(0.2)
        os.kill(layer, signal.SIGKILL)
    assert re.search("onnection closed|Target disconnected", gdb.finish())
    assert ANNOUNCEMENT in gdb.connect(line.target)
    gdb.command("ppc-sstep clean")
    assert gdb.value("$msr") & SE == 0


@pytest.mark.parametrize("command", ["stepi 1000000", "continue"])
def test_qemu_ends(command: str, gdb: Gdb, line: LineQemu, demo: Program) -> None:
    """gdb says so.  Natively gdb 16 and 18 hang when their line ends while the guest runs."""
    to_work(gdb, line.target, demo)
    gdb.send(command)
    time.sleep(0.2)
    os.kill(line.process.pid, signal.SIGKILL)
    assert re.search("onnection closed|Target disconnected", gdb.finish())
    assert layers_of(gdb) == []
    assert gdb.command("stepi") == "The program is not being run.\n"


def test_the_line_is_set_up_as_natively(tmp_path: Path, demo: Program) -> None:
    """Raw, with the speed and the parity that the user wants."""
    found = []
    for extension in (False, True):
        with (
            LineQemu(demo, steps=not extension) as line,
            Gdb(tmp_path, name=str(extension), extension=extension) as gdb,
        ):
            for command in ("set serial baud 9600", "set serial parity odd"):
                gdb.command(command)
            to_work(gdb, line.target, demo) if extension else gdb.connect(line.target, demo.elf)
            fd = os.open(line.target, os.O_RDWR | os.O_NOCTTY)
            found.append(termios.tcgetattr(fd))
            os.close(fd)
    assert found[0] == found[1]


def test_another_terminal_of_gdbs_is_left_alone(gdb: Gdb, line: LineQemu, demo: Program) -> None:
    """A console of the user's, with a lower descriptor than the connection."""
    ours, theirs = pty.openpty()
    try:
        gdb.command(f"new-ui console {os.ttyname(theirs)}")
        to_work(gdb, line.target, demo)
        os.write(ours, b"stepi\n")
        wait_for(lambda: b"0x" in os.read(ours, 4096), "the other console", 10)
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_relay(gdb: Gdb, guest: Qemu, demo: Program) -> None:
    """A line that leads elsewhere, as one of two machines."""
    with serial_line(guest.target) as path:
        to_work(gdb, path, demo)
        here = gdb.pc
        gdb.command("stepi 2")
        assert gdb.pc == here + 8
        gdb.command("disconnect")
        assert layers_of(gdb) == []


def test_report_and_info(gdb: Gdb, line: LineQemu, demo: Program, tmp_path: Path) -> None:
    to_work(gdb, line.target, demo)
    gdb.command("stepi 3")
    assert f"(remote {line.target}): taken\n" in gdb.status()
    gdb.command(f"ppc-sstep report {tmp_path}/report")
    assert f"remote {line.target}" in (tmp_path / "report").read_text()
