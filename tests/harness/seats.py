# SPDX-License-Identifier: MIT
"""The guests of tests/bench: one for each side, or under KVM HV one for all sides and cases."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

from fixtures import bare_metal, linux
from fixtures.closing import Closing
from fixtures.kvm_hv import AnyHost, Host
from fixtures.qemu import QUIET, Guest, Qemu, QemuError
from fixtures.rows import DEFAULT, ROWS

from .cases import Case

LONG = 300
"""Seconds to wait for a Linux guest to boot; its KVM HV host is emulated and slow."""


class Seat(NamedTuple):
    """A side's guest, stopped and without a client, and the program in it."""

    name: str
    guest: Guest
    elf: Path


class KvmGuests(Closing):
    """The guests of KVM HV, on one host that boots when the first guest is asked for.

    It keeps a guest for the following cases that can use it.  host: a running host of any row, for
    the cases that name no row; this does not end it.
    """

    def __init__(self, folder: Path, host: AnyHost | None = None) -> None:
        self._folder = folder
        self._given = host
        self._host: AnyHost | None = None
        self._row = ""
        self._stack = ExitStack()
        self._current: tuple[bool, int] | None = None
        self._seat: tuple[Guest, Path] | None = None

    def give(self, case: Case) -> tuple[Guest, Path]:
        """The guest for a case, and the ELF file of its program."""
        given = None if case.row else self._given
        row = ROWS[case.row or DEFAULT.name] if given is None else given.row
        if self._host is None or self._row != row.name:
            self.close()
            self._row = row.name
            self._host = self._stack.enter_context(Host(row=row)) if given is None else given
        wanted = (case.linux, case.smp)
        if self._seat is None or self._current != wanted:
            self._end()
            self._current = wanted
            self._seat = self._linux(case.smp) if case.linux else self._bare(case.smp)
        return self._seat

    def _bare(self, smp: int) -> tuple[Guest, Path]:
        assert self._host is not None
        program = bare_metal.build("bench", opt="O1", directory=self._folder)
        return self._host.bare(program.image, smp=smp), program.elf

    def _linux(self, smp: int) -> tuple[Guest, Path]:
        assert self._host is not None
        guest = self._host.linux(smp=smp)
        guest.release()
        guest.wait_console(linux.READY, LONG)
        return guest, self._host.image.linux.vmlinux

    def discard(self) -> None:
        """End the guest, because a failed case has left it unfit for another one."""
        with suppress(QemuError):
            self._end()

    def _end(self) -> None:
        seat, self._seat = self._seat, None
        if seat is not None:
            seat[0].close()

    def close(self) -> None:
        """End the guest, and the host if this has started it."""
        try:
            self._end()
        finally:
            self._stack.close()


def seats(case: Case, folder: Path, guests: KvmGuests, stack: ExitStack) -> list[Seat]:
    """A guest for each side of a case; under KVM HV one guest for all.  They end with `stack`."""
    if case.kvm:
        guest, elf = guests.give(case)
        return [Seat(name, guest, elf) for name in case.sides]
    found = []
    if not case.linux:
        program = bare_metal.build("bench", opt="O1", directory=folder)
    for name in case.sides:
        if case.linux:
            image = linux.ensure()
            elf = image.vmlinux
            booted = Qemu(
                linux.qemu_arguments(image),
                steps=name == "native",
                machine=f"pseries,{QUIET},x-vof=on",
                memory="512M",
            )
            stack.callback(booted.close)
            booted.release()
            booted.wait_console(linux.READY)
        else:
            elf = program.elf
            options = ["-bios", str(program.image)]
            booted = Qemu(options, steps=name == "native", smp=case.smp)
            stack.callback(booted.close)
        found.append(Seat(name, booted, elf))
    return found
