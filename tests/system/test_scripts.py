# SPDX-License-Identifier: MIT
"""Scripts at `gdb-ppc-sstep` that select no thread, and ask for registers before all else.

QEMU 7.2 aborts at a `g` before its target description was read (gdbstub.c:1748), and QEMU 11
answers `?` without a thread; neither shows behind the service.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fixtures.bare_metal import Program
from fixtures.kvm_hv import AnyHost
from fixtures.qemu import Guest, Qemu
from tests.harness.script import Script
from tests.harness.service import address, client, service

COUNT = 60


def natively(guest: Guest) -> list[bytes]:
    """Where steps come to on a stub that steps."""
    with Script(guest.connect()) as script:
        script.ask(b"qXfer:features:read:target.xml:0,800")  # or QEMU 7.2 gives few registers
        return script.stepped(COUNT)


def by_the_service(guest: Guest) -> list[bytes]:
    """The same of ours."""
    with (
        service("--connect", guest.target, "--listen", "0") as process,
        Script(client(address(process))) as script,
    ):
        assert len(script.ask(b"g")) > 64 * 8
        assert script.ask(b"?")[:3] == b"T05"
        return script.stepped(COUNT)


@pytest.mark.bare
@pytest.mark.parametrize("smp", [1, 2])
def test_under_tcg(smp: int, boot: Callable[..., Qemu], demo: Program) -> None:
    native = natively(boot(demo, steps=True, smp=smp))
    assert by_the_service(boot(demo, steps=False, smp=smp)) == native
    assert len(set(native)) > 20


@pytest.mark.kvm
@pytest.mark.timeout(300)
@pytest.mark.parametrize("smp", [1, 2])
def test_under_kvm_hv(smp: int, host: AnyHost, demo: Program) -> None:
    with host.image.oracle.bare(demo.image, steps=True, cpu=host.row.cpu) as oracle:
        native = natively(oracle)
    with host.bare(demo.image, smp=smp) as guest:
        assert by_the_service(guest) == native
