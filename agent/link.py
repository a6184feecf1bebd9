"""One connection to a coordinator: frames under the session's rules, every end of it a `LinkLost`.

In:   a connection that sends and receives frames (`client.py` makes them of WebSockets).
Out:  typed messages; deadlines kept.
Not here: reconnecting (`client.py`), what the messages do (`serving.py`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeAlias, TypeVar

import trio

from coordinator.limits import IDLE_S, SEND_S
from coordinator.protocol.errors import CODES, HypernodeError, ProtocolError, Refusal
from coordinator.protocol.messages import AnyMessage, Error
from coordinator.protocol.session import Role, Session

T = TypeVar("T")


class LinkLost(HypernodeError):
    """The connection ended, or is of no more use."""


class Connection(Protocol):
    """What carries frames. Both calls raise `LinkLost` once it is closed."""

    async def send(self, frame: str | bytes) -> None: ...

    async def receive(self) -> str | bytes: ...


Connect: TypeAlias = Callable[[], AbstractAsyncContextManager[Connection]]


class Link:
    """One connection's messages."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._session = Session(Role.AGENT)

    async def send(self, message: AnyMessage, data: bytes = b"") -> None:
        """Send one message.

        Raises:
            LinkLost: the connection ended, or the peer does not read.
            ProtocolError: this message may not be sent now.
        """
        frame = self._session.send(message, data)
        try:
            with trio.fail_after(SEND_S):
                await self._connection.send(frame)
        except trio.TooSlowError as error:
            raise LinkLost("deadline", "the coordinator does not read") from error

    async def receive(self) -> AnyMessage:
        """The next message.

        Raises:
            LinkLost: the connection ended, or nothing came for `IDLE_S`.
            ProtocolError: the peer broke the wire.
        """
        try:
            with trio.fail_after(IDLE_S):
                frame = await self._connection.receive()
        except trio.TooSlowError as error:
            raise LinkLost("deadline", f"nothing came for {IDLE_S:.0f} s") from error
        message, _data = self._session.receive(frame)
        return message

    async def expect(self, kind: type[T]) -> T:
        """The next message, which must be of this type.

        Raises:
            Refusal: an `error` came instead.
        """
        message = await self.receive()
        if isinstance(message, Error):
            raise refusal_of(message)
        if not isinstance(message, kind):
            raise ProtocolError("out_of_order", f"a {kind.__name__} was due")
        return message


def root_of(error: BaseException) -> BaseException:
    """The first cause of an error: what the system said; of several attempts, the first one's."""
    while True:
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        elif (deeper := error.__cause__ or error.__context__) is not None:
            error = deeper
        else:
            return error


def why_unreachable(error: BaseException) -> str:
    """Why a connection could not be made, in the system's words."""
    error = root_of(error)
    number = getattr(error, "errno", None) or 0
    # Trio's own text names the address, which is known; a resolver's numbers are below 0.
    said = os.strerror(number) if number > 0 else getattr(error, "strerror", None)
    said = said or str(error) or type(error).__name__
    return said[:1].lower() + said[1:]


def refusal_of(error: Error) -> Refusal:
    """The refusal of an `error` message; a code that we do not know is `internal`."""
    code = error.code if error.code in CODES else "internal"
    return Refusal(code, error.message)
