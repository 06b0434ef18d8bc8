# SPDX-License-Identifier: MIT
"""Watchpoints that ours sees by steps, and those of a stub that has its own.

The oracle is QEMU's TCG, whose stub has watchpoints.  It stops behind an access, and gdb steps once
more before it compares.  Ours stops before the access, as the Power ISA does.  So values and
numbers of hits must be equal, and the places where gdb shows the hits differ.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from fixtures.bare_metal import Program
from fixtures.qemu import Qemu
from tests.harness.driver import Gdb
from tests.harness.oracle import Oracle, oracle, variant_name

pytestmark = pytest.mark.bare

VARIANTS: list[dict[str, Any]] = [{"endian": "le"}, {"endian": "be", "ail": 3}]

VALUE = re.compile(r"^(?:Old value|New value|Value) = .*$", re.MULTILINE)
SHOWN = r"(?:Old value|New value|Value) = .*|\w+point \d+ deleted.*"
OLD_AND_NEW = ["Old value = {0}", "New value = {1}"]


class Cell(NamedTuple):
    """What fixtures/bare/watch.S accesses once a round, and the labels of these accesses."""

    what: str
    stores: tuple[str, ...]
    loads: tuple[str, ...]


def cell(what: str, name: str) -> Cell:
    return Cell(what, (f"x_{name}",), (f"x_{name}_load",))


CELLS = [
    cell("*(char *)&byte", "byte"),
    cell("*(short *)&half", "half"),
    cell("*(int *)&word", "word"),
    cell("*(long *)&whole", "whole"),
    cell("*((char *)&whole + 3)", "whole"),
    Cell("*(long *)((char *)&line + 24)", ("x_line", "x_line_2"), ()),
    cell("*(long *)&quad", "quad"),
    cell("*((long *)&quad + 1)", "quad"),
    cell("*(long *)&vector", "vector"),
    cell("*((int *)&vector + 1)", "vector"),
    cell("*((char *)&unaligned + 2)", "unaligned"),
    cell("*((char *)&unaligned + 3)", "unaligned"),
    cell("*(int *)&crossing", "crossing"),
    cell("*((int *)&crossing + 1)", "crossing"),
]


def values(pair: Oracle, command: str) -> list[str]:
    """Give both sides a command.  Returns the values that a hit shows, equal on both sides."""
    for gdb in (pair.native, pair.ours):
        gdb.send(command)
    native, ours = (gdb.finish(60) for gdb in (pair.native, pair.ours))
    assert VALUE.findall(ours) == VALUE.findall(native), f"{command}\n{native}\n{ours}"
    return VALUE.findall(ours)


def at_the_first_round(pair: Oracle) -> None:
    """Let both sides run to the first round, where all cells are 0."""
    for gdb in (pair.native, pair.ours):
        gdb.command("tbreak round")
        gdb.command("continue")


def hit_counts(gdb: Gdb) -> list[str]:
    return re.findall(r"already hit \d+ times?", gdb.command("info watchpoints"))


SCRIPTS = {
    "a local that goes out of scope": """
        break sum_of_squares
        continue
        delete
        watch sum
        continue
        continue
        continue
        continue
    """,
    "-location": """
        break largest
        continue
        delete
        watch -location max
        continue
        continue
        continue
    """,
    "next, step and until": """
        tbreak sum_of_squares
        continue
        watch sum
        next
        next
        next
        step 3
        until
        next 4
        until
        until
        continue
    """,
    "stepi and nexti": """
        tbreak sum_of_squares
        continue
        watch sum
        stepi 30
        nexti 30
        nexti 30
        stepi 80
    """,
    "finish": """
        tbreak square
        continue
        up
        watch sum
        finish
        finish
        finish
        finish
    """,
    "a global": """
        tbreak main
        continue
        watch total
        continue
        next
        next 3
        finish
        continue 2
    """,
}


def same_shown(pair: Oracle, script: str) -> list[str]:
    """Give both sides a script.  Returns what its watchpoints show, equal on both sides."""
    shown: list[list[str]] = []
    for gdb in (pair.native, pair.ours):
        lines = [line.strip() for line in script.splitlines() if line.strip()]
        output = "".join(gdb.command(line, 60) for line in lines)
        shown.append(re.findall(SHOWN, output))
    assert shown[0] == shown[1]
    return shown[1]


def every_access(pair: Oracle) -> None:
    """Watch every other cell with each kind of watchpoint; the other byte order takes the rest.

    gdb shows the hit just behind the instruction.
    """
    ours = pair.ours
    cells = CELLS["little" in ours.command("show endian") :: 2]
    at_the_first_round(pair)
    for what, stores, loads in cells:
        for command, labels in (("watch", stores), ("rwatch", loads), ("awatch", stores + loads)):
            if not labels:
                continue
            for gdb in (pair.native, ours):
                assert "atchpoint" in gdb.command(f"{command} {what}")
            # A round accesses its cells in the order of the instructions' addresses.
            pc, places = ours.pc, sorted(ours.value(f"(long)&{label}") for label in labels)
            first = sum(place < pc for place in places)
            for place in (*places[first:], *places[:first], places[first % len(places)]):
                assert values(pair, "continue"), what
                assert ours.pc == place + 4, f"{command} {what}"
            count = f"already hit {len(labels) + 1} times"
            assert hit_counts(ours) == hit_counts(pair.native) == [count]
            for gdb in (pair.native, ours):
                gdb.command("delete")


@pytest.fixture
def pair(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    programs: Callable[..., Program],
    boot: Callable[..., Qemu],
) -> Iterator[Oracle]:
    """Both sides on a program, in a variant; both are the test's parameters."""
    name, variant = request.param
    program = programs(name, **variant)
    with oracle(tmp_path, partial(boot, program), program.elf) as pair:
        pair.ours.command("set ppc-sstep watchpoints step")
        yield pair


