# SPDX-License-Identifier: MIT
"""What is queued goes out with the next question, and what is refused is found out."""

from __future__ import annotations

import pytest

from gdb_ppc_sstep.errors import StubGone, StubRefused
from gdb_ppc_sstep.stub.pipeline import Pipeline, Queued
from gdb_ppc_sstep.stub.stub import Stub

from .. import machine as m
from ..engine.bench import program
from ..machine import TEXT, Machine
from .links import SlowLink

QUESTION = b"m%x,4" % TEXT
R3 = b"P3=" + b"0100000000000000"
NOP = m.NOP.to_bytes(4, "little").hex().encode()


def started(machine: Machine) -> tuple[Stub, SlowLink]:
    """A stub whose byte order is known, and its link, on which nothing has been sent yet."""
    link = SlowLink(machine)
    stub = Stub(link, machine.registers())
    stub.read("msr")
    link.bursts, link.waited = [], 0
    return stub, link


@pytest.mark.parametrize("refused", [False, True], ids=["done", "refused"])
@pytest.mark.parametrize("ahead", [False, True], ids=["with the next", "sent ahead"])
@pytest.mark.parametrize("deferred", [False, True], ids=["due", "deferred"])
def test_all_combinations(deferred: bool, ahead: bool, refused: bool) -> None:
    """Of a write that is deferred or not, sent ahead or not, refused or not."""
    machine = program(m.NOP)
    stub, link = started(machine)
    if refused:
        machine.reply[b"P3="] = b"E01"
    told: list[bool] = []
    stub.write("r3", 1, reads_back=True)
    if deferred:
        stub.defer(told.append)
    assert link.bursts == []
    if ahead:
        stub.send_ahead()
        assert (link.bursts, link.waited) == ([[R3]], 0)
        assert stub.unanswered == [R3]
    assert told == [] and stub.known(b"p3") == b"0100000000000000"
    version = stub.version

    if deferred and not ahead:  # the question goes past it
        assert stub.query(QUESTION) == NOP
        assert (link.bursts, told) == ([[QUESTION]], [])
        link.bursts.clear()

    # Its answer is looked at with the next packet; what was sent ahead, before that is sent.
    first = [[R3]] if ahead else [[R3, b"qC"]]
    if refused:
        with pytest.raises(StubRefused, match="the stub refused to write r3"):
            stub.call(b"qC")
        assert link.bursts == first
        assert stub.known(b"p3") is None
    else:
        assert stub.call(b"qC") == b"QCp01.01"
        assert link.bursts == [*first, *([[b"qC"]] if ahead else [])]
        assert stub.known(b"p3") == b"0100000000000000"
    assert (stub.version != version) == refused
    assert told == ([not refused] if deferred else [])
    assert stub.unanswered == []

    # That was all: nothing is told or sent twice, and the next question works.
    link.bursts.clear()
    stub.send_queued()
    assert stub.call(QUESTION) == NOP
    assert link.bursts == [[QUESTION]]
    assert len(told) == deferred


def test_what_is_deferred_is_not_passed_by_what_it_matters_for() -> None:
    """The register itself; memory, after a change of what the MSR translates."""
    stub, link = started(program(m.NOP))
    stub.write("r3", 1)
    stub.defer(lambda done: None)
    stub.query(b"p4")
    assert stub.query(b"p3") == b"0100000000000000"
    assert link.bursts == [[b"p4"], [R3, b"p3"]]

    stub, link = started(program(m.NOP))
    stub.write("msr", stub.read("msr") & ~m.DR)
    stub.defer(lambda done: None)
    stub.query(b"p4")
    stub.query(b"qC")
    stub.query(QUESTION)
    assert [len(burst) for burst in link.bursts] == [1, 1, 2]


def test_nothing_to_defer_is_done() -> None:
    """Who defers an empty queue is told at once."""
    stub, link = started(program(m.NOP))
    told: list[bool] = []
    stub.defer(told.append)
    assert told == [True] and link.bursts == []


def test_what_is_queued_while_one_is_told() -> None:
    """`send_queued` sends that as well."""
    stub, link = started(program(m.NOP))
    stub.write("r3", 1)
    stub.defer(lambda done: stub.insert(TEXT))
    stub.send_queued()
    assert link.bursts == [[R3], [b"Z0,%x,4" % TEXT]]


