# SPDX-License-Identifier: MIT
"""A stub that is late, in pieces, doubled, silent or killed, and a gdb that is stopped.

Each time there is a prompt, one clear line or none, and nothing of ours left.  --soak 2 kills the
stub at every packet of two steps, instead of every fourth; --soak 12 stops gdb for a minute.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fixtures.bare_metal import SOURCES, Program
from fixtures.qemu import Qemu
from tests.harness.driver import ROOT, Gdb, is_running, layers_of
from tests.harness.faulty import Faulty

pytestmark = pytest.mark.bare

SE = 0x400
CLOSED = "Remote connection closed"
SILENT = "ppc-sstep: the stub did not answer within 5 seconds; the connection is closed\n"
STEPPING = "[pPzZ]"
"""The packets whose loss gdb 13 survives.  If it loses one while it reads a frame it has an
internal error, natively too.
"""


@pytest.fixture
def door() -> str:
    return "wire"


@pytest.fixture
def gdb(tmp_path: Path, door: str) -> Iterator[Gdb]:
    with Gdb(tmp_path, door=door, arguments=("-d", str(SOURCES))) as gdb:
        gdb.command(f"source {ROOT / 'tests' / 'harness' / 'walk.py'}")
        yield gdb
        assert "Traceback" not in (tmp_path / "gdb.transcript").read_text()


def to_work(gdb: Gdb, target: str, demo: Program) -> None:
    assert "stepping by the Trace interrupt" in gdb.connect(target, demo.elf)
    gdb.command("tbreak work")
    assert "work" in gdb.command("continue")


def all_is_well(gdb: Gdb) -> None:
    """Assert that the guest has nothing of ours and that the next steps are done."""
    gdb.command("maint flush register-cache")
    assert gdb.value("$msr") & SE == 0
    vector = gdb.status().partition("Trace vector now: ")[2].split()[0]
    assert 'received: "E22"' in gdb.command(f"maint packet z0,{int(vector, 16):x},4")
    assert "followed 5 with" in gdb.command("python follow(5)")
    assert "Outstanding: none" in gdb.status()


def layers_end(layers: list[int]) -> None:
    end = time.monotonic() + 10
    while any(map(is_running, layers)):
        assert time.monotonic() < end, "the layer does not end"
        time.sleep(0.05)


def test_a_reply_is_2_seconds_late(gdb: Gdb, faulty: Faulty, demo: Program) -> None:
    to_work(gdb, faulty.target, demo)
    here = gdb.pc
    faulty.delay = 2.0
    faulty.strike("reply", "delay", 3, STEPPING)
    start = time.monotonic()
    output = gdb.command("stepi 3")
    assert time.monotonic() - start > 1.9 and faulty.struck
    assert re.fullmatch(r"0x[0-9a-f]+\t.*\n(.*\n)?", output), output
    assert gdb.pc == here + 12
    all_is_well(gdb)


@pytest.mark.parametrize("fault", ["delay", "drop"], ids=["10 seconds late", "never"])
def test_a_reply_is_too_late(gdb: Gdb, faulty: Faulty, demo: Program, fault: str) -> None:
    """The layer ends, and what it has left is found at the next connect."""
    to_work(gdb, faulty.target, demo)
    here, layers = gdb.pc, layers_of(gdb)
    faulty.delay = 10.0
    faulty.strike("reply", fault, 3, STEPPING)
    start = time.monotonic()
    output = gdb.command("stepi 3", 9)
    assert 4.5 < time.monotonic() - start < 9
    assert output.count(SILENT) == 1 and output.count(CLOSED) == 1, output
    assert len(output.splitlines()) == 2, output
    layers_end(layers)
    if fault == "delay":  # until the reply the stub serves nobody else, natively too
        time.sleep(max(0.0, start + faulty.delay + 0.5 - time.monotonic()))
    output = gdb.connect(faulty.target)
    assert "stepping by the Trace interrupt" in output
    if "ppc-sstep clean" in output:
        assert "is taken back" in gdb.command("ppc-sstep clean")
    assert gdb.pc in range(here, here + 13, 4)
    all_is_well(gdb)


@pytest.mark.parametrize(
    "how", ["in pieces of one byte", "twice", "again, behind the next request"]
)
def test_all_replies_are_odd(gdb: Gdb, faulty: Faulty, demo: Program, how: str) -> None:
    to_work(gdb, faulty.target, demo)

    def mangle(_number: int, data: bytes) -> list[bytes]:
        return [data, data] if how == "twice" else [bytes([one]) for one in data]

    if how.startswith("again"):
        faulty.repeats = True
    else:
        faulty.mangle = mangle
    here = gdb.pc
    outputs = [gdb.command(one) for one in ("stepi 3", "nexti 2", "next", "finish")]
    assert "ppc-sstep" not in "".join(outputs) and "warning" not in "".join(outputs), outputs
    assert "Value returned" in outputs[-1] or "Run till exit" in outputs[-1]
    assert gdb.pc != here
    all_is_well(gdb)


@pytest.mark.timeout(600)
def test_the_stub_is_killed_in_each_phase(
    gdb: Gdb,
    boot: Callable[..., Qemu],
    demo: Program,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    """The stub is killed before or after it has obeyed a packet, for each packet of two steps."""
    every = 1 if request.config.getoption("soak") > 1 else 4
    for way in ("request", "reply"):
        for number in range(0, 100, every):
            guest = boot(demo, steps=False)
            directory = tmp_path / f"{way}{number}"
            directory.mkdir()
            with Faulty(guest.target, directory) as faulty:
                faulty.kill = guest.process.kill
                to_work(gdb, faulty.target, demo)
                layers = layers_of(gdb)
                faulty.strike(way, "kill", number, STEPPING + "|vCont")
                output = gdb.command("stepi 2", 10)
                if faulty.struck is None:
                    gdb.command("disconnect")
                    layers_end(layers)
                    break
                assert CLOSED in output and len(output.splitlines()) == 1, (faulty.struck, output)
                layers_end(layers)
                assert layers_of(gdb) == []
                assert "Connection: none" in gdb.status()
            guest.close()
        print(f"{way}: killed at {number} of {number} packets")
        assert number > 12


def cpu_time(pid: int) -> float:
    """The seconds of CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("door", "who", "command"),
    [
        ("wire", "gdb", "stepi 1000000"),
        pytest.param("wire", "gdb", "next 1000000", marks=pytest.mark.soak),
        ("wire", "layer", "stepi 1000000"),
        pytest.param("commands", "gdb", "stepi 1000000", marks=pytest.mark.soak),
    ],
)
def test_stopped_in_mid_step(
    gdb: Gdb,
    boot: Callable[..., Qemu],
    demo: Program,
    door: str,
    who: str,
    command: str,
    request: pytest.FixtureRequest,
) -> None:
    """SIGSTOP in the middle of a step, then SIGCONT: the command goes on, and Ctrl-C ends it."""
    seconds = min(60, 5 * request.config.getoption("soak"))
    to_work(gdb, boot(demo, steps=False).target, demo)
    layers = layers_of(gdb)
    pid = gdb.pid if who == "gdb" else layers[0]
    gdb.send(command)
    time.sleep(0.3)
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(1)
        before = [cpu_time(one) for one in layers]
        time.sleep(seconds - 1)
        spent = [cpu_time(one) - then for one, then in zip(layers, before)]
    finally:
        os.kill(pid, signal.SIGCONT)
    assert all(one < 0.1 for one in spent), spent
    time.sleep(0.3)
    output = gdb.interrupt()
    assert "SIGINT" in output or "Quit" in output, output
    assert "ppc-sstep" not in output and "warning" not in output, output
    all_is_well(gdb)