def on(name: str, *variants: dict[str, Any]) -> pytest.MarkDecorator:
    """A mark that runs a test on a program in these variants; in all of VARIANTS if none given."""
    cases = [(name, variant) for variant in variants or VARIANTS]
    ids = [variant_name(variant) for _, variant in cases]
    return pytest.mark.parametrize("pair", cases, ids=ids, indirect=True)


on_scripts = pytest.mark.parametrize(
    ("pair", "name"),
    [(("demo", VARIANTS[n % 2]), name) for n, name in enumerate(SCRIPTS)],
    indirect=["pair"],
    ids=lambda value: value if isinstance(value, str) else variant_name(value[1]),
)


@pytest.mark.usefixtures("stub_watches")
@on("watch")
def test_every_access(pair: Oracle) -> None:
    every_access(pair)
    assert "Watchpoints: by steps (as it was set)\n" in pair.ours.status()


@pytest.mark.usefixtures("stub_watches")
@on("watch")
def test_an_atomic_word(pair: Oracle) -> None:
    """The engine steps the sequence as a unit, and a hit in it shows the right values."""
    at_the_first_round(pair)
    for gdb in (pair.native, pair.ours):
        gdb.command("watch *(long *)&counter")
    for n in range(4):
        assert values(pair, "continue") == [line.format(n, n + 1) for line in OLD_AND_NEW]


@pytest.mark.usefixtures("stub_watches")
@on_scripts
def test_run_control(pair: Oracle, name: str) -> None:
    assert same_shown(pair, SCRIPTS[name])
    if "scope" in name:
        assert pair.ours.pc == pair.native.pc


@pytest.mark.usefixtures("stub_watches")
@on("watch", {"endian": "le"})
def test_auto_and_off_leave_it_to_this_stub(pair: Oracle) -> None:
    """The stub has watchpoints, so gdb shows hits behind the access, as without ours."""
    ours = pair.ours
    at_the_first_round(pair)
    for setting in ("auto", "off"):
        ours.command(f"set ppc-sstep watchpoints {setting}")
        for gdb in (pair.native, ours):
            gdb.command("watch *(int *)&word")
        assert values(pair, "continue")
        assert ours.pc == ours.value("(long)&x_word") + 8
        for gdb in (pair.native, ours):
            gdb.command("delete")
        assert "Watchpoints: by the stub\n" in ours.status()


@on("watch", {"endian": "le"})
def test_dawr_where_there_is_none(pair: Oracle) -> None:
    """A TCG guest has no DAWR (QEMU 7.2): the user is told so, and the guest does not run."""
    at_the_first_round(pair)
    ours = pair.ours
    ours.command("set ppc-sstep watchpoints dawr")
    assert "Watchpoints are seen by: dawr" in ours.command("show ppc-sstep")
    ours.command("watch *(int *)&word")
    before = ours.pc
    output = ours.command("continue")
    assert "use `set ppc-sstep watchpoints auto`" in output, output
    assert ours.pc == before
    ours.command("delete")
    ours.command("stepi")


@on("watch", {"endian": "le"})
def test_ctrl_c(pair: Oracle) -> None:
    ours = pair.ours
    at_the_first_round(pair)
    ours.command("watch *(long *)&never")
    for _ in range(3):
        before = ours.value("*(long *)&rounds")
        ours.send("continue")
        time.sleep(0.3)
        assert "SIGINT" in ours.interrupt()
        assert ours.value("*(long *)&rounds") >= before
    ours.command("delete")
