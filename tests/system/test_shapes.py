# SPDX-License-Identifier: MIT
"""Every kind of breakpoint and of code, in C and C++, at -O0 to -O2: transcripts as natively.

The programs run round after round, so one session does all scripts, one after another.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fixtures.bare_metal import SOURCES, Program
from fixtures.qemu import Qemu
from tests.harness.doors import DOORS, runs_at
from tests.harness.oracle import Oracle, oracle, variant_name

pytestmark = pytest.mark.bare

VARIANTS: list[dict[str, Any]] = [
    {"endian": "le", "opt": "O0"},
    {"endian": "be", "opt": "O1", "ail": 3},
    {"endian": "le", "opt": "O2"},
]
MORE_VARIANTS: list[dict[str, Any]] = [
    {"endian": "be", "opt": "O0", "ail": 3},
    {"endian": "le", "opt": "O1"},
    {"endian": "be", "opt": "O2"},
]

C_SCRIPTS = {
    "inlined at two places": """
        break twice
        continue
        info breakpoints
        step
        step
        up
        down
        finish
        continue
        next 2
        disable 1.1
        continue
        continue
        backtrace
    """,
    "stepping through inlined functions": """
        tbreak inlines
        continue
        step
        step
        step
        step
        step
        next
        next
        next
        next
        step 4
    """,
    "tail calls": """
        tbreak tail
        continue
        step
        step
        step
        backtrace
        finish
        tbreak tail
        continue
        next 3
        tbreak leaf
        continue
        backtrace
        up
        finish
        stepi 30
    """,
    "no line information": """
        tbreak work
        continue
        break plain
        next 30
        stepi
        backtrace
        step
        next 3
        delete
        tbreak plain
        continue
        next
        set step-mode on
        tbreak work
        continue
        step 40
        nexti 3
        set step-mode off
        step
        tbreak bounce
        continue
        finish
        break leaf
        tbreak bounce
        continue
        next
        finish
        finish
    """,
    "code below its function's entry": """
        tbreak parted
        continue
        next 2
        step
        step
        step
        step
        step 2
        finish
        tbreak parted
        continue
        next
        next
        next
        next
        stepi 3
        next
        backtrace
    """,
    "values": """
        tbreak turned
        continue
        up
        set var $turned = t  # may fail
        down
        finish
        tbreak initial
        continue
        finish
        tbreak ackermann
        continue
        finish
        step 5
        print turned($turned)  # may fail
        print ackermann(1, 2)
        call leaf(2)
        call (void) tail(3)
        break leaf
        print tail(5)
        backtrace 1
        finish
        finish
        delete
        tbreak leaf
        continue
        return 4
        next
    """,
    "recursion": """
        tbreak work
        continue
        print ackermann(1, 2)
        break ackermann if n == 0
        continue
        finish
        step
        next
        delete
        tbreak ackermann
        continue
        until
        until
        next
        advance ackermann
        print n  # may fail
    """,
    "skip": """
        skip function leaf
        skip function turned
        info skip
        tbreak work
        continue
        step 10
        step 10
        skip delete
    """,
    "life of a breakpoint": """
        break leaf
        set var $leaf = $bpnum
        tbreak tail
        hbreak turned
        thbreak initial
        info breakpoints
        continue
        continue
        continue
        continue
        continue
        disable $leaf
        enable once $leaf
        continue
        continue
        enable count 2 $leaf
        continue
        continue
        continue
        enable delete $leaf
        continue
        info breakpoints
        continue
    """,
    "conditions": """
        break leaf if x % 2 == 1
        set var $odd = $bpnum
        break leaf if x % 2 == 0
        set var $even = $bpnum
        continue
        continue
        continue
        condition $odd $_streq("no", "yes")
        ignore $even 2
        continue
        info breakpoints
        condition $even twice(1) == 0  # may fail
        condition $even tail(1) == 0
        condition $even
        break leaf thread 1
        continue
        info breakpoints
    """,
    "counting with a condition that is never true": """
        set var $counted = 0
        break leaf if $counted++ < 0
        tbreak work
        continue
        tbreak work
        continue
        info breakpoints
    """,
    "a false condition while something else is done": """
        break leaf if total == -1
        tbreak work
        continue
        next 2
        step 12
        tbreak tail
        continue
        next 2
        finish
        tbreak bounce
        continue
        stepi 5
        until
        until
        advance turned
    """,
    "consecutive and at the same place": """
        break *leaf
        break *leaf+4
        break *leaf+8
        break *leaf+12
        break leaf
        tbreak *leaf+12
        continue
        continue
        stepi
        stepi
        continue 3
        info breakpoints
    """,
    "dprintf": """
        dprintf leaf,"x is %d\\n", x
        tbreak work
        continue
        next 2
        info breakpoints
        delete
        set dprintf-style call
        set dprintf-function report
        dprintf leaf,"called", (long)x
        tbreak turned
        continue
        print reports
        next
        set dprintf-style agent  # fails: warning: Target cannot run dprintf commands
        tbreak turned
        continue
        delete
        dprintf leaf,"x is %d\\n", x
        tbreak turned
        continue
        set dprintf-style gdb
    """,
    "pending": """
        set breakpoint pending on
        break not_there_yet  # fails: Function "not_there_yet" not defined
        tbreak nowhere.c:12  # fails: No source file named nowhere.c
        info breakpoints
        tbreak work
        continue
        next
        info breakpoints
        set breakpoint pending auto
    """,
    "rbreak": """
        rbreak ^t.rned$
        rbreak ^leaf$
        continue
        continue
        info breakpoints
    """,
    "scheduler locking and range stepping": """
        tbreak work
        continue
        set scheduler-locking on
        stepi 2
        step
        set scheduler-locking step
        next
        stepi
        set scheduler-locking replay
        set range-stepping off
        next
        step
        set range-stepping on
        next
        maint set target-async off  # fails: Cannot change this setting
        next
        tbreak leaf
        continue
    """,
    "jump and set pc": """
        tbreak leaf
        continue
        next
        tbreak plain
        jump -1
        set var $pc = bounce
        stepi 3
        tbreak turned
        continue
        tbreak plain
        continue
        tbreak leaf
        jump *bounce
        next
    """,
    "software watchpoints": """
        set can-use-hw-watchpoints 0
        tbreak inlines
        continue
        watch total
        set var $first = $bpnum
        continue
        continue
        next
        watch round if round % 2 == 0
        delete $first
        info watchpoints
        delete
        set can-use-hw-watchpoints 1
    """,
    # The script gets there by `continue`.  After a native step that hits one, QEMU's next step
    # stays where it is, so gdb shows the stop one instruction earlier than after `continue`.
    "hardware watchpoints": """
        tbreak work
        continue
        watch total
        continue
        continue
        rwatch round
        continue
        delete
        awatch total
        continue
        continue
        delete
        watch -location total if total > 10
        continue
        next
        info watchpoints
        delete
        tbreak work
        continue
        watch t.a
        tbreak ackermann
        continue  # may fail
        continue
    """,
    "display": """
        tbreak leaf
        continue
        display x
        display/i $pc
        display/x $lr
        step
        stepi
        next
        undisplay 2
        stepi 4
        info display
    """,
    "recorded": """
        tbreak work
        continue
        record full
        stepi 220
        reverse-stepi 210
        reverse-step
        reverse-next
        reverse-finish
        next 3
        reverse-continue
        info record
        record goto end
        record stop
        stepi
        next
    """,
}

CC_SCRIPTS = {
    "constructors, virtual calls": """
        break shapes::Square::Square
        break area
        info breakpoints
        continue
        step 3
        finish
        continue
        finish
        step
        step
        continue
        backtrace
        delete
        tbreak shapes::Square::~Square
        continue
        finish
        step 4
    """,
    "overloads, templates": """
        break scale
        info breakpoints
        continue
        finish
        continue
        step 3
        delete
        tbreak most<long>
        continue
        finish
        tbreak work
        continue
        step
        step
        finish
        next 3
    """,
    "step everywhere": """
        tbreak work
        continue
        step 10
        step 10
        step 10
        next 10
    """,
    "skip and catch": """
        skip function scale(int)
        skip -rfunction ^shapes::
        tbreak measure
        continue
        step
        step
        step 5
        skip delete
        catch throw
        tbreak work
        continue
        next
    """,
    "watch a member": """
        tbreak measure
        continue
        up
        watch square.side
        watch bar.a
        tbreak work
        continue
        continue
    """,
}

AFTERWARDS = ("delete", "undisplay", "frame 0")


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("program", ["shapes", "classes"])
@pytest.mark.parametrize(
    "variant",
    [*VARIANTS, *(pytest.param(one, marks=pytest.mark.soak) for one in MORE_VARIANTS)],
    ids=variant_name,
)
def test_transcripts(program: str, door: str, pair: Oracle) -> None:
    for name, script in (C_SCRIPTS if program == "shapes" else CC_SCRIPTS).items():
        if not runs_at(door, name):
            continue
        pair.commands.append(f"# {name}")
        assert "reakpoint" in pair.run(script), name
        pair.run("\n".join(AFTERWARDS))
    assert pair.ours.value("trace_hits") == 0


@pytest.mark.parametrize("door", DOORS)
def test_breakpoints_of_one_vcpu(
    door: str, tmp_path: Path, programs: Callable[..., Program], boot: Callable[..., Qemu]
) -> None:
    """The second vCPU never starts, so gdb steps over its breakpoints again and again."""
    built = programs("shapes")
    start = partial(boot, built, smp=2)
    with oracle(tmp_path, start, built.elf, ["-d", str(SOURCES)], door) as pair:
        output = pair.run(
            """
            info threads
            break leaf thread 2
            break work thread 1
            break tail thread 2 if x == 1
            continue
            next 3
            break turned thread 1
            continue
            step 3
            """
        )
        if door == "wire":  # tests.harness.doors.HALTED
            pair.run("thread 2\nstepi  # fails: Cannot access memory\nthread 1")
        output += pair.run(
            """
            set scheduler-locking on
            next 2
            set scheduler-locking off
            tbreak leaf thread 1
            continue
            finish
            info breakpoints
            """
        )
        assert "Thread 1 hit Breakpoint 2, work" in output, output
        assert "stop only in thread 2" in output
