# SPDX-License-Identifier: MIT
"""The errors that are expected.  Pure.

Each is told to the user as one line, made in one place of each door; anything else is a bug and
keeps its traceback.
"""


class SstepError(Exception):
    """Something cannot be done, with a line that says why and what to do."""


class BadPacket(SstepError):
    """A client sent a packet that is ours to answer, and it cannot be read."""


class Endless(SstepError):
    """A packet does not end within the size that one may have."""


class StubRefused(SstepError):
    """The stub answered a packet with an error, or not at all in the form it should have."""


class Unsettled(StubRefused):
    """The stub refused something after the guest had run: what of ours is in it is to be undone.

    `Engine.recover` does that again.
    """


class StubGone(SstepError):
    """The stub closed the connection; gdb says so itself."""


class StubSilent(StubGone):
    """The stub does not answer although the connection is there."""
