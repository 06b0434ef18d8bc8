# SPDX-License-Identifier: MIT
"""The packets between the control surface in gdb and the layer: never seen by a stub.

`qppc-sstep.status` is answered with a JSON object; `qppc-sstep.left:RECORD` and
`qppc-sstep.clean:RECORD` with a list of those of `left`, RECORD being what is known of a session
that was killed (see `record`) in hexadecimal, or empty; `Qppc-sstep.NAME=VALUE` sets something and
is answered OK.  Named in lower case as gdb's manual asks of packets outside its own reserved names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import msr
from .errors import SstepError
from .strategy import Interrupts

if TYPE_CHECKING:
    from .engine import Engine
    from .layer import Layer
    from .stub import Stub

STATUS = "qppc-sstep.status"
LEFT = "qppc-sstep.left"
CLEAN = "qppc-sstep.clean"
SET = "Qppc-sstep."

LEFT_BEHIND = "left by a session that was killed (if the guest does not single-step itself)"
"""How what `left` gives is told."""


def is_private(payload: bytes) -> bool:
    """Whether a packet from gdb is for the layer itself."""
    return payload.startswith((b"qppc-sstep.", SET.encode()))


def answer(layer: Layer, payload: bytes) -> bytes:
    """Do what a private packet asks for; the reply."""
    asked = payload.decode()
    if asked == STATUS:
        return _json(status(layer.engine, layer.stub, active=layer.active))
    what, _, known = asked.partition(":")
    if what in (LEFT, CLEAN):
        try:
            return _json(left(layer.engine, bytes.fromhex(known).decode(), clean=what == CLEAN))
        except (TypeError, ValueError):
            return b"E.ppc-sstep: the record cannot be read"
    name, _, value = payload[len(SET) :].decode().partition("=")
    if name == "active":
        layer.active = value == "1"
    elif name == "log":
        layer.logging = value == "1"
    elif name == "log-file":
        layer.log_to(bytes.fromhex(value).decode())
    elif name == "ail":
        layer.engine.ail = int(value) if value else None
    elif name == "interrupts":
        layer.engine.interrupts = Interrupts(value)
    elif name == "mask-interrupts":
        layer.engine.mask_interrupts = value == "1"
    else:
        return b""
    return b"OK"


def _json(value: object) -> bytes:
    import json

    return json.dumps(value).encode().hex().encode()


def left(engine: Engine, known: str, *, clean: bool) -> list[dict[str, object]]:
    """What a killed session has left (see `Engine.left_behind`), which `clean` undoes.

    known: its record.
    """
    from . import record  # with the engine, which gdb's side does not need to be loaded with

    lost = record.read(known)
    found = engine.clean(lost) if clean else engine.left_behind(lost)
    return [{**one._asdict(), "thread": one.thread.decode()} for one in found]


def status(engine: Engine, stub: Stub, *, active: bool) -> dict[str, object]:
    """What `info ppc-sstep` shows of a door; `problem` where the stub does not say enough."""
    status: dict[str, object] = {
        "active": active,
        "steps": engine.steps,
        "outstanding": [
            {"thread": (one.thread or b"").decode(), "pc": one.pc} for one in engine.outstanding
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
