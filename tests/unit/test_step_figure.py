# SPDX-License-Identifier: MIT
"""docs/step.svg is what its data gives, and its data is what the engine does."""

from __future__ import annotations

from xml.etree import ElementTree

from fixtures import step_figure
from fixtures.step_figure import AFTER, ARMED, BEFORE, TRACED, VECTOR, State

from . import machine as m
from .engine.bench import bench
from .machine import Machine

BITS = 0xFFFF


def shown(machine: Machine) -> State:
    """The registers of a machine as the figure has them."""
    cpu = machine.cpu
    return State(cpu["pc"], cpu["msr"] & BITS, cpu["srr0"], cpu["srr1"] & BITS)


def test_the_registers_are_those_of_a_step() -> None:
    machine = Machine(lpcr=m.ILE)
    machine.put(BEFORE.pc, m.addi(5, 5, 1), m.SELF)
    machine.cpu.update(
        pc=BEFORE.pc, msr=m.SF | BEFORE.msr, srr0=BEFORE.srr0, srr1=m.SF | BEFORE.srr1
    )
    on = bench(machine)
    moments: list[tuple[bytes, State, set[int]]] = []
    on.link.hook = lambda payload: moments.append((payload, shown(machine), set(machine.planted)))
    on.step()
    packets = [packet for packet, _, _ in moments]
    resume = packets.index(b"vCont;c:p1.1;c:p1.-1")
    assert moments[0][1] == BEFORE
    assert moments[resume][1:] == (ARMED, {VECTOR})
    assert moments[resume + 1][1:] == (TRACED, {VECTOR})
    assert shown(machine) == AFTER
    assert machine.planted == {}
    # What the arrows say: what is sent before the resume, and what is asked and sent behind it.
    changes = [packet.split(b"=")[0] for packet in packets[:resume] if packet[:1] in b"ZzP"]
    assert changes == [b"Z0,d00,4", b"P41"]
    asked = {packet for packet in packets[resume + 1 :] if packet[:1] in b"gp"}
    assert {b"g", b"pb2", b"pb3"} <= asked
    undone = {packet.split(b"=")[0] for packet in packets[resume + 1 :] if packet[:1] in b"Pz"}
    assert undone == {b"P40", b"P41", b"Pb2", b"Pb3", b"z0,d00,4"}


def test_the_picture_is_what_its_data_gives() -> None:
    """If this fails: python3 -m fixtures.step_figure."""
    assert step_figure.PICTURE.read_text(encoding="utf-8") == step_figure.figure()


def test_the_picture_names_each_lane_and_each_register() -> None:
    texts = [
        "".join(text.itertext()) for text in ElementTree.fromstring(step_figure.figure()).iter()
    ]
    assert {"gdb", "layer", "stub", "vCPU", "Z0,d00"} <= set(texts)
    assert "pc 0xd00 MSR[SE] 0 [EE] 0" in texts
    assert "SRR0 0x202e8 SRR1 0x1403" in texts
