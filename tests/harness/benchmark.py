# SPDX-License-Identifier: MIT
"""tests/bench: how fast steps are, ours against those of a stub that steps.

Both sides are measured in the same run, on guests of their own, in turn, several times; what counts
is the ratio of the medians.  The times are gdb's own, taken inside it.  After each case the
registers of all sides must be the same.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import select
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from fixtures import bare_metal, linux
from fixtures.kvm_hv import Host
from fixtures.qemu import QUIET, Guest, Qemu

ROOT = Path(__file__).resolve().parents[2]
GDB = os.environ.get("GDB", "gdb-multiarch")
SIDES = ("native", "wire", "commands")
TIMEOUT = 300.0
"""Seconds for what is done in one go."""


class Case(NamedTuple):
    """What is measured, from where `at` is reached; `prepare` and `measured` are commands.

    times: how often.  per: how many of what that is, for the time of one.  linux: in a Linux guest,
    where the paths of two guests differ, and so the registers.  kvm: under KVM HV.  sides: who can
    do it.  as_long_as: what native takes is computed, so many times that of another case; it gets
    to the same place by `instead`.
    """

    name: str
    at: str
    measured: tuple[str, ...]
    prepare: tuple[str, ...] = ()
    times: int = 1
    per: int = 1
    smp: int = 1
    linux: bool = False
    kvm: bool = False
    as_long_as: tuple[int, str] | None = None
    instead: tuple[str, ...] = ()
    sides: tuple[str, ...] = SIDES


def _breakpoints(count: int) -> tuple[str, ...]:
    each = "gdb.Breakpoint(f'*((char *)&unreached + {4 * n})')"
    return (f"python for n in range({count}): {each}",)


CASES = [
    Case("stepi", "loop", ("stepi",), times=50, per=50),
    Case("stepi 2000", "loop", ("stepi 2000",), per=2000),
    Case(
        "nexti 20 over 5 calls",
        "calls",
        ("nexti 20",),
        ("tbreak leaf", "continue", "up 1"),
        per=20,
    ),
    Case("next over 100 lines", "straight", ("next 100",), per=100),
    Case("next over a loop of 1000", "loop", ("next",), ("next",)),
    Case(
        "next over a loop of 100000",
        "loop",
        ("next",),
        ("set var rounds = 100000", "next"),
        as_long_as=(100, "next over a loop of 1000"),
        instead=("tbreak +1", "continue"),
    ),
    Case("step through 50 calls", "calls", ("step 150",), per=50),
    Case("finish from depth 10", "leaf if x == 0", ("finish",), times=10, per=10),
    Case(
        "condition false 500 times",
        "calls",
        ("continue",),
        ("set var rounds = 500", "break leaf if x < 0", "tbreak depth"),
        per=500,
    ),
    Case("stop at a breakpoint 500 times", "calls", ("continue",), ("break leaf",), 500, 500),
    Case(
        "software watchpoint, 2000 instructions",
        "loop",
        ("continue",),
        ("set var rounds = 330", "set can-use-hw-watchpoints 0", "watch never", "tbreak calls"),
        per=2000,
        sides=("native", "wire"),
    ),
    *(
        Case(f"stepi 200, {count} breakpoints", "loop", ("stepi 200",), _breakpoints(count), 1, 200)
        for count in (1, 100, 1000)
    ),
    *(
        Case(f"stepi 500, {count} vCPUs", "loop", ("stepi 500",), per=500, smp=count)
        for count in (1, 4)
    ),
    Case("stepi 2000 in Linux", "sys_openat", ("stepi 2000",), per=2000, linux=True),
    Case("stepi 100 under KVM HV", "loop", ("stepi 100",), per=100, kvm=True, sides=("wire",)),
]
QUICK = ("stepi", "next over 100 lines", "condition false 500 times")


class Failed(Exception):
    """A case could not be measured, or the sides do not agree."""


class Side:
    """One gdb with a guest of its own, connected.

    load, connect: seconds that these took.
    """

    def __init__(self, name: str, guest: Guest, elf: Path, log: Path) -> None:
        self.name = name
        requests, self._requests = os.pipe()
        self._answers, answers = os.pipe()
        settings = (
            *("height 0", "width 0", "confirm off", "style enabled off", "auto-load off"),
            *("debuginfod enabled off", "python print-stack full"),
        )
        code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tests.harness import measure; "
        command = [GDB, "-nx", "-q", "-batch", *(f"-iex=set {one}" for one in settings)]
        command.append(f"-ex=python {code}measure.serve({requests}, {answers})")
        with log.open("wb") as output:
            self._gdb = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(requests, answers),
                start_new_session=True,
            )
        os.close(requests)
        os.close(answers)
        self._log = log
        self._received = b""
        extension = ROOT / "gdb_ppc_sstep" / "__init__.py"
        try:
            self.load = 0.0
            if name != "native":
                self.load = self.ask((f"source {extension}",))["seconds"]
                self.ask((), (f"set ppc-sstep door {name}",))
            self.ask((), (f"file {elf}",))
            self.connect = self.ask((f"target remote {guest.target}",))["seconds"]
        except BaseException:
            self.close()
            raise

    def ask(
        self, measured: tuple[str, ...], prepare: tuple[str, ...] = (), times: int = 1
    ) -> dict[str, Any]:
        """What gdb answers (see `measure`).  Failed if it does not."""
        request = {"prepare": prepare, "measured": measured, "times": times}
        os.write(self._requests, json.dumps(request).encode() + b"\n")
        end = time.monotonic() + TIMEOUT
        while not self._received.endswith(b"\n"):
            ready, _, _ = select.select([self._answers], [], [], max(0.0, end - time.monotonic()))
            data = os.read(self._answers, 65536) if ready else b""
            if not data:
                what = f"ended: {self._log.read_text()[-300:]}" if ready else "does not answer"
                raise Failed(f"{self.name}: gdb {what}")
            self._received += data
        answer: dict[str, Any] = json.loads(self._received)
        self._received = b""
        if "error" in answer:
            raise Failed(f"{self.name}: {answer['error']}")
        return answer

    def close(self) -> None:
        """End gdb."""
        self._gdb.kill()
        self._gdb.wait()
        os.close(self._requests)
        os.close(self._answers)


@contextmanager
def sides(case: Case, folder: Path) -> Iterator[list[Side]]:
    """Those that can do a case, with guests that are stopped where it begins."""
    with ExitStack() as stack:
        if not case.linux:
            program = bare_metal.build("bench", opt="O1", directory=folder)
        host = stack.enter_context(Host()) if case.kvm else None
        ready = []
        for name in case.sides:
            guest: Guest
            if case.linux:
                image = linux.ensure()
                elf = image.vmlinux
                booted = Qemu(
                    linux.qemu_arguments(image),
                    steps=name == "native",
                    machine=f"pseries,{QUIET},x-vof=on",
                    memory="512M",
                )
                stack.callback(booted.close)
                booted.release()
                booted.wait_console(linux.READY)
                guest = booted
            elif host is not None:
                elf = program.elf
                guest = host.bare(program.image)
                stack.callback(guest.close)
            else:
                elf = program.elf
                options = ["-bios", str(program.image)]
                guest = Qemu(options, steps=name == "native", smp=case.smp)
                stack.callback(guest.close)
            side = Side(name, guest, elf, folder / f"{name}.log")
            stack.callback(side.close)
            ready.append(side)
        yield ready


def measure(case: Case, folder: Path, repeats: int, results: Results) -> None:
    """Add the seconds of a case, and of what came before it, to `results`."""
    with sides(case, folder) as ready:
        for side in ready:
            results.add("load", side.name, side.load)
            results.add("connect", side.name, side.connect)
        for _ in range(repeats):
            seen = {}
            start = ("delete", f"tbreak {case.at}", "continue", *case.prepare)
            if not case.linux:
                start = ("set var rounds = 1000", *start)
            for side in ready:
                computed = case.as_long_as is not None and side.name == "native"
                measured = case.instead if computed else case.measured
                answer = side.ask(measured, start, case.times)
                if not computed:
                    results.add(case.name, side.name, answer["seconds"] / case.per)
                seen[side.name] = answer["registers"]
            first, expected = next(iter(seen.items()))
            for name, registers in seen.items():
                if not case.linux and registers != expected:
                    differ = set(registers.splitlines()) ^ set(expected.splitlines())
                    raise Failed(f"{name} and {first} differ: {sorted(differ)}")
    if case.as_long_as is not None:
        results.scale(case.name, *case.as_long_as)


class Results:
    """Seconds, by case and side."""

    def __init__(self) -> None:
        self._seconds: dict[str, dict[str, list[float]]] = {}
        self.computed: set[str] = set()

    def add(self, case: str, side: str, seconds: float) -> None:
        """One more."""
        self._seconds.setdefault(case, {}).setdefault(side, []).append(seconds)

    def scale(self, case: str, times: int, other: str) -> None:
        """Native takes so many times as long as for another case, if that was measured."""
        for seconds in self._seconds.get(other, {}).get("native", []):
            self.computed.add(case)
            self.add(case, "native", times * seconds)

    def medians(self) -> dict[str, dict[str, float]]:
        """By case and side."""
        return {
            case: {side: statistics.median(all_) for side, all_ in by_side.items()}
            for case, by_side in self._seconds.items()
        }

    def table(self) -> str:
        """Milliseconds, and how ours compare."""
        lines = [f"{'ms':46}" + "".join(f"{side:>10}" for side in SIDES) + "   wire/n   cmds/n"]
        for case, medians in self.medians().items():
            native = medians.get("native")
            cells = [medians.get(side) for side in SIDES]
            ratios = [value / native if value and native else None for value in cells[1:]]
            lines.append(
                f"{case + (' (native computed)' if case in self.computed else ''):46}"
                + "".join(
                    f"{'-':>10}" if cell is None else f"{1000 * cell:10.3f}" for cell in cells
                )
                + "".join("        -" if ratio is None else f"{ratio:9.2f}" for ratio in ratios)
            )
        return "\n".join(lines)


def _first_line(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True).stdout.partition("\n")[0]


def about() -> dict[str, Any]:
    """The machine, what is measured with, and how busy it is."""
    cpu = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = next((line for line in cpu.splitlines() if line.startswith("model name")), "?")
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, {model.rpartition(': ')[2]}",
        "gdb": _first_line(GDB, "--version"),
        "qemu": _first_line("qemu-system-ppc64", "--version"),
        "python": platform.python_version(),
        "ours": _first_line("git", "-C", str(ROOT), "describe", "--always", "--dirty"),
        "load": " ".join(f"{one:.1f}" for one in os.getloadavg()),
    }


def main(arguments: list[str] | None = None) -> int:
    """The command; its exit status: 1 if a case failed or the sides do not agree."""
    parser = argparse.ArgumentParser(prog="tests/bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few cases, once")
    parser.add_argument("--repeats", type=int, default=5, metavar="N")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all there as well")
    parser.add_argument("cases", nargs="*", help="only those whose names contain one of these")
    options = parser.parse_args(arguments)
    cases = [
        case
        for case in CASES
        if (case.name in QUICK if options.quick else True)
        and (not options.cases or any(part in case.name for part in options.cases))
    ]
    described, results, failed = about(), Results(), {}
    for name, value in described.items():
        print(f"{name + ':':9}{value}")
    with tempfile.TemporaryDirectory() as folder:
        for case in cases:
            print(f"{case.name} ...", file=sys.stderr)
            try:
                measure(case, Path(folder), 1 if options.quick else options.repeats, results)
            except Failed as error:
                failed[case.name] = str(error)
                print(f"FAILED: {case.name}: {error}", file=sys.stderr)
    described["load at the end"] = " ".join(f"{one:.1f}" for one in os.getloadavg())
    print(f"load at the end: {described['load at the end']}\n\n{results.table()}")
    if options.json:
        everything = {
            "about": described,
            "failed": failed,
            "seconds": results.medians(),
            "native computed": sorted(results.computed),
        }
        options.json.write_text(json.dumps(everything, indent=1) + "\n", encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
