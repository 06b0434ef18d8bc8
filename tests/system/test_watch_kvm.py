# SPDX-License-Identifier: MIT
"""Watchpoints under KVM HV: by the guest's own DAWR, which an emulated POWER10 host has on.

test_watch_steps says what the oracle is, and how it differs.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from fixtures.bare_metal import Program
from fixtures.kvm_hv import AnyHost
from fixtures.qemu import Guest, Qemu
from tests.harness.driver import Gdb, layers_of
from tests.harness.floor import Floor
from tests.harness.kernel import ask, assert_healthy, attach
from tests.harness.oracle import Oracle, variant_name
from tests.harness.service import address, service
from tests.system import test_kvm
from tests.system.test_kvm import BIG, LITTLE, LONG, Linux, enter_user_space, started
from tests.system.test_watch_steps import (
    CELLS,
    OLD_AND_NEW,
    SCRIPTS,
    VALUE,
    VARIANTS,
    at_the_first_round,
    every_access,
    hit_counts,
    on,
    on_scripts,
    same_shown,
    values,
)

pytestmark = [pytest.mark.kvm, pytest.mark.timeout(600), pytest.mark.dawr(True)]

gdb = test_kvm.gdb
guests = test_kvm.guests
linux = test_kvm.linux
SLOW = "watching by steps, which is slow"


# Bare metal


@pytest.fixture
def kvm_boot(host: AnyHost, boot: Callable[..., Qemu]) -> Iterator[Callable[..., Guest]]:
    """kvm_boot(program, steps=...): with steps=True a TCG guest for the oracle, else a KVM HV one.

    On every row the oracle is this machine's own QEMU.  QEMU 10.0's stub names no watchpoint in its
    stops, and gdb shows SIGTRAP.
    """
    guests: list[Guest] = []

    def start(program: Program, *, steps: bool) -> Guest:
        if steps:
            return boot(program, steps=True, cpu=host.row.cpu)
        guests.append(host.bare(program.image))
        return guests[-1]

    yield start
    for guest in guests:
        guest.close()


@pytest.fixture
def pair(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    programs: Callable[..., Program],
    kvm_boot: Callable[..., Guest],
) -> Iterator[Oracle]:
    """Both sides at the start of a program, in a variant; both are the test's parameters."""
    name, variant = request.param
    program = programs(name, **variant)
    with started(tmp_path, partial(kvm_boot, program), program.elf) as pair:
        yield pair


@on("watch")
def test_every_access(pair: Oracle) -> None:
    every_access(pair)
    assert "Watchpoints: by DAWR, 8 bytes at" in pair.ours.status()


@on("watch")
def test_an_atomic_word(pair: Oracle) -> None:
    """A write is hit at the store.  The stop loses the reservation, so the sequence runs again."""
    at_the_first_round(pair)
    ours = pair.ours
    for gdb in (pair.native, ours):
        gdb.command("watch *(long *)&counter")
    before = ours.value("*(long *)&counter")
    for n in range(before, before + 4):
        assert values(pair, "continue") == [line.format(n, n + 1) for line in OLD_AND_NEW]
        assert ours.pc == ours.value("(long)&x_line")
    assert hit_counts(ours) == hit_counts(pair.native) == ["already hit 4 times"]
    # A read is hit at the larx; natively also at the stdcx., because the emulator reads there.
    ours.command("delete")
    for command, shown in (("rwatch", ["Value = {1}"]), ("awatch", OLD_AND_NEW)):
        ours.command(f"{command} *(long *)&counter")
        for _ in range(3):
            before = ours.value("*(long *)&counter")
            wanted = [line.format(before, before + 1) for line in shown]
            assert VALUE.findall(ours.command("continue")) == wanted
            assert ours.value("(long)&x_counter") < ours.pc <= ours.value("(long)&x_line")
        ours.command("delete")


@on("watch", {"endian": "be"})
def test_several_at_once(pair: Oracle) -> None:
    """Three watchpoints in one doubleword with a byte that is not watched; hits are told apart."""
    at_the_first_round(pair)
    ours = pair.ours
    for command in ("watch *(char *)&byte", "rwatch *(short *)&half", "awatch *(int *)&word"):
        for gdb in (pair.native, ours):
            gdb.command(command)
    for _ in range(2):
        for label in ("x_byte", "x_word", "x_half_load", "x_word_load"):
            assert values(pair, "continue")
            assert ours.pc == ours.value(f"(long)&{label}") + 4
    assert (
        hit_counts(ours) == hit_counts(pair.native) == [f"already hit {n} times" for n in (2, 2, 4)]
    )
    assert "by DAWR, 8 bytes" in ours.status()


