# SPDX-License-Identifier: MIT
"""Which row the tests under KVM HV run on (see fixtures/rows.py), and which tests fit that row.

A pytest plugin, with three options:

  --row NAME   the host with its kernel and QEMU, and its guests; default: the row of CI's tier kvm
  --short      of tier kvm only the tests in SHORT, and those marked `dawr` that fit the row
  --accel A    for the row `here`: kvm, or tcg instead, which serves to test that row itself

The mark `dawr(True)` is for tests that need a host with DAWR on, `dawr(False)` for tests that need
one with DAWR off.  On other rows they are skipped, by name.  The mark `emulated` is for tests that
boot a host of their own; the row `here` (this machine, see fixtures/here.py) leaves them out.
"""

from __future__ import annotations

import os

import pytest

from fixtures import here
from fixtures.here import Here
from fixtures.kvm_hv import Host
from fixtures.rows import DEFAULT, ROWS, Row

SHORT: dict[str, tuple[str, ...]] = {
    "test_kvm.py::test_instructions": ("endian=be",),
    "test_kvm.py::test_mode_auto_knows_it": (),
    "test_kvm.py::test_the_row_is_what_it_says": (),
    "test_kvm.py::test_500_steps_in_kernel_code": (),
    "test_kvm.py::test_system_call": ("scv",),
    "test_kvm.py::test_page_fault": (),
    "test_kvm.py::test_interrupting": ("2",),
    "test_kvm.py::test_500_steps_on_each_vcpu": (),
    "test_kvm.py::test_breakpoints_on_both_vcpus": (),
}
"""What --short keeps of tier kvm, for CI's second row: the name of a test -> the beginnings of the
parameters of the cases that it keeps.  With none it keeps all cases.
"""

_SYSTEM = "tests/system/"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--row",
        default=DEFAULT.name,
        choices=[*ROWS, here.NAME],
        metavar="NAME",
        help=f"the KVM HV host: {', '.join(ROWS)}; {here.NAME}: this machine itself",
    )
    parser.addoption("--accel", default=here.KVM, choices=here.ACCELERATORS, help="of the row here")
    parser.addoption("--short", action="store_true", help="of tier kvm only what SHORT names")


def row_of(config: pytest.Config) -> Row:
    """The row that the option --row names."""
    name: str = config.getoption("row")
    return here.row_of(here.cpu_facts()) if name == here.NAME else ROWS[name]


def host_of(config: pytest.Config) -> Host | Here:
    """Start the host of the row.  It runs until it is closed."""
    row = row_of(config)
    return Here(config.getoption("accel")) if row.name == here.NAME else Host(row=row)


def _dawr(item: pytest.Item) -> bool | None:
    """Whether a test needs a host with DAWR on; None if it runs on any host."""
    mark = item.get_closest_marker("dawr")
    return bool(mark.args[0]) if mark else None


def _fits(item: pytest.Item, name: str, kept: tuple[str, ...]) -> bool:
    test, _, parameters = item.nodeid.removeprefix(_SYSTEM).partition("[")
    return test == name and (not kept or parameters.startswith(kept))


def _in_short(item: pytest.Item) -> bool:
    return any(_fits(item, name, kept) for name, kept in SHORT.items())


def _stale(items: list[pytest.Item]) -> list[str]:
    """The entries of SHORT that fit no test."""
    return [
        f"{name} {case}".strip()
        for name, kept in SHORT.items()
        for case in kept or ("",)
        if not any(_fits(item, name, (case,)) for item in items)
    ]


def pytest_configure(config: pytest.Config) -> None:
    row = row_of(config)
    if row.gdb and "GDB" not in os.environ:
        why = f"GDB=$(python3 -m fixtures.{row.gdb}) is missing; tests/run --matrix sets it"
        raise pytest.UsageError(f"row {row.name}: {why}")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    row = row_of(config)
    whole = config.getoption("each_tier")  # all of tests/system was collected
    if config.getoption("short") and whole and (stale := _stale(items)):
        raise pytest.UsageError(f"tests/row.py: SHORT names what does not exist: {stale}")
    left_out = []
    for item in items:
        dawr = _dawr(item)
        if dawr not in (None, row.dawr):
            state = "on" if dawr else "off"
            reason = f"hosts whose DAWR is {state} only, which that of row {row.name} is not"
            item.add_marker(pytest.mark.skip(reason=reason))
        kvm = item.get_closest_marker("kvm") is not None
        short = config.getoption("short") and kvm and dawr != row.dawr and not _in_short(item)
        if short or (row.name == here.NAME and item.get_closest_marker("emulated")):
            left_out.append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_report_header(config: pytest.Config) -> str:
    return f"row: {row_of(config).name}"
