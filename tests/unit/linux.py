# SPDX-License-Identifier: MIT
"""A small kernel in a `DawrMachine`, shaped like Linux 6.1 where Linux deals with watchpoints.

Its interrupts save everything in a pt_regs on the kernel's stack, and return as Linux does.  The
return loads SRR0 and SRR1 from pt_regs only where the byte `srr_valid` of the paca is 0.  A 1 says
that both still hold what the interrupt has put there.  A debugger that undoes a data storage
interrupt and does not restore that byte sends the return of an outer interrupt to a wrong place, as
it would in Linux.

  vectors 0x300 and 0x4300  lead to COMMON, by `ori r10,r10,IMM; mtctr r10; bctr`
  FILTER                    reads DSISR of pt_regs, and calls do_page_fault or, at SITE, do_break
  DO_PAGE_FAULT             counts
  DO_BREAK                  counts, and sets DAWR0 and DAWRX0 to Linux's null watchpoint
  DO_EITHER                 calls one of these two, in a kernel without FILTER
  HCALL                     plpar_hcall_norets_notrace, with `sc 1` at SC1
  OWN_WATCH                 sets the guest's own watchpoint: DAWR0 from r6, DAWRX0 from r7
  vector 0x4c00             a system call: calls SERVICE with RI=1 and srr_valid=1, on the stack of
                            the kernel
  SERVICE                   adds 1 to the doubleword at COUNTER, by the store at STORE; tests may
                            put other words there
"""

from __future__ import annotations

from typing import Literal

from . import machine as m
from . import words as w
from .dawr_machine import H_SET_MODE, SET_DAWR0, DawrMachine
from .machine import IR, LE, ME, PR, SF, VIRTUAL

BASE = 0xC000000000000000
REAL_COMMON = BASE | 0x8480
HCALL = BASE | 0x9000
OWN_WATCH = BASE | 0x9100
DO_PAGE_FAULT = BASE | 0x9200
DO_BREAK = BASE | 0x9300
DO_EITHER = BASE | 0x9380
RETURN = BASE | 0x9400
SERVICE = BASE | 0x9800
SC1 = HCALL + 0x14
COUNTER = BASE | 0x00E80000
PROGRAM = 0x10000000  # the page of a program in problem state

# A frame on the stack has pt_regs from PT on; offsets in pt_regs follow.
PT = 112
FRAME = 752
GPR, NIP, MSR, CTR, LINK, XER, CCR = 0, 256, 264, 280, 288, 296, 304
TRAP, DAR, DSISR = 320, 328, 336

# Offsets in the paca.
KERNEL_BASE, KERNEL_MSR, KERNEL_STACK, PAGE_FAULTS, BREAKS, COUNTER_AT = range(8, 56, 8)
EX = 0x80  # where the vectors save r9 to r12, CTR, DAR and DSISR
SRR_VALID = 2353

Order = Literal["little", "big"]


def paca(n: int = 0) -> int:
    """The address of a vCPU's paca, which the kernel has in r13."""
    return BASE | 0x00E00000 + 0x1000 * n


def stack(n: int = 0) -> int:
    """The r1 of the frame that an interrupt from problem state makes on a vCPU's kernel stack."""
    return BASE | 0x00D0F000 + 0x10000 * n


def _vector(target: int) -> list[int]:
    saved = [w.std(r, 13, EX + 8 * (r - 9)) for r in range(9, 13)]
    return [
        m.mtspr("sprg2", 13),
        m.mfspr(13, "sprg1"),
        *saved,
        m.mfspr(10, "ctr"),
        w.std(10, 13, EX + 32),
        m.mfspr(10, "dar"),
        w.std(10, 13, EX + 40),
        m.mfspr(10, "dsisr"),
        w.std(10, 13, EX + 48),
        w.mfcr(9),
        m.mfspr(11, "srr0"),
        m.mfspr(12, "srr1"),
        w.ld(10, 13, KERNEL_BASE),
        w.ori(10, 10, target & 0xFFFF),
        m.mtspr("ctr", 10),
        w.BCTR,
    ]


def _at(offset: int) -> int:
    """The offset from r1 of something in pt_regs."""
    return PT + offset


def _moved(register: int, source: int, offset: int) -> list[int]:
    """Copy a doubleword from the paca to pt_regs."""
    return [w.ld(register, 13, source), w.std(register, 1, _at(offset))]


_REAL = [w.ld(10, 13, KERNEL_MSR), m.mtmsrd(10)]
COMMON = REAL_COMMON + 4 * len(_REAL)

