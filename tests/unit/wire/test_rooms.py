# SPDX-License-Identifier: MIT
"""The small rooms of the layer by themselves: a late interrupt, the journal, the debug log."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gdb_ppc_sstep.engine.ledger import Change, Phase
from gdb_ppc_sstep.engine.steps import Armed
from gdb_ppc_sstep.ppc.isa import decode
from gdb_ppc_sstep.wire import late as late_module
from gdb_ppc_sstep.wire.journal import Journal
from gdb_ppc_sstep.wire.late import LateInterrupt
from gdb_ppc_sstep.wire.log import DebugLog

from .. import machine as m
from ..machine import KERNEL, SE, TEXT, TRACE


def test_a_late_interrupt_counts_once() -> None:
    late = LateInterrupt()
    assert not late.take()
    late.came()
    assert late.take()
    assert not late.take()


def test_a_late_interrupt_is_forgotten_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late_module, "LATE_INTERRUPT", 0.0)
    late = LateInterrupt()
    late.came()
    assert not late.take()


def test_the_journal_is_the_first_line_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "record"
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        journal = Journal(fd, print)
        step = Armed(b"p1.1", decode(m.NOP), TEXT, KERNEL, KERNEL | SE, 1, 2, TRACE, (TEXT + 4,))
        journal((Change(step, Phase.ARMED),))
        first = path.read_text().partition("\n")[0]
        assert first.startswith("[((b'p1.1', ")
        path.write_text("")
        journal((Change(step, Phase.ARMED),))
        assert path.read_text() == "", "what is there already is not written again"
        journal(())
        assert path.read_text() == "\n"
    finally:
        os.close(fd)


def test_a_journal_without_a_file_keeps_nothing() -> None:
    Journal(None, print)(())


def test_the_log_is_silent_until_it_is_switched_on(tmp_path: Path) -> None:
    said: list[str] = []
    log = DebugLog(said.append)
    log.line("no")
    log.decided("no {}", 1)
    log.switch(True)
    log.packet("gdb  <- ", b"g\xff")
    log.decided("{} of {:#x}", 1, 16)
    assert said == ["gdb  <- g\xff", "1 of 0x10"]
    path = tmp_path / "log"
    log.to_file(str(path))
    log.line("there")
    assert path.read_text() == "there\n"
    log.to_file("")
    log.line("here")
    assert said[2:] == ["here"]
    assert path.read_text() == "there\n"


@pytest.mark.parametrize("path", ["/", "\0", "/no/such/folder/log"])
def test_a_log_that_cannot_be_written_is_told(path: str) -> None:
    said: list[str] = []
    log = DebugLog(said.append, logs=True)
    log.to_file(path)
    assert len(said) == 1 and said[0].startswith("ppc-sstep: no log is written: ")
    log.line("here")
    assert said[1:] == ["here"]
