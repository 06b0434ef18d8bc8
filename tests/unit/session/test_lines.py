# SPDX-License-Identifier: MIT
"""When gdb's side tells a layer of lines, and which: gdb is a fake with a line table."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

Stretches = tuple[tuple[int, int], ...]


class Symtab(NamedTuple):
    objfile: str

    def fullname(self) -> str:
        return "file.c"


class Sal(NamedTuple):
    line: int
    pc: int
    last: int | None
    symtab: Symtab | None


class Block(NamedTuple):
    start: int
    end: int
    function: str | None
    superblock: Block | None
    is_static: bool = False
    is_global: bool = False


class Breakpoint(NamedTuple):
    type: str
    enabled: bool = True


class Thread:
    """ptid: as gdb gives it for p1.2."""

    ptid = (1, 2, 0)

    def __init__(self) -> None:
        self.runs = False

    def is_valid(self) -> bool:
        return True

    def is_running(self) -> bool:
        return self.runs


class Error(RuntimeError):
    """As gdb.error."""


FILE = Symtab("objfile")
WHOLE = Block(0x1000, 0x1030, "whole", None)
LEXICAL = Block(0x1004, 0x1010, None, WHOLE)
INLINED = Block(0x1014, 0x101C, "inlined", WHOLE)
OTHER = Block(0x1030, 0x1040, "other", None)
LINES = (
    Sal(10, 0x1000, 0x100F, FILE),
    Sal(11, 0x1010, 0x101F, FILE),
    Sal(12, 0x1024, 0x102F, FILE),
)


class FakeGdb(types.ModuleType):
    """With a function of three lines, the second with a piece of an inlined call, a gap before the
    third.
    """

    BP_WATCHPOINT = "software"
    VERSION = "16.3"
    GdbError = error = Error
    Command = object

    def __init__(self) -> None:
        super().__init__("gdb")
        self.thread: Thread | None = Thread()
        self.parameters = {"range-stepping": True}
        self.recording: object = None
        self.list: list[Breakpoint] = [Breakpoint("breakpoint")]
        self.pc = 0x1004
        self.hooks: list[str] = []
        self.looked_up = 0

    def selected_thread(self) -> Thread | None:
        return self.thread

    def parse_and_eval(self, _expression: str) -> int:
        return self.pc

    def parameter(self, name: str) -> bool:
        return self.parameters[name]

    def current_recording(self) -> object:
        return self.recording

    def breakpoints(self) -> list[Breakpoint]:
        return self.list

    def execute(self, command: str, *_: Any, to_string: bool = False) -> str:
        if command.startswith("show user"):
            raise Error(command)
        self.hooks.append(command.split()[1])
        return ""

    def block_for_pc(self, pc: int) -> Block | None:
        blocks = (LEXICAL, INLINED, WHOLE, OTHER)
        return next((block for block in blocks if block.start <= pc < block.end), None)

    def find_pc_line(self, pc: int) -> Sal:
        self.looked_up += 1
        found = (sal for sal in LINES if sal.last is not None and sal.pc <= pc <= sal.last)
        return next(found, Sal(0, pc, None, None))


class Door:
    """told: what it was told, with its thread."""

    steps_by_commands = False

    def __init__(self) -> None:
        self.told: list[tuple[bytes, Stretches]] = []
        self.refuses = False

    def expect_lines(self, thread: bytes, stretches: Stretches) -> None:
        if self.refuses:
            raise RuntimeError("Connection no longer exists.")
        self.told.append((thread, stretches))


NO_MORE = (b"", ())


class Session:
    """gdb, a door, and what runs before a command."""

    def __init__(self, gdb: FakeGdb, lines: Any, before: Any) -> None:
        self.gdb = gdb
        self.lines = lines
        self.door: Door | None = Door()
        self._before = before
        lines.watch(lambda: self.door)

    def command(self, name: str) -> list[tuple[bytes, Stretches]]:
        """Its hook; what the door is told."""
        assert self.door is not None
        self.door.told.clear()
        self.before(name)
        return self.door.told

    def before(self, name: str) -> None:
        """What its hook does."""
        self._before.run(name)


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Session]]:
    wings = ("gdb_ppc_sstep.session", "gdb_ppc_sstep.commands")

    def loading(version: str = "16.3") -> Session:
        gdb = FakeGdb()
        gdb.VERSION = version
        monkeypatch.setitem(sys.modules, "gdb", gdb)
        for name in [name for name in sys.modules if name.startswith(wings)]:
            monkeypatch.delitem(sys.modules, name)
        before = importlib.import_module("gdb_ppc_sstep.commands.before")
        link = types.ModuleType("gdb_ppc_sstep.commands.link")
        link.thread_id = lambda thread: b"p%x.%x" % thread.ptid[:2]  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "gdb_ppc_sstep.commands.link", link)
        lines = importlib.import_module("gdb_ppc_sstep.session.lines")
        return Session(gdb, lines, before)

    yield loading
    for name in [name for name in sys.modules if name.startswith(wings)]:
        del sys.modules[name]


ALL = (
    (0x1000, 0x1010),
    (0x1010, 0x1014),
    (0x1014, 0x1018),
    (0x1018, 0x101C),
    (0x101C, 0x1020),
    (0x1024, 0x1030),
)


@pytest.mark.parametrize("pc", [0x1000, 0x1008, 0x1018, 0x102C])
@pytest.mark.parametrize("command", ["next", "step", "until"])
def test_the_lines_of_the_function_are_told(
    pc: int, command: str, load: Callable[..., Session]
) -> None:
    """Cut where an inlined call begins, behind its first instruction, and where it ends."""
    session = load()
    session.gdb.pc = pc
    assert session.command(command) == [(b"p1.2", ALL)]


def test_lines_are_looked_up_once(load: Callable[..., Session]) -> None:
    session = load()
    session.command("next")
    session.gdb.looked_up = 0
    session.command("next")
    assert session.gdb.looked_up <= 1


@pytest.mark.parametrize("pc", [0x1020, 0x1034, 0x2000])
def test_nothing_is_told_where_there_is_no_line(pc: int, load: Callable[..., Session]) -> None:
    session = load()
    session.gdb.pc = pc
    assert session.command("next") == []


@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("parameters", {"range-stepping": False}),
        ("recording", "full"),
        ("list", [Breakpoint("software")]),
        ("thread", None),
    ],
    ids=["set range-stepping off", "record full", "software watchpoint", "no thread"],
)
def test_nothing_is_told_where_gdb_would_ask_for_no_range(
    what: str, value: object, load: Callable[..., Session]
) -> None:
    session = load()
    setattr(session.gdb, what, value)
    assert session.command("next") == []


def test_a_watchpoint_that_is_disabled_does_not_matter(load: Callable[..., Session]) -> None:
    session = load()
    session.gdb.list = [Breakpoint("software", enabled=False)]
    assert session.command("next") == [(b"p1.2", ALL)]


def test_without_a_door_nothing_is_told(load: Callable[..., Session]) -> None:
    session = load()
    session.door = None
    session.before("next")


def test_a_door_that_steps_by_commands_is_not_told(load: Callable[..., Session]) -> None:
    session = load()
    assert session.door is not None
    session.door.steps_by_commands = True
    assert session.command("next") == []


def test_a_thread_that_runs_is_not_told_of(load: Callable[..., Session]) -> None:
    session = load()
    assert session.gdb.thread is not None
    session.gdb.thread.runs = True
    assert session.command("next") == []


@pytest.mark.parametrize("command", ["stepi", "nexti"])
def test_it_ends_with_the_stop_and_before_steps_of_instructions(
    command: str, load: Callable[..., Session]
) -> None:
    session = load()
    assert session.command(command) == [], "where nothing was told"
    session.command("next")
    assert session.command(command) == [NO_MORE]
    session.command("next")
    session.lines.forget()
    session.lines.forget()
    assert session.door is not None
    assert session.door.told[1:] == [NO_MORE]


def test_it_does_not_end_while_the_thread_runs(load: Callable[..., Session]) -> None:
    """`next &` gives a prompt at once, and no packet may be sent then."""
    session = load()
    session.command("next")
    assert session.door is not None
    assert session.gdb.thread is not None
    session.gdb.thread.runs = True
    session.lines.forget()
    assert session.door.told == [(b"p1.2", ALL)]
    session.gdb.thread.runs = False
    session.lines.forget()
    assert session.door.told[1:] == [NO_MORE]


def test_a_connection_that_is_gone_fails_no_command(load: Callable[..., Session]) -> None:
    session = load()
    session.command("next")
    assert session.door is not None
    session.door.refuses = True
    assert session.command("stepi") == []
    assert session.command("next") == []


@pytest.mark.parametrize(("version", "hooked"), [("13.1", False), ("14.1", True), ("18.1.x", True)])
def test_a_gdb_that_asks_for_ranges_has_no_hooks(
    version: str, hooked: bool, load: Callable[..., Session]
) -> None:
    session = load(version)
    assert session.lines.gdb_asks() is not hooked
    session.lines.watch(lambda: None)  # a second connection
    assert session.gdb.hooks == [
        f"hook-{command}" for command in ("step", "next", "until", "stepi", "nexti") if hooked
    ]
