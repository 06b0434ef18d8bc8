# SPDX-License-Identifier: MIT
"""What the stub has replied is not asked for again, until something may have changed it."""

from __future__ import annotations

import pytest

from gdb_ppc_sstep.stub.known import Known, may_show

ASKS = {"r3": b"p3", "pc": b"p40", "msr": b"p41", "lr": b"p43", "srr0": b"p50", "xer": b"p45"}
PC, MSR, LR = b"11" * 8, b"22" * 8, b"33" * 8
GENERAL = b"".join(b"%02x" % n * 8 for n in range(32)) + PC + MSR + b"xxxxxxxx" + LR
R3, ONE = b"03" * 8, b"01" * 8


def known() -> Known:
    """After `g`, whose layout is confirmed by pc and MSR."""
    one = Known(ASKS)
    one.replies.update({b"g": GENERAL, b"p40": PC, b"p41": MSR})
    return one


def test_registers_out_of_the_general_reply() -> None:
    """Those in it are known by their places, others are not."""
    one = known()
    assert (one.register("r3"), one.register("lr")) == (R3, LR)
    assert one.register("srr0") is None
    one.replies[b"p50"] = ONE
    assert one.register("srr0") == ONE


@pytest.mark.parametrize("wrong", [b"p40", b"p41"])
def test_another_layout_is_not_believed(wrong: bytes) -> None:
    """Without pc and MSR where QEMU has them, or if they are unknown, it tells no register."""
    one = known()
    one.replies[wrong] = ONE
    assert one.register("r3") is None
    del one.replies[wrong]
    assert one.register("r3") is None


def test_what_is_no_value_is_not_known() -> None:
    """A register that is unavailable, or a refusal."""
    one = Known(ASKS)
    for reply in (b"xxxxxxxxxxxxxxxx", b"E14", b""):
        one.replies[b"p3"] = reply
        assert one.register("r3") is None


@pytest.mark.parametrize(("name", "at"), [("r3", 48), ("pc", 512), ("msr", 528), ("lr", 552)])
def test_written_and_read_back(name: str, at: int) -> None:
    """The reply to `g` has the new value as well, in its place and nowhere else."""
    one = known()
    one.wrote(name, ONE, 1, reads_back=True)
    assert one.register(name) == one.reply(ASKS[name]) == ONE
    assert one.values == {name: 1}
    assert one.reply(b"g") == GENERAL[:at] + ONE + GENERAL[at + 16 :]


def test_written_where_the_general_reply_was_refused() -> None:
    """The refusal has no place for it, and tells nothing of other registers."""
    one = known()
    one.register("r3")  # the layout is checked
    one.forget()
    one.replies.update({b"g": b"E22", b"p40": PC, b"p41": MSR})
    one.wrote("pc", ONE, 1, reads_back=True)
    one.wrote("msr", ONE, 1, reads_back=True)
    assert one.register("r3") is None
    assert one.reply(b"g") is None


def test_written_and_not_in_the_general_reply() -> None:
    """SRR0 is not in it, so it stays; of others that is not known, so it goes."""
    one = known()
    one.wrote("srr0", ONE, 1, reads_back=True)
    assert (one.reply(b"g"), one.register("srr0")) == (GENERAL, ONE)
    one.wrote("xer", b"00000001", 1, reads_back=True)
    assert (one.reply(b"g"), one.register("xer")) == (None, b"00000001")


def test_written_and_to_be_asked_for() -> None:
    """Where the stub may make something else of it."""
    one = known()
    one.replies[b"p3"], one.values["r3"] = R3, 3
    one.wrote("r3", ONE, 1, reads_back=False)
    assert one.register("r3") is None and one.reply(b"p3") is None
    assert one.reply(b"g") is None and one.values == {}
    assert one.register("pc") == PC


def test_code() -> None:
    """Any part of a block is known, what reaches out of it is not."""
    one = Known(ASKS)
    one.learn_code(0x1000, b"00112233445566778899aabb")
    assert one.reply(b"m1000,4") == b"00112233"
    assert one.reply(b"m1006,6") == b"66778899aabb"
    for outside in (b"mffc,4", b"mffe,4", b"m100a,4", b"m100c,4", b"m1000,0", b"p1000"):
        assert one.reply(outside) is None, outside
    assert one.has_code(0x1008)
    assert not one.has_code(0x100C) and not one.has_code(0xFFC)