@on("watch", LITTLE)
def test_conditions_commands_and_threads(pair: Oracle) -> None:
    at_the_first_round(pair)
    ours = pair.ours
    for gdb in (pair.native, ours):
        gdb.command("watch *(char *)&byte if *(long *)&rounds % 5 == 4")
    for _ in range(2):
        assert values(pair, "continue")
        assert ours.value("*(long *)&rounds") % 5 == 4
    for gdb in (pair.native, ours):
        gdb.command("delete")
        gdb.command("watch *(char *)&byte thread 1")
        gdb.command("tbreak quiet if *(long *)&rounds == 15")
    pair.block("commands 3", "silent", 'printf "byte %d\\n", *(char *)&byte', "continue", "end")
    printed = []
    for gdb in (pair.native, ours):
        output = gdb.command("continue", 60)
        printed.append(re.findall(r"^byte \d+", output, re.MULTILINE))
    assert printed[0] == printed[1] and len(printed[1]) >= 5, printed
    assert ours.pc == ours.value("(long)&quiet")


@on_scripts
def test_run_control(pair: Oracle, name: str) -> None:
    """As natively, but the stop is two instructions earlier."""
    assert same_shown(pair, SCRIPTS[name])
    if "scope" in name:
        assert pair.ours.pc == pair.native.pc


@pytest.mark.parametrize("variant", VARIANTS, ids=variant_name)
def test_hbreak(
    variant: dict[str, Any], host: AnyHost, gdb: Gdb, programs: Callable[..., Program]
) -> None:
    program = programs("demo", **variant)
    with host.bare(program.image) as guest:
        gdb.connect(guest.target, program.elf)
        gdb.command("thbreak main")
        assert "Temporary breakpoint 1, main" in gdb.command("continue")
        gdb.command("hbreak square")
        for _ in range(2):
            assert "Breakpoint 2, square" in gdb.command("continue")
        gdb.command("stepi 3")
        assert "already hit 2 times" in gdb.command("info breakpoints")
        gdb.command("watch total")
        gdb.command("delete 2")
        assert "New value" in gdb.command("continue")


class Client(Floor):
    """A client of the layer that sends what gdb would, and looks at the guest before it goes on."""

    def watched(self, kind: int, address: int, length: int) -> tuple[int, int]:
        """Run to a watchpoint's hit.  Returns the address in the stop reply, and pc."""
        self._must(b"Z%d,%x,%x" % (kind, address, length), b"OK")
        reply = self._ask(b"vCont;c:p1.-1")
        found = re.match(rb"T05(watch|rwatch|awatch):([0-9a-f]+);thread:p1\.0?1;", reply)
        assert found and KINDS[kind] == found[1].decode(), reply
        self._must(b"z%d,%x,%x" % (kind, address, length), b"OK")
        return int(found[2], 16), self.read("pc")

    def go(self, address: int) -> None:
        """Run to an address."""
        self.insert(address)
        self._must(b"vCont;c:p1.-1", b"T05")
        self.remove(address)

    def step(self, before: int = 0) -> int:
        """Step over the access.  Returns pc."""
        self._must(b"vCont;s:p1.1", b"T05")
        return self.read("pc")

    def memory(self, address: int, length: int) -> bytes:
        """Read memory of the guest."""
        return bytes.fromhex(self._ask(b"m%x,%x" % (address, length)).decode())


KINDS = {2: "watch", 3: "rwatch", 4: "awatch"}


