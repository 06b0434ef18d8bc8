# SPDX-License-Identifier: MIT
"""Loads the extension in a gdb that is new enough: registers settings and commands, then events."""

from .session import controls, events, sessions, settings

settings.register(sessions.ask_again, sessions.tell_settings)
controls.register()
events.connect()
