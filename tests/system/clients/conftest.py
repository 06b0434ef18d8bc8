# SPDX-License-Identifier: MIT
"""Clients that others wrote.  A test of a client that is missing is skipped; tests/run names it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from fixtures import registry
from fixtures.bare_metal import Program
from fixtures.debian import FixtureError
from fixtures.qemu import Qemu
from tests.harness.driver import EXTENSION
from tests.harness.service import address, service

NPM = Path(__file__).parent / "npm" / "package-lock.json"


def pytest_itemcollected(item: pytest.Item) -> None:
    """Put all tests of this folder into the tier `clients`."""
    if Path(__file__).parent in item.path.parents:
        item.add_marker("clients")


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The folder of the packages in `NPM`; the test is skipped if they cannot be fetched."""
    try:
        return registry.node_packages("cdt-gdb-adapter", NPM)
    except FixtureError as error:
        pytest.skip(f"cdt-gdb-adapter: {error}")


def program_of(package: str, name: str) -> str:
    """The path of a program of a Debian package; the test is skipped if it is not installed."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name}: Debian's package {package} is not installed")
    return found


class Side(NamedTuple):
    """A client's guest, the target of its gdb, and arguments by which that gdb loads ours."""

    guest: Qemu
    target: str
    arguments: tuple[str, ...]


@pytest.fixture
def side(
    boot: Callable[..., Qemu], demo: Program, tmp_path: Path
) -> Callable[[str], AbstractContextManager[Side]]:
    """side(how): start a guest that runs the demo.

    how: "native": the stub steps.  "extension": gdb loads our extension.  "service": gdb is plain,
    and connects to `gdb-ppc-sstep`.
    """

    @contextmanager
    def make(how: str) -> Iterator[Side]:
        guest = boot(demo, steps=how == "native")
        if how != "service":
            loaded = (f"-iex=source {EXTENSION}",) if how == "extension" else ()
            yield Side(guest, guest.target, loaded)
            return
        where = str(tmp_path / "service")
        with service("--listen", where, "--connect", guest.target) as process:
            yield Side(guest, address(process), ())

    return make
