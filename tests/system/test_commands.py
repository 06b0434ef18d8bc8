# SPDX-License-Identifier: MIT
"""The commands door, beyond what the transcripts of `test_run_control` show."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pexpect
import pytest

from fixtures.bare_metal import SOURCES, Program
from fixtures.qemu import Qemu, wait_for
from tests.harness.driver import Gdb
from tests.harness.faulty import Faulty
from tests.harness.oracle import Oracle, oracle
from tests.harness.relay import Relay

pytestmark = pytest.mark.bare

REPLACED = "stepi, nexti, step, next and continue are replaced until gdb ends"
SE = 0x400


@pytest.fixture
def gdb(tmp_path: Path) -> Iterator[Gdb]:
    with Gdb(tmp_path, door="commands", arguments=("-d", str(SOURCES))) as gdb:
        yield gdb
        assert "Traceback" not in (tmp_path / "gdb.transcript").read_text()


@pytest.fixture
def pair(tmp_path: Path, demo: Program, boot: Callable[..., Qemu]) -> Iterator[Oracle]:
    arguments = ["-d", str(SOURCES)]
    with oracle(tmp_path, partial(boot, demo), demo.elf, arguments, "commands") as pair:
        yield pair


def planted(gdb: Gdb, address: int) -> bool:
    """Whether the stub has a breakpoint at an address: if not, it refuses to remove one."""
    return 'received: "E22"' not in gdb.command(f"maint packet z0,{address:x},4")


# -- as natively


def test_enter_aliases_and_counts(pair: Oracle) -> None:
    pair.both("break work")
    pair.both("continue")
    pair.block("define hook-stepi", "echo before\\n", "end")
    for command in ("stepi", "", "", "si 3", "", "n", "", "s", "", "ni 2", "", "c", ""):
        pair.both(command)
    for command, fails in (
        ("stepi 0", ""),
        ("step 1+1", ""),
        ("next $_exitcode", "Value can't be converted"),
        ("stepi nosuch", "No symbol"),
        ("step 2 3", "A syntax error"),
        ("c 2", ""),
    ):
        pair.both(command, fails=fails)
    pair.both("stepi -1")


def let_interrupt_wait(pair: Oracle) -> None:
    """Stop before an mtmsrd that sets MSR[EE]; the decrementer has expired, and nops follow."""
    pair.both("tbreak work")
    pair.both("continue")
    words = [0x7E9603A6, 0x7EA10164, *[0x60000000] * 12]  # mtdec 20; mtmsrd 21,1
    for offset, word in enumerate(words):
        pair.both(f"set {{unsigned int}}($pc + {4 * offset}) = {word:#x}")
    pair.run("""
        set $r20 = -1
        set $r21 = $msr | 0x8000
        stepi
    """)


def test_interrupt_waits_while_gdb_is_told(pair: Oracle) -> None:
    """The pending interrupt waits: its handler, which is a branch to itself here, never returns."""
    let_interrupt_wait(pair)
    pair.run("""
        display/x $msr
        stepi
        stepi
        stepi 3
        nexti
        break *($pc + 4)
        stepi
        stepi
        info breakpoints
    """)


@pytest.mark.parametrize("command", ["continue", "advance", "until", "finish", "signal 0"])
def test_interrupt_waits_until_a_breakpoint_is_left(pair: Oracle, command: str) -> None:
    """gdb's own way is to run this vCPU alone, where the interrupt would come first."""
    let_interrupt_wait(pair)
    place = "*($pc + 12)"
    pair.run(f"""
        set {{unsigned int}}0x900 = 0x7ed603a6
        set {{unsigned int}}0x904 = 0x4c000024
        set $r22 = 0x7fffffff
        break *($pc + 4)
        stepi
        tbreak {place}
        {f"{command} {place}" if command in ("advance", "until") else command}
        info breakpoints
    """)


