"""The connection that stays: dials again when it is lost, and asks again what was not answered.

In:   a way to dial, a bearer, an `Inbox` of what is awaited.
Out:  answers in the inbox; `Unreachable` for all who wait once patience is over.
Rules:
  1. Dialled only while something is awaited; kept as long as the coordinator lets it.
  2. After each dial: `open` with the bearer, then what `Inbox.opened` says, then new requests.
  3. A refused bearer is forgotten and a new one bought once in a row; any other refusal ends all.
Not here: which library speaks WebSocket (`client.py`), what may be said when (`session.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol, TypeAlias

import trio

from coordinator.limits import AUTH_S
from coordinator.protocol.errors import ProtocolError
from coordinator.protocol.messages import Error, Open, Opened
from coordinator.protocol.session import Role, Session
from hypernode.errors import HypernodeError, Timeout, Unreachable, error_of
from hypernode.inbox import Answered, Ask, Inbox

#: A quiet connection is asked for a sign of life this often; middleboxes forget sooner than 60 s.
PING_S: Final = 15.0
#: Time for the answer to that.
PONG_S: Final = 10.0
#: Between two dials of a lost coordinator: doubles from the first to the second.
REDIAL_FIRST_S: Final = 0.1
REDIAL_MAX_S: Final = 3.0
_SIGN_IN_AGAIN: Final = frozenset({"unauthenticated", "session_expired"})


class Socket(Protocol):
    """A WebSocket; each call raises `Unreachable` once it is closed."""

    async def send(self, frame: str | bytes) -> None: ...
    async def receive(self) -> str | bytes: ...
    async def ping(self) -> None: ...


class Bearer(Protocol):
    """Where the session's bearer comes from."""

    async def bearer(self) -> str: ...
    def forget_bearer(self, bearer: str) -> None: ...


Dial: TypeAlias = Callable[[], AbstractAsyncContextManager[Socket]]


class Link:
    """One client's conversation with its coordinator."""

    def __init__(self, dial: Dial, bearer: Bearer, *, patience_s: float, timeout_s: float) -> None:
        self.inbox = Inbox()
        self._dial = dial
        self._bearer = bearer
        self._patience_s = patience_s
        self._timeout_s = timeout_s
        self._session = Session(Role.SUBMITTER)
        #: The open connection, if there is one and all that was awaited has been sent on it.
        self._socket: Socket | None = None
        self._wanted = trio.Event()

    async def ask(self, message: Ask) -> Answered:
        """Ask and wait for the answer, over as many connections as it takes.

        Raises:
            Unreachable: the coordinator stayed away too long.
            Timeout: it is there and does not answer.
            HypernodeError: it refused.
        """
        request = self.inbox.ask(message)
        try:
            with trio.move_on_after(self._timeout_s + self._patience_s):
                await self._say(self.inbox.sending(request), needs_answer=True)
                await request.done.wait()
        finally:
            self.inbox.forget(request)
        if request.error is not None:
            raise request.error
        if request.answer is None:
            raise Timeout("the coordinator does not answer")
        return request.answer

    async def watch(self, jobs: list[str]) -> None:
        """Ask for updates of jobs; on a new connection that happens by itself."""
        for message in self.inbox.watches(jobs):
            await self._say(message)
        self._want()

    def _want(self) -> None:
        self._wanted.set()

    async def _say(self, message: Ask, *, needs_answer: bool = False) -> None:
        """Send now if there is a connection; otherwise the next one begins with it."""
        self._want()
        if self._socket is None:
            return
        try:
            await self._socket.send(self._session.send(message))
        except Unreachable:
            pass

    async def run(self) -> None:
        """Stay connected for as long as something is awaited; never returns."""
        wait_s = REDIAL_FIRST_S
        lost_at = float("inf")
        while True:
            await self._until_wanted()
            try:
                await self._converse()
            except (Unreachable, ProtocolError) as error:
                pass
