# SPDX-License-Identifier: MIT
"""Learn what the stub is, before gdb's connection is touched."""

from __future__ import annotations

import re
from contextlib import suppress

from ..stub.introduce import introduce
from ..stub.stub import Stub
from .link import WireLink


def greet(link: WireLink) -> Stub:
    """Learn what the stub is.  SstepError: it cannot be used, and nothing has changed."""
    _learn_acks(link)
    return _met(link)


def visit(link: WireLink) -> None:
    """Check that a stub can be used, for a client that comes later; a guest that ran runs on.

    SstepError: it cannot be used.
    """
    ran = _learn_acks(link) or _ran_untold(link)
    try:
        _met(link)
    finally:
        if ran:  # QEMU stops the guest for each client
            link.call(b"D")


def _ran_untold(link: WireLink) -> bool:
    """Whether a guest ran until we came, where QEMU does not tell it, as QEMU 10.

    The state of a guest that has not begun, or is at a breakpoint, has a reason: `paused (debug)`.
    One that was suspended by QEMU's monitor has none, and cannot be told from one that ran.
    """
    major = re.match(rb"\d+", _monitor(link, "info version"))
    if major is None or int(major[0]) < 8:
        return False
    return _monitor(link, "info status").strip() == b"VM status: paused"


def _met(link: WireLink) -> Stub:
    told = _monitor(link, "info kvm")
    tells = b"kvm support" in told
    if tells:
        link.wire.enable_bursts()
    return introduce(link, kvm=b"enabled" in told if tells else None)


def _learn_acks(link: WireLink) -> bool:
    """Have the link learn them for gdb's end as well; returns whether the guest ran until now."""
    ran = link.learn_acks()
    link.wire.acknowledgements(link.wire.stub.acks)
    return ran


def _monitor(link: WireLink, command: str) -> bytes:
    """The text that QEMU's monitor prints for a command; empty for a stub without a monitor."""
    text, reply = b"", link.call(b"qRcmd," + command.encode().hex().encode())
    while reply[:1] == b"O" and reply != b"OK":
        with suppress(ValueError):
            text += bytes.fromhex(reply[1:].decode())
        reply = link.reply()
    return text
