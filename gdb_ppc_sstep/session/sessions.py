# SPDX-License-Identifier: MIT
"""Which of gdb's connections are taken, and why or why not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gdb

from ..commands import overrides
from ..errors import SstepError
from . import detect, ended, hooks, lines, say, verdict
from .settings import SETTINGS

if TYPE_CHECKING:  # most gdbs never need a door
    from ..commands.door import CommandsDoor
    from .doors import Door


class Session:
    """One remote connection of gdb's.

    door: the door that steps it, None if it is not taken.  active: whether the door is in use.
    finding: what the stub has told of itself.  why: why the connection is not taken.
    """

    def __init__(self, connection: gdb.RemoteTargetConnection) -> None:
        self.connection = connection
        self.door: Door | None = None
        self.active = False
        self.finding: verdict.Finding | None = None
        self.why = ""
        self._where = connection.details

    def decide(self, inferior: gdb.Inferior) -> None:
        """Take the connection, or leave it, as the mode and the stub say."""
        mode = SETTINGS.mode
        if not detect.is_ppc64(inferior):
            architecture = inferior.architecture().name()
            self.why = f"the target is not a 64-bit PowerPC (its architecture is {architecture})"
            return
        before, ours = self.finding, self.door is not None
        try:
            self.finding = None if mode == "off" else detect.stub_steps(self.connection, ours=ours)
        except gdb.error as error:
            self._not_taken(f"the stub did not say whether it steps: {error}")
            return
        self.why = verdict.against(mode, self.finding)
        if self.door is None and not self.why:
            self._take()
        elif self.door is not None:
            was_active = self.active
            self._switch(self.door, not self.why)
            if was_active and not self.active and mode == "off":
                by_commands = self.door.steps_by_commands
                say.warn(verdict.switched_off(before, by_commands=by_commands))

    def _switch(self, door: Door, active: bool) -> None:
        """Have the door step from now on, or (not active) step no more."""
        try:
            door.activate(active)
            self.active = active
        except SstepError as error:
            say.warn(f"nothing has changed: {error}")

    def _take(self) -> None:
        how = "stepping by the Trace interrupt"
        replaced = overrides.installed()
        try:
            self.door, trouble = self._opened(by_commands=SETTINGS.door == "commands" or replaced)
        except SstepError as error:
            self._not_taken(str(error))
            return
        if trouble:
            how = f"not through its connection ({trouble}), but {how}"
        if overrides.installed() and not replaced:
            how += "; stepi, nexti, step, next and continue are replaced until gdb ends"
        self.active = True
        self.tell_settings()
        because = "" if SETTINGS.mode == "on" else "this stub ignores step requests; "
        say.announce(f"{because}{how}.{self.door.warning}")
        from ..rsp.private import LEFT_BEHIND

        for one in self.leftovers():
            say.announce(
                f"{one['thread']}: {one['what']}, {LEFT_BEHIND}; `ppc-sstep clean` puts it right."
            )

    def _opened(self, *, by_commands: bool) -> tuple[Door, str]:
        """Make a door; also returns why it is not the wire door if it should have been."""
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
        from .descriptor import find

        door = CommandsDoor(self.connection, find(self.connection), say.log, kvm=detect.kvm())
        overrides.install(commands_door, hooks.actions(door_at_rest))
        door.resuming.at_rest()
        return door

    def _not_taken(self, why: str) -> None:
        self.why = why
        say.warn(f"this connection is not taken: {self.why}")

    def tell_settings(self) -> None:
        """Tell the door what the user has set."""
        if self.door is None:
            return
        try:
            self.door.apply(SETTINGS.options, debug=SETTINGS.debug, debug_file=SETTINGS.debug_file)
        except SstepError as error:
            say.warn(str(error))

    def leftovers(self, *, clean: bool = False) -> list[dict[str, Any]]:
        """What a killed session may have left in the guest (see `Door`); clean: also undo it."""
        reap()
        if self.door is None:
            return []
        found = self.door.leftovers(ended.record(self._where), clean=clean)
        if clean:
            ended.cleaned(self._where)
        return found

    def closed(self) -> None:
        """The connection has ended: gdb has removed it."""
        self.show_log()
        if self.door is not None:
            self.door.closed()

    def is_over(self) -> bool:
        """After `closed`: whether nothing of the door runs any more; then what it left is kept."""
        over = self.door is None or self.door.ended()
        self.show_log()
        if over and self.door is not None:
            ended.keep(self._where, self.door)
        return over

    def show_log(self) -> None:
        """Print what the door has logged since the last call."""
        text = self.door.news() if self.door is not None else ""
        if text:
            gdb.write(text, gdb.STDLOG)


_sessions: dict[int, Session] = {}
_ended: list[Session] = []


def session_of(inferior: gdb.Inferior) -> Session | None:
    """The session of an inferior's connection, made if need be; None if it is not a remote one."""
    connection = inferior.connection
    if not isinstance(connection, gdb.RemoteTargetConnection) or not connection.is_valid():
        return None
    if connection.num not in _sessions:
        _sessions[connection.num] = Session(connection)
    return _sessions[connection.num]


