# SPDX-License-Identifier: MIT
"""Whether to take a connection, and how to say why.  This needs no gdb."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """What a stub has told of itself.

    steps: whether the stub steps, None if we cannot tell.  why: how we know that.  served: there is
    a layer already, that of `gdb-ppc-sstep`.
    """

    steps: bool | None
    why: str
    served: bool = False


def against(mode: str, finding: Finding | None) -> str:
    """Why a connection is not taken; empty if it is.

    finding: None if the stub was not asked, as the mode is off.
    """
    if mode == "off" or finding is None:
        return "mode is off"
    if finding.served:
        return "it leads to gdb-ppc-sstep, which steps the guest and has settings of its own"
    if mode == "on" or finding.steps is False:
        return ""
    if finding.steps:
        return "the stub steps by itself"
    return "not known whether the stub steps; `set ppc-sstep mode on` takes it"


def switched_off(finding: Finding | None, *, by_commands: bool) -> str:
    """What the next step does on a connection that was taken, now that the mode is off.

    finding: the last one before that.
    """
    if by_commands:
        then = "stepi, nexti, step and next are refused in this gdb"
    elif finding is None or finding.steps is None:
        then = "the stub gets the next step request, and may ignore it and let the guest run on"
    elif finding.steps:
        then = "the stub does the next step itself"
    else:
        then = "the stub ignores the next step request, and the guest runs on"
    return f"mode is off: {then}"
