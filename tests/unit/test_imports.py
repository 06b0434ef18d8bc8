# SPDX-License-Identifier: MIT
"""The house's rules: arrows only down, no circle, pure rooms, who may resume the guest, sizes.

Sources are parsed, and not imported: gdb's side cannot be.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "gdb_ppc_sstep"

BELOW = {
    "errors": (),
    "version": (),
    "options": ("errors",),
    "ppc": ("errors", "options"),
    "rsp": ("errors", "options"),
    "stub": ("ppc", "rsp", "errors", "options"),
    "engine": ("stub", "ppc", "rsp", "errors", "options", "version"),
    "carrier": ("stub", "rsp", "errors"),
    "wire": ("carrier", "engine", "stub", "ppc", "rsp", "errors", "options", "version"),
    "commands": ("carrier", "engine", "stub", "ppc", "rsp", "errors", "options"),
    "session": ("commands", "engine", "stub", "ppc", "rsp", "errors", "options", "version"),
}
"""What each wing may import besides itself.  session starts the wire as a process."""

ENTRIES = {"": (), "load": ("session",), "__main__": ("wire",)}
"""The top level, which nobody imports but Python and gdb; and `load` is imported there."""

PURE = ("errors", "options", "version", "ppc", "rsp")
PURE_IMPORTS = {"__future__", "collections.abc", "enum", "functools", "re", "typing"}
IMPORT_GDB = ("", "session", "commands")
OPEN_SOCKETS = ("wire", "carrier", "session.descriptor", "session.takeover")
IO = {"socket", "select", "subprocess"}
RESUME = {"engine.runner", "engine.past", "engine.alone", "wire.layer"}
"""The rooms that call `Stub.run`: the layer only where it is switched off."""

LONGEST = 300
LONGER = {
    "ppc.isa": "one table of opcodes, and what is read from it",
    "stub.stub": "the whole face of a stub: packets, registers, memory, breakpoints, running",
    "commands.door": "the whole face of the door: what gdb, a command, and the guards ask of it",
}
"""Files that have more lines, and why."""

Sources = Mapping[str, str]


def sources() -> dict[str, str]:
    """The source of each module, by its name within the package."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = path.read_text(encoding="utf-8")
    return found


def _package(name: str, modules: Sources) -> list[str]:
    """The package that relative imports of a module start from."""
    is_package = name == "" or any(other.startswith(name + ".") for other in modules)
    parts = name.split(".") if name else []
    return parts if is_package else parts[:-1]


def imports(name: str, modules: Sources) -> tuple[set[str], set[str]]:
    """What a module imports, anywhere in it: modules of ours, and others."""
    ours: set[str] = set()
    others: set[str] = set()
    for node in ast.walk(ast.parse(modules[name])):
        if isinstance(node, ast.Import):
            for alias in node.names:
                within = alias.name.partition("gdb_ppc_sstep.")[2]
                (ours if within else others).add(within or alias.name)
        elif isinstance(node, ast.ImportFrom):
            start = node.module or ""
            if node.level:
                base = _package(name, modules)
                base = base[: len(base) - (node.level - 1)]
                start = ".".join([*base, *([start] if start else [])])
            elif start.partition(".")[0] == PACKAGE.name:
                start = start.partition(".")[2]
            else:
                others.add(start)
                continue
            for alias in node.names:
                within = f"{start}.{alias.name}".lstrip(".")
                ours.add(within if within in modules else start)
    return ours, others


def wing(name: str) -> str:
    return name.partition(".")[0]


def wrong_arrows(modules: Sources) -> Iterator[str]:
    for name in modules:
        ours, _ = imports(name, modules)
        if wing(name) in BELOW:
            allowed = (wing(name), *BELOW[wing(name)])
        elif name == "":
            allowed = ("load",)
        else:
            allowed = ENTRIES[name]
        for other in sorted(ours):
            if wing(other) not in allowed:
                yield f"{name} -> {other}"


def circles(modules: Sources) -> Iterator[str]:
    graph = {name: imports(name, modules)[0] for name in modules}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> Iterator[str]:
        if name in path:
            yield " -> ".join((*path[path.index(name) :], name))
        elif name not in done:
            for other in sorted(graph.get(name, ())):
                if other != name:
                    yield from visit(other, (*path, name))
            done.add(name)

    for name in sorted(graph):
        yield from visit(name, ())


def impure(modules: Sources) -> Iterator[str]:
    for name in modules:
        _, others = imports(name, modules)
        top = {other.partition(".")[0] for other in others}
        if wing(name) in PURE and others - PURE_IMPORTS:
            yield f"{name}: {sorted(others - PURE_IMPORTS)}"
        for node in ast.walk(ast.parse(modules[name])) if wing(name) in PURE else ():
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("open", "print", "input"):
                yield f"{name}: {ast.unparse(node.func)}()"
        if "gdb" in top and wing(name) not in IMPORT_GDB:
            yield f"{name}: gdb"
        allowed = wing(name) in OPEN_SOCKETS or name in OPEN_SOCKETS
        if IO & top and not allowed:
            yield f"{name}: {sorted(IO & top)}"


