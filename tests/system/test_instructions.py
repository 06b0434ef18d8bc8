# SPDX-License-Identifier: MIT
"""Single instructions, written to where the guest stands, against the oracle."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest

from fixtures.bare_metal import SOURCES, Program, assemble
from fixtures.qemu import Qemu
from tests.harness.driver import Gdb
from tests.harness.oracle import Oracle, oracle, variant_name

pytestmark = pytest.mark.bare

SE = 0x400
HERE = "$here"

# By name: the word, and gdb commands before the step.  They may use r20 to r23.
CASES: dict[str, tuple[int, list[str]]] = {
    "rfid": (0x4C000024, ["set $srr0 = $pc + 8", "set $srr1 = $msr"]),
    "rfid, low bits of SRR0": (0x4C000024, ["set $srr0 = $pc + 11", "set $srr1 = $msr"]),
    "rfid, status bits in SRR1": (
        0x4C000024,
        ["set $srr0 = $pc + 8", "set $srr1 = $msr | 0x783f0000"],
    ),
    "rfid, other MSR": (0x4C000024, ["set $srr0 = $pc + 8", "set $srr1 = $msr ^ 0x2002"]),
    "rfid to a 32-bit state": (
        0x4C000024,
        ["set $srr0 = (long)$pc + 8 | 0x100000000", "set $srr1 = $msr & 0x7fffffffffffffff"],
    ),
    "rfid with the guest's own SE": (
        0x4C000024,
        ["set $srr0 = $pc + 8", "set $srr1 = $msr | 0x400"],
    ),
    "hrfid without MSR[HV]": (0x4C000224, ["set $hsrr0 = $pc + 8"]),
    "rfscv": (0x4C0000A4, ["set $lr = $pc + 8", "set $ctr = $msr"]),
    "sc": (0x44000002, []),
    "sc 1": (0x44000022, ["set $r3 = 0xfffc"]),
    "scv 0": (0x44000001, []),
    "trap": (0x7FE00008, []),
    "tdeqi taken": (0x08940007, ["set $r20 = 7"]),
    "tdeqi not taken": (0x08940007, ["set $r20 = 8"]),
    "tw on the low word": (0x7C94A808, ["set $r20 = 0x100000007", "set $r21 = 7"]),
    "mfmsr": (0x7E8000A6, []),
    "mfsrr0": (0x7E9A02A6, ["set $srr0 = 0x123456789abcdef0"]),
    "mfsrr1": (0x7E9B02A6, ["set $srr1 = 0x8000000012345670"]),
    "mtsrr0": (0x7E9A03A6, ["set $r20 = 0x123456789abcdef0"]),
    "mtsrr1": (0x7E9B03A6, ["set $r20 = 0x8000000000000402"]),
    "mtmsrd": (0x7E800164, ["set $r20 = $msr ^ 0x2002"]),
    "mtmsrd that leaves translation": (0x7E800164, ["set $r20 = $msr & ~0x30"]),
    "mtmsrd 1": (0x7E810164, ["set $r20 = $msr ^ 0x2"]),
    "mtmsr": (0x7E800124, ["set $r20 = $msr ^ 0x2002"]),
    "branch to itself": (0x48000000, []),
    "rfid to a breakpoint": (
        0x4C000024,
        ["set $srr0 = $pc + 8", "set $srr1 = $msr", "tbreak *($here + 8)"],
    ),
    "b to a breakpoint": (0x48000008, ["tbreak *($here + 8)"]),
    "b from a breakpoint": (0x48000008, ["tbreak *$here"]),
    "nop to a breakpoint": (0x60000000, ["tbreak *($here + 4)"]),
    "mtmsrd that sets SE": (0x7E800164, ["set $r20 = $msr | 0x400"]),
    "mtmsrd that clears SE": (0x7E800164, ["set $r20 = $msr", "set $msr = $msr | 0x400"]),
    "mtmsrd that sets BE": (0x7E800164, ["set $r20 = $msr | 0x200"]),
    "mtmsrd 1 with SE in RS": (0x7E810164, ["set $r20 = $msr | 0x402"]),
    "mtmsrd to 32-bit mode": (0x7E800164, ["set $r20 = $msr & 0x7fffffffffffffff"]),
    "mtmsrd of EE": (0x7E810164, ["set $r20 = $msr | 0x8000", "set $dec = 0x7fffffff"]),
    "mfmsr with SE": (0x7E8000A6, ["set $msr = $msr | 0x400"]),
    "mthsrr0": (0x7E9A4BA6, ["set $r20 = 0x1234567"]),
    "mthsrr1": (0x7E9B4BA6, ["set $r20 = 0x1234567"]),
    "mfhsrr0": (0x7E9A4AA6, []),
    "b into a vector": (0x48000000 | 0x902, []),
    "ba to the Trace vector": (0x48000D02, []),
    "bctr to the Trace vector": (0x4E800420, ["set $ctr = $trace"]),
    "bctrl to the Trace vector": (0x4E800421, ["set $ctr = $trace"]),
    "bcl 20,31": (0x429F0005, []),
    "bctar": (0x4E800460, ["set $tar = $pc + 12"]),
    "rfebb": (0x4C000124, ["set $ebbrr = $pc + 8"]),
    "slbie": (0x7C00A364, ["set $r20 = 0x8000000"]),
    "tlbie": (0x7C00A264, ["set $r20 = 0"]),
    "ptesync": (0x7C4004AC, []),
    "bl": (0x48000011, []),
    "bctr": (0x4E800420, ["set $ctr = $pc + 12"]),
    "bdnz not taken": (0x4200FFF8, ["set $ctr = 1"]),
    "bdnz taken": (0x42000008, ["set $ctr = 9"]),
}

VARIANTS: list[dict[str, Any]] = [
    {"endian": "le"},
    {"endian": "be", "ail": 3},
    {"endian": "le", "ail": 3},
]


@pytest.fixture(params=VARIANTS, ids=variant_name)
def pair(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    programs: Callable[..., Program],
    boot: Callable[..., Qemu],
) -> Iterator[Oracle]:
    program = programs("demo", **request.param)
    start = partial(boot, program)
    with oracle(tmp_path, start, program.elf, ["-d", str(SOURCES)]) as pair:
        pair.both("tbreak work")
        pair.both("continue")
        pair.both(f"set {HERE} = $pc")
        yield pair


def step_over(pair: Oracle, where: str, name: str, word: int, before: list[str]) -> None:
    """Put an instruction and a few nops at an address, set registers, and step."""
    pair.both(f"set $pc = {where}")
    for offset in range(0, 24, 4):
        pair.both(f"set {{unsigned int}}({where} + {offset}) = 0x60000000")
    pair.both(f"set {{unsigned int}}$pc = {word:#x}")
    for command in before:
        pair.both(command)
    pair.both(f"echo {name}\\n")
    pair.both("stepi")


def vector_base(pair: Oracle) -> str:
    """The address of the vectors, as gdb takes it."""
    return "0xc000000000004000" if "004d00" in pair.ours.status() else "0"


def test_every_case(pair: Oracle) -> None:
    """All cases in one guest: each sets its own registers and has nops after its instruction."""
    pair.both("set $old = $msr")
    pair.both(f"set $trace = {vector_base(pair)} + 0xd00")
    for name, (word, before) in CASES.items():
        pair.both("set $msr = $old")
        step_over(pair, HERE, name, word, before)
    pair.both("set $msr = $old")
    assert pair.ours.value("trace_hits") == 0
    assert pair.compared > 20 * len(CASES)
    assert f"Steps done: {len(CASES)}\n" in pair.ours.status()


def test_the_guests_own_trace_interrupt(pair: Oracle) -> None:
    """Where the guest itself has set MSR[SE], a step ends at its Trace vector, as natively."""
    pair.both("set $msr = $msr | 0x400")
    pair.both("stepi")
    assert pair.both("p/x $pc").strip().endswith(("0xd00", "004d00"))
    for _ in range(3):
        pair.both("stepi")  # through its handler


def test_steps_at_the_trace_vector(pair: Oracle) -> None:
    vector = "0xc000000000004d00" if "004d00" in pair.ours.status() else "0xd00"
    pair.both(f"set $pc = {vector}")
    pair.both("break *$pc")
    for _ in range(5):
        pair.both("stepi")
    pair.both(f"set $pc = {vector}")
    pair.both("stepi")


F4 = "set $f4 = *(double *)($r1 - 64)"  # for the FPSCR
TRANSLATED = [one for one in VARIANTS if one.get("ail")]

# Instructions that fault; r20 is an address that is not mapped, r21 one that is not aligned.
FAULTS: dict[str, tuple[int, list[str]]] = {
    "ld, no segment": (0xEA940000, ["set $r20 = 0x100000000000"]),
    "ld, no page": (0xEA940000, ["set $r20 = 0x40000000"]),
    "stw, no page": (0x92940000, ["set $r20 = 0x40000000"]),
    "lbzu, no page": (0x8E940001, ["set $r20 = 0x40000000"]),
    "lwzx, no page": (0x7E94A82E, ["set $r20 = 0x40000000", "set $r21 = 4"]),
    "dcbz, no page": (0x7C00A7EC, ["set $r20 = 0x40000000"]),
    "lwarx, not aligned": (0x7E80A828, ["set $r21 = $here + 1"]),
    "lmw, not aligned": (0xBB950000, ["set $r21 = $here + 1"]),
    "lq": (0xE2D50000, ["set $r21 = $here"]),
    "lfd": (0xC8350000, ["set $r21 = $here"]),
    "fadd": (0xFC22182A, []),
    "vaddubm": (0x10221800, []),
    "lvx": (0x7C20A8CE, ["set $r21 = $here"]),
    "lxvd2x": (0x7C00AE98, ["set $r21 = $here"]),
    "xxlxor": (0xF00004D0, []),
    "mffs": (0xFC20048E, []),
    "no instruction": (0x00000000, []),
    "attn": (0x00000200, []),
    "unknown in opcode 31": (0x7C0007FE, []),
    "mfspr of no SPR": (0x7E9FFAA6, []),
    "mtspr of no SPR": (0x7E9FFBA6, []),
    "tbegin.": (0x7C00051D, []),
    "tend.": (0x7C00055D, []),
    "mfdscr": (0x7E9102A6, []),
    "bctar": (0x4E800460, ["set $tar = $pc + 12"]),
    "hrfid": (0x4C000224, []),
    "stop": (0x4C0002E4, []),
    "slbia": (0x7C0003E4, []),
    "mfspr lpcr": (0x7E9E4AA6, []),
    "pnop": (0x07000000, []),
    "mtfsf that enables an exception which has been": (
        0xFDFE258E,  # mtfsf 255,f4
        ["set *(long *)($r1 - 64) = 0xfb9a9198", "set $msr |= 0x2900", F4],
    ),
}
PROBLEM_STATE: dict[str, tuple[int, list[str]]] = {
    "mfmsr": (0x7E8000A6, []),
    "mtmsrd": (0x7E800164, []),
    "rfid": (0x4C000024, []),
    "mfsrr0": (0x7E9A02A6, []),
    "mtsprg3": (0x7E9343A6, []),
    "slbia": (0x7C0003E4, []),
    "tlbiel": (0x7C00A224, []),
    "sc": (0x44000002, []),
    "sc 1": (0x44000022, ["set $r3 = 0xfffc"]),
    "trap": (0x7FE00008, []),
    "lfd": (0xC8350000, ["set $r21 = $here"]),
    "ld, no page": (0xEA940000, ["set $r20 = 0x40000000"]),
    "nop": (0x60000000, []),
}


@pytest.mark.parametrize("state", ["$old", "$old | 0x2000", "$old | 0x2802000"])
@pytest.mark.parametrize("pair", VARIANTS, ids=variant_name, indirect=True)
def test_faults_stop_at_their_vector(pair: Oracle, state: str) -> None:
    """With MSR[FP], MSR[VEC] and MSR[VSX] off and on."""
    pair.both("set $old = $msr")
    for name, (word, before) in FAULTS.items():
        pair.both(f"set $msr = {state}")
        step_over(pair, HERE, name, word, before)
        pair.both("info registers dar dsisr")
    assert pair.ours.value("trace_hits") == 0
    assert f"Steps done: {len(FAULTS)}\n" in pair.ours.status()


@pytest.mark.parametrize("pair", VARIANTS[:1], ids=variant_name, indirect=True)
def test_an_exception_that_msr_holds_back(pair: Oracle) -> None:
    """FPSCR enables an exception that has been, MSR[FE0] and MSR[FE1] are 0: there is no interrupt.

    So the step ends at the next instruction.  QEMU's own stepping goes on until something else
    raises an exception (seen with 7.2, 10.0 and 11.1): target/ppc/fpu_helper.c fpscr_check_status
    leaves exception_index set, and accel/tcg/cpu-exec.c cpu_tb_exec then takes the step for one
    that ends by an exception.  Hence no comparison.
    """
    gdb = pair.ours
    word, before = FAULTS["mtfsf that enables an exception which has been"]
    gdb.command(f"set {{unsigned int}}{HERE} = {word:#x}")
    for command in (*before, "set $msr = $msr & ~0x900", "set $here = $pc"):
        gdb.command(command)
    for number in (1, 2):
        gdb.command("stepi")
        assert gdb.pc == gdb.value("$here") + 4 * number
    assert gdb.value("$fpscr & 0xffffffff") == 0xFB9A9198
    assert gdb.value("program_hits") == gdb.value("trace_hits") == 0


@pytest.mark.parametrize("pair", TRANSLATED, ids=variant_name, indirect=True)
def test_faults_of_problem_state(pair: Oracle) -> None:
    pair.both("set $user = $msr | 0x4000")
    for name, (word, before) in PROBLEM_STATE.items():
        pair.both("set $msr = $user")
        step_over(pair, HERE, name, word, before)
    assert f"Steps done: {len(PROBLEM_STATE)}\n" in pair.ours.status()


def test_at_the_vector_of_their_own_interrupt(pair: Oracle) -> None:
    """Each instruction leads to its own address, where a breakpoint would keep it from running."""
    base = vector_base(pair)
    cases = {
        "trap": ("0x700", 0x7FE00008, []),
        "sc": ("0xc00", 0x44000002, []),
        "b .": ("0xd00", 0x48000000, []),
        "bdnz .": ("0xd00", 0x42000000, ["set $ctr = 3"]),
        "bdnz . that leaves": ("0xd00", 0x42000000, ["set $ctr = 1"]),
        "beq .": ("0xd00", 0x41820000, ["set $cr = 0x20000000"]),
        "bl .+8": ("0xd00", 0x48000009, []),
        "blrl": ("0xd00", 0x4E800021, ["set $lr = $here"]),
        "bctr": ("0xd00", 0x4E800420, ["set $ctr = $here"]),
    }
    for name, (offset, word, before) in cases.items():
        step_over(pair, f"{base} + {offset}", name, word, before)
        pair.both("stepi")
    assert f"Steps done: {2 * len(cases)}\n" in pair.ours.status()


@pytest.mark.parametrize("pair", TRANSLATED, ids=variant_name, indirect=True)
def test_over_interrupts(pair: Oracle) -> None:
    """`set ppc-sstep interrupts over`: a step shows what is native after the handler's return."""
    gdb = pair.ours
    assert "Steps go into interrupts" in gdb.command("show ppc-sstep interrupts")
    gdb.command("set ppc-sstep interrupts over")
    assert "Steps go over interrupts" in gdb.command("show ppc-sstep interrupts")
    here = gdb.value(HERE)
    gdb.command(f"set {{unsigned int}}{HERE} = 0x44000002")  # sc
    msr = gdb.value("$msr")
    gdb.command("stepi")
    assert (gdb.pc, gdb.value("$msr")) == (here + 4, msr)
    assert gdb.value("syscall_hits") == 1
    assert gdb.value("$srr1") == msr
    gdb.command("set {unsigned int}($pc) = 0x7fe00008")  # trap, which the handler skips
    gdb.command("stepi")
    assert gdb.pc == here + 8
    assert gdb.value("program_hits") == 1
    # A page fault that the handler puts right: it sets r20 to an address that is mapped.
    dsi = gdb.value("(long)vectors_4000 + 0x300")
    fix, rfid = 0x7E9342A6, 0x4C000024  # mfsprg3 r20; rfid
    gdb.command(f"set {{unsigned int}}{dsi} = {fix:#x}")
    gdb.command(f"set {{unsigned int}}({dsi} + 4) = {rfid:#x}")
    gdb.command("set {unsigned int}($pc) = 0xeab40000")  # ld r21,0(r20)
    gdb.command("set $r20 = 0x40000000")
    gdb.command(f"set $sprg3 = {HERE}")
    gdb.command("stepi")
    assert gdb.pc == here + 12
    assert gdb.value("$r20") == here
    assert gdb.value("$r21") == gdb.value(f"*(unsigned long *){HERE}")
    assert gdb.value("$msr") == msr
    assert "Outstanding: none" in gdb.status()


