# SPDX-License-Identifier: MIT
"""libvirt: an ordinary user opens a guest's stub as the documents say.

It is a TCG guest, whose stub steps.  The test tells the stub to ignore steps, and has ours take it
by `mode on`.
"""

from __future__ import annotations

import re
import shlex
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.bare_metal import SOURCES, Program
from fixtures.qemu import wait_for
from tests.harness.driver import ROOT, Gdb
from tests.harness.libvirt import Libvirt

pytestmark = [pytest.mark.bare, pytest.mark.timeout(120)]

DOMAIN = """<domain type='qemu'{xmlns}>
  <name>{name}</name>
  <memory unit='MiB'>256</memory>
  <os>
    <type arch='ppc64' machine='pseries'>hvm</type>
    <loader type='rom'>{image}</loader>
  </os>
  <cpu mode='custom'><model>POWER9</model></cpu>
  <devices>
    <emulator>{emulator}</emulator>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
  </devices>
  {stub}
</domain>
"""
PORT = "127.0.0.1:1234"
ANY_PORT = "127.0.0.1:0"  # the kernel chooses one that is free


def recipe(pattern: str) -> str:
    """The one text of the documents that matches a pattern, with another port."""
    documents = (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")))
    found = {
        re.sub(r"\s+", " ", one)
        for document in documents
        for one in re.findall(pattern, document.read_text("utf-8"), re.DOTALL)
    }
    assert len(found) == 1, (pattern, found)
    text = found.pop()
    assert PORT in text or "xmlns" in text
    return text.replace(PORT, ANY_PORT)


@pytest.fixture(scope="module")
def libvirt() -> Iterator[Libvirt]:
    with Libvirt() as libvirt:
        yield libvirt


def define(libvirt: Libvirt, program: Program, name: str, *, xmlns: str = "", stub: str) -> None:
    emulator = shutil.which("qemu-system-ppc64")
    image = libvirt.put(program.image)
    domain = DOMAIN.format(name=name, image=image, emulator=emulator, xmlns=xmlns, stub=stub)
    assert f"Domain '{name}' defined" in libvirt.define(name, domain)


def hmp(libvirt: Libvirt, name: str, command: str) -> str:
    return libvirt.virsh("qemu-monitor-command", name, "--hmp", command)


def stub_of(libvirt: Libvirt, name: str) -> str:
    """The address on which a guest's stub listens; empty if the stub is not open."""
    found = re.search(r"^gdb: .*tcp:(127\.0\.0\.1:\d+)", hmp(libvirt, name, "info chardev"), re.M)
    return found[1] if found else ""


def stepped(stub: str, program: Program, directory: Path) -> None:
    """Ours by itself does not take a stub that steps.  With `mode on` it takes it and steps.

    The stub is told to ignore steps before that.
    """
    with Gdb(directory, arguments=("-d", str(SOURCES))) as gdb:
        gdb.connect(stub, program.elf)
        assert "not taken: the stub steps by itself" in gdb.status()
        assert "OK" in gdb.command("maint packet Qqemu.sstep=0")
        assert "detached" in gdb.command("detach")
        gdb.command("set ppc-sstep mode on")
        assert "stepping by the Trace interrupt" in gdb.connect(stub)
        gdb.command("break work")
        for _ in range(2):  # the second time gdb steps over the breakpoint
            assert "Breakpoint 1, work" in gdb.command("continue")
            here = gdb.pc
            gdb.command("stepi")
            assert gdb.pc == here + 4
        assert "sum_of_squares" in gdb.command("step")
        assert re.search(r"Steps done: [1-9]", gdb.status())
        gdb.command("delete")
        assert "detached" in gdb.command("detach")


def closes(libvirt: Libvirt, name: str, stub: str) -> None:
    """After `gdbserver none` nobody listens any more, and the guest runs on."""
    hmp(libvirt, name, "gdbserver none")
    assert stub_of(libvirt, name) == ""
    host, _, port = stub.rpartition(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)))
    # libvirt learns from QEMU, some time after, that gdb has let the guest run on.
    wait_for(lambda: libvirt.virsh("domstate", name) == "running", f"{name} to run", 20)


def test_the_stub_in_the_description(libvirt: Libvirt, demo: Program, tmp_path: Path) -> None:
    stub = recipe(r"<qemu:commandline>.*?</qemu:commandline>")
    xmlns = recipe(r" xmlns:qemu='[^']*'")
    define(libvirt, demo, "described", xmlns=xmlns, stub=stub)
    libvirt.virsh("start", "described")
    where = stub_of(libvirt, "described")
    stepped(where, demo, tmp_path)
    closes(libvirt, "described", where)


def test_without_the_xmlns(libvirt: Libvirt, demo: Program) -> None:
    """libvirt accepts the description, and drops the stub: it does not know the element."""
    stub = recipe(r"<qemu:commandline>.*?</qemu:commandline>")
    define(libvirt, demo, "dropped", stub=stub)
    assert "commandline" not in libvirt.virsh("dumpxml", "dropped")


def test_the_stub_of_a_guest_that_runs(libvirt: Libvirt, demo: Program, tmp_path: Path) -> None:
    define(libvirt, demo, "running", stub="")
    libvirt.virsh("start", "running")
    assert stub_of(libvirt, "running") == ""
    command = recipe(r"virsh\s+(qemu-monitor-command\s+GUEST\s+--hmp\s+'gdbserver [^']*')")
    words = shlex.split(command.replace("GUEST", "running"))
    assert "Waiting for gdb connection" in libvirt.virsh(*words)
    where = stub_of(libvirt, "running")
    stepped(where, demo, tmp_path)
    closes(libvirt, "running", where)
