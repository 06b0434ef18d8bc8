# SPDX-License-Identifier: MIT
"""python3 -m tests.step_cost: what a step costs in our Python and in packets, without gdb and QEMU.

Each case is run on the simulated machine (tests/unit/machine.py).  `--tree PATH` also measures the
product of another checkout, in turn with this one in the same run; the last columns compare both.

The columns are per step:
  packets    sent to the stub.
  exchanges  how often the engine waited for the stub: a burst counts as one.
  calls      of Python functions, and `bytecodes` executed.  Both are exact, so a difference comes
             from the code.  They do not show the time that a C function takes.
  us         microseconds of our Python.  A case is repeated with the same steps.  Of each step the
             shortest time counts, so other load of this machine matters little.

The time, the calls and the bytecodes do not include those of the simulated machine.

Each round measures a tree in a new process, because the places of things in memory make a
difference of some percent from one process to the next.  Of equal trees, on a busy machine with two
CPUs, the median of the rounds' ratios was within 1.5 percent, the ratio of the shortest times
within 3.5.

That process runs this file, also for another tree.  So this file must import the product by `_find`
only.  What depends on the product's interface is in `_Adapter`.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import pkgutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = "gdb_ppc_sstep"

WARM = 8
"""Steps before those that are measured; they take the costs that only the first steps have."""

BATCHES = 5
"""How often one process repeats the steps of a case."""

ROUNDS = 15
STEPS = 64

STEP = b"vCont;s:p1.1;c:p1.-1"


class Case(NamedTuple):
    """What is stepped, and how.

    defers: whether steps are undone later, as in the layer, or at once.  ahead: with `defers`,
    whether the next step is armed ahead, as in the middle of `stepi N`; else gdb asks for all
    registers, as at the command's end.  words: names of `_code`'s instructions, which the program
    repeats.  ranges: whether one `vCont;r` runs all of them.  breakpoints: how many gdb has planted
    elsewhere.
    """

    name: str
    words: tuple[str, ...] = ("addi", "nop")
    defers: bool = True
    ahead: bool = False
    ranges: bool = False
    kvm: bool = False
    breakpoints: int = 0


LOOP = ("li", "mtctr", "addi", "bdnz")
"""Two instructions, and a loop of two instructions that runs three times."""

CASES = (
    Case("stepi, undone at once", defers=False),
    Case("load, undone at once", words=("lbz",), defers=False),
    Case("stepi, deferred"),
    Case("stepi N, armed ahead", ahead=True),
    Case("load, armed ahead", words=("lbz",), ahead=True),
    Case("stepi N, 1000 breakpoints", ahead=True, breakpoints=1000),
    Case("range over a loop", words=LOOP, ranges=True),
    Case("range over a loop, ahead", words=LOOP, ranges=True, ahead=True),
    Case("stepi, KVM", kvm=True),
    Case("load, KVM", words=("lbz",), kvm=True),
    Case("range over a loop, KVM", words=LOOP, ranges=True, kvm=True),
)


class Cost(NamedTuple):
    """What the measured steps of one case cost together.

    times: nanoseconds of each step, the shortest of all repetitions.  rounds: for each process, the
    sum of the shortest times of its steps.
    """

    packets: int
    exchanges: int
    calls: int
    bytecodes: int
    times: list[int]
    rounds: list[int]

    @property
    def microseconds(self) -> float:
        """The time of one step, on average."""
        return sum(self.times) / len(self.times) / 1000


# -- in the process of one tree


def _find(name: str, *places: str) -> Any:
    """What a tree's product defines under a name, in these modules or packages; None: nothing."""
    for place in places:
        try:
            found = importlib.import_module(f"{PRODUCT}.{place}")
        except ModuleNotFoundError as error:
            if error.name != f"{PRODUCT}.{place}":
                raise
            continue
        inner = pkgutil.iter_modules(getattr(found, "__path__", []), f"{found.__name__}.")
        for module in [found, *(importlib.import_module(one.name) for one in inner)]:
            if getattr(getattr(module, name, None), "__module__", None) == module.__name__:
                return getattr(module, name)
    return None


def _needed(name: str, *places: str) -> Any:
    found = _find(name, *places)
    if found is None:
        raise SystemExit(f"step_cost: no {name} in {places} of {os.getcwd()}: see _Adapter")
    return found


