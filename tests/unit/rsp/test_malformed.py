# SPDX-License-Identifier: MIT
"""Parsers alone, given anything: they answer, or raise what they are documented to raise."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gdb_ppc_sstep.errors import BadPacket, StubRefused
from gdb_ppc_sstep.rsp import description, effects, private
from gdb_ppc_sstep.rsp.description import Register
from gdb_ppc_sstep.rsp.framing import (
    ACK,
    INTERRUPT,
    NAK,
    Byte,
    Item,
    Notification,
    Packet,
    Parser,
    frame,
    plain,
)
from gdb_ppc_sstep.rsp.resume import StopReply, is_final, parse_resume, thread_id

from .. import machine as m
from ..malformed import ENDS, RESUMES, mutated, replies

PAYLOADS: st.SearchStrategy[bytes] = st.binary(max_size=20).filter(
    lambda payload: not set(b"$#") & set(payload)
)
STREAMS = st.lists(
    st.one_of(
        st.binary(max_size=6),
        st.text("$#%+-}0aZ\x03", max_size=8).map(str.encode),
        PAYLOADS.map(frame),
        PAYLOADS.map(lambda payload: frame(payload, b"%")),
        PAYLOADS.map(lambda payload: frame(payload)[:-1]),
    ),
    max_size=8,
).map(b"".join)


@given(STREAMS, st.lists(st.integers(0, 60), max_size=8))
@example(b"+$a#61$", [1])
def test_items_do_not_depend_on_how_a_stream_is_cut(stream: bytes, cuts: list[int]) -> None:
    places = sorted({0, len(stream), *(min(cut, len(stream)) for cut in cuts)})
    whole, parts = Parser(), Parser()
    items: list[Item] = []
    for start, end in zip(places, places[1:]):
        items += parts.feed(stream[start:end])
    assert items == whole.feed(stream)
    assert parts.feed(frame(b"qC"))[-1:] == whole.feed(frame(b"qC"))[-1:]


@given(STREAMS)
def test_a_whole_packet_after_anything_is_found_at_the_second_time(stream: bytes) -> None:
    """The first may be taken for the checksum of what came before."""
    parser = Parser()
    parser.feed(stream)
    assert Packet(b"qC") in parser.feed(2 * frame(b"qC"))


BYTES = [Byte(one) for one in (ACK, NAK, INTERRUPT)]
ITEMS = st.one_of(st.sampled_from(BYTES), PAYLOADS.map(Packet), PAYLOADS.map(Notification))


@given(st.lists(ITEMS, max_size=10))
def test_items_come_as_they_were_sent(items: list[Item]) -> None:
    data = b""
    for item in items:
        if isinstance(item, Byte):
            data += item.value
        else:
            data += frame(item.payload, b"$" if isinstance(item, Packet) else b"%")
    assert Parser().feed(data) == items


@given(st.one_of(mutated((*RESUMES, *ENDS)), mutated(), st.binary(max_size=40)))
@example(b"vCont;r1:p1.1")
@example(b"vCont;")
@example(b"vCont;s:")
@example(b"c\x80")
def test_a_resume_is_read_or_refused(payload: bytes) -> None:
    """What was read can be used: nothing of it is malformed any more."""
    with suppress(BadPacket):
        resume = parse_resume(payload)
        if resume is None:
            return
        assert resume.actions
        for action in resume.actions:
            assert action.verb in b"c C s S r t".split(b" ")
            if action.verb == b"r":
                start, end = action.range
                assert 0 <= start < 1 << 64
                assert 0 <= end < 1 << 64
            if action.verb in (b"C", b"S"):
                assert 0 <= int(action.argument[:2], 16) < 256
        for other in (resume, resume.continued(), resume.stepped(), resume.without_ranges()):
            assert parse_resume(other.payload()) == other
        assert resume.continued().stepping is None
        assert resume.alone is None or isinstance(resume.alone, bytes)


@given(st.one_of(mutated(), st.binary(max_size=60)))
def test_any_packet_of_gdbs_is_read_or_refused(payload: bytes) -> None:
    with suppress(BadPacket):
        request = effects.parse(payload)
        assert request.payload == payload
        assert request.shows_error_text in (True, False)


@given(st.text(max_size=30), st.sampled_from((b"vCont;", b"P", b"m", b"x", b"")))
@example("$#*}\n\xff\u20ac", b"P")
def test_any_error_is_one_packet_and_one_line(text: str, payload: bytes) -> None:
    reply = effects.Request(payload).error(text)
    assert Parser().feed(frame(reply)) == [Packet(reply)]
    assert reply.isascii()
    assert reply.decode().isprintable()
    assert plain(reply) == reply


@given(replies())
@example(b"T05thread:p1.1")
def test_any_stop_reply_is_read(payload: bytes) -> None:
    stop = StopReply.parse(payload)
    assert stop.payload == payload
    assert stop.signal is None or 0 <= stop.signal < 256
    assert str(stop).encode("latin-1") == payload
    assert stop.is_breakpoint in (True, False)
    assert is_final(payload) in (True, False)


@given(st.one_of(st.binary(max_size=20), mutated((b"p01.01", b"p1.-1", b"0", b"-1"))))
def test_any_thread_id_is_normalised_once_and_for_all(text: bytes) -> None:
    once = thread_id(text)
    assert thread_id(once) == once


@given(st.binary(max_size=40))
def test_any_run_lengths_and_escapes_are_undone(payload: bytes) -> None:
    assert isinstance(plain(payload), bytes)


DESCRIPTION = m.Machine().description().encode()
TEXTS = st.one_of(
    mutated(
        (
            b'<target><reg name="pc" bitsize="64" regnum="64"/><reg name="msr" bitsize="64"/>',
            b'<target><xi:include href="core.xml"/><reg name="srr0" bitsize="64" regnum="1"/>',
            b'<target><xi:include href="target.xml"/><!-- <reg name="a" --> <reg x="1"/>',
            DESCRIPTION[-400:],
        )
    ),
    st.binary(max_size=60),
).map(lambda text: text.decode("latin-1"))


@given(st.lists(TEXTS, min_size=1, max_size=4))
@example(['<reg name="pc"/>'])
@example(['<reg bitsize="64"/>'])
@example(['<reg name="pc" bitsize="zz"/>'])
@example(['<reg name="pc" bitsize="64" regnum=""/>'])
@example(['<reg name="pc" bitsize="-64"/>'])
@example(['<reg name="pc" bitsize="64" regnum="-1"/>'])
@example(['<reg name="pc" bitsize="0"/>'])
@example(['<reg name="pc" bitsize="64" regnum="' + "9" * 5000 + '"/>'])
def test_a_description_is_read_or_refused(texts: list[str]) -> None:
    given_texts = iter(texts)
    with suppress(StubRefused):
        for name, register in description.parse(lambda annex: next(given_texts, "")).items():
            assert isinstance(name, str)
            assert isinstance(register, Register)
            assert 0 <= register.number < 1 << 31, "`p%x` names it"
            assert 0 <= register.size < 1 << 16, "in bytes"


RUNS = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 1 << 20)), min_size=1, max_size=8)


@given(st.sampled_from([b"p1.1", b"2"]), st.integers(0, 1 << 62), RUNS)
def test_lines_are_read_as_they_were_written(
    thread: bytes, start: int, runs: list[tuple[int, int]]
) -> None:
    stretches = []
    for gap, size in runs:
        stretches.append((start + gap, start + gap + size))
        start += gap + size
    payload = f"Qppc-sstep.lines={private.lines_text(thread, stretches)}".encode()
    assert private.parse(payload) == private.SetLines(thread, tuple(stretches))


@pytest.mark.parametrize(
    "text",
    ["p1.1", "p1.1;", "p1.1;1000", "1000,4", "p1.1;1000,0", "p1.1;1000,4;1002,4", "p1.1;1000,-4"],
)
def test_lines_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(BadPacket):
        private.parse(f"Qppc-sstep.lines={text}".encode())
