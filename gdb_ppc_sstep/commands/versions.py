# SPDX-License-Identifier: MIT
"""What the rules of a step have that not every gdb has, each said once, with its source.

The sources that were read are those of gdb 13.1, 16.3 and 18.1; 14 and 15 are taken for 13, and
17.2 was seen to be as 16.
"""

from __future__ import annotations

import re
from functools import cache

import gdb


@cache
def _major() -> int:
    version = re.search(r"\d+", gdb.VERSION)
    return int(version[0]) if version is not None else 0


def knows_entries() -> bool:
    """Whether gdb takes an inlined call to begin where the compiler says, and not at its lowest
    address.

    gdb/block.h block::entry_pc: gdb 16 has block::set_entry_pc, gdb 13 has not.
    """
    return _major() >= 16


def shows_where_it_was() -> bool:
    """Whether a step that comes to another piece of an inlined call in which it was stays in it.

    gdb/infrun.c process_event_stop_test, "Handle the case when subroutines have multiple ranges":
    gdb 16 has it, gdb 13 has not.
    """
    return _major() >= 16


def compares_inlined() -> bool:
    """Whether a stop shows the frame where a step has left an inlined call for its function.

    gdb/infrun.c print_stop_location: gdb 18 compares the functions of frames
    (thread_control_state::in_step_start_function), gdb 16 those of the code (find_pc_function).
    """
    return _major() >= 18


def misses_calls() -> bool:
    """Whether the function around an inlined call counts as the caller of that call's frame.

    A step then does not see that it came by a call to where an inlined call is shown, and `advance`
    from an inlined call waits where it stands.  gdb/frame.c frame_unwind_caller_frame of gdb 18.1;
    17.2 behaves as 16.3, whose frame_unwind_caller_id leaves out inlined calls first.
    """
    return _major() >= 18
