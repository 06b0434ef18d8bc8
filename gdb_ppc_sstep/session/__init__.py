# SPDX-License-Identifier: MIT
"""gdb's side: settings, commands, events, and which of gdb's connections are taken.

Read `sessions`, `verdict` and `doors`, then `takeover` and `detect`; `settings`, `controls`,
`hooks`, `lines` and `events` are what gdb calls.
"""
