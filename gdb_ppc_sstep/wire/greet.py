# SPDX-License-Identifier: MIT
"""Learn what the stub is, before gdb's connection is touched."""

from __future__ import annotations

import re
import select
import time
from contextlib import suppress

from ..errors import StubGone, StubSilent
from ..rsp.framing import ACK, Byte, Packet, Parser
from ..rsp.resume import StopReply
from ..stub.introduce import introduce
from ..stub.stub import Stub
from . import link as links
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
    """Find out whether the stub acknowledges packets; returns whether the guest ran when we came.

    gdb may have agreed with the stub on QStartNoAckMode: then no `+` comes before a reply.  QEMU
    sends a new client a stop reply first if the guest was running.  StubSilent, StubGone: no reply
    came.
    """
    stub = link.wire.stub
    link.wire.acknowledgements(False)
    stub.send(b"qC")
    end = time.monotonic() + links.REPLY_TIMEOUT
    parser, ran = Parser(), False
    while True:
        if not select.select([stub.sock], [], [], max(0.0, end - time.monotonic()))[0]:
            raise StubSilent(f"the stub did not answer within {links.REPLY_TIMEOUT:g} seconds")
        data = stub.sock.recv(4096)
        if not data:
            raise StubGone("the stub closed the connection")
        for item in parser.feed(data):
            if item == Byte(ACK):
                link.wire.acknowledgements(True)
            elif isinstance(item, Packet):
                if StopReply.parse(item.payload).signal is None:
                    if stub.acks:
                        stub.send_raw(ACK)
                    return ran
                ran = True


def _monitor(link: WireLink, command: str) -> bytes:
    """The text that QEMU's monitor prints for a command; empty for a stub without a monitor."""
    text, reply = b"", link.call(b"qRcmd," + command.encode().hex().encode())
    while reply[:1] == b"O" and reply != b"OK":
        with suppress(ValueError):
            text += bytes.fromhex(reply[1:].decode())
        reply = link.reply()
    return text