def resuming(modules: Sources) -> set[str]:
    """Modules that call `run` of something that is named as a stub."""
    found = set()
    for name, text in modules.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = ast.unparse(node.func.value)
                if node.func.attr == "run" and owner.rpartition(".")[2] in ("stub", "_stub"):
                    found.add(name)
    return found


def long(modules: Sources) -> set[str]:
    """Modules with too many lines."""
    return {name for name, text in modules.items() if len(text.splitlines()) > LONGEST}


def begins_with_rule(text: str) -> bool:
    """Whether there is a docstring, and nothing else."""
    body = ast.parse(text).body
    return len(body) == 1 and ast.get_docstring(ast.parse(text)) is not None


def test_arrows_point_down_only() -> None:
    assert list(wrong_arrows(sources())) == []


def test_there_is_no_circle() -> None:
    assert list(circles(sources())) == []


def test_pure_rooms_are_pure() -> None:
    assert list(impure(sources())) == []


def test_few_rooms_resume_the_guest() -> None:
    assert resuming(sources()) == RESUME


def test_a_long_file_says_why() -> None:
    assert long(sources()) == set(LONGER)


@pytest.mark.parametrize(
    "name", [name for name in BELOW if name not in ("errors", "options", "version")]
)
def test_a_folder_begins_with_its_rule(name: str) -> None:
    assert begins_with_rule(sources()[name])


# -- the checks can fail

GOOD = {
    "errors": "",
    "ppc": '"""Rule."""',
    "ppc.msr": "import re\nfrom ..errors import SstepError",
    "stub": "",
    "stub.stub": "from ..ppc import msr",
    "engine": "",
    "engine.runner": "from ..stub.stub import Stub\ndef go(self): self._stub.run(1)",
}


def with_line(name: str, line: str) -> dict[str, str]:
    return {**GOOD, name: GOOD.get(name, "") + "\n" + line}


def test_what_is_right_is_found_right() -> None:
    assert list(wrong_arrows(GOOD)) == list(circles(GOOD)) == list(impure(GOOD)) == []
    assert resuming(GOOD) == {"engine.runner"}


@pytest.mark.parametrize(
    ("name", "line", "arrow"),
    [
        ("ppc.msr", "from ..stub.stub import Stub", "ppc.msr -> stub.stub"),
        ("stub.stub", "from ..engine import runner", "stub.stub -> engine.runner"),
        ("errors", "def f():\n    from .ppc import msr", "errors -> ppc.msr"),
        ("ppc.msr", "from gdb_ppc_sstep.stub.stub import Stub", "ppc.msr -> stub.stub"),
        ("engine.runner", "import gdb_ppc_sstep.wire.layer", "engine.runner -> wire.layer"),
        (
            "stub.stub",
            "if TYPE_CHECKING:\n    from ..engine.runner import Runner",
            "stub.stub -> engine.runner",
        ),
    ],
)
def test_an_arrow_upwards_is_found(name: str, line: str, arrow: str) -> None:
    assert list(wrong_arrows(with_line(name, line))) == [arrow]


def test_a_circle_is_found() -> None:
    modules = {"ppc": "", "ppc.a": "from . import b", "ppc.b": "from .a import x"}
    assert list(circles(modules)) == ["ppc.a -> ppc.b -> ppc.a"]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("ppc.msr", "import gdb"),
        ("ppc.msr", "import os"),
        ("ppc.msr", "print(1)"),
        ("stub.stub", "import gdb"),
        ("engine.runner", "from socket import socket"),
        ("engine.runner", "def f():\n    import select"),
    ],
)
def test_what_is_impure_is_found(name: str, line: str) -> None:
    assert list(impure(with_line(name, line)))


def test_who_resumes_is_found() -> None:
    assert "stub.stub" in resuming(with_line("stub.stub", "def f(stub): stub.run(2)"))


def test_what_is_long_is_found() -> None:
    assert long(GOOD) == set()
    assert long(with_line("errors", "\n" * LONGEST)) == {"errors"}


@pytest.mark.parametrize("text", ["", "import os", '"""Rule."""\nimport os', "x = 1"])
def test_a_folder_without_a_rule_is_found(text: str) -> None:
    assert begins_with_rule(GOOD["ppc"])
    assert not begins_with_rule(text)


def test_a_wing_that_is_in_no_table_is_found() -> None:
    with pytest.raises(KeyError):
        list(wrong_arrows({"attic.box": "from ..errors import SstepError", "errors": ""}))
