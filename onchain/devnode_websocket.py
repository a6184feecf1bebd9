"""Subscriptions of the dev node: who asked for news gets them over the WebSocket.

In:   WebSocket connections, `Bell` (rung whenever the machine has moved).
Out:  notifications in a validator's shapes: accounts, programs, signatures, logs, slots, roots.
      Every other method is answered as over HTTP.
Rules:
  1. News are worked out from the machine's state when the bell rings: nobody is forgotten and
     nothing is queued for a slow peer but one round.
  2. A signature is told of once, then its subscription ends.
  3. Connections, subscriptions and messages have limits.
Not covered: `blockSubscribe`, `voteSubscribe`; an account that changes twice between two rounds is
told of once.
"""

from __future__ import annotations

from typing import Any, Final

import trio
from trio_websocket import ConnectionClosed, HandshakeError, WebSocketConnection, WebSocketRequest

from coordinator.limits import (
    DEVNODE_CONNECTIONS_MAX,
    DEVNODE_SUBSCRIPTIONS_MAX,
)
from onchain.devnode_news import WATCHES, Watch
from onchain.devnode_params import INVALID_PARAMS, Params, RpcError
from onchain.devnode_rpc import answer_one, encode, failed, parse, succeeded
from onchain.machine import Machine

_TOO_MANY: Final = -32000


class Bell:
    """Rings whenever the machine has moved; a listener that was busy hears the last ring."""

    def __init__(self) -> None:
        self.rings = 0
        self._event = trio.Event()

    def ring(self) -> None:
        self.rings += 1
        self._event.set()
        self._event = trio.Event()

    async def heard(self, rings: int) -> int:
        """Wait until it has rung more often than `rings`; returns how often."""
        while self.rings == rings:
            await self._event.wait()
        return self.rings


class Subscriptions:
    """Handles WebSocket requests of the dev node."""

    def __init__(self, machine: Machine, bell: Bell) -> None:
        self._machine = machine
        self._bell = bell
        self._numbers = 0
        self.open = 0

    async def serve(self, request: WebSocketRequest) -> None:
        """Serve one connection to its end."""
        if self.open >= DEVNODE_CONNECTIONS_MAX:
            await request.reject(503, body=b"too many connections")
            return
        self.open += 1
        try:
            async with await request.accept() as socket, trio.open_nursery() as nursery:
                watches: dict[int, Watch] = {}
                nursery.start_soon(self._tell, socket, watches)
                await self._listen(socket, watches)
                nursery.cancel_scope.cancel()
        except (ConnectionClosed, HandshakeError, OSError, trio.BrokenResourceError):
            return
        except BaseExceptionGroup as errors:
            _, others = errors.split((ConnectionClosed, OSError, trio.BrokenResourceError))
            if others is not None:
                raise others from errors
        finally:
            self.open -= 1

    async def _listen(self, socket: WebSocketConnection, watches: dict[int, Watch]) -> None:
        while True:
            message = await socket.get_message()
            try:
                said = self._answer(parse(message), watches)
            except RpcError as error:
                said = failed(None, error)
            if said is not None:
                await socket.send_message(encode(said).decode())
            # It may have moved the machine, and a new subscription may have old news: both come
            # after the answer, so that the peer knows the subscription's number.
            self._bell.ring()

    def _answer(self, document: Any, watches: dict[int, Watch]) -> dict[str, object] | None:
        method = document.get("method") if isinstance(document, dict) else None
        if not isinstance(method, str) or not method.endswith(("Subscribe", "Unsubscribe")):
            return answer_one(self._machine, document)
        number = document.get("id")
        try:
            params = Params(document.get("params"))
            if method.endswith("Unsubscribe"):
                return succeeded(number, self._end(params, watches))
            return succeeded(number, self._begin(method, params, watches))
        except RpcError as error:
            return failed(number, error)

    def _begin(self, method: str, params: Params, watches: dict[int, Watch]) -> int:
        make = WATCHES.get(method)
        if make is None:
            raise RpcError(-32601, "Method not found")
        if len(watches) >= DEVNODE_SUBSCRIPTIONS_MAX:
            raise RpcError(_TOO_MANY, f"at most {DEVNODE_SUBSCRIPTIONS_MAX} subscriptions")
        self._numbers += 1
        watches[self._numbers] = make(self._machine, params)
        return self._numbers

    def _end(self, params: Params, watches: dict[int, Watch]) -> bool:
        if watches.pop(params.integer(0), None) is None:
            raise RpcError(INVALID_PARAMS, "Invalid subscription id.")
        return True

    async def _tell(self, socket: WebSocketConnection, watches: dict[int, Watch]) -> None:
        rings = -1
        while True:
            rings = await self._bell.heard(rings)
            for number, watch in [*watches.items()]:
                for result in watch.news(self._machine):
                    params = {"result": result, "subscription": number}
                    told = {"jsonrpc": "2.0", "method": watch.notification, "params": params}
                    await socket.send_message(encode(told).decode())
                if watch.is_over:
                    watches.pop(number, None)
