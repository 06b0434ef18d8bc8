# SPDX-License-Identifier: MIT
"""The Remote Serial Protocol: framing, payload encodings, resume packets and stop replies."""

from __future__ import annotations

import pytest

from gdb_ppc_sstep.errors import Endless
from gdb_ppc_sstep.rsp.framing import (
    ACK,
    INTERRUPT,
    LONGEST,
    NAK,
    Bad,
    Byte,
    Item,
    Notification,
    Packet,
    Parser,
    frame,
    plain,
)
from gdb_ppc_sstep.rsp.resume import (
    Action,
    Resume,
    StopReply,
    is_final,
    parse_resume,
    stopped,
    thread_id,
)


def parsed(*pieces: bytes) -> list[Item]:
    """The items of a stream that arrives in these pieces."""
    parser = Parser()
    return [item for piece in pieces for item in parser.feed(piece)]


# -- framing


@pytest.mark.parametrize(
    ("payload", "framed"),
    [
        (b"", b"$#00"),
        (b"OK", b"$OK#9a"),
        (b"g", b"$g#67"),
        (b"vCont?", b"$vCont?#49"),
        (b"\x7d\x03" * 3, b"$}\x03}\x03}\x03#80"),
        (b"\xff\xff", b"$\xff\xff#fe"),
    ],
)
def test_frame_adds_the_sum_modulo_256(payload: bytes, framed: bytes) -> None:
    assert frame(payload) == framed


@pytest.mark.parametrize("begins", [b"$", b"%", b"+$OK#9a$"])
def test_a_packet_that_does_not_end(begins: bytes) -> None:
    parser = Parser()
    parser.feed(begins + b"x" * (LONGEST - 1))
    with pytest.raises(Endless, match="it sent a packet of more than 1 MiB"):
        parser.feed(b"x")


def test_the_longest_packet() -> None:
    payload = b"x" * (LONGEST - 4)
    assert parsed(b"$", payload, b"#", b"%02x" % (sum(payload) % 256)) == [Packet(payload)]


def test_frame_of_a_notification() -> None:
    assert frame(b"Stop:T05", b"%") == b"%Stop:T05#99"


@pytest.mark.parametrize(
    ("stream", "items"),
    [
        (b"$OK#9a", [Packet(b"OK")]),
        (b"$#00", [Packet(b"")]),
        (b"$OK#9A", [Packet(b"OK")]),
        (b"+$OK#9a", [Byte(ACK), Packet(b"OK")]),
        (b"-\x03+", [Byte(NAK), Byte(INTERRUPT), Byte(ACK)]),
        (b"$OK#9a$g#67", [Packet(b"OK"), Packet(b"g")]),
        (b"$OK#9a\x03$g#67\x03", [Packet(b"OK"), Byte(INTERRUPT), Packet(b"g"), Byte(INTERRUPT)]),
        (b"$OK#9b", [Bad(b"OK")]),
        (b"$OK#zz", [Bad(b"OK")]),
        (b"$OK#9b$OK#9a", [Bad(b"OK"), Packet(b"OK")]),
        (b"xyz\r\n$OK#9a\x00!!$g#67", [Packet(b"OK"), Packet(b"g")]),
        (b"%Stop:T05#99$OK#9a", [Notification(b"Stop:T05"), Packet(b"OK")]),
        (b"%Stop:T05#9a", [Bad(b"Stop:T05")]),
        (b"$X10,3:}\x03}\x04+#e1", [Packet(b"X10,3:}\x03}\x04+")]),
        (b"$a%b-c+d\x03#33", [Packet(b"a%b-c+d\x03")]),
        (b"$T05thr$OK#9a", [Packet(b"OK")]),
        (b"%Stop:T0$OK#9a", [Packet(b"OK")]),
        (b"$T05$T05$T05$OK#9a$g#67", [Packet(b"OK"), Packet(b"g")]),
        (b"$OK#9", []),
        (b"$OK#", []),
        (b"$OK", []),
        (b"", []),
    ],
)
def test_parser_on_a_stream_that_comes_whole(stream: bytes, items: list[Item]) -> None:
    assert parsed(stream) == items


STREAM = b"+$vCont;s:p1.1;c:p1.-1#f7\x03-$X10,2:}\x03+%#48noise%Stop:T05#99+$OK#00$cut$OK#9a\x03"
ITEMS: list[Item] = [
    Byte(ACK),
    Packet(b"vCont;s:p1.1;c:p1.-1"),
    Byte(INTERRUPT),
    Byte(NAK),
    Packet(b"X10,2:}\x03+%"),
    Notification(b"Stop:T05"),
    Byte(ACK),
    Bad(b"OK"),
    Packet(b"OK"),
    Byte(INTERRUPT),
]


