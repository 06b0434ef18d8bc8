# SPDX-License-Identifier: MIT
"""Runs inside gdb: does what `benchmark` asks for on one file descriptor, answers on another.

A request is a line of JSON.  `prepare` and `measured` are commands; the latter are done `times`
times.  The answer has the seconds that these took, and if `registers` is true the registers then.
"""

from __future__ import annotations

import json
import os
import time

import gdb

REGISTERS = "info registers pc msr cr lr ctr xer srr0 srr1 " + " ".join(f"r{n}" for n in range(32))


def _answer(request: dict[str, object]) -> dict[str, object]:
    prepare, measured, times = request["prepare"], request["measured"], request["times"]
    assert isinstance(prepare, list) and isinstance(measured, list) and isinstance(times, int)
    for command in prepare:
        gdb.execute(command, to_string=True)
    start = time.perf_counter()
    for _ in range(times):
        for command in measured:
            gdb.execute(command, to_string=True)
    seconds = time.perf_counter() - start
    shown = request["registers"] and gdb.selected_thread() is not None
    registers = gdb.execute(REGISTERS, to_string=True) if shown else ""
    return {"seconds": seconds, "registers": registers}


def serve(requests: int, answers: int) -> None:
    """Answer requests until the other end closes.  An error of gdb is an answer as well."""
    with os.fdopen(requests) as lines:
        for line in lines:
            try:
                answer = _answer(json.loads(line))
            except gdb.error as error:
                answer = {"error": str(error)}
            os.write(answers, json.dumps(answer).encode() + b"\n")
