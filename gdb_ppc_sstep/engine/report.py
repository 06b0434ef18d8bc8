# SPDX-License-Identifier: MIT
"""The engine as data for gdb's side, which JSON can carry: status, bug report, leftovers."""

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
"""The number of vCPUs that the stub is asked about; each needs a packet."""


def leftovers(engine: Engine, known: str, *, clean: bool) -> list[dict[str, object]]:
    """What a killed session has left in the guest (see `Engine.leftovers`).

    known: the record of that session, or empty.  clean: also undo it.  BadPacket: the record cannot
    be read.
    """
    lost = record.read(known)
    found = engine.clean(lost) if clean else engine.leftovers(lost)
    return [{**one._asdict(), "thread": one.thread.decode("latin-1")} for one in found]


class Teller:
    """Tells the state of one connection, and measures its pace.

    The door says when a request to step comes (`begin`) and has stopped (`end`), and when the guest
    is resumed for something else (`other`).
    """

    def __init__(
        self, engine: Engine, stub: Stub, recent: RecentPackets, sent: Callable[[], int]
    ) -> None:
        """recent: the last packets.  sent: gives the number of packets sent to the stub so far."""
        self._engine = engine
        self._stub = stub
        self._recent = recent
        self._sent = sent
        self._options = Options()
        self._pace = Pace()

    def apply(self, options: Options) -> None:
        """Show these options from now on, as the user has set them."""
        self._options = options

    def begin(self) -> None:
        """A request to step has come."""
        self._pace.begin(self._engine.steps, self._sent())

    def end(self) -> None:
        """The request to step has stopped."""
        self._pace.end(self._engine.steps)

    def other(self) -> None:
        """The guest is resumed for something else."""
        self._pace.close(self._sent())

    @contextmanager
    def paced(self) -> Iterator[None]:
        """A context for one request to step: `begin`, and `end` if nothing is raised."""
        self.begin()
        yield
        self.end()

    def without_asking(self) -> dict[str, Any]:
        """What `report` tells, but of the status only what is known without asking the stub."""
        return self._reported(self._known())

    def report(self, *, active: bool) -> dict[str, Any]:
        """The data of a bug report: `status`, `host` and the last `packets`.

        host: lines about this process, see `host.lines`.  packets: those before the ones that the
        status needs.
        """
        told = self._reported({})
        return {**told, "status": self.status(active=active)}

    def _reported(self, status: dict[str, Any]) -> dict[str, Any]:
        packets = self._recent.texts()
        return {"status": status, "host": list(host.lines()), "packets": packets}

    def status(self, *, active: bool) -> dict[str, Any]:
        """What `info ppc-sstep` shows; `problem` says what the stub does not give.

        active: whether the connection is stepped.  It asks the stub for a few registers, and for
        what it says of each vCPU.
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
            status["vcpus"] = []  # the same as for a stub that does not name its vCPUs
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