@pytest.mark.parametrize("pair", TRANSLATED, ids=variant_name, indirect=True)
def test_interrupted_in_a_handler(pair: Oracle) -> None:
    """A step over a fault whose handler never returns: Ctrl-C ends it and leaves nothing."""
    gdb = pair.ours
    gdb.command("set ppc-sstep interrupts over")
    gdb.command(f"set {{unsigned int}}{HERE} = 0xea940000")  # ld r20,0(r20)
    gdb.command("set $r20 = 0x100000000000")
    gdb.send("stepi")
    time.sleep(0.5)  # in the handler, which never ends
    output = gdb.interrupt()
    assert "SIGINT" in output
    assert gdb.value("$srr0") == gdb.value(HERE)
    assert gdb.value("$srr1") & SE == 0
    assert gdb.value("$msr") & SE == 0
    assert "Outstanding: none" in gdb.status()


# A handler that switches tasks: it exchanges r1, SRR0 and SRR1 for those of the other task.
SWITCH = """
mfsprg 20,3; mtsprg 3,1; mr 1,20; mfsprg 20,2; mfsrr0 21; mtsprg 2,21; mtsrr0 20
mfsprg 20,1; mfsrr1 21; mtsprg 1,21; mtsrr1 20; rfid
"""


@pytest.mark.parametrize(
    ("offset", "word"), [(0xC00, 0x44000002), (0x300, 0xEB160000)], ids=["sc", "ld 24,0(22)"]
)
@pytest.mark.parametrize("pair", TRANSLATED, ids=variant_name, indirect=True)
def test_over_a_handler_that_switches_tasks(
    pair: Oracle, offset: int, word: int, tmp_path: Path
) -> None:
    """The other task comes to where the step is to end, and runs on: its stack is another."""
    gdb = pair.ours
    gdb.command("set ppc-sstep interrupts over")
    endian: Literal["le", "be"] = "le" if "little" in gdb.status() else "be"
    code, _ = assemble(SWITCH.replace(";", "\n"), endian, tmp_path)
    (tmp_path / "switch").write_bytes(code)
    base = gdb.value("(long)vectors_4000")
    for vector in {offset, 0xC00}:
        gdb.command(f"restore {tmp_path / 'switch'} binary {base + vector}")
    here, stack, msr = gdb.value(HERE), gdb.value("$r1"), gdb.value("$msr")
    # The other task: mr 22,23 (where it begins); addi 25,25,1; sc
    for place, one in enumerate((word, 0x7EF6BB78, 0x3B390001, 0x44000002)):
        gdb.command(f"set {{unsigned int}}({HERE} + {4 * place}) = {one:#x}")
    for name, value in {
        "sprg1": msr,
        "sprg2": here + 4,
        "sprg3": 0x5000,
        "r22": 0x40000000,
        "r23": here,
        "r25": 0,
    }.items():
        gdb.command(f"set ${name} = {value:#x}")
    gdb.command("stepi")
    assert (gdb.pc, gdb.value("$r1"), gdb.value("$msr")) == (here + 4, stack, msr)
    assert gdb.value("$r25") == 1
    assert (gdb.value("$sprg2"), gdb.value("$sprg3")) == (here + 16, 0x5000)
    assert gdb.value("$sprg1") & SE == 0
    if offset == 0x300:
        assert gdb.value("$r24") == gdb.value(f"*(unsigned long *){HERE}")
    assert "Outstanding: none" in gdb.status()
    assert gdb.value("trace_hits") == 0


