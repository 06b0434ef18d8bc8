# SPDX-License-Identifier: MIT
"""Breakpoints of ours are not among those that scripts of the user's see.

gdb.breakpoints() gives internal breakpoints that were made by Python as well (gdb/python
py-breakpoint.c build_bp_list).  So it is replaced, like the built-in commands, for good.
"""

from __future__ import annotations

from collections.abc import Sequence

import gdb

_all = gdb.breakpoints


class Internal(gdb.Breakpoint):
    """A breakpoint of ours."""


def _of_users() -> Sequence[gdb.Breakpoint]:
    """Return a sequence of all breakpoints.
    The ppc64 single-step extension has replaced gdb's own: its breakpoints are left out."""
    return tuple(one for one in _all() if not isinstance(one, Internal))


def install() -> None:
    """Hide them from now on."""
    gdb.breakpoints = _of_users
