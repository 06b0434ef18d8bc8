# SPDX-License-Identifier: MIT
"""Clients that are not served: wait for the first packet of one, and tell it why it is not served.

The protocol has no packet for that.  Most clients show the text of an error that comes as the reply
to something: gdb shows it for its `vMustReplyEmpty`, in the handshake.
"""

from __future__ import annotations

import select
import socket
import time
from contextlib import suppress

from ..carrier.peer import Peer
from ..errors import SstepError
from ..rsp.effects import Request
from ..rsp.framing import Packet
from .wire import GdbGone

PATIENCE = 5.0
"""Seconds for which a client is told why, before the connection is closed."""

_OPTIONAL = (b"qSupported", b"QStartNoAckMode")
"""Requests that get an empty reply, so that the client goes on to one whose error it shows."""


def begins(client: socket.socket, timeout: float) -> None:
    """Wait until a client's first packet begins; drop what comes before it.

    SstepError: none began within `timeout` seconds.  GdbGone: the client has gone.
    """
    end = time.monotonic() + timeout
    while select.select([client], [], [], max(0.0, end - time.monotonic()))[0]:
        data = client.recv(4096, socket.MSG_PEEK)
        if not data:
            raise GdbGone
        at = data.find(b"$")
        if at:
            client.recv(at if at > 0 else len(data))
        if at >= 0:
            return
        if time.monotonic() > end:
            break
    raise SstepError(f"it sent no packet within {timeout:g} seconds")


def refuse(client: socket.socket, why: str) -> None:
    """Reply to all that a client asks with why it is not served, for up to `PATIENCE` seconds."""
    peer, end = Peer(client, "gdb ", GdbGone()), time.monotonic() + PATIENCE
    with suppress(GdbGone):
        while time.monotonic() < end:
            client.settimeout(max(0.01, end - time.monotonic()))  # an error of which ends this
            peer.fill()
            while peer.items:
                item = peer.items.popleft()
                if isinstance(item, Packet):
                    optional = item.payload.startswith(_OPTIONAL)
                    peer.send(b"" if optional else Request(item.payload).error(why))