@pytest.mark.parametrize("pair", TRANSLATED, ids=variant_name, indirect=True)
def test_over_a_handler_that_skips(pair: Oracle) -> None:
    """A fault's handler returns to the next instruction with the step's SE; the step does both."""
    gdb = pair.ours
    gdb.command("set ppc-sstep interrupts over")
    here, msr = gdb.value(HERE), gdb.value("$msr")
    # mfsrr0 21; addi 21,21,4; mtsrr0 21; rfid
    dsi = gdb.value("(long)vectors_4000 + 0x300")
    for place, word in enumerate((0x7EBA02A6, 0x3AB50004, 0x7EBA03A6, 0x4C000024)):
        gdb.command(f"set {{unsigned int}}({dsi} + {4 * place}) = {word:#x}")
    for place, word in enumerate((0xEB160000, 0x60000000, 0x60000000)):
        gdb.command(f"set {{unsigned int}}({HERE} + {4 * place}) = {word:#x}")
    gdb.command("set $r22 = 0x40000000")
    gdb.command("stepi")
    assert (gdb.pc, gdb.value("$msr")) == (here + 8, msr)
    assert "Outstanding: none" in gdb.status()
    assert gdb.value("trace_hits") == 0


@pytest.mark.parametrize("pair", TRANSLATED, ids=variant_name, indirect=True)
def test_a_vector_that_is_not_mapped(pair: Oracle) -> None:
    """With PID=1 the process table's entry 0, which maps the upper half, can be emptied.

    QEMU's TCG stops at a breakpoint before it fetches.  Under KVM the stub cannot plant the
    breakpoint, and the step is an error.
    """
    pair.both("set $msr = $msr")
    for offset in (0, 8):
        pair.both(f"set *(unsigned long *)(0x1000010 + {offset}) = *(long *)(0x1000000 + {offset})")
    step_over(pair, HERE, "mtspr PID", 0x7E900BA6, ["set $r20 = 1"])
    pair.both("set *(unsigned long *)0x1000000 = 0")
    step_over(pair, HERE, "mtspr PID", 0x7E900BA6, ["set $r20 = 1"])
    assert "Cannot access" in pair.both("x/i 0xc000000000004d00")
    cases = ("nop", 0x60000000), ("ld", 0xEAB50000), ("sc", 0x44000002)
    for name, word in cases:
        step_over(pair, HERE, name, word, ["set $r21 = $here"])
    assert pair.both("p/x $pc").strip().endswith("0xc000000000004c00")
    assert pair.ours.value("trace_hits") == 0


