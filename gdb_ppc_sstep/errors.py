# SPDX-License-Identifier: MIT
"""The errors that are expected.  Pure.

Each door has one place that tells the user such an error, as one line.  Any other exception is a
bug and keeps its traceback.
"""


class SstepError(Exception):
    """Something cannot be done; the text is a line that says why, and what the user can do."""


class BadPacket(SstepError):
    """A client sent a packet that is for us to answer, and it cannot be read."""


class Endless(SstepError):
    """A packet does not end within the greatest size that a packet may have."""


class StubRefused(SstepError):
    """The stub answered a packet with an error, or with a reply that has not the right form."""


class Unsettled(StubRefused):
    """The stub refused something after the guest had run: something of ours is still in it.

    `Engine.recover` tries again to undo it.
    """


class StubGone(SstepError):
    """The stub closed the connection; gdb says so itself."""


class StubSilent(StubGone):
    """The stub does not answer although the connection is there."""
