# SPDX-License-Identifier: MIT
"""Packets between layer and stub that are dropped, late, doubled, damaged, refused or cut off.

A seed decides: in the middle of random commands one packet goes wrong (see faulty.py).  After each
fault there is a prompt, a line that says what happened unless the layer put it right, and nothing
of ours in the guest, and the next command works.  A session that fails says its seed: --seed S runs
it again, and --soak N makes N times as many.
"""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pexpect
import pytest

from fixtures.bare_metal import SOURCES, Program
from fixtures.qemu import Qemu
from tests.harness.driver import ROOT, Gdb, is_running, layers_of
from tests.harness.faulty import FAULTS, Faulty

pytestmark = pytest.mark.bare

STRIKES, SESSIONS = 55, 4
SE = 0x400
PROMPT_WITHIN = 12.0
"""Seconds: the layer waits 5 for a reply, gdb 2 for its own, some times."""

COMMANDS = {
    **dict.fromkeys(["stepi", "step", "next", "continue"], 6),
    **dict.fromkeys(["stepi 3", "nexti", "next 3", "finish"], 3),
    **dict.fromkeys(["until", "tbreak square", "info registers pc", "x/4i $pc"], 1),
}
# Few packets are dropped: after each the layer waits as long as it waits for any reply.
RARE = {"drop": 0.12, "delay": 0.5}
# gdb 13 has an internal error, natively too, if it loses the connection while it reads a frame.
LOSSES, STEPPING = ("drop", "close"), "vCont|[pPzZ]"
WAYS = [(way, fault) for way, faults in FAULTS.items() for fault in faults]

SAID = re.compile(
    r"ppc-sstep: |[Rr]emote |Cannot |Could not |warning|Quit|SIGINT|not being run|E22"
    r"|not meaningful in the outermost frame"
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    seed, times = metafunc.config.getoption("seed"), metafunc.config.getoption("soak")
    first, count = (1, SESSIONS) if seed is None else (seed, 1)
    metafunc.parametrize("seed", range(first, first + count * times))


class Session:
    """gdb on a stub behind the proxy; it connects again when the connection is lost."""

    def __init__(self, seed: int, directory: Path, faulty: Faulty, program: Program) -> None:
        self.random = random.Random(seed)
        self.directory = directory
        self.faulty = faulty
        self.program = program
        self.struck: Counter[str] = Counter()
        self.last = ""
        self.vector = self.here = 0
        self.layers: list[int] = []
        self.connect()

    def connect(self) -> None:
        # A layer that waits for a guest which does not stop keeps the stub some seconds longer.
        end = time.monotonic() + PROMPT_WITHIN
        while any(map(is_running, self.layers)):
            assert time.monotonic() < end, "the layer does not end"
            time.sleep(0.05)
        name = f"gdb{self.struck['connected again']}"
        self.gdb = Gdb(self.directory, name=name, arguments=("-d", str(SOURCES)))
        output = self.gdb.connect(self.faulty.target, self.program.elf)
        assert "stepping by the Trace interrupt" in output, output
        if "ppc-sstep clean" in output:
            self.struck["found at connect"] += 1
            output = self.gdb.command("ppc-sstep clean")
            assert "is taken back" in output, output
        self.layers = layers_of(self.gdb)
        self.gdb.command(f"source {ROOT / 'tests' / 'harness' / 'walk.py'}")
        self.gdb.command("break work")

    def go(self, strikes: int) -> None:
        self.gdb.command("continue")
        self.vector = int(self.gdb.status().partition("Trace vector now: ")[2].split()[0], 16)
        weights = [RARE.get(fault, 1.0) for _, fault in WAYS]
        while self.struck["all"] < strikes:
            way, fault = self.random.choices(WAYS, weights)[0]
            command = self.random.choices(list(COMMANDS), list(COMMANDS.values()))[0]
            after = self.random.choice([0, 1, 2, 3, 5, 8, 13, 21, 34])
            before = self.gdb.pc
            self.last = f"{fault} {way} {after} packets into `{command}`"
            self.faulty.strike(way, fault, after, STEPPING if fault in LOSSES else "")
            try:
                output = self.run(command)
            except pexpect.EOF:  # gdb 13 may die of a fault (by SIGSEGV, or an assertion)
                self.struck["gdb died"] += 1
                assert self.struck["gdb died"] <= 2 and self.faulty.struck, self.last
                self.struck["all"] += 1
                self.struck["connected again"] += 1
                self.connect()
                self.judge("died", "")
                continue
            if self.faulty.struck is None:
                continue
            self.last += f": {self.faulty.struck}"
            self.struck["all"] += 1
            self.struck[f"{fault} {way}"] += 1
            self.judge(fault, output)
            if fault == "refuse" and not SAID.search(output):
                self.struck["refused in silence"] += 1
                shown = command.startswith(("x/", "info ", "tbreak ")) and "0x" in output
                worked = shown or self.here != before or "Breakpoint 1, " in output
                assert worked, f"{self.last}: {output}"

    def run(self, command: str) -> str:
        """Run a command, interrupting and giving up one that does not end.  Returns its output."""
        self.gdb.send(command)
        try:
            return self.gdb.finish(PROMPT_WITHIN)
        except pexpect.TIMEOUT:
            # So it is natively when the stub loses a request to run, or its stop reply gets lost.
            assert "drop" in self.last, self.last
            self.struck["given up by Ctrl-C"] += 1
            # gdb passes the first Ctrl-C on and gives up at the next.  Two at once count as one.
            for _ in range(int(PROMPT_WITHIN)):
                self.gdb.child.sendintr()
                with suppress(pexpect.TIMEOUT):
                    return self.gdb.finish(1.0) + "Quit"
            raise

    def judge(self, fault: str, output: str) -> None:
        assert "Traceback" not in output and "Python" not in output, output
        if "No threads" in self.gdb.command("info threads"):
            self.struck["connected again"] += 1
            assert SAID.search(output), output
            # A new gdb: if gdb 13 was stepping over a breakpoint and connects again, it fails an
            # assertion of its own (infrun.c finish_step_over).
            self.gdb.close()
            self.connect()
        if fault in ("delay", "duplicate", "corrupt", "cut"):
            assert "ppc-sstep: " not in output, output
        self.gdb.command("maint flush register-cache")
        self.here = self.gdb.pc
        assert self.gdb.value("$msr") & SE == 0
        assert 'received: "E22"' in self.gdb.command(f"maint packet z0,{self.vector:x},4")
        assert "followed 1 with" in self.gdb.command("python follow(1)"), output
        assert "Outstanding: none" in self.gdb.status()
        assert self.gdb.command("info breakpoints").count("in work") == 1


def test_faults(
    seed: int,
    tmp_path: Path,
    boot: Callable[..., Qemu],
    programs: Callable[..., Program],
) -> None:
    program = programs("demo", ail=(0, 3)[seed % 2])
    with Faulty(boot(program, steps=False).target, tmp_path) as faulty:
        session = Session(seed, tmp_path, faulty, program)
        try:
            session.go(STRIKES)
            assert session.gdb.value("trace_hits") == 0
        except (AssertionError, pexpect.TIMEOUT, pexpect.EOF):
            print(f"pytest {Path(__file__).name} --seed {seed}   # runs it again; it ended with:")
            print(session.last, dict(session.struck))
            raise
        finally:
            session.gdb.close()
        print(dict(session.struck))
