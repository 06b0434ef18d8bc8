# SPDX-License-Identifier: MIT
"""The check of the documents (tests/documents.py) sees what is wrong; others can parse theirs."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import pytest

from tests import documents
from tests.documents import PARSED, ROOT, RUN, all_blocks, anchors, parse, problems, says

HERE = ROOT / "docs" / "a-document.md"

GOOD = """# A `title` of [two](support.md) words
[file](support.md), [itself](#a-title-of-two-words), [heading](watchpoints.md#what-to-know),
[above](../README.md#install), [folder](../fixtures), [elsewhere](https://example.org/x.md#y)
<img src="support.md"> [by name][1]

[1]: ../LICENSE

- an item, with `tests/run --full`, `tests/system/test_linux.py::test_two_vcpus` and `test_kvm.py`

  of two paragraphs

<!-- not run: a reason -->
```sh
false  # [no link](nowhere.md)
```
<!-- guest: linux -->
```gdb
stepi
```
## Twice
## Twice
"""


def test_a_good_document_has_no_problem() -> None:
    assert problems(HERE, GOOD) == []
    document = parse(HERE, GOOD)
    assert anchors(document) == {"a-title-of-two-words", "twice", "twice-1"}
    sh, gdb = document.blocks
    assert (sh.kind, sh.not_run, sh.guest) == ("sh", "a reason", "bare")
    assert (gdb.kind, gdb.not_run, gdb.guest) == ("gdb", "", "linux")
    assert (gdb.text, gdb.name) == ("stepi\n", "docs/a-document.md:17")


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("[x](nowhere.md)", 1, "broken link: nowhere.md: there is no such file"),
        ("\n![x](no.svg)", 2, "broken link: no.svg: there is no such file"),
        ("[x]: nowhere.md", 1, "broken link: nowhere.md: there is no such file"),
        ('<img src="no.svg">', 1, "broken link: no.svg: there is no such file"),
        ("[x](#nothing)", 1, "broken link: #nothing: there is no such heading"),
        ("[x](support.md#nothing)", 1, "broken link: support.md#nothing: there is no such heading"),
        ("[x](../../secret.md)", 1, "broken link: ../../secret.md: there is no such file"),
        ("see `tests/nothing.py`", 1, "there is no tests/nothing.py"),
        ("see `test_nothing.py`", 1, "there is no test_nothing.py"),
        (
            "see `test_kvm.py::test_nothing[le]`",
            1,
            "there is no test test_nothing[le] in test_kvm.py",
        ),
        ("```\nx\n```", 1, "a block of kind ''"),
        ("```bash\nx\n```", 1, "a block of kind 'bash'"),
        ("x\n\n    tests/run\n", 3, "an indented block"),
        ("- x\n\n      tests/run\n", 3, "an indented block"),
        ("```sh\nx\n", 1, "the block has no end"),
        ("<!-- not run: -->\n```sh\nx\n```", 2, "a block is not run, and no reason is given"),
        ("<!-- not run: why -->\n\n```sh\nx\n```", 2, "no block below the comment `not run`"),
        ("<!-- not run: why -->\n```text\nx\n```", 2, "a comment above a block that is never run"),
        ("<!-- guest: windows -->\n```gdb\nx\n```", 2, "there is no guest windows"),
    ],
)
def test_what_is_wrong_is_found(text: str, line: int, said: str) -> None:
    (found,) = problems(HERE, text)
    assert found.startswith(f"docs/a-document.md:{line}: {said}")


def test_what_is_wrong_ends_the_check_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(documents, "problems", lambda path, _text: [f"{path.name}:1: wrong"])
    assert documents.main() == 1
    assert "README.md:1: wrong\n" in capsys.readouterr().out
    monkeypatch.setattr(documents, "problems", lambda _path, _text: [])
    assert documents.main() == 0


def test_what_others_read_can_be_parsed() -> None:
    blocks = [block for block in all_blocks() if block.kind in PARSED]
    assert {block.kind for block in blocks} == set(PARSED)
    for block in blocks:
        json.loads(block.text) if block.kind == "json" else ET.fromstring(block.text)


def test_documents_for_users_have_commands_that_are_run() -> None:
    run = {block.path.name for block in all_blocks() if block.kind in RUN and not block.not_run}
    wanted = {"README.md", "user-guide.md", "power-host.md", "doors.md", "watchpoints.md"}
    assert wanted | {"service.md"} <= run


def test_what_a_session_says() -> None:
    said = "\n0x0000a0  in f ()  \nlast\n"
    for expected in (said, "0x1  in f ()\nlast", "...", "0x2  in ... ()\n...", "...\nlast"):
        assert says(expected, said)
    for expected in ("", "last", "0x1  in g ()\nlast", "0x1  in f ()\nlast\nmore", "...\nfirst"):
        assert not says(expected, said)
