# SPDX-License-Identifier: MIT
"""The pytest fixtures of all tests: built programs, and guests that end with the test."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from fixtures import bare_metal
from fixtures.bare_metal import Program
from fixtures.qemu import Qemu
from tests.harness.driver import GDB

pytest_plugins = ["tests.tiers", "tests.row"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--soak", type=int, default=1, metavar="N", help="N times as much of what is random"
    )
    parser.addoption("--seed", type=int, metavar="S", help="the first of what is random")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Set up hypothesis: the same examples in each run, but other ones with --seed or --soak."""
    soak, seed = config.getoption("soak"), config.getoption("seed")
    examples = 25 if config.getoption("quick") else 100
    if seed is not None:
        config.option.hypothesis_seed = str(seed)
    hypothesis.settings.register_profile(
        "tests",
        max_examples=examples * soak,
        derandomize=soak == 1 and seed is None,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    hypothesis.settings.load_profile("tests")


def pytest_report_header() -> str:
    return f"gdb: {GDB}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect (not skip) the tests marked `soak`, unless --soak is 2 or more."""
    if config.getoption("soak") > 1:
        return
    left_out = [item for item in items if item.get_closest_marker("soak")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


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
    """boot(program, steps=...): start a bare-metal guest, stopped at its first instruction."""
    guests: list[Qemu] = []

    def start(program: Program, *, steps: bool, **options: Any) -> Qemu:
        guest = Qemu(["-bios", str(program.image)], steps=steps, **options)
        guests.append(guest)
        return guest

    yield start
    for guest in guests:
        guest.close()


@pytest.fixture
def demo(programs: Callable[..., Program]) -> Program:
    """The program fixtures/bare/demo.c in the variant that most tests use."""
    return programs("demo")


@pytest.fixture
def guest(boot: Callable[..., Qemu], demo: Program) -> Qemu:
    """A guest that runs the demo program, with a stub that ignores steps."""
    return boot(demo, steps=False)


@pytest.fixture(scope="session")
def ail2(programs: Callable[..., Program]) -> bool:
    """Whether the guest can set LPCR[AIL]=2: QEMU 7.2 lets it, QEMU 10 does not."""
    program = programs("demo", endian="be", ail=2)
    arguments = ("-ex", "tbreak main", "-ex", "continue", "-ex", "kill", str(program.elf))
    with Qemu(["-bios", str(program.image)], steps=True) as guest:
        connect = ("-iex", "set confirm off", "-ex", f"target remote {guest.target}")
        try:
            subprocess.run(
                [GDB, "-nx", "-batch", *connect, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=8,
            )
        except subprocess.TimeoutExpired:
            return False
    return True


@pytest.fixture(scope="session")
def names_watchpoints(programs: Callable[..., Program]) -> bool:
    """Whether QEMU's stub says that a stop is a watchpoint's: QEMU 7.2 does, QEMU 10 does not."""
    program = programs("demo")
    commands = ("tbreak main", "continue", "watch total", "continue", "kill")
    arguments = [word for command in commands for word in ("-ex", command)]
    with Qemu(["-bios", str(program.image)], steps=True) as guest:
        connect = ("-iex", "set confirm off", "-ex", f"target remote {guest.target}")
        output = subprocess.run(
            [GDB, "-nx", "-batch", str(program.elf), *connect, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout
    assert "New value = " in output or "SIGTRAP" in output, output
    return "New value = " in output


@pytest.fixture
def stub_watches(names_watchpoints: bool) -> None:
    """Leave a test out, with the reason, that needs QEMU's own watchpoints."""
    if not names_watchpoints:
        pytest.skip("this QEMU's stub does not say that a stop is a watchpoint's")


@pytest.fixture
def variant_runs(request: pytest.FixtureRequest, variant: dict[str, Any]) -> None:
    """Skip a test, with the reason, where this QEMU cannot run its variant of the program."""
    if variant.get("ail") == 2 and not request.getfixturevalue("ail2"):
        pytest.skip("this QEMU's H_SET_MODE refuses LPCR[AIL]=2")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, Any, Any]:
    """Report where a failed test's transcripts and remote logs are (pytest keeps them)."""
    report: Any = yield
    directory = getattr(item, "funcargs", {}).get("tmp_path")
    if call.when == "call" and report.failed and isinstance(directory, Path):
        for log in sorted(directory.glob("*.transcript")):
            text = log.read_text(encoding="utf-8", errors="replace")
            report.sections.append((f"end of {log}", text[-3000:]))
        report.sections.append(("artefacts", str(directory)))
    return report
