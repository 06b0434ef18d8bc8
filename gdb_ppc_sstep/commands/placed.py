# SPDX-License-Identifier: MIT
"""Where gdb's breakpoints are: the user's, and those of the command that gdb is about."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import gdb

from . import table, watches


def said(command: str) -> str:
    """What a command about breakpoints prints, with addresses; the user may not want to see any."""
    if not gdb.parameter("print address"):  # else MI would tell of a change
        command = f"with print address on -- {command}"
    return gdb.execute(command, to_string=True)


def _rows() -> Iterator[table.Row]:
    """The user's breakpoints, each of their locations by itself."""
    return table.parse(said("info breakpoints"))


def users_addresses() -> frozenset[int]:
    """Where the user's enabled breakpoints and dprintfs are."""
    return frozenset(users())


def users_functions() -> dict[int, frozenset[str]]:
    """The functions of the user's enabled breakpoints, as gdb takes them, by their addresses."""
    found: dict[int, frozenset[str]] = {}
    for row in _rows():
        if row.enabled and row.address is not None:
            found[row.address] = found.get(row.address, frozenset()) | {row.function}
    return found


def always_stops(address: int) -> bool:
    """Whether a breakpoint of the user's at an address is known to stop there in any case."""
    here = users().get(address, frozenset())
    return any(
        one.number in here
        and type(one) is gdb.Breakpoint
        and not (one.condition or one.ignore_count or one.thread)
        for one in gdb.breakpoints()
    )


def some_silent(address: int) -> bool:
    """Whether gdb may print nothing of a stop at an address, for what a breakpoint there says."""
    numbers = users().get(address, frozenset())
    return any(_is_silent(one) for one in gdb.breakpoints() if one.number in numbers)


def _is_silent(one: gdb.Breakpoint) -> bool:
    first = (one.commands or "").partition("\n")[0]
    return one.silent or first.strip() == "silent"


def dprintfs(address: int) -> frozenset[int]:
    """The numbers of the user's enabled dprintfs at an address."""
    here = users().get(address, frozenset())
    return here - {one.number for one in gdb.breakpoints()}


def call_returns() -> frozenset[int]:
    """Where functions return to that gdb has called, and that have stopped before they did.

    A breakpoint of gdb's there puts back what was before the call (gdb/infrun.c normal_stop).
    """
    text = gdb.execute("maintenance print dummy-frames", to_string=True)
    return frozenset(int(one, 16) for one in re.findall(r"\bcode=(0x[0-9a-f]+)", text))


@contextmanager
def without(address: int) -> Iterator[None]:
    """The user's breakpoints at an address do not count there meanwhile.

    Their locations are disabled: `enable` of a breakpoint would forget the count of `enable count`.
    """
    locations = " ".join(_locations(address))
    if not locations:
        yield
        return
    gdb.execute(f"disable {locations}")
    try:
        yield
    finally:
        gdb.execute(f"enable {locations}")


def _locations(address: int) -> Iterator[str]:
    """The user's enabled breakpoints at an address, each with the number of its location."""
    seen: Counter[int] = Counter()
    for row in _rows():
        if row.address is not None:
            seen[row.number] += 1
            if row.enabled and row.address == address:
                yield f"{row.number}.{seen[row.number]}"


def users() -> dict[int, frozenset[int]]:
    """The same, with the numbers of those that are at each address, and of what gdb watches."""
    found: dict[int, frozenset[int]] = {}
    watching = watches.numbers()
    for row in _rows():
        if row.enabled and row.address is not None:
            found[row.address] = found.get(row.address, watching) | {row.number}
    return found


def hits() -> dict[int, tuple[int, int]]:
    """Hits and remaining ignores of each of the user's breakpoints that can stop, by number."""
    return {
        one.number: (one.hit_count, one.ignore_count) for one in gdb.breakpoints() if one.visible
    }


def momentary_rows() -> Iterator[table.Row]:
    """gdb's breakpoints for the command that it is about."""
    text = said("maintenance info breakpoints")
    return (row for row in table.parse(text) if row.number == 0)


def in_frame(row: table.Row) -> bool:
    """Whether the guest is in the frame that a breakpoint is for, if that is for one."""
    return row.frame is None or f"{{stack={row.frame:#x}," in _frame_id()


def _frame_id() -> str:
    """The newest frame's id, as text (gdb/frame.c frame_id::to_string)."""
    try:
        return gdb.execute("maintenance print frame-id 0", to_string=True)
    except gdb.error:  # gdb 12; this unwinds the frame's caller as well: a dozen packets
        return str(gdb.newest_frame())


def is_momentary(address: int) -> bool:
    """Whether a breakpoint of a command of gdb's (finish, until, advance) stops at an address."""
    return any(row.address == address and in_frame(row) for row in momentary_rows())
