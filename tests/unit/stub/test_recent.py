# SPDX-License-Identifier: MIT
"""The last packets: how many, how long, and as lines from which they can be made again."""

from __future__ import annotations

import ast

from hypothesis import given
from hypothesis import strategies as st

from gdb_ppc_sstep.stub.recent import LONGEST, MOST, RecentPackets, printable


def test_the_last_ones_in_their_order() -> None:
    recent = RecentPackets()
    for n in range(MOST + 7):
        recent.note("stub <- ", b"m%x,4" % n)
    texts = recent.texts()
    assert len(texts) == MOST
    assert texts[0] == "stub <- m7,4" and texts[-1] == f"stub <- m{MOST + 6:x},4"


def test_of_a_long_one_the_beginning() -> None:
    recent = RecentPackets()
    recent.note("gdb  -> ", b"x" * (LONGEST + 1))
    recent.note("gdb  -> ", b"y" * LONGEST)
    assert recent.texts() == ["gdb  -> " + "x" * LONGEST, "gdb  -> " + "y" * LONGEST]


@given(st.binary(max_size=40))
def test_each_is_one_line_of_ascii_that_says_all_of_it(payload: bytes) -> None:
    text = printable(payload)
    assert text.isascii() and len(text.splitlines()) <= 1
    quoted = text.replace("'", r"\x27")
    assert ast.literal_eval(f"b'{quoted}'") == payload
