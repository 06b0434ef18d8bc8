# SPDX-License-Identifier: MIT
"""Runs inside gdb: `Replay` steps through generated programs and writes down every register.

Most steps are bare `vCont;s` packets, and registers are read by `g` and `p`.  gdb's own `stepi`,
with all that gdb reads for it, takes ten times as long; the other tests use it, and here one
program in PLAIN does.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gdb

ALL = (1 << 64) - 1
# Which SPRs there are depends on the CPU and on the version of QEMU.
SPRS = [
    *("srr0", "srr1", "sprg0", "sprg3", "dar", "dsisr", "cfar", "spr_cfar", "tar", "vrsave"),
    *("dscr", "hsrr0", "hsrr1", "fscr", "ebbrr"),
]
# The registers of each kind that the programs use.
FLOATING = [
    *(f"f{n}" for n in range(8)),
    *(f"vr{n}" for n in range(8)),
    *(f"vs{n}h" for n in range(8)),
    *("fpscr", "vscr"),
]
PLAIN = 7
INSIDE_HANDLERS = 14  # after so many steps outside the program a handler counts as never returning


class Replay:
    """Steps through one program after the other."""

    def __init__(self, plan: str) -> None:
        self.plan = json.loads(Path(plan).read_text(encoding="utf-8"))
        connection = gdb.selected_inferior().connection
        assert isinstance(connection, gdb.RemoteTargetConnection)
        self.connection = connection
        numbers: dict[str, int] = {}
        for line in gdb.execute("maint print remote-registers", to_string=True).splitlines():
            words = line.split()
            if len(words) > 6 and words[6].isdigit():
                numbers.setdefault(words[0], int(words[6]))  # SPRs repeat LR, CTR and XER
        self.numbers = numbers
        self.sprs = [(name, numbers[name]) for name in SPRS if name in numbers]
        self.floating = [(name, numbers[name]) for name in FLOATING if name in numbers]
        self.base = int(gdb.parse_and_eval("$msr")) & ALL
        self.steps = 0

    def run(self, path: str) -> None:
        """Step through all programs; write a line for each step to `path`."""
        with open(path, "w", encoding="utf-8") as out:
            for number, one in enumerate(self.plan["programs"]):
                out.write(f"program {one['seed']}\n")
                for line in self._program(one, plain=number % PLAIN == 0):
                    out.write(line + "\n")
        gdb.write(f"replayed {self.steps}\n")

    def _send(self, packet: str) -> str:
        reply: bytes = self.connection.send_packet(packet)
        return reply.decode("latin-1")

    def _write(self, name: str, value: int) -> None:
        # Not by gdb's `set`, which writes the register of whatever frame is selected.
        raw = value.to_bytes(4 if name in ("cr", "xer") else 8, self.plan["order"])
        assert self._send(f"P{self.numbers[name]:x}={raw.hex()}") == "OK", name

    def _program(self, one: dict[str, Any], *, plain: bool) -> list[str]:
        """Step through one program.  Returns a line for each step, and what is left at its end."""
        self._flush()
        memory = gdb.selected_inferior()
        memory.write_memory(self.plan["data"], bytes(range(256)) * 16)
        set_, clear = one["msr"]
        state = (self.base | set_) & ~clear & ALL
        known = dict.fromkeys(("sprg0", "sprg3", "dar", "dsisr"), one["seed"])
        for name, value in (one["registers"] | known).items():
            self._write(name, value)
        self._write("msr", state)
        self._write("pc", one["start"])
        lines, outside, pc = [], 0, one["start"]
        last = pc
        for _ in range(self.plan["most"]):
            floats = pc in one["floating"]
            failed = self._step(plain)
            self.steps += 1
            lines.append(failed + self._registers(floats))
            pc = self._pc()
            if pc == one["end"]:
                break
            if one["start"] <= pc < one["end"] and not failed:
                outside, last = 0, pc
                continue
            outside += 1
            if failed or outside > INSIDE_HANDLERS or self._spins(pc):
                outside = 0
                pc = last = one["next"][str(last)]
                self._write("msr", state)
                self._write("pc", pc)
                if pc == one["end"]:
                    break
        lines.append(self._registers(True))
        self._flush()
        lines.append("data=" + memory.read_memory(self.plan["data"], 0x1000).tobytes().hex())
        return lines

    def _step(self, plain: bool) -> str:
        """Make a step.  Returns an empty text, or the failure if the stub has no memory at pc."""
        try:
            if plain:
                self._flush()
                gdb.execute("stepi", to_string=True)
            else:
                reply = self._send("vCont;s:p1.1;c:p1.-1")
                if not reply.startswith("T05"):
                    return f"failed={reply[:1]} "
        except gdb.error:
            return "failed=E "
        return ""

    def _flush(self) -> None:
        gdb.execute("maint flush register-cache", to_string=True)
        gdb.execute("maint flush dcache", to_string=True)

    def _pc(self) -> int:
        return int.from_bytes(
            bytes.fromhex(self._send(f"p{self.numbers['pc']:x}")), self.plan["order"]
        )

    def _spins(self, pc: int) -> bool:
        """Whether the instruction at pc is a branch to itself, or cannot be read."""
        return self._send(f"m{pc:x},4") in ("48000000", "00000048", "E14")

    def _registers(self, floats: bool) -> str:
        wanted = self.sprs + self.floating if floats else self.sprs
        text = [f"{name}={self._send(f'p{number:x}')}" for name, number in wanted]
        return f"g={self._send('g')} " + " ".join(text)
