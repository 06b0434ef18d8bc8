# SPDX-License-Identifier: MIT
"""Eclipse's cdt-gdb-adapter, driven by the requests that VS Code sends it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from fixtures.bare_metal import SOURCES, Program
from fixtures.qemu import wait_for
from tests.harness.dap import Dap
from tests.harness.driver import GDB, Gdb

from .conftest import Side

DEMO = {"path": str(SOURCES / "demo.c")}
RESUMES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("continue", {}),
    ("next", {}),
    ("stepIn", {}),
    ("stepOut", {}),
    ("continue", {}),
    ("stepIn", {"granularity": "instruction"}),
    ("next", {"granularity": "instruction"}),
    ("next", {"granularity": "instruction"}),
    ("stepIn", {"granularity": "statement"}),
    ("stepIn", {"granularity": "line"}),
    ("next", {"granularity": "line"}),
    ("stepOut", {}),
    ("continue", {}),
    ("next", {}),
)


def resume(dap: Dap, command: str, **arguments: Any) -> list[str]:
    """Send a request that resumes.  Returns the request, the reason of the stop, and the frames."""
    dap.ask(command, threadId=1, **arguments)
    return [command, *dap.where()]


def variables(dap: Dap) -> list[str]:
    """The locals of the innermost frame, and pc."""
    frame = dap.ask("stackTrace", threadId=1)["stackFrames"][0]
    scope = dap.ask("scopes", frameId=frame["id"])["scopes"][0]["variablesReference"]
    named = dap.ask("variables", variablesReference=scope)["variables"]
    return [
        frame["instructionPointerReference"],
        *(f"{one['name']}={one['value']}" for one in named),
    ]


def session(dap: Dap, side: Side, program: Program) -> list[list[str]]:
    """What the client shows at each stop of a session."""
    dap.ask(
        "initialize",
        adapterID="gdbtarget",
        pathFormat="path",
        linesStartAt1=True,
        columnsStartAt1=True,
    )
    dap.send(
        "attach",
        gdb=GDB,
        gdbArguments=["-nx", "-d", str(SOURCES), *side.arguments],
        program=str(program.elf),
        target={"type": "remote", "parameters": [side.target]},
    )
    dap.until("event", "initialized")
    dap.ask("setFunctionBreakpoints", breakpoints=[{"name": "work"}])
    lines = [{"line": 9, "condition": "x == 3"}, {"line": 24, "hitCondition": "2"}]
    set_ones = dap.ask("setBreakpoints", source=DEMO, breakpoints=lines)["breakpoints"]
    assert all(one["verified"] for one in set_ones), set_ones
    dap.ask("configurationDone")
    seen = [dap.where()]
    for command, arguments in RESUMES:
        seen.append(resume(dap, command, **arguments))
        seen.append(variables(dap))
    dap.ask("setBreakpoints", source=DEMO, breakpoints=[])
    dap.ask("setFunctionBreakpoints", breakpoints=[])
    information = dap.ask("dataBreakpointInfo", name="total")
    assert information["dataId"] == "total", information
    watched = [{"dataId": "total", "accessType": "write"}]
    dap.ask("setDataBreakpoints", breakpoints=watched)
    for _ in range(3):
        seen.append([*resume(dap, "continue"), *variables(dap)])
    dap.ask("setDataBreakpoints", breakpoints=[])
    return seen


def pauses(dap: Dap, breakpoints: list[dict[str, Any]]) -> list[str]:
    """Pause while the guest runs past breakpoints, and step.  Returns the reasons of the stops."""
    dap.ask("setBreakpoints", source=DEMO, breakpoints=breakpoints)
    reasons = []
    for _ in range(3):
        dap.ask("continue", threadId=1)
        time.sleep(0.3)
        dap.ask("pause", threadId=1)
        reasons.append(dap.where()[0])
    return [*reasons, resume(dap, "next")[1]]


def leave(dap: Dap) -> None:
    """Disconnect, which ends gdb (the adapter itself waits for its client to end it)."""
    children = Path(f"/proc/{dap.process.pid}/task/{dap.process.pid}/children")
    assert children.read_text().split()
    dap.ask("disconnect")
    wait_for(lambda: not children.read_text().split(), "the end of gdb", 20)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("how", ["extension", "service"])
def test_the_same_stops(
    how: str,
    node_modules: Path,
    tmp_path: Path,
    side: Callable[[str], AbstractContextManager[Side]],
    demo: Program,
) -> None:
    adapter = ("node", str(node_modules / "cdt-gdb-adapter/dist/debugTargetAdapter.js"))
    with side("native") as theirs, Dap(*adapter) as dap:
        native = session(dap, theirs, demo)
        reasons = pauses(dap, [])
        leave(dap)
    with side(how) as mine, Dap(*adapter) as dap:
        for stop, ours in zip(native, session(dap, mine, demo)):
            assert ours == stop
        assert pauses(dap, []) == reasons == [*3 * ["SIGINT"], "step"]
        # Natively a pause is lost here: gdb's interrupt reaches QEMU while the guest is stopped.
        assert pauses(dap, [{"line": 9, "condition": "x == -1"}]) == reasons
        leave(dap)
        with Gdb(tmp_path, name="after", extension=False) as after:
            after.connect(mine.guest.target, demo.elf)
            assert after.value("$msr") & 0x400 == 0
    assert len({tuple(stop[1:]) for stop in native}) >= 15, native
