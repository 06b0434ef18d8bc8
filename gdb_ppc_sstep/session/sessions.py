# SPDX-License-Identifier: MIT
"""Which of gdb's connections are taken, and why or why not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import gdb

from ..commands import overrides as commands
from ..errors import SstepError
from ..options import Options
from ..rsp import private
from . import detect, takeover

if TYPE_CHECKING:
    from ..commands.door import CommandsDoor


class Settings:
    """What the user has set; `control` writes it."""

    mode = "auto"
    door = "auto"
    options = Options()
    debug = False
    debug_file = ""


class Session:
    """One remote connection, by its number in `info connections`."""

    def __init__(self, connection: gdb.RemoteTargetConnection) -> None:
        self.connection = connection
        self.layer: takeover.LayerProcess | None = None
        """The wire door."""
        self.door: CommandsDoor | None = None
        """The commands door."""
        self.where = connection.details
        self.active = False
        self.finding: detect.Finding | None = None
        self.why = ""
        """Why the connection is not taken."""

    def decide(self, inferior: gdb.Inferior) -> None:
        """Take the connection, or leave it, as the mode and the stub say."""
        mode = Settings.mode
        if not detect.is_ppc64(inferior):
            self.why = f"the target is no 64-bit PowerPC ({inferior.architecture().name()})"
            return
        try:
            self.finding = None if mode == "off" else detect.stub_steps(self.connection)
        except gdb.error as error:
            self.why = f"the stub did not say whether it steps: {error}"
            gdb.write(f"ppc-sstep: this connection is not taken: {self.why}\n", gdb.STDERR)
            return
        wanted = mode == "on" or (self.finding is not None and self.finding.steps is False)
        if mode == "off":
            self.why = "mode is off"
        elif not wanted and self.finding and self.finding.steps:
            self.why = "the stub steps by itself"
        elif not wanted:
            self.why = "not known whether the stub steps; `set ppc-sstep mode on` takes it"
        if not wanted:
            self._activate(False)
        elif self.layer is None and self.door is None:
            self._take()
        else:
            self._activate(True)

    def _take(self) -> None:
        how = "stepping by the Trace interrupt"
        replaced = commands.installed()
        try:
            if Settings.door == "commands" or replaced:
                self._open_commands()
            else:
                try:
                    self.layer = takeover.take(self.connection)
                except SstepError as error:
                    if Settings.door == "wire":
                        raise
                    self._open_commands()
                    how = f"not through its connection ({error}), but {how}"
        except SstepError as error:
            self.why = str(error)
            gdb.write(f"ppc-sstep: this connection is not taken: {error}\n", gdb.STDERR)
            return
        if commands.installed() and not replaced:
            how += "; stepi, nexti, step, next and continue are replaced until gdb ends"
        self.active = True
        self.send_settings()
        because = "" if Settings.mode == "on" else "this stub ignores step requests; "
        gdb.write(f"ppc-sstep: {because}{how}.\n")
        for one in self.left():
            gdb.write(
                f"ppc-sstep: {one['thread']}: {one['what']}, {private.LEFT_BEHIND}; "
                "`ppc-sstep clean` puts it right.\n"
            )

    def _open_commands(self) -> None:
        from ..commands.door import CommandsDoor

        self.door = CommandsDoor(self.connection, self._log)
        commands.install(
            _door,
            {
                **dict.fromkeys(("finish", "advance"), before_return),
                "until": before_until,
                **dict.fromkeys(("detach", "disconnect", "kill"), before_leaving),
            },
        )
        self.door.guards.refresh()

    def _activate(self, active: bool) -> None:
        """Switch a door that is there; a layer then forwards step requests as the rest."""
        self.active = active and (self.layer is not None or self.door is not None)
        if self.layer is not None:
            self._set("active", "on" if active else "off")

    def _log(self, line: str) -> None:
        if not Settings.debug:
            return
        if Settings.debug_file:
            with open(Settings.debug_file, "a", encoding="utf-8") as file:
                file.write(line + "\n")
        else:
            gdb.write(line + "\n", gdb.STDLOG)

    def send_settings(self) -> None:
        """Tell the door what the user has set."""
        if self.door is not None:
            self.door.engine.apply(Settings.options)
        if self.layer is not None:
            for name, value in Settings.options.to_text().items():
                self._set(name, value)
            self._set("log-file", Settings.debug_file.encode().hex())
            self._set("log", "on" if Settings.debug else "off")

    def _set(self, name: str, value: str) -> None:
        detect.send(self.connection, f"{private.SET}{name}={value}")

    def status(self) -> dict[str, Any]:
        """What the door says of itself (see `private`)."""
        if self.door is not None:
            return self.door.status(active=self.active)
        status: dict[str, Any] = self._ask(private.STATUS)
        return status

    def left(self, *, clean: bool = False) -> list[dict[str, Any]]:
        """What a killed session may have left (see `private`); clean: it is undone."""
        reap()
        known = _killed.get(self.where, "")
        if self.door is not None:
            return self.door.left(known, clean=clean)
        if self.layer is None:
            return []
        from ..commands.door import thread_id

        # The layer, which has come in between only now, is to know what gdb has selected.
        detect.send(self.connection, "Hg" + thread_id(gdb.selected_thread()).decode())
        packet = private.CLEAN if clean else private.LEFT
        found: list[dict[str, Any]] = self._ask(f"{packet}:{known.encode().hex()}")
        if clean:
            _killed.pop(self.where, None)
            gdb.execute("maintenance flush register-cache", to_string=True)
        return found

    def _ask(self, packet: str) -> Any:
        reply = detect.send(self.connection, packet)
        if not reply:
            raise gdb.GdbError("The step layer does not answer; connect again.")
        return json.loads(bytes.fromhex(reply.decode()))

    def show_log(self) -> None:
        """Print what the layer has logged since."""
        text = self.layer.news() if self.layer is not None else ""
        if text:
            gdb.write(text, gdb.STDLOG)


_sessions: dict[int, Session] = {}


def session_of(inferior: gdb.Inferior) -> Session | None:
    """The session of an inferior's connection; None if that is not a remote one."""
    connection = inferior.connection
    if not isinstance(connection, gdb.RemoteTargetConnection) or not connection.is_valid():
        return None
    return _sessions.setdefault(connection.num, Session(connection))