@pytest.mark.parametrize("line", ["echo", "maintenance ppc-sstep stop"], ids=["own", "ours in it"])
def test_hook_of_the_users_own_at_a_stop(
    gdb: Gdb, boot: Callable[..., Qemu], demo: Program, line: str
) -> None:
    """The user's hook-stop is left alone, and at the prompt MSR[EE] is as it was in any case."""
    for text in ("define hook-stop", line, "output/x $msr & 0x8000"):
        gdb.send(text)
    gdb.command("end")
    gdb.connect(boot(demo, steps=False).target, demo.elf)
    gdb.command("tbreak work")
    gdb.command("continue")
    gdb.command("set $msr = $msr | 0x8000")
    for command in ("stepi", "stepi 2", "nexti", "next"):
        output = gdb.command(command)
        assert output.startswith("0x0" if line == "echo" else "0x8000"), output
        assert gdb.value("$msr") & 0x8000


@pytest.mark.parametrize("line", ["next", "stepi"])
def test_hook_at_a_stop_that_resumes(
    tmp_path: Path, boot: Callable[..., Qemu], demo: Program, line: str
) -> None:
    """gdb does not ask whether ours is to go, as it is not there before a step by lines."""
    outputs = []
    for steps in (True, False):
        name = "native" if steps else "ours"
        door = None if steps else "commands"
        with Gdb(tmp_path, name=name, extension=not steps, door=door) as gdb:
            gdb.connect(boot(demo, steps=steps).target, demo.elf)
            said = [gdb.command(one) for one in ("break work", "continue", "stepi", "delete")]
            gdb.command("tbreak largest")
            gdb.command("set confirm on")
            for text in ("define hook-stop", line):
                gdb.send(text)
            gdb.command("end")
            said += [gdb.command(one) for one in ("step", "stepi", "next 2", "bt")]
            said += [gdb.command(one) for one in ("finish", "until", "info breakpoints", "bt")]
            outputs.append(said)
    assert outputs[0] == outputs[1]


def test_python_sees_the_users_breakpoints(pair: Oracle) -> None:
    pair.run("""
        break work
        continue
        python print([one.number for one in gdb.breakpoints()])
        tbreak square
        python print([(one.number, one.location, one.hit_count) for one in gdb.breakpoints()])
        continue
        stepi
        python print([one.number for one in gdb.breakpoints()])
    """)


def test_stops_within_a_count(pair: Oracle) -> None:
    """Breakpoints that stop, and some that do not, in the middle of a command with a count."""
    pair.run("""
        break work
        continue
        break square
        stepi 1000
        ignore 2 2
        stepi 1000
        info breakpoints
        condition 2 x == 3
        next 7
        step 20
        nexti 300
        dprintf largest,"largest of %d\\n", seed
        tbreak factorial if n == 2
        next 20
        next 20
        next 20
        info breakpoints
        break *$pc+4
        break *$pc+8
        stepi
        continue
        continue
        stepi
    """)


def test_breakpoints_at_one_address(pair: Oracle) -> None:
    """A later breakpoint decides too, not only the first one, which has a guard already."""
    pair.run("""
        break square if x == 9
        tbreak work
        continue
        break square if x == 3
        continue
        next 2
        break square
        disable 3
        continue
        enable 3
        step 30
        delete 1
        continue
        info breakpoints
    """)


def test_a_thousand_breakpoints(gdb: Gdb, boot: Callable[..., Qemu], demo: Program) -> None:
    gdb.connect(boot(demo, steps=False).target, demo.elf)
    gdb.command("tbreak work")
    gdb.command("continue")
    here = gdb.pc
    each = "gdb.execute(f'break *((char *)&work + {4 * n + 0x10000})', to_string=True)"
    gdb.command(f"python for n in range(1000): {each}", 60)
    gdb.command("stepi", 30)
    assert gdb.pc == here + 4
    assert gdb.command("info breakpoints").count("breakpoint ") == 1000


