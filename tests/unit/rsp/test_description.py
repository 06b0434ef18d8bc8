# SPDX-License-Identifier: MIT
"""Register numbers and sizes from target descriptions."""

from __future__ import annotations

import pytest

from gdb_ppc_sstep.rsp.description import Register, parse

HEAD = '<?xml version="1.0"?>\n<!DOCTYPE target SYSTEM "gdb-target.dtd">\n'

# The shape of QEMU 7.2's for a POWER9, shortened.
QEMU = {
    "target.xml": HEAD
    + "<target><architecture>powerpc:common64</architecture>"
    + '<xi:include href="power64-core.xml"/><xi:include href="power-fpu.xml"/>'
    + '<xi:include href="power-altivec.xml"/><xi:include href="power-spr.xml"/></target>',
    "power64-core.xml": HEAD
    + '<feature name="org.gnu.gdb.power.core">\n'
    + "".join(f'  <reg name="r{n}" bitsize="64" type="uint64"/>\n' for n in range(32))
    + '  <reg name="pc" bitsize="64" type="code_ptr" regnum="64"/>\n'
    + '  <reg name="msr" bitsize="64" type="uint64"/>\n'
    + '  <reg name="cr" bitsize="32" type="uint32"/>\n'
    + '  <reg name="lr" bitsize="64" type="code_ptr"/>\n'
    + '  <reg name="ctr" bitsize="64" type="uint64"/>\n'
    + '  <reg name="xer" bitsize="32" type="uint32"/>\n'
    + "</feature>",
    "power-fpu.xml": HEAD
    + '<feature name="org.gnu.gdb.power.fpu">\n'
    + '  <reg name="f0" bitsize="64" type="ieee_double" regnum="32"/>\n'
    + "".join(f'  <reg name="f{n}" bitsize="64" type="ieee_double"/>\n' for n in range(1, 32))
    + '  <reg name="fpscr" bitsize="32" group="float" regnum="70"/>\n'
    + "</feature>",
    "power-altivec.xml": HEAD
    + '<feature name="org.gnu.gdb.power.altivec">\n'
    + '  <vector id="v4i32" type="int32" count="4"/>\n'
    + '  <union id="vec128"><field name="v4_int32" type="v4i32"/></union>\n'
    + '  <reg name="vr0" bitsize="128" type="vec128"/>\n'
    + '  <reg name="vscr" bitsize="32" group="vector"/>\n'
    + "</feature>",
    "power-spr.xml": HEAD
    + '<feature name="org.qemu.power.spr">'
    + '<reg name="srr0" bitsize="64" regnum="178" group="spr"/>'
    + '<reg name="srr1" bitsize="64" regnum="179" group="spr"/>'
    + '<reg name="lpcr" bitsize="64" regnum="227" group="spr"/>'
    + "</feature>",
}


