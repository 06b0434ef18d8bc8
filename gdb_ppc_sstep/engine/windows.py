# SPDX-License-Identifier: MIT
"""The DAWR of each vCPU: which vCPUs have our window, and whether the guest uses its own."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import StubRefused, Unsettled
from ..ppc.access import Access
from ..ppc.dawr import OFF, Window
from ..rsp.resume import Resume
from ..stub.stub import Stub
from .dawr import Dawr
from .hypercall import Unsure
from .ledger import Ledger
from .steps import thread_name


class Windows:
    """The windows of one guest.  What was written is in the ledger.

    now: the window for the vCPUs that run, OFF for none.  left: by thread, the pc at which its
    window was taken away: it may be on its way to where a match is caught.  changed: whether the
    guest had changed any DAWR when gdb resumed it the last time: it may be another kernel by now.
    """

    def __init__(
        self,
        stub: Stub,
        ledger: Ledger,
        dawr: Dawr,
        log: Callable[..., None],
        say: Callable[[str], None],
    ) -> None:
        """say: called with a line for the user, who is told it once."""
        self._stub = stub
        self._ledger = ledger
        self._dawr = dawr
        self._log = log
        self._say = say
        self.now = OFF
        self.changed = False
        self.left: dict[bytes | None, int] = {}
        self._threads: list[bytes] = []
        self._blind: bytes | None = None
        self._unsure: set[bytes | None] = set()  # threads that may not have what the ledger says
        self._taken: set[bytes | None] = set()  # threads whose DAWR the guest uses itself

    # -- what they tell

    @property
    def expect_matches(self) -> bool:
        """Whether a vCPU that runs may have a match."""
        return self.now.matches or any(one.matches for one in self._ledger.windows.values())

    @property
    def threads(self) -> list[str]:
        """The names of the threads that have the window `now`, or had it until they stopped."""
        windows = self._ledger.windows.items()
        return [
            thread_name(thread)
            for thread, window in windows
            if window.address == self.now.address or not self.now.matches
        ]

    def may_have(self, thread: bytes | None, dar: int) -> bool:
        """Whether a match of this thread, which is selected, may be one of our window.

        dar: the DAR of the match; it may be beside the window, where the guest may have a window
        itself.
        """
        window = self._ledger.windows.get(thread)
        if window is None or thread in self._taken or not window.is_near(dar):
            return False
        return window.has(dar, 1) or self._dawr.given() in (None, window)

    def has_had(self, thread: bytes | None, done: Access) -> bool:
        """Whether an access is in a thread's window, or near the one that was taken away."""
        window = self._ledger.windows.get(thread, OFF)
        if window.matches:
            return window.has(done.address, done.length)
        return window != OFF and window.is_near(done.address)

    def given(self) -> Window | None:
        """The selected thread's DAWR0 and DAWRX0: see `Dawr.given`."""
        return self._dawr.given()

    def honours(self, wanted: Window) -> bool:
        """Whether the host makes use of such a window.  StubRefused: that cannot be found out."""
        known = self._dawr.known(wanted)
        if known is not None:
            return known
        selected = self._stub.thread
        try:
            # Try a thread whose DAWR the stub gives, if any: QEMU 7.2 gives that of the first one.
            for thread in dict.fromkeys([selected, *self._all()]):
                self._stub.select(thread)
                if self._dawr.given() is not None:
                    break
            else:
                self._stub.select(selected)
            return self._dawr.prove(wanted)
        finally:
            self._stub.select(selected)

    # -- before the guest runs

    def begin(self, window: Window) -> None:
        """gdb resumes: the vCPUs that run are to have this window."""
        self.now, self._blind = window, None

    def look(self) -> None:
        """Find out which DAWR the guest has written since we did, and tell the user."""
        selected, self.changed = self._stub.thread, False
        try:
            for thread, window in list(self._ledger.windows.items()):
                self._stub.select(thread)
                found = self._dawr.given()
                if found is None or found == window or not (found.matches or window.matches):
                    continue
                self._log("{}: DAWR is {:#x} {:#x}", thread_name(thread), *found)
                self._ledger.watch(thread, found._replace(control=0))
                self.changed = True
                if not self._is_taken(thread, found):
                    who = thread_name(thread)
                    self._say(f"the guest has cleared the DAWR of {who}; it is armed again")
        finally:
            self._stub.select(selected)

    def _is_taken(self, thread: bytes | None, found: Window) -> bool:
        """Whether the guest uses the DAWR of a vCPU for itself; we leave it alone then."""
        if not found.matches:
            self._taken.discard(thread)
            return False
        self._taken.add(thread)
        self._say(
            f"the guest has set the DAWR of {thread_name(thread)} for itself; "
            "the watchpoints do not see this vCPU until it is free again"
        )
        return True

    def spare(self, thread: bytes | None) -> None:
        """Let this thread run without a window: its next access is known, and is in the window."""
        self._blind = thread

    def arm(self, request: Resume) -> None:
        """The guest is about to run: write the window `now` to the vCPUs that will run."""
        if not self.expect_matches:
            return
        selected = self._stub.thread
        for thread in self._running(request):
            wanted = OFF if thread == self._blind else self.now
            have = self._ledger.windows.get(thread, OFF)
            is_as_wanted = have == wanted and thread not in self._unsure
            if is_as_wanted or not (have.matches or wanted.matches):
                continue
            self._stub.select(thread)
            if thread not in self._ledger.windows or thread in self._taken:
                found = self._dawr.given()
                if found is not None and self._is_taken(thread, found):
                    continue
            self._write(thread, wanted)
        self._stub.select(selected)

    def _running(self, request: Resume) -> list[bytes | None]:
        """The threads that a resume lets run."""
        if request.alone is not None:
            return [request.alone]
        return [*self._all()] or [self._stub.thread]

    def _all(self) -> list[bytes]:
        """All threads.  The stub is asked for them when one is selected that was not among them."""
        if self._stub.thread not in self._threads:
            self._threads = self._stub.threads()
        return self._threads

    def _write(self, thread: bytes | None, wanted: Window) -> None:
        """Write the selected thread's window, or tell the user why it has none."""
        ledger = self._ledger
        have = ledger.windows.get(thread, OFF)
        if wanted.matches:
            ledger.watch(thread, wanted)
        try:
            self._dawr.write(wanted, have)
            self._stub.send_queued()
        except StubRefused as refused:
            self._unsure.add(thread)
            if isinstance(refused, Unsettled):
                raise
            if not isinstance(refused, Unsure):
                ledger.watch(thread, have)
            self._say(f"the watchpoints do not see {thread_name(thread)}: {refused}")
            return
        self._unsure.discard(thread)
        if wanted.matches:
            self.left.pop(thread, None)
        else:
            ledger.watch(thread, have._replace(control=0))
            self.left[thread] = self._stub.read("pc")

    # -- taken away

    def disarm_selected(self) -> None:
        """Take the window from the selected thread, which is about to run alone without a match."""
        thread = self._stub.thread
        if self._ledger.windows.get(thread, OFF).matches:
            self._write(thread, OFF)

    def disarm(self) -> None:
        """Take our windows from all vCPUs, as the guest is let go."""
        for thread, window in list(self._ledger.windows.items()):
            if window.matches:
                self._stub.select(thread)
                self._write(thread, OFF)