def test_functions_without_lines(
    tmp_path: Path, programs: Callable[..., Program], boot: Callable[..., Qemu]
) -> None:
    """Code with symbols and without lines; with `step-mode on`, `step` stops in it."""
    program = programs("demo")
    stripped = tmp_path / "no-lines.elf"
    strip = ["powerpc64le-linux-gnu-objcopy", "--strip-debug", str(program.elf), str(stripped)]
    subprocess.run(strip, check=True)
    with oracle(tmp_path, partial(boot, program), stripped, door="commands") as pair:
        pair.run("""
            break work
            continue
            step
            step
            continue
            next
            set step-mode on
            continue
            step 3
            nexti 12
        """)


def test_the_selected_frame_stays_selected(pair: Oracle) -> None:
    """Guards are made at a breakpoint, and breakpoints and settings change; the frame must not."""
    pair.run("""
        break square
        continue
        up
        frame
        break *$pc
        frame
        set var $here = 1
        info locals
        tbreak largest
        down
        up 2
        disable 2
        frame
        stepi
        up
        enable 2
        frame
        continue
        up
        set var $r31 = $r31
        continue
    """)
    pair.ours.command("up")
    before = pair.ours.command("frame")
    pair.ours.command("info ppc-sstep")
    assert before.startswith("#1") and pair.ours.command("frame") == before


def test_breakpoints_where_a_step_off_one_ends(pair: Oracle) -> None:
    """The guard at which gdb's own step off a breakpoint ends is removed after the step.

    It must stay where the user has a breakpoint, made before or meanwhile, by hand or by the
    commands of another breakpoint.
    """
    pair.both("break square")
    pair.block("commands", "silent", "break *$pc+4 if $never", "end")
    pair.run("""
        set var $never = 0
        break work
        continue
        continue
        info breakpoints
        continue
        continue
        delete 1
        break *square
        continue
        info breakpoints
        python one = gdb.Breakpoint(f"*{gdb.newest_frame().pc() + 4:#x}")
        continue
        continue
        python one.condition = "$r1 == 12345"
        continue
        python one.enabled = False
        continue
        python one.condition = None; one.enabled = True; one.ignore_count = 1
        continue
        continue
        python one.delete()
        continue
        info breakpoints
    """)


def test_breakpoints_that_come_and_go(pair: Oracle) -> None:
    """Breakpoints of which gdb's Python sends no event, and those that have no address at first."""
    pair.run("""
        set breakpoint pending on
        dprintf square,"square of %d\\n", x
        break nosuch  # fails: Function "nosuch" not defined
        tbreak work
        continue
        next
        tbreak largest
        continue
        delete 1
        break square if x == 4
        continue
        dprintf square,"again %d\\n", x
        ignore 5 1
        continue
        tbreak factorial
        continue
        finish
        disable 6
        continue
        continue
        enable 6
        finish
        info breakpoints
    """)


EVENTS = """
python
events = []
def note(event):
    found = getattr(event, "breakpoints", [])
    events.append(type(event).__name__ + str([one.number for one in found if one.visible]))
gdb.events.stop.connect(note)
end
"""


def test_one_stop_event_a_command(pair: Oracle) -> None:
    pair.block(*EVENTS.strip().splitlines())
    pair.run("""
        break work
        continue
        stepi
        stepi 20
        next
        next
        step
        break square
        continue
        condition 2 x == 4
        continue
        python print(events)
    """)


def test_continue_with_a_count_at_a_dprintf(pair: Oracle) -> None:
    pair.run('tbreak work\ncontinue\nbreak square\ndprintf square,"x is %d\\n", x\ncontinue')
    pair.run('dprintf *$pc,"later\\n"\ninfo breakpoints\ncontinue 2\ndelete')


