# SPDX-License-Identifier: MIT
"""Words of breakpoints: which memory is told around them, and what is under them."""

from __future__ import annotations

from gdb_ppc_sstep.stub.known import Known
from gdb_ppc_sstep.stub.words import Words

CODE = b"00112233" * 32  # from 0x1000 on
WORD = b"00dddd00"


def words(known: bool) -> tuple[Words, Known]:
    """known: the code is, before anything is planted."""
    replies = Known({})
    if known:
        replies.learn_code(0x1000, CODE)
    return Words(replies), replies


def test_what_was_known_is_under_it() -> None:
    """It is told in the word's place, and stays known when the word comes and goes."""
    one, replies = words(known=True)
    one.sent(b"Z0,1010,4")
    assert replies.reply(b"m1010,4") == b"00112233"
    assert one.revealed(0x1008, b"aaaaaaaabbbbbbbb" + WORD) == b"aaaaaaaabbbbbbbb00112233"
    assert one.revealed(0x1010, b"12345678") == b"12345678", "the guest has overwritten it"
    assert one.clear_of(0x1000, 0x1080, 0x1010) == (0x1000, 0x1080)
    replies.forget()
    one.sent(b"z0,1010,4")
    assert replies.reply(b"m1010,4") == b"00112233"
    assert one.revealed(0x1010, WORD) == WORD


def test_what_was_not_is_not_told() -> None:
    """Code is asked for around it, wherever its page is."""
    one, replies = words(known=False)
    one.sent(b"Z0,c000000000001010,4")
    assert one.clear_of(0x1000, 0x1080, 0x1020) == (0x1014, 0x1080)
    assert one.clear_of(0x5000, 0x5080, 0x500C) == (0x5000, 0x5010)
    assert one.clear_of(0x1000, 0x1080, 0x1010) == (0x1010, 0x1010)
    assert one.clear_of(0x1100, 0x1180, 0x1120) == (0x1100, 0x1180)
    replies.learn_code(0x1000, CODE)
    one.sent(b"z0,c000000000001010,4")
    assert not replies.has_code(0x1000)
    assert one.clear_of(0x1000, 0x1080, 0x1010) == (0x1000, 0x1080)


def test_a_stub_counts() -> None:
    """gdb's and ours at one address are there until both have gone, and a refused one is none."""
    one, _ = words(known=False)
    for packet in (b"Z0,1010,4", b"Z0,1010,4", b"z0,1010,4"):
        one.sent(packet)
    assert one.clear_of(0x1000, 0x1080, 0x1010) == (0x1010, 0x1010)
    one.sent(b"z0,1010,4")
    one.refused(b"z0,1010,4")
    assert one.clear_of(0x1000, 0x1080, 0x1010) == (0x1010, 0x1010)
    one.sent(b"z0,1010,4")
    assert one.clear_of(0x1000, 0x1080, 0x1010) == (0x1000, 0x1080)
    one.sent(b"Z0,1010,4")
    one.refused(b"Z0,1010,4")
    assert one.clear_of(0x1000, 0x1080, 0x1010) == (0x1000, 0x1080)
