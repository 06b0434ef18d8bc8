# SPDX-License-Identifier: MIT
"""Real KVM HV (see fixtures/kvm_hv.py): bare-metal guests against the oracle, and Linux guests.

KVM HV does not step natively, so the oracle's native side is QEMU TCG, as in the other tests.  In
Linux each step must come to a successor of its instruction, and the guest must stay healthy.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fixtures.bare_metal import SOURCES, Program
from fixtures.kvm_hv import AnyHost, Host
from fixtures.linux import READY, LinuxImage
from fixtures.qemu import Guest
from tests.harness.driver import Gdb, is_running, layers_of
from tests.harness.kernel import assert_healthy, attach
from tests.harness.oracle import Oracle, oracle, variant_name
from tests.system.test_every_step import walk_both
from tests.system.test_instructions import CASES, HERE, step_over, vector_base
from tests.system.test_run_control import SCRIPTS

pytestmark = [pytest.mark.kvm, pytest.mark.timeout(1200)]

SE = 0x400
LONG = 300  # seconds; the host is emulated, and its processor may be shared


@pytest.fixture
def gdb(tmp_path: Path) -> Iterator[Gdb]:
    with Gdb(tmp_path, timeout=LONG) as gdb:
        yield gdb


# Bare metal

LITTLE: dict[str, Any] = {"endian": "le"}
BIG: dict[str, Any] = {"endian": "be", "ail": 3}


@pytest.fixture
def kvm_boot(host: AnyHost) -> Iterator[Callable[..., Guest]]:
    """kvm_boot(program, steps=...): start a TCG guest if it has to step, else a KVM HV guest."""
    guests: list[Guest] = []

    def start(program: Program, *, steps: bool) -> Guest:
        if steps:
            guests.append(host.image.oracle.bare(program.image, steps=True, cpu=host.row.cpu))
        else:
            guests.append(host.bare(program.image))
        return guests[-1]

    yield start
    for guest in guests:
        guest.close()


@contextmanager
def started(directory: Path, boot: Callable[..., Guest], elf: Path) -> Iterator[Oracle]:
    """Both sides at the program's `_start`; at reset KVM's registers differ from the emulator's."""
    with oracle(directory, boot, elf, ["-d", str(SOURCES)]) as pair:
        for gdb in (pair.native, pair.ours):
            gdb.command("python gdb.Breakpoint('_start', internal=True, temporary=True)")
            gdb.command("continue")
        yield pair


@pytest.fixture
def pair(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    programs: Callable[..., Program],
    kvm_boot: Callable[..., Guest],
) -> Iterator[Oracle]:
    """Both sides on `demo`, in the variant that is the test's parameter."""
    program = programs("demo", **request.param)
    start = partial(kvm_boot, program)
    with started(tmp_path, start, program.elf) as pair:
        yield pair


on_demo = pytest.mark.parametrize("pair", [LITTLE, BIG], ids=variant_name, indirect=True)


@pytest.mark.parametrize("variant", [LITTLE, BIG], ids=variant_name)
def test_every_register_after_every_step(
    variant: dict[str, Any],
    tmp_path: Path,
    programs: Callable[..., Program],
    kvm_boot: Callable[..., Guest],
) -> None:
    program = programs("steps", **variant)
    with started(tmp_path, partial(kvm_boot, program), program.elf) as pair:
        for gdb in (pair.native, pair.ours):
            gdb.command("set trust-readonly-sections on")  # it saves half the packets
        # KVM does not tell QEMU of CFAR, so QEMU's own copy never changes.
        walk_both(
            pair,
            "done",
            tmp_path,
            clobbered=("cr", "ctr", "srr0", "srr1"),
            unknown=("cfar",),
            timeout=LONG,
        )
        assert pair.ours.value("trace_hits") == 0


NOT_UNDER_KVM = {
    "sc 1": "volatile registers are left otherwise by another hypervisor; steps.S has some",
    "mtmsrd that clears SE": "the status in SRR1 of the guest's own Trace interrupt: 0 in QEMU 7.2",
    "mfmsr with SE": "the same",
    "rfebb": "KVM does not keep an EBBRR that is written from outside: it goes elsewhere",
}