def test_stop_is_before_the_access(
    host: AnyHost, tmp_path: Path, programs: Callable[..., Program]
) -> None:
    """pc is at the instruction, which has changed nothing yet; a step then changes memory."""
    program = programs("watch", endian="le", ail=3)
    with Gdb(tmp_path, name="symbols", extension=False) as symbols:
        symbols.command(f"file {program.elf}")
        main = symbols.value("(long)&main")
        accesses = [
            (kind, symbols.value(f"&{c.what}"), symbols.value(f"sizeof({c.what})"), places)
            for c in CELLS
            for kind, labels in ((2, c.stores), (3, c.loads), (4, c.stores + c.loads))
            if (places := [symbols.value(f"(long)&{label}") for label in labels])
        ]
    with (
        host.bare(program.image) as guest,
        service("--listen", "0", "--connect", guest.target) as layer,
    ):
        where, port = address(layer).rsplit(":", 1)
        with Client(lambda: socket.create_connection((where, int(port)))) as client:
            client.go(main)
            for kind, cell, length, places in accesses:
                for _ in places:
                    before = client.memory(cell, length)
                    told, pc = client.watched(kind, cell, length)
                    assert pc in places and cell <= told < cell + length, (hex(told), hex(pc))
                    assert client.memory(cell, length) == before
                    assert client.step() == pc + 4
                    if kind == 2:
                        assert client.memory(cell, length) != before


@on("watch", LITTLE)
def test_by_steps(pair: Oracle) -> None:
    """By steps because it was set so, and because two watchpoints do not fit into one window."""
    ours, native = pair.ours, pair.native
    for gdb in (native, ours):
        gdb.command("tbreak round if *(long *)&rounds == 1")
        gdb.command("continue")
    ours.command("set ppc-sstep watchpoints step")
    for gdb in (native, ours):
        gdb.command("watch *(int *)&word")
    assert values(pair, "continue") and values(pair, "continue")
    assert ours.pc == ours.value("(long)&x_word") + 4
    assert "by steps (as it was set)\n" in ours.status()
    ours.command("set ppc-sstep watchpoints auto")
    for other, why in (
        ("*(long *)&rounds", "this host does not honour a DAWR of"),
        ("*(char *)&page", "do not fit into the one window of 512 bytes"),
    ):
        for gdb in (native, ours):
            gdb.command(f"watch {other}")
        native.send("continue")
        ours.send("continue")
        said, shown = native.finish(60), ours.finish(60)
        assert VALUE.findall(said) == VALUE.findall(shown)
        assert shown.count(SLOW) == 1 and why in shown, shown
    assert len(hit_counts(ours)) == 2
    assert hit_counts(ours) == hit_counts(native)


def test_off_and_dawr(host: AnyHost, gdb: Gdb, programs: Callable[..., Program]) -> None:
    """With `off` gdb's own error; with `dawr` what does not fit into the window is an error."""
    program = programs("watch", **LITTLE)
    with host.bare(program.image) as guest:
        gdb.connect(guest.target, program.elf)
        gdb.command("tbreak round")
        gdb.command("continue")
        gdb.command("set ppc-sstep watchpoints off")
        gdb.command("watch *(char *)&byte")
        for command in ("continue", "stepi"):
            output = gdb.command(command)
            assert "Could not insert hardware watchpoint 2" in output, output
        assert gdb.pc == gdb.value("(long)&round")
        gdb.command("set ppc-sstep watchpoints dawr")
        assert "New value" in gdb.command("continue")
        gdb.command("watch *(char *)&page")
        output = gdb.command("continue")
        assert "do not fit" in output and "set ppc-sstep watchpoints auto" in output, output
        gdb.command("delete 3")
        assert "New value" in gdb.command("continue")


@pytest.mark.dawr(False)
def test_a_host_whose_dawr_is_off(
    host: AnyHost, gdb: Gdb, programs: Callable[..., Program]
) -> None:
    """The user is told once that the host does not honour DAWR, and watchpoints work by steps."""
    program = programs("watch", **BIG)
    with host.bare(program.image) as guest:
        gdb.connect(guest.target, program.elf)
        gdb.command("tbreak round")
        gdb.command("continue")
        gdb.command("watch *(char *)&byte")
        output = gdb.command("continue")
        assert output.count(SLOW) == 1 and "does not honour" in output, output
        assert gdb.pc == gdb.value("(long)&x_byte") + 4
        output = gdb.command("continue")
        assert SLOW not in output and "New value" in output, output
        assert gdb.pc == gdb.value("(long)&x_byte") + 4
        gdb.command("delete")
        gdb.command("rwatch *(long *)&whole")
        gdb.command("continue")
        assert gdb.pc == gdb.value("(long)&x_whole_load") + 4
        assert "by steps" in gdb.status()


# Linux

HITS = """python
import gdb
def hits(count):
    for _ in range(count):
        gdb.execute('continue')
        print(f"at {int(gdb.parse_and_eval('$pc')) & (1 << 64) - 1:#x} {gdb.selected_thread().num}")
end"""


