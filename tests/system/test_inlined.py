# SPDX-License-Identifier: MIT
"""Inlined calls on fixtures/bare/nested.c, at both doors: native transcripts and frames."""

from __future__ import annotations

from typing import Any

import pytest

from tests.harness.doors import DOORS, runs_at
from tests.harness.oracle import Oracle, variant_name

pytestmark = pytest.mark.bare

VARIANTS: list[dict[str, Any]] = [
    {"endian": "le", "opt": "O0"},
    {"endian": "be", "opt": "O1"},
    {"endian": "le", "opt": "O2", "ail": 3},
]

FRAMES = """
    backtrace
    info frame
"""

INTO = "step" + FRAMES
OVER = "next" + FRAMES

SCRIPTS = {
    "step into each": "tbreak work\ncontinue\n" + 36 * INTO,
    "step into calls in pieces": "tbreak work\ncontinue\nadvance 80\n" + 9 * INTO,
    "next over each": "tbreak work\ncontinue\n" + 25 * OVER,
    "both in turn": "tbreak work\ncontinue\n" + 14 * (INTO + OVER + OVER),
    "counts": "tbreak work\ncontinue\n" + 4 * ("step 3" + FRAMES + "next 2" + FRAMES + "step 5\n"),
    "stepi, then lines": "tbreak work\ncontinue\n"
    + 10 * ("stepi 3" + FRAMES + "step" + FRAMES + "nexti 2" + FRAMES + "next" + FRAMES),
    "out of them": """
        break bump
        tbreak work
        continue
        continue
        up
        finish  # may fail
        backtrace
        continue
        up
        info frame
        up
        info frame
        finish  # may fail
        backtrace
        continue
        up
        finish  # may fail
        step
        continue
        finish  # may fail
        finish  # may fail
        delete
        tbreak called
        continue
        step
        backtrace
        finish  # may fail
        backtrace
        finish  # may fail
        backtrace
        finish  # may fail
        next
    """,
    "out of one that was stepped into": "tbreak work\ncontinue\n"
    + 9 * ("step 2\nbacktrace\nfinish  # may fail\nbacktrace\n"),
    "until": "tbreak work\ncontinue\n" + 7 * "until\nbacktrace\n",
    "breakpoints": """
        break product
        break small
        break outer
        break inner
        info breakpoints
        continue
        backtrace
        next
        continue
        step
        backtrace
        continue
        up
        finish  # may fail
        continue
        continue
        backtrace
        step
        backtrace
        continue
        continue
        backtrace
        finish  # may fail
        step 4
        nexti 30
        nexti 30
        stepi 20
    """,
    "into one at a breakpoint": """
        break outer
        continue
        step
        info breakpoints
        backtrace
        step
        continue
        step 2
        continue 2
    """,
    "the same without addresses": """
        set print address off
        break outer
        tbreak work
        continue
        continue
        step
        info breakpoints
        step
        continue
        step 2
        set print address on
    """,
    "skipped": """
        skip function product
        skip function inner
        tbreak work
        continue
        step
        step
        step
        step
        backtrace
        step
        step
        step
        step
        step
        backtrace
        step 4
        backtrace
        skip delete
    """,
    "watched": """
        set can-use-hw-watchpoints 0
        tbreak called
        continue
        watch x
        continue
        backtrace
        finish  # may fail
        step
        step
        next 2
        backtrace
        delete
        tbreak twofold
        continue
        watch result
        continue
        backtrace
        next
        backtrace
        delete
        set can-use-hw-watchpoints 1
    """,
}


@pytest.fixture
def program() -> str:
    return "nested"


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("variant", VARIANTS, ids=variant_name)
def test_transcripts(pair: Oracle, door: str) -> None:
    for name, script in SCRIPTS.items():
        if not runs_at(door, name):
            continue
        pair.commands.append(f"# {name}")
        assert "work" in pair.run(script), name
        pair.run("delete\nframe 0")
    assert pair.ours.value("trace_hits") == 0