def test_one_refusal_may_be_all_right() -> None:
    """Who is told of it decides; what else is refused raises, the first of them."""
    machine = program(m.NOP)
    stub, _ = started(machine)
    machine.reply[b"Z0"] = b"E22"
    refusals: list[str] = []
    told: list[bool] = []

    def fine(error: StubRefused) -> bool:
        refusals.append(str(error))
        return True

    stub.insert(TEXT, fine)
    stub.defer(told.append)
    stub.send_queued()
    assert refusals == [f"the stub refused a temporary breakpoint at {TEXT:#x} (reply 'E22')"]
    assert told == [True]
    stub.insert(TEXT, fine)
    stub.insert(TEXT + 4)
    stub.insert(TEXT + 8)
    with pytest.raises(StubRefused, match=f"{TEXT + 4:#x} "):
        stub.send_queued()


def test_what_cancels_is_not_sent() -> None:
    """A breakpoint that goes and comes again; a register written twice, or as it was sent."""
    stub, link = started(program(m.NOP))
    stub.insert(TEXT)
    stub.send_queued()
    stub.remove(TEXT)
    stub.insert(TEXT)
    stub.write("r3", 2)
    stub.write("r3", 1)
    stub.send_queued()
    stub.write("r3", 1)
    stub.send_queued()
    assert link.bursts == [[b"Z0,%x,4" % TEXT], [R3]]
    stub.forget()  # somebody else may have written it
    stub.write("r3", 1)
    stub.send_queued()
    assert link.bursts[2:] == [[R3]]


def test_abandoned() -> None:
    """Only breakpoints are still taken away, and nobody is told."""
    stub, link = started(program(m.NOP))
    told: list[bool] = []
    stub.insert(TEXT)
    stub.send_queued()
    stub.write("r3", 1)
    stub.remove(TEXT)
    stub.defer(told.append)
    stub.abandon()
    stub.send_queued()
    assert link.bursts[1:] == [[b"z0,%x,4" % TEXT]]
    assert told == []


def test_abandoned_in_flight() -> None:
    """What was sent ahead is not waited for, and another batch may follow."""
    stub, link = started(program(m.NOP))
    stub.write("r3", 1)
    stub.send_ahead()
    stub.abandon()
    assert stub.unanswered == [R3]
    assert stub.call(b"qC") == b"QCp01.01"
    assert (link.bursts, link.waited) == ([[R3], [b"qC"]], 1)
    assert stub.unanswered == []


def test_stub_gone_while_one_waits() -> None:
    """Which writes may not have arrived is still known, and the stub may be tried again."""
    machine = program(m.NOP)
    stub, _ = started(machine)
    stub.write("r3", 1)

    def gone(payload: bytes) -> bytes:
        raise StubGone("gone")

    real, machine.call = machine.call, gone  # type: ignore[method-assign]
    with pytest.raises(StubGone):
        stub.send_queued()
    assert stub.unanswered == [R3]
    machine.call = real  # type: ignore[method-assign]
    assert stub.call(b"qC") == b"QCp01.01"
    assert stub.unanswered == []


def test_what_one_thread_was_written_is_not_taken_for_anothers() -> None:
    """It goes out with the packet that selects the other, which then gets the same."""
    machine = program(m.NOP, vcpus=2)
    stub, _ = started(machine)
    for thread in (b"p1.1", b"p1.2"):
        stub.select(thread)
        stub.write("r3", 1, reads_back=True)
    stub.send_queued()
    assert [cpu["r3"] for cpu in machine.vcpus] == [1, 1]


def test_what_was_refused_is_not_taken_for_written() -> None:
    """Whoever is told of the refusal may not mind; who writes the same again does."""
    machine = program(m.NOP)
    _, link = started(machine)
    machine.reply[b"P3="] = b"E22"
    minded: list[str] = []
    pipeline = Pipeline(link, lambda: minded.append("refused"), lambda queue: queue)
    pipeline.put_value(b"P3", Queued(R3, "to write r3", lambda error: True))
    pipeline.flush()
    machine.reply.clear()
    pipeline.put_value(b"P3", Queued(R3, "to write r3"))
    pipeline.flush()
    assert machine.cpu["r3"] == 1
    assert minded == []
