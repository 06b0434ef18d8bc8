# SPDX-License-Identifier: MIT
"""gdb's table of what `step` passes by; the texts are what gdb 13.1 prints."""

from __future__ import annotations

import pytest

from gdb_ppc_sstep.commands.skips import Skip, parse

TABLE = """\
Num   Enb Glob File                 RE Function
1     y      n <none>                n scale(int)
2     y      n <none>                y ^shapes::
3     n      n b.c                   n <none>
4     y      n a.c                   n <none>
5     y      y foo/*.c               n bar
6     y      n a/very/long/name/of/a/file.c n <none>
"""


def test_rows_that_are_enabled() -> None:
    assert list(parse(TABLE)) == [
        Skip("", False, "scale(int)", False),
        Skip("", False, "^shapes::", True),
        Skip("a.c", False, "", False),
        Skip("foo/*.c", True, "bar", False),
        Skip("a/very/long/name/of/a/file.c", False, "", False),
    ]


def test_none() -> None:
    assert list(parse("Not skipping any files or functions.\n")) == []


@pytest.mark.parametrize(
    ("skip", "function", "files", "covered"),
    [
        (Skip("", False, "scale(int)", False), "scale(int)", ("a.c",), True),
        (Skip("", False, "scale (int)", False), "scale(int)", ("a.c",), True),
        (Skip("", False, "scale", False), "scale(int)", ("a.c",), True),
        (Skip("", False, "scale(int)", False), "scale(long)", ("a.c",), False),
        (Skip("", False, "scal", False), "scale(int)", ("a.c",), False),
        (Skip("", False, "^shapes::", True), "shapes::area()", ("a.c",), True),
        (Skip("", False, "^area", True), "shapes::area()", ("a.c",), False),
        (Skip("", False, "[", True), "[", ("a.c",), False),
        (Skip("a.c", False, "", False), "f", ("x", "/dir/a.c"), True),
        (Skip("a.c", False, "", False), "f", ("x", "/dir/aa.c"), False),
        (Skip("dir/a.c", False, "", False), "f", ("/dir/a.c",), True),
        (Skip("foo/*.c", True, "bar", False), "bar", ("/x/foo/a.c",), True),
        (Skip("foo/*.c", True, "bar", False), "baz", ("/x/foo/a.c",), False),
        (Skip("foo/*.c", True, "", False), "bar", ("/foo/x/a.c",), False),
        (Skip("*.c", True, "", False), "bar", ("/foo/x/a.c",), True),
    ],
)
def test_covers(skip: Skip, function: str, files: tuple[str, ...], covered: bool) -> None:
    assert skip.covers(function, files) is covered
