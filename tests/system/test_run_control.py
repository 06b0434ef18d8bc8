# SPDX-License-Identifier: MIT
"""gdb's own run control on fixtures/bare/demo.c: transcripts must be those of native stepping."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import pexpect
import pytest

from tests.harness.doors import DOORS, runs_at
from tests.harness.oracle import Oracle, variant_name

pytestmark = pytest.mark.bare

PLAIN: list[dict[str, Any]] = [
    {"endian": "le", "opt": "O0"},
    {"endian": "be", "opt": "O0", "ail": 2},
]
# The compiler inlines or computes some calls: for the scripts that do not need them.
OPTIMISED: list[dict[str, Any]] = [
    {"endian": "be", "opt": "O2"},
    {"endian": "le", "opt": "O2", "ail": 3},
]
OPTIMISED_SCRIPTS = (
    "steps",
    "continue hits again",
    "hardware watchpoint",
    "display and hooks",
    "no line information",
    "out of inlined calls",
)

SCRIPTS = {
    "steps": """
        break work
        continue
        stepi
        stepi 3
        nexti
        nexti 5
        step
        next
        step 3
        next 4
        info registers pc msr
        x/2i $pc
    """,
    "continue hits again": """
        break work
        continue
        continue
        continue 3
        info breakpoints
        tbreak largest
        continue
        continue
    """,
    "finish": """
        break square
        continue
        finish
        step
        step
        finish
        up
        finish
        backtrace
    """,
    "recursion": """
        # At -O2 factorial(4) is a constant, and nobody calls it.
        tbreak work
        continue
        break factorial
        print factorial(4)
        next
        finish
        continue
        continue
        finish
        finish
        step
        backtrace
        finish
        finish
        next 3
    """,
    "until": """
        break sum_of_squares
        continue
        next
        next
        next
        next
        until
        until
        advance largest
        until
    """,
    "until and advance to a place": """
        break sum_of_squares
        continue
        advance 17
        break square
        until 10
        continue
        advance square
        advance sum_of_squares
        delete
        advance largest
        until 35
        advance 44
        break factorial
        continue
        until 24
        next
        advance 24
        until factorial
    """,
    "conditions": """
        break square if x == 3
        continue
        continue
        info breakpoints
        tbreak work if n == 7
        continue
        print round
        delete
        break sum_of_squares
        condition 3 n == 4
        continue
        print n
    """,
    "ignore counts": """
        break square
        ignore 1 5
        continue
        info breakpoints
        ignore 1 2
        continue 2
        info breakpoints
    """,
    "dprintf": """
        dprintf square,"square of %d\\n", x
        break work
        continue
        continue
        continue
    """,
    "software watchpoint": """
        break work
        continue
        set can-use-hw-watchpoints 0
        delete
        watch total
        continue
        continue
        info watchpoints
        delete
        tbreak sum_of_squares
        continue
        next
        watch sum
        continue
        continue
        continue
    """,
    "hardware watchpoint": """
        tbreak work
        continue
        watch total
        continue
        stepi
        continue
        rwatch round
        continue
        stepi 4
        info watchpoints
    """,
    "display and hooks": """
        break work
        continue
        display/i $pc
        display round
        stepi
        step
        next
        undisplay 1
        stepi 5
    """,
    "out of inlined calls": """
        break work
        continue
        step
        next
        step
        next
        stepi 5
        next
        continue
        stepi 4
        step
        next 2
        stepi 3
        next
    """,
    "consecutive breakpoints": """
        break square
        break *square+4
        break *square+8
        continue
        continue
        continue
        stepi
        continue
        info breakpoints
    """,
    "step into a breakpoint": """
        break work
        continue
        break square
        next
        next
        finish
        step 10
        nexti 100
    """,
    "jump return call": """
        break square
        continue
        print factorial(5)
        call square(9)
        continue
        return 7
        next
        jump work
        step
    """,
    "breakpoint in a call": """
        break work
        continue
        break square
        print sum_of_squares(2)
        bt
        stepi
        finish
        bt
        finish
        bt
        print factorial(3)
        next
    """,
    "addresses are not printed": """
        set print address off
        break square
        continue
        stepi
        finish
        continue
        finish
        tbreak largest
        delete 1
        next
        info breakpoints
        continue
        step
    """,
    "no line information": """
        break work
        continue
        stepi 2
        break *0x20000
        tbreak *$lr
        continue
        stepi 7
    """,
}


RUNS = [(variant, name) for variant in PLAIN for name in SCRIPTS] + [
    (variant, name) for variant in OPTIMISED for name in OPTIMISED_SCRIPTS
]


@pytest.fixture
def variant() -> dict[str, Any]:
    return PLAIN[0]


@pytest.fixture
def door() -> str:
    return "wire"


@pytest.fixture
def program(variant_runs: None) -> str:
    return "demo"


@pytest.mark.parametrize(
    ("door", "variant", "name"),
    [(door, *run) for door in DOORS for run in RUNS if runs_at(door, run[1])],
    ids=lambda value: value if isinstance(value, str) else variant_name(value),
)
def test_transcript(name: str, pair: Oracle) -> None:
    output = pair.run(SCRIPTS[name])
    assert "reakpoint" in output
    assert pair.ours.value("trace_hits") == 0


@pytest.mark.parametrize(
    ("door", "name"), [(door, name) for door in DOORS for name in SCRIPTS if runs_at(door, name)]
)
def test_breakpoints_always_inserted(name: str, pair: Oracle) -> None:
    """gdb leaves its breakpoints in the stub, but for the one that it steps off."""
    pair.run("set breakpoint always-inserted on")
    pair.run(SCRIPTS[name])


@pytest.mark.parametrize("displaced", ["on", "auto", "off"])
@pytest.mark.parametrize("door", DOORS)
def test_displaced_stepping(displaced: str, pair: Oracle) -> None:
    """gdb cannot do it here, where no code of the program's begins; it says so and does not."""
    pair.run(f"""
        set displaced-stepping {displaced}
        set breakpoint always-inserted on
        break square if x == 3
        tbreak work
        continue
        next
        next
        step 3
        next 4
        stepi 3
        finish
        condition 1 x == 99
        next 2
        tbreak largest
        continue
        finish
        break square
        ignore 4 2
        continue
        info breakpoints
    """)