_SAVES = [
    w.andi(10, 12, PR),
    w.mr(10, 1),
    m.addi(1, 1, -FRAME),
    w.beq(8),
    w.ld(1, 13, KERNEL_STACK),
    w.std(11, 1, _at(NIP)),
    w.std(12, 1, _at(MSR)),
    w.std(10, 1, _at(GPR + 8)),
    w.std(10, 1),
    *(w.std(r, 1, _at(GPR + 8 * r)) for r in (0, *range(2, 9), *range(14, 32))),
    *(word for r in range(9, 13) for word in _moved(10, EX + 8 * (r - 9), GPR + 8 * r)),
    m.mfspr(10, "sprg2"),
    w.std(10, 1, _at(GPR + 8 * 13)),
    w.std(9, 1, _at(CCR)),
    *_moved(10, EX + 32, CTR),
    m.mfspr(10, "lr"),
    w.std(10, 1, _at(LINK)),
    m.mfspr(10, "xer"),
    w.std(10, 1, _at(XER)),
    *_moved(10, EX + 40, DAR),
    *_moved(10, EX + 48, DSISR),
    m.addi(10, 0, 0x300),
    w.std(10, 1, _at(TRAP)),
    m.addi(10, 0, 1),
    w.stb(10, 13, SRR_VALID),
]
FILTER = COMMON + 4 * len(_SAVES)
SITE = FILTER + 4 * 6  # the `bl do_break`

_FILTER = [
    w.ld(4, 1, _at(DSISR)),
    m.addi(3, 1, PT),
    w.andis(0, 4, 0x40),
    w.bne(12),
    m.b(DO_PAGE_FAULT - (FILTER + 16), link=True),
    m.b(RETURN - (FILTER + 20)),
    m.b(DO_BREAK - SITE, link=True),
    m.b(RETURN - (SITE + 4)),
]

# A kernel without FILTER, whose C code looks at DSISR.
_CALL = [
    m.NOP,
    m.addi(3, 1, PT),
    m.b(DO_EITHER - (FILTER + 8), link=True),
    m.b(RETURN - (FILTER + 12)),
]
_DO_EITHER = [
    w.ld(4, 3, DSISR),
    w.andis(0, 4, 0x40),
    w.beq(8),
    m.b(DO_BREAK - (DO_EITHER + 12)),
    m.b(DO_PAGE_FAULT - (DO_EITHER + 16)),
]


def _srrs(scratch: int) -> list[int]:
    """Load SRR0 and SRR1 from pt_regs, unless srr_valid says that they are right."""
    return [
        w.ld(11, 1, _at(NIP)),
        w.ld(12, 1, _at(MSR)),
        m.lbz(scratch, 13, SRR_VALID),
        w.cmpdi(scratch, 0),
        w.bne(12),
        m.mtspr("srr0", 11),
        m.mtspr("srr1", 12),
        m.addi(scratch, 0, 0),
        w.stb(scratch, 13, SRR_VALID),
    ]


_RETURN = _srrs(4)
for _offset, _name in ((CTR, "ctr"), (LINK, "lr"), (XER, "xer")):
    _RETURN += [w.ld(4, 1, _at(_offset)), m.mtspr(_name, 4)]
_RETURN += [w.ld(4, 1, _at(CCR)), w.mtcr(4)]
_RETURN += [w.ld(r, 1, _at(GPR + 8 * r)) for r in (0, *range(2, 32), 1)]
_RETURN.append(m.RFID)

_HCALL = [
    w.addis(2, 12, 0),
    m.addi(2, 2, 0),
    m.hint(2),
    w.mfcr(0),
    w.stw(0, 1, 8),
    w.SC1,
    m.addi(4, 0, 0),
    w.stb(4, 13, SRR_VALID),
    w.lwz(0, 1, 8),
    w.mtcr(0),
    m.BLR,
]


def _counts(offset: int) -> list[int]:
    return [w.ld(9, 13, offset), m.addi(9, 9, 1), w.std(9, 13, offset)]


def _set_mode(branch_from: int, link: bool) -> list[int]:
    """Do H_SET_MODE of DAWR0, with r6 and r7.

    branch_from: the address of the last word, the branch to HCALL.  link: whether it is a call.
    """
    return [
        m.addi(3, 0, H_SET_MODE),
        m.addi(4, 0, 0),
        m.addi(5, 0, SET_DAWR0),
        m.b(HCALL - branch_from, link=link),
    ]


_DO_BREAK = [
    m.mfspr(0, "lr"),
    w.std(0, 1, 16),
    *_counts(BREAKS),
    m.addi(6, 0, 0),
    w.ori(7, 6, 63 << 10),  # DAWRX0 of Linux's null watchpoint
    *_set_mode(DO_BREAK + 4 * 10, True),
    w.ld(0, 1, 16),
    m.mtspr("lr", 0),
    m.BLR,
]


def _system_call(here: int) -> list[int]:
    saves = [
        w.mr(9, 13),
        m.mfspr(13, "sprg1"),
        m.mfspr(11, "srr0"),
        m.mfspr(12, "srr1"),
        w.mr(10, 1),
        w.ld(1, 13, KERNEL_STACK),
        w.std(10, 1, _at(GPR + 8)),
        w.std(9, 1, _at(GPR + 8 * 13)),
        w.std(11, 1, _at(NIP)),
        w.std(12, 1, _at(MSR)),
        m.mfspr(10, "lr"),
        w.std(10, 1, _at(LINK)),
        m.addi(10, 0, 1),
        w.stb(10, 13, SRR_VALID),
        m.addi(10, 0, m.RI),
        m.mtmsrd(10, 1),
    ]
    return [
        *saves,
        m.b(SERVICE - (here + 4 * len(saves)), link=True),
        m.addi(10, 0, 0),
        m.mtmsrd(10, 1),
        *_srrs(10),
        w.ld(10, 1, _at(LINK)),
        m.mtspr("lr", 10),
        w.ld(13, 1, _at(GPR + 8 * 13)),
        w.ld(1, 1, _at(GPR + 8)),
        m.RFID,
    ]


