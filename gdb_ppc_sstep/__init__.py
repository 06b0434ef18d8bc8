# SPDX-License-Identifier: MIT
"""Single-stepping for ppc64 guests behind a gdbstub that cannot step (POWER KVM HV).

In gdb: `source .../gdb_ppc_sstep/__init__.py`, or `python import gdb_ppc_sstep` with the folder
above on sys.path.  Outside gdb only the pure modules are of use, and nothing is done here.

This file must be readable by the Python of gdbs that are too old for the rest.
"""


def _enter():
    # type: () -> None
    import os
    import re
    import sys

    try:
        import gdb
    except ImportError:
        return
    version = re.search(r"\d+", gdb.VERSION)
    if version is None or int(version.group()) < 12 or sys.version_info < (3, 9):
        gdb.write(
            "gdb_ppc_sstep needs GDB 12 or later with Python 3.9 or later; this is GDB %s with "
            "Python %d.%d.  Nothing was loaded.\n" % ((gdb.VERSION,) + sys.version_info[:2]),
            gdb.STDERR,
        )
        return
    if __name__ == "__main__":  # `source`
        # Not __file__: sourced from a Python script, that is the script's.
        here = _enter.__code__.co_filename
        folder = os.path.dirname(os.path.dirname(os.path.realpath(here)))
        if folder not in sys.path:
            sys.path.append(folder)
    import gdb_ppc_sstep.load  # noqa: F401  (registers commands and events)


_enter()
