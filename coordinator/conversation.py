"""One conversation over a WebSocket: who it is, then what it says, one message after the other.

Deadlines are two numbers that the dispatcher looks at now and then (`check_deadlines`): a scope of
Trio's around each message would cost as much as the message.
Not here: what leaves, and when (sending), what may come when (protocol.session), what messages mean
(agent_link, submitter_link).
Source of the limits: `coordinator.limits`.
"""

from __future__ import annotations

import math
from typing import Final, Protocol, TypeAlias

import trio
import trio_websocket as tw

from coordinator import events as ev
from coordinator.access import BEARER_BYTES
from coordinator.agent_link import AgentLink
from coordinator.api import Api
from coordinator.frame_stream import FrameStream
from coordinator.limits import (
    HEARTBEAT_S,
    IDLE_S,
    MESSAGES_BURST,
    MESSAGES_PER_S,
    SEND_S,
)
from coordinator.log import get_log
from coordinator.metrics import Metrics
from coordinator.protocol import messages as m
from coordinator.protocol.errors import HypernodeError, ProtocolError, Refusal
from coordinator.protocol.handshake import NONCE_BYTES, CoordinatorHandshake
from coordinator.protocol.session import Role, Session
from coordinator.ratelimit import Bucket
from coordinator.sending import Sender, Sending
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
    "slow_reader": 1013,
    "internal": 1011,
    "session_expired": 4001,
    "token_expired": 4001,
    "session_revoked": 4003,
    "token_revoked": 4003,
    "superseded": 4009,
}
#: How a WebSocket ends that goes on after a restart (RFC 6455's registry: service restart).
RESTART_CODE: Final = 1012
#: Between two looks at queues that run empty, once in a process's life.
_LOOK_S: Final = 0.01

_Received: TypeAlias = tuple[m.AnyMessage, memoryview]


class Link(Sender, Protocol):
    """What both kinds of peer have."""

    @property
    def wallet(self) -> bytes: ...
    @property
    def is_idle(self) -> bool: ...

    @property
    def is_open(self) -> bool:
        """Whether a message may be acted upon without a wait."""
        ...

    def receive_now(self, message: m.AnyMessage, data: memoryview) -> bool:
        """Act on a message, unless that takes a wait; whether it is done with."""
        ...

    async def receive(self, message: m.AnyMessage, data: memoryview) -> None: ...
    def leave(self) -> None: ...


