# SPDX-License-Identifier: MIT
"""The rooms that deal with the watchpoints of one engine, and what needs several of them."""

from __future__ import annotations

from collections.abc import Callable

from ..ppc.dawr import OFF
from ..rsp.breakpoints import GdbBreakpoints
from ..rsp.resume import Resume
from ..stub.stub import Stub
from .alone import Alone
from .dawr import Dawr
from .hypercall import Hypercalls
from .ledger import Ledger
from .matches import Matches
from .past import Past
from .vcpu import Vcpu
from .vectors import Vectors
from .watching import Said, Watching
from .windows import Windows


class WatchRooms:
    """watching: what gdb asks for.  windows: the DAWR of each vCPU.  matches: catches matches."""

    def __init__(
        self,
        stub: Stub,
        vcpu: Vcpu,
        vectors: Vectors,
        gdbs: GdbBreakpoints,
        ledger: Ledger,
        past: Past,
        alone: Alone,
        log: Callable[..., None],
        tell: Callable[[str], None],
    ) -> None:
        """tell: called with a line for the user."""
        said = Said(tell)
        hypercalls = Hypercalls(stub, past, alone)
        dawr = Dawr(stub, vectors, alone, hypercalls, log)
        self.windows = Windows(stub, ledger, dawr, log, said.say)
        self.watching = Watching(stub, vectors, gdbs, self.windows, log, said)
        self.matches = Matches(
            stub,
            vcpu,
            vectors,
            ledger,
            self.watching,
            self.windows,
            past,
            hypercalls,
            alone,
            log,
            said,
        )

    @property
    def how(self) -> str:
        """How watchpoints are seen, or would be, in words."""
        how = self.watching.seen
        if not self.watching.by_dawr:
            return how
        return f"{how} on {', '.join(self.windows.threads)}, caught at {self.matches.how}"

    def begin(self, request: Resume) -> None:
        """gdb resumes: decide how its watchpoints are seen.  SstepError: they cannot be."""
        self.watching.begin(request)
        self.matches.begin(freely=request.stepping is None)

    def let_go(self) -> bool:
        """Take the windows away before the guest is let go; whether it may be let go.

        If not, a match is on its way to where it is caught, or a vCPU cannot be reached: the guest
        has to run on a little.
        """
        self.windows.begin(OFF)  # even if gdb's watchpoints are still inserted
        self.windows.disarm()
        self.matches.begin(freely=True)
        return not (self.windows.expect_matches or self.matches.are_coming)
