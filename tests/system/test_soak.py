# SPDX-License-Identifier: MIT
"""Random commands on a Linux guest with several busy vCPUs, for as long as one likes.

A seed decides the commands: --seed S runs others, --soak N makes N times as many.  The log of the
guest's kernel must stay clean.  While one vCPU is stepped alone, the others stand still for long,
natively too.  The kernel would take them for hung, so its watchdogs are off.
"""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import pexpect
import pytest

from fixtures.linux import LinuxImage
from fixtures.qemu import Qemu
from tests.harness.driver import Gdb
from tests.harness.kernel import ask, assert_healthy, attach

pytestmark = pytest.mark.linux

COMMANDS = 60
SE = 0x400
PLACES = ("do_sys_openat2", "ksys_read", "kernel_clone", "do_exit", "__schedule", "do_page_fault")
NO_WATCHDOGS = "nowatchdog rcupdate.rcu_cpu_stall_suppress=1 hung_task_panic=0"
WRONG = re.compile(r"Traceback|Python|internal-error|ppc-sstep: (?!this stub)")


class Soak:
    """One gdb on one guest, and its random commands."""

    def __init__(self, seed: int, smp: int, gdb: Gdb, guest: Qemu, image: LinuxImage) -> None:
        self.random = random.Random(seed)
        self.smp = smp
        self.gdb = gdb
        self.guest = guest
        self.image = image
        self.done: Counter[str] = Counter()
        self.last = ""
        self._verbs: list[tuple[int, Callable[[], object]]] = [
            (8, lambda: self.run(f"stepi {self.random.randint(1, 20)}")),
            (4, lambda: self.run(f"nexti {self.random.randint(1, 10)}")),
            (6, lambda: self.run("continue")),
            (3, lambda: self.interrupted("stepi 1000000")),
            (2, lambda: self.interrupted("continue")),
            (6, lambda: self.tell(f"thread {self.random.randint(1, smp)}")),
            (3, lambda: self.tell(f"set scheduler-locking {self.locking()}")),
            (1, lambda: self.tell(f"set ppc-sstep mask-interrupts {self.on()}")),
            (1, lambda: self.tell(f"set ppc-sstep interrupts {self.choice('into', 'over')}")),
            (1, lambda: self.run("thread apply all stepi")),
            (1, self.tbreak),
            (1, self.reconnect),
        ]

    def choice(self, *what: str) -> str:
        return self.random.choice(what)

    def on(self) -> str:
        return self.choice("on", "off")

    def locking(self) -> str:
        return self.choice("off", "step", "on", "replay")

    def tell(self, command: str) -> str:
        """Give a command that does not resume the guest.  Returns the output."""
        self.last = command
        self.done[command.split()[0]] += 1
        output = self.gdb.command(command)
        assert not WRONG.search(output), output
        return output

    def run(self, command: str) -> None:
        """Give a command that resumes the guest.

        If it does not end in 3 s, because it waits for a vCPU that stands still, press Ctrl-C.
        """
        self.last = command
        self.done[command.split()[0]] += 1
        self.gdb.send(command)
        try:
            output = self.gdb.finish(3)
        except pexpect.TIMEOUT:
            self.done["did not end by itself"] += 1
            output = self.ctrl_c()
        self.judge(output)

    def ctrl_c(self) -> str:
        """Press Ctrl-C.  Returns what gdb prints until the prompt of the command.

        If the command had ended before, Ctrl-C gives a second prompt, which is awaited too.
        """
        self.gdb.child.sendintr()
        output = self.gdb.finish(20)
        if "SIGINT" not in output and "Quit" not in output:
            with suppress(pexpect.TIMEOUT):  # it may come between both, and give no second prompt
                self.gdb.finish(1)
        return output

    def interrupted(self, command: str) -> None:
        self.last = f"{command}, and Ctrl-C"
        self.done["Ctrl-C"] += 1
        self.gdb.send(command)
        time.sleep(self.random.random() / 10)
        self.judge(self.ctrl_c())

    def judge(self, output: str) -> None:
        assert not WRONG.search(output), output
        assert self.gdb.value("$msr") & SE == 0

    def tbreak(self) -> None:
        self.tell(f"tbreak {self.random.choice(PLACES)}")

    def reconnect(self) -> None:
        self.tell("detach")
        time.sleep(self.random.random() / 5)
        output = self.tell(f"target remote {self.guest.target}")
        assert "stepping by the Trace interrupt" in output, output

    def go(self, commands: int) -> None:
        attach(self.gdb, self.guest, self.image)
        for place in PLACES[:3]:
            self.gdb.command(f"break {place}")
        weights = [weight for weight, _ in self._verbs]
        for number in range(commands):
            self.random.choices([verb for _, verb in self._verbs], weights)[0]()
            if number % 500 == 499:
                print(number + 1, dict(self.done), flush=True)
        self.tell("set scheduler-locking off")
        listed = self.tell("info breakpoints")
        assert all(len(re.findall(rf"keep y .*{place}", listed)) == 1 for place in PLACES[:3])
        for _ in range(3):
            assert re.search(r"reakpoint \d+, ", self.gdb.command("continue", 60))
        self.tell("delete")
        self.tell("detach")


def loops(guest: Qemu) -> list[int]:
    """How many rounds the work of each vCPU has done."""
    return [int(one) for one in ask(guest, "health").partition("loops=")[2].split(",")]


@pytest.mark.timeout(100_000)
@pytest.mark.parametrize("smp", [2, 4])
def test_soak(
    request: pytest.FixtureRequest,
    smp: int,
    gdb: Gdb,
    start: Callable[..., Qemu],
    image: LinuxImage,
) -> None:
    guest = start(smp=smp, append=NO_WATCHDOGS)
    seed = request.config.getoption("seed") or 1
    soak = Soak(seed, smp, gdb, guest, image)
    try:
        soak.go(COMMANDS * request.config.getoption("soak"))
    except (AssertionError, pexpect.ExceptionPexpect):
        print(f"--seed {seed} with {smp} vCPUs ended with `{soak.last}`")
        raise
    finally:
        print(dict(soak.done))
    assert_healthy(guest)
    before = loops(guest)
    time.sleep(3)
    assert all(after > one for after, one in zip(loops(guest), before))