def stopped() -> None:
    """gdb has stopped: decide about a new connection, and guard where the guest is now."""
    look()
    door = door_at_rest()
    if door is not None:
        door.guards.returning = None  # that has served
        door.guards.add()


def before_prompt() -> None:
    """gdb has nothing else to do: decide about a new connection, and tidy up."""
    look()
    _guard()
    reap()


def look() -> None:
    """Decide about the selected inferior's connection if it is new, and show the layers' logs."""
    inferior = gdb.selected_inferior()
    connection = inferior.connection
    if connection is not None and connection.num not in _sessions and at_rest(inferior):
        session = session_of(inferior)
        if session is not None:
            session.decide(inferior)
    for session in list(_sessions.values()):
        session.show_log()


def _door() -> CommandsDoor | None:
    session = session_of(gdb.selected_inferior())
    return session.door if session is not None and session.active else None


def door_at_rest() -> CommandsDoor | None:
    """The commands door of the selected inferior's connection, when gdb's view of it is true."""
    inferior, thread = gdb.selected_inferior(), gdb.selected_thread()
    connection = inferior.connection
    session = _sessions.get(connection.num) if connection is not None else None
    if session is None or session.door is None or not session.active or session.door.busy:
        return None
    if thread is not None and thread.is_running():
        return None  # without asking the stub
    return session.door if at_rest(inferior) else None


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
        door.guards.refresh()


_WATCHPOINTS = (
    gdb.BP_WATCHPOINT,
    gdb.BP_HARDWARE_WATCHPOINT,
    gdb.BP_READ_WATCHPOINT,
    gdb.BP_ACCESS_WATCHPOINT,
)


def warn_of(breakpoint: gdb.Breakpoint) -> None:
    """Say that a new breakpoint is one that the commands door cannot do."""
    if breakpoint.type in _WATCHPOINTS and door_at_rest() is not None:
        gdb.write(
            "ppc-sstep: for a watchpoint gdb makes steps of its own, which this stub ignores; "
            "watchpoints need `set ppc-sstep door wire`, in a new gdb.\n",
            gdb.STDERR,
        )


def before_return() -> None:
    """A command of gdb's will wait for the function of the selected frame to return."""
    door = door_at_rest()
    caller = gdb.selected_frame().older() if door is not None else None
    if door is not None and caller is not None:
        door.guards.returning = caller.pc()
        door.guards.refresh()


def before_until() -> None:
    """`until` to a place waits for a return as well; without one it needs steps of gdb's own.

    A hook does not learn the arguments; the last line of the history is what was typed.
    """
    typed = gdb.execute("show commands", to_string=True).rpartition("\n  ")[2].split()[1:]
    if door_at_rest() is not None and len(typed) == 1 and "until".startswith(typed[0]):
        raise gdb.GdbError(
            "ppc-sstep: `until` without a place needs `set ppc-sstep door wire`, in a new gdb."
        )
    before_return()


def before_leaving() -> None:
    """The guest is about to be let go, by the user or with gdb."""
    door = door_at_rest()
    if door is not None:
        door.leave()


def at_rest(inferior: gdb.Inferior) -> bool:
    """Whether packets may be sent: there are threads and none of them runs."""
    try:
        threads = inferior.threads()  # which asks the stub
    except gdb.error:
        return False
    return bool(threads) and not any(thread.is_running() for thread in threads)


def ask_again() -> None:
    """Decide anew about every connection that is at rest: the mode or the stub has changed."""
    for inferior in gdb.inferiors():
        session = session_of(inferior) if at_rest(inferior) else None
        if session is not None:
            session.decide(inferior)


def tell_settings() -> None:
    """Tell every layer whose connection is at rest what the user has set."""
    for inferior in gdb.inferiors():
        session = session_of(inferior) if at_rest(inferior) else None
        if session is not None:
            session.send_settings()


def removed(number: int) -> None:
    """A connection is gone; its layer ends by itself."""
    session = _sessions.pop(number, None)
    if session is not None:
        session.show_log()
        _ended.append(session)
        if session.door is not None:
            session.door.guards.clear()


_ended: list[Session] = []
_killed: dict[str | None, str] = {}  # what layers were in the middle of, by where the stub is


def reap() -> None:
    """Take what the layers of gone connections leave: last words, exit status."""
    for session in list(_ended):
        gone = session.layer is None or not session.layer.alive()
        session.show_log()
        if gone:
            _ended.remove(session)
            if session.layer is not None and session.layer.record():
                _killed[session.where] = session.layer.record()