@pytest.mark.parametrize("at", range(len(STREAM) + 1))
def test_parser_does_not_care_where_the_stream_is_split(at: int) -> None:
    assert parsed(STREAM[:at], STREAM[at:]) == ITEMS


def test_parser_byte_by_byte() -> None:
    assert parsed(*(STREAM[n : n + 1] for n in range(len(STREAM)))) == ITEMS


def test_parser_gives_an_item_as_soon_as_it_is_whole() -> None:
    parser = Parser()
    assert list(parser.feed(b"$OK#9")) == []
    assert list(parser.feed(b"a")) == [Packet(b"OK")]
    assert list(parser.feed(b"\x03")) == [Byte(INTERRUPT)]


@pytest.mark.parametrize("value", range(256))
def test_parser_takes_back_what_frame_makes_of_any_byte(value: int) -> None:
    """All but the two bytes that no payload may hold."""
    if value in b"$#":
        return
    payload = b"m" + bytes([value]) + b"n"
    assert parsed(frame(payload)) == [Packet(payload)]


# -- encodings


@pytest.mark.parametrize(
    ("encoded", "decoded"),
    [
        (b"", b""),
        (b"OK", b"OK"),
        (b"0* ", b"0000"),  # the example of gdb's manual
        (b'0*"', b"000000"),
        (b"x0*~y", b"x" + b"0" * 98 + b"y"),
        (b"0* 1*!2", b"0000111112"),
        (b"0*~0*~", b"0" * 196),
        (b"}\x03", b"#"),
        (b"}\x04", b"$"),
        (b"}]", b"}"),
        (b"}\n", b"*"),
        (b"a}\x03}]b", b"a#}b"),
        (b"\n* ", b"\n\n\n\n"),
    ],
)
def test_plain(encoded: bytes, decoded: bytes) -> None:
    assert plain(encoded) == decoded


@pytest.mark.parametrize(
    ("written", "name"),
    [
        (b"p01.01", b"p1.1"),
        (b"p1.1", b"p1.1"),
        (b"p01.0a", b"p1.a"),
        (b"p10.20", b"p10.20"),
        (b"p010.0020", b"p10.20"),
        (b"p0.0", b"p0.0"),
        (b"p1.-1", b"p1.-1"),
        (b"p01", b"p1"),
        (b"01", b"1"),
        (b"00", b"0"),
        (b"0", b"0"),
        (b"-1", b"-1"),
    ],
)
def test_thread_id_has_no_leading_zeros(written: bytes, name: bytes) -> None:
    assert thread_id(written) == name


# -- resume packets

RESUMES = [
    (
        b"vCont;s:p1.1;c:p1.-1",
        Resume((Action(b"s", b"", b"p1.1"), Action(b"c", b"", b"p1.-1"))),
        b"vCont;c:p1.1;c:p1.-1",
    ),
    (
        b"vCont;C05:p1.1;c",
        Resume((Action(b"C", b"05", b"p1.1"), Action(b"c"))),
        b"vCont;C05:p1.1;c",
    ),
    (
        b"vCont;S0b:p1.2;c:p1.-1",
        Resume((Action(b"S", b"0b", b"p1.2"), Action(b"c", b"", b"p1.-1"))),
        b"vCont;C0b:p1.2;c:p1.-1",
    ),
    (
        b"vCont;rc000000000001000,c000000000001010:p1.1;c:p1.-1",
        Resume(
            (
                Action(b"r", b"c000000000001000,c000000000001010", b"p1.1"),
                Action(b"c", b"", b"p1.-1"),
            )
        ),
        b"vCont;c:p1.1;c:p1.-1",
    ),
    (b"vCont;c:p1.-1", Resume((Action(b"c", b"", b"p1.-1"),)), b"vCont;c:p1.-1"),
    (b"vCont;s:1", Resume((Action(b"s", b"", b"1"),)), b"vCont;c:1"),
    (b"vCont;c", Resume((Action(b"c"),)), b"vCont;c"),
    (b"vCont;s", Resume((Action(b"s"),)), b"vCont;c"),
    (b"vCont;t", Resume((Action(b"t"),)), b"vCont;t"),
    (b"s", Resume((Action(b"s"),), vcont=False), b"c"),
    (b"c", Resume((Action(b"c"),), vcont=False), b"c"),
    (b"S05", Resume((Action(b"S", b"05"),), vcont=False), b"C05"),
    (b"C05", Resume((Action(b"C", b"05"),), vcont=False), b"C05"),
    (b"c1000", Resume((Action(b"c", b"1000"),), vcont=False), b"c1000"),
]


@pytest.mark.parametrize(("payload", "resume", "_continued"), RESUMES)
def test_parse_resume(payload: bytes, resume: Resume, _continued: bytes) -> None:
    assert parse_resume(payload) == resume


