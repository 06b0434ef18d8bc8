# SPDX-License-Identifier: MIT
"""What tests/run --matrix makes of pytest's reports, and of docs/support.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from fixtures.rows import DEFAULT, ROWS
from tests import matrix

REPORT = """<?xml version="1.0"?>
<testsuites><testsuite name="pytest" tests="4">
<testcase classname="tests.system.test_kvm" name="test_a"/>
<testcase classname="tests.system.test_kvm" name="test_row">
  <properties><property name="tier" value="kvm"/>
    <property name="host" value="POWER9, Linux 6.1"/></properties></testcase>
<testcase classname="tests.system.test_kvm" name="test_b[2]">
  <failure message="no">one line</failure></testcase>
<testcase classname="tests.system.test_kvm" name="test_b[2]">
  <error message="no">and another</error></testcase>
<testcase classname="tests.system.test_watch_kvm" name="test_c">
  <skipped message="DAWR on only"/></testcase>
<testcase classname="tests.system.test_watch_kvm" name="test_d[1]">
  <skipped message="DAWR on only, row power9 has it off"/></testcase>
<testcase classname="tests.system.test_watch_kvm" name="test_d[2]">
  <skipped message="DAWR on only, row power9 has it off"/></testcase>
</testsuite></testsuites>
"""


def test_a_report_is_read(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(REPORT, "utf-8")
    result = matrix.read("power9", report)
    assert result.passed == ["test_kvm::test_a", "test_kvm::test_row"]
    assert result.failed == ["test_kvm::test_b[2]"]
    assert result.outputs == {"test_kvm::test_b[2]": "one line\nand another"}
    assert result.skipped[:2] == [
        "test_watch_kvm::test_c (DAWR on only)",
        "test_watch_kvm::test_d[1] (DAWR on only, row power9 has it off)",
    ]
    assert result.versions == {"host": "POWER9, Linux 6.1"}
    assert not result.good
    result.gdb = "13.1"
    assert result.line("2026-11-28") == (
        "| `power9` | POWER9, Linux 6.1 | ? | ? | 13.1 | 2026-11-28 | 3 | 2 |"
        " failed: test_kvm::test_b[2]; skipped: test_watch_kvm test_c, test_d (DAWR on only) |"
    )


def test_a_row_that_was_not_run_is_no_success() -> None:
    result = matrix.Result("power9", reason="not run: no mirror")
    assert not result.good
    assert "| 0 | 0 | not run: no mirror |" in result.line("today")
    assert "not run: no mirror" in matrix.table([result])
    assert not matrix.Result("power9", skipped=["all"]).good, "a row that has skipped everything"


def test_lines_of_other_rows_stay() -> None:
    first, second = list(ROWS)[:2]
    empty = f"before\n{matrix.BEGIN}\n{matrix.END}\nafter\n"
    one = matrix.replaced(empty, [f"| `{second}` | old |", "| `no row of today` | old |"])
    both = matrix.replaced(one, [f"| `{first}` | new |"])
    again = matrix.replaced(both, [f"| `{second}` | newer |"])
    assert both.startswith("before\n") and both.endswith("\nafter\n")
    assert [line for line in again.splitlines() if line.startswith("| `")] == [
        f"| `{first}` | new |",
        f"| `{second}` | newer |",
    ]
    with pytest.raises(ValueError, match="no place"):
        matrix.replaced("nothing here", [])


def test_it_has_a_place_in_the_page() -> None:
    assert matrix.replaced(matrix.SUPPORT.read_text("utf-8"), []).count(matrix.BEGIN) == 1
    assert DEFAULT.name in ROWS and all(name == row.name for name, row in ROWS.items())


def test_the_page_has_each_row() -> None:
    """The page says so, with nothing that failed."""
    page = (Path(__file__).parents[2] / "docs" / "support.md").read_text(encoding="utf-8")
    lines = [line for line in page.splitlines() if line.startswith("| `") and line.count("|") > 9]
    assert [line.split("`")[1] for line in lines] == list(ROWS)
    assert not [line for line in lines if "failed: " in line]
