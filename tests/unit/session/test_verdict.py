# SPDX-License-Identifier: MIT
"""Whether a connection is taken, and the words for it."""

from __future__ import annotations

import pytest

from gdb_ppc_sstep.session.verdict import Finding, against, switched_off

STEPS, IGNORES, UNKNOWN = (Finding(steps, "why") for steps in (True, False, None))
SERVED = Finding(True, "why", served=True)


@pytest.mark.parametrize("finding", [IGNORES, STEPS, UNKNOWN, SERVED, None])
def test_off_takes_none(finding: Finding | None) -> None:
    assert against("off", finding) == "mode is off"


@pytest.mark.parametrize(
    ("finding", "auto", "on"),
    [
        (IGNORES, "", ""),
        (STEPS, "the stub steps by itself", ""),
        (
            UNKNOWN,
            "not known whether the stub steps; `set ppc-sstep mode on` takes it",
            "",
        ),
        (
            SERVED,
            "it leads to gdb-ppc-sstep, which steps the guest and has settings of its own",
            "it leads to gdb-ppc-sstep, which steps the guest and has settings of its own",
        ),
    ],
    ids=["ignores", "steps", "unknown", "served"],
)
def test_what_is_taken(finding: Finding, auto: str, on: str) -> None:
    assert (against("auto", finding), against("on", finding)) == (auto, on)


@pytest.mark.parametrize(
    ("finding", "by_commands", "then"),
    [
        (IGNORES, False, "the stub ignores the next step request, and the guest runs on"),
        (STEPS, False, "the stub does the next step itself"),
        (
            UNKNOWN,
            False,
            "the stub gets the next step request, and may ignore it and let the guest run on",
        ),
        (IGNORES, True, "stepi, nexti, step and next are refused in this gdb"),
    ],
)
def test_what_the_next_step_does(finding: Finding, by_commands: bool, then: str) -> None:
    assert switched_off(finding, by_commands=by_commands) == f"mode is off: {then}"
    if finding is UNKNOWN:
        assert switched_off(None, by_commands=by_commands) == f"mode is off: {then}"
