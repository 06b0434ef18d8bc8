# SPDX-License-Identifier: MIT
"""The results of tests/bench, and its tables."""

from __future__ import annotations

import statistics
from typing import NamedTuple

from .cases import OURS
from .relay import Counts

REFERENCES = ("native", "floor")


class Each(NamedTuple):
    """Packets to the stub and exchanges of one step or stop."""

    packets: float
    exchanges: float


class Results:
    """Seconds and packets, by case and side."""

    def __init__(self) -> None:
        self._seconds: dict[str, dict[str, list[float]]] = {}
        self.counted: dict[str, dict[str, Each]] = {}
        self.computed: set[str] = set()

    def add(self, case: str, side: str, seconds: float) -> None:
        """Add one measurement."""
        self._seconds.setdefault(case, {}).setdefault(side, []).append(seconds)

    def count(self, case: str, side: str, counts: Counts, per: int) -> None:
        """Add the counts of `per` steps or stops.  Of two counts the lower ones are kept."""
        known = self.counted.setdefault(case, {})
        each = Each(counts.packets / per, counts.exchanges / per)
        known[side] = Each(*map(min, each, known.get(side, each)))

    def scale(self, case: str, times: int, other: str) -> None:
        """Compute native's seconds for a case as `times` those of another, if that was measured."""
        for seconds in self._seconds.get(other, {}).get("native", []):
            self.computed.add(case)
            self.add(case, "native", times * seconds)

    def medians(self) -> dict[str, dict[str, float]]:
        """The median of the seconds, by case and side."""
        return {
            case: {side: statistics.median(all_) for side, all_ in by_side.items()}
            for case, by_side in self._seconds.items()
        }

    def each(self, what: str) -> dict[str, dict[str, float]]:
        """`packets` or `exchanges` of one step or stop, by case and side."""
        return {
            case: {side: getattr(each, what) for side, each in by_side.items()}
            for case, by_side in self.counted.items()
        }

    def table(self) -> str:
        """The tables: milliseconds, ratios and packets, against native and against the floor."""
        lines: list[str] = []
        medians = self.medians()
        floored = {case for case in medians if case.endswith("KVM HV")}
        for reference, cases in zip(REFERENCES, (medians.keys() - floored, floored)):
            if cases:
                lines += [*([""] if lines else []), _head(reference)]
                lines += [self._line(case, reference) for case in medians if case in cases]
        return "\n".join(lines)

    def _line(self, case: str, reference: str) -> str:
        seconds, counted = self.medians()[case], self.counted.get(case, {})
        least = seconds.get(reference)
        shown = case + (" (native computed)" if case in self.computed else "")
        cells = [_cell(seconds.get(side), 1000, 3) for side in (reference, *OURS)]
        for side in OURS:
            value = seconds.get(side)
            cells.append(_cell(value / least if value is not None and least else None, 1, 2))
        for number in range(len(Each._fields)):
            for side in (reference, *OURS):
                each = counted.get(side)
                cells.append(_cell(None if each is None else each[number], 1, 2))
        return f"{shown:56}" + "".join(cells)


def _cell(value: float | None, times: float, digits: int) -> str:
    return f"{'-':>10}" if value is None else f"{times * value:10.{digits}f}"


def _head(reference: str) -> str:
    sides, letter = (reference, *OURS), reference[0]
    titles = [*sides, f"wire/{letter}", f"cmds/{letter}", *sides, *sides]
    groups = f"{'':56}{'ms':>10}{'':40}{'packets':>10}{'':20}{'exchanges':>10}"
    return f"{groups}\n{'':56}" + "".join(f"{title:>10}" for title in titles)