@on_demo
def test_instructions(pair: Oracle) -> None:
    for command in ("tbreak work", "continue", f"set {HERE} = $pc", "set $old = $msr"):
        pair.both(command)
    pair.both(f"set $trace = {vector_base(pair)} + 0xd00")
    cases = {name: case for name, case in CASES.items() if name not in NOT_UNDER_KVM}
    assert len(cases) == len(CASES) - len(NOT_UNDER_KVM)
    for name, (word, before) in cases.items():
        pair.both("set $msr = $old")
        step_over(pair, HERE, name, word, before)
    assert pair.ours.value("trace_hits") == 0
    assert f"Steps done: {len(cases)}\n" in pair.ours.status()


@pytest.mark.parametrize(
    ("pair", "name"),
    [
        *((LITTLE, name) for name in ("steps", "continue hits again", "finish", "conditions")),
        *(
            (BIG, name)
            for name in ("steps", "until and advance to a place", "ignore counts", "dprintf")
        ),
        *((LITTLE, name) for name in ("jump return call", "step into a breakpoint")),
    ],
    ids=lambda value: value if isinstance(value, str) else variant_name(value),
    indirect=["pair"],
)
def test_transcript(pair: Oracle, name: str) -> None:
    output = pair.run(SCRIPTS[name])
    assert "reakpoint" in output
    assert pair.ours.value("trace_hits") == 0


SHOWN = """python
import gdb
def shown(*places):
    "What the stub says of words, in the 20 ms in which ours may still be there."
    for place in places:
        print(gdb.execute(f"maint packet m{place:x},4", to_string=True).split()[-1])
end"""


@on_demo
def test_memory_at_a_stop_is_the_guests(pair: Oracle, tmp_path: Path) -> None:
    """gdb reads memory at once after a step, when breakpoints are still words in it."""
    gdb, log = pair.ours, tmp_path / "layer.log"
    for line in SHOWN.splitlines():
        gdb.send(line)
    gdb.finish()
    gdb.command("tbreak work")
    gdb.command("continue")
    vector = int(gdb.status().partition("Trace vector now: ")[2].split()[0], 16)
    behind = gdb.pc + 20
    places = f"{vector:#x}, {vector & 0xFFFF:#x}, {behind:#x}"
    before = gdb.command(f"python shown({places})")
    assert "00dddd00" not in before and len(before.split()) == 3
    gdb.command(f"break *{behind:#x}")
    gdb.command(f"set ppc-sstep debug-file {log}")
    for step in ("stepi", "stepi 2", "nexti"):
        gdb.command("set debug ppc-sstep on")
        together = f"python gdb.execute('{step}', to_string=True); shown({places})"
        assert gdb.command(together).endswith(before), step
        gdb.command("set debug ppc-sstep off")
    packets = log.read_text()
    asked, removed = f"gdb  -> m{vector:x},4\n", f"stub <- z0,{vector:x},4\n"
    at_once = re.findall(f"{asked}(?:stub <- .*\n)*?{removed}", packets)
    assert at_once, "they were there, at least where gdb was as fast as it mostly is"


def test_plain_gdb_loses_the_guest(
    host: AnyHost, tmp_path: Path, programs: Callable[..., Program]
) -> None:
    """The stub does ignore steps, so what the other tests show comes from ours."""
    program = programs("demo", **LITTLE)
    with (
        host.bare(program.image) as guest,
        Gdb(tmp_path, name="plain", extension=False) as gdb,
    ):
        gdb.connect(guest.target, program.elf)
        gdb.command("break work")
        for command in ("stepi", "continue"):
            assert "Breakpoint 1, work" in gdb.command("continue")
            rounds = gdb.value("round")
            gdb.send(command)
            time.sleep(3)
            assert "SIGINT" in gdb.interrupt(60), command
            assert gdb.value("round") > rounds + 100
        assert "already hit 2 times" in gdb.command("info breakpoints")


