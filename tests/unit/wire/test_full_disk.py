# SPDX-License-Identifier: MIT
"""Files that cannot be written: the record, the log.  /dev/full is as a file on a full disk."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from gdb_ppc_sstep.engine.ledger import Change, Phase
from gdb_ppc_sstep.engine.steps import Armed
from gdb_ppc_sstep.ppc.isa import decode
from gdb_ppc_sstep.wire.journal import Journal
from gdb_ppc_sstep.wire.log import DebugLog

from .. import machine as m
from ..machine import KERNEL, SE, TEXT, TRACE
from .rig import NOPS, STEP, Rig, program

FULL = Path("/dev/full")
NOT_RECORDED = (
    "ppc-sstep: what is in the guest during a step cannot be recorded (No space left on device); "
    "`ppc-sstep clean` will not know all of it if this session is killed\n"
)
needs_dev_full = pytest.mark.skipif(not FULL.is_char_device(), reason="there is no /dev/full")


def change(pc: int = TEXT) -> Change:
    state = KERNEL | SE
    return Change(
        Armed(b"p1.1", decode(m.NOP), pc, KERNEL, state, 1, 2, TRACE, (pc + 4,)), Phase.ARMED
    )


@pytest.fixture
def full() -> Iterator[int]:
    fd = os.open(FULL, os.O_RDWR)
    yield fd
    os.close(fd)


@needs_dev_full
def test_steps_go_on_without_their_record(tmp_path: Path, full: int) -> None:
    """One line tells of it, however many steps there are."""
    machine = program(*NOPS)
    native = machine.native(steps=3)
    rig = Rig(machine, tmp_path / "log", record=full)
    try:
        assert rig.start() == "ok"
        for _ in range(3):
            assert rig.gdb.stop(STEP)[:3] == b"T05"
        rig.settle()
        assert machine.changed(native) == {}
        rig.gdb.close()
        rig.ended()
        assert machine.planted == {}
        assert rig.log == NOT_RECORDED
    finally:
        rig.close()


def test_an_old_record_does_not_outlive_one_that_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would have `ppc-sstep clean` undo what is not there.  Once there is room it is written."""
    path, said, room = tmp_path / "record", list[str](), [True, False, False, True]
    write = os.pwrite

    def pwrite(fd: int, data: bytes, at: int) -> int:
        if not room.pop(0):
            data = data[:5]  # a part of it is written, or nothing
            if len(room) == 1:
                raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, data, at)

    monkeypatch.setattr(os, "pwrite", pwrite)
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        journal = Journal(fd, said.append)
        journal((change(),))
        assert path.read_text()
        for pc in (TEXT + 4, TEXT + 8):
            journal((change(pc),))
            assert path.read_text() == ""
        assert said == [NOT_RECORDED.rstrip()]
        journal((change(TEXT + 8),))
        assert str(TEXT + 8) in path.read_text()
    finally:
        os.close(fd)


@needs_dev_full
def test_a_log_that_cannot_be_written_is_told_once() -> None:
    said: list[str] = []
    log = DebugLog(said.append, logs=True)
    log.to_file(str(FULL))
    for _ in range(3):
        log.packet("stub <- ", b"m0,4")
        log.decided("step {}", 1)
    log.to_file("")
    assert said == ["ppc-sstep: the log is not written: No space left on device"]
    log.line("this one")
    assert said[1:] == ["this one"]


@needs_dev_full
def test_a_step_with_a_log_that_cannot_be_written_is_done(tmp_path: Path) -> None:
    machine = program(*NOPS)
    native = machine.native()
    rig = Rig(machine, tmp_path / "log")
    try:
        assert rig.start() == "ok"
        assert rig.gdb.ask(b"Qppc-sstep.log-file=" + bytes(FULL).hex().encode()) == b"OK"
        assert rig.gdb.ask(b"Qppc-sstep.log=on") == b"OK"
        assert rig.gdb.stop(STEP)[:3] == b"T05"
        rig.settle()
        assert machine.changed(native) == {}
        assert rig.log == "ppc-sstep: the log is not written: No space left on device\n"
    finally:
        rig.close()


@needs_dev_full
def test_a_layer_that_can_tell_nobody_steps_all_the_same(full: int) -> None:
    """The disk is full where its own words go as well."""
    machine = program(*NOPS)
    native = machine.native()
    rig = Rig(machine, FULL, record=full)
    try:
        assert rig.start() == "ok"
        assert rig.gdb.stop(STEP)[:3] == b"T05"
        rig.settle()
        assert machine.changed(native) == {}
        rig.gdb.close()
        rig.ended()
    finally:
        rig.close()
