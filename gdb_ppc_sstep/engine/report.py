# SPDX-License-Identifier: MIT
"""What the engine tells gdb's side, as data that goes into JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import SstepError
from ..options import Options
from ..ppc import msr
from ..stub.recent import RecentPackets
from ..stub.stub import Stub
from . import host, record
from .engine import Engine
from .pace import Pace

_ASKED = 32
"""vCPUs that the stub is asked about: one packet each."""


def leftovers(engine: Engine, known: str, *, clean: bool) -> list[dict[str, object]]:
    """What a killed session has left in the guest (see `Engine.leftovers`); `clean` undoes it.

    known: the session's record, or empty.  BadPacket: the record cannot be read.
    """
    lost = record.read(known)
    found = engine.clean(lost) if clean else engine.leftovers(lost)
    return [{**one._asdict(), "thread": one.thread.decode("latin-1")} for one in found]


class Teller:
    """Tells of one connection.

    Its door says when a request to step comes (`begin`) and has stopped (`end`), and when the guest
    is resumed for something else (`other`).
    """

    def __init__(
        self, engine: Engine, stub: Stub, recent: RecentPackets, sent: Callable[[], int]
    ) -> None:
        """recent: the last packets.  sent: how many there were to the stub so far."""
        self._engine = engine
        self._stub = stub
        self._recent = recent
        self._sent = sent
        self._options = Options()
        self._pace = Pace()

    def apply(self, options: Options) -> None:
        """How the user wants steps to be done from now on."""
        self._options = options

    def begin(self) -> None:
        """A request to step has come."""
        self._pace.begin(self._engine.steps, self._sent())

    def end(self) -> None:
        """It has stopped."""
        self._pace.end(self._engine.steps)

    def other(self) -> None:
        """The guest is resumed for something else."""
        self._pace.close(self._sent())

    @contextmanager
    def paced(self) -> Iterator[None]:
        """Within is a request to step."""
        self.begin()
        yield
        self.end()

    def without_asking(self) -> dict[str, Any]:
        """What `report` tells, but of the status only what is known while nothing can be asked."""
        return self._reported(self._known())

    def report(self, *, active: bool) -> dict[str, Any]:
        """The `status`, `host` (see there), and the last `packets` before those that this needs."""
        told = self._reported({})
        return {**told, "status": self.status(active=active)}

    def _reported(self, status: dict[str, Any]) -> dict[str, Any]:
        packets = self._recent.texts()
        return {"status": status, "host": list(host.lines()), "packets": packets}

    def status(self, *, active: bool) -> dict[str, Any]:
        """What `info ppc-sstep` shows; `problem` where the stub does not say enough.

        It asks the stub for a few registers, and for what it says of each vCPU.
        """
        engine, stub = self._engine, self._stub
        status = {"active": active, **self._known()}
        try:
            state = stub.read("msr")
            status.update(msr=state, order=stub.order)
            status["ail"] = engine.relocation().ail
            status["vector"] = engine.vectors()(msr.TRACE, state)
        except SstepError as error:
            status["problem"] = str(error)
        try:
            status["vcpus"] = [
                {"thread": one.decode("latin-1"), "what": stub.says_of(one) if n < _ASKED else ""}
                for n, one in enumerate(stub.threads())
            ]
        except SstepError:
            status["vcpus"] = []  # as of a stub that does not name them
        return status

    def _known(self) -> dict[str, Any]:
        engine, speed = self._engine, self._pace.speed(self._sent())
        return {
            "runs_on": self._stub.runs_on,
            "options": self._options.to_text(),
            "watchpoints": engine.watchpoints,
            "steps": engine.steps,
            "speed": None if speed is None else speed._asdict(),
            "outstanding": [
                {"thread": (one.thread or b"").decode("latin-1"), "pc": one.pc}
                for one in engine.outstanding
            ],
        }