_SERVICE = [w.ld(9, 13, COUNTER_AT), w.ld(10, 9), m.addi(10, 10, 1), w.std(10, 9), m.BLR]
_SYSTEM_CALL = REAL_COMMON | 0x800
STORE = SERVICE + 12  # the store that changes COUNTER


def booted(
    *code: int,
    vcpus: int = 1,
    order: Order = "little",
    honours: bool = True,
    filters: bool = True,
) -> DawrMachine:
    """A machine with the kernel; each vCPU is at `code`, at TEXT, which ends in a loop.

    The page has an `ld` at its end, because any real code has one somewhere.  So has the page of a
    program.  honours: see `DawrMachine`.  filters: see `install`.
    """
    lpcr = 3 << m.AIL_SHIFT | (m.ILE if order == "little" else 0)
    machine = DawrMachine(vcpus, lpcr=lpcr, honours=honours)
    install(machine, order, filters=filters)
    machine.put(m.TEXT, *code, m.SELF, order=order)
    machine.put(m.TEXT + 0xFF8, w.ld(3, 4), m.SELF, order=order)
    return machine


def in_program(machine: DawrMachine, *code: int, n: int = 0, order: Order = "little") -> None:
    """Put a vCPU into problem state, at `code`, at PROGRAM, which ends in a loop."""
    cpu = machine.vcpus[n]
    machine.put(PROGRAM, *code, m.SELF, order=order)
    machine.put(PROGRAM + 0xFF8, w.ld(3, 4), m.SELF, order=order)
    state = m.USER if order == "little" else m.USER & ~LE
    cpu.update(pc=PROGRAM, msr=state, r1=0x20000000, r13=0x7777)


def install(machine: DawrMachine, order: Order = "little", *, filters: bool = True) -> None:
    """Put the kernel into memory.  Each vCPU is in it, with its paca in r13 and a stack in r1.

    That stack is below the frame of interrupts from problem state.  COUNTER is 0.  filters: whether
    the kernel has a FILTER, like Linux 6.1.  Else it has another shape: before do_break itself
    there is no place to which only matches come.
    """

    code: dict[int, list[int]] = {
        VIRTUAL | 0x300: _vector(COMMON),
        0x300: _vector(REAL_COMMON),
        VIRTUAL | 0xC00: [m.b(_SYSTEM_CALL - (VIRTUAL | 0xC00))],
        REAL_COMMON: [*_REAL, *_SAVES, *(_FILTER if filters else _CALL)],
        HCALL: _HCALL,
        OWN_WATCH: _set_mode(OWN_WATCH + 12, False),
        DO_PAGE_FAULT: [*_counts(PAGE_FAULTS), m.BLR],
        DO_BREAK: _DO_BREAK,
        DO_EITHER: _DO_EITHER,
        RETURN: _RETURN,
        _SYSTEM_CALL: _system_call(_SYSTEM_CALL),
        SERVICE: _SERVICE,
    }
    machine.zeros += [range(0x20000), range(PROGRAM, PROGRAM + 0x1000)]
    for address, words in code.items():
        machine.put(address, *words, order=order)
    machine.put_value(COUNTER, 0, order=order)
    state = SF | ME | IR | m.DR | (LE if order == "little" else 0)
    for n, cpu in enumerate(machine.vcpus):
        cpu.update(sprg1=paca(n), r13=paca(n), r1=stack(n) - FRAME)
        for offset, value in (
            (KERNEL_BASE, BASE),
            (KERNEL_MSR, state),
            (KERNEL_STACK, stack(n)),
            (PAGE_FAULTS, 0),
            (BREAKS, 0),
            (COUNTER_AT, COUNTER),
        ):
            machine.put_value(paca(n) + offset, value, order=order)
        machine.put_value(paca(n) + SRR_VALID, 0, size=1)
        machine.put_bytes(stack(n) - 2 * FRAME, bytes(3 * FRAME))
        cpu["msr"] = m.KERNEL if order == "little" else m.KERNEL & ~LE


def page_faults(machine: DawrMachine, n: int = 0, order: Order = "little") -> int:
    """How many page faults a vCPU's kernel has had."""
    return machine.value(paca(n) + PAGE_FAULTS, order=order)


def breaks(machine: DawrMachine, n: int = 0, order: Order = "little") -> int:
    """How often a vCPU's do_break ran, each time by a match that nobody kept from the guest."""
    return machine.value(paca(n) + BREAKS, order=order)


def srr_valid(machine: DawrMachine, n: int = 0) -> int:
    """The byte srr_valid: whether a vCPU's kernel takes SRR0 and SRR1 as right."""
    return machine.value(paca(n) + SRR_VALID, size=1)
