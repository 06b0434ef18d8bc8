# SPDX-License-Identifier: MIT
"""Finds out which stub is at the other end."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import StubRefused
from ..ppc import msr
from ..rsp import description
from ..rsp.framing import plain
from .kvm import KvmStub
from .link import Link
from .stub import Stub

Call = Callable[[bytes], bytes]
"""Gives the reply to a packet."""

_LARGEST = 1 << 20  # characters that a target description may have

_WITHOUT_KVM = {False: "QEMU without KVM (TCG)", None: "unknown (the stub does not say)"}


def introduce(link: Link, *, kvm: bool | None) -> Stub:
    """The stub at the other end, whose guest is stopped.  SstepError: its guest cannot be stepped.

    kvm: it is QEMU's with KVM, or without; None: it does not say.  KVM HV is told from KVM PR,
    which steps, by LPCR: KVM PR tells no bit of it but ILE (Linux v6.1 kvmppc_get_one_reg_pr).
    """
    registers = description.parse(lambda name: _annex(link.call, name))
    stub = KvmStub(link, registers) if kvm else Stub(link, registers, runs_on=_WITHOUT_KVM[kvm])
    for name in ("pc", "msr"):
        stub.read(name)
    for name in ("srr0", "srr1"):
        if not stub.has(name):
            raise StubRefused(f"the stub's target description has no register {name}")
    if kvm and (stub.read_optional("lpcr") or 0) & ~msr.LPCR_ILE:
        stub.send_queued()
        return KvmStub(link, registers, hv=True)
    return stub


def described(call: Call) -> dict[str, str]:
    """The target description, by the names of its parts.  StubRefused: the stub has none."""
    parts: dict[str, str] = {}
    description.parse(lambda name: parts.setdefault(name, _annex(call, name)))
    return parts


def _annex(call: Call, name: str) -> str:
    text, more = "", True
    while more:
        reply = call(b"qXfer:features:read:%s:%x,800" % (name.encode(), len(text)))
        if reply[:1] not in (b"m", b"l"):
            raise StubRefused("the stub has no target description, so SRR0 has no number")
        more = reply[:1] == b"m"
        text += plain(reply[1:]).decode("latin-1")
        if more and (len(reply) == 1 or len(text) > _LARGEST):
            raise StubRefused("the stub's target description does not end")
    return text
