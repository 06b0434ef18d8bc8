# SPDX-License-Identifier: MIT
"""libvirt as an ordinary user has it: the daemon of a session, and virsh."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from fixtures.closing import Closing
from fixtures.qemu import wait_for

URI = "qemu:///session?mode=legacy"  # the one daemon, where a system may have one per driver
NOBODY = 65534  # Debian's number of the user nobody and of its group
_DAEMON = "libvirtd"


class Libvirt(Closing):
    """A session's daemon in a home folder of its own; its guests end with the `with` block.

    For root it runs as the user nobody, because root's daemon would be the system's.  folder: where
    to put the files that its guests read.
    """

    def __init__(self) -> None:
        self._home = Path(tempfile.mkdtemp(prefix="libvirt-"))
        self.folder = self._home / "files"
        self._guests: set[str] = set()
        self._environment = {
            "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin",
            "LC_ALL": "C.UTF-8",
            "HOME": str(self._home),
            "XDG_CONFIG_HOME": str(self._home),
            "XDG_RUNTIME_DIR": str(self._home),
        }
        self.folder.mkdir()
        self._state = self._home / "libvirt"
        self._state.mkdir()
        # Else a second daemon writes the guests' logs, and stays for two minutes.
        (self._state / "qemu.conf").write_text('stdio_handler = "file"\n')
        self._as_user: list[str] = ["setpriv", "--pdeathsig", "TERM"]
        if os.getuid() == 0:
            self._as_user += [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
            for folder in (self._home, self.folder, self._state):
                os.chown(folder, NOBODY, NOBODY)
        self._log = self._home / "daemon.log"
        with self._log.open("wb") as log:
            self._daemon = subprocess.Popen(
                [*self._as_user, _DAEMON],
                cwd="/",
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            wait_for(self._is_up, f"{_DAEMON}, which said {self._log}", 20)
        except BaseException:
            self.close()
            raise

    def _is_up(self) -> bool:
        said = self._log.read_text(errors="replace")
        assert self._daemon.poll() is None, f"{_DAEMON} has ended: {said}"
        return (self._state / "libvirt-sock").exists()

    def put(self, file: Path) -> Path:
        """Copy a file to where guests can read it.  Returns the copy's path."""
        return Path(shutil.copyfile(file, self.folder / file.name))

    def virsh(self, *words: str | Path) -> str:
        """Run a virsh command, which must succeed.  Returns what it prints."""
        command: Sequence[str | Path] = [*self._as_user, "virsh", "-c", URI, *words]
        done = subprocess.run(
            command, env=self._environment, cwd="/", capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, f"virsh {words}: {done.stderr}"
        return done.stdout.strip()

    def define(self, name: str, xml: str) -> str:
        """Define a guest with this name and XML.  Returns what virsh prints."""
        description = self.folder / f"{name}.xml"
        description.write_text(xml)
        said = self.virsh("define", description)
        self._guests.add(name)
        return said

    def close(self) -> None:
        """End the guests and the daemon, and remove the home folder."""
        try:
            for name in self._guests:
                pid = self._state / f"qemu/run/{name}.pid"
                with suppress(FileNotFoundError):  # the guest has not been started
                    self._end(int(pid.read_text()))
        finally:
            self._daemon.terminate()
            try:
                self._daemon.wait(20)
            except subprocess.TimeoutExpired:
                self._daemon.kill()
                self._daemon.wait()
            shutil.rmtree(self._home, ignore_errors=True)

    @staticmethod
    def _end(pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not Path(f"/proc/{pid}").exists(), f"the end of QEMU {pid}", 10)
