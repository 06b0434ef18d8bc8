# SPDX-License-Identifier: MIT
"""Packets that resume the guest, and the stop replies to them.  Pure.

GDB manual, appendix "GDB Remote Serial Protocol", sections "Packets" and "Stop Reply Packets".
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ..errors import BadPacket
from .framing import again, shown


@again
def thread_id(text: bytes) -> bytes:
    """A thread-id as gdb writes it: without the leading zeros of QEMU's p01.01."""
    return re.sub(rb"(^|[p.])0+(?=[0-9a-f])", rb"\1", text)


def names_one(thread: bytes | None) -> bool:
    """Whether a thread-id means one thread, and not any (`0`) or all (`-1`)."""
    return thread is not None and thread.rpartition(b".")[2] not in (b"-1", b"0")


class Action(NamedTuple):
    """One action of a vCont packet.

    verb: `c`, `s`, `r` or `t`; in upper case with a signal.  argument: the signal or range, as
    text.  thread: the thread-id as text, None for all threads that no other action names.
    """

    verb: bytes
    argument: bytes = b""
    thread: bytes | None = None

    @property
    def steps(self) -> bool:
        """Whether the thread is to be stepped."""
        return self.verb in (b"s", b"S", b"r")

    @property
    def range(self) -> tuple[int, int]:
        """Of an `r`: the first address, and the one behind the last."""
        start, end = (int(one, 16) for one in self.argument.split(b","))
        return start, end

    def continued(self) -> Action:
        """The same, with the thread running freely."""
        if not self.steps:
            return self
        if self.verb == b"S":
            return Action(b"C", self.argument, self.thread)
        return Action(b"c", b"", self.thread)

    def stepped(self) -> Action:
        """The same, with a thread that runs freely stepped."""
        verb = {b"c": b"s", b"C": b"S"}.get(self.verb, self.verb)
        return Action(verb, self.argument, self.thread)


class Resume(NamedTuple):
    """A packet that resumes the guest.  vcont: False for the old `c`, `s`, `C`, `S`."""

    actions: tuple[Action, ...]
    vcont: bool = True

    @property
    def stepping(self) -> Action | None:
        """The action that asks for a step.  gdb asks for at most one (all-stop mode)."""
        return next((action for action in self.actions if action.steps), None)

    @property
    def alone(self) -> bytes | None:
        """The thread that is resumed while all others stand still; None if there are several."""
        if len(self.actions) != 1 or not self.vcont:
            return None
        thread = self.actions[0].thread
        return None if thread is None or thread.endswith(b"-1") else thread

    def of(self, thread: bytes | None) -> Resume:
        """The same with a step that names no thread made one of `thread`; where it was for all,
        the others continue.

        None: that is not known, and nothing changes.
        """
        step = self.stepping
        if thread is None or step is None or names_one(step.thread):
            return self
        steps: tuple[Action, ...] = (step._replace(thread=thread),)
        if self.vcont and (step.thread is None or step.thread.endswith(b"-1")):
            steps += (Action(b"c", b"", step.thread),)
        place = self.actions.index(step)
        return Resume((*self.actions[:place], *steps, *self.actions[place + 1 :]), self.vcont)

    def continued(self) -> Resume:
        """The same, with every step made a continue: the form that a stub obeys."""
        return Resume(tuple(action.continued() for action in self.actions), self.vcont)

    def through(self, start: int, end: int) -> Resume:
        """The same, with every step made a range, from `start` to before `end`."""
        argument = b"%x,%x" % (start, end)
        step = (
            action._replace(verb=b"r", argument=argument) if action.verb == b"s" else action
            for action in self.actions
        )
        return Resume(tuple(step), self.vcont)

    def without_ranges(self) -> Resume:
        """The same, with every range made a step, for a stub that knows no ranges."""
        step = (
            action._replace(verb=b"s", argument=b"") if action.verb == b"r" else action
            for action in self.actions
        )
        return Resume(tuple(step), self.vcont)

    def stepped(self) -> Resume:
        """The same, with every continue made a step."""
        return Resume(tuple(action.stepped() for action in self.actions), self.vcont)

    def payload(self) -> bytes:
        """The packet's payload."""
        if not self.vcont:
            return self.actions[0].verb + self.actions[0].argument
        parts = [b"vCont"]
        for verb, argument, thread in self.actions:
            parts.append(verb + argument + (b"" if thread is None else b":" + thread))
        return b";".join(parts)