def test_silent_breakpoints_where_a_step_ends(pair: Oracle) -> None:
    """Whether gdb prints the stop is decided by the breakpoints that stop, and only then known."""
    pair.run("tbreak square\ncontinue\nbreak *$pc + 4\nbreak *$pc + 8 if $r1 == 1\nbreak *$pc + 8")
    for number in (2, 4):
        pair.block(f"commands {number}", "silent", "print $pc", "end")
    pair.run("stepi\nstepi\ncondition 4 $r1 == 1\ncondition 3 $r1 != 1\ncontinue")


def test_a_wrong_guess_of_where_until_ends(pair: Oracle) -> None:
    """gdb's `until` shows where a step has ended.  One that goes on where the guest is kept would
    do so for ever, with Ctrl-C held back.
    """
    pair.run("tbreak square\ncontinue")
    pair.ours.command("python from gdb_ppc_sstep.commands import report, stepping")
    wrong = "lambda step: report.Since(step._door.pc, elsewhere=False)"
    pair.ours.command(f"python stepping.Stepping._since = {wrong}")
    pair.run("stepi\nstepi 2\nnexti\ninfo frame\nbacktrace")
    pair.run("break *$pc + 4 if $r1 == 1\nstepi\nstepi\nbreak *$pc + 4\nstepi\nstepi")
    assert not planted(pair.ours, pair.ours.pc)


def test_python_breakpoints(pair: Oracle) -> None:
    """gdb asks the user's stop() once at each hit."""
    for line in (
        *("python", "class Third(gdb.Breakpoint):", "    asked = 0", "    def stop(self):"),
        *("        Third.asked += 1", "        return Third.asked % 3 == 0", "end"),
    ):
        for gdb in (pair.native, pair.ours):
            gdb.send(line)
    for gdb in (pair.native, pair.ours):
        gdb.finish()
    pair.run("""
        python Third("square")
        continue
        next 3
        step 12
        continue
        python print(Third.asked)
        info breakpoints
    """)


# -- interrupted


@pytest.mark.parametrize("command", ["stepi 1000000", "step 1000000", "next 1000000"])
def test_ctrl_c_in_a_long_step(
    gdb: Gdb, boot: Callable[..., Qemu], demo: Program, command: str
) -> None:
    gdb.connect(boot(demo, steps=False).target, demo.elf)
    gdb.command("tbreak work")
    gdb.command("continue")
    for wait in (0.01, 0.2, 0.5):
        before = int(re.search(r"Steps done: (\d+)", gdb.status())[1])  # type: ignore[index]
        gdb.send(command)
        time.sleep(wait)
        start = time.monotonic()
        output = gdb.interrupt()
        assert "Quit" in output or "SIGINT" in output, output
        assert time.monotonic() - start < 2
        after = int(re.search(r"Steps done: (\d+)", gdb.status())[1])  # type: ignore[index]
        assert after > before or wait < 0.1
        assert gdb.value("$msr") & SE == 0
        assert not planted(gdb, 0xD00)
        here = gdb.pc
        assert f"{here:x}" in gdb.command("x/i $pc")
    gdb.command("tbreak largest")
    assert "largest (seed=" in gdb.command("continue")


def test_ctrl_c_while_a_call_is_stepped_over(
    gdb: Gdb, boot: Callable[..., Qemu], demo: Program
) -> None:
    gdb.connect(boot(demo, steps=False).target, demo.elf)
    gdb.command("tbreak work")
    gdb.command("continue")
    gdb.command("set var *(unsigned int *)square = 0x48000000")  # a branch to itself
    gdb.send("next")
    time.sleep(1.5)
    output = gdb.interrupt()
    assert "square" in output, output
    assert gdb.pc == gdb.value("&square")
    gdb.command("set var *(unsigned int *)square = 0x60000000")
    assert not planted(gdb, gdb.value("$lr"))