@pytest.mark.parametrize("refusal", [b"E14", b"", b"0", b"00112"])
def test_code_that_was_refused(refusal: bytes) -> None:
    """It is asked for again."""
    one = Known(ASKS)
    one.learn_code(0x1000, refusal)
    assert not one.has_code(0x1000) and one.reply(b"m1000,1") is None


def test_forgotten() -> None:
    """Memory alone, refusals alone, one reply, all."""
    one = known()
    one.learn_code(0x1000, b"0011223344556677")
    one.replies[b"m2000,4"], one.replies[b"p50"], one.replies[b"m3000,4"] = ONE, b"E14", b"E14"
    one.values["r3"] = 3
    assert one.reply(b"m1000,4") is not None
    one.forget_refusals()
    assert one.reply(b"p50") is None and one.reply(b"m3000,4") is None
    assert one.reply(b"m2000,4") == ONE and one.register("r3") == R3
    one.forget_memory()
    assert one.reply(b"m2000,4") is None and one.reply(b"m1000,4") is None
    assert not one.has_code(0x1000) and one.register("r3") == R3 and one.values == {"r3": 3}
    one.forget_reply(b"p41")
    one.forget_reply(b"p41")
    assert one.register("r3") == R3 and one.reply(b"g") == GENERAL, "the layout is known by now"
    one.learn_code(0x1000, b"00112233")
    one.forget()
    assert (one.replies, one.values, one.has_code(0x1000)) == ({}, {}, False)


def test_the_layout_is_checked_once() -> None:
    """After that the reply to `g` is enough."""
    one = Known(ASKS)
    one.learn_all([b"g", b"p40", b"p41"], [GENERAL, PC, MSR])
    assert one.given(b"p3") and one.given(b"p43") and not one.given(b"p50")
    one.forget()
    assert one.trusts_general and not one.has_general
    one.learn_all([b"g"], [GENERAL])
    assert one.has_general
    assert (one.register("pc"), one.reply(b"p41"), one.register("r3")) == (PC, MSR, R3)


def test_an_msr_of_0_checks_nothing() -> None:
    """There may be zeros at that place in any layout."""
    one = Known(ASKS)
    zeros = b"00" * 400
    one.learn_all([b"g", b"p40", b"p41"], [zeros, b"00" * 8, b"00" * 8])
    assert not one.given(b"p3") and one.register("r3") is None


def test_a_stub_without_a_general_reply() -> None:
    one = Known(ASKS)
    one.learn_all([b"g", b"p40", b"p41"], [b"", PC, MSR])
    assert not one.trusts_general
    assert one.register("pc") == PC


def test_one_word_that_has_changed() -> None:
    """What may show it is forgotten, also by another address of the same place in a page."""
    one = Known(ASKS)
    one.learn_code(0x1000, b"0011223344556677")
    one.learn_code(0x9100, b"8899aabb")
    one.replies[b"m5004,2"], one.replies[b"m5006,4"], one.replies[b"p50"] = b"4455", ONE, ONE
    one.forget_memory(0xC000000000001004)
    assert not one.has_code(0x1000) and one.has_code(0x9100)
    assert set(one.replies) == {b"p50"}


@pytest.mark.parametrize(
    ("start", "length", "word", "shows"),
    [
        *((0x1004, 4, 0x1004, True), (0x1008, 4, 0x1004, False), (0x1000, 4, 0x1004, False)),
        *((0x1006, 1, 0x1004, True), (0x1000, 5, 0x1004, True), (0x4D00, 4, 0x7FFD00, True)),
        *((0xFFC, 8, 0x3000, True), (0xFFC, 4, 0x3000, False), (0, 0x1000, 0xC, True)),
    ],
)
def test_what_may_show_a_word(start: int, length: int, word: int, shows: bool) -> None:
    assert may_show(start, length, word) is shows