def test_mode_auto_knows_it(host: AnyHost, gdb: Gdb, programs: Callable[..., Program]) -> None:
    program = programs("demo", **BIG)
    with host.bare(program.image) as guest:
        assert "stepping by the Trace interrupt" in gdb.connect(guest.target, program.elf)
        assert "the accelerator is KVM" in gdb.status()
        gdb.command("break *0xc00")  # a vector; with AIL=3 it is reached at another address
        gdb.command("break work")
        assert "work (n=0)" in gdb.command("continue")
        # KVM HV has no hardware breakpoints.  One in memory does, where there is memory.
        gdb.command("delete")
        gdb.command("hbreak square")
        assert "square (x=1)" in gdb.command("continue")
        gdb.command("hbreak *0x7fff00000000")
        refused = gdb.command("continue")
        assert "under KVM a hardware breakpoint is one in memory, and 0x7fff00000000" in refused
        gdb.command("delete")


# Linux


class Linux:
    """A Linux guest that several tests use, one after another."""

    def __init__(self, host: AnyHost, smp: int) -> None:
        self.image: LinuxImage = host.image.linux
        self.smp = smp
        self.guest = host.linux(smp=smp)
        self.guest.release()
        self.guest.wait_console(READY, LONG)
        self.booted = self.guest.wait_console("\n", LONG, start=self.guest.console().index(READY))
        self.guest.enter("module")
        text = self.guest.wait_console("MODULE", LONG)
        while (found := re.search(r"MODULE (0x[0-9a-f]+)\s", text)) is None:
            text = self.guest.wait_console("\n", LONG)
        self.module = int(found[1], 16)

    def stop_at(self, gdb: Gdb, where: str, condition: str = "") -> str:
        """Let the guest run to a place.  Returns what gdb prints."""
        assert "emporary breakpoint" in gdb.command(f"tbreak {where} {condition}")
        output = gdb.command("continue")
        assert "emporary breakpoint" in output, output
        return output


@pytest.fixture(scope="module")
def guests(host: AnyHost) -> Iterator[Callable[[int], Linux]]:
    """guests(smp): the guest with so many vCPUs; asking for another number ends it."""
    running: list[Linux] = []

    def give(smp: int) -> Linux:
        if not running or running[0].smp != smp:
            running[:] = [Linux(host, smp)]
        return running[0]

    yield give
    for linux in running:
        linux.guest.close()


@pytest.fixture
def linux(
    request: pytest.FixtureRequest, guests: Callable[[int], Linux], gdb: Gdb
) -> Iterator[Linux]:
    """A guest with gdb stopped in its kernel.  At the end gdb detaches from a healthy guest."""
    linux = guests(getattr(request, "param", 1))
    attach(gdb, linux.guest, linux.image)
    yield linux
    gdb.command("delete")
    assert gdb.value("$msr") & SE == 0
    assert "Outstanding: none" in gdb.status()
    assert "detached" in gdb.command("detach")
    assert_healthy(linux.guest)


def enter_user_space(linux: Linux, gdb: Gdb) -> None:
    """Stop in linux-user.S, at `called`.

    Under KVM a breakpoint is a word in the memory of the program that runs at the moment.  So this
    first stops where that program is the one: no other program calls getpid.
    """
    gdb.command(f"add-symbol-file {linux.image.user}")
    linux.stop_at(gdb, "sys_getpid")
    linux.stop_at(gdb, "*&called")


def followed(gdb: Gdb, count: int) -> None:
    """Make so many steps, each of which must come to a successor; other vCPUs stand still."""
    gdb.command("set scheduler-locking step")
    output = gdb.command(f"python follow({count})")
    gdb.command("set scheduler-locking replay")
    assert re.search(rf"followed {count} with [1-9][0-9]* jumps", output), output[-300:]


def test_the_row_is_what_it_says(
    host: AnyHost,
    guests: Callable[[int], Linux],
    record_property: Callable[[str, object], None],
) -> None:
    """The host's kernel, its QEMU and the guest's kernel are those that the row names.

    Where this machine itself is the host, the test reports what that is.
    """
    linux = guests(1)
    found = re.search(r"^GUEST UP (.*) cpus=1 (.*) pages=(\d+)K (.*)$", linux.booted, re.MULTILINE)
    assert found, linux.booted
    kernel, mmu, pages, cpu = found.groups()
    linux.guest.packet("?")  # the guest stops, which the stub tells the first client unasked
    with_kvm, version = (linux.guest.monitor(what) for what in ("info kvm", "info version"))
    linux.guest.release()
    row, image = host.row, host.image
    if isinstance(host, Host):
        assert host.kernel == host.image.kernel.version
        assert mmu == ("radix" if row.radix and not row.compat else "hash")
        assert "kvm support: enabled" in with_kvm
    assert kernel == image.linux.version
    assert cpu == (row.compat.upper() or row.cpu)
    assert image.qemu in version
    for name, said in (
        ("host", f"{row.cpu}, Linux {host.kernel}, {host.pages >> 10}K pages"),
        ("QEMU", version.split("Debian")[0].strip()),
        ("guest", f"Linux {kernel}, {pages}K pages, {cpu}, {mmu}"),
    ):
        record_property(name, said)


