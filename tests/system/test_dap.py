# SPDX-License-Identifier: MIT
"""gdb's Debug Adapter Protocol server (gdb >= 14) shows with ours what it shows natively."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import pytest

from fixtures.bare_metal import SOURCES, Program
from fixtures.qemu import Qemu
from tests.harness.dap import Dap
from tests.harness.doors import DOORS
from tests.harness.driver import EXTENSION, GDB, gdb_version

pytestmark = [
    pytest.mark.bare,
    pytest.mark.skipif(gdb_version() < (14, 0), reason="gdb before 14 has no DAP server"),
]


def server(*, door: str | None) -> Dap:
    """A client of `gdb -i dap`.  door: of the extension, None without it."""
    settings = (f"source {EXTENSION}", f"set ppc-sstep door {door}")
    loaded = tuple(f"-iex={one}" for one in settings) if door is not None else ()
    return Dap(GDB, "-nx", "-q", "-i=dap", "-d", str(SOURCES), *loaded)


RESUMES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("continue", {}),
    ("next", {}),
    ("stepIn", {}),
    ("stepOut", {}),
    ("continue", {}),
    ("stepIn", {"granularity": "instruction"}),
    ("next", {"granularity": "instruction"}),
    ("stepIn", {}),
    ("stepIn", {"granularity": "line"}),
    ("stepOut", {}),
    ("next", {}),
    ("continue", {"singleThread": True}),
    ("next", {}),
)


TRAP = 0x7FE00008


def session(dap: Dap, guest: Qemu, program: Program) -> list[list[str]]:
    """The reasons and frames of the stops to which a client's requests lead.

    With the other events about the guest, and those about breakpoints.
    """
    dap.ask("initialize", adapterID="test", linesStartAt1=True, columnsStartAt1=True)
    dap.send("attach", target=guest.target, program=str(program.elf))
    dap.ask("setFunctionBreakpoints", breakpoints=[{"name": "work"}])
    dap.ask(
        "setBreakpoints",
        source={"path": str(SOURCES / "demo.c")},
        breakpoints=[
            {"line": 9, "condition": "x == 3"},
            {"line": 24, "hitCondition": "2"},
            {"line": 16, "logMessage": "i is {i}"},
        ],
    )
    dap.send("configurationDone")
    places = [dap.where()]
    for command, arguments in RESUMES:
        dap.send(command, threadId=1, **arguments)
        places.append([command, *dap.where()])
        told = [str(one) for one in dap.events("stopped", "continued", "breakpoint")]
        places.append([command, *told])
    for command in ("set $next = (unsigned int *)($pc + 4)", "set $was = *$next"):
        dap.ask("evaluate", expression=command, context="repl")
    dap.ask("evaluate", expression=f"set *$next = {TRAP:#x}", context="repl")
    dap.send("stepIn", threadId=1, granularity="instruction")
    places.append(["to a trap", *dap.where()])
    dap.ask("evaluate", expression="set *$next = $was", context="repl")
    said = "".join(one["output"] for one in dap.events("output"))
    return [*places, re.findall("i is .", said)]


@pytest.mark.parametrize("door", DOORS)
def test_the_same_places(
    door: str, programs: Callable[..., Program], boot: Callable[..., Qemu]
) -> None:
    program = programs("demo")
    with server(door=None) as dap:
        native = session(dap, boot(program, steps=True), program)
    with server(door=door) as dap:
        assert session(dap, boot(program, steps=False), program) == native
        assert len({tuple(place[1:]) for place in native}) > 8, native

        dap.ask("setFunctionBreakpoints", breakpoints=[])
        dap.ask(
            "setBreakpoints",
            source={"path": str(SOURCES / "demo.c")},
            breakpoints=[{"line": 9, "condition": "x == -1"}],  # gdb steps over it all the time
        )
        for _ in range(3):
            dap.ask("continue", threadId=1)
            time.sleep(0.3)  # a pause that comes at once is lost, natively as well
            dap.ask("pause", threadId=1)
            while door == "commands" and not dap.events("stopped"):  # doors.PAUSE
                dap.ask("pause", threadId=1)
            assert dap.where()[0] == "pause"
        dap.send("next", threadId=1)
        assert dap.where()[0] == "step"
        said = dap.ask("evaluate", expression="info ppc-sstep", context="repl")["result"]
        assert {"wire": ": taken", "commands": "by commands"}[door] in said
        dap.ask("disconnect")