def known(inferior: gdb.Inferior) -> Session | None:
    """The session of an inferior's connection; None as well if it has not been made yet."""
    connection = inferior.connection
    return _sessions.get(connection.num) if connection is not None else None


def at_rest(inferior: gdb.Inferior) -> bool:
    """Whether we may send packets: the inferior has threads, and none of them runs."""
    try:
        threads = inferior.threads()  # which asks the stub
    except gdb.error:
        return False
    return bool(threads) and not any(thread.is_running() for thread in threads)


def _active_door() -> Door | None:
    """The door that steps the selected inferior's connection, None if none of ours does."""
    session = known(gdb.selected_inferior())
    return session.door if session is not None and session.active else None


def commands_door() -> CommandsDoor | None:
    """The door of the selected inferior's connection, if it is a commands door in use."""
    from ..commands.door import CommandsDoor

    door = _active_door()
    return door if isinstance(door, CommandsDoor) else None


def door_at_rest() -> CommandsDoor | None:
    """The same commands door, if gdb's view of the guest is true and the guest is at rest."""
    door, thread = commands_door(), gdb.selected_thread()
    if door is None or door.busy:
        return None
    # The threads of one stub run, or stand still, together.  `at_rest` would ask the stub for them.
    return None if thread is None or thread.is_running() else door


# -- events


def stopped() -> None:
    """gdb has stopped."""
    door = commands_door()
    if door is not None:
        door.stopped()


def before_prompt() -> None:
    """gdb is about to prompt: decide about a new connection, and tidy up."""
    look()
    door = door_at_rest()
    if door is not None:
        door.resuming.at_rest()
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


def loaded() -> None:
    """The extension was loaded: decide about the connection, or say when that will be done."""
    look()
    for inferior in gdb.inferiors():
        remote = isinstance(inferior.connection, gdb.RemoteTargetConnection)
        if remote and inferior.pid and not at_rest(inferior) and detect.is_ppc64(inferior):
            say.warn(
                f"the guest of inferior {inferior.num} is running; interrupt it (Ctrl-C, or "
                "`interrupt`): at that stop its connection is taken if the stub ignores steps"
            )


def ask_again() -> None:
    """Decide again about every connection that is at rest, as the mode or the stub has changed."""
    for inferior in gdb.inferiors():
        session = session_of(inferior) if at_rest(inferior) else None
        if session is not None:
            session.decide(inferior)


def tell_settings() -> None:
    """Tell each door whose connection is at rest what the user has set."""
    for inferior in gdb.inferiors():
        session = session_of(inferior) if at_rest(inferior) else None
        if session is not None:
            session.tell_settings()


def removed(number: int) -> None:
    """gdb has removed the connection with this number, as it has ended."""
    session = _sessions.pop(number, None)
    if session is not None:
        _ended.append(session)
        session.closed()


def reap() -> bool:
    """Keep what doors of closed connections have left; whether all these have ended."""
    _ended[:] = [session for session in _ended if not session.is_over()]
    return not _ended