class Hit(NamedTuple):
    """A hit as gdb has shown it.

    old, new: the values before and after it, equal for a read.  pc: behind the access.
    """

    old: int
    new: int
    pc: int
    thread: int


def hits(gdb: Gdb, count: int) -> list[Hit]:
    """Continue to so many hits of the one watchpoint."""
    for line in HITS.splitlines():
        gdb.send(line)
    gdb.finish()
    output = gdb.command(f"python hits({count})")
    value = r"(?:Old value = (-?\d+)\nNew value|Value) = (-?\d+)\n.*\n"
    found = re.findall(value + r"(?:.*\n)?at 0x([0-9a-f]+) (\d+)\n", output)
    assert len(found) == count, output[-600:]
    return [
        Hit(int(old or new), int(new), int(pc, 16), int(thread)) for old, new, pc, thread in found
    ]


def assert_each_one_higher(found: list[Hit]) -> None:
    """Assert that each hit adds 1: none is missed, and none is shown twice."""
    first = found[0].old
    assert [(one.old - first, one.new - first) for one in found] == [
        (n, n + 1) for n in range(len(found))
    ]


def dawrx(linux: Linux, tmp_path: Path) -> int:
    """DAWRX0 of the first vCPU, as a gdb without ours shows it; the guest runs afterwards."""
    with Gdb(tmp_path, name="plain", extension=False, timeout=LONG) as plain:
        plain.connect(linux.guest.target, linux.image.vmlinux)
        found = plain.value("$dawrx0")
        plain.command("detach")
    return found


def test_200_ticks(linux: Linux, gdb: Gdb) -> None:
    gdb.command("watch *(long *)&jiffies_64")
    found = hits(gdb, 200)
    assert_each_one_higher(found)
    status = gdb.status()
    assert "by DAWR, 8 bytes" in status and "caught at the kernel's handler" in status, status
    assert "already hit 200 times" in gdb.command("info watchpoints")


def test_a_condition_that_is_false_100_times(linux: Linux, gdb: Gdb) -> None:
    ticks = gdb.value("*(long *)&jiffies_64")
    gdb.command(f"watch *(long *)&jiffies_64 if *(unsigned long *)&jiffies_64 == {ticks + 101}")
    assert "New value" in gdb.command("continue")
    assert gdb.value("*(long *)&jiffies_64") == ticks + 101
    assert "already hit 1 time" in gdb.command("info watchpoints")


def test_a_word_of_a_program_and_the_kernels_copy(linux: Linux, gdb: Gdb) -> None:
    """linux-user.S stores how long it sleeps, and the kernel copies that; only these are hit."""
    enter_user_space(linux, gdb)
    gdb.command("awatch -location *(long *)($r1 + 8)")
    start, end = gdb.value("(long)&round"), gdb.value("(long)&call")
    for one in hits(gdb, 6):
        assert one.new == (305 << 16) + 11520
        assert start < one.pc < end or one.pc >> 60 == 0xC, hex(one.pc)
    linux.stop_at(gdb, "*&called")
    gdb.command("delete")
    gdb.command("awatch -location *(long *)($r1 + 8)")
    places = [one.pc >> 60 for one in hits(gdb, 4)]
    assert places == [0, 0xC, 0, 0xC]
    linux.stop_at(gdb, "*&called")
    gdb.command("delete")
    # The program stores the word, adds to it by ldarx and stdcx., and stores it again.
    gdb.command("watch -location *(long *)($r1 + 16)")
    count = gdb.value("$r14")
    assert [(one.old, one.new) for one in hits(gdb, 5)][1:] == [
        (count, count + 1),
        (count + 1, count),
        (count, count + 1),
        (count + 1, count + 2),
    ]


def test_another_process_with_the_same_address(linux: Linux, gdb: Gdb) -> None:
    """A child stores to its own page at the address of its parent's counter, and is not hit."""
    linux.guest.enter("stepper")
    gdb.command(f"add-symbol-file {linux.image.stepper}")
    linux.stop_at(gdb, "sys_ptrace")
    linux.stop_at(gdb, "*&counted")
    gdb.command("watch *(long *)&steps")
    found = hits(gdb, 3)
    gdb.command("tbreak *&s0")  # the second instruction that the parent steps in its child
    while "emporary breakpoint" not in (output := gdb.command("continue")):
        old, new = map(int, re.findall("value = ([0-9]+)", output))
        found.append(Hit(old, new, 0, 1))
    assert gdb.pc == gdb.value("(long)&s0")
    gdb.command("set $r1 = (long)&steps - 16")
    found += hits(gdb, 1)
    assert_each_one_higher(found)
    gdb.command("delete")
    assert "detached" in gdb.command("detach")
    told = ask(linux.guest, "enough")
    assert " wrong=0 " in told, told
    attach(gdb, linux.guest, linux.image)


