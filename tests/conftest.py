# SPDX-License-Identifier: MIT
"""Fixtures of all tests: built programs, and guests that end with the test."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from fixtures import bare_metal
from fixtures.bare_metal import Program
from fixtures.qemu import Qemu


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Program]:
    """programs(name, endian=..., opt=..., ail=..., ile=...): a bare-metal program, built once."""
    directory = tmp_path_factory.mktemp("programs")
    built: dict[tuple[Any, ...], Program] = {}

    def build(name: str, **variant: Any) -> Program:
        key = (name, *sorted(variant.items()))
        if key not in built:
            built[key] = bare_metal.build(name, directory=directory, **variant)
        return built[key]

    return build


@pytest.fixture
def boot() -> Iterator[Callable[..., Qemu]]:
    """boot(program, steps=...): a bare-metal guest, stopped at its first instruction."""
    guests: list[Qemu] = []

    def start(program: Program, *, steps: bool, **options: Any) -> Qemu:
        guest = Qemu(["-bios", str(program.image)], steps=steps, **options)
        guests.append(guest)
        return guest

    yield start
    for guest in guests:
        guest.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, Any, Any]:
    """A failed test says where its transcripts and remote logs are (pytest keeps them)."""
    report: Any = yield
    directory = getattr(item, "funcargs", {}).get("tmp_path")
    if call.when == "call" and report.failed and isinstance(directory, Path):
        for log in sorted(directory.glob("*.transcript")):
            text = log.read_text(encoding="utf-8", errors="replace")
            report.sections.append((f"end of {log}", text[-3000:]))
        report.sections.append(("artefacts", str(directory)))
    return report
