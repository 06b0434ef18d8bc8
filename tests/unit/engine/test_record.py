# SPDX-License-Identifier: MIT
"""The record of what of ours is in the guest: read as it was written, and nothing else is read."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import example, given
from hypothesis import strategies as st

from gdb_ppc_sstep.engine import record
from gdb_ppc_sstep.engine.ledger import Change, Phase, Watched
from gdb_ppc_sstep.engine.steps import Armed, Found, Lent, Task
from gdb_ppc_sstep.errors import BadPacket
from gdb_ppc_sstep.ppc.dawr import Window
from gdb_ppc_sstep.ppc.isa import decode

from .. import machine as m
from ..malformed import mutated

ARMED = Armed(b"p1.1", decode(m.NOP), 4, 5, 6, 7, 8, 9, (10, 11), Task(12, 13))
OTHER = ARMED._replace(task=None, vector=None)
FOUND = Found(b"p1.2", 1, 2)
WATCHED = Watched(b"p1.2", Window(0xC000000000C00100, 0x4B))
LENT = Lent(b"p1.1", (("r3", 1), ("msr", 2), ("pc", 3)), (4, 5, 6))
SNAPSHOTS = (
    (),
    (Change(ARMED, Phase.ARMED),),
    (Change(ARMED, Phase.ARMED, FOUND),),
    (Change(ARMED, Phase.ARMED), Change(OTHER, Phase.ARMED, FOUND)),
    (WATCHED,),
    (WATCHED._replace(thread=None), WATCHED),
    (LENT,),
    (Change(ARMED, Phase.ARMED), WATCHED, LENT._replace(registers=(), places=())),
)
RECORDS = tuple(record.written(snapshot).encode() for snapshot in SNAPSHOTS)


def test_records_are_read_as_written() -> None:
    for snapshot, text in zip(SNAPSHOTS, RECORDS):
        assert record.read(text.decode()) == snapshot


@given(
    st.one_of(
        mutated(RECORDS).map(lambda text: text.decode("latin-1")),
        st.text(max_size=30),
        st.recursive(
            st.none() | st.integers() | st.binary(max_size=4),
            lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner),
        ).map(repr),
    )
)
@example("[((),)]")
@example("1")
@example("[((), None)]")
@example("((((")
@example("(" * 500)
@example("[((b'p1.1', -1, 0, 0, 0, 0, 0, 0, (), None), None)]")
@example("[((b'p1.1', 'x', 0, 0, 0, 0, 0, 0, (), None), None)]")
@example("[(('p1.1', 0, 0, 0, 0, 0, 0, 0, (), None), None)]")
@example("[((b'p1.1', 0, 'pc', 0, 0, 0, 0, 0, (), None), None)]")
@example("[((b'p1.1', 0, 0, 0, 0, 0, 0, 0, 5, None), None)]")
@example("[((b'p1.1', 0, 0, 0, 0, 0, 0, 0, (), (1,)), None)]")
@example("[((b'p1.1', 0, 0, 0, 0, 0, 0, 0, (), (1, b'')), None)]")
@example("[((b'p1.1', 0, 18446744073709551616, 0, 0, 0, 0, 0, (), None), None)]")
@example("[((b'p1.1', 0, 0, 0, 0, 0, 0, 0, (), None), (1, 2))]")
@example("[(b'p1.1', 1)]")
@example("[('p1.1', 0, 0)]")
@example("[(b'p1.1', -1, 0)]")
@example("[(b'p1.1', 0, 18446744073709551616)]")
@example("[(b'p1.1', 0, (0,))]")
@example("[(b'p1.1', ((1, 2),), (), None)]")
@example("[(b'p1.1', (('pc', -2),), (), None)]")
@example("[(b'p1.1', (('pc',),), (), None)]")
@example("[(b'p1.1', (), 7, None)]")
@example("[(b'p1.1', (), ('x',), None)]")
@example("\x00")
def test_a_record_is_read_or_refused(text: str) -> None:
    with suppress(BadPacket):
        for one in record.read(text):
            if isinstance(one, Watched):
                _check(one.thread, *one.window)
            elif isinstance(one, Lent):
                _check(one.thread, *(value for _, value in one.registers), *one.places)
                assert all(isinstance(name, str) for name, _ in one.registers)
            else:
                _check_step(one)


def _check(thread: bytes | None, *values: int) -> None:
    assert thread is None or isinstance(thread, bytes)
    for value in values:
        assert isinstance(value, int)
        assert 0 <= value < 1 << 64


def _check_step(change: Change) -> None:
    armed, _phase, found = change
    values = (armed.pc, armed.state, armed.written, armed.srr0, armed.srr1)
    _check(armed.thread, *values, armed.vector or 0, *armed.successors)
    assert armed.task is None or isinstance(armed.task.stack, int)
    assert found is None or found.thread is None or isinstance(found.thread, bytes)
