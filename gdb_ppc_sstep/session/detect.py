# SPDX-License-Identifier: MIT
"""Whether a connection is to a ppc64 stub that ignores step requests.  Changes nothing."""

from __future__ import annotations

import gdb

from ..rsp import private
from .verdict import Finding


def send(connection: gdb.RemoteTargetConnection, packet: str) -> bytes | None:
    """The stub's reply to a packet, None if the stub does not know it.  It may raise gdb.error."""
    # The stubs of the types package say bytes; gdb/python/py-connection.c returns None as well.
    reply: bytes | None = connection.send_packet(packet)
    return reply


def is_ppc64(inferior: gdb.Inferior) -> bool:
    """Whether gdb takes the inferior for a 64-bit PowerPC."""
    name = inferior.architecture().name()
    return name.startswith(("powerpc", "rs6000")) and (
        inferior.architecture().integer_type(64).sizeof == gdb.lookup_type("long").pointer().sizeof
    )


def stub_steps(connection: gdb.RemoteTargetConnection, *, ours: bool) -> Finding:
    """Ask a stub whether it steps.  ours: a layer of this gdb's is between gdb and the stub.

    QEMU tells how it treats step requests (`qqemu.sstep`, docs/system/gdb.rst), but not that KVM HV
    ignores them.  Its monitor tells whether the accelerator is KVM.  KVM PR, which does step, is
    not told apart from KVM HV: the Trace interrupt works there as well.
    """
    if not ours and send(connection, private.LAYER) == b"OK":
        return Finding(True, "gdb-ppc-sstep is between gdb and the stub", served=True)
    sstep = send(connection, "qqemu.sstep")
    try:
        flags = int(sstep or b"", 0)
    except ValueError:
        return Finding(None, "the stub is not QEMU's (it does not know qqemu.sstep)")
    told = f"Qqemu.sstep={flags:#x}"
    if not flags & 1:
        return Finding(False, told)
    if kvm():
        return Finding(False, f"{told}, but the accelerator is KVM")
    return Finding(True, f"{told}, and the accelerator is not KVM")


def kvm() -> bool | None:
    """Whether the selected inferior's stub is QEMU's with KVM, None if it does not tell."""
    told = monitor("info kvm")
    return "enabled" in told if "kvm support" in told else None


def monitor(command: str) -> str:
    """The text that QEMU's monitor prints for a command, empty for a stub without a monitor."""
    try:
        # By gdb's own command, as the answer comes in several packets.
        return gdb.execute(f"monitor {command}", to_string=True)
    except gdb.error:
        return ""