def only(thread: bytes | None) -> Resume:
    """A resume that continues one vCPU, and none of the others."""
    return Resume((Action(b"c", b"", thread),), vcont=thread is not None)


THREAD_ID = re.compile(rb"-1|[0-9a-fA-F]+|p(?:-1|[0-9a-fA-F]+)(?:\.(?:-1|[0-9a-fA-F]+))?")
_ACTION = re.compile(rb"[cst]|[CS][0-9a-fA-F]{2}|r[0-9a-fA-F]{1,16},[0-9a-fA-F]{1,16}")
_OLD_RESUME = re.compile(
    rb"c(?:[0-9a-fA-F]{1,16})?|s|C[0-9a-fA-F]{2}(?:;[0-9a-fA-F]{1,16})?|S[0-9a-fA-F]{2}"
)


@again
def parse_resume(payload: bytes) -> Resume | None:
    """The Resume that a packet from gdb is; None for any other packet.

    BadPacket: it is to resume the guest, and it is malformed.  That includes the old `s` and `S`
    with an address, which gdb never sends.
    """
    if payload.startswith(b"vCont;"):
        return Resume(tuple(map(_action, payload[len(b"vCont;") :].split(b";"))))
    if payload[:1] in (b"c", b"s", b"C", b"S"):
        if not _OLD_RESUME.fullmatch(payload):
            raise BadPacket(f"malformed packet {shown(payload)}")
        return Resume((Action(payload[:1], payload[1:]),), vcont=False)
    return None


def _action(text: bytes) -> Action:
    what, colon, thread = text.partition(b":")
    if not _ACTION.fullmatch(what) or (colon and not THREAD_ID.fullmatch(thread)):
        raise BadPacket(f"malformed action {shown(text)} in vCont")
    return Action(what[:1], what[1:], thread_id(thread) if colon else None)


class StopReply(NamedTuple):
    """A stub's reply to a resume.  signal and thread are None where the reply has none."""

    payload: bytes
    signal: int | None
    thread: bytes | None

    def __str__(self) -> str:
        return self.payload.decode("latin-1")

    @classmethod
    @again
    def parse(cls, payload: bytes) -> StopReply:
        """Parse a T or S packet.  Others (W, X, N, E.., empty) have neither signal nor thread."""
        if not re.match(rb"[TS][0-9a-fA-F]{2}", payload):
            return cls(payload, None, None)
        thread = re.search(rb"(?:^...|;)thread:([^;]*)", payload, re.DOTALL)
        return cls(payload, int(payload[1:3], 16), thread_id(thread[1]) if thread else None)

    @property
    def is_breakpoint(self) -> bool:
        """Whether a breakpoint alone may have caused it: SIGTRAP, and no watchpoint."""
        return self.signal == 5 and b"watch:" not in self.payload


def stopped(thread: bytes | None, signal: int = 5) -> StopReply:
    """The stop reply for a thread that stopped with `signal` (5: SIGTRAP, as after a step)."""
    payload = b"T%02x" % signal + (b"thread:" + thread + b";" if thread else b"")
    return StopReply(payload, signal, thread)


def is_final(payload: bytes) -> bool:
    """Whether a packet from a stub that was resumed ends the resume (console output does not)."""
    return payload == b"OK" or payload[:1] in (b"", b"T", b"S", b"W", b"X", b"N", b"E")