class _MeasuredLink:
    """A link that counts packets, and that measures the time in the link, to be subtracted.

    inside: whether the simulated machine runs now; the calls in it do not count.
    """

    def __init__(self, link: Any) -> None:
        self._link = link
        self.packets = self.exchanges = self.nanoseconds = 0
        self.inside = False

    def _do(self, packets: int, what: Callable[..., Any], *arguments: Any) -> Any:
        start = time.perf_counter_ns()
        self.inside = True
        try:
            return what(*arguments)
        finally:
            self.packets += packets
            self.exchanges += packets > 0
            self.inside = False
            self.nanoseconds += time.perf_counter_ns() - start

    def call(self, payload: bytes) -> bytes:
        """See the product's `Link`."""
        reply: bytes = self._do(1, self._link.call, payload)
        return reply

    def begin(self, payloads: Sequence[bytes]) -> Callable[[], list[bytes]]:
        """See the product's `Link`."""
        replies: Callable[[], list[bytes]] = self._do(len(payloads), self._link.begin, payloads)
        return replies

    def resume(self, payload: bytes) -> bytes:
        """See the product's `Link`."""
        stop: bytes = self._do(1, self._link.resume, payload)
        return stop

    def interrupted(self) -> bool:
        """See the product's `Link`."""
        asked: bool = self._do(0, self._link.interrupted)
        return asked


class _Adapter:
    """The product of a tree with a machine: the interface of today, or that of commit d0e66ec.

    It tries each new interface first, and then the old one.
    """

    def __init__(self, case: Case, machine: Any, link: _MeasuredLink) -> None:
        self.case = case
        self.parse_resume = _needed("parse_resume", "rsp")
        self.stub = self._stub(machine, link)
        self.stub.select(b"p1.1")
        asks = self.stub.asks
        self.prefetch = (asks["pc"], asks["r1"], asks["lr"]) if case.ahead else (b"g",)
        elsewhere = [0xC000000000100000 + 64 * n for n in range(case.breakpoints)]
        machine.breakpoints.update(elsewhere)
        undo = _find("Undo", "engine")
        self.old = undo is None
        if self.old:
            self.engine = self._old_engine(elsewhere)
        else:
            self.engine = self._engine(undo, elsewhere)

    def _stub(self, machine: Any, link: _MeasuredLink) -> Any:
        kvm_stub = _find("KvmStub", "stub") if self.case.kvm else None
        if kvm_stub is not None:
            return kvm_stub(link, machine.registers())
        stub = _needed("Stub", "stub")
        if self.case.kvm:
            return stub(link, machine.registers(), kvm=True)
        return stub(link, machine.registers())

    def _engine(self, undo: Any, elsewhere: list[int]) -> Any:
        breakpoint_ = _needed("Breakpoint", "rsp")
        planted = _needed("GdbBreakpoints", "rsp")(breakpoint_(0, at, 4) for at in elsewhere)
        written = _needed("written", "engine")
        return _needed("Engine", "engine")(
            self.stub,
            lambda line, *values: None,
            breakpoints=planted,
            journal=written,
            undo=undo.DEFER if self.case.defers else undo.AT_ONCE,
        )

    def _old_engine(self, elsewhere: list[int]) -> Any:
        engine = _needed("Engine", "engine")(self.stub, lambda line, *values: None)
        written = _needed("written", "record")
        engine.note = lambda: written(engine)
        engine.breakpoints = {b"0,%x,4" % at: at for at in elsewhere}
        engine.defers = self.case.defers
        return engine

    def stepping(self) -> Callable[[Any], Any]:
        """A function that does a step and then what the layer does; it returns the stop."""
        engine, prefetch, ahead = self.engine, self.prefetch, self.case.ahead

        def at_once(request: Any) -> Any:
            return engine.resume(request).stop

        def at_once_old(request: Any) -> Any:
            return engine.resume(request)

        def deferred(request: Any) -> Any:
            stop = engine.resume(request, prefetch).stop
            engine.look_ahead(prefetch)
            engine.prepare(request, arm=ahead)
            return stop

        def deferred_old(request: Any) -> Any:
            engine.asked_next = prefetch
            stop = engine.resume(request)
            engine.look_ahead()
            engine.prepare(request, arm=ahead)
            return stop

        if self.case.defers:
            return deferred_old if self.old else deferred
        return at_once_old if self.old else at_once

    def quiesce(self) -> None:
        """Have the engine leave the guest as another client may see it."""
        if hasattr(self.engine, "quiesce"):
            self.engine.quiesce()
        else:
            self.engine.rest()