@pytest.mark.parametrize("word", [0x7C210B78, 0x7F7BDB78], ids=["or 1,1,1", "yield"])
def test_hints(pair: Oracle, word: int) -> None:
    """A step at a hint is one instruction; under TCG a native one is two (gen_pause)."""
    gdb = pair.ours
    here, msr = gdb.value(HERE), gdb.value("$msr")
    gdb.command(f"set {{unsigned int}}{HERE} = {word:#x}")
    gdb.command("stepi")
    assert (gdb.pc, gdb.value("$msr")) == (here + 4, msr)
    assert "Outstanding: none" in gdb.status()
    pair.native.command(f"set {{unsigned int}}{HERE} = {word:#x}")
    pair.native.command("stepi")
    assert pair.native.pc == here + 8


def test_a_sleeper(pair: Oracle) -> None:
    """`wait` with interrupts off sleeps, natively too.  Ctrl-C ends it and leaves nothing."""
    for gdb in (pair.native, pair.ours):
        gdb.command(f"set {{unsigned int}}{HERE} = 0x7c00003c")
        gdb.send("stepi")
        time.sleep(0.5)
        output = gdb.interrupt()
        assert "SIGINT" in output, output
    pair.both("p $pc - $here")
    assert pair.ours.value("$msr") & SE == 0


