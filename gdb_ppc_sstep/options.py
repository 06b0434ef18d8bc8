# SPDX-License-Identifier: MIT
"""The options: how the user wants steps to be done, and how each option is spelt.  Pure.

`set ppc-sstep NAME VALUE`, the options of `gdb-ppc-sstep`, and the packets that carry options to
the layer all use the same names and values.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from .errors import BadPacket


class Interrupts(enum.Enum):
    """What a step shows of an interrupt that its instruction takes instead of completing."""

    INTO = "into"  # the first instruction of the handler, as native stepping does
    OVER = "over"  # the place that the handler returns to


class Watchpoints(enum.Enum):
    """How a watchpoint is seen to be hit."""

    AUTO = "auto"  # by the stub where it can, else by DAWR, else by steps
    DAWR = "dawr"  # by the guest's own DAWR, or not at all
    STEP = "step"  # by steps
    OFF = "off"  # by the stub, or not at all


AIL = {"auto": None, "0": 0, "2": 2, "3": 3}
"""The values that the user can set for LPCR[AIL]; None: it is read from LPCR."""

SWITCH = {"off": False, "on": True}


class Options(NamedTuple):
    """How the engine steps.

    ail: LPCR[AIL] as the user has set it (0, 2 or 3), None where it is read from LPCR.
    mask_interrupts: whether MSR[EE] is cleared for a step, so that no interrupt from outside comes
    first.
    """

    ail: int | None = None
    interrupts: Interrupts = Interrupts.INTO
    mask_interrupts: bool = True
    watchpoints: Watchpoints = Watchpoints.AUTO

    def to_text(self) -> dict[str, str]:
        """All options as text, by name."""
        return {
            "ail": "auto" if self.ail is None else str(self.ail),
            "interrupts": self.interrupts.value,
            "mask-interrupts": "on" if self.mask_interrupts else "off",
            "watchpoints": self.watchpoints.value,
        }

    def with_text(self, name: str, value: str) -> Options:
        """These options with one of them set from text.  BadPacket: no such name or value."""
        try:
            if name == "ail":
                return self._replace(ail=AIL[value])
            if name == "interrupts":
                return self._replace(interrupts=Interrupts(value))
            if name == "mask-interrupts":
                return self._replace(mask_interrupts=SWITCH[value])
            if name == "watchpoints":
                return self._replace(watchpoints=Watchpoints(value))
        except (KeyError, ValueError):
            raise BadPacket(f"{name} cannot be {value!r}") from None
        raise BadPacket(f"there is no option {name!r}")
