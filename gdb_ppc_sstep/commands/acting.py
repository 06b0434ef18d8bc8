# SPDX-License-Identifier: MIT
"""Commands of breakpoints that resume the guest, as people trace with them.

gdb does not wait for the stop after such a command, and executes the commands of the next
breakpoint when it sees that one hit.  A command of ours is over only at that stop, and gdb then
believes that it is still to come (gdb/breakpoint.c bpstat_do_actions_1).  But where a gdb.execute
ends, gdb executes the commands for one stop (gdb 13.1 python/python.c execute_gdb_command).
"""

from __future__ import annotations

from contextlib import suppress

import gdb


class _State:
    """stops: how often gdb has stopped.  acts: whether a breakpoint of the last stop has commands.

    quits: after a Ctrl-C, whether the commands that are still to be executed are to fail where they
    would resume.  prompts: whether gdb prompts its user.
    """

    stops = 0
    acts = False
    quits = False
    prompts = False


def note_stop(breakpoints: tuple[gdb.Breakpoint, ...]) -> None:
    """gdb has stopped at these breakpoints."""
    _State.stops += 1
    _State.acts = any(one.is_valid() and one.commands for one in breakpoints)
    _State.quits = _State.quits and _State.acts


def check() -> None:
    """A command of ours is about to resume.  KeyboardInterrupt: it must not, after a Ctrl-C."""
    if _State.quits:
        _State.quits = False
        raise KeyboardInterrupt


def interrupt() -> None:
    """Ctrl-C was typed, and has reached us in an event of gdb's, which goes on nevertheless."""
    _State.quits = _State.acts
    gdb.post_event(_interrupt)


def _interrupt() -> None:
    thread = gdb.selected_thread()
    if thread is not None and thread.is_running():
        gdb.execute("interrupt")


def act() -> None:
    """Have gdb execute the commands of the breakpoints that have stopped it, at rest.

    They may resume the guest, until a breakpoint without commands or Ctrl-C stops it.
    """
    try:
        quiet = 0  # how often nothing has stopped gdb; once is not enough where Ctrl-C hid a stop
        while quiet < 2:
            before = _State.stops
            _act_once()
            quiet = quiet + 1 if before == _State.stops else 0
    except KeyboardInterrupt:
        drop()


def drop() -> None:
    """After Ctrl-C: the commands that are still to be executed fail where they would resume."""
    _State.quits = True
    with suppress(KeyboardInterrupt):
        _act_once()
    _State.quits = False
    gdb.write("Quit\n", gdb.STDERR)


def _act_once() -> None:
    try:
        gdb.execute("echo")
    except gdb.error as error:
        gdb.write(f"{error}\n", gdb.STDERR)


def before_prompt() -> None:
    """gdb is about to prompt."""
    _State.prompts = True
    act()


def act_later() -> None:
    """The same when a command of ours is over, for front ends: gdb does not prompt them."""
    if _State.acts and not _State.prompts:
        gdb.post_event(act)
