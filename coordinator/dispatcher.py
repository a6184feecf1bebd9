"""Sockets on one side, links on the other: every WebSocket of the coordinator lives here.

A connection's life: accepted, a first message within `AUTH_S` that says who it is, then a
conversation. Whatever goes wrong ends this connection only, with a named code and one
line in the log.
Not here: one conversation (conversation), what messages mean (agent_link, submitter_link).
Source of the limits: `coordinator.limits`.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import trio
import trio_websocket as tw

from coordinator.admission import Connections, Place
from coordinator.agent_link import AgentLink
from coordinator.api import Api
from coordinator.conversation import Conversation, Link
from coordinator.frame_stream import FrameStream
from coordinator.limits import (
    AUTH_S,
    NODES_PER_WALLET_MAX,
    SESSIONS_PER_WALLET_MAX,
)
from coordinator.log import bound_contextvars, get_log
from coordinator.metrics import Metrics
from coordinator.protocol.errors import HypernodeError, Refusal
from coordinator.protocol.streams import first_of
from onchain.address import encode_address

log = get_log(__name__)

#: What the library closes by itself, by WebSocket close code.
BROKEN_CODES: Final = {1002: "malformed", 1007: "malformed", 1009: "too_large"}


class Dispatcher:
    """Serves WebSockets, each for as long as it lasts."""

    def __init__(self, api: Api, connections: Connections, metrics: Metrics) -> None:
        self._api = api
        self._connections = connections
        self._metrics = metrics
        #: Open conversations by kind and wallet.
        self._of_wallet: Counter[tuple[str, bytes]] = Counter()
        self._on_leave = self._leave
        #: All that are open: their deadlines are looked at now and then.
        self._open: set[Conversation] = set()
        api.operations.on_tick.append(self._check_deadlines)

    def _check_deadlines(self, now: float) -> None:
        for conversation in self._open:
            conversation.check_deadlines(now)

    async def handle(self, request: tw.WebSocketRequest, peer: str, stream: FrameStream) -> None:
        """Accept a WebSocket on this stream and serve it until it ends."""
        stream.read_messages()
        try:
            ws = await request.accept()
        except (tw.ConnectionClosed, trio.BrokenResourceError, trio.ClosedResourceError):
            return
        # The library keeps the request until its next event, which may never come.
        request.headers.clear()
        del request
        _forget_handshake(ws)
        conversation = Conversation(self._api, self._metrics, ws, stream, peer)
        self._open.add(conversation)
        try:
            await self._converse(conversation)
        except* tw.ConnectionClosed as group:
            _note_closed(peer, first_of(group))
        except* (HypernodeError, trio.TooSlowError) as group:
            await conversation.part(first_of(group))
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            log.debug("connection broken", peer=peer)
        finally:
            self._open.discard(conversation)
        await conversation.until_closed()

    async def close(self, seconds: float) -> None:
        """Send what waits to be sent, then close every WebSocket: the service restarts (1012)."""
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                for conversation in tuple(self._open):
                    nursery.start_soon(conversation.close)

    async def _converse(self, conversation: Conversation) -> None:
        try:
            with self._connections.stranger() as authenticated:
                with trio.fail_after(AUTH_S):
                    link = await conversation.admit()
                authenticated()
            with self._place_of(link), bound_contextvars(**self._names_of(link)):
                await conversation.run(link)
        finally:
            conversation.leave()

    def _names_of(self, link: Link) -> dict[str, str]:
        """Who it is, for every line of the log about it."""
        if isinstance(link, AgentLink):
            return {"node": self._api.ids.encode("node", link.node.id)}
        return {"wallet": encode_address(link.wallet)}

    def _place_of(self, link: Link) -> Place[tuple[str, bytes]]:
        """One of the places that a wallet has."""
        kind, limit = (
            ("node", NODES_PER_WALLET_MAX)
            if isinstance(link, AgentLink)
            else ("submitter", SESSIONS_PER_WALLET_MAX)
        )
        key = (kind, link.wallet)
        if self._of_wallet[key] >= limit:
            raise Refusal("too_many_sessions")
        self._of_wallet[key] += 1
        return Place(self._on_leave, key)

    def _leave(self, key: tuple[str, bytes]) -> None:
        self._of_wallet[key] -= 1
        if not self._of_wallet[key]:
            del self._of_wallet[key]


class _Shaken:
    """What is left of a handshake that is over."""

    @staticmethod
    def events() -> tuple[()]:
        """None: they have all been seen."""
        return ()


def _forget_handshake(ws: tw.WebSocketConnection) -> None:
    """Give back what parsed the handshake: 3 KB that the library keeps for a connection's life.

    Its insides: where they look otherwise one day, the memory is kept, and nothing else changes.
    """
    inner = getattr(ws, "_wsproto", None)
    if inner is not None and inner.connection is not None:
        inner.handshake = _Shaken


def _note_closed(peer: str, error: BaseException) -> None:
    """A peer that broke the WebSocket itself was closed by the library: that is a refusal too."""
    reason = error.reason if isinstance(error, tw.ConnectionClosed) else None
    if reason is not None and reason.code in BROKEN_CODES:
        code = BROKEN_CODES[reason.code]
        log.info("connection refused", peer=peer, code=code, close=reason.code)
    else:
        log.debug("connection closed", peer=peer)
