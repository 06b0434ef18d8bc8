# SPDX-License-Identifier: MIT
"""gdb's connection as a link: what comes of a guest that runs longer than gdb waits for a reply.

gdb is a fake, and so is its clock: the two kinds of QEMU cannot be had at once.
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gdb_ppc_sstep.errors import StubGone

PATIENCE = 2
GO = b"vCont;c:p1.1"
GIVES_UP = "error while fetching packet from remote target"


class FakeError(RuntimeError):
    """As gdb.error."""


class Connection:
    """As gdb.RemoteTargetConnection: each packet takes the next answer, a reply or an error."""

    def __init__(self, *answers: tuple[float, bytes | str]) -> None:
        self.answers = list(answers)
        self.sent: list[bytes] = []
        self.now = 0.0

    def send_packet(self, payload: bytes) -> bytes:
        self.sent.append(payload)
        seconds, answer = self.answers.pop(0)
        self.now += seconds
        if isinstance(answer, str):
            raise FakeError(answer)
        return answer


@pytest.fixture
def linked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """linked(connection, interrupted): a GdbLink over it."""
    fake: Any = types.ModuleType("gdb")
    fake.error, fake.parameter = FakeError, {"remotetimeout": PATIENCE}.__getitem__
    fake.InferiorThread = fake.RemoteTargetConnection = object
    monkeypatch.setitem(sys.modules, "gdb", fake)
    name = "gdb_ppc_sstep.commands.link"
    monkeypatch.delitem(sys.modules, name, raising=False)
    link = importlib.import_module(name)

    def make(connection: Connection, interrupted: bool = False) -> Any:
        monkeypatch.setattr(link.time, "monotonic", lambda: connection.now)
        monkeypatch.setattr(link, "interrupt_pending", lambda: interrupted)
        return link.GdbLink(connection, lambda line: None)

    yield make
    del sys.modules[name]


HIT = (0.5, b"T05thread:p01.01;")
OLD = (2.0, b"T02thread:p01.01;")
NEW = [(6.0, GIVES_UP), (0.0, b"QCp01.01")]


@pytest.mark.parametrize(
    ("answers", "sent"),
    [
        ([HIT], [GO]),
        ([OLD, OLD, HIT], [GO, GO, GO]),
        ([*NEW, *NEW, HIT], [GO, b"qC", GO, b"qC", GO]),
    ],
    ids=["at once", "QEMU 7.2", "QEMU 10"],
)
def test_a_guest_runs_on_until_it_stops_by_itself(
    linked: Callable[..., Any], answers: list[Any], sent: list[bytes]
) -> None:
    connection = Connection(*answers)
    assert linked(connection).resume(GO) == HIT[1]
    assert connection.sent == sent


@pytest.mark.parametrize(
    "answers", [[OLD], NEW, [(6.0, GIVES_UP), (0.0, b"")]], ids=["old", "new", "no qC"]
)
def test_ctrl_c_is_seen_when_gdbs_patience_ends(
    linked: Callable[..., Any], answers: list[Any]
) -> None:
    thread = b"" if answers[-1][1] == b"" else b"thread:p01.01;"
    assert linked(Connection(*answers), interrupted=True).resume(GO) == b"T02" + thread


@pytest.mark.parametrize(
    "answers",
    [[(0.1, "Remote connection closed")], [(6.0, GIVES_UP), (6.0, GIVES_UP)]],
    ids=["closed", "silent"],
)
def test_a_stub_that_is_gone(linked: Callable[..., Any], answers: list[Any]) -> None:
    with pytest.raises(StubGone):
        linked(Connection(*answers)).resume(GO)
