# SPDX-License-Identifier: MIT
"""Which of gdb's connections are taken, and why or why not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gdb

from ..commands import overrides
from ..errors import SstepError
from . import detect, hooks, lines
from .settings import SETTINGS

if TYPE_CHECKING:  # most gdbs never need a door
    from ..commands.door import CommandsDoor
    from .doors import Door


class Session:
    """One remote connection, by its number in `info connections`.

    door: what steps it, None where it is not taken.  active: whether that is in use.  finding: what
    the stub has said of itself.  why: why the connection is not taken.
    """

    def __init__(self, connection: gdb.RemoteTargetConnection) -> None:
        self.connection = connection
        self.door: Door | None = None
        self.active = False
        self.finding: detect.Finding | None = None
        self.why = ""
        self._where = connection.details

    def decide(self, inferior: gdb.Inferior) -> None:
        """Take the connection, or leave it, as the mode and the stub say."""
        mode = SETTINGS.mode
        if not detect.is_ppc64(inferior):
            self.why = f"the target is no 64-bit PowerPC ({inferior.architecture().name()})"
            return
        try:
            self.finding = None if mode == "off" else detect.stub_steps(self.connection)
        except gdb.error as error:
            self.why = f"the stub did not say whether it steps: {error}"
            self._not_taken()
            return
        wanted = mode == "on" or (self.finding is not None and self.finding.steps is False)
        if mode == "off":
            self.why = "mode is off"
        elif not wanted and self.finding and self.finding.steps:
            self.why = "the stub steps by itself"
        elif not wanted:
            self.why = "not known whether the stub steps; `set ppc-sstep mode on` takes it"
        if wanted and self.door is None:
            self._take()
        elif self.door is not None:
            self._switch(self.door, wanted)

    def _switch(self, door: Door, active: bool) -> None:
        """Have a door that is there step, or not."""
        try:
            door.activate(active)
            self.active = active
        except SstepError as error:
            _warn(f"nothing has changed: {error}")

    def _take(self) -> None:
        how = "stepping by the Trace interrupt"
        replaced = overrides.installed()
        try:
            self.door, trouble = self._opened(by_commands=SETTINGS.door == "commands" or replaced)
        except SstepError as error:
            self.why = str(error)
            self._not_taken()
            return
        if trouble:
            how = f"not through its connection ({trouble}), but {how}"
        if overrides.installed() and not replaced:
            how += "; stepi, nexti, step, next and continue are replaced until gdb ends"
        self.active = True
        self.tell_settings()
        because = "" if SETTINGS.mode == "on" else "this stub ignores step requests; "
        gdb.write(f"ppc-sstep: {because}{how}.\n")
        from ..rsp.private import LEFT_BEHIND

        for one in self.leftovers():
            gdb.write(
                f"ppc-sstep: {one['thread']}: {one['what']}, {LEFT_BEHIND}; "
                "`ppc-sstep clean` puts it right.\n"
            )

    def _opened(self, *, by_commands: bool) -> tuple[Door, str]:
        """A door, and why it is not by the wire if it was to be."""
        if by_commands:
            return self._commands_door(), ""
        from .doors import WireDoor

        try:
            door = WireDoor(self.connection)
        except SstepError as error:
            if SETTINGS.door == "wire":
                raise
            return self._commands_door(), str(error)
        lines.watch(_active_door)
        return door, ""

    def _commands_door(self) -> Door:
        from ..commands.door import CommandsDoor

        door = CommandsDoor(self.connection, _log, kvm=detect.uses_kvm())
        overrides.install(_commands_door, hooks.actions(door_at_rest))
        door.guard()
        return door

    def _not_taken(self) -> None:
        _warn(f"this connection is not taken: {self.why}")

    def tell_settings(self) -> None:
        """Tell the door what the user has set."""
        if self.door is None:
            return
        try:
            self.door.apply(SETTINGS.options, debug=SETTINGS.debug, debug_file=SETTINGS.debug_file)
        except SstepError as error:
            _warn(str(error))

    def leftovers(self, *, clean: bool = False) -> list[dict[str, Any]]:
        """What a killed session may have left (see `Door`); clean: it is undone."""
        reap()
        if self.door is None:
            return []
        found = self.door.leftovers(_killed.get(self._where, ""), clean=clean)
        if clean:
            _killed.pop(self._where, None)
        return found

    def closed(self) -> None:
        """The connection is gone."""
        self.show_log()
        if self.door is not None:
            self.door.closed()

    def is_over(self) -> bool:
        """After that: whether nothing of its door runs any more, whose last words are taken."""
        over = self.door is None or self.door.ended()
        self.show_log()
        if over and self.door is not None and self.door.record():
            _killed[self._where] = self.door.record()
        return over

    def show_log(self) -> None:
        """Print what the door has logged since."""
        text = self.door.news() if self.door is not None else ""
        if text:
            gdb.write(text, gdb.STDLOG)


def _warn(line: str) -> None:
    """Tell the user of trouble that ends nothing."""
    gdb.write(f"ppc-sstep: {line}\n", gdb.STDERR)


def _log(line: str) -> None:
    """A line of a door that runs in gdb itself."""
    if not SETTINGS.debug:
        return
    if SETTINGS.debug_file:
        with open(SETTINGS.debug_file, "a", encoding="utf-8") as file:
            file.write(line + "\n")
    else:
        gdb.write(line + "\n", gdb.STDLOG)


_sessions: dict[int, Session] = {}
_ended: list[Session] = []
_killed: dict[str | None, str] = {}  # what doors were in the middle of, by where the stub is


def session_of(inferior: gdb.Inferior) -> Session | None:
    """The session of an inferior's connection; None if that is not a remote one."""
    connection = inferior.connection
    if not isinstance(connection, gdb.RemoteTargetConnection) or not connection.is_valid():
        return None
    if connection.num not in _sessions:
        _sessions[connection.num] = Session(connection)
    return _sessions[connection.num]


