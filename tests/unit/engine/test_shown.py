# SPDX-License-Identifier: MIT
"""The lines of `info ppc-sstep` and the text of a report, from data."""

from __future__ import annotations

from typing import Any

from gdb_ppc_sstep.engine.shown import described, lines, report
from gdb_ppc_sstep.options import Options

STATUS: dict[str, Any] = {
    "active": True,
    "runs_on": "KVM HV",
    "options": Options().to_text(),
    "vcpus": [{"thread": "p1.1", "what": "CPU#0 [running]"}, {"thread": "p1.2", "what": ""}],
    "msr": 0x8000000000001033,
    "order": "big",
    "ail": 3,
    "vector": 0xC000000000004D00,
    "watchpoints": "by DAWR",
    "steps": 12,
    "speed": {"milliseconds": 0.4321, "packets": 7.25, "requests": 9},
    "outstanding": [{"thread": "", "pc": 0x10}, {"thread": "p1.2", "pc": 0x20}],
}


def shown(**other: Any) -> list[str]:
    return list(lines({**STATUS, **other}))


def test_all_that_is_known() -> None:
    assert shown() == [
        "Guest runs on: KVM HV",
        "vCPUs: 2: p1.1 CPU#0 [running], p1.2",
        "Trace vector now: 0xc000000000004d00 (MSR[IR] and MSR[DR] both on)",
        "LPCR[AIL]: 3",
        "Byte order: big-endian (MSR[LE])",
        "Interrupts: a step goes into one that its instruction takes; those from outside wait",
        "Watchpoints: by DAWR",
        "Steps done: 12",
        "Last steps: 0.43 ms and 7.25 packets to the stub each",
        "Outstanding: the vCPU from 0x10, p1.2 from 0x20",
    ]


def test_what_is_not_known_has_no_line() -> None:
    status = {
        name: value for name, value in STATUS.items() if name not in ("vcpus", "vector", "order")
    }
    found = list(lines({**status, "problem": "no LPCR", "speed": None, "outstanding": []}))
    assert "Problem: no LPCR" in found
    assert found[-2:] == ["Last steps: none", "Outstanding: none"]
    assert not any(line.startswith(("vCPUs", "Trace vector", "LPCR")) for line in found)


def test_what_was_set_by_hand() -> None:
    options = {**STATUS["options"], "ail": "2", "interrupts": "over", "mask-interrupts": "off"}
    found = shown(options=options, ail=2)
    assert "LPCR[AIL]: 2 (set by hand)" in found
    how = "a step goes over one that its instruction takes; those from outside come first"
    assert f"Interrupts: {how}" in found


def test_many_vcpus_take_one_line() -> None:
    vcpus = [{"thread": f"p1.{n:x}", "what": ""} for n in range(1, 129)]
    (line,) = (line for line in shown(vcpus=vcpus) if line.startswith("vCPUs: "))
    assert line.startswith("vCPUs: 128: p1.1, p1.2, ") and line.endswith(", p1.10 and 112 more")


def test_a_report_says_first_what_it_has() -> None:
    text = report(1e9, {"Versions": ["a 1", "b 2"], "Packets": iter(())})
    head = " ".join(text.split("\n\n")[0].split())
    assert "written at 2001-09-09 01:46:40 UTC." in head and "the last 500 packets" in head
    assert "no memory contents but those that these packets carry" in head
    assert text.endswith("\n== Versions\na 1\nb 2\n\n== Packets\nnone\n")


def test_each_part_of_a_description_has_its_name() -> None:
    parts = {"target.xml": "<a>\n<b/>\n", "core.xml": "<c/>"}
    assert list(described(parts)) == ["-- target.xml", "<a>", "<b/>", "-- core.xml", "<c/>"]