def test_500_steps_in_kernel_code(linux: Linux, gdb: Gdb) -> None:
    linux.stop_at(gdb, "do_sys_openat2")
    assert "Trace vector now: 0xc000000000004d00" in gdb.status()
    followed(gdb, 500)


def test_run_control_in_the_kernel(linux: Linux, gdb: Gdb) -> None:
    gdb.command("break do_sys_openat2")  # number 2: attach() has set the first
    for _ in range(5):
        assert "Breakpoint 2, " in gdb.command("continue")
    assert "already hit 5 times" in gdb.command("info breakpoints")
    gdb.command("delete")
    gdb.command("break ksys_read if $r5 == 123456")
    gdb.command('dprintf kernel_clone,"cloned\\n"')
    gdb.command("break do_sys_openat2")
    gdb.command("ignore 5 5")
    output = gdb.command("continue")
    assert "Breakpoint 5, " in output and "cloned" in output, output
    assert "already hit 6 times" in gdb.command("info breakpoints 5")
    gdb.command("delete")
    linux.stop_at(gdb, "ksys_read")
    output = gdb.command("finish")
    assert "Run till exit" in output and re.search(r"\n0x[0-9a-f]+ in \w+ \(", output), output
    gdb.command("nexti 20")


@pytest.mark.parametrize(
    ("call", "leave", "saved", "back"),
    [
        ("call", "rfi_flush_fallback", "$srr0", "called"),
        ("vectored", "rfscv_flush_fallback", "$lr", "vectored_back"),
    ],
    ids=["sc", "scv"],
)
def test_system_call(call: str, leave: str, saved: str, back: str, linux: Linux, gdb: Gdb) -> None:
    """Steps from user space into the kernel, in it, and back, but not all the way.

    A step takes longer than the timer's period.  So wherever the kernel allows interrupts one is
    pending, and the next step goes into its handler.
    """
    enter_user_space(linux, gdb)
    linux.stop_at(gdb, f"*&{call}")
    pid = gdb.value("$r16")
    gdb.command("stepi")
    assert gdb.pc in (0xC000000000004C00, 0xC000000000003000)
    followed(gdb, 20)
    linux.stop_at(gdb, "sys_getpid")
    # This CPU has no instruction that flushes the L1 cache, so the kernel returns from here.
    listing = gdb.command(f"x/60i {leave}")
    place = re.search(r"(0xc[0-9a-f]+) .*\trf(?:id|scv)", listing)
    assert place, listing
    linux.stop_at(gdb, f"*{place[1]}", f"if {saved} == (unsigned long)&{back}")
    gdb.command("stepi")
    assert gdb.pc == gdb.value("&" + back)
    assert gdb.value("$r3") == pid
    gdb.command("stepi")
    assert gdb.pc == gdb.value("&" + back) + 4


def test_page_fault(linux: Linux, gdb: Gdb) -> None:
    enter_user_space(linux, gdb)
    linux.stop_at(gdb, "*&fault")
    gdb.command("stepi")
    assert gdb.pc == 0xC000000000004300
    linux.stop_at(gdb, "*&faulted")
    gdb.command("set ppc-sstep interrupts over")
    linux.stop_at(gdb, "*&fault")
    for where in ("faulted", "faulted + 4"):
        gdb.command("stepi")
        assert gdb.pc == gdb.value(f"(long)&{where}")
    assert gdb.value("$r18") == gdb.value("$r14")
    linux.stop_at(gdb, "*&atomic")
    gdb.command("stepi")  # a sequence from larx to stcx. is one step, as natively
    assert gdb.value("$r18") == gdb.value("$r14") + 1


