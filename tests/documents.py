# SPDX-License-Identifier: MIT
"""What the documents (*.md) promise: their links lead somewhere, and their commands can be run.

`python -m tests.documents` checks all of them, for tests/lint; tests/system/test_docs.py runs the
commands.  Each fenced block says what it is:

  gdb      commands for gdb
  sh       commands for a shell, in a clone
  console  a session: a line after `$ ` or `(gdb) ` is a command, the lines below it its output
  others   are no commands, see PARSED and SHOWN

A comment in the line above the block says what is special about it:

  <!-- not run: REASON -->   it is not run; the reason says why, or which test does the same
  <!-- guest: linux -->      it is run with the Linux guest, and not with fixtures/bare/demo.c
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]

RUN = ("gdb", "sh", "console")
PARSED = ("json", "xml")
"""Of these it is tested that they can be parsed."""
SHOWN = ("c", "ini", "lua", "mermaid", "text")
GUESTS = ("bare", "linux")

_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>```+)(?P<kind>.*)$")
_COMMENT = re.compile(r"^ *<!-- (?P<name>not run|guest): *(?P<value>.*?) *-->$")
_SPAN = re.compile(r"(`+)(.+?)\1")
_LINK = re.compile(r"\]\(<?([^()\s>]+)[^()]*\)|^ *\[[^\]]+\]: *(\S+)|(?:src|href)=\"([^\"]+)\"")
_HEADING = re.compile(r"^#{1,6} +(.*?)(?: +#+)?$")
_EXTERNAL = re.compile(r"^[a-z][a-z0-9+.-]*:")
_OURS = re.compile(r"^(?:docs|fixtures|tests|gdb_ppc_sstep|\.ci)/[\w./-]*\w[/\w]*$|^test_\w+\.py$")


class Block(NamedTuple):
    """A fenced block.

    line: that of its first fence.  not_run: why it is not run, "" if it is.  guest: see GUESTS.
    """

    path: Path
    line: int
    kind: str
    text: str
    not_run: str = ""
    guest: str = "bare"

    @property
    def name(self) -> str:
        """FILE:LINE."""
        return f"{self.path.relative_to(ROOT)}:{self.line}"


class Document(NamedTuple):
    """A parsed document.

    prose: its lines outside blocks, by number.  wrong: what cannot be read, as (line, text).
    """

    path: Path
    prose: dict[int, str]
    blocks: list[Block]
    wrong: list[tuple[int, str]]


def documents() -> list[Path]:
    """All documents: those of the root and of docs/."""
    return sorted((*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")))


def all_blocks() -> list[Block]:
    """Those of all documents."""
    return [block for path in documents() for block in parse(path, path.read_text("utf-8")).blocks]


def parse(path: Path, text: str) -> Document:
    """Read a document."""
    prose: dict[int, str] = {}
    blocks: list[Block] = []
    wrong: list[tuple[int, str]] = []
    said: dict[str, str] = {}
    begin, inside, opened = 0, list[str](), None
    for number, line in enumerate(text.splitlines(), 1):
        fence = _FENCE.match(line)
        if opened is not None:
            if fence and fence["fence"] == opened["fence"] and not fence["kind"].strip():
                indent = len(opened["indent"])
                body = "".join(f"{one[indent:]}\n" for one in inside)
                kind, guest = opened["kind"].strip(), said.get("guest", "bare")
                blocks.append(Block(path, begin, kind, body, said.get("not run", ""), guest))
                wrong += ((begin, what) for what in _faults(kind, said))
                opened, said = None, {}
            else:
                inside.append(line)
        elif fence:
            begin, inside, opened = number, [], fence
        elif comment := _COMMENT.match(line):
            said[comment["name"]] = comment["value"]
            prose[number] = line
        else:
            if said:
                wrong.append((number, f"no block below the comment `{next(iter(said))}`"))
                said = {}
            prose[number] = line
    if opened is not None:
        wrong.append((begin, "the block has no end"))
    return Document(path, prose, blocks, wrong)


def _faults(kind: str, said: dict[str, str]) -> Iterator[str]:
    if kind not in RUN + PARSED + SHOWN:
        yield f"a block of kind {kind!r}; it has to be one of {' '.join(RUN + PARSED + SHOWN)}"
    if said and kind not in RUN:
        yield f"a comment above a block that is never run: {' '.join(said)}"
    if said.get("not run") == "":
        yield "a block is not run, and no reason is given"
    if said.get("guest", "bare") not in GUESTS:
        yield f"there is no guest {said['guest']}"


def anchors(document: Document) -> set[str]:
    """Those of its headings, as code hosts make them."""
    found: set[str] = set()
    seen: Counter[str] = Counter()
    for line in document.prose.values():
        if heading := _HEADING.match(line):
            text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).replace("`", "")
            slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
            seen[slug] += 1
    return found


@cache
def _anchors_of(path: Path) -> set[str]:
    return anchors(parse(path, path.read_text("utf-8")))


def says(expected: str, output: str) -> bool:
    """Whether that is what a document says: `...` stands for anything, addresses may be others."""

    def plain(text: str) -> str:
        text = re.sub(r"0x[0-9a-f]+", "0xADDRESS", text)
        return "\n".join(line.rstrip() for line in text.strip().splitlines())

    pattern = re.escape(plain(expected)).replace(r"\.\.\.", r"(?:.|\n)*")
    return re.fullmatch(pattern, plain(output)) is not None


def problems(path: Path, text: str) -> list[str]:
    """What is wrong with a document, a line each; its links are seen from its path."""
    document = parse(path, text)
    wrong = list(document.wrong)
    before = ""
    for number, line in document.prose.items():
        deep = 6 if _in_list(document, number) else 4
        if re.match(f" {{{deep},}}\\S", line) and not before.strip():
            wrong.append((number, "an indented block; use a fenced one that says what it is"))
        before = line
        for link in _LINK.finditer(_SPAN.sub("", line)):
            target = link[1] or link[2] or link[3]
            if fault := _broken(document, target):
                wrong.append((number, fault))
        for span in _SPAN.finditer(line):
            if fault := _no_file(span[2]):
                wrong.append((number, fault))
    where = path.relative_to(ROOT)
    return [f"{where}:{number}: {what}" for number, what in sorted(wrong)]


def _in_list(document: Document, number: int) -> bool:
    """Whether an indented line belongs to an item of a list."""
    for above in range(number - 1, 0, -1):
        line = document.prose.get(above, "")
        if re.match(r" *(?:[-*]|\d+\.) ", line):
            return True
        if line.strip() and not line.startswith(" "):
            return False
    return False


def _broken(document: Document, target: str) -> str:
    """What is wrong with the target of a link, "" if nothing is."""
    if _EXTERNAL.match(target):
        return ""
    file, _, anchor = target.partition("#")
    path = (document.path.parent / file).resolve() if file else document.path
    if file and not (path.is_relative_to(ROOT) and path.exists()):
        return f"broken link: {target}: there is no such file"
    if anchor:
        known = anchors(document) if path == document.path else _anchors_of(path)
        if anchor not in known:
            return f"broken link: {target}: there is no such heading"
    return ""


def _no_file(span: str) -> str:
    """What is wrong with the file or test that a span of code names, "" if nothing is."""
    name, _, test = span.split(" ")[0].partition("::")
    if not _OURS.match(name):
        return ""
    if name.startswith("test_"):
        found = sorted(ROOT.glob(f"tests/**/{name}"))
    else:
        found = [path for path in [ROOT / name.replace("/...", "")] if path.exists()]
    if not found:
        return f"there is no {name}"
    if test and not any(
        f"def {test.partition('[')[0]}(" in one.read_text("utf-8") for one in found
    ):
        return f"there is no test {test} in {name}"
    return ""


def main() -> int:
    """Print what is wrong with the documents; 1 if anything is."""
    found = [line for path in documents() for line in problems(path, path.read_text("utf-8"))]
    print("\n".join(found) or "All links lead somewhere, and each block says what it is.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