def _code(m: Any, names: Sequence[str]) -> list[int]:
    """The words of these instructions, for the simulated machine."""
    words = {
        "addi": m.addi(4, 4, 1),
        "nop": m.NOP,
        "lbz": m.lbz(5, 6),
        "li": m.addi(7, 0, 3),
        "mtctr": m.mtspr("ctr", 7),
        "bdnz": m.bdnz(-4),
    }
    return [words[name] for name in names]


class _Batch:
    """One run of a case's steps, on a new machine."""

    def __init__(self, case: Case, steps: int) -> None:
        m = importlib.import_module("tests.unit.machine")
        machine = m.Machine()
        machine.kvm = case.kvm
        words, count = _code(m, case.words), WARM + steps
        blocks = count if case.ranges else -(-count // len(words))
        # The last step prepares for one more.
        machine.put(m.TEXT, *words * (blocks + 1), *[m.SELF] * 64)
        self.link = _MeasuredLink(m.FakeLink(machine))
        adapter = self._adapter = _Adapter(case, machine, self.link)
        size = 4 * len(words) if case.ranges else 4
        places = range(m.TEXT, m.TEXT + size * count, size)
        packets = [STEP] * count
        if case.ranges:
            packets = [b"vCont;r%x,%x:p1.1;c:p1.-1" % (at, at + size) for at in places]
        requests = [adapter.parse_resume(packet) for packet in packets]
        self._step = adapter.stepping()
        self._machine, self._end = machine, m.TEXT + size * count
        self._requests = requests[WARM:]
        for request in requests[:WARM]:
            self._step(request)
        self.link.packets = self.link.exchanges = 0

    def _check(self) -> None:
        """Assert that the guest is where the steps lead: what is fast by not stepping fails."""
        self._adapter.quiesce()
        assert self._machine.cpu["pc"] == self._end, hex(self._machine.cpu["pc"])
        assert not {at for at in self._machine.planted if at < 0xC000000000100000}

    def times(self) -> list[int]:
        """Do the steps.  Returns the nanoseconds of each."""
        step, link, times = self._step, self.link, list[int]()
        for request in self._requests:
            link.nanoseconds = 0
            start = time.perf_counter_ns()
            stop = step(request)
            times.append(time.perf_counter_ns() - start - link.nanoseconds)
            assert stop.signal == 5, stop
        self.packets, self.exchanges = link.packets, link.exchanges
        self._check()
        return times

    def counts(self) -> tuple[int, int]:
        """Do the steps.  Returns their calls and bytecodes, but for this file's and the link's."""
        calls = bytecodes = 0

        def within(_frame: FrameType, event: str, _argument: Any) -> Any:
            nonlocal bytecodes
            bytecodes += event == "opcode"
            return within

        def called(frame: FrameType, _event: str, _argument: Any) -> Any:
            nonlocal calls
            if self.link.inside or frame.f_code.co_filename == __file__:
                return None
            calls += 1
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
            return within

        sys.settrace(called)
        try:
            for request in self._requests:
                self._step(request)
        finally:
            sys.settrace(None)
        self._check()
        return calls, bytecodes


def _measured(case: Case, steps: int, *, count: bool) -> dict[str, Any]:
    counted = _Batch(case, steps)
    # Without `count` the steps are run as well, to fill the caches.
    calls, bytecodes = counted.counts() if count else (len(counted.times()), 0)
    shortest: list[int] = []
    for _ in range(BATCHES):
        batch = _Batch(case, steps)
        gc.collect()
        times = batch.times()
        shortest = list(map(min, shortest, times)) if shortest else times
    return {
        "packets": batch.packets,
        "exchanges": batch.exchanges,
        "calls": calls,
        "bytecodes": bytecodes,
        "times": shortest,
    }


def _work(tree: str) -> None:
    """Measure for the parent: answer each line of stdin, [case, steps, count], with a line."""
    sys.path[0] = tree
    product = importlib.import_module(PRODUCT).__file__
    assert product is not None and Path(product).is_relative_to(tree), product
    gc.disable()
    for line in sys.stdin:
        number, steps, count = json.loads(line)
        print(json.dumps(_measured(CASES[number], steps, count=count)), flush=True)


# -- in the process that starts these


class _Worker:
    """A process that measures one tree."""

    def __init__(self, tree: Path) -> None:
        # Python writes nothing to the tree, and sets have the same order in all processes.
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"}
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--worker", str(tree)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=tree,
            env=environment,
        )

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.communicate()

    def measured(self, number: int, steps: int, *, count: bool) -> dict[str, Any]:
        """The costs of a case in this process.  RuntimeError: it failed (its stderr says why)."""
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps([number, steps, count]), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{CASES[number].name}: not measured")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _merged(one: Cost | None, measured: dict[str, Any]) -> Cost:
    if one is None:
        return Cost(**measured, rounds=[sum(measured["times"])])
    packets, exchanges = measured["packets"], measured["exchanges"]
    assert (one.packets, one.exchanges) == (packets, exchanges), "the same steps differ"
    times = list(map(min, one.times, measured["times"]))
    return one._replace(times=times, rounds=[*one.rounds, sum(measured["times"])])


