# SPDX-License-Identifier: MIT
"""What loading does in a gdb that is new enough: settings and commands, then events."""

from .session import controls, events, sessions, settings

settings.register(sessions.ask_again, sessions.tell_settings)
controls.register()
events.connect()
