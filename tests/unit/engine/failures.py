# SPDX-License-Identifier: MIT
"""A stub that fails at a packet of the test's choice, and the steps in which it fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

import pytest

from gdb_ppc_sstep.engine.temporary import Undo
from gdb_ppc_sstep.errors import StubGone, StubRefused

from .. import machine as m
from ..machine import KERNEL, REAL, USER, FakeLink, Machine
from .bench import Bench

FAILING = {
    "addi": (m.addi(4, 4, 1),),
    "mfmsr": (m.mfmsr(7),),
    "mtsrr0": (m.mtspr("srr0", 5),),
    "branch": (m.b(4),),
    "load": (m.lbz(5, 6),),
}

COMPLETING = [
    pytest.param(words, state, id=f"{name}, {mode}")
    for name, words in FAILING.items()
    for mode, state in (("kernel", KERNEL), ("real mode", REAL), ("user", USER))
    if state != USER or name not in ("mfmsr", "mtsrr0")  # both are privileged
]


def at_home(machine: Machine, kvm: bool) -> int:
    """Put pc where the stub can step the words at TEXT.  Returns pc.

    With KVM the stub finds them in problem state only at an address that is not the kernel's.
    """
    machine.kvm = kvm
    if kvm and machine.cpu["msr"] & m.PR:
        machine.cpu["pc"] &= 0x0FFFFFFFFFFFFFFF
    return machine.cpu["pc"]


def failing_at(machine: Machine, number: int, failure: Callable[[], bytes]) -> list[bytes]:
    """Have the packet with this number fail.  Returns a list that gets the packet.

    Only packets that do not resume count.
    """
    call, failed, seen = machine.call, list[bytes](), 0

    def fails(payload: bytes) -> bytes:
        nonlocal seen
        seen += 1
        if seen != number:
            return call(payload)
        failed.append(payload)
        return failure()

    machine.call = fails  # type: ignore[method-assign]
    return failed


def dead_from(link: FakeLink, number: int) -> list[bytes]:
    """Have the connection end at the packet with this number.  Returns a list that gets a packet.

    The list gets the first packet of the same write.  Only packets that do not resume count.  If
    the write has several packets, they still arrive.  After that nothing reaches the stub, whoever
    sends it.
    """
    call, resume, failed = link.call, link.resume, list[bytes]()
    seen = 0

    def begins(payloads: Sequence[bytes]) -> Callable[[], list[bytes]]:
        nonlocal seen
        if failed:
            cut_off()
        count = len(payloads)
        seen += count
        if seen < number:
            replies = [call(one) for one in payloads]
            return lambda: replies
        if count > 1:
            for one in payloads:
                call(one)
        failed.append(payloads[0])
        raise StubGone("gone")

    def resumes(payload: bytes) -> bytes:
        return cut_off() if failed else resume(payload)

    link.begin, link.resume = begins, resumes  # type: ignore[method-assign]
    link.call = lambda payload: begins([payload])()[0]  # type: ignore[method-assign]
    return failed


def refused() -> bytes:
    return b"E22"


def cut_off() -> bytes:
    raise StubGone("gone")


def two_steps(on: Bench, ahead: bool) -> int:
    """Do two steps that are undone later, as far as the stub allows.  Returns how many ended."""
    on.set(undo=Undo.DEFER)
    done = 0
    with suppress(StubRefused, StubGone):
        while done < 2:
            on.step()
            done += 1
            on.ahead(ahead)
    return done


def reached(machine: Machine, after: list[list[dict[str, int]]]) -> int:
    """How many native steps lead to where pc is now."""
    return [cpus[0]["pc"] for cpus in after].index(machine.cpu["pc"])
