# SPDX-License-Identifier: MIT
"""The lines of `info ppc-sstep` about a connection, and the text of a bug report.  No I/O."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..options import Interrupts
from ..ppc import msr
from ..stub.recent import MOST

HOW_TO_REPORT = (
    'For a bug report: "ppc-sstep report FILE" writes one; "set debug ppc-sstep on" logs each '
    "packet"
)

_SHOWN = 16
"""The number of vCPUs that are named one by one."""

_DOES = {
    Interrupts.INTO.value: "a step goes into one that its instruction takes",
    Interrupts.OVER.value: "a step goes over one that its instruction takes",
}
_FROM_OUTSIDE = {"on": "those from outside wait", "off": "those from outside come first"}


def lines(status: Mapping[str, Any]) -> Iterator[str]:
    """The lines of `info ppc-sstep` for a connection that is stepped.

    status: what `report.Teller` tells as its status.
    """
    options = status["options"]
    yield f"Guest runs on: {status['runs_on']}"
    if status.get("vcpus"):
        yield f"vCPUs: {_vcpus(status['vcpus'])}"
    if "problem" in status:
        yield f"Problem: {status['problem']}"
    if "vector" in status:
        translation = "both on" if msr.relocates(status["msr"]) else "not both on"
        yield f"Trace vector now: {status['vector']:#x} (MSR[IR] and MSR[DR] {translation})"
        yield f"LPCR[AIL]: {status['ail']}{'' if options['ail'] == 'auto' else ' (set by hand)'}"
        yield f"Byte order: {status['order']}-endian (MSR[LE])"
    from_outside = _FROM_OUTSIDE[options["mask-interrupts"]]
    yield f"Interrupts: {_DOES[options['interrupts']]}; {from_outside}"
    yield f"Watchpoints: {status['watchpoints']}"
    yield f"Steps done: {status['steps']}"
    yield f"Last steps: {_speed(status['speed'])}"
    outstanding = [
        f"{one['thread'] or 'the vCPU'} from {one['pc']:#x}" for one in status["outstanding"]
    ]
    yield f"Outstanding: {', '.join(outstanding) or 'none'}"


def _vcpus(vcpus: list[dict[str, str]]) -> str:
    named = [f"{one['thread']} {one['what']}".strip() for one in vcpus[:_SHOWN]]
    more = len(vcpus) - len(named)
    return f"{len(vcpus)}: {', '.join(named)}" + (f" and {more} more" if more else "")


def _speed(speed: Mapping[str, float] | None) -> str:
    if speed is None:
        return "none"
    milliseconds, packets = speed["milliseconds"], speed["packets"]
    return f"{milliseconds:.2f} ms and {packets:.3g} packets to the stub each"


_HEAD = """\
A report for a bug report about gdb_ppc_sstep, written at {when}.
It has versions, settings, the state of the connection, some registers of the selected
vCPU, the target description, and the last {most} packets.  It has no memory contents
but those that these packets carry.  Read it before you give it to anybody.
"""


def report(when: float, sections: Mapping[str, Iterable[str]]) -> str:
    """The text of a bug report.

    when: the time, as of `time.time`.  sections: the lines of each section, by its title.
    """
    now = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(when))
    text = _HEAD.format(when=now, most=MOST)
    for title, found in sections.items():
        text += f"\n== {title}\n"
        text += "".join(f"{line}\n" for line in found) or "none\n"
    return text


def described(parts: Mapping[str, str]) -> Iterator[str]:
    """The lines that show a target description.  parts: the text of each part, by its name."""
    for name, text in parts.items():
        yield f"-- {name}"
        yield from text.splitlines()