@pytest.mark.parametrize(("payload", "_resume", "_continued"), RESUMES)
def test_resume_gives_its_packet_back(payload: bytes, _resume: Resume, _continued: bytes) -> None:
    parsed_resume = parse_resume(payload)
    assert parsed_resume is not None
    assert parsed_resume.payload() == payload


@pytest.mark.parametrize(("_payload", "resume", "continued"), RESUMES)
def test_continued_leaves_no_step(_payload: bytes, resume: Resume, continued: bytes) -> None:
    assert resume.continued().payload() == continued
    assert resume.continued().stepping is None


@pytest.mark.parametrize(
    ("payload", "thread", "verb"),
    [
        (b"vCont;s:p1.2;c:p1.-1", b"p1.2", b"s"),
        (b"vCont;c:p1.1;s:p1.2", b"p1.2", b"s"),
        (b"vCont;r1000,1010:p1.1", b"p1.1", b"r"),
        (b"vCont;S05:p1.1", b"p1.1", b"S"),
        (b"s", None, b"s"),
        (b"S05", None, b"S"),
    ],
)
def test_stepping_is_the_action_that_steps(
    payload: bytes, thread: bytes | None, verb: bytes
) -> None:
    resume = parse_resume(payload)
    assert resume is not None
    assert resume.stepping is not None
    assert (resume.stepping.thread, resume.stepping.verb) == (thread, verb)


def test_threads_of_a_resume_have_no_leading_zeros() -> None:
    resume = parse_resume(b"vCont;s:p01.02;c:p1.-1")
    assert resume is not None
    assert resume.payload() == b"vCont;s:p1.2;c:p1.-1"


@pytest.mark.parametrize("payload", [b"c", b"C05", b"vCont;c", b"vCont;C05:p1.1;c", b"vCont;t"])
def test_what_does_not_step_has_no_step(payload: bytes) -> None:
    resume = parse_resume(payload)
    assert resume is not None
    assert resume.stepping is None


QUERIES = (b"?", b"qC", b"vCont?", b"vCont", b"vMustReplyEmpty", b"QStartNoAckMode")
STATE = (b"g", b"m1000,4", b"X0,1:c", b"z0,1000,4", b"Hc-1", b"Hgp1.1")


@pytest.mark.parametrize("payload", [b"", *QUERIES, *STATE, b"D;1", b"k", b"vKill;1"])
def test_other_packets_resume_nothing(payload: bytes) -> None:
    assert parse_resume(payload) is None


# -- stop replies


@pytest.mark.parametrize(
    ("payload", "signal", "thread"),
    [
        (b"T05thread:p1.1;", 5, b"p1.1"),
        (b"T02thread:p01.02;", 2, b"p1.2"),  # as QEMU writes it
        (b"T0bthread:1;", 11, b"1"),
        (b"T05", 5, None),
        (b"S05", 5, None),
        (b"T05watch:c000000000001000;thread:p1.2;", 5, b"p1.2"),
        (b"T0540:0000000000000100;thread:p1.1;core:0;", 5, b"p1.1"),
        (b"T05xthread:p9.9;", 5, None),
        (b"W00", None, None),
        (b"W00;process:1", None, None),
        (b"X09", None, None),
        (b"N", None, None),
        (b"E01", None, None),
        (b"OK", None, None),
        (b"", None, None),
    ],
)
def test_stop_reply(payload: bytes, signal: int | None, thread: bytes | None) -> None:
    assert StopReply.parse(payload) == StopReply(payload, signal, thread)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"T05thread:p1.1;", True),
        (b"S05", True),
        (b"T02thread:p1.1;", False),
        (b"T05thread:p1.1;watch:1000;", False),
        (b"T05awatch:1000;thread:p1.1;", False),
        (b"T05rwatch:1000;thread:p1.1;", False),
        (b"W00", False),
    ],
)
def test_is_breakpoint(payload: bytes, expected: bool) -> None:
    assert StopReply.parse(payload).is_breakpoint is expected


@pytest.mark.parametrize(
    ("thread", "signal", "payload"),
    [(b"p1.1", 5, b"T05thread:p1.1;"), (None, 5, b"T05"), (b"1", 2, b"T02thread:1;")],
)
def test_stopped_is_what_parse_makes_of_it(
    thread: bytes | None, signal: int, payload: bytes
) -> None:
    assert stopped(thread, signal) == StopReply.parse(payload)


@pytest.mark.parametrize(
    ("payload", "final"),
    [
        (b"T05thread:p1.1;", True),
        (b"S05", True),
        (b"W00", True),
        (b"X09", True),
        (b"N", True),
        (b"E22", True),
        (b"OK", True),
        (b"", True),
        (b"O48656c6c6f", False),
        (b"O", False),
        (b"Fwrite,1,1000,5", False),
    ],
)
def test_is_final(payload: bytes, final: bool) -> None:
    """Neither console output nor a File-I/O request ends a resume."""
    assert is_final(payload) is final
