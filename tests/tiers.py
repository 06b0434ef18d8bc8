# SPDX-License-Identifier: MIT
"""The tiers of the tests: which test is of which, which are run, and what each has come to.

A pytest plugin, with three options that tests/run uses:

  --tiers=A,B   only tests of these tiers
  --each-tier   it is a failure if one of them has run no test
  --quick       without the tests that LONG names
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

import pytest

MARKED = ("lldb", "kvm", "linux", "bare")
"""Tiers that a test is of by the mark of that name, the first that it has; else `unit`."""

LONG = {
    "tests/system/test_soak.py": "",
}
"""What --quick leaves out: how the names of the tests begin, and what still covers that."""


def tier_of(keywords: Collection[str]) -> str:
    """The tier of a test that has these keywords (its marks are among them)."""
    return next((tier for tier in MARKED if tier in keywords), "unit")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--tiers", metavar="A,B", help="only tests of these tiers")
    parser.addoption("--each-tier", action="store_true", help="each of them must run a test")
    parser.addoption("--quick", action="store_true", help="leave out what takes long")


def _tiers(config: pytest.Config) -> list[str]:
    """Those that were asked for."""
    given: str | None = config.getoption("tiers")
    return given.split(",") if given else [*MARKED, "unit"]


def _is_long(item: pytest.Item) -> bool:
    return item.nodeid.startswith(tuple(LONG))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("quick"):
        unknown = [name for name in LONG if not any(i.nodeid.startswith(name) for i in items)]
        if unknown and config.getoption("each_tier"):  # else it may not be among the arguments
            raise pytest.UsageError(f"tests/tiers.py names tests that do not exist: {unknown}")
    tiers = _tiers(config)
    wanted, left_out = [], []
    for item in items:
        tier = tier_of(item.keywords)
        if tier not in tiers or (config.getoption("quick") and _is_long(item)):
            left_out.append(item)
            continue
        wanted.append(item)
        if tier == "unit":
            continue
        item.add_marker("no_cover")  # what is measured is what the unit tests reach
        if tier == "kvm":  # in one worker: the emulated host boots once, and is one load of two
            item.add_marker(pytest.mark.xdist_group("kvm"))
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = wanted


def _results(reporter: pytest.TerminalReporter) -> dict[str, Counter[str]]:
    """By tier, how many tests have passed, failed and so on."""
    found: dict[str, Counter[str]] = {}
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in reporter.stats.get(outcome, []):
            if isinstance(report, pytest.TestReport):
                found.setdefault(tier_of(report.keywords), Counter())[outcome] += 1
    return found


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Where nothing else has failed, a tier without a result has."""
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
