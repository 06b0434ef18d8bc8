# SPDX-License-Identifier: MIT
"""The manual page has the options that the program has, with the same arguments."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from gdb_ppc_sstep.wire.standalone import argument_parser

PAGE = Path(__file__).parents[3] / "docs" / "gdb-ppc-sstep.1"


def of_the_program() -> dict[str, str]:
    """What follows each option, by the last of its names."""
    found = {}
    for action in argument_parser()._actions:
        if action.help == argparse.SUPPRESS:
            continue
        argument = action.metavar if action.nargs is None else ""
        if action.choices is not None:
            argument = " | ".join(map(str, action.choices))
        found[action.option_strings[-1]] = str(argument).lower()
    return found


def of_the_page(text: str) -> dict[str, str]:
    """The same of the list of options in a page."""
    _, _, rest = text.partition("The options are:\n")
    options, _, _ = rest.partition(".Sh EXIT STATUS")
    found = {}
    for line in re.findall(r"^\.It (.+)", options, re.MULTILINE):
        words = re.fullmatch(r"(?:Fl \w , )?Fl \\-([a-z-]+)(?: (?:Ar|Cm) (.+))?", line)
        assert words, line
        found[f"--{words[1]}"] = words[2] or ""
    return found


def test_the_options_are_the_programs() -> None:
    assert of_the_page(PAGE.read_text()) == of_the_program()
    assert len(of_the_program()) > 10


def test_a_difference_is_found() -> None:
    text = PAGE.read_text()
    assert of_the_page(text.replace(".It Fl \\-once\n", "")) != of_the_program()
    assert of_the_page(text.replace("Cm into | over", "Cm into")) != of_the_program()
