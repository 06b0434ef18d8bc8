# SPDX-License-Identifier: MIT
"""The wire door's packets to its layer, where a layer answers what no real one does.

gdb is a fake here, as is the layer: these faults cannot be had from real ones.
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gdb_ppc_sstep.errors import SstepError
from gdb_ppc_sstep.options import Options

Reply = Callable[[str], "bytes | None"]


class FakeGdbError(Exception):
    """As gdb.GdbError."""


@pytest.fixture
def open_door(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Reply], Any]]:
    """open_door(reply): a WireDoor whose packets are answered by that."""
    fake = types.ModuleType("gdb")
    fake.GdbError = FakeGdbError  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gdb", fake)
    wings = ("gdb_ppc_sstep.session", "gdb_ppc_sstep.commands")
    for name in [name for name in sys.modules if name.startswith(wings)]:
        monkeypatch.delitem(sys.modules, name)
    doors = importlib.import_module("gdb_ppc_sstep.session.doors")
    monkeypatch.setattr(doors.takeover, "take", lambda connection: None)

    def opening(reply: Reply) -> Any:
        monkeypatch.setattr(doors.detect, "send", lambda connection, packet: reply(packet))
        return doors.WireDoor(None)

    yield opening
    for name in [name for name in sys.modules if name.startswith(wings)]:
        del sys.modules[name]


def test_all_settings_are_told(open_door: Callable[[Reply], Any]) -> None:
    sent: list[str] = []

    def reply(packet: str) -> bytes:
        sent.append(packet)
        return b"OK"

    door = open_door(reply)
    door.apply(Options(ail=3, mask_interrupts=False), debug=True, debug_file="/x")
    door.activate(False)
    assert sent == [
        "Qppc-sstep.ail=3",
        "Qppc-sstep.interrupts=into",
        "Qppc-sstep.mask-interrupts=off",
        "Qppc-sstep.watchpoints=auto",
        "Qppc-sstep.log-file=2f78",
        "Qppc-sstep.log=on",
        "Qppc-sstep.active=off",
    ]


@pytest.mark.parametrize("reply", [b"E.ppc-sstep: no", None, b"", b"E22"])
def test_a_setting_that_is_refused_is_an_error(
    open_door: Callable[[Reply], Any], reply: bytes | None
) -> None:
    door = open_door(lambda packet: reply)
    with pytest.raises(SstepError, match="does not take active=on"):
        door.activate(True)


@pytest.mark.parametrize(
    ("reply", "said"), [(None, "does not answer"), (b"E.ppc-sstep: no such thing", "no such thing")]
)
def test_a_question_that_is_refused_is_one_line(
    open_door: Callable[[Reply], Any], reply: bytes | None, said: str
) -> None:
    door = open_door(lambda packet: reply)
    with pytest.raises(FakeGdbError, match=said):
        door.status(active=True)


def test_status_is_read(open_door: Callable[[Reply], Any]) -> None:
    door = open_door(lambda packet: b'{"steps": 3}'.hex().encode())
    assert door.status(active=True) == {"steps": 3}
