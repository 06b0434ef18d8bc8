# SPDX-License-Identifier: MIT
"""Single-stepping for ppc64 guests behind a gdbstub that cannot step (POWER KVM HV).

In gdb: `source .../gdb_ppc_sstep/__init__.py`, or `python import gdb_ppc_sstep` with the folder
above on sys.path.  Outside gdb importing this does nothing, and only rooms without gdb can be used.

The Python of a gdb that is too old for the rest must still be able to read this file.
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
        # Not __file__: if a Python script has gdb source this file, it names the script.
        here = _enter.__code__.co_filename
        folder = os.path.dirname(os.path.dirname(os.path.realpath(here)))
        if folder not in sys.path:
            sys.path.append(folder)
    import gdb_ppc_sstep.load  # noqa: F401  (registers commands and events)


_enter()
