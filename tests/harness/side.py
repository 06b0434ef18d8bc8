# SPDX-License-Identifier: MIT
"""A gdb that tests/bench measures: it gets commands, and answers with the seconds they took."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from pathlib import Path
from typing import Any

from fixtures.closing import Closing

ROOT = Path(__file__).resolve().parents[2]
GDB = os.environ.get("GDB", "gdb-multiarch")
TIMEOUT = 300.0
"""Seconds that the commands of one request may take."""


class Failed(Exception):
    """A case could not be measured, or the sides do not agree."""


class Side(Closing):
    """One gdb, connected to a stub.

    name: `native` for gdb alone, else our door.  target: what it connects to.  load: seconds that
    loading the extension took.  connect: seconds that connecting took.
    """

    def __init__(self, name: str, target: str, elf: Path, log: Path) -> None:
        self.name = name
        requests, self._requests = os.pipe()
        self._answers, answers = os.pipe()
        settings = (
            *("height 0", "width 0", "confirm off", "style enabled off", "auto-load off"),
            *("debuginfod enabled off", "python print-stack full"),
        )
        code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tests.harness import measure; "
        command = [GDB, "-nx", "-q", "-batch", *(f"-iex=set {one}" for one in settings)]
        command.append(f"-ex=python {code}measure.serve({requests}, {answers})")
        with log.open("wb") as output:
            self._gdb = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(requests, answers),
                start_new_session=True,
            )
        os.close(requests)
        os.close(answers)
        self._log = log
        self._received = b""
        extension = ROOT / "gdb_ppc_sstep" / "__init__.py"
        try:
            self.load = 0.0
            if name != "native":
                self.load = self.ask((f"source {extension}",))["seconds"]
                self.ask((), (f"set ppc-sstep door {name}",))
            self.ask((), (f"file {elf}",))
            self.connect = self.ask((f"target remote {target}",))["seconds"]
        except BaseException:
            self.close()
            raise

    def ask(
        self,
        measured: tuple[str, ...],
        prepare: tuple[str, ...] = (),
        times: int = 1,
        *,
        registers: bool = False,
    ) -> dict[str, Any]:
        """Have gdb do commands (see `measure`).  Returns its answer.  Failed: none, or an error."""
        request = {
            "prepare": prepare,
            "measured": measured,
            "times": times,
            "registers": registers,
        }
        os.write(self._requests, json.dumps(request).encode() + b"\n")
        end = time.monotonic() + TIMEOUT
        while not self._received.endswith(b"\n"):
            ready, _, _ = select.select([self._answers], [], [], max(0.0, end - time.monotonic()))
            data = os.read(self._answers, 65536) if ready else b""
            if not data:
                what = "ended" if ready else "does not answer"
                raise Failed(f"{self.name}: gdb {what}; it said {self._said()!r}")
            self._received += data
        answer: dict[str, Any] = json.loads(self._received)
        self._received = b""
        if "error" in answer:
            raise Failed(f"{self.name}: {answer['error']}; gdb said {self._said()!r}")
        return answer

    def _said(self) -> str:
        """The end of gdb's output: a packet that it gave up on, for one, is told there alone."""
        return self._log.read_text(errors="replace")[-300:]

    def close(self) -> None:
        """Kill gdb."""
        self._gdb.kill()
        self._gdb.wait()
        os.close(self._requests)
        os.close(self._answers)
