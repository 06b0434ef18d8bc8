# SPDX-License-Identifier: MIT
"""gdb's table of breakpoints; the texts are what gdb 13.1 prints."""

from __future__ import annotations

from gdb_ppc_sstep.commands.table import Row, parse

USERS = """\
Num     Type           Disp Enb Address            What
1       breakpoint     keep y   0x00000000000202e0 in work at demo.c:40
\tstop only if n==3
\tbreakpoint already hit 1 time
2       dprintf        keep n   0x000000000002005c in square at demo.c:9
        printf "x %d\\n",x
3       breakpoint     del  y   <MULTIPLE>
3.1                         y   0x0000000000020178 in factorial at demo.c:24
3.2                         n   0x00000000000203a0 in main at demo.c:50
4       breakpoint     keep n   <MULTIPLE>
4.1                         y   0x0000000000020180 in factorial at demo.c:24
5       hw watchpoint  keep y                      total
6       breakpoint     keep y   <PENDING>          nosuch
"""

OURS = """\
Num     Type           Disp Enb Address            What
-3      breakpoint     keep y   0x0000000000020060 in square at demo.c:9 inf 1
-3.1                        y   0x0000000000020060 in square at demo.c:9 inf 1
0       finish         del  y   0x00000000000200c8 in sum_of_squares at demo.c:16 thread 1 inf 1
\tstop only in thread 1
0.1                         y   0x00000000000200c8 in sum_of_squares at demo.c:16 inf 1
\tstop only in stack frame at 0x24440
0       until          del  y   0x0000000000020304 in work at demo.c:40 thread 1 inf 1
"""


def test_the_users() -> None:
    assert list(parse(USERS)) == [
        Row(1, "breakpoint", True, 0x202E0, function="work"),
        Row(2, "dprintf", False, 0x2005C, function="square"),
        Row(3, "breakpoint", True, None),
        Row(3, "breakpoint", True, 0x20178, function="factorial"),
        Row(3, "breakpoint", False, 0x203A0, function="main"),
        Row(4, "breakpoint", False, None),
        Row(4, "breakpoint", False, 0x20180, function="factorial"),
        Row(5, "hw watchpoint", True, None),
        Row(6, "breakpoint", True, None),
    ]


def test_gdbs_own() -> None:
    assert list(parse(OURS)) == [
        Row(-3, "breakpoint", True, 0x20060, function="square"),
        Row(0, "finish", True, 0x200C8, frame=0x24440, function="sum_of_squares"),
        Row(0, "until", True, 0x20304, function="work"),
    ]


def test_none() -> None:
    assert list(parse("No breakpoints or watchpoints.\n")) == []