def test_ctrl_c_with_a_false_condition(gdb: Gdb, boot: Callable[..., Qemu], demo: Program) -> None:
    gdb.connect(boot(demo, steps=False).target, demo.elf)
    gdb.command("break square if x == 12345")
    for wait in (0.1, 0.4, 0.9):
        gdb.send("continue")
        time.sleep(wait)
        # The stub ignores a Ctrl-C that comes just after a stop, and gdb does not send another.
        output = "no Ctrl-C ended it"
        for _ in range(20):
            with suppress(pexpect.TIMEOUT):
                output = gdb.interrupt(1)
                break
        # A Ctrl-C in the middle of the condition makes it true ("Error in testing"), and one in a
        # Python stop() is shown as its exception; natively too.
        assert re.search("SIGINT|Quit|KeyboardInterrupt", output), output
        assert gdb.value("$msr") & SE == 0
    gdb.command("condition 1 x == 3")
    assert "square (x=3)" in gdb.command("continue")


# -- errors


@pytest.mark.parametrize(
    ("request_", "branch", "message"),
    [
        (r"Z0,202e4", False, "the stub refused a temporary breakpoint at 0x202e4 (reply 'E22')"),
        (r"Z0,d00", True, "the stub refused a temporary breakpoint at 0xd00 (reply 'E22')"),
        (r"P41=", True, "the stub refused to write msr (reply 'E22')"),
        (r"m", False, "cannot read the instruction at 0x202e0"),
    ],
)
def test_a_refused_packet_is_one_line(
    gdb: Gdb,
    faulty: Faulty,
    demo: Program,
    request_: str,
    branch: bool,
    message: str,
) -> None:
    """branch: whether a branch is stepped, which takes the Trace interrupt even with one vCPU."""
    gdb.connect(faulty.target, demo.elf)
    gdb.command("tbreak *0x20344" if branch else "tbreak work")
    gdb.command("continue")
    state = "info registers r0 r1 r31 pc msr lr ctr srr0 srr1"
    before = gdb.command(state)
    for command in ("stepi", "stepi 2", "nexti"):
        faulty.answers = {request_: "E22"}
        output = gdb.command(command)
        faulty.answers = {}
        assert output.strip() == f"ppc-sstep: {message}", output
        assert gdb.command(state) == before
    gdb.command("next")
    assert gdb.value("$msr") & SE == 0


def test_a_connection_that_drops(gdb: Gdb, faulty: Faulty, demo: Program) -> None:
    gdb.connect(faulty.target, demo.elf)
    gdb.command("tbreak work")
    gdb.command("continue")
    faulty.hangs_up_at = "vCont;c"
    output = gdb.command("stepi 5")
    assert "Remote connection closed" in output, output
    assert "The program is not being run." in gdb.command("stepi")


@pytest.fixture
def at_loop(
    gdb: Gdb, boot: Callable[..., Qemu], programs: Callable[..., Program]
) -> Iterator[Relay]:
    """A guest before a line that is a loop of `rounds` rounds, and a relay to its stub."""
    program = programs("bench", opt="O1")
    with Relay(boot(program, steps=False).connect) as relay:
        gdb.connect(relay.target, program.elf)
        gdb.command("tbreak loop")
        assert "loop ()" in gdb.command("continue")
        yield relay


def test_a_guest_that_runs_long_is_not_disturbed(gdb: Gdb, at_loop: Relay) -> None:
    """gdb itself sends a NAK after "remotetimeout" seconds, by which QEMU stops the guest."""
    gdb.command("set remotetimeout 1")
    gdb.command("set var rounds = 6000000")  # for longer than that
    output = gdb.command("next 2", timeout=100)
    assert output.count("\n") == 1 and "total = 0;" in output, output
    assert at_loop.lone == []


def test_ctrl_c_reaches_a_guest_that_runs(gdb: Gdb, at_loop: Relay) -> None:
    gdb.command("set var rounds = -1")
    gdb.send("next 2")
    wait_for(at_loop.waits, "the guest to run", 30)
    assert "while (n--) total += n;" in gdb.interrupt()
    assert at_loop.lone == [b"\x03"]
    assert gdb.value("$msr") & SE == 0


# -- other targets, before and after


