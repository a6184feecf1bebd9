"""What the service manager is told: ready, alive, stopping, and a line of how it goes.

In:   `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` of the environment; what a role says.
Out:  datagrams of systemd's protocol. Without a service manager nothing is sent, nothing differs.
Rules:
  1. The variables are taken out of the environment: no child speaks for us.
  2. `WATCHDOG=1` goes out only while the loop was on time and the role says that it is well; who
     stays silent for the unit's `WatchdogSec` is killed and started again.
  3. A manager that does not listen costs a line in the log, never the service.
Not covered: `RELOADING=1` (there is no reload), descriptors kept by the manager (`FDSTORE=1`).
Source: systemd's sd_notify(3) and sd_watchdog_enabled(3); no library, the protocol is text.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, MutableMapping
from typing import Final

import trio

from coordinator.limits import LOOP_LAG_S_MAX
from coordinator.log import get_log

#: Word of life this many times in the time after which the manager gives up.
_BEATS: Final = 3
#: A status is told this often where no watchdog asks for more.
_STATUS_S: Final = 10.0
#: Of the loop's lag: how late a sleep of this long ends.
_LOOK_S: Final = 0.25
_STATUS_CHARS_MAX: Final = 200
_log = get_log("notify")


class Notifier:
    """Speaks to a service manager, or to nobody."""

    def __init__(self, address: str = "", watchdog_s: float = 0.0) -> None:
        """Prepare to speak.

        Args:
            address: The manager's datagram socket: a path, or `@` and an abstract name; empty for
                nobody.
            watchdog_s: Silence after which the manager kills the service; 0 for never.
        """
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._watchdog_s = watchdog_s
        self._status = ""

    @classmethod
    def of(cls, environ: MutableMapping[str, str]) -> Notifier:
        """The manager that the environment names, whose variables are taken out of it."""
        address = environ.pop("NOTIFY_SOCKET", "")
        watchdog_us = environ.pop("WATCHDOG_USEC", "")
        process = environ.pop("WATCHDOG_PID", str(os.getpid()))
        is_ours = watchdog_us.isdecimal() and process == str(os.getpid())
        return cls(address, int(watchdog_us) / 1e6 if is_ours else 0.0)

    @property
    def is_heard(self) -> bool:
        """Whether there is a manager."""
        return bool(self._address)

    def ready(self, status: str) -> None:
        """The service works from now on; for the manager its start has ended."""
        self._tell("READY=1", self._line(status))

    def stopping(self, status: str) -> None:
        """The service is about to end by itself."""
        self._tell("STOPPING=1", self._line(status))

    def status(self, text: str) -> None:
        """One line for `systemctl status`; sent if it differs from the last one."""
        if text != self._status:
            self._tell(self._line(text))

    def _line(self, status: str) -> str:
        self._status = status
        return f"STATUS={' '.join(status.split())[:_STATUS_CHARS_MAX]}"

    async def keep_alive(self, status: Callable[[], str], trouble: Callable[[], str]) -> None:
        """Say that the service lives, and how it goes, for ever.

        Args:
            status: One line; told when it changes.
            trouble: Why the service does not work though its loop turns; empty if it does.
        """
        if not self.is_heard:
            return
        every_s = self._watchdog_s / _BEATS if self._watchdog_s else _STATUS_S
        while True:
            lag_s = await _lag_s()
            reason = trouble() or (f"the loop lags {lag_s:.1f} s" if lag_s > LOOP_LAG_S_MAX else "")
            self.status(f"in trouble: {reason}" if reason else status())
            if self._watchdog_s and not reason:
                self._tell("WATCHDOG=1")
            await trio.sleep(every_s - _LOOK_S)

    def _tell(self, *lines: str) -> None:
        if not self.is_heard:
            return
        try:
            # A socket for each word: there are six in a minute.
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as outlet:
                outlet.setblocking(False)
                outlet.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            _log.warning("the service manager does not listen", error=str(error))


async def _lag_s() -> float:
    """How much later than asked a short sleep ends."""
    before = trio.current_time()
    await trio.sleep(_LOOK_S)
    return trio.current_time() - before - _LOOK_S
