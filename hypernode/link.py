"""The connection that stays: dials again when it is lost, and asks again what was not answered.

In:   a way to dial, a bearer, an `Inbox` of what is awaited.
Out:  answers in the inbox; `Unreachable` for all who wait once patience is over.
Rules:
  1. Dialled only while something is awaited; kept as long as the coordinator lets it.
  2. After each dial: `open` with the bearer, then what `Inbox.opened` says, then new requests.
  3. A session that its wallet revoked ends all that waits on it; the next question signs in anew.
  4. A refused bearer is forgotten and a new one bought once in a row; any other refusal ends all.
Not here: which library speaks WebSocket (`client.py`), what may be said when (`session.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol, TypeAlias, cast

import trio

from coordinator.limits import AUTH_S
from coordinator.protocol.messages import (
    AnyMessage,
    Error,
    Open,
    ToSubmitter,
    Watch,
)
from coordinator.protocol.session import Role, Session
from hypernode.errors import HypernodeError, Timeout, Unreachable, error_of
from hypernode.inbox import Ask, Inbox, Request

#: A quiet connection is asked for a sign of life this often; middleboxes forget sooner than 60 s.
PING_S: Final = 15.0
#: Time for the answer to that.
PONG_S: Final = 10.0
#: Between two dials of a lost coordinator: doubles from the first to the second.
REDIAL_FIRST_S: Final = 0.1
REDIAL_MAX_S: Final = 3.0
#: Somebody took this session back: what waits on it ends, and is not begun again by itself.
_REVOKED: Final = "session_revoked"
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
        #: The open connection, once all that was awaited has been sent on it.
        self._open: tuple[Socket, Session] | None = None
        self._wanted = trio.Event()
        #: Since when there is no connection; `None` while there is one, or none is wanted.
        self._lost_at: float | None = None
        self._wait_s = REDIAL_FIRST_S
        self._is_bearer_refused = False

    async def ask(self, message: Ask) -> Request:
        """Ask and wait for the answer, over as many connections as it takes.

        Raises:
            Unreachable: the coordinator stayed away too long.
            Timeout: it is there and does not answer.
            HypernodeError: it refused.
        """
        request = self.inbox.ask(message)
        try:
            with trio.move_on_after(self._timeout_s + self._patience_s):
                if self._open is not None:
                    await self._say(self.inbox.sending(request))
                self._wanted.set()
                await request.done.wait()
        finally:
            self.inbox.forget(request)
        if request.error is not None:
            raise request.error
        if request.answer is None:
            raise Timeout("the coordinator does not answer")
        if request.sent_count > 1 and request.jobs:
            # The jobs' first updates may have gone to the connection that was lost.
            await self.watch(list(request.jobs))
        return request

    async def watch(self, jobs: list[str]) -> None:
        """Ask for the state of jobs; a new connection does that by itself."""
        for message in self.inbox.watches(jobs):
            if self._open is not None:
                await self._say(message)
        self._wanted.set()

    async def _say(self, message: Ask | Watch) -> None:
        assert self._open is not None
        socket, session = self._open
        try:
            await socket.send(session.send(message))
        except Unreachable:
            return  # the next connection begins with it

    async def run(self) -> None:
        """Stay connected for as long as something is awaited; never returns."""
        while True:
            while self.inbox.is_idle:
                self._wanted = trio.Event()
                await self._wanted.wait()
            dialled_at = trio.current_time()
            try:
                await self._converse()
            except Unreachable as error:
                if trio.current_time() - dialled_at > REDIAL_MAX_S:
                    self._wait_s = REDIAL_FIRST_S  # it was a good connection
                await self._wait_or_give_up(error)
            except HypernodeError as error:
                self._give_up(error)

    async def _wait_or_give_up(self, error: Unreachable) -> None:
        if self._lost_at is None:
            self._lost_at = trio.current_time()
        if trio.current_time() - self._lost_at >= self._patience_s:
            self._give_up(error)
            return
        await trio.sleep(self._wait_s)
        self._wait_s = min(self._wait_s * 2, REDIAL_MAX_S)

    def _give_up(self, error: HypernodeError) -> None:
        self._lost_at = None
        self._wait_s = REDIAL_FIRST_S
        self.inbox.give_up(error)

    async def _converse(self) -> None:
        """One connection, from its dial to its end (which is an `Unreachable`)."""
        bearer = await self._bearer.bearer()
        session = Session(Role.SUBMITTER)
        async with self._dial() as socket:
            await socket.send(session.send(Open(bearer=bearer)))
            refused = await _refusal(socket, session)
            if refused is not None:
                self._refuse(bearer, refused)
                return
            self._is_bearer_refused = False
            self._lost_at = None
            for message in self.inbox.opened():
                await socket.send(session.send(message))
            self._open = socket, session
            try:
                await self._listen(socket, session)
            finally:
                self._open = None

    async def _listen(self, socket: Socket, session: Session) -> None:
        while True:
            frame: str | bytes | None = None
            with trio.move_on_after(PING_S):
                frame = await socket.receive()
            if frame is not None:
                message, data = _to_submitter(session.receive(frame))
                if isinstance(message, Error) and message.code == _REVOKED:
                    raise error_of(message.code, message.message)
                self.inbox.receive(message, data)
                continue
            with trio.move_on_after(PONG_S) as deaf:
                await socket.ping()
            if deaf.cancelled_caught:
                raise Unreachable("the coordinator fell silent")

    def _refuse(self, bearer: str, refused: Error) -> None:
        """A refused bearer is bought anew, once in a row; any other refusal is final.

        Raises:
            HypernodeError: the refusal.
        """
        if refused.code not in _SIGN_IN_AGAIN or self._is_bearer_refused:
            raise error_of(refused.code, refused.message)
        self._is_bearer_refused = True
        self._bearer.forget_bearer(bearer)


async def _refusal(socket: Socket, session: Session) -> Error | None:
    """The coordinator's answer to `open`, if it is a refusal."""
    with trio.move_on_after(AUTH_S):
        answer, _data = session.receive(await socket.receive())
        return answer if isinstance(answer, Error) else None
    raise Unreachable("the coordinator does not answer")


def _to_submitter(received: tuple[AnyMessage, memoryview]) -> tuple[ToSubmitter, memoryview]:
    """The session has decoded with a submitter's decoder: say so to the type checker."""
    message, data = received
    return cast("ToSubmitter", message), data
