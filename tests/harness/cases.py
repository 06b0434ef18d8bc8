# SPDX-License-Identifier: MIT
"""The cases of tests/bench: on bare metal and in Linux, under TCG and under KVM HV."""

from __future__ import annotations

from typing import NamedTuple

from .floor import Least, Lines, Return, Steps, Stops

OURS = ("wire", "commands")
LINE = 12  # bytes of each line of `straight`


class Case(NamedTuple):
    """What is measured, from the place `at`; `prepare` and `measured` are gdb commands.

    times: how often `measured` is done.  per: how many steps or stops that is, to give the cost of
    one.  linux: in a Linux guest, where the paths of two guests differ, and so the registers.  kvm:
    under KVM HV.  ours: the doors that can do it.  row: the host's (see fixtures.rows), empty for
    the default.  least: what the floor does, None where there is no floor.  as_long_as: native's
    time is computed, as so many times that of another case; native gets to the same place by
    `instead`.
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
    ours: tuple[str, ...] = OURS
    row: str = ""
    least: Least | None = None

    @property
    def sides(self) -> tuple[str, ...]:
        """Our doors, and before them the side that they are compared with, if there is one."""
        if not self.kvm:
            return ("native", *self.ours)
        return ("floor", *self.ours) if self.least is not None else self.ours

    @property
    def start(self) -> tuple[str, ...]:
        """The commands before what is measured.  On bare metal the program begins a new round."""
        begin = () if self.linux else ("tbreak straight", "continue", "set var rounds = 1000")
        return ("delete", *begin, f"tbreak {self.at}", "continue", *self.prepare)


def _breakpoints(count: int) -> tuple[str, ...]:
    each = "gdb.Breakpoint(f'*((char *)&unreached + {4 * n})')"
    return (f"python for n in range({count}): {each}",)


def bare(*, few: bool) -> list[Case]:
    """The cases on bare metal.

    few: with fewer steps in each, for where a step takes 10 ms or is only counted.
    """

    def many(those: int, fewer: int) -> int:
        return fewer if few else those

    once, steps, over, lines = many(50, 10), many(2000, 100), many(2000, 20), many(100, 20)
    calls, ends = many(50, 10), many(10, 5)
    false, stops, rounds = many(500, 20), many(500, 20), many(330, 8)
    watched, beside, together = many(2000, 50), many(200, 20), many(500, 20)
    cases = [
        Case("stepi", "loop", ("stepi",), times=once, per=once, least=Steps(once)),
        Case(f"stepi {steps}", "loop", (f"stepi {steps}",), per=steps, least=Steps(steps)),
        Case(f"nexti {over}", "loop", (f"nexti {over}",), per=over, least=Steps(over)),
        Case(
            "nexti 20 over 5 calls",
            "calls",
            ("nexti 20",),
            ("tbreak leaf", "continue", "up 1"),
            per=20,
        ),
        Case(
            f"next over {lines} lines",
            "straight",
            (f"next {lines}",),
            per=lines,
            least=Lines(lines, LINE),
        ),
        Case("next over a loop of 1000", "loop", ("next",), ("next",), least=Return()),
        Case(
            "next over a loop of 100000",
            "loop",
            ("next",),
            ("set var rounds = 100000", "next"),
            as_long_as=(100, "next over a loop of 1000"),
            instead=("tbreak +1", "continue"),
            least=Return(),
        ),
        Case(f"step through {calls} calls", "calls", (f"step {3 * calls}",), per=calls),
        Case("finish", "leaf", ("finish",), least=Return()),
        Case(
            "finish from depth 10",
            "depth if n == 0",
            ("finish",),
            times=ends,
            per=ends,
        ),
        Case(
            f"condition false {false} times",
            "calls",
            ("continue",),
            (
                f"set var rounds = {false + 1}",
                *("tbreak leaf", "continue", "break leaf if x < 0", "tbreak depth"),
            ),
            per=false,
            least=Stops(false, exact=False),
        ),
        Case(
            f"stop at a breakpoint {stops} times",
            "calls",
            ("continue",),
            ("break leaf", "continue"),
            stops,
            stops,
            least=Stops(stops),
        ),
        Case(
            f"software watchpoint, {watched} instructions",
            "loop",
            ("continue",),
            (
                f"set var rounds = {rounds}",
                "set can-use-hw-watchpoints 0",
                "watch never",
                "tbreak calls",
            ),
            per=watched,
            ours=("wire",),
        ),
    ]
    for count in (1, 100, 1000):
        name = f"stepi {beside}, {count} breakpoints"
        step = (f"stepi {beside}",)
        planted = _breakpoints(count)
        cases.append(Case(name, "loop", step, planted, 1, beside, least=Steps(beside)))
    for smp in (1, many(4, 2)):
        name = f"stepi {together}, {smp} vCPUs"
        step = (f"stepi {together}",)
        cases.append(Case(name, "loop", step, per=together, smp=smp, least=Steps(together)))
    return cases


def _linux(smp: int) -> list[Case]:
    """The cases in Linux under KVM HV.  The guest's path depends on its interrupts.

    QEMU 7.2 shows SRR0 and SRR1 of the first vCPU only, so another vCPU has no floor.
    """
    within = "in Linux" if smp == 1 else f"in Linux, {smp} vCPUs"

    def case(
        name: str,
        measured: tuple[str, ...],
        prepare: tuple[str, ...] = (),
        times: int = 1,
        per: int = 1,
        least: Least | None = None,
        vcpu: int = 1,
    ) -> Case:
        at = f"do_sys_openat2 thread {vcpu}"
        return Case(name, at, measured, prepare, times, per, smp=smp, linux=True, least=least)

    false = "break do_sys_openat2 if $skipped++ >= 20"
    return [
        case(f"stepi {within}", ("stepi",), times=10, per=10, least=Steps(10)),
        *(
            case(
                f"stepi 100 {within}" + (f", on vCPU {vcpu}" if smp > 1 else ""),
                ("stepi 100",),
                per=100,
                least=Steps(100) if vcpu == 1 else None,
                vcpu=vcpu,
            )
            for vcpu in range(1, smp + 1)
        ),
        case(f"nexti 20 {within}", ("nexti 20",), per=20),
        case(f"finish {within}", ("finish",)),
        case(
            f"condition false 20 times {within}", ("continue",), ("set $skipped = 0", false), per=20
        ),
        case(
            f"stop at a breakpoint 10 times {within}",
            ("continue",),
            ("break do_sys_openat2",),
            10,
            10,
        ),
    ]


def _watched() -> list[Case]:
    """Watchpoints by DAWR, on a POWER10 host, which has it on: with hits and without.

    The floor of the case without hits is the guest without a watchpoint.
    """
    case = Case("", "straight", ("continue",), kvm=True, ours=("wire",), row="power10")
    return [
        case._replace(
            name="watchpoint hit 20 times on POWER10", prepare=("watch total",), times=20, per=20
        ),
        case._replace(
            name="watchpoint hit 20 times in Linux on POWER10",
            at="do_sys_openat2",
            prepare=("watch *(long *)&total_forks",),
            times=20,
            per=20,
            linux=True,
        ),
        case._replace(
            name="loop of 30000000 with a watchpoint that is not hit on POWER10",
            at="loop",
            measured=("finish",),
            prepare=("set var rounds = 30000000", "watch never"),
            least=Return(),
        ),
    ]


def _all() -> list[Case]:
    emulated = [
        *bare(few=False),
        Case("stepi 2000 in Linux", "sys_openat", ("stepi 2000",), per=2000, linux=True),
    ]
    hypervised = [*bare(few=True), *_linux(1), *_linux(2), *_watched()]
    return emulated + [
        case._replace(name=f"{case.name} under KVM HV", kvm=True) for case in hypervised
    ]


CASES = _all()
QUICK = ("stepi", "next over 100 lines", "condition false 500 times")
