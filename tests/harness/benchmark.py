# SPDX-License-Identifier: MIT
"""tests/bench: how fast our steps are, and how many packets they take.

Under TCG the other side is gdb alone with a stub that steps, and each side has a guest of its own.
Under KVM HV, where nothing steps, the other side is a floor, the same steps by raw packets, and all
sides use the same guest.  All sides are measured in one run, in turn, several times; what counts is
the ratio of the medians.  gdb itself takes the times.  After each case the registers of all sides
must be equal.  Packets are counted in runs of their own, through a relay, which takes time.  The
counts are exact but in Linux, where paths differ.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from fixtures.qemu import QemuError

from .cases import CASES, QUICK, Case
from .floor import Floor, FloorError
from .relay import Counts, Relay
from .results import Results
from .seats import KvmGuests, Seat, seats
from .side import GDB, ROOT, Failed, Side

COUNTED = 2
"""How often packets are counted, to keep the lower numbers; under KVM HV once: nothing is deferred.
"""


def _open(seat: Seat, target: str, folder: Path) -> Side:
    """Connect a gdb to a guest; for the floor a gdb that brings the guest to the case's begin."""
    name = "wire" if seat.name == "floor" else seat.name
    return Side(name, target, seat.elf, folder / f"{seat.name}.log")


def _prepare_floor(case: Case, seat: Seat, folder: Path) -> None:
    """Have a gdb bring the guest to where the case begins, and end that gdb."""
    with _open(seat, seat.guest.target, folder) as side:
        side.ask((), case.start)


def _time(case: Case, side: Side, results: Results) -> str:
    """Measure a case once.  Returns the registers after it."""
    computed = case.as_long_as is not None and side.name == "native"
    measured = case.instead if computed else case.measured
    answer = side.ask(measured, case.start, case.times, registers=not case.linux)
    if not computed:
        results.add(case.name, side.name, answer["seconds"] / case.per)
    return str(answer["registers"])


def _time_floor(case: Case, seat: Seat, folder: Path, results: Results) -> str | None:
    """Measure the floor once.  Returns the guest's pc after it if ours must get there too."""
    assert case.least is not None
    _prepare_floor(case, seat, folder)
    with Floor(seat.guest.connect) as floor:
        start = time.perf_counter()
        case.least.run(floor)
        seconds = time.perf_counter() - start
        results.add(case.name, "floor", seconds / case.least.number)
        return f"{floor.read('pc'):#x}" if case.least.exact and not case.linux else None


def _agree(case: Case, seen: dict[str, str]) -> None:
    """Raise Failed if two sides have different registers."""
    if case.linux:
        return
    first, expected = next(iter(seen.items()))
    for name, registers in seen.items():
        if registers != expected:
            differ = set(registers.splitlines()) ^ set(expected.splitlines())
            raise Failed(f"{name} and {first} differ: {sorted(differ)}")


def _measure_in_turn(case: Case, at: list[Seat], folder: Path, results: Results) -> None:
    """Measure each side once, all on one guest: each connects when the one before it has gone."""
    seen, place = {}, None
    for seat in at:
        if seat.name == "floor":
            place = _time_floor(case, seat, folder, results)
            continue
        with _open(seat, seat.guest.target, folder) as side:
            results.add("connect under KVM HV", side.name, side.connect)
            seen[side.name] = _time(case, side, results)
    _agree(case, seen)
    for name, registers in seen.items():
        if place is not None and not re.match(rf"pc +{place}\b", registers):
            raise Failed(f"{name} and floor differ: {place} is not in {registers[:80]!r}")


def counted(case: Case, side: Side, relay: Relay) -> Counts:
    """The packets of a case, by a gdb that is connected through a relay.

    gdb's side is quiet before and after the case, so that no packet of it stays deferred.
    """
    side.ask((), case.start)
    before = relay.counts()
    side.ask(case.measured, times=case.times)
    return relay.counts().since(before)


def count(case: Case, at: list[Seat], folder: Path, results: Results, passes: int = 1) -> None:
    """Count a case's packets and add them to `results`; each count has new connections."""
    for _ in range(passes):
        for seat in at:
            if seat.name == "floor":
                _prepare_floor(case, seat, folder)
            computed = case.as_long_as is not None and seat.name == "native"
            with Relay(seat.guest.connect) as relay:
                if seat.name == "floor":
                    assert case.least is not None
                    with Floor(relay.connect) as floor:
                        before = relay.counts()
                        case.least.run(floor)
                        after = relay.counts()
                    results.count(case.name, "floor", after.since(before), case.least.number)
                elif not computed:
                    with _open(seat, relay.target, folder) as side:
                        results.count(case.name, seat.name, counted(case, side, relay), case.per)


def measure(
    case: Case, folder: Path, repeats: int, results: Results, guests: KvmGuests | None = None
) -> None:
    """Measure a case, loading and connecting, and count its packets; add all to `results`."""
    with ExitStack() as stack:
        if guests is None:
            guests = stack.enter_context(KvmGuests(folder))
        at = seats(case, folder, guests, stack)
        if case.kvm:
            for _ in range(repeats):
                _measure_in_turn(case, at, folder, results)
        else:
            with ExitStack() as connected:
                ready = [
                    connected.enter_context(_open(seat, seat.guest.target, folder)) for seat in at
                ]
                for side in ready:
                    results.add("load", side.name, side.load)
                    results.add("connect", side.name, side.connect)
                for _ in range(repeats):
                    _agree(case, {side.name: _time(case, side, results) for side in ready})
        count(case, at, folder, results, 1 if case.kvm else COUNTED)
    if case.as_long_as is not None and not case.kvm:
        results.scale(case.name, *case.as_long_as)


def _first_line(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True).stdout.partition("\n")[0]


def about() -> dict[str, Any]:
    """The machine, the programs that measure, and the machine's load."""
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
    """Run the command.  Returns 1 if a case failed or the sides do not agree."""
    parser = argparse.ArgumentParser(prog="tests/bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few cases, once")
    parser.add_argument(
        "--repeats", type=int, default=5, metavar="N", help="default 5; half of it under KVM HV"
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all there as well")
    parser.add_argument("cases", nargs="*", help="whose names contain one of these, as 'KVM HV'")
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
    repeats = 1 if options.quick else max(1, options.repeats)
    try:
        with tempfile.TemporaryDirectory() as folder, KvmGuests(Path(folder)) as guests:
            for case in cases:
                print(f"{case.name} ...", file=sys.stderr)
                times = -(-repeats // 2) if case.kvm else repeats
                try:
                    measure(case, Path(folder), times, results, guests)
                except (Failed, FloorError, QemuError, OSError) as error:
                    failed[case.name] = str(error)
                    guests.discard()
                    print(f"FAILED: {case.name}: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        failed["interrupted"] = "this case is not whole, and those after it are missing"
    described["load at the end"] = " ".join(f"{one:.1f}" for one in os.getloadavg())
    print(f"load at the end: {described['load at the end']}\n\n{results.table()}")
    if options.json:
        everything = {
            "about": described,
            "failed": failed,
            "seconds": results.medians(),
            "packets": results.each("packets"),
            "exchanges": results.each("exchanges"),
            "native computed": sorted(results.computed),
        }
        options.json.write_text(json.dumps(everything, indent=1) + "\n", encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
