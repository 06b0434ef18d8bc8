# SPDX-License-Identifier: MIT
"""What the oracle takes for an error of gdb's."""

from __future__ import annotations

import pytest

from tests.harness.oracle import complaint


@pytest.mark.parametrize(
    ("command", "output"),
    [
        ("set $ctr = $trace", "Invalid cast.\n"),
        ("set $srr0 = $pc | 1", "Argument to arithmetic operation not a number or boolean.\n"),
        ("set var x = 1", "whatever it says\n"),
        ("print $trace", "$1 = void\n"),
        ("x/i 0", "Cannot access memory at address 0x0\n"),
        ("stepi nosuch", 'before\nNo symbol "nosuch" in current context.\n'),
        ("continue", "Error in testing condition for breakpoint 1:\n"),
        ("python foo", "Traceback (most recent call last):\n"),
    ],
)
def test_an_error(command: str, output: str) -> None:
    assert complaint(command, output) in output.strip()
    assert complaint(command, output)


@pytest.mark.parametrize(
    ("command", "output"),
    [
        ("set $ctr = 1", ""),
        ("print total", "$1 = 38\n"),
        ("info breakpoints", "No breakpoints or watchpoints.\n"),
        ("stepi", "0x0000000000020104\t40\tdemo.c: No such file or directory.\n"),
        ("c 2", "Not stopped at any breakpoint; argument ignored.\nContinuing.\n"),
        ("print factorial(4)", "The program being debugged stopped while in a function called\n"),
        ("finish", "Run till exit from #0  square (x=1) at demo.c:9\nValue returned is $1 = 1\n"),
    ],
)
def test_no_error(command: str, output: str) -> None:
    assert not complaint(command, output)
