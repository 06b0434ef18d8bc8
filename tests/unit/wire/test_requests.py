# SPDX-License-Identifier: MIT
"""Private packets: the layer answers gdb's side itself."""

from __future__ import annotations

import json

from gdb_ppc_sstep.options import Options

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
    rig.server.extra[b"qThreadExtraInfo,p1.1"] = b"CPU#0 [halted ]".hex().encode()
    rig.gdb.ask(STEP)
    status = json.loads(bytes.fromhex(rig.gdb.ask(b"qppc-sstep.status").decode()))
    speed = status.pop("speed")
    assert 0 < speed["milliseconds"] < 5000 and speed["packets"] >= 7 and speed["requests"] == 1
    assert status == {
        "active": True,
        "steps": 1,
        "outstanding": [],
        "msr": KERNEL,
        "order": "little",
        "ail": 3,
        "vector": TRACE,
        "watchpoints": "none now; by the stub if it has them, else by DAWR, else by steps",
        "runs_on": "QEMU without KVM (TCG)",
        "vcpus": [{"thread": "p1.1", "what": "CPU#0 [halted ]"}],
        "options": Options().to_text(),
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


def test_report_has_the_last_packets_before_it(start: Start) -> None:
    rig = start(program(m.NOP, m.NOP))
    rig.gdb.ask(STEP)
    report = json.loads(bytes.fromhex(rig.gdb.ask(b"qppc-sstep.report").decode()))
    assert report["status"]["steps"] == 1
    packets = report["packets"]
    assert len(packets) < 500 and packets[-1] == "gdb  -> qppc-sstep.report"
    stepped = packets.index(f"gdb  -> {STEP.decode()}")
    later = packets[stepped:]
    (resumed,) = (n for n, line in enumerate(later) if line.startswith("stub <- vCont;c"))
    assert later[resumed + 1].startswith("stub -> T05thread:")


def test_log_is_written_only_when_asked_for(start: Start) -> None:
    rig = start(program(m.NOP, m.NOP))
    rig.gdb.ask(STEP)
    assert rig.log == ""
    rig.gdb.ask(b"Qppc-sstep.log=on")
    rig.gdb.ask(STEP)
    assert f"step p1.1 pc={TEXT + 4:#x}" in rig.log
