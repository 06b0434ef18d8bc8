# SPDX-License-Identifier: MIT
"""What loading does in a gdb that is new enough: settings and commands, then events."""

from .session import controls as control
from .session import events

control.register()
events.connect()
