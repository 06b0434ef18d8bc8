# SPDX-License-Identifier: MIT
"""What loading does in a gdb that is new enough: settings and commands, then events."""

from . import control, events

control.register()
events.connect()
