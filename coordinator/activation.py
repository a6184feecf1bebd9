"""Listening sockets that the service manager opened and hands on: nobody is refused at a restart.

The manager keeps them while the service is away, and connections wait in them.
In:   `LISTEN_PID`, `LISTEN_FDS` and `LISTEN_FDNAMES` of the environment.
Out:  sockets, ready for Trio.
Rules:
  1. Variables for another process are left alone; ours are taken out of the environment.
  2. A descriptor that is no listening TCP socket, or whose name we do not know, is refused: whoever
     wrote the unit meant something by it.
Source: systemd's sd_listen_fds(3).
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping
from typing import Final

from coordinator.config import ConfigError

#: The first descriptor that is handed on.
FIRST: Final = 3
#: More than this is no number of ports.
_FDS_MAX: Final = 64
#: Names of descriptors that we serve: our units', and those that nobody named.
NAMES: Final = ("http", "hypernode-coordinator.socket", "unknown", "")


class ActivationError(ConfigError):
    """What the service manager handed on cannot be served; the text names it."""


def inherited_sockets(
    environ: MutableMapping[str, str], *, first: int = FIRST
) -> list[socket.socket]:
    """The sockets that were handed to this process; none if it was started otherwise.

    Args:
        environ: The process's environment; what is ours is taken out.
        first: The first descriptor.

    Raises:
        ActivationError: they are not what we can serve.
    """
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = environ.pop("LISTEN_FDS", "")
    names = environ.pop("LISTEN_FDNAMES", "").split(":")
    del environ["LISTEN_PID"]
    if not count.isdecimal() or int(count) > _FDS_MAX:
        msg = f"LISTEN_FDS is {count!r}: a number up to {_FDS_MAX}"
        raise ActivationError(msg)
    names += [""] * (int(count) - len(names))
    return [_adopt(first + place, names[place]) for place in range(int(count))]


def _adopt(descriptor: int, name: str) -> socket.socket:
    """One descriptor as a socket that no child of ours inherits."""
    where = f"descriptor {descriptor} ({name or 'without a name'})"
    if name not in NAMES:
        msg = f"{where} has a name that is not served: use one of {', '.join(filter(None, NAMES))}"
        raise ActivationError(msg)
    try:
        adopted = socket.socket(fileno=descriptor)
    except OSError as error:
        msg = f"{where} is no socket: {error.strerror}"
        raise ActivationError(msg) from error
    is_tcp = adopted.family in (socket.AF_INET, socket.AF_INET6) and (
        adopted.type == socket.SOCK_STREAM
    )
    if not is_tcp or not adopted.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        adopted.detach()
        msg = f"{where} is no listening TCP socket"
        raise ActivationError(msg)
    adopted.set_inheritable(False)
    return adopted
