# SPDX-License-Identifier: MIT
"""tests/run --matrix: the KVM HV tests on every row of fixtures/rows.py, and their results.

A row that cannot be made, or that fails, does not end the run.  Each row of the run gets a line in
the table of docs/support.md.  Lines of rows that were not asked for stay.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fixtures.debian import FixtureError
from fixtures.rows import ROWS

ROOT = Path(__file__).parents[1]
SUPPORT = ROOT / "docs" / "support.md"
BEGIN = "<!-- written by tests/run --matrix -->"
END = "<!-- end of what it writes -->"
HEAD = (
    "| row | host | QEMU in it | Linux guest | gdb | date | run | passed | failed, skipped |",
    "|---|---|---|---|---|---|---|---|---|",
)
UNKNOWN = "?"


@dataclass
class Result:
    """The results of the tests on one row."""

    row: str
    gdb: str = UNKNOWN
    """The version of the gdb that was tested."""
    versions: dict[str, str] = field(default_factory=dict)
    """The versions that the test of the row has read from the running host and guest."""
    passed: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)
    """The output of each failed test, by its name."""
    reason: str = ""
    """Why no test was run; empty if tests were run."""
    seconds: float = 0

    @property
    def good(self) -> bool:
        """Whether tests have passed and none has failed."""
        return bool(self.passed) and not self.failed and not self.reason

    def line(self, date: str) -> str:
        """The row's line in the table of docs/support.md."""
        known = (self.versions.get(name, UNKNOWN) for name in ("host", "QEMU", "guest"))
        run = len(self.passed) + len(self.failed)
        others = [f"failed: {name}" for name in self.failed]
        others += [f"skipped: {names}" for names in _briefly(self.skipped)]
        said = self.reason or "; ".join(others) or "none"
        cells = (f"`{self.row}`", *known, self.gdb, date, str(run), str(len(self.passed)), said)
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _briefly(skipped: Iterable[str]) -> list[str]:
    """The skipped tests by reason and file: each test once, and not its cases."""
    tests: dict[tuple[str, str], dict[str, None]] = {}
    for one in skipped:
        name, _, reason = one.partition(" (")
        file, _, test = name.partition("[")[0].partition("::")
        tests.setdefault((reason.partition(",")[0].rstrip(")"), file), {})[test] = None
    return [f"{file} {', '.join(names)} ({reason})" for (reason, file), names in tests.items()]


def read(row: str, report: Path) -> Result:
    """Read the results of a row from pytest's JUnit report."""
    result = Result(row)
    for case in ET.parse(report).getroot().iter("testcase"):
        name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
        for one in case.iter("property"):
            if one.get("name") != "tier":  # tests/tiers.py gives one to each test
                result.versions[one.get("name", "")] = one.get("value", "")
        skipped = case.find("skipped")
        if wrong := [one for kind in ("failure", "error") for one in case.iter(kind)]:
            # A test that fails may have a second failure, when its fixtures end.
            shown = [result.outputs.get(name, ""), *(one.text or "" for one in wrong)]
            result.outputs[name] = "\n".join(filter(None, shown))
        elif skipped is not None:
            result.skipped.append(f"{name} ({skipped.get('message', '')})")
        else:
            result.passed.append(name)
    result.failed = list(result.outputs)
    return result


def replaced(text: str, lines: Iterable[str]) -> str:
    """docs/support.md with these lines in its table, in place of the old ones of their rows.

    The table has the order of fixtures/rows.py.  The line of a row that is no longer there goes.
    ValueError: the text has no place for the table.
    """
    before, begin, rest = text.partition(BEGIN)
    written, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no place between {BEGIN} and {END}")
    known = {
        found[1]: line
        for line in (*written.splitlines(), *lines)
        if (found := re.match(r"\| `([^`]+)` \|", line))
    }
    table = [*HEAD, *(known[row] for row in ROWS if row in known)]
    return before + BEGIN + "\n\n" + "\n".join(table) + "\n\n" + END + after


def fixture(name: str, *arguments: str) -> str:
    """Run a module of fixtures/.  Returns what it prints.

    FixtureError: it fails; the text is the last line of its stderr.
    """
    made = subprocess.run(
        [sys.executable, "-m", f"fixtures.{name}", *arguments],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    if made.returncode:
        raise FixtureError((made.stderr.strip().splitlines() or [UNKNOWN])[-1])
    return made.stdout.strip()


def run(row: str, folder: Path, arguments: Sequence[str]) -> Result:
    """Run the tests of one row, with the row's gdb."""
    # Not above: tests/here.py needs this module before there is a venv, and pexpect in it.
    from tests.harness.driver import GDB, gdb_version

    print(f"\n--- row {row} ---", flush=True)
    begin = time.monotonic()
    gdb = GDB
    try:
        fixture("kvm_hv_image", row)
        if ROWS[row].gdb:
            gdb = fixture(ROWS[row].gdb)
    except FixtureError as error:
        return Result(row, reason=f"not run: {error}")
    report = folder / f"{row}.xml"
    command = [
        *(sys.executable, "-m", "pytest", "--tiers=kvm", "--each-tier", "--row", row),
        *(f"--junitxml={report}", "--override-ini=junit_family=xunit1", "tests/system"),
        *arguments,
    ]
    environment = {**os.environ, "GDB": gdb}
    status = subprocess.run(command, cwd=ROOT, check=False, env=environment).returncode
    if not report.exists():
        return Result(row, reason=f"not run: pytest's status {status}")
    result = read(row, report)
    result.gdb = ".".join(map(str, gdb_version(gdb)))
    if status and not result.failed:
        result.failed.append(f"pytest, status {status}")
    result.seconds = time.monotonic() - begin
    return result


def table(results: Iterable[Result]) -> str:
    """The results as text for the terminal."""
    lines = []
    for result in results:
        skipped = f", {len(result.skipped)} skipped" if result.skipped else ""
        counts = f"{len(result.passed)} passed, {len(result.failed)} failed"
        said = result.reason or counts + skipped
        lines.append(f"{result.row:16} {said}, {result.seconds:.0f} s")
        versions = {**result.versions, "gdb": result.gdb}
        lines += [f"    {name}: {value}" for name, value in versions.items()]
        lines += [f"    failed: {name}" for name in result.failed]
        lines += [f"    skipped: {name}" for name in result.skipped]
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Run the rows and print the results; 0 if all are good.

    arguments: names of rows, all rows if there are none; then arguments for pytest, from the first
    that begins with `-`.
    """
    options = next((i for i, one in enumerate(arguments) if one.startswith("-")), len(arguments))
    names, rest = arguments[:options] or list(ROWS), arguments[options:]
    if unknown := [name for name in names if name not in ROWS]:
        print(f"no row {' '.join(unknown)}: {' '.join(ROWS)}", file=sys.stderr)
        return 2
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            results.append(run(name, Path(folder), rest))
            if not rest:  # pytest's arguments may leave tests out, and then the row proves less
                line = results[-1].line(time.strftime("%Y-%m-%d"))
                SUPPORT.write_text(replaced(SUPPORT.read_text("utf-8"), [line]), "utf-8")
    print("\n" + table(results))
    return 0 if all(result.good for result in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
