# SPDX-License-Identifier: MIT
"""How fast the last steps were: what each has cost in time, and in packets to the stub."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

LAST = 100
"""Requests to step that are remembered."""


class Speed(NamedTuple):
    """Medians of one step.  requests: how many they are of."""

    milliseconds: float
    packets: float
    requests: int


class Pace:
    """Of one connection.  A request to step may do several steps, as one through a range does.

    The time is from the request to its stop.  The packets are all up to the next request, for what
    a step changes may be undone after its stop.
    """

    def __init__(self) -> None:
        self._costs: deque[tuple[float, float]] = deque(maxlen=LAST)  # seconds, packets of a step
        self._began = self._took = 0.0
        self._steps = self._packets = self._done = 0

    def begin(self, steps: int, packets: int) -> None:
        """A request to step has come.  steps, packets: how many there were on this connection."""
        self.close(packets)
        self._steps, self._packets = steps, packets
        self._began = time.perf_counter()

    def end(self, steps: int) -> None:
        """Its stop is there."""
        self._took = time.perf_counter() - self._began
        self._done = steps - self._steps

    def close(self, packets: int) -> None:
        """What is sent from now on is not for that request."""
        if self._done > 0:
            cost = self._took / self._done, (packets - self._packets) / self._done
            self._costs.append(cost)
        self._done = 0

    def speed(self, packets: int) -> Speed | None:
        """How fast the last steps were, None if there were none.  packets: as in `begin`."""
        self.close(packets)
        if not self._costs:
            return None
        times, counts = zip(*self._costs)
        return Speed(1000 * _median(times), _median(counts), len(times))


def _median(values: Iterable[float]) -> float:
    """The one in the middle, the higher one of two."""
    ordered = sorted(values)
    return ordered[len(ordered) // 2]
