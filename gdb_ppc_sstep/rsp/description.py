# SPDX-License-Identifier: MIT
"""Reads register numbers and sizes from a stub's target description.  Pure.

GDB manual, appendix "Target Descriptions": a register without `regnum` has the number after the one
before it; descriptions include one another.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from ..errors import StubRefused


class Register(NamedTuple):
    """One register.  number: as in `p` and `P` packets.  size: in bytes."""

    number: int
    size: int


LARGEST = 256
"""The most bytes that a register may have; the largest vector registers of any CPU have fewer."""


_NAMES = {"pidr": "pid"}  # what QEMU 10.0 and QEMU 7.2 call the same register


def parse(fetch: Callable[[str], str]) -> dict[str, Register]:
    """The registers in a target description, by the names that QEMU 7.2 has for them.

    fetch(annex) gives the text of `target.xml` and of what it includes.  StubRefused: a register in
    it is malformed.
    """
    registers: dict[str, Register] = {}
    number = 0
    for tag in _tags(fetch, "target.xml", frozenset()):
        attributes = dict(re.findall(r"([\w-]+)\s*=\s*[\"']([^\"']*)", tag))
        try:
            number = int(attributes.get("regnum", number))
            size = -(int(attributes["bitsize"]) // -8)
            if not 0 < size <= LARGEST or not 0 <= number < 1 << 31:
                raise ValueError
            name: str = attributes["name"]
            registers.setdefault(_NAMES.get(name, name), Register(number, size))
        except (KeyError, ValueError):
            what = "the stub's target description has a malformed register"
            raise StubRefused(f"{what}: {tag[:80]!r}") from None
        number += 1
    return registers


def _tags(fetch: Callable[[str], str], annex: str, above: frozenset[str]) -> list[str]:
    """The <reg .../> tags in their order, with those of includes in place."""
    tags: list[str] = []
    text = re.sub(r"<!--.*?-->", "", fetch(annex), flags=re.DOTALL)
    for tag in re.findall(r"<(?:xi:include|reg)\s[^>]*>", text):
        if tag.startswith("<reg"):
            tags.append(tag)
            continue
        included = re.search(r"href\s*=\s*[\"']([^\"']+)", tag)
        if included and included[1] not in above:
            tags += _tags(fetch, included[1], above | {annex})
    return tags