@pytest.mark.parametrize("pair", TRANSLATED, ids=variant_name, indirect=True)
def test_hypercalls_that_change_how_interrupts_are_taken(pair: Oracle) -> None:
    """H_SET_MODE changes AIL, then ILE and back, between steps and in a step."""
    hypercall = ("set $r3 = 0x31c", "set $r6 = 0", "set $r7 = 0")
    for value in (0, 3):
        before = [*hypercall, f"set $r4 = {value}", "set $r5 = 3"]
        step_over(pair, HERE, f"AIL={value}", 0x44000022, before)
        assert pair.both("p/x $r3").endswith("= 0x0\n")
        pair.both("stepi 2")
        step_over(pair, HERE, "sc", 0x44000002, [])
        pair.both("stepi 12")
    ile = int(pair.ours.value("$msr") & 1)
    for value in (1 - ile, ile):
        before = [*hypercall, f"set $r4 = {value}", "set $r5 = 4"]
        step_over(pair, HERE, f"ILE={value}", 0x44000022, before)
        pair.both("stepi 2")


def test_rfid_to_the_other_byte_order(pair: Oracle) -> None:
    """gdb reads registers with swapped bytes there, natively too, so the test ends there."""
    msr = pair.ours.value("$msr")
    before = ["set $srr0 = $pc + 8", "set $srr1 = $msr ^ 1"]
    step_over(pair, HERE, "rfid", 0x4C000024, before)
    order = ("big", "little")[~msr & 1]
    assert f"Byte order: {order}-endian" in pair.ours.status()
    swapped = int.from_bytes(pair.ours.pc.to_bytes(8, "big"), "little")
    assert swapped == int(pair.both("output/d (long)$here + 8"))


