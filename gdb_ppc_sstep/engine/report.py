# SPDX-License-Identifier: MIT
"""What the engine tells gdb's side, as data that goes into JSON."""

from __future__ import annotations

from ..errors import SstepError
from ..ppc import msr
from ..stub.stub import Stub
from . import record
from .engine import Engine


def leftovers(engine: Engine, known: str, *, clean: bool) -> list[dict[str, object]]:
    """What a killed session has left in the guest (see `Engine.leftovers`); `clean` undoes it.

    known: the session's record, or empty.  BadPacket: the record cannot be read.
    """
    lost = record.read(known)
    found = engine.clean(lost) if clean else engine.leftovers(lost)
    return [{**one._asdict(), "thread": one.thread.decode("latin-1")} for one in found]


def status(engine: Engine, stub: Stub, *, active: bool) -> dict[str, object]:
    """What `info ppc-sstep` shows of a door; `problem` says what the stub does not give."""
    status: dict[str, object] = {
        "active": active,
        "steps": engine.steps,
        "watchpoints": engine.watchpoints,
        "outstanding": [
            {"thread": (one.thread or b"").decode("latin-1"), "pc": one.pc}
            for one in engine.outstanding
        ],
    }
    try:
        state = stub.read("msr")
        status.update(msr=state, order=stub.order)
        status["ail"] = engine.relocation().ail
        status["vector"] = engine.vectors()(msr.TRACE, state)
    except SstepError as error:
        status["problem"] = str(error)
    return status
