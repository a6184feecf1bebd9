"""Two ways to wake tasks of this process: for work to be done, and for a condition to be met."""

from __future__ import annotations

import trio


class Bell:
    """Wakes one task; ringing it twice before it wakes is ringing it once."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def ring(self) -> None:
        self._event.set()

    async def wait(self) -> None:
        await self._event.wait()
        self._event = trio.Event()


class Change:
    """Wakes all that wait; each checks what it waits for, then waits again."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def ring(self) -> None:
        before, self._event = self._event, trio.Event()
        before.set()

    async def wait(self) -> None:
        await self._event.wait()
