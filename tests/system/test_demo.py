# SPDX-License-Identifier: MIT
"""The README's first command, `fixtures/demo`: each of its shows, in batch mode."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.bare

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