@pytest.mark.parametrize("enabled", [True, False])
def test_what_continue_does_with_kvm_hv_is_said(gdb: Gdb, faulty: Faulty, enabled: bool) -> None:
    """There gdb's own resume may hang at a breakpoint: docs/kvm.md."""
    told = f"kvm support: {'enabled' if enabled else 'disabled'}\r\n"
    faulty.answers = {f"qRcmd,{b'info kvm'.hex()}": told.encode().hex()}
    output = gdb.connect(faulty.target)
    assert REPLACED in output
    assert ("may hang at a breakpoint" in output) is enabled


def test_chosen_by_hand_and_said_once(gdb: Gdb, boot: Callable[..., Qemu], demo: Program) -> None:
    assert "The door of ppc-sstep is commands." in gdb.command("show ppc-sstep door")
    output = gdb.connect(boot(demo, steps=False).target, demo.elf)
    assert output.count(REPLACED) == 1
    assert "stepped by commands" in gdb.status()
    gdb.command("disconnect")
    # gdb's own commands stay replaced: the next target is stepped by commands, whatever is set.
    gdb.command("set ppc-sstep door auto")
    output = gdb.connect(boot(demo, steps=False).target)
    assert "stepping by the Trace interrupt" in output and REPLACED not in output, output
    gdb.command("tbreak work")
    gdb.command("continue")
    here = gdb.pc
    gdb.command("stepi")
    assert gdb.pc == here + 4


def test_a_stub_that_steps_and_mode_off(gdb: Gdb, boot: Callable[..., Qemu], demo: Program) -> None:
    """At first no command is replaced here.  Later the replaced commands refuse these targets.

    The guest must not run away.
    """
    stepping, ignoring = boot(demo, steps=True), boot(demo, steps=False)
    assert "ppc-sstep" not in gdb.connect(stepping.target, demo.elf)
    assert "step exactly" not in gdb.command("stepi")
    gdb.command("disconnect")
    assert REPLACED in gdb.connect(ignoring.target)
    gdb.command("disconnect")
    gdb.connect(stepping.target)
    here = gdb.pc
    for command in ("stepi", "nexti 3", "step", "next"):
        assert "step this one in a new gdb" in gdb.command(command)
        assert gdb.pc == here
    gdb.command("tbreak work")
    assert "Continuing." in gdb.command("continue")
    assert gdb.command("info symbol $pc").startswith("work")
    gdb.command("disconnect")
    gdb.connect(ignoring.target)
    gdb.command("set ppc-sstep mode off")
    assert "step this one in a new gdb" in gdb.command("stepi")


def test_a_native_program_afterwards(gdb: Gdb, boot: Callable[..., Qemu], demo: Program) -> None:
    gdb.connect(boot(demo, steps=False).target, demo.elf)
    gdb.command("disconnect")
    gdb.command("file /bin/sleep")
    gdb.command("set args 1000")
    if "Program stopped" not in gdb.command("starti", 60):
        pytest.skip("no ptrace here")
    assert "step this one in a new gdb" in gdb.command("stepi")
    gdb.send("continue")
    time.sleep(0.5)
    assert "SIGINT" in gdb.interrupt()
    gdb.command("kill")


def test_where_the_wire_cannot_be_taken(
    tmp_path: Path, boot: Callable[..., Qemu], demo: Program
) -> None:
    """No process can be started: `auto` takes the commands door, `wire` takes nothing."""
    guest = boot(demo, steps=False)
    with Gdb(tmp_path) as gdb:
        gdb.command("python import subprocess; subprocess.Popen = lambda *_, **__: open('/no')")
        gdb.command("set ppc-sstep door wire")
        said = gdb.connect(guest.target, demo.elf)
        assert "not taken: the step layer cannot be started" in said
        gdb.command("set ppc-sstep door auto")
        assert REPLACED in gdb.command("ppc-sstep probe")
        gdb.command("tbreak work")
        gdb.command("continue")
        here = gdb.pc
        gdb.command("stepi 3")
        assert gdb.pc == here + 4 + 8


