# SPDX-License-Identifier: MIT
"""One step, and everything else that resumes the guest, on any stub.

No gdb, no sockets: both doors run it, and unit tests run it on a simulated machine.
"""
