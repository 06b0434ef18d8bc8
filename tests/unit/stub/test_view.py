# SPDX-License-Identifier: MIT
"""The MSR that a breakpoint is reached by, and the thread's own behind it."""

from __future__ import annotations

from gdb_ppc_sstep.ppc import msr
from gdb_ppc_sstep.stub.pipeline import Queued
from gdb_ppc_sstep.stub.view import Reach, View, Written

OWN = msr.SF | msr.IR | msr.DR
REAL = msr.SF
ARMED = OWN | msr.SE


def written(state: int) -> Written:
    return Written(state, b"P41=%x" % state)


def decoded(packet: bytes) -> int | None:
    return int(packet[4:], 16) if packet.startswith(b"P41=") else None


def sent(view: View, *packets: bytes) -> list[bytes]:
    queue = [Queued(packet, "") for packet in packets]
    arranged = view.arranged(queue, None, lambda packet: None, lambda packet: Queued(packet, ""))
    return [one.payload for one in arranged]


def test_a_step_that_was_armed_ahead_stays_armed() -> None:
    """Its MSR was written and is not again, as the stub has it; what is known is that of before."""
    view = View(decoded)
    view.stopped(None)
    armed, real = written(ARMED).packet, written(REAL).packet
    assert sent(view, armed) == [armed]
    view.plan(b"Z0,300,4", Reach(written(REAL), written(OWN)))
    assert sent(view, b"Z0,300,4") == [real, b"Z0,300,4", armed]


def test_behind_a_stop_it_is_what_the_thread_is_known_to_have() -> None:
    view = View(decoded)
    view.stopped(None)
    sent(view, written(ARMED).packet)
    view.stopped(None)
    view.plan(b"Z0,300,4", Reach(written(REAL), written(OWN)))
    assert sent(view, b"Z0,300,4") == [written(REAL).packet, b"Z0,300,4", written(OWN).packet]
