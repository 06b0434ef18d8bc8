# SPDX-License-Identifier: MIT
"""How fast the last steps were, by requests and not by what comes between them."""

from __future__ import annotations

import pytest

from gdb_ppc_sstep.engine.pace import LAST, Pace


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What time it is, which a test sets."""
    now = [0.0]
    monkeypatch.setattr("gdb_ppc_sstep.engine.pace.time.perf_counter", lambda: now[0])
    return now


def test_without_a_step_there_is_no_speed() -> None:
    pace = Pace()
    assert pace.speed(12) is None
    pace.begin(0, 12)  # refused: it did not end
    assert pace.speed(14) is None
    pace.begin(0, 14)
    pace.end(0)  # code was run through
    assert pace.speed(20) is None


def test_packets_count_until_the_next_request(clock: list[float]) -> None:
    pace = Pace()
    pace.begin(0, 100)
    clock[0] = 0.004
    pace.end(1)
    pace.begin(1, 107)
    clock[0] = 0.008
    pace.end(2)
    speed = pace.speed(114)
    assert speed is not None
    assert speed.milliseconds == pytest.approx(4) and speed[1:] == (7, 2)


def test_a_request_for_several_steps_is_shared_out(clock: list[float]) -> None:
    pace = Pace()
    pace.begin(5, 0)
    clock[0] = 0.010
    pace.end(15)
    speed = pace.speed(80)
    assert speed is not None
    assert speed.milliseconds == pytest.approx(1) and speed[1:] == (8, 1)


def test_what_else_is_sent_does_not_count(clock: list[float]) -> None:
    """The user looks at memory between two of many steps; and the guest is continued."""
    pace, packets = Pace(), 0
    for n in range(5):
        pace.begin(n, packets)
        clock[0] += 0.001
        pace.end(n + 1)
        packets += 7 if n != 2 else 1000
    pace.close(packets)
    clock[0] += 60
    packets += 5000
    speed = pace.speed(packets)
    assert speed is not None
    assert speed.milliseconds == pytest.approx(1) and speed[1:] == (7, 5)


def test_only_the_last_ones_are_kept() -> None:
    pace = Pace()
    for n in range(3 * LAST):
        pace.begin(n, n)
        pace.end(n + 1)
    speed = pace.speed(3 * LAST)
    assert speed is not None and speed.requests == LAST
