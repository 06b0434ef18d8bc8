# SPDX-License-Identifier: MIT
"""The tiers of the tests: which tests each has, which tiers are run, and the results of each.

A pytest plugin, with four options that tests/run uses:

  --tiers=A,B   run only the tests of these tiers
  --each-tier   the run fails if one of these tiers has no test that passed
  --quick       of the tests named in QUICK run only the cases that it keeps (tests/conftest.py also
                tries fewer examples of each property)
  --skips=FILE  write to FILE why tests were skipped, a line `TIER: REASON` for each reason
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

MARKED = ("clients", "lldb", "kvm", "linux", "bare")
"""The tiers that a mark of the same name puts a test in; the first of them counts.  A test without
such a mark is of the tier `unit`.
"""

SYSTEM = "tests/system/"
QUICK: dict[str, tuple[str, ...]] = {
    "test_access.py::test_where_qemu_stops": ("POWER10-le",),
    "test_atomic.py::test_sequences": ("endian=be",),
    "test_bench.py::": (),
    "test_every_step.py::test_every_register": ("endian=be-ail=3-wire", "endian=le-commands"),
    "test_every_step.py::test_other_cpus": (),
    "test_generated.py::test_all_registers": ("POWER10-le-3",),
    "test_instructions.py::test_every_case": ("endian=be-ail=3",),
    "test_instructions.py::test_faults_stop_at_their_vector": ("endian=be-ail=3-$old]",),
    "test_mi.py::test_records": ("eclipse", "console-sync"),
    "test_package.py::": (),
    "test_packet_faults.py::": (),
    "test_random_walks.py::test_walk": ("1",),
    "test_run_control.py::test_transcript": ("wire-endian=be-opt=O0", "commands-endian=le-opt=O2"),
    "test_sessions.py::test_interrupts": ("stepi", "continue"),
    "test_sessions.py::test_other_extensions": ("ours first-gef", "ours last-gdb-dashboard"),
    "test_shapes.py::test_transcripts": ("endian=le-opt=O2",),
    "test_stub_faults.py::test_a_reply_is_too_late": ("never",),
    "test_stub_faults.py::test_stopped_in_mid_step": ("wire-gdb-stepi",),
    "test_vcpus.py::test_every_register_of_every_vcpu": ("be-2-wire", "le-1-commands"),
    "test_vcpus.py::test_no_hit_is_lost": ("stepi-4-wire", "continue-2-commands"),
    "test_watch_steps.py::test_every_access": ("endian=be",),
    "test_watch_steps.py::test_run_control": ("endian=le",),
}
"""Tests of tests/system that take long, for --quick: the beginning of a test's name -> the
beginnings of the parameters of the cases that --quick keeps.  With none it keeps no case.
"""


def tier_of(item: pytest.Item) -> str:
    """The tier of a test.

    Only its marks count: its keywords also include the names of the folders that it is in.
    """
    marks = {mark.name for mark in item.iter_markers()}
    return next((tier for tier in MARKED if tier in marks), "unit")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--tiers", metavar="A,B", help="only tests of these tiers")
    parser.addoption("--each-tier", action="store_true", help="each of them must run a test")
    parser.addoption("--quick", action="store_true", help="leave out what takes long")
    parser.addoption("--skips", metavar="FILE", type=Path, help="write there why tests are skipped")


def _tiers(config: pytest.Config) -> list[str]:
    """The tiers that the option --tiers names; all tiers without it."""
    given: str | None = config.getoption("tiers")
    return given.split(",") if given else [*MARKED, "unit"]


def _left_out_of_quick(item: pytest.Item) -> bool:
    name, _, parameters = item.nodeid.partition("[")
    for begins, kept in QUICK.items():
        if name.startswith(SYSTEM + begins):
            return not parameters.startswith(kept or "nothing")
    return False


def _stale(items: list[pytest.Item]) -> list[str]:
    """The entries of QUICK that fit no test."""
    names = [item.nodeid.removeprefix(SYSTEM) for item in items]
    cases = [tuple(name.partition("[")[::2]) for name in names]
    return [
        f"{begins} {case}".strip()
        for begins, kept in QUICK.items()
        for case in kept or ("",)
        if not any(name.startswith(begins) and of.startswith(case) for name, of in cases)
    ]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    quick, tiers = config.getoption("quick"), _tiers(config)
    whole = config.getoption("each_tier") and "bare" in tiers  # all of tests/system was collected
    if quick and whole and (stale := _stale(items)):
        raise pytest.UsageError(f"tests/tiers.py: QUICK names what does not exist: {stale}")
    wanted, left_out = [], []
    for item in items:
        tier = tier_of(item)
        if tier == "unit" and item.nodeid.startswith(SYSTEM):
            raise pytest.UsageError(f"{item.nodeid} has the mark of no tier, see {__file__}")
        item.user_properties.append(("tier", tier))  # the test's reports have it as well
        if tier not in tiers or (quick and _left_out_of_quick(item)):
            left_out.append(item)
            continue
        wanted.append(item)
        if tier == "unit":
            continue
        item.add_marker("no_cover")  # the coverage is that of the unit tests alone
        if tier == "kvm":  # in one worker: the emulated host boots once, and never runs twice
            item.add_marker(pytest.mark.xdist_group("kvm"))
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = wanted


def _reported_tier(report: pytest.TestReport) -> str:
    return str(dict(report.user_properties)["tier"])


def _results(reporter: pytest.TerminalReporter) -> dict[str, Counter[str]]:
    """How many tests of each tier have passed, failed and so on."""
    found: dict[str, Counter[str]] = {}
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in reporter.stats.get(outcome, []):
            if isinstance(report, pytest.TestReport):
                found.setdefault(_reported_tier(report), Counter())[outcome] += 1
    return found


def _skips(reporter: pytest.TerminalReporter) -> list[str]:
    """The reasons for which tests were skipped, with their tier, each reason once."""
    found = []
    for report in reporter.stats.get("skipped", []):
        if isinstance(report, pytest.TestReport) and isinstance(report.longrepr, tuple):
            reason = str(report.longrepr[2]).removeprefix("Skipped: ")
            found.append(f"{_reported_tier(report)}: {reason}")
    return sorted(set(found))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """With --each-tier, fail the run if a tier has no test that passed, even if nothing failed."""
    config = session.config
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if exitstatus or reporter is None or not config.getoption("each_tier"):
        return
    results = _results(reporter)
    if any(not results.get(tier, Counter())["passed"] for tier in _tiers(config)):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    config = terminalreporter.config
    if not config.getoption("tiers"):
        return
    terminalreporter.section("tiers")
    results = _results(terminalreporter)
    for tier in _tiers(config):
        counts = results.get(tier, Counter())
        said = ", ".join(f"{number} {outcome}" for outcome, number in counts.items())
        terminalreporter.line(f"tier {tier}: {said or 'no test was run'}")
    skips = _skips(terminalreporter)
    for line in skips:
        terminalreporter.line(f"skipped in {line}")
    if (file := config.getoption("skips")) is not None:
        file.write_text("".join(f"{line}\n" for line in skips))