PREFIXED = [
    ("pli, before a boundary", 56, (0x06001234, 0x3A805678)),
    ("pli, over it", 60, (0x06001234, 0x3A805678)),  # Alignment interrupt
    ("pld, before a boundary", 56, (0x04100000, 0xE6800010)),
    ("pld, over it", 60, (0x04100000, 0xE6800010)),
]


@pytest.mark.parametrize(
    "setting", [{"endian": "le", "ail": 3}, {"endian": "be"}], ids=variant_name
)
def test_prefixed_instructions_at_a_64_byte_boundary(
    setting: dict[str, Any],
    tmp_path: Path,
    programs: Callable[..., Program],
    boot: Callable[..., Qemu],
) -> None:
    program = programs("demo", **setting)
    with oracle(tmp_path, partial(boot, program, cpu="POWER10"), program.elf) as pair:
        pair.both("tbreak work")
        pair.both("continue")
        pair.both("set $old = $msr")
        for name, offset, words in PREFIXED:
            pair.both("set $msr = $old")
            before = [f"set {{unsigned int}}($pc + 4) = {words[1]:#x}"]
            step_over(pair, f"0x40000 + {offset}", name, words[0], before)
            arrived = pair.ours.pc & 0xFFFFFF
            assert arrived == (0x40040 if offset == 56 else _base_of(pair) + 0x600)


