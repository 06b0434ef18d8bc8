# SPDX-License-Identifier: MIT
"""tests/step_cost.py: what is exact in it, the packets, and that it can compare two trees."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.step_cost import CASES, ROOT, measure, table

STEPS = 4

PACKETS = {
    "stepi, undone at once": (12, 4),
    "load, undone at once": (18, 4),
    "stepi, deferred": (7, 3),
    "stepi N, armed ahead": (7, 3),
    "load, armed ahead": (7, 3),
    "stepi N, 1000 breakpoints": (7, 3),
    "range over a loop": (8, 5),
    "range over a loop, ahead": (8, 5),
    "stepi, KVM": (7, 3),
    "load, KVM": (7, 3),
    "range over a loop, KVM": (12, 7),
}
"""Packets and exchanges of each step.  A change of these is one of what steps cost."""


def test_packets_of_each_step_and_another_tree() -> None:
    """The other tree is this one, so that what is exact is the same."""
    costs = measure([ROOT, ROOT], rounds=1, steps=STEPS)
    per_step = {
        name: (cost.packets / STEPS, cost.exchanges / STEPS) for name, cost in costs[0].items()
    }
    assert per_step == PACKETS
    for name, cost in costs[0].items():
        other = costs[1][name]
        assert (cost.packets, cost.exchanges) == (other.packets, other.exchanges)
        assert (cost.calls, cost.bytecodes) == (other.calls, other.bytecodes)
        assert 0 < cost.calls < cost.bytecodes
        assert len(cost.times) == STEPS and all(time > 0 for time in cost.times)
    lines = list(table(costs, STEPS))
    assert len(lines) == 1 + len(CASES)
    assert all(line.endswith("1.000    1.000") for line in lines[1:])


def test_without_a_product_the_other_tree_is_an_error(tmp_path: Path) -> None:
    """This tree's is not taken in its place."""
    with pytest.raises(RuntimeError, match="not measured"):
        measure([tmp_path], rounds=1, steps=1)