def test_what_it_cannot_do_is_said(gdb: Gdb, boot: Callable[..., Qemu], demo: Program) -> None:
    """Before anything moves, in one line."""
    gdb.connect(boot(demo, steps=False).target, demo.elf)
    assert gdb.command("watch total") == "Watchpoint 1: total\n"
    for command in ("rwatch total", "awatch total"):
        assert "does not support this type of hardware watchpoint" in gdb.command(command)
    gdb.command("delete")
    gdb.command("tbreak sum_of_squares")
    gdb.command("continue")
    here = gdb.pc
    for command in ("record", "record full", "target record-full", "rec"):
        said = gdb.command(command).splitlines()
        assert said == ["ppc-sstep: `record` needs `set ppc-sstep door wire`, in a new gdb."]
        assert gdb.pc == here
    assert "demo.c:17" in gdb.command("until 17")


def test_slow_watchpoint(gdb: Gdb, boot: Callable[..., Qemu], demo: Program) -> None:
    """That it is slow is said once, where it is."""
    gdb.connect(boot(demo, steps=False).target, demo.elf)
    gdb.command("tbreak main")
    gdb.command("continue")
    gdb.command("watch total if round >= 4")
    output = gdb.command("continue", 120)
    assert output.count("after each step, which is slow") == 1, output
    assert "Watchpoint 2: total" in output
    assert "which is slow" not in gdb.command("continue", 120)


def test_hardware_watchpoints_are_as_before_when_it_is_gone(
    gdb: Gdb, boot: Callable[..., Qemu], demo: Program
) -> None:
    """gdb makes them again for a stub that needs no help."""
    gdb.command("set remote hardware-watchpoint-limit 3")
    gdb.command(f"file {demo.elf}")
    gdb.connect(boot(demo, steps=False).target)
    assert "Watchpoint 1" in gdb.command("watch total")
    gdb.command("delete")
    gdb.command("disconnect")
    assert "is 3." in gdb.command("show remote hardware-watchpoint-limit")
    gdb.connect(boot(demo, steps=True).target)
    assert "Hardware watchpoint 2" in gdb.command("watch total")


def test_watchpoint_that_was_there_before(
    gdb: Gdb, boot: Callable[..., Qemu], demo: Program
) -> None:
    """One that would be the stub's is gdb's own from the connection on."""
    guest = boot(demo, steps=False)
    with Gdb(Path(gdb.transcript.name).parent, name="before", extension=False) as plain:
        plain.connect(guest.target, demo.elf)
        plain.command("tbreak main")  # before that the guest is big-endian, and gdb is not
        plain.command("continue")
        plain.command("disconnect")
    gdb.command(f"file {demo.elf}")
    gdb.command("watch total")
    gdb.connect(guest.target)
    output = gdb.command("continue", 60)
    assert "atchpoint 1: total" in output and "New value" in output, output
    assert gdb.value("$msr") & SE == 0


def test_nothing_is_left(gdb: Gdb, boot: Callable[..., Qemu], demo: Program) -> None:
    """After each command, and after detaching, the stub has no breakpoint of ours."""
    guest = boot(demo, steps=False)
    gdb.connect(guest.target, demo.elf)
    gdb.command("break work")
    gdb.command("continue")
    places = {0xD00, gdb.pc, gdb.pc + 4, gdb.value("&square"), gdb.value("$lr")}
    for command in ("stepi", "stepi 30", "next", "step", "nexti 5", "finish", "continue"):
        gdb.command(command)
        places |= {gdb.pc, gdb.pc + 4}
        assert not [hex(one) for one in places if planted(gdb, one)], command
    assert gdb.value("trace_hits") == 0
    gdb.command("detach")
    with Gdb(Path(gdb.transcript.name).parent, name="after", extension=False) as plain:
        plain.connect(guest.target, demo.elf)
        assert not [hex(one) for one in places if planted(plain, one)]
