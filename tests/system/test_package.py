# SPDX-License-Identifier: MIT
"""What is installed: wheel, source distribution, manual page, and what docs/packaging.md says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.metadata import Metadata

from fixtures.bare_metal import Program
from fixtures.qemu import Qemu
from fixtures.registry import python_packages
from gdb_ppc_sstep.version import VERSION
from tests.harness.driver import ROOT, Gdb

pytestmark = pytest.mark.bare

one_worker = pytest.mark.xdist_group("package")  # it is built once

BUILD = ("build==1.6.1", "pyproject_hooks==1.3.3")
SHTAB = ("shtab==1.13.0",)

PARTS = ("gdb_ppc_sstep", "docs", "fixtures", "tests")
FILES = ("pyproject.toml", "MANIFEST.in", "README.md", "CHANGELOG.md", "LICENSE", "gdbinit.example")
NOT_SOURCES = shutil.ignore_patterns("__pycache__", "artefacts", "node_modules")


class Built(NamedTuple):
    """What `python -m build` has made, and what it has said."""

    wheel: Path
    sdist: Path
    said: str


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("package")
    for name in PARTS:
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=NOT_SOURCES)
    for name in FILES:
        shutil.copy(ROOT / name, folder / "source")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--outdir", folder / "dist", folder / "source"],
        env={**os.environ, "PYTHONPATH": str(python_packages("build", BUILD)), "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout
    (wheel,) = folder.glob("dist/*.whl")
    (sdist,) = folder.glob("dist/*.tar.gz")
    return Built(wheel, sdist, done.stdout)


def modules(folder: Path) -> set[str]:
    """The files of the package in a folder that holds it."""
    found = (folder / "gdb_ppc_sstep").rglob("*.py")
    return {path.relative_to(folder).as_posix() for path in found}


@one_worker
@pytest.mark.timeout(300)
def test_it_builds_clean(built: Built) -> None:
    assert "deprecated" not in built.said.lower(), built.said
    with zipfile.ZipFile(built.wheel) as wheel:
        names = set(wheel.namelist())
        assert {name for name in names if name.endswith(".py")} == modules(ROOT)
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        told = Metadata.from_email(wheel.read(metadata))  # which says what an index would refuse
    assert (told.name, str(told.version)) == ("gdb-ppc-sstep", VERSION)
    assert told.license_expression == "MIT" and told.requires_dist is None
    assert told.description == (ROOT / "README.md").read_text()
    assert any(name.endswith("/data/share/man/man1/gdb-ppc-sstep.1") for name in names)


@one_worker
@pytest.mark.timeout(300)
def test_the_source_distribution_has_all_of_it(built: Built) -> None:
    with tarfile.open(built.sdist) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    tests = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("*.py")}
    assert names >= {*modules(ROOT), *tests, *FILES}
    assert names >= {"docs/gdb-ppc-sstep.1", "docs/gdb-ppc-sstep.service", "tests/run"}


@one_worker
@pytest.mark.timeout(300)
def test_pip_install(tmp_path: Path, built: Built, guest: Qemu, demo: Program) -> None:
    """The program in a venv, its manual page, and the extension that its line loads."""
    venv.create(tmp_path / "venv", with_pip=True)
    programs = tmp_path / "venv" / "bin"
    subprocess.run([programs / "pip", "install", "-q", built.sdist], check=True, timeout=200)
    command = programs / "gdb-ppc-sstep"
    line = subprocess.check_output([command, "--gdbinit"], text=True).strip()
    assert str(tmp_path / "venv") in line and line.endswith("/gdb_ppc_sstep/__init__.py")
    version = subprocess.check_output([command, "--version"], text=True)
    assert version == f"gdb-ppc-sstep {VERSION}\n"
    python = str(programs / "python")
    by_module = subprocess.check_output(
        [python, "-m", "gdb_ppc_sstep", "--version"], text=True, cwd="/"
    )
    assert by_module == version
    page = tmp_path / "venv" / "share" / "man" / "man1" / "gdb-ppc-sstep.1"
    assert page.read_text() == (ROOT / "docs" / "gdb-ppc-sstep.1").read_text()
    installed = Path(line.partition(" ")[2]).parents[1]
    assert modules(installed) == modules(ROOT), "all subpackages"
    with Gdb(tmp_path, extension=False, arguments=(f"-iex={line}",)) as gdb:
        assert "stepping by the Trace interrupt" in gdb.connect(guest.target, demo.elf)
        gdb.command("tbreak work")
        gdb.command("continue")
        gdb.command("stepi 3")
        assert "Steps done: 3\n" in gdb.status()


def block_of(document: str, beginning: str) -> str:
    """The one line of a block in a document, if it begins so."""
    blocks = re.findall(r"^```(?:sh|text)\n(.*)\n```$", document, re.MULTILINE)
    lines: list[str] = [line for line in blocks if line.startswith(beginning)]
    assert len(lines) == 1, lines
    return lines[0]


@pytest.fixture
def document() -> str:
    return (ROOT / "docs" / "packaging.md").read_text()


def test_the_file_for_gdbinit_d(tmp_path: Path, document: str) -> None:
    """gdb runs such a file as `source` does, with the module where its Python looks."""
    file = tmp_path / "ppc-sstep.py"
    file.write_text(block_of(document, "import ") + "\n")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    arguments = (f"-iex=source {file}",)
    with Gdb(tmp_path, extension=False, arguments=arguments, environment=environment) as gdb:
        assert gdb.status().startswith("Settings: mode auto")


@pytest.mark.parametrize(
    ("words", "completions"),
    [
        (("--wa",), {"--wait", "--watchpoints"}),
        (("--interrupts", ""), {"into", "over"}),
        (("--listen", "1235", "--mask-interrupts", "of"), {"off"}),
    ],
)
def test_completion(
    words: tuple[str, ...], completions: set[str], tmp_path: Path, document: str
) -> None:
    """What docs/packaging.md has made when a package is built."""
    program, *arguments = block_of(document, "shtab ").split()
    script = tmp_path / "completion"
    environment = {
        **os.environ,
        "PYTHONPATH": f"{python_packages('shtab', SHTAB)}:{ROOT}",
    }
    command = [sys.executable, "-m", program, *arguments]
    script.write_text(subprocess.check_output(command, text=True, env=environment))
    bash = """
        . "$1"; shift
        function=$(complete -p gdb-ppc-sstep | grep -o -- '-F [a-z_]*' | cut -d' ' -f2)
        COMP_WORDS=(gdb-ppc-sstep "$@") COMP_CWORD=$#
        "$function" 2> /dev/null
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    said = subprocess.check_output(["bash", "-c", bash, "bash", script, *words], text=True)
    assert set(said.split()) == completions


def test_the_manual_page_is_well_formed() -> None:
    page = ROOT / "docs" / "gdb-ppc-sstep.1"
    done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", page], capture_output=True)
    assert (done.returncode, done.stdout) == (0, b"")


def test_a_fault_of_a_manual_page_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.1"
    page.write_text((ROOT / "docs" / "gdb-ppc-sstep.1").read_text().replace(".El\n", "", 1))
    done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", page], capture_output=True)
    assert done.returncode != 0