@pytest.mark.parametrize(
    ("name", "number", "bits"),
    [
        ("r0", 0, 64),
        ("r31", 31, 64),
        ("f0", 32, 64),
        ("f31", 63, 64),
        ("pc", 64, 64),
        ("msr", 65, 64),
        ("cr", 66, 32),
        ("lr", 67, 64),
        ("ctr", 68, 64),
        ("xer", 69, 32),
        ("fpscr", 70, 32),
        ("vr0", 71, 128),
        ("vscr", 72, 32),
        ("srr0", 0xB2, 64),
        ("srr1", 0xB3, 64),
        ("lpcr", 0xE3, 64),
    ],
)
def test_numbers_and_sizes_of_a_power9(name: str, number: int, bits: int) -> None:
    assert parse(QEMU.__getitem__)[name] == Register(number, bits // 8)


def test_nothing_but_registers_is_taken() -> None:
    assert len(parse(QEMU.__getitem__)) == 32 + 6 + 33 + 2 + 3


def only(text: str) -> dict[str, Register]:
    """The registers of a description in one file."""
    return parse({"target.xml": text}.__getitem__)


def test_implicit_numbers_start_at_zero_and_go_on_after_given_ones() -> None:
    text = (
        '<target><reg name="a" bitsize="64"/><reg name="b" bitsize="32"/>'
        '<reg name="c" bitsize="64" regnum="100"/><reg name="d" bitsize="8"/>'
        '<reg name="e" bitsize="64" regnum="50"/><reg name="f" bitsize="64"/></target>'
    )
    assert only(text) == {
        "a": Register(0, 8),
        "b": Register(1, 4),
        "c": Register(100, 8),
        "d": Register(101, 1),
        "e": Register(50, 8),
        "f": Register(51, 8),
    }


def test_implicit_numbers_go_on_across_files() -> None:
    files = {
        "target.xml": '<target><xi:include href="a.xml"/><reg name="m" bitsize="64"/>'
        '<xi:include href="b.xml"/><reg name="z" bitsize="64"/></target>',
        "a.xml": '<reg name="a" bitsize="64" regnum="7"/>',
        "b.xml": '<xi:include href="c.xml"/><reg name="b" bitsize="64"/>',
        "c.xml": '<reg name="c" bitsize="64"/>',
    }
    registers = parse(files.__getitem__)
    assert {name: register.number for name, register in registers.items()} == {
        "a": 7,
        "m": 8,
        "c": 9,
        "b": 10,
        "z": 11,
    }


@pytest.mark.parametrize(
    "tag",
    [
        '<reg name="srr0" bitsize="64" regnum="178"/>',
        "<reg name='srr0' bitsize='64' regnum='178'/>",
        "<reg regnum='178' bitsize=\"64\" name='srr0'/>",
        '<reg name = "srr0"\n  bitsize= "64"\n\tregnum ="178" ></reg>',
        '<reg name="srr0" bitsize="64" type="it\'s" save-restore="no" regnum="178"/>',
    ],
)
def test_quotes_spaces_and_order_do_not_matter(tag: str) -> None:
    assert only(f"<target>{tag}</target>") == {"srr0": Register(178, 8)}


@pytest.mark.parametrize("quote", ['"', "'"])
def test_include_in_either_quotes(quote: str) -> None:
    files = {
        "target.xml": f"<target><xi:include\n href={quote}a.xml{quote} parse='xml'/></target>",
        "a.xml": '<reg name="a" bitsize="64"/>',
    }
    assert parse(files.__getitem__) == {"a": Register(0, 8)}


def test_comments_are_no_registers_and_no_includes() -> None:
    text = (
        '<target><!-- <reg name="no" bitsize="64"/>\n<xi:include href="missing.xml"/> -->'
        '<reg name="yes" bitsize="64"/><!----><reg name="too" bitsize="64"/><!-- > --></target>'
    )
    assert only(text) == {"yes": Register(0, 8), "too": Register(1, 8)}


def test_tags_that_only_begin_like_reg_are_no_registers() -> None:
    assert only('<target><register name="no" bitsize="64"/></target>') == {}


def test_only_what_is_included_is_fetched() -> None:
    fetched = []

    def fetch(annex: str) -> str:
        fetched.append(annex)
        return QEMU[annex]

    parse(fetch)
    assert fetched == list(QEMU)


@pytest.mark.parametrize("cycle", ["target.xml", "a.xml"])
def test_description_that_includes_itself_ends(cycle: str) -> None:
    files = {
        "target.xml": '<reg name="first" bitsize="64" regnum="9"/><xi:include href="a.xml"/>',
        "a.xml": f'<reg name="second" bitsize="64"/><xi:include href="{cycle}"/>',
    }
    registers = parse(files.__getitem__)
    assert registers == {"first": Register(9, 8), "second": Register(10, 8)}


def test_the_same_file_may_be_included_twice_side_by_side() -> None:
    files = {
        "target.xml": '<xi:include href="a.xml"/><xi:include href="a.xml"/>'
        '<reg name="z" bitsize="64" regnum="40"/>',
        "a.xml": '<reg name="a" bitsize="64" regnum="5"/>',
    }
    assert parse(files.__getitem__) == {"a": Register(5, 8), "z": Register(40, 8)}


def test_description_without_registers() -> None:
    assert only("<target><architecture>powerpc:common64</architecture></target>") == {}


def test_a_register_that_a_later_qemu_names_otherwise() -> None:
    """PID, by which tasks are told apart: `pidr` in QEMU 10.0."""
    text = '<target><reg name="pidr" bitsize="64" regnum="180"/></target>'
    assert only(text) == {"pid": Register(180, 8)}
