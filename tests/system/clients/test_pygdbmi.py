# SPDX-License-Identifier: MIT
"""pygdbmi, the library by which scripts drive gdb: the records that it makes of gdb's output."""

from __future__ import annotations

import importlib
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from fixtures import registry
from fixtures.bare_metal import SOURCES, Program
from fixtures.debian import FixtureError
from tests.harness.driver import GDB

from .conftest import Side

PACKAGE, VERSION = "pygdbmi", "0.11.0.0"
TIMEOUT = 20  # seconds
COMMANDS = (
    "-break-insert work",
    "-exec-continue",
    "-exec-step-instruction",
    "-exec-next-instruction",
    "-exec-next",
    "-exec-step",
    "-exec-finish",
    "-break-insert -c x==3 square",
    "-exec-continue",
    "-stack-list-frames",
    "-stack-list-variables 1",
    "-exec-finish",
    "-break-insert -i 1 factorial",
    "-exec-continue",
    "next",
    "stepi 7",
    "-data-list-register-values x 64 65",
    "-break-delete",
    "-break-watch total",
    "-exec-continue",
    "-exec-continue",
    "-data-evaluate-expression total",
    "-break-list",
)


@pytest.fixture(scope="session")
def controller() -> Any:
    """The class of pygdbmi that runs a gdb."""
    try:
        folder = registry.python_packages(PACKAGE, (f"{PACKAGE}=={VERSION}",))
    except FixtureError as error:
        pytest.skip(f"pygdbmi: {error}")
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(str(folder))
        return importlib.import_module("pygdbmi.gdbcontroller").GdbController


class Client:
    """A script's gdb, connected to a stub."""

    def __init__(self, mi: Any, side: Side) -> None:
        self._mi, self._side = mi, side

    def command(self, text: str) -> list[str]:
        """Send a command.  Returns the records until its result, after `running` until the stop."""
        self._mi.write(text, read_response=False)
        records = self._until("result")
        if any((one["type"], one["message"]) == ("result", "running") for one in records):
            records += self._until("stopped") if not _tells(records, "stopped") else []
        return [_normal(record, self._side) for record in records if _counts(record)]

    def interrupted(self) -> list[str]:
        """The records of a `continue` that a signal to gdb interrupts, as scripts do it."""
        self._mi.write("-exec-continue", read_response=False)
        self._until("running")
        time.sleep(0.3)
        self._mi.gdb_process.send_signal(signal.SIGINT)
        return [_normal(record, self._side) for record in self._until("stopped")]

    def _until(self, wanted: str) -> list[Any]:
        """The records until one of this type or message comes."""
        records: list[Any] = []
        end = time.monotonic() + TIMEOUT
        while not _tells(records, wanted):
            assert time.monotonic() < end, f"no {wanted} in {records}"
            records += self._mi.get_gdb_response(0.05, raise_error_on_timeout=False)
        return records


def _tells(records: list[Any], what: str) -> bool:
    return any(what in (record["type"], record["message"]) for record in records)


def _counts(record: Any) -> bool:
    """Whether a record counts: not a line of ours, nor one about gdb's own prompt."""
    return "ppc-sstep" not in str(record["payload"]) and record["message"] != "library-loaded"


def _normal(record: Any, side: Side) -> str:
    """A record without what differs from one guest to the next."""
    text = f"{record['type']} {record['message']} {record['payload']}"
    return re.sub(r", 'core': '\d+'", "", text.replace(side.target, "TARGET"))


@contextmanager
def client(controller: Any, side: Side, program: Program) -> Iterator[Client]:
    """A gdb of pygdbmi, connected to a side's target."""
    mi = controller([GDB, "--interpreter=mi3", "-nx", "-q", "-d", str(SOURCES), *side.arguments])
    try:
        one = Client(mi, side)
        one.command(f"-file-exec-and-symbols {program.elf}")
        one.command(f"-target-select remote {side.target}")
        yield one
    finally:
        mi.gdb_process.kill()
        mi.gdb_process.wait()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("how", ["extension", "service"])
def test_the_same_records(
    how: str,
    controller: Any,
    side: Callable[[str], AbstractContextManager[Side]],
    demo: Program,
) -> None:
    with side("native") as theirs, client(controller, theirs, demo) as mi:
        native = [mi.command(command) for command in COMMANDS]
    with side(how) as mine, client(controller, mine, demo) as mi:
        for command, records in zip(COMMANDS, native):
            assert mi.command(command) == records, command
        assert sum("notify stopped" in record for one in native for record in one) >= 13
        mi.command("-break-delete")
        mi.command("-break-insert -c x==-1 square")
        for _ in range(3):
            assert "SIGINT" in str(mi.interrupted())
        assert "end-stepping-range" in str(mi.command("-exec-next"))
        assert "result done" in str(mi.command("-target-detach"))
