"""Starts a program as a service manager with a socket does: `DESCRIPTOR COMMAND …`.

The listening socket has the descriptor that was inherited; the program finds it as descriptor 3.
"""

from __future__ import annotations

import os
import sys

from coordinator.activation import FIRST

if __name__ == "__main__":
    os.dup2(int(sys.argv[1]), FIRST)
    handed = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "http"}
    os.execve(sys.argv[2], sys.argv[2:], {**os.environ, **handed})
