# SPDX-License-Identifier: MIT
"""Hundreds of random commands: after each, output, registers and breakpoints are as natively.

A seed decides the program's variant and all commands.
`pytest tests/system/test_random_walks.py --seed S` runs a walk again; --soak N makes N times as
many.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from fixtures.bare_metal import SOURCES, Program
from fixtures.qemu import Qemu
from tests.harness.doors import DOORS
from tests.harness.oracle import Oracle, oracle

pytestmark = pytest.mark.bare

COMMANDS, WALKS = 150, 3
DIFFERED = (21, 101, 119)
"""Seeds of walks in which a step was once told of in another way than natively."""

FUNCTIONS = ("leaf", "tail", "twice", "inlines", "turned", "initial", "ackermann", "plain")
CONDITIONS = ("total % 2 == 0", "total % 3 == 1", "round % 3 == 1", "total == -1", "$pc == 0")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    seed, times = metafunc.config.getoption("seed"), metafunc.config.getoption("soak")
    first, count = (1, WALKS) if seed is None else (seed, 1)
    seeds = range(first, first + count * times)
    metafunc.parametrize("seed", [*seeds, *(DIFFERED if seed is None else ())])


class Walk:
    """Random commands.  None lets the guest run for ever, because breakpoint 1 stays."""

    def __init__(self, seed: int, pair: Oracle) -> None:
        self._random = random.Random(seed)
        self._pair = pair
        self._breakpoints = 1
        self._verbs: list[tuple[int, Callable[[], str]]] = [
            (10, lambda: f"stepi{self._count(30)}"),
            (8, lambda: f"nexti{self._count(30)}"),
            (12, lambda: f"step{self._count(6)}"),
            (12, lambda: f"next{self._count(6)}"),
            (8, lambda: f"continue{self._count(3)}"),
            (5, lambda: "finish"),
            (3, lambda: "until"),
            (3, lambda: f"advance {self._function()}"),
            (4, lambda: self._planted("tbreak {0}")),
            (5, lambda: self._planted("break {0}")),
            (3, lambda: self._planted("break *{0}+{1}")),
            (5, lambda: self._planted("break {0} if {2}")),
            (1, lambda: self._planted('dprintf {0},"round %d\\n", round')),
            (2, lambda: f"condition {self._number()} {self._random.choice(CONDITIONS)}"),
            (2, lambda: f"ignore {self._number()} {self._random.randint(1, 4)}"),
            (4, lambda: f"delete {self._number()}"),
            (2, lambda: f"disable {self._number()}"),
            (2, lambda: f"enable {self._random.choice(['', 'once '])}{self._number()}"),
            (2, lambda: self._random.choice(["up", "down", "frame 0", "backtrace 4"])),
            (2, lambda: self._random.choice(["display/i $pc", "display total", "undisplay"])),
            (2, lambda: f"set step-mode {self._on()}"),
            (1, lambda: f"set range-stepping {self._on()}"),
            (1, lambda: f"set scheduler-locking {self._random.choice(['off', 'step', 'on'])}"),
            (1, lambda: self._random.choice(["skip function leaf", "skip delete"])),
            (2, lambda: f"call report((char *)0, {self._random.randint(0, 9)})"),
            (2, lambda: "x/3i $pc"),
        ]

    def _count(self, most: int) -> str:
        return f" {self._random.randint(2, most)}" if self._random.random() < 0.4 else ""

    def _function(self) -> str:
        return self._random.choice(FUNCTIONS)

    def _on(self) -> str:
        return self._random.choice(["on", "off"])

    def _number(self) -> int:
        """The number of a breakpoint, perhaps of a deleted one, but never of the first."""
        return self._random.randint(2, max(2, self._breakpoints))

    def _planted(self, form: str) -> str:
        self._breakpoints += 1
        offset = 4 * self._random.randint(0, 6)
        return form.format(self._function(), offset, self._random.choice(CONDITIONS))

    def _watch(self) -> None:
        """Set a software watchpoint (test_shapes says why) for a short time, because it is slow."""
        self._pair.both("set can-use-hw-watchpoints 0")
        self._pair.both(self._random.choice(["watch total", "watch round", "watch -l total"]))
        self._breakpoints = self._pair.native.value("$bpnum")
        self._pair.both("continue")
        self._pair.both("delete $bpnum")

    def _with_commands(self) -> None:
        self._pair.both(f"break {self._random.choice(['leaf', 'tail', 'turned'])}")
        self._breakpoints = self._pair.native.value("$bpnum")
        body = self._random.choice([("stepi", "print $_"), ("silent", "step 2"), ("next", "up")])
        self._pair.block("commands", *body, "end")

    def go(self, commands: int) -> None:
        weights = [weight for weight, _ in self._verbs]
        verbs = [verb for _, verb in self._verbs]
        self._pair.both("break work")
        self._pair.both("continue")
        for number in range(commands):
            if number % 25 == 24:
                self._random.choice([self._watch, self._with_commands])()
            else:
                self._pair.both(self._random.choices(verbs, weights)[0](), fails=None)


@pytest.fixture
def pair(
    seed: int,
    door: str,
    tmp_path: Path,
    programs: Callable[..., Program],
    boot: Callable[..., Qemu],
) -> Iterator[Oracle]:
    choice = random.Random(seed).choice
    variant = {"endian": choice(["le", "be"]), "ail": choice([0, 3])}
    program = programs("shapes", opt=choice(["O0", "O1", "O2"]), **variant)
    start = partial(boot, program)
    with oracle(tmp_path, start, program.elf, ["-d", str(SOURCES)], door) as pair:
        yield pair


@pytest.mark.parametrize("door", DOORS)
def test_walk(seed: int, pair: Oracle) -> None:
    try:
        Walk(seed, pair).go(COMMANDS)
    except AssertionError:
        print(f"pytest {Path(__file__).name} --seed {seed}   # runs this walk again; its commands:")
        print("\n".join(pair.commands))
        raise
    assert pair.ours.value("trace_hits") == 0
    assert len(pair.commands) >= COMMANDS
