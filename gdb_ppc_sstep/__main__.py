# SPDX-License-Identifier: MIT
"""`python3 -m gdb_ppc_sstep`: runs the step layer alone, as `gdb-ppc-sstep` does."""

import sys

from .wire.standalone import main

sys.exit(main())