def _base_of(pair: Oracle) -> int:
    return int(vector_base(pair), 16) & 0xFFFFFF


DECREMENTER = 0x4000000  # an eighth of a second


def test_over_a_hypercall_that_sleeps(pair: Oracle) -> None:
    """A step of H_CEDE lasts until the decrementer's handler has returned, or until Ctrl-C."""
    gdb = pair.ours
    vector = int(vector_base(pair), 16) + 0x900
    # mtsprg 0,20; lis 20,0x7fff; mtdec 20; mfsprg 20,0; rfid
    handler = (0x7E9043A6, 0x3E807FFF, 0x7E9603A6, 0x7E9042A6, 0x4C000024)
    for place, word in enumerate(handler):
        gdb.command(f"set {{unsigned int}}({vector} + {4 * place}) = {word:#x}")
    here, msr = gdb.value(HERE), gdb.value("$msr")
    for offset, word in enumerate((0x7E9603A6, 0x44000022, 0x44000022)):  # mtdec 20; sc 1; sc 1
        gdb.command(f"set {{unsigned int}}({HERE} + {4 * offset}) = {word:#x}")
    gdb.command(f"set $r20 = {DECREMENTER:#x}")
    gdb.command("set $r3 = 0xe0")
    gdb.command("stepi")
    begin = time.monotonic()
    gdb.command("stepi")
    assert time.monotonic() - begin > 0.1
    assert (gdb.pc, gdb.value("$r3"), gdb.value("$r20")) == (here + 8, 0, DECREMENTER)
    assert gdb.value("$msr") == msr | 0x8000  # as H_CEDE leaves it
    assert gdb.value("$srr0") == here + 8
    assert gdb.value("$srr1") & SE == 0
    gdb.command("set $r3 = 0xe0")
    gdb.send("stepi")
    time.sleep(0.5)
    assert "SIGINT" in gdb.interrupt()
    assert gdb.pc == here + 12
    assert gdb.value("$msr") & SE == 0
    assert "Outstanding: none" in gdb.status()


HYPERVISOR_CASES: dict[str, tuple[int, list[str]]] = {
    "hrfid": (0x4C000224, ["set $hsrr0 = 0x20108", "set $hsrr1 = $msr"]),
    "hrfid, other MSR": (0x4C000224, ["set $hsrr0 = 0x2010b", "set $hsrr1 = $msr ^ 0x2002"]),
    "rfid": (0x4C000024, ["set $srr0 = 0x20108", "set $srr1 = $msr"]),
    "rfid that changes ME": (0x4C000024, ["set $srr0 = 0x20108", "set $srr1 = $msr ^ 0x1000"]),
    "nop": (0x60000000, []),
    "sc": (0x44000002, []),
    "sc 1": (0x44000022, []),
    "trap": (0x7FE00008, []),
    "mtmsrd": (0x7E800164, ["set $r20 = $msr ^ 0x2002"]),
    "hrfid to a breakpoint": (
        0x4C000224,
        ["set $hsrr0 = 0x20108", "set $hsrr1 = $msr", "tbreak *0x20108"],
    ),
    "hrfid that leaves HV": (
        0x4C000224,
        ["set $hsrr0 = 0x20108", "set $hsrr1 = $msr & ~0x1000000000000000"],
    ),
}
# At the hypervisor's vectors of the bare machine: HEAI saves the state in HSRR0 and HSRR1.
HYPERVISOR_FAULTS: dict[str, tuple[int, list[str]]] = {
    "no instruction": (0x00000000, []),
    "fadd": (0xFC22182A, []),
    "mfspr of no SPR": (0x7E9FFAA6, []),
    "mthsrr0": (0x7E9A4BA6, ["set $r20 = 0x1234567"]),
    "mthsrr1": (0x7E9B4BA6, ["set $r20 = 0x1234567"]),
    "mfhsrr1": (0x7E9B4AA6, []),
    "lwarx, not aligned": (0x7E80A828, ["set $r21 = 0x20101"]),
}


