# SPDX-License-Identifier: MIT
"""The pace: how long the last steps took, and how many packets to the stub each needed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

LAST = 100
"""The number of requests to step that are remembered."""


class Speed(NamedTuple):
    """The medians of one step.  requests: the number of requests that they are taken of."""

    milliseconds: float
    packets: float
    requests: int


class Pace:
    """The pace of one connection.  A request to step may do several steps, such as one for a range.

    The time is from the request to its stop.  The packets are all those up to the next request, as
    the writes that undo a step may be sent after its stop.
    """

    def __init__(self) -> None:
        self._costs: deque[tuple[float, float]] = deque(maxlen=LAST)  # seconds, packets of a step
        self._began = self._took = 0.0
        self._steps = self._packets = self._done = 0

    def begin(self, steps: int, packets: int) -> None:
        """A request to step has come.

        steps: the steps done on this connection so far.  packets: those sent to the stub so far.
        """
        self.close(packets)
        self._steps, self._packets = steps, packets
        self._began = time.perf_counter()

    def end(self, steps: int) -> None:
        """The stop of that request has come.  steps: as in `begin`."""
        self._took = time.perf_counter() - self._began
        self._done = steps - self._steps

    def close(self, packets: int) -> None:
        """Packets from now on do not belong to that request.  packets: as in `begin`."""
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
    """The value in the middle; of two, the higher one."""
    ordered = sorted(values)
    return ordered[len(ordered) // 2]