def measure(trees: Sequence[Path], rounds: int, steps: int) -> list[dict[str, Cost]]:
    """Measure all cases on each tree.  Returns the costs of each tree, by the names of cases.

    rounds: processes per tree.  steps: how many steps of each case are measured.
    """
    costs: list[dict[str, Cost]] = [{} for _ in trees]
    for turn in range(rounds):
        with ExitStack() as stack:
            workers = [stack.enter_context(_Worker(tree)) for tree in trees]
            for number, case in enumerate(CASES):
                order = list(zip(workers, costs))
                for worker, by_case in order if turn % 2 else reversed(order):
                    measured = worker.measured(number, steps, count=turn == 0)
                    by_case[case.name] = _merged(by_case.get(case.name), measured)
    return costs


def table(costs: Sequence[dict[str, Cost]], steps: int) -> Iterator[str]:
    """The lines of the table; of two trees the second is the one to compare with."""
    columns = ("packets", "exchanges", "calls", "bytecodes", "us")
    head = "".join(f"{name:>11}" for name in columns)
    both = f"{'us then':>11}{'us ratio':>10}{'rounds':>8}{'bytecodes':>11}{'packets':>9}"
    yield f"{'per step':28}{head}" + (both if len(costs) > 1 else "")
    for case in CASES:
        one = costs[0][case.name]
        exact = (one.packets, one.exchanges, one.calls, one.bytecodes)
        line = f"{case.name:28}" + "".join(f"{count / steps:11.2f}" for count in exact)
        line += f"{one.microseconds:11.2f}"
        if len(costs) > 1:
            other = costs[1][case.name]
            rounds = statistics.median(a / b for a, b in zip(one.rounds, other.rounds))
            line += f"{other.microseconds:11.2f}{one.microseconds / other.microseconds:10.3f}"
            line += f"{rounds:8.3f}{one.bytecodes / other.bytecodes:11.3f}"
            line += f"{one.packets / other.packets:9.3f}"
        yield line


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        prog="python3 -m tests.step_cost",
        description="What a step costs in Python and in packets, on the simulated machine.",
    )
    parser.add_argument("--tree", type=Path, help="another checkout, to compare with")
    parser.add_argument(
        "--repeats", type=int, default=ROUNDS, help=f"processes per tree (default {ROUNDS})"
    )
    parser.add_argument("--steps", type=int, default=STEPS, help=f"per case (default {STEPS})")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker is not None:
        _work(options.worker)
        return
    if options.repeats < 1 or options.steps < 1:
        parser.error("--repeats and --steps are 1 or more")
    trees = [ROOT] if options.tree is None else [ROOT, options.tree.resolve()]
    for line in table(measure(trees, options.repeats, options.steps), options.steps):
        print(line)
    if options.tree is not None:
        print("us ratio: of the shortest times; rounds: the median of the ratios of each round.")


if __name__ == "__main__":
    main()
