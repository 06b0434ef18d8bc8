# SPDX-License-Identifier: MIT
"""Answers the packets that gdb's side sends to the layer itself (`rsp.private`)."""

from __future__ import annotations

from ..engine import report
from ..engine.engine import Engine
from ..options import Options
from ..rsp import private
from ..stub.stub import Stub
from .lines import Lines
from .log import DebugLog
from .wire import Wire


class Requests:
    """Answers the packets for the layer itself, and keeps what they set.

    active: whether the layer steps, or forwards step requests as it forwards all else.  lines: the
    code that gdb is stepping through.  teller: tells of the connection.
    """

    def __init__(
        self, engine: Engine, stub: Stub, wire: Wire, log: DebugLog, options: Options
    ) -> None:
        self._engine = engine
        self._stub = stub
        self._wire = wire
        self._log = log
        self._options = options
        self.active = True
        self.lines = Lines()
        self.teller = report.Teller(engine, stub, wire.recent, lambda: wire.stub.sent)
        self.teller.apply(options)
        engine.apply(options)

    def answer(self, asked: private.OwnRequest) -> bytes:
        """Do what one of these packets asks for; the reply.  SstepError: it cannot be done."""
        if isinstance(asked, private.SetLines):
            self.lines.tell(asked)
            return b"OK"
        if isinstance(asked, private.AskLayer):
            return b"OK"
        self._stub.send_queued()
        self._stub.forget()  # it may change what is planned
        if isinstance(asked, private.AskStatus):
            return _json(self.teller.status(active=self.active))
        if isinstance(asked, private.AskReport):
            return _json(self.teller.report(active=self.active))
        if isinstance(asked, private.AskLeftovers):
            return _json(report.leftovers(self._engine, asked.record, clean=asked.clean))
        if isinstance(asked, private.SetActive):
            self.active = asked.active
        elif isinstance(asked, private.SetLogging):
            self._log.switch(asked.logs)
            self._wire.log_packets(self._log.packet if asked.logs else None)
        elif isinstance(asked, private.SetLogFile):
            self._log.to_file(asked.path)
        else:
            self._options = self._options.with_text(asked.name, asked.value)
            self._engine.apply(self._options)
            self.teller.apply(self._options)
        return b"OK"


def _json(value: object) -> bytes:
    import json  # seldom

    return json.dumps(value).encode().hex().encode()
