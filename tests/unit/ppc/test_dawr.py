# SPDX-License-Identifier: MIT
"""The window of DAWR0 and DAWRX0."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdb_ppc_sstep.ppc.dawr import OFF, SLACK, Watch, Window, may_end_at, window

POWER8, POWER9, POWER10, POWER11 = 0x004D0200, 0x004E1202, 0x00800200, 0x00820100


def watch(address: int, length: int, *, loads: bool = False, stores: bool = True) -> Watch:
    return Watch(address, length, loads=loads, stores=stores)


@pytest.mark.parametrize(
    ("watches", "address", "control"),
    [
        ([watch(0x1000, 8)], 0x1000, 0x4B),
        ([watch(0x1003, 1)], 0x1000, 0x4B),
        ([watch(0x1007, 2)], 0x1000, 0x4B | 1 << 10),
        ([watch(0x1000, 8, loads=True, stores=False)], 0x1000, 0x2B),
        ([watch(0x1000, 8, loads=True)], 0x1000, 0x6B),
        ([watch(0x1000, 512)], 0x1000, 0x4B | 63 << 10),
        ([watch(0x1010, 4), watch(0x1000, 1, loads=True, stores=False)], 0x1000, 0x6B | 2 << 10),
        ([], 0, 0),
    ],
)
def test_window(watches: list[Watch], address: int, control: int) -> None:
    """DAWRX0: DW 0x40, DR 0x20, WTI 8, PNH 2, PRO 1, and doublewords less one from bit 10 on; never
    HYP (4), which is the hypervisor's."""
    assert window(watches, POWER9) == (address, control)


@pytest.mark.parametrize("pvr", [POWER8, POWER9, POWER10, POWER11, None])
@pytest.mark.parametrize(
    ("address", "length", "crosses", "fits"),
    [
        (0x1000, 512, False, True),
        (0x1001, 511, False, True),
        (0x1000, 513, True, False),
        (0x11FF, 1, False, True),
        (0x11FC, 8, True, True),
        (0x1008, 512, True, True),
        (0x1009, 512, True, False),
    ],
)
def test_where_it_may_be(address: int, length: int, crosses: bool, fits: bool, pvr: int) -> None:
    one = window([watch(address, length)], pvr)
    may = pvr in (POWER10, POWER11)
    assert (one is not None) == (fits and (may or not crosses))


@given(
    st.lists(
        st.builds(
            Watch, st.integers(0x1000, 0x1400), st.integers(1, 64), st.booleans(), st.booleans()
        ),
        min_size=1,
        max_size=4,
    ),
    st.integers(0xFF0, 0x1450),
    st.integers(1, 16),
    st.booleans(),
)
def test_all_that_is_watched_is_in_it(
    watches: list[Watch], address: int, length: int, loads: bool
) -> None:
    one = window(watches, POWER10)
    if one is None:
        return
    assert one.address % 8 == one.length % 8 == 0
    assert one.length <= 512
    if any(w.touches(address, length, loads=loads, stores=not loads) for w in watches):
        assert one.matches
        assert one.has(address, length)
        assert one.control & (0x20 if loads else 0x40)


@pytest.mark.parametrize(
    ("address", "length", "loads", "stores", "touches"),
    [
        (0x1004, 4, False, True, True),
        (0x1000, 4, False, True, False),
        (0x1000, 5, False, True, True),
        (0x1007, 1, False, True, True),
        (0x1008, 8, False, True, False),
        (0x1004, 4, True, False, False),
        (0x1004, 4, True, True, True),
    ],
)
def test_touches(address: int, length: int, loads: bool, stores: bool, touches: bool) -> None:
    assert watch(0x1004, 4).touches(address, length, loads=loads, stores=stores) == touches


@pytest.mark.parametrize(("control", "matches"), [(0x43, 1), (0x22, 1), (0x40, 0), (3, 0)])
def test_a_window_without_a_kind_or_a_state_matches_nothing(control: int, matches: int) -> None:
    assert Window(0x1000, control).matches == bool(matches)
    assert Window(0x1000, control).length == 8 * matches
    assert not OFF.has(0, 8)


def test_a_match_may_tell_any_address_of_its_access() -> None:
    one = Window(0x1000, 0x4B)
    assert one.is_near(0x1000 - SLACK)
    assert one.is_near(0x1007 + SLACK)
    assert not one.is_near(0x1000 - SLACK - 1)
    assert not one.is_near(0x1008 + SLACK)
    off = Window(0x1000, 0)
    assert off.is_near(0x1100), "its length is not known any more"
    assert not off.is_near(0x2000)


@pytest.mark.parametrize("length", [8, 64, 512])
def test_may_end_at(length: int) -> None:
    for address in range(0x1000, 0x1400, 8):
        one = window([watch(address + 8 - length, length)], POWER9)
        assert may_end_at(address, length) == (one is not None)
