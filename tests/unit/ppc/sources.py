# SPDX-License-Identifier: MIT
"""Assembler sources of instructions of every kind, and what the decoder must find in each."""

from __future__ import annotations

from gdb_ppc_sstep.ppc.isa import Kind

ALWAYS, EITHER = True, False

# Branches to a target in the instruction; `.` is the instruction's own address.
DIRECT = [
    ("b .+0x20", ALWAYS),
    ("b .-0x20", ALWAYS),
    ("b .", ALWAYS),
    ("b .+0x1fffffc", ALWAYS),
    ("b .-0x2000000", ALWAYS),
    ("bl .+0x1000", ALWAYS),
    ("bl .-0x1000", ALWAYS),
    ("ba 0x100", ALWAYS),
    ("ba -0x100", ALWAYS),
    ("bla 0x1fffffc", ALWAYS),
    ("bla -0x2000000", ALWAYS),
    ("bdnz .+0x7ffc", EITHER),
    ("bdnz .-0x8000", EITHER),
    ("bdnzl .-0x10", EITHER),
    ("bdz .+8", EITHER),
    ("bdza 0x700", EITHER),
    ("beq .+0x40", EITHER),
    ("beq .-0x40", EITHER),
    ("beq cr6,.+0x40", EITHER),
    ("bne+ cr7,.-0x100", EITHER),
    ("blt- cr1,.+0x100", EITHER),
    ("bge .+8", EITHER),
    ("bgt .-4", EITHER),
    ("ble .-8", EITHER),
    ("bsol cr3,.+0x10", EITHER),
    ("bdnzt 4*cr1+eq,.+0x10", EITHER),
    ("bdnzf lt,.-0x10", EITHER),
    ("bdzt gt,.+0x20", EITHER),
    ("bdzf 4*cr7+so,.-0x20", EITHER),
    ("bca 12,2,0x1000", EITHER),
    ("bcla 4,2,-0x1000", EITHER),
    ("bc 20,0,.+0x10", ALWAYS),
    ("bcl 20,31,.+4", ALWAYS),
    ("bcl 20,31,.-0x7000", ALWAYS),
    ("bc 16,0,.+0x10", EITHER),
    ("bc 18,0,.+0x10", EITHER),
    ("bc 12,0,.+0x10", EITHER),
    ("bc 8,0,.+0x10", EITHER),
]

# Branches to a target in a register.
INDIRECT = [
    ("blr", "lr", ALWAYS),
    ("blrl", "lr", ALWAYS),
    ("bclr 20,0,3", "lr", ALWAYS),
    ("beqlr", "lr", EITHER),
    ("bnelr cr5", "lr", EITHER),
    ("bltlrl", "lr", EITHER),
    ("bdnzlr", "lr", EITHER),
    ("bdzlr", "lr", EITHER),
    ("bctr", "ctr", ALWAYS),
    ("bctrl", "ctr", ALWAYS),
    ("bcctr 20,0,3", "ctr", ALWAYS),
    ("beqctr", "ctr", EITHER),
    ("bnectrl cr2", "ctr", EITHER),
    ("btar", "tar", ALWAYS),
    ("btarl", "tar", ALWAYS),
    ("bctar 20,0,3", "tar", ALWAYS),
    ("bctar 12,2", "tar", EITHER),
    ("bctarl 16,0", "tar", EITHER),
]

OTHERS = [
    *(
        (text, Kind.TRAP)
        for text in (
            "trap",
            "tw 31,0,0",
            "tw 4,3,4",
            "twi 31,0,0",
            "twi 5,3,-1",
            "td 16,3,4",
            "tdi 2,3,0x7fff",
            "tweq 3,4",
            "twlge 3,4",
            "tdne 3,4",
            "tdlgt 3,4",
            "twnei 3,0",
            "tdlti 3,-0x8000",
            "tdnei 0,0",
        )
    ),
    ("sc", Kind.SYSTEM_CALL),
    ("sc 1", Kind.SYSTEM_CALL),
    ("sc 2", Kind.SYSTEM_CALL),
    ("scv 0", Kind.SYSTEM_CALL_VECTORED),
    ("scv 1", Kind.SYSTEM_CALL_VECTORED),
    ("scv 127", Kind.SYSTEM_CALL_VECTORED),
    ("rfid", Kind.RFID),
    ("hrfid", Kind.HRFID),
    ("rfscv", Kind.RFSCV),
    ("mfmsr 0", Kind.MFMSR),
    ("mfmsr 31", Kind.MFMSR),
    ("mtmsr 5", Kind.MTMSR),
    ("mtmsr 5,1", Kind.MTMSR),
    ("mtmsrd 5", Kind.MTMSRD),
    ("mtmsrd 5,0", Kind.MTMSRD),
    ("mtmsrd 5,1", Kind.MTMSRD),
    *((f"mt{spr} 5", Kind.MTSPR) for spr in ("srr0", "srr1", "lr", "ctr", "xer", "sprg0")),
    *((f"mf{spr} 5", Kind.MFSPR) for spr in ("srr0", "srr1", "lr", "ctr", "xer", "sprg0")),
    *((f"mtspr {number},5", Kind.MTSPR) for number in (259, 275, 314, 315, 318)),
    *((f"mfspr 5,{number}", Kind.MFSPR) for number in (259, 275, 314, 315, 318)),
    ("mftb 5", Kind.MFSPR),
    *(
        (text, Kind.ORDINARY)
        for text in (
            "nop",
            "addi 3,1,-32",
            "addis 2,12,1",
            "ori 3,3,0xffff",
            "add 3,4,5",
            "mulld. 3,4,5",
            "cmpldi cr7,3,0",
            "isel 3,4,5,2",
            "lwz 3,0(4)",
            "ld 3,8(4)",
            "std 3,-8(1)",
            "stdu 1,-112(1)",
            "lwarx 3,0,4",
            "ldarx 3,0,4",
            "stwcx. 3,0,4",
            "stdcx. 3,0,4",
            "sync",
            "lwsync",
            "isync",
            "eieio",
            "slbia",
            "tlbie 3,4",
            "mfcr 3",
            "mtcrf 255,3",
            "crxor 0,0,0",
            "mcrf 1,2",
            "addpcis 3,4",
            "dcbz 0,3",
            "icbi 0,3",
            "fadd 1,2,3",
            "xxlor 1,2,3",
            "vaddudm 1,2,3",
            "rldicl 3,3,0,32",
            "stop",
        )
    ),
]

PREFIXED = ["paddi 3,4,0x12345678", "pld 3,0x1000(4)", "plwz 3,0x20(0),1", "pstd 3,-8(1)"]

SOURCES = [text for table in (DIRECT, INDIRECT, OTHERS) for text, *_ in table] + PREFIXED
