# SPDX-License-Identifier: MIT
"""Connect a unix socket with stdin and stdout, or with a client of a port.

--listen HOST: of a TCP port.  --datagrams: of a UDP port of this machine.
"""

from __future__ import annotations

import os
import select
import socket
import sys


def copy(read: int, write: int) -> bool:
    """Copy what can be read now.  False: the other end has closed."""
    data = os.read(read, 65536)
    while data:
        data = data[os.write(write, data) :]
        if not data:
            return True
    return False


def main() -> None:
    """Copy both ways until either side ends."""
    with socket.socket(socket.AF_UNIX) as stub:
        stub.connect(sys.argv[1])
        reads, writes = 0, 1
        if "--listen" in sys.argv:
            host = sys.argv[sys.argv.index("--listen") + 1]
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            with socket.create_server((host, 0), family=family) as server:
                print(server.getsockname()[1], flush=True)
                client, _ = server.accept()
            reads = writes = client.fileno()
        if "--datagrams" in sys.argv:
            server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            server.bind(("127.0.0.1", 0))
            print(server.getsockname()[1], flush=True)
            server.connect(server.recvfrom(1, socket.MSG_PEEK)[1])
            reads = writes = server.fileno()
        ends = {reads: stub.fileno(), stub.fileno(): writes}
        while all(copy(end, ends[end]) for end in select.select(list(ends), [], [])[0]):
            pass


main()
