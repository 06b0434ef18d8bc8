# SPDX-License-Identifier: MIT
"""tests/run --here: the KVM HV tests with this machine as the host, and a report for an issue.

The machine's own kernel and QEMU run the guests.  With --accel=tcg, TCG takes the place of KVM HV.
That serves to test this module; the tests then prove nothing about KVM HV.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from fixtures import here
from gdb_ppc_sstep.version import VERSION
from tests.matrix import ROOT, Result, read

CPU = ("cpu", "revision", "platform", "machine", "firmware", "MMU")
"""The fields of /proc/cpuinfo that the report tells; none of them identifies this one machine."""
MODULES = ("kvm_hv", "kvm_pr")
OS_RELEASE = Path("/etc/os-release")
MOST_LINES = 80
"""How many lines of a failed test's output the report shows, from the end."""
_FOLDERS = str(Path.home()), str(ROOT)


def versions(accelerator: str) -> Iterator[tuple[str, str]]:
    """What this machine is, as pairs of a name and its value."""
    from tests.harness.driver import GDB, gdb_version

    facts = here.cpu_facts()
    told = [facts["cpu"]] if "cpu" in facts else [platform.machine()]
    told += [f"{name} {facts[name]}" for name in CPU[1:] if name in facts]
    modules = [name for name in MODULES if Path("/sys/module", name).exists()]
    yield "CPU", "; ".join(told)
    yield "kernel", f"{platform.system()} {platform.release()}, {platform.version()}"
    yield "pages", f"{os.sysconf('SC_PAGE_SIZE') >> 10}K"
    yield "accelerator", " ".join((accelerator, *modules))
    yield "QEMU", _first_line("qemu-system-ppc64", "--version")
    yield "gdb", ".".join(map(str, gdb_version())) + f" ({_first_line(GDB, '--version')})"
    yield "distribution", _distribution()
    commit = _first_line("git", "-C", str(ROOT), "describe", "--always", "--dirty")
    yield "gdb_ppc_sstep", f"{VERSION}, commit {commit}"


def _first_line(*command: str) -> str:
    try:
        said = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
    except OSError:
        said = []
    return said[0] if said else "unknown"


def _distribution() -> str:
    try:
        text = OS_RELEASE.read_text("utf-8")
    except OSError:
        text = ""
    found = re.search(r'^PRETTY_NAME="?([^"\n]*)', text, re.MULTILINE)
    return found[1] if found else "unknown"


def report(result: Result, known: Sequence[tuple[str, str]]) -> str:
    """The text of the report, which can be pasted into an issue."""
    lines = [
        "## KVM HV tests on a machine of mine",
        "",
        f"{_counts(result)}, in {result.seconds:.0f} s. {result.reason}".strip(),
        "",
        *(f"- {name}: {value}" for name, value in known),
        *(f"- {name}, as the tests saw it: {value}" for name, value in result.versions.items()),
    ]
    for name in result.failed:
        shown = result.outputs.get(name, "").splitlines()[-MOST_LINES:]
        lines += ["", f"### failed: {name}", "", "~~~text", *shown, "~~~"]
    for title, names in (("skipped", result.skipped), ("passed", result.passed)):
        if names:
            lines += ["", f"### {title}", "", *(f"- {name}" for name in names)]
    return _private("\n".join(lines)) + "\n"


def _counts(result: Result) -> str:
    return (
        f"{len(result.passed)} passed, {len(result.failed)} failed, {len(result.skipped)} skipped"
    )


def _private(text: str) -> str:
    """The text without the paths of the user's home and of the checkout."""
    for folder in _FOLDERS:
        text = text.replace(folder + "/", "")
    return text


def main(arguments: list[str]) -> int:
    """Run the tests and print the report; with --check only say what this machine lacks.

    arguments: --check, or arguments for pytest.  Returns 0 if tests have passed and none has
    failed, 2 if this machine cannot be a host.
    """
    by_tcg = f"--accel={here.TCG}" in arguments
    if lacks := "" if by_tcg else here.lacking():
        print(f"tests/run --here: {lacks}", file=sys.stderr)
        return 2
    if arguments == ["--check"]:
        return 0
    accelerator = here.TCG if by_tcg else here.KVM
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        xml = Path(folder, "report.xml")
        command = [
            *(sys.executable, "-m", "pytest", "--tiers=kvm", "--each-tier", "--row", here.NAME),
            *(f"--junitxml={xml}", "--override-ini=junit_family=xunit1", "tests/system"),
            *arguments,
        ]
        status = subprocess.run(command, cwd=ROOT, check=False).returncode
        result = read(here.NAME, xml) if xml.exists() else Result(here.NAME)
    if status and not result.failed:
        result.reason = f"Not complete: pytest has ended with status {status}."
    result.seconds = time.monotonic() - begin
    text = report(result, list(versions(accelerator)))
    print(f"\n--- the report, for an issue ---\n\n{text}", end="")
    return 0 if result.good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