def test_in_hypervisor_state(
    tmp_path: Path, programs: Callable[..., Program], boot: Callable[..., Qemu]
) -> None:
    """The bare machine (powernv), where MSR[HV]=1 and hrfid is allowed."""
    program = programs("demo", endian="be")
    start = partial(boot, program, machine="powernv9", memory="2G")
    with oracle(tmp_path, start, program.elf) as pair:
        pair.both("set $old = $msr")
        cases = HYPERVISOR_FAULTS | HYPERVISOR_CASES  # the last one leaves HV for good
        for name, (word, before) in cases.items():
            assert pair.ours.value("$msr") >> 60 & 1 == 1
            pair.both("set $msr = $old")
            step_over(pair, "0x20100", name, word, before)
            pair.both("info registers hsrr0 hsrr1")
        assert f"Steps done: {len(cases)}\n" in pair.ours.status()


@pytest.mark.parametrize("enabled", [False, True], ids=["EE=0", "EE=1"])
def test_stop_until_the_decrementer(
    enabled: bool, tmp_path: Path, programs: Callable[..., Program], boot: Callable[..., Qemu]
) -> None:
    """`stop` in hypervisor state: with PSSCR[EC]=0 any interrupt wakes the vCPU, behind `stop`.

    Ctrl-C ends the sleep as well.  With EE=1 the vCPU takes the interrupt first, and its handler
    returns behind `stop`.
    """
    program = programs("demo", endian="be")
    with boot(program, steps=False, machine="powernv9", memory="2G") as guest, Gdb(tmp_path) as gdb:
        gdb.connect(guest.target, program.elf)
        handler = (0x7E9043A6, 0x3E807FFF, 0x7E9603A6, 0x7E9042A6, 0x4C000024)
        for place, word in enumerate(handler):
            gdb.command(f"set {{unsigned int}}({0x900 + 4 * place}) = {word:#x}")
        # mtspr PSSCR,21; mtdec 20; stop; nop
        code = (0x7EB7D3A6, 0x7E9603A6, 0x4C0002E4, 0x60000000)
        for place, word in enumerate(code):
            gdb.command(f"set {{unsigned int}}({0x20100 + 4 * place}) = {word:#x}")
        gdb.command("set $msr = $msr & ~0x8000")
        msr = gdb.value("$msr")
        for decrementer in (DECREMENTER, 0x7FFF0000):
            gdb.command("set $pc = 0x20100")
            gdb.command(f"set $r20 = {decrementer:#x}")
            gdb.command("set $r21 = 0")
            gdb.command("set $sprg0 = 0")  # the handler puts r20 into SPRG0
            gdb.command("stepi 2")
            assert gdb.pc == 0x20108
            if enabled:
                gdb.command("set $msr = $msr | 0x8000")
            begin = time.monotonic()
            gdb.send("stepi")
            if decrementer == DECREMENTER:
                gdb.finish()
                assert time.monotonic() - begin > 0.1
                assert (gdb.pc, gdb.value("$msr")) == (0x2010C, msr | 0x8000 * enabled)
                assert gdb.value("$sprg0") == decrementer * enabled
            else:
                time.sleep(0.5)
                assert "SIGINT" in gdb.interrupt()
                assert gdb.pc == 0x2010C  # QEMU has it there while it sleeps
            assert gdb.value("$r20") == decrementer
            assert gdb.value("$msr") & SE == 0
            assert "Outstanding: none" in gdb.status()
