# SPDX-License-Identifier: MIT
"""What the stub refuses is an error that names it, and the guest is as it was."""

from __future__ import annotations

import pytest

from gdb_ppc_sstep.errors import SstepError, StubGone

from .. import machine as m
from ..machine import KERNEL, REAL, TEXT
from .bench import STEP, bench, program, unchanged


def test_refused_breakpoint_is_an_error_that_names_it() -> None:
    on = bench(program(m.NOP))
    on.machine.reply[b"Z0"] = b"E22"
    assert "0xc000000000004d00" in (line := unchanged(on))
    assert "E22" in line


def test_refused_landing_breakpoint_is_an_error() -> None:
    on = bench(program(m.SC))
    on.machine.reply[b"Z0"] = b"E22"
    assert "0xc000000000004c00" in unchanged(on)


def test_refused_breakpoint_that_is_only_for_safety_is_none() -> None:
    machine = program(m.mtmsrd(3))
    machine.cpu["r3"] = KERNEL
    machine.reply[b"Z0,%x," % (TEXT + 4)] = b"E22"
    native = machine.native()
    on = bench(machine)
    on.step()
    assert machine.changed(native) == {}
    on.clean()


def test_refused_msr_leaves_nothing_planted() -> None:
    on = bench(program(m.NOP))
    on.machine.reply[b"P41=3314"] = b"E01"  # with SE=1 and EE=0
    assert "msr" in unchanged(on)
    assert b"Z0,c000000000004d00,4" in on.machine.packets
    assert on.machine.packets[-1] == b"z0,c000000000004d00,4"


def test_unreadable_instruction_is_an_error_that_names_it() -> None:
    on = bench(program(m.NOP))
    on.machine.reply[b"m"] = b"E14"
    assert unchanged(on) == f"cannot read the instruction at {TEXT:#x}"
    assert not [packet for packet in on.machine.packets if packet[:1] == b"Z"]


def test_unreadable_pc_is_an_error() -> None:
    on = bench(program(m.NOP))
    on.machine.reply[b"p40"] = b"E14"
    assert "pc" in unchanged(on)


@pytest.mark.parametrize("name", ["srr0", "srr1"])
def test_description_without_srr0_or_srr1_is_an_error(name: str) -> None:
    machine = program(m.NOP)
    machine.absent.add(name)
    assert name in unchanged(bench(machine))


def test_refused_thread_is_an_error() -> None:
    on = bench(program(m.NOP))
    on.machine.reply[b"Hgp1.1"] = b"E22"
    on.stub.changed(None)
    assert "p1.1" in unchanged(on)


def test_refused_removal_does_not_hide_the_stop() -> None:
    machine = program(m.NOP)
    machine.reply[b"z0"] = b"E22"
    on = bench(machine)
    on.step()
    assert machine.cpu["pc"] == TEXT + 4
    assert [line for line in on.log if "to remove" in line and "0xc000000000004d00" in line]


@pytest.mark.parametrize("how", ["absent", "E14"])
def test_without_lpcr_the_error_names_the_setting(how: str) -> None:
    machine = program(m.NOP)
    if how == "absent":
        machine.absent.add("lpcr")
    else:
        machine.reply[b"p%x" % m.NUMBERS["lpcr"]] = b"E14"
    assert "set ppc-sstep ail" in unchanged(bench(machine), error=SstepError)


@pytest.mark.parametrize("ail", [0, 2, 3])
def test_without_lpcr_the_users_ail_is_taken(ail: int) -> None:
    machine = program(m.NOP, lpcr=ail << m.AIL_SHIFT | m.ILE)
    machine.absent.add("lpcr")
    native = machine.native()
    on = bench(machine)
    on.set(ail=ail)
    on.step()
    assert machine.changed(native) == {}
    on.clean()


@pytest.mark.parametrize("state", [REAL, REAL | m.IR, REAL | m.DR])
def test_lpcr_is_not_needed_without_translation(state: int) -> None:
    machine = program(m.NOP, state=state)
    machine.absent.add("lpcr")
    on = bench(machine)
    on.step()
    assert machine.cpu["pc"] == TEXT + 4


def test_lpcr_is_not_read_without_translation() -> None:
    on = bench(program(m.NOP, state=REAL))
    on.step()
    assert b"p%x" % m.NUMBERS["lpcr"] not in on.machine.packets


def test_stub_that_goes_away_in_a_step_is_not_hidden() -> None:
    on = bench(program(m.NOP))

    def hook(payload: bytes) -> None:
        if payload.startswith((b"vCont", b"z0")):
            raise StubGone("gone")

    on.link.hook = hook
    with pytest.raises(StubGone, match="gone"):
        on.resume(STEP)


def test_pc_that_is_no_multiple_of_4_is_an_error() -> None:
    machine = program(m.NOP)
    machine.cpu["pc"] = TEXT + 2
    assert f"{TEXT + 2:#x} is not a multiple of 4" in unchanged(bench(machine), error=SstepError)


@pytest.mark.parametrize("register", ["pc", "msr"])
def test_half_of_an_emulated_return(register: str) -> None:
    """The other half was written, and is taken back."""
    machine = program(m.RFID)
    machine.cpu.update(srr0=TEXT + 0x100, srr1=KERNEL & ~m.EE)
    machine.reply[b"P%x=" % m.NUMBERS[register]] = b"E22"
    on = bench(machine)
    assert f"refused to write {register}" in unchanged(on)
    on.clean()
