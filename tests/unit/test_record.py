# SPDX-License-Identifier: MIT
"""fixtures/record: an animated picture of a terminal session, and the one that is in docs/."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from fixtures import record

SVG = "{http://www.w3.org/2000/svg}"
SESSION = "\r\n".join(
    (
        "\x1b[1m=== A heading ===\x1b[0m",
        "\x1b[?2004h(gdb) stepi",
        "\x1b[?2004l\r0x100\t\x1b[34m14\x1b[m    x < y && \x1b[32;1mz\x1b[0m",
        "# 3 seconds later: no stop, the guest has run away.  Ctrl-C:",
    )
)


def test_lines_keep_their_colours_and_lose_what_moves_the_cursor() -> None:
    heading, command, reply, _ = record.lines(SESSION)
    assert heading.text == "=== A heading ===" and heading.ours and heading.command is None
    assert command.text == "(gdb) stepi" and command.command == "stepi" and not command.ours
    assert reply.text == "0x100   14    x < y && z"
    assert reply.pieces == (("", "0x100   "), ("b", "14"), ("", "    x < y && "), ("g", "z"))


def test_a_command_is_typed_and_a_guest_that_runs_away_takes_its_time() -> None:
    shown, total = record.paced(record.lines(SESSION))
    _, command, reply, away = shown
    assert len(command.typed) == len("stepi")
    assert command.start < command.typed[0] < command.typed[-1] < command.entered <= reply.start
    assert away.start >= reply.start + record.AWAY
    assert total >= away.start + record.END


def test_a_picture_has_each_line_and_scrolls() -> None:
    many = record.lines("\n".join(f"line {i}" for i in range(record.ROWS + 5)))
    svg = record.picture(many)
    texts = ["".join(text.itertext()) for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]
    assert texts == [line.text for line in many]
    # One row is the cursor's.
    assert f"#s{{transform:translate(0px,{-6 * record.HEIGHT}px)}}" in svg


def test_all_that_is_animated_is_there_once() -> None:
    svg = record.picture(record.lines(SESSION))
    animated = re.findall(r"^#(\w+)\{animation", svg, re.MULTILINE)
    assert sorted(animated) == sorted({"s", "c", "k1", "l0", "l1", "l2", "l3"})
    for name in animated:
        assert svg.count(f'id="{name}"') == 1
        assert svg.count(f"@keyframes {name}{{") == 1


def test_a_demo_that_fails_leaves_the_picture(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "demo.svg"
    picture.write_text("as before")
    demo = tmp_path / "fixtures" / "demo"
    demo.parent.mkdir()
    demo.write_text('#!/bin/sh\necho "it failed: $*"\nexit 1\n')
    demo.chmod(0o755)
    monkeypatch.setattr(record, "ROOT", tmp_path)
    monkeypatch.setattr(record, "PICTURE", picture)
    assert record.main() == 1
    assert "it failed: --short --batch" in capsys.readouterr().err
    assert picture.read_text() == "as before"
    demo.write_text("#!/bin/sh\nprintf '\\033[1m# it is well\\033[0m\\n'\n")
    assert record.main() == 0
    assert "# it is well" in picture.read_text()


def test_the_picture_in_docs_is_small_takes_a_minute_at_most_and_names_no_path() -> None:
    svg = record.PICTURE.read_text(encoding="utf-8")
    assert len(svg) <= 100_000
    seconds = {float(found) for found in re.findall(r" ([\d.]+)s step-end infinite", svg)}
    assert len(seconds) == 1 and 30 <= seconds.pop() <= 60
    texts = ["".join(text.itertext()) for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]
    assert max(map(len, texts)) <= record.COLUMNS
    assert not re.search(r"(^|\s)/\w+/", "\n".join(texts))