def test_conditional_breakpoint_in_user_space(linux: Linux, gdb: Gdb) -> None:
    enter_user_space(linux, gdb)
    linux.stop_at(gdb, "*&round")
    rounds = gdb.value("$r14")
    linux.stop_at(gdb, "*&last", f"if $r14 == {rounds + 10}")
    assert gdb.value("$r14") == rounds + 10


def test_idle(linux: Linux, gdb: Gdb) -> None:
    """H_CEDE, the hypercall by which a vCPU waits for an interrupt."""
    linux.stop_at(gdb, "plpar_hcall_norets_notrace", "if $r3 == 0xe0")
    for _ in range(10):
        if "sc      1" in gdb.command("x/i $pc"):
            break
        gdb.command("stepi")
    here = gdb.pc
    gdb.command("stepi")
    assert gdb.pc == here + 4
    assert gdb.value("$r3") == 0
    followed(gdb, 50)


def test_kernel_module(linux: Linux, gdb: Gdb) -> None:
    gdb.command(f"add-symbol-file {linux.image.module} {linux.module:#x}")
    gdb.command("break dummy_get_stats64")
    for _ in range(3):
        assert "dummy_get_stats64" in gdb.command("continue")
        assert gdb.pc >> 48 == 0xC008
    followed(gdb, 30)
    gdb.command("delete")
    linux.stop_at(gdb, "dummy_get_stats64")
    output = gdb.command("finish")
    assert "in dev_get_stats ()" in output, output


@pytest.mark.parametrize("linux", [1, 2], indirect=True)
def test_interrupting(linux: Linux, gdb: Gdb) -> None:
    for number in range(6):
        command = "stepi 1000000" if number % 2 else "continue"
        output = gdb.interrupt_after(0.5 + 0.3 * number, command, 60)
        # "Quit", natively too: gdb was busy with itself between two steps.
        assert "SIGINT" in output or "Quit" in output, output
        assert gdb.value("$msr") & SE == 0
    collected(gdb)


def collected(gdb: Gdb) -> None:
    """See to it that no step is outstanding: one that was interrupted in a handler of the guest is,
    until the guest comes back to it.
    """
    for _ in range(30):
        if "Outstanding: none" in gdb.status():
            return
        gdb.send("continue")
        time.sleep(1)
        assert "SIGINT" in gdb.interrupt(60)
    pytest.fail(f"a step that was interrupted is never collected: {gdb.status()}")


def test_reattaching(linux: Linux, gdb: Gdb, tmp_path: Path) -> None:
    """gdb detaches, another gdb is killed while it steps, and the first one attaches again."""
    gdb.command("break do_sys_openat2")
    gdb.command("continue")
    gdb.command("stepi 3")
    assert "detached" in gdb.command("detach")
    assert_healthy(linux.guest)
    with Gdb(tmp_path, name="killed", timeout=LONG) as other:
        attach(other, linux.guest, linux.image)
        (layer,) = layers_of(other)
        other.send("stepi 1000000")
        time.sleep(2)
        other.kill()
    end = time.monotonic() + 60
    while is_running(layer) and time.monotonic() < end:
        time.sleep(0.1)
    assert not is_running(layer)
    gdb.connect(linux.guest.target)
    assert gdb.value("$msr") & SE == 0
    assert "Breakpoint" in gdb.command("continue")
    gdb.command("stepi 3")


@pytest.mark.parametrize("linux", [2], indirect=True)
def test_500_steps_on_each_vcpu(linux: Linux, gdb: Gdb) -> None:
    for vcpu in (1, 2):
        linux.stop_at(gdb, f"do_sys_openat2 thread {vcpu}")
        assert gdb.value("$_thread") == vcpu
        followed(gdb, 500)


@pytest.mark.parametrize("linux", [2], indirect=True)
def test_breakpoints_on_both_vcpus(linux: Linux, gdb: Gdb) -> None:
    gdb.command("break do_sys_openat2")
    stepped: set[int] = set()
    for number in range(100):
        if number >= 10 and stepped == {1, 2}:
            break
        assert "hit Breakpoint 2" in gdb.command("continue")
        here = gdb.pc
        stepped.add(gdb.value("$_thread"))
        gdb.command("stepi")
        assert gdb.pc == here + 4
        gdb.command("nexti 5")  # it may end early, when the other vCPU comes to the breakpoint
    assert stepped == {1, 2}
