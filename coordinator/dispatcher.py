"""Sockets on one side, links on the other: every WebSocket of the coordinator lives here.

A connection's life: accepted, a first message within `AUTH_S` that says who it is, then two tasks:
one receives, one sends. Whatever goes wrong ends this connection only, with a named code and one
line in the log.
Not here: what may come when (protocol.session), what messages mean (agent_link, submitter_link).
Source of the limits: `coordinator.limits`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

import trio
import trio_websocket as tw

from coordinator import events as ev
from coordinator.access import BEARER_BYTES
from coordinator.admission import Connections
from coordinator.agent_link import AgentLink
from coordinator.api import Api
from coordinator.limits import (
    AUTH_S,
    HEARTBEAT_S,
    IDLE_S,
    MESSAGES_BURST,
    MESSAGES_PER_S,
    NODES_PER_WALLET_MAX,
    SEND_S,
    SESSIONS_PER_WALLET_MAX,
)
from coordinator.log import bound_contextvars, get_log
from coordinator.metrics import Metrics
from coordinator.outgoing import Outgoing
from coordinator.protocol import messages as m
from coordinator.protocol.errors import HypernodeError, ProtocolError, Refusal
from coordinator.protocol.handshake import NONCE_BYTES, CoordinatorHandshake
from coordinator.protocol.session import Role, Session
from coordinator.ratelimit import RateLimiter
from coordinator.sessions import hash_bearer, new_bearer, open_node_session
from coordinator.store.values import Node
from coordinator.submitter_link import SubmitterLink
from onchain.address import encode_address

log = get_log(__name__)

#: WebSocket close codes, by our own code; 1008 (policy) for the rest.
CLOSE_CODES: Final = {
    "malformed": 1007,
    "too_deep": 1007,
    "unknown_type": 1003,
    "out_of_order": 1002,
    "too_large": 1009,
    "busy": 1013,
    "unavailable": 1013,
    "read_only": 1013,
    "internal": 1011,
    "superseded": 4009,
}
#: How a WebSocket ends that goes on after a restart (RFC 6455's registry: service restart).
RESTART_CODE: Final = 1012
#: Between two looks at queues that run empty, once in a process's life.
_LOOK_S: Final = 0.01
#: What the library closes by itself, by WebSocket close code.
BROKEN_CODES: Final = {1002: "malformed", 1007: "malformed", 1009: "too_large"}


class Link(Protocol):
    """What both kinds of peer have."""

    outgoing: Outgoing
    #: Why the connection must end once its queue is empty.
    broken: Refusal | None

    @property
    def wallet(self) -> bytes: ...
    @property
    def is_idle(self) -> bool: ...

    async def receive(self, message: m.AnyMessage, data: memoryview) -> None: ...
    def leave(self) -> None: ...


class Dispatcher:
    """Serves WebSockets, each for as long as it lasts."""

    def __init__(self, api: Api, connections: Connections, metrics: Metrics) -> None:
        self._api = api
        self._connections = connections
        self._metrics = metrics
        self._open: set[_Conversation] = set()
        #: Open conversations by kind and wallet.
        self._of_wallet: Counter[tuple[str, bytes]] = Counter()

    async def handle(self, request: tw.WebSocketRequest, peer: str) -> None:
        """Accept a WebSocket and serve it until it ends."""
        try:
            ws = await request.accept()
        except (tw.ConnectionClosed, trio.BrokenResourceError, trio.ClosedResourceError):
            return
        conversation = _Conversation(self._api, self._metrics, ws, peer)
        self._open.add(conversation)
        try:
            await self._converse(conversation)
        except* tw.ConnectionClosed as group:
            _note_closed(peer, _first(group))
        except* (HypernodeError, trio.TooSlowError) as group:
            await conversation.part(_first(group))
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

    async def _converse(self, conversation: _Conversation) -> None:
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

    @contextmanager
    def _place_of(self, link: Link) -> Iterator[None]:
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
        try:
            yield
        finally:
            self._of_wallet[key] -= 1
            if not self._of_wallet[key]:
                del self._of_wallet[key]


def _note_closed(peer: str, error: BaseException) -> None:
    """A peer that broke the WebSocket itself was closed by the library: that is a refusal too."""
    reason = error.reason if isinstance(error, tw.ConnectionClosed) else None
    if reason is not None and reason.code in BROKEN_CODES:
        code = BROKEN_CODES[reason.code]
        log.info("connection refused", peer=peer, code=code, close=reason.code)
    else:
        log.debug("connection closed", peer=peer)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


class _Conversation:
    """One connection: its socket, its session, and who it turned out to be."""

    def __init__(self, api: Api, metrics: Metrics, ws: tw.WebSocketConnection, peer: str) -> None:
        self._api = api
        self._metrics = metrics
        self._ws = ws
        self._peer = peer
        self._session = Session(Role.COORDINATOR)
        self._rate = RateLimiter(MESSAGES_PER_S, MESSAGES_BURST, keys_max=1)
        self._bearer_hash = b""
        #: The session that this connection opened by a proof: it ends with it.
        self._own_session = b""
        self._link: Link | None = None
        #: Whether a frame is half sent: if it stays so, nothing more can be said.
        self._is_mid_frame = False
        #: Set once the WebSocket is closed; there is one while it is being closed.
        self._is_closed: trio.Event | None = None

    # ---- one frame -----------------------------------------------------------------------------

    async def _receive(self) -> tuple[m.AnyMessage, memoryview]:
        frame = await self._ws.get_message()
        # Who has waited takes the token that came meanwhile, or every second message were free.
        while wait_s := self._rate.allow("", self._api.operations.clock.monotonic()):
            self._metrics.rate_limited("session")
            await trio.sleep(wait_s)
        message, data = self._session.receive(frame)
        self._metrics.ws_message(m.tag_of(type(message)), "in", len(frame))
        return message, data

    async def _send(self, message: m.AnyMessage, data: bytes = b"") -> None:
        with trio.fail_after(SEND_S):
            await self._send_frame(message, data)

    async def _send_frame(self, message: m.AnyMessage, data: bytes) -> None:
        frame = self._session.send(message, data)
        self._is_mid_frame = True
        await self._ws.send_message(frame)
        self._is_mid_frame = False
        self._metrics.ws_message(m.tag_of(type(message)), "out", len(frame))

    # ---- who it is -----------------------------------------------------------------------------

    async def admit(self) -> Link:
        """The link of a peer that has proven who it is."""
        self._link = await self._admit()
        return self._link

    async def _admit(self) -> Link:
        message, _ = await self._receive()
        match message:
            case m.Open():
                return await self._admit_submitter(message)
            case m.Hello():
                random = self._api.random_bytes(NONCE_BYTES)
                handshake = CoordinatorHandshake(self._api.house.keypair, random)
                await self._send(handshake.answer(message))
                register, _ = await self._receive()
                assert isinstance(register, m.Register), "the session lets nothing else pass"
                return await self._admit_agent(register, handshake.check(register))
            case m.Register():
                return await self._admit_agent(message, b"")
            case _:
                raise ProtocolError("out_of_order")

    async def _admit_submitter(self, message: m.Open) -> Link:
        bearer = message.bearer
        if not bearer:
            opened = await self._api.open_session(
                message.wallet or "", message.nonce, message.signature, message.transaction
            )
            bearer = opened.bearer
            self._own_session = hash_bearer(bearer)
        session = await self._api.session(bearer)
        if session.scope == "node":
            raise Refusal("forbidden", "a node's session is its own connection")
        link = SubmitterLink(self._api, session)
        await self._send(
            m.Opened(
                encode_address(session.wallet),
                session.scope,
                encode_address(self._api.coordinator_key),
            )
        )
        return link

    async def _admit_agent(self, register: m.Register, node_key: bytes) -> Link:
        if not node_key and not register.token:
            raise Refusal("unauthenticated", "register with a token")
        event = ev.NodeRegistered(register.token, node_key, register.host_info)
        node: Node = await self._api.operations.writer.ask(event)
        bearer = new_bearer(self._api.random_bytes(BEARER_BYTES))
        self._bearer_hash = hash_bearer(bearer)
        self._api.node_sessions[self._bearer_hash] = open_node_session(
            node,
            bearer_hash=self._bearer_hash,
            now_ms=self._api.operations.clock.wall_ms(),
        )
        await self._send(
            m.Registered(
                node_id=self._api.ids.encode("node", node.id),
                message="Successfully registered",
                session_key=bearer,
                heartbeat_s=int(HEARTBEAT_S),
            )
        )
        public = self._api.ids.encode("node", node.id)
        log.info("node registered", node=public, peer=self._peer, is_seed=not node_key)
        return AgentLink(self._api, node, is_seed=not node_key)

    # ---- the conversation ----------------------------------------------------------------------

    async def run(self, link: Link) -> None:
        """Receive and send until the connection ends."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._pump, link)
            if isinstance(link, SubmitterLink):
                nursery.start_soon(link.deliver)
                nursery.start_soon(self._keep_alive)
            elif isinstance(link, AgentLink) and link.is_seed:
                nursery.start_soon(self._api.give_test_job, link.node.id)
            await self._listen(link, IDLE_S if isinstance(link, AgentLink) else None)

    async def _listen(self, link: Link, idle_s: float | None) -> None:
        silence_s = math.inf if idle_s is None else idle_s
        # One deadline, moved on: a new one for each message costs as much as the message.
        with trio.fail_after(silence_s) as silence:
            while True:
                message, data = await self._receive()
                # What we do with it is our time, not the peer's silence.
                silence.deadline = math.inf
                try:
                    await link.receive(message, data)
                except Refusal as refusal:
                    log.info("refused", peer=self._peer, code=refusal.code)
                    ref = getattr(message, "ref", 0)
                    link.outgoing.put(m.Error(refusal.sentence[:2000], refusal.code, ref))
                silence.deadline = trio.current_time() + silence_s

    async def _pump(self, link: Link) -> None:
        while True:
            await link.outgoing.wait()
            with trio.fail_after(SEND_S) as sending:
                for message, data in link.outgoing.take():
                    await self._send_frame(message, data)
                    # More may come while these leave: a peer that falls behind for good ends here.
                    if link.outgoing.is_overrun:
                        raise ProtocolError("deadline", "the peer reads too slowly")
                    # One deadline, moved on: a new one for each frame costs as much as the frame.
                    sending.deadline = trio.current_time() + SEND_S
            if link.broken is not None:
                raise link.broken

    async def _keep_alive(self) -> None:
        """A submitter may wait for hours without a word; pings tell whether it is still there."""
        while True:
            await trio.sleep(IDLE_S)
            with trio.fail_after(SEND_S):
                await self._ws.ping()

    def leave(self) -> None:
        """Whoever it was is gone; the socket is still good for a last word (`part`)."""
        if self._link is not None:
            self._link.leave()
        self._api.node_sessions.pop(self._bearer_hash, None)
        if self._own_session:
            self._api.operations.writer.tell(ev.SessionClosed(self._own_session))

    async def close(self) -> None:
        """Let the queue run empty, then close in good order."""
        self._is_closed = trio.Event()
        link = self._link
        while self._is_mid_frame or not (link is None or link.is_idle):  # noqa: ASYNC110
            await trio.sleep(_LOOK_S)
        try:
            await self._ws.aclose(RESTART_CODE, "the coordinator restarts")
        except (tw.ConnectionClosed, trio.BrokenResourceError, trio.ClosedResourceError):
            log.debug("peer left first", peer=self._peer)
        finally:
            self._is_closed.set()

    async def until_closed(self) -> None:
        """The peer's own closing frame is read by whoever serves this connection: stay for it."""
        if self._is_closed is not None:
            await self._is_closed.wait()

    async def part(self, error: BaseException) -> None:
        """Say why, then close: for errors of the peer, and for peers that are too slow."""
        if not isinstance(error, HypernodeError):
            error = ProtocolError("deadline")
        log.info("connection refused", peer=self._peer, code=error.code, error=error.sentence)
        self._metrics.ws_closed(error.code)
        if self._is_mid_frame:
            return
        with trio.move_on_after(1.0, shield=True):
            try:
                if self._session.may_send(m.Error):
                    await self._send(m.Error(error.sentence[:2000], error.code))
                await self._ws.aclose(CLOSE_CODES.get(error.code, 1008), error.code)
            except (tw.ConnectionClosed, trio.BrokenResourceError, trio.ClosedResourceError):
                log.debug("peer left first", peer=self._peer)
