# SPDX-License-Identifier: MIT
"""tests/run --here with TCG in the place of KVM HV: this machine's own QEMU runs the guests.

The stub ignores steps as under KVM HV.  One test fails, because the accelerator is not KVM.  So the
report has a failed test as well as tests that passed.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from fixtures import here
from tests.harness.driver import ROOT

RUN = ROOT / "tests" / "run"
SELECTED = " or ".join(
    ("test_the_row_is_what", "test_500_steps_in", "test_mode_auto", "(test_kvm and steps and ail)")
)


@pytest.mark.linux
@pytest.mark.timeout(300)
def test_the_row_of_this_machine() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.here", f"--accel={here.TCG}", "-k", SELECTED],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
    )
    print(done.stdout, done.stderr)
    begin = "--- the report, for an issue ---\n"
    report = done.stdout.partition(begin)[2]
    assert "\n3 passed, 1 failed, 0 skipped, in " in report
    assert "### failed: test_kvm::test_mode_auto_knows_it\n" in report
    assert "assert 'the accelerator is KVM' in" in report
    passed = report.partition("### passed\n\n")[2].splitlines()
    assert passed == [
        "- test_kvm::test_transcript[endian=be-ail=3-steps]",
        "- test_kvm::test_the_row_is_what_it_says",
        "- test_kvm::test_500_steps_in_kernel_code",
    ]
    assert "- guest, as the tests saw it: Linux " in report
    assert done.returncode == 1


@pytest.mark.bare
def test_a_machine_that_cannot() -> None:
    lacks = here.lacking()
    if not lacks:
        pytest.skip("this machine can be a host of KVM HV")
    done = subprocess.run([RUN, "--here"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"tests/run --here: {lacks}\n"
    assert "ppc64le machine with /dev/kvm" in lacks
