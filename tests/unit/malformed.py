# SPDX-License-Identifier: MIT
"""Hypothesis strategies for `test_malformed.py`: gdb's packets, and what accidents make of them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hypothesis import strategies as st

from . import machine as m
from .machine import TEXT, TRACE

STEPS = (
    b"vCont;s:p1.1;c:p1.-1",
    b"vCont;s:p1.1",
    b"vCont;r%x,%x:p1.1;c:p1.-1" % (TEXT, TEXT + 0x14),
    b"vCont;r%x,%x:p1.1" % (TEXT, TEXT + 8),
    b"vCont;S05:p1.1;c",
    b"s",
)
RESUMES = (*STEPS, b"vCont;c:p1.-1", b"vCont;C05:p1.1;c:p1.-1", b"vCont;c", b"c")
READS = (b"p40", b"p41", b"pb2", b"pb3", b"p5", b"g", b"m%x,4" % TEXT, b"x%x,4" % TEXT)
BREAKPOINTS = tuple(
    kind + b",%x,4" % address
    for kind in (b"Z0", b"z0")
    for address in (TEXT + 8, TEXT + 0x10, TRACE)
)
OWN = (
    b"qppc-sstep.status",
    b"qppc-sstep.left:",
    b"qppc-sstep.clean:",
    b"qppc-sstep.clean:" + b"[]".hex().encode(),
    b"Qppc-sstep.active=on",
    b"Qppc-sstep.log=on",
    b"Qppc-sstep.log=off",
    b"Qppc-sstep.log-file=",
    b"Qppc-sstep.ail=3",
    b"Qppc-sstep.interrupts=into",
    b"Qppc-sstep.interrupts=over",
    b"Qppc-sstep.mask-interrupts=on",
    b"Qppc-sstep.lines=",
    b"Qppc-sstep.lines=p1.1;%x,8,c" % TEXT,
)
OTHERS = (
    b"qSupported:multiprocess+;swbreak+;hwbreak+;vContSupported+;QThreadEvents+",
    b"vCont?",
    b"vMustReplyEmpty",
    b"Hg0",
    b"Hgp1.1",
    b"Hgp1.2",
    b"Hcp1.-1",
    b"Tp1.1",
    b"?",
    b"qC",
    b"qAttached:1",
    b"qfThreadInfo",
    b"qsThreadInfo",
    b"qThreadExtraInfo,p1.1",
    b"qXfer:features:read:target.xml:0,800",
    b"qXfer:memory-map:read::0,1000",
    b"qRcmd,696e666f",
    b"qTStatus",
    b"QPassSignals:e;10;14",
    b"G" + b"00" * 300,
    b"P5=000000000000005a",
    b"P40=%s" % TEXT.to_bytes(8, "little").hex().encode(),
    b"M%x,4:00000060" % (TEXT + 0x20),
    b"X%x,4:}\x03\x00\x00`" % (TEXT + 0x20),
    b"Z2,%x,8" % TEXT,
    b"z1,%x,4" % TEXT,
    b"vFile:open:2f,0,0",
    b"F-1,2",
    b"!",
)
ASKED = (b"Hgp1.1", b"Hgp1.2", b"qfThreadInfo", b"?", b"vCont?", b"P5=000000000000005a", OWN[0])
ENDS = (b"D;1", b"D", b"k", b"vKill;1", b"R00")
PACKETS = (*RESUMES, *READS, *BREAKPOINTS, *OWN, *OTHERS)

HUGE = (b"0", b"-1", b"ffffffffffffffff", b"10000000000000000", b"9" * 40, b"f" * 5000)
STRANGE = (
    b"",
    b"zz",
    b"=",
    b",",
    b":",
    b";",
    b".",
    b"\x80",
    b"\xff\xfe",
    b" ",
    b"\x00",
    b"}",
    b"*",
)
ACCIDENTS = ("cut", "delete", "insert", "replace", "twice", "swap", "field")
_FIELDS = re.compile(rb"([,:;=.+])")


@st.composite
def mutated(draw: st.DrawFn, packets: Sequence[bytes] = PACKETS) -> bytes:
    """One of gdb's packets after up to three accidents."""
    packet = draw(st.sampled_from(packets))
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(packet)))
        end = draw(st.integers(start, min(len(packet), start + 8)))
        fields = _FIELDS.split(packet)
        one, other = (draw(st.integers(0, len(fields) - 1)) for _ in range(2))
        accident = draw(st.sampled_from(ACCIDENTS))
        if accident == "cut":
            packet = packet[:start]
        elif accident == "delete":
            packet = packet[:start] + packet[end:]
        elif accident == "insert":
            packet = packet[:start] + draw(st.binary(max_size=4)) + packet[start:]
        elif accident == "replace":
            packet = packet[:start] + draw(st.sampled_from(STRANGE)) + packet[end:]
        elif accident == "twice":
            packet = packet[:end] + packet[start:]
        elif accident == "swap":
            fields[one], fields[other] = fields[other], fields[one]
            packet = b"".join(fields)
        else:
            fields[one] = draw(st.sampled_from((*HUGE, *STRANGE)))
            packet = b"".join(fields)
    return packet


def replies(true: Sequence[bytes] = ()) -> st.SearchStrategy[bytes]:
    """Payloads of replies that a stub may send, right and wrong ones."""
    thread = st.sampled_from([b"p01.01", b"p1.2", b"p1.7f", b"0", b"-1", b"pzz.1", b"", b"p1.-1"])
    stop = st.builds(
        b"%s%s%s;".__mod__,
        st.tuples(
            st.sampled_from([b"T05", b"T02", b"T0b", b"Tzz", b"T5", b"S05", b"T05;"]),
            st.sampled_from([b"thread:", b"watch:", b"core:", b";thread:", b"40:", b""]),
            thread,
        ),
    )
    hexadecimal = st.binary(max_size=40).map(lambda raw: raw.hex().encode())
    return st.one_of(
        st.sampled_from([b"", b"E01", b"E22", b"E.no", b"OK", b"S05", b"T05", b"l", b"m", *true]),
        stop,
        hexadecimal,
        hexadecimal.map(lambda text: text[1:]),
        st.binary(max_size=20),
        mutated((b"T05thread:p01.01;", b"QCp01.01", b"mp01.01,p01.02", b"l<target/>", b"E.no")),
    ).filter(lambda reply: not set(b"$#%") & set(reply))


def vcpus(machine: m.Machine) -> list[str]:
    """What a step has left in vCPUs: an armed MSR[SE], or a Trace interrupt not collected."""
    return [
        f"{what} of vCPU {n} is {cpu[name]:#x}"
        for n, cpu in enumerate(machine.vcpus, 1)
        for what, name, bad in (
            ("MSR[SE]", "msr", cpu["msr"] & m.SE),
            ("SRR1[SE]", "srr1", cpu["srr1"] & m.SE),
            ("pc at a Trace vector", "pc", cpu["pc"] & 0xFFFFF == TRACE & 0xFFFFF),
        )
        if bad
    ]
