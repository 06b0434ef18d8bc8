# SPDX-License-Identifier: MIT
"""The README's first command, `fixtures/demo`: each of its shows in batch mode, and its picture."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from fixtures import record

pytestmark = pytest.mark.bare  # for the tests that name no other tier

DEMO = Path(__file__).parents[2] / "fixtures" / "demo"


@pytest.mark.parametrize(
    "options",
    [
        (),
        pytest.param(("--linux",), marks=pytest.mark.linux),
        pytest.param(("--kvm",), marks=[pytest.mark.kvm, pytest.mark.emulated]),
    ],
    ids=lambda options: "".join(options) or "bare",
)
def test_every_command_does_what_it_should(options: tuple[str, ...]) -> None:
    shown = subprocess.run(
        [DEMO, "--batch", *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert shown.returncode == 0, shown.stdout[-3000:] + shown.stderr
    assert "demo: every command did what it should" in shown.stdout
    assert "Hardware watchpoint 2: " in shown.stdout
    assert ("Watchpoints: by DAWR, " in shown.stdout) == ("--kvm" in options)


def plain(lines: Iterable[str]) -> list[str]:
    """A session's lines without what differs in each: numbers, and the place where Ctrl-C comes."""
    told = re.sub(r"0x[0-9a-f]+|\d+", "N", "\n".join(lines))
    return re.sub(r"(?s)\nProgram received signal SIGINT.*?(?=\n\(gdb\))", "", told).splitlines()


@pytest.mark.usefixtures("stub_watches")  # else the demo sees them by steps, and says so
def test_the_picture_is_of_the_present_demo() -> None:
    """docs/demo.svg shows what `fixtures/demo --short` prints now.  If not: run fixtures/record."""
    drawn = ElementTree.parse(record.PICTURE).iter("{http://www.w3.org/2000/svg}text")
    shown = [line.text for line in record.lines(record.run())]
    assert plain("".join(text.itertext()) for text in drawn) == plain(shown)
    assert "(gdb) watch total" in shown