class Conversation:
    """One connection: its socket, its session, and who it turned out to be."""

    __slots__ = (
        *("_api", "_bearer_hash", "_is_closed", "_link", "_metrics", "_own_session", "_peer"),
        *("_rate", "_received", "_scope", "_sending", "_session", "_silence_s", "_silent_since"),
        *("_stream", "_ws"),
    )

    def __init__(
        self,
        api: Api,
        metrics: Metrics,
        ws: tw.WebSocketConnection,
        stream: FrameStream,
        peer: str,
    ) -> None:
        self._api = api
        self._metrics = metrics
        self._ws = ws
        self._stream = stream
        self._peer = peer
        self._session = Session(Role.COORDINATOR)
        self._sending = Sending(api.operations.senders, metrics, ws, stream, self._session)
        self._rate = Bucket(MESSAGES_PER_S, MESSAGES_BURST)
        #: What was read of the frame that the task that listens gets next.
        self._received: _Received | Exception | None = None
        self._bearer_hash = b""
        #: The session that this connection opened by a proof: it ends with it.
        self._own_session = b""
        self._link: Link | None = None
        #: Since when the peer is silent; else never.
        self._silent_since = math.inf
        self._silence_s = math.inf
        #: Set once the WebSocket is closed; there is one while it is being closed.
        self._is_closed: trio.Event | None = None
        #: Of all its tasks; cancelled when the peer is late.
        self._scope: trio.CancelScope | None = None

    # ---- one frame -----------------------------------------------------------------------------

    async def _receive(self) -> _Received:
        frame = await self._stream.message()
        if self._received is not None:
            # The frame has been looked at: it takes a wait, or is an end.
            received, self._received = self._received, None
            if isinstance(received, Exception):
                raise received
            return received
        if frame is None:
            frame = await self._ws.get_message()
        # Who has waited takes the token that came meanwhile, or every second message were free.
        while wait_s := self._rate.allow(self._api.operations.clock.monotonic()):
            self._metrics.rate_limited("session")
            await trio.sleep(wait_s)
        return self._read(frame)

    def _read(self, frame: str | bytes) -> _Received:
        message, data = self._session.receive(frame)
        self._metrics.ws_message(m.tag_of(type(message)), "in", len(frame))
        return message, data

    def _receive_now(self, frame: str | bytes) -> bool:
        """Act on a frame where it is read, if that takes no wait; whether it is done with.

        Else it is left to the task that listens, and so is whatever is wrong with it.
        """
        link = self._link
        if link is None or not link.is_open:
            return False
        if self._rate.allow(self._api.operations.clock.monotonic()):
            return False
        try:
            received = self._read(frame)
            if not self._is_done(link, received):
                self._received = received
                return False
        except Exception as error:  # noqa: BLE001 - told where it ends this conversation only
            self._received = error
            return False
        if link.outgoing:
            self._sending.send_answer()
        self._silent_since = trio.current_time()
        return True

    def _is_done(self, link: Link, received: _Received) -> bool:
        try:
            return link.receive_now(*received)
        except Refusal as refusal:
            self._answer_refusal(link, received[0], refusal)
            return True

    def _answer_refusal(self, link: Link, message: m.AnyMessage, refusal: Refusal) -> None:
        log.info("refused", peer=self._peer, code=refusal.code)
        ref = getattr(message, "ref", 0)
        link.outgoing.put(m.Error(refusal.sentence[:2000], refusal.code, ref))

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
                await self._sending.send(handshake.answer(message))
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
                message.wallet or "",
                message.nonce,
                message.signature,
                message.transaction,
                peer=self._peer,
            )
            bearer = opened.bearer
            self._own_session = hash_bearer(bearer)
        session = await self._api.session(bearer)
        if session.scope == "node":
            raise Refusal("forbidden", "a node's session is its own connection")
        self._link = link = SubmitterLink(self._api, session)
        # It may have been revoked while it was read: from here on its end reaches the link.
        await self._api.session(bearer)
        await self._sending.send(
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
        await self._sending.send(
            m.Registered(
                node_id=self._api.ids.encode("node", node.id),
                message="Successfully registered",
                session_key=bearer,
                heartbeat_s=int(HEARTBEAT_S),
            )
        )
        public = self._api.ids.encode("node", node.id)
        log.info("node registered", node=public, peer=self._peer, is_seed=not node_key)
        self._link = link = AgentLink(self._api, node, is_seed=not node_key)
        # As with a submitter's session: revoked since it was asked, or its end reaches the link.
        row = await self._api.read(lambda reader: reader.node(node.id))
        if row is not None and row.is_revoked:
            raise Refusal("token_revoked")
        return link

    # ---- the conversation ----------------------------------------------------------------------

    async def run(self, link: Link) -> None:
        """Receive and send until the connection ends.

        Raises:
            trio.TooSlowError: the peer was silent, or did not take what was sent, for too long.
        """
        async with trio.open_nursery() as nursery:
            self._scope = nursery.cancel_scope
            self._sending.begin(link, nursery)
            self._stream.on_message = self._receive_now
            if isinstance(link, SubmitterLink):
                nursery.start_soon(link.deliver)
                nursery.start_soon(self._keep_alive, link)
            elif isinstance(link, AgentLink):
                self._silence_s = IDLE_S
                if link.is_seed:
                    nursery.start_soon(self._api.give_test_job, link.node.id)
            await self._listen(link)
        if self._scope.cancelled_caught:
            raise trio.TooSlowError

    def check_deadlines(self, now: float) -> None:
        """End the conversation if the peer is late."""
        is_silent = now - self._silent_since > self._silence_s
        if (is_silent or now - self._stream.sending_since > SEND_S) and self._scope is not None:
            self._scope.cancel()

    async def _listen(self, link: Link) -> None:
        while True:
            self._silent_since = trio.current_time()
            message, data = await self._receive()
            # What we do with it is our time, not the peer's silence.
            self._silent_since = math.inf
            try:
                await link.receive(message, data)
                if link.outgoing:
                    self._sending.send_answer()
            except Refusal as refusal:
                self._answer_refusal(link, message, refusal)

    async def _keep_alive(self, link: SubmitterLink) -> None:
        """A submitter may wait for hours without a word; pings tell whether it is still there."""
        while True:
            await trio.sleep(IDLE_S)
            if link.is_expired:
                raise ProtocolError("session_expired")
            # Not awaited for long: what does not leave is what `sending_since` is for.
            with trio.fail_after(SEND_S):
                await self._ws.ping()

    def leave(self) -> None:
        """Whoever it was is gone; the socket is still good for a last word (`part`)."""
        self._stream.on_message = None
        self._sending.end()
        if self._link is not None:
            self._link.leave()
        self._api.node_sessions.pop(self._bearer_hash, None)
        if self._own_session:
            self._api.operations.writer.tell(ev.SessionClosed(self._own_session))

    async def close(self) -> None:
        """Let the queue run empty, then close in good order."""
        self._is_closed = trio.Event()
        try:
            while self._is_sending or not (self._link is None or self._link.is_idle):  # noqa: ASYNC110
                await trio.sleep(_LOOK_S)
            await self._ws.aclose(RESTART_CODE, "the coordinator restarts")
        except (tw.ConnectionClosed, trio.BrokenResourceError, trio.ClosedResourceError):
            log.debug("peer left first", peer=self._peer)
        finally:
            self._is_closed.set()

    @property
    def _is_sending(self) -> bool:
        return self._stream.sending_since != math.inf or self._stream.held > 0

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
        if self._stream.sending_since != math.inf:
            # A frame is half sent: nothing more can be said.
            return
        with trio.move_on_after(1.0, shield=True):
            try:
                if self._session.may_send(m.Error):
                    await self._sending.send(m.Error(error.sentence[:2000], error.code))
                await self._ws.aclose(CLOSE_CODES.get(error.code, 1008), error.code)
            except (tw.ConnectionClosed, trio.BrokenResourceError, trio.ClosedResourceError):
                log.debug("peer left first", peer=self._peer)