def test_fork_storm(linux: Linux, gdb: Gdb) -> None:
    """With an armed watchpoint that is never hit, the guest's forks and page faults go on."""
    forks = []
    for armed in (False, True):
        if armed:
            gdb.command("watch *(long *)&linux_banner")
        before = gdb.value("*(long *)&total_forks")
        gdb.send("continue")
        time.sleep(6)
        output = gdb.interrupt(60)
        assert "SIGINT" in output or "Quit" in output, output
        linux.stop_at(gdb, "sys_openat")  # in user space gdb could not read the kernel's memory
        forks.append(gdb.value("*(long *)&total_forks") - before)
    print(f"forks in 6 s: {forks[0]} without, {forks[1]} armed")
    assert forks[1] > 0
    assert "by DAWR" in gdb.status()


def test_ctrl_c_while_armed(linux: Linux, gdb: Gdb) -> None:
    gdb.command("watch *(long *)&linux_banner")
    for number in range(4):
        gdb.send("continue")
        time.sleep(0.3 + 0.3 * number)
        output = gdb.interrupt(60)
        assert "SIGINT" in output or "Quit" in output, output
    gdb.command("delete")
    gdb.command("watch *(long *)&jiffies_64 if *(long *)&jiffies_64 == 0")
    for _ in range(3):  # interrupt in the middle of hits
        gdb.send("continue")
        time.sleep(1.5)
        output = gdb.interrupt(60)
        assert "SIGINT" in output or "Quit" in output, output
    gdb.command("delete")
    gdb.command("watch *(long *)&jiffies_64")
    assert_each_one_higher(hits(gdb, 3))


def test_detaching_while_armed(linux: Linux, gdb: Gdb, tmp_path: Path) -> None:
    gdb.command("watch *(long *)&jiffies_64")
    assert_each_one_higher(hits(gdb, 3))
    assert "detached" in gdb.command("detach")
    assert dawrx(linux, tmp_path) == 0
    assert_healthy(linux.guest)
    gdb.connect(linux.guest.target)
    assert_each_one_higher(hits(gdb, 3))


def test_killed_while_armed(linux: Linux, gdb: Gdb, tmp_path: Path) -> None:
    """The layer is killed while the guest runs with a window; the next session clears it."""
    gdb.command("watch *(long *)&linux_banner")
    gdb.send("continue")
    time.sleep(2)
    (layer,) = layers_of(gdb)
    os.kill(layer, signal.SIGKILL)
    assert re.search("Remote connection closed|Target disconnected", gdb.finish(60))
    gdb.command("delete")
    output = gdb.connect(linux.guest.target)
    assert "a watchpoint (DAWR) at" in output, output
    assert "is taken back" in gdb.command("ppc-sstep clean")
    assert gdb.command("ppc-sstep clean") == "Nothing to clean.\n"
    assert "detached" in gdb.command("detach")
    assert dawrx(linux, tmp_path) == 0
    assert_healthy(linux.guest)
    attach(gdb, linux.guest, linux.image)


on_two = pytest.mark.parametrize("linux", [2], indirect=True)


@on_two
def test_forks_on_both_vcpus(linux: Linux, gdb: Gdb) -> None:
    gdb.command("watch *(long *)&total_forks")
    found = hits(gdb, 20)
    assert_each_one_higher(found)
    assert {one.thread for one in found} == {1, 2}
    assert re.search(r"by DAWR, 8 bytes at \S+ on p1\.0?1, p1\.0?2,", gdb.status()), gdb.status()


@on_two
def test_a_lock(linux: Linux, gdb: Gdb) -> None:
    """Both vCPUs take a lock by lwarx and stwcx."""
    gdb.command("watch *(int *)&tasklist_lock")
    found = hits(gdb, 20)
    assert all(one.old != one.new for one in found)