def at_rest(inferior: gdb.Inferior) -> bool:
    """Whether packets may be sent: there are threads and none of them runs."""
    try:
        threads = inferior.threads()  # which asks the stub
    except gdb.error:
        return False
    return bool(threads) and not any(thread.is_running() for thread in threads)


def _active_door() -> Door | None:
    """What steps the selected inferior's connection, None where nothing of ours does."""
    connection = gdb.selected_inferior().connection
    session = _sessions.get(connection.num) if connection is not None else None
    return session.door if session is not None and session.active else None


def _commands_door() -> CommandsDoor | None:
    """The same, None where it is no commands door."""
    from ..commands.door import CommandsDoor

    door = _active_door()
    return door if isinstance(door, CommandsDoor) else None


def door_at_rest() -> Door | None:
    """The same, if that steps by commands, and gdb's view of the guest is true."""
    door, thread = _active_door(), gdb.selected_thread()
    if door is None or not door.steps_by_commands or door.busy:
        return None
    stands = thread is None or not thread.is_running()  # which does not ask the stub
    return door if stands and at_rest(gdb.selected_inferior()) else None


# -- events


def stopped() -> None:
    """gdb has stopped: decide about a new connection, and guard where the guest is now."""
    look()
    door = door_at_rest()
    if door is not None:
        door.guard(at_stop=True)


def before_prompt() -> None:
    """gdb has nothing else to do: decide about a new connection, and tidy up."""
    look()
    _guard()
    reap()


def look() -> None:
    """Decide about the selected inferior's connection if it is new, and show the doors' logs."""
    inferior = gdb.selected_inferior()
    connection = inferior.connection
    if connection is not None and connection.num not in _sessions and at_rest(inferior):
        session = session_of(inferior)
        if session is not None:
            session.decide(inferior)
    for session in list(_sessions.values()):
        session.show_log()


_guard_later = False


def breakpoints_changed() -> None:
    """Breakpoints of the user's, or registers, have changed: guard what has to be, later.

    Not now: gdb may be walking through its breakpoints, and MI would report ours with its own.
    """
    global _guard_later
    if not _guard_later and door_at_rest() is not None:
        _guard_later = True
        gdb.post_event(_guard)


def _guard() -> None:
    global _guard_later
    _guard_later = False
    door = door_at_rest()
    if door is not None:
        door.guard()


def ask_again() -> None:
    """Decide anew about every connection that is at rest: the mode or the stub has changed."""
    for inferior in gdb.inferiors():
        session = session_of(inferior) if at_rest(inferior) else None
        if session is not None:
            session.decide(inferior)


def tell_settings() -> None:
    """Tell every door whose connection is at rest what the user has set."""
    for inferior in gdb.inferiors():
        session = session_of(inferior) if at_rest(inferior) else None
        if session is not None:
            session.tell_settings()


def removed(number: int) -> None:
    """A connection is gone."""
    session = _sessions.pop(number, None)
    if session is not None:
        _ended.append(session)
        session.closed()


def reap() -> None:
    """Take what the doors of gone connections leave: last words, exit status, record."""
    _ended[:] = [session for session in _ended if not session.is_over()]
