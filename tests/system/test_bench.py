# SPDX-License-Identifier: MIT
"""tests/bench works and its sides agree.  Its times are for people to judge, not for tests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fixtures.kvm_hv import AnyHost
from fixtures.qemu import Qemu
from gdb_ppc_sstep.rsp.framing import frame
from tests.harness import benchmark
from tests.harness.cases import CASES, Case
from tests.harness.floor import Steps, Stops
from tests.harness.relay import Relay
from tests.harness.results import Results
from tests.harness.seats import KvmGuests
from tests.harness.side import Failed

pytestmark = pytest.mark.bare

STOPS = "stop at a breakpoint 20 times under KVM HV"


def test_the_sides_agree(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    assert benchmark.main(["--quick", "--json", str(report), "next", "condition"]) == 0
    written = json.loads(report.read_text(encoding="utf-8"))
    assert written["failed"] == {}
    for case in ("next over 100 lines", "condition false 500 times"):
        for what in ("seconds", "packets", "exchanges"):
            assert set(written[what][case]) == {"native", "wire", "commands"}
    assert written["about"]["gdb"].startswith("GNU gdb")


def test_what_a_relay_counts(guest: Qemu) -> None:
    """Bytes outside packets do not count, and packets that are sent at once are one exchange."""
    with Relay(guest.connect) as relay, relay.connect() as client:
        for burst, total in (
            ((b"?",), (1, 1)),
            ((b"qC", b"m0,4", b"m4,4"), (4, 2)),
            ((b"Hg0",), (5, 3)),
        ):
            client.sendall(b"+" + b"".join(map(frame, burst)))
            assert relay.counts() == total
        client.sendall(b"+")
        assert relay.counts() == (5, 3)


def test_a_side_that_differs_is_a_failure(tmp_path: Path) -> None:
    """The command does another step in ours than natively, so the registers differ."""
    ours = "import sys; ours = 'gdb_ppc_sstep.load' in sys.modules"
    step = "gdb.execute('stepi 2' if ours else 'stepi')"
    case = Case("differs", "loop", (f"python {ours}; {step}",))
    with pytest.raises(Failed, match="wire and native differ"):
        benchmark.measure(case, tmp_path, 1, Results())


@pytest.mark.kvm
@pytest.mark.timeout(600)
def test_the_floor_goes_the_same_way(tmp_path: Path, host: AnyHost) -> None:
    """Under KVM HV all sides use one guest; a floor that ends elsewhere is a failure."""
    results = Results()
    steps, stops = (
        case for case in CASES if case.name in ("stepi under KVM HV", STOPS) and case.kvm
    )
    assert isinstance(stops.least, Stops)
    with KvmGuests(tmp_path, host) as guests:
        for case in (steps, stops):
            benchmark.measure(case, tmp_path, 1, results, guests)
            assert set(results.medians()[case.name]) == {"floor", "wire", "commands"}
        assert results.counted[steps.name]["floor"].packets == 7.3
        short = steps._replace(least=Steps(9))
        with pytest.raises(Failed, match="wire and floor differ"):
            benchmark.measure(short, tmp_path, 1, results, guests)
    assert "wire/f" in results.table()


def test_native_is_computed_where_it_would_take_minutes(tmp_path: Path) -> None:
    """Native gets to the same place by other commands, and its registers are compared as well."""
    results = Results()
    results.add("short", "native", 2.0)
    there = ("tbreak +1", "continue")
    case = Case("long", "loop", ("next",), ("next",), as_long_as=(100, "short"), instead=there)
    benchmark.measure(case, tmp_path, 1, results)
    assert results.medians()["long"]["native"] == 200
    assert "long (native computed)" in results.table()
    elsewhere = case._replace(instead=("stepi",))
    with pytest.raises(Failed, match="wire and native differ"):
        benchmark.measure(elsewhere, tmp_path, 1, results)
