# SPDX-License-Identifier: MIT
"""Private packets: the layer answers gdb's side itself."""

from __future__ import annotations

import json

from .. import machine as m
from ..machine import KERNEL, TEXT, TRACE
from .rig import STEP, Start, in_handler, program


def test_private_packets_never_reach_the_stub(start: Start) -> None:
    rig = start(program(m.NOP))
    for name in (b"active=on", b"ail=3", b"ail=auto", b"log=on", b"log=off"):
        assert rig.gdb.ask(b"Qppc-sstep." + name) == b"OK"
    assert rig.gdb.ask(b"Qppc-sstep.nonsense=1").startswith(b"E.ppc-sstep: ")
    rig.gdb.ask(b"qppc-sstep.status")
    assert rig.gdb.ask(b"qppc-sstep.layer") == b"OK"
    assert not [packet for packet in rig.server.packets if b"ppc-sstep" in packet]


def test_status_tells_what_the_layer_knows(start: Start) -> None:
    rig = start(program(m.NOP))
    rig.gdb.ask(STEP)
    status = json.loads(bytes.fromhex(rig.gdb.ask(b"qppc-sstep.status").decode()))
    assert status == {
        "active": True,
        "steps": 1,
        "outstanding": [],
        "msr": KERNEL,
        "order": "little",
        "ail": 3,
        "vector": TRACE,
        "watchpoints": "",
    }


def test_status_tells_of_outstanding_steps_and_of_problems(start: Start) -> None:
    machine = in_handler()
    rig = start(machine)
    rig.step_until_it_hangs()
    rig.gdb.sock.sendall(b"\x03")
    rig.gdb.receive()
    assert rig.gdb.ask(b"Hgp1.1") == b"OK"  # what is known is forgotten
    machine.reply[b"p%x" % m.NUMBERS["lpcr"]] = b"E14"
    status = json.loads(bytes.fromhex(rig.gdb.ask(b"qppc-sstep.status").decode()))
    assert status["outstanding"] == [{"thread": "p1.1", "pc": TEXT}]
    assert "set ppc-sstep ail" in status["problem"]


def test_log_is_written_only_when_asked_for(start: Start) -> None:
    rig = start(program(m.NOP, m.NOP))
    rig.gdb.ask(STEP)
    assert rig.log == ""
    rig.gdb.ask(b"Qppc-sstep.log=on")
    rig.gdb.ask(STEP)
    assert f"step p1.1 pc={TEXT + 4:#x}" in rig.log