@pytest.mark.parametrize("door", DOORS)
def test_commands_that_step(pair: Oracle) -> None:
    pair.both("break square")
    pair.block("commands 1", "silent", "step", "print sum", "end")
    pair.block("define twice", "step", "stepi", "end")
    pair.both("continue")
    pair.both("continue")
    pair.both("info breakpoints")
    pair.both("twice")
    pair.block("commands 1", "silent", 'printf "x=%d\\n", x', "continue", "end")
    pair.both("tbreak largest")
    output = pair.both("continue")
    assert output.count("x=") > 1


@pytest.mark.parametrize("door", DOORS)
def test_commands_that_continue_many_times(pair: Oracle) -> None:
    """As people trace; at last there is an error in them."""
    pair.both("break square")
    pair.both("set $n = 0")
    pair.block(
        "commands 1",
        *("silent", 'printf "%d: x=%d\\n", $n, x', "set $n = $n + 1", "if $n == 40"),
        *("print nothing_here", "end", "continue", "end"),
    )
    output = pair.both("continue", fails='No symbol "nothing_here" in current context.')
    assert output.count("x=") == 40
    pair.both("delete")
    pair.both("tbreak largest")
    pair.both("continue")
    pair.both("stepi")


@pytest.mark.parametrize("door", DOORS)
def test_ctrl_c_while_commands_continue(pair: Oracle) -> None:
    """A Ctrl-C gets lost now and then, natively too; but where gdb prompts the guest stands."""
    gdb = pair.ours
    pair.both("break square")
    pair.block("commands 1", "silent", 'printf "x=%d\\n", x', "continue", "end")
    for number in range(6):
        gdb.send("continue")
        time.sleep(0.2 + 0.05 * number)
        for _ in range(6):
            with suppress(pexpect.TIMEOUT):
                gdb.interrupt(3)
                break
        else:
            pytest.fail("Ctrl-C does not stop it")
        assert "Program stopped at 0x" in gdb.command("info program")
        with pytest.raises(pexpect.TIMEOUT):
            gdb.finish(0.3)
    gdb.command("delete")
    gdb.command("tbreak largest")
    assert "Temporary breakpoint 2, largest" in gdb.command("continue")


@pytest.mark.parametrize("door", DOORS)
def test_enter_repeats(pair: Oracle) -> None:
    pair.both("break work")
    pair.both("continue")
    for command in ("stepi", "", "", "next 2", "", "step", "", "continue", ""):
        pair.both(command)
    assert pair.compared > 30


@pytest.mark.parametrize("door", DOORS)
def test_enter_after_x(pair: Oracle) -> None:
    """gdb's `info breakpoints` would move the place where it goes on."""
    pair.both("break work")
    pair.both("continue")
    for command in ("x/2xw $sp", "", "", "x/i $pc", "", "x/2i", ""):
        pair.ours.send(command)
        pair.native.send(command)
        shown = pair.ours.finish()
        assert shown == pair.native.finish()
        assert shown.count("0x") >= 1


@pytest.mark.parametrize("door", DOORS)
def test_python_stop_that_says_false(pair: Oracle) -> None:
    for gdb in (pair.native, pair.ours):
        gdb.command("python class Even(gdb.Breakpoint): stop = lambda self: x() % 2 == 0")
        gdb.command("python x = lambda: int(gdb.parse_and_eval('x'))")
        gdb.command("python Even('square')")
    for value in (2, 2, 4):  # square's arguments are 1 to 3, then 1 to 4, then 1 to 3 ...
        pair.both("continue")
        assert f"= {value}" in pair.both("print x")


def test_reconnecting(pair: Oracle) -> None:
    pair.both("break work")
    pair.both("continue")
    for _ in range(3):
        for gdb, target in zip((pair.native, pair.ours), pair.targets):
            gdb.command("disconnect")
            gdb.connect(target)
        pair.both("stepi 4")
        pair.both("continue")
        pair.both("next")
    assert ": taken" in pair.ours.status()


def test_after_detach(pair: Oracle) -> None:
    pair.both("break work")
    pair.both("continue")
    for gdb, target in zip((pair.native, pair.ours), pair.targets):
        assert "detached" in gdb.command("detach")
        gdb.connect(target)  # the guest has run meanwhile and stops anywhere
        assert "Breakpoint 1, work" in gdb.command("continue")
        gdb.command("delete")
        here = gdb.pc
        gdb.command("stepi")
        assert gdb.pc == here + 4
    assert ": taken" in pair.ours.status()
