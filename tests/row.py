# SPDX-License-Identifier: MIT
"""The row that tests under KVM HV run on (see fixtures/rows.py), and which of them fit it.

A pytest plugin, with two options:

  --row NAME   the host, its kernel and QEMU, and the guests'; the row of CI's tier kvm if not given
  --short      of tier kvm only what SHORT names, and what is for hosts with or without DAWR alone
  --accel A    of the row `here`: kvm, or tcg in its place, for a test of that row itself

The mark `dawr(True)` is of tests for hosts that have the watchpoint register on, `dawr(False)` of
those for hosts that have not: on other rows they are skipped, by name.  `emulated` is of tests that
boot a host of their own, which the row `here` (this machine itself, see fixtures/here.py) leaves
out.
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
"""What --short keeps of tier kvm, for CI's second row, by how the names begin: of each the cases
whose parameters begin as given here, all if none is."""

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
    """The one that was asked for."""
    name: str = config.getoption("row")
    return here.row_of(here.cpu_facts()) if name == here.NAME else ROWS[name]


def host_of(config: pytest.Config) -> Host | Here:
    """Its host, which runs until it is closed."""
    row = row_of(config)
    return Here(config.getoption("accel")) if row.name == here.NAME else Host(row=row)


def _dawr(item: pytest.Item) -> bool | None:
    """Whether the hosts that a test is for have DAWR on; None if it is for all."""
    mark = item.get_closest_marker("dawr")
    return bool(mark.args[0]) if mark else None


def _fits(item: pytest.Item, name: str, kept: tuple[str, ...]) -> bool:
    test, _, parameters = item.nodeid.removeprefix(_SYSTEM).partition("[")
    return test == name and (not kept or parameters.startswith(kept))


def _in_short(item: pytest.Item) -> bool:
    return any(_fits(item, name, kept) for name, kept in SHORT.items())


def _stale(items: list[pytest.Item]) -> list[str]:
    """What SHORT says and no test fits."""
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
