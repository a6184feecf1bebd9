"""The agent on the wire: connect, prove, resume, then work until told to stop. Never gives up.

In:   a `Setup`: how to connect, the node key, the runner, the outbox, time and randomness.
Out:  a running session; `Unwelcome` when only a person can help; nothing after a drain.
Rules:
  1. Jobs go on while disconnected; what is held is listed at the next `resume`. Kernels warm up
     beside the first connection: whoever is unwelcome learns it before.
  2. A result is dropped at its ack, whatever the ack's code, and at nothing else.
  3. Silence for `IDLE_S`, or a send that takes `SEND_S`, ends the connection.
  4. A refusal that time does not heal ends the agent with the code and the fix.
  5. The coordinator's key is pinned at the first session (`state.py`).
Not here: an open session (`serving.py`), running and keeping (`attempts.py`), proofs
(`handshake.py`). Only this file of the agent knows trio-websocket.
Source: parsec-cloud's `backend_connection` (shape); AWS full jitter (`backoff.py`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from ssl import SSLContext
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import trio
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    ConnectionTimeout,
    HandshakeError,
    wrap_client_stream,
)
from wsproto.utilities import LocalProtocolError

from agent.attempts import Attempts
from agent.backoff import Backoff
from agent.keeper import disk_trouble
from agent.link import Connect, Connection, Link, LinkLost, why_unreachable
from agent.places import Places
from agent.serving import Serving
from agent.setup import Setup
from agent.status import Link as LinkStatus, LinkState
from agent.welcome import HEALED_BY_TOKEN, Unwelcome, unwelcome
from coordinator.limits import (
    AUTH_S,
    CLOSE_S,
    DRAIN_S,
    FRAME_BYTES_MAX,
    HEAD_S,
    KIB,
    READ_AHEAD_FRAMES_MAX,
    RECONNECT_RESET_S,
)
from coordinator.log import get_log
from coordinator.protocol.errors import HypernodeError, Refusal, said_in
from coordinator.protocol.handshake import AgentHandshake
from coordinator.protocol.messages import Challenge, Inventory, Registered
from coordinator.protocol.streams import WatchedStream, first_of, open_stream
from coordinator.protocol.trust import client_context, why_untrusted

_RECEIVE_BYTES: Final = 64 * KIB
#: Part of a drain's time that goes to what runs; the rest is for results and their acks.
_DRAIN_RUN_PART: Final = 0.8
#: While the coordinator stays away for one reason, it is said again after this long.
_SAY_AGAIN_S: Final = 300.0
_SILENT: Final = f"no answer within {HEAD_S:.0f} s"
_HUNG_UP: Final = "it closed the connection without an answer"
_log = get_log("agent.client")


def _why_closed(error: Exception) -> str:
    """The end of a connection in a few words."""
    reason = getattr(error, "reason", None)
    if reason is None:
        return "the connection closed"
    said = f": {reason.reason}" if reason.reason else ""
    return f"the connection closed with {reason.code}{said}"


class _Socket:
    """A trio-websocket connection as a `Connection`."""

    def __init__(self, websocket: Any) -> None:
        self._websocket = websocket

    async def send(self, frame: str | bytes) -> None:
        try:
            await self._websocket.send_message(frame)
        except (ConnectionClosed, LocalProtocolError) as error:
            # The second: the peer's closing frame is being answered at this moment.
            raise LinkLost("unreachable", _why_closed(error)) from error

    async def receive(self) -> str | bytes:
        try:
            frame: str | bytes = await self._websocket.get_message()
        except ConnectionClosed as error:
            raise LinkLost("unreachable", _why_closed(error)) from error
        return frame


def connect_url(url: str, tls: SSLContext | None = None) -> Connect:
    """Connections to a `ws://` or `wss://` address."""
    parts = urlsplit(url)
    host, is_tls = parts.hostname or "", parts.scheme == "wss"
    port = parts.port or (443 if is_tls else 80)
    path = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
    trusted = (tls or client_context()) if is_tls else None

    return connect_stream(partial(open_stream, host, port, trusted), host=parts.netloc, path=path)


def connect_stream(
    dial: Callable[[], Awaitable[trio.abc.Stream]],
    *,
    host: str = "coordinator",
    path: str = "/",
) -> Connect:
    """Connections over streams that are made and closed here.

    Why not trio-websocket's own `open_websocket_url`: it leaves its stream open when the other end
    closes first, which for an agent is the rule.
    """

    @asynccontextmanager
    async def connect() -> AsyncIterator[Connection]:
        stream = websocket = failure = None
        with trio.move_on_after(HEAD_S):
            stream = await dial()
        if stream is None:
            raise ConnectionTimeout(_SILENT)
        ended = trio.Event()
        try:
            async with trio.open_nursery() as nursery:
                with trio.move_on_after(HEAD_S) as greeting:
                    websocket = await wrap_client_stream(
                        nursery,
                        WatchedStream(stream, on_end=lambda: _end(ended, greeting)),
                        host,
                        path,
                        message_queue_size=READ_AHEAD_FRAMES_MAX,
                        max_message_size=FRAME_BYTES_MAX,
                        receive_buffer_size=_RECEIVE_BYTES,
                    )
                if websocket is not None:
                    yield _Socket(websocket)
                    with trio.move_on_after(CLOSE_S):
                        await websocket.aclose()
                nursery.cancel_scope.cancel()
        except* (HandshakeError, trio.BrokenResourceError) as group:
            failure = first_of(group)
        finally:
            await trio.aclose_forcefully(stream)
        if failure is not None:
            raise failure
        if websocket is None:
            raise (
                trio.BrokenResourceError(_HUNG_UP) if ended.is_set() else ConnectionTimeout(_SILENT)
            )

    return connect


def _end(ended: trio.Event, greeting: trio.CancelScope) -> None:
    """The peer closed: whoever still waits for its answer to the handshake waits in vain."""
    ended.set()
    greeting.cancel()


class Agent:
    """One agent; `run` it in one task."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._state = setup.state
        self._backoff = Backoff(setup.rng)
        self._wants_token = not setup.state.is_bound
        self._is_stopping = False
        self._stop = trio.CancelScope()
        self._serving: Serving | None = None
        #: Why it ended, if not by a drain.
        self.failure: HypernodeError | None = None
        self.attempts = Attempts(setup.runner, setup.outbox, setup.hop, setup.inputs)
        if isinstance(setup.inventory, Inventory):
            self.attempts.open(setup.inventory)
        #: The last reason that was logged, and when.
        self._said_reason, self._said_at = "", 0.0
        self.link = LinkStatus(since=setup.clock.monotonic())
        #: Public id of this node, once a session opened.
        self.node_id = ""

    async def run(self) -> None:
        """Work until drained.

        Raises:
            Unwelcome: the coordinator refuses this agent for good.
            Refusal: this host cannot compute; the text says why.
        """
        with self._stop:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.attempts.run)
                nursery.start_soon(self._warm_up)
                self.failure = await self._stay_connected() or self.failure
                nursery.cancel_scope.cancel()
        if self.failure is not None:
            raise self.failure

    @property
    def status(self) -> str:
        """How it goes, in one line."""
        state = "connected" if self._serving is not None else "not connected"
        name = f" as {self.node_id}" if self.node_id else ""
        return f"{state}{name}: {self.attempts.counts}"

    async def _warm_up(self) -> None:
        """Find out what this host can do; a host that can do nothing ends the agent."""
        if isinstance(self._setup.inventory, Inventory):
            return
        try:
            inventory = await self._setup.inventory()
        except Refusal as refusal:
            self.failure = refusal
            self._leave()
        else:
            places = None if self._setup.places is None else Places(self._setup.places())
            self.attempts.open(inventory, places)
            if self._setup.watch is not None:
                await self._setup.watch(self.attempts.change)

    @property
    def wallet(self) -> str:
        """Base58 of the wallet for which it registered, if that is known."""
        return self._state.wallet

    async def drain(self, seconds: float = DRAIN_S) -> None:
        """Take no more jobs, finish, send the results, close. What is not sent stays on disk."""
        self.attempts.is_draining = True
        if self._serving is not None:
            await self._serving.be_quiet()
        # Before it is open no job is held, and no result may be sent.
        with trio.move_on_after(seconds if self.attempts.is_open else 0):
            await self.attempts.drain(seconds * _DRAIN_RUN_PART)
            while not self.attempts.is_idle or len(self.attempts.outbox):
                await self.attempts.wait_changed()
        # What was acknowledged is written off now: the next start would count it as unsent.
        await self.attempts.outbox.flush()
        _log.info("drained", unsent_results=len(self.attempts.outbox))
        self._leave()

    def _leave(self) -> None:
        """Close the connection in good order and end."""
        self._is_stopping = True
        if self._serving is None:
            self._stop.cancel()
        else:
            self._serving.stop()

    async def _stay_connected(self) -> Unwelcome | None:
        clock = self._setup.clock
        while True:
            began = clock.monotonic()
            reason = await self._connect_once()
            if self._is_stopping:
                return None
            if isinstance(reason, Unwelcome):
                return reason
            if clock.monotonic() - began > RECONNECT_RESET_S:
                self._backoff.reset()
            wait_s = self._backoff.next_s()
            self._note("offline", str(reason), retry_s=wait_s)
            self._say_disconnected(str(reason), wait_s)
            await trio.sleep(wait_s)
            self._note("connecting", str(reason))

    def _say_disconnected(self, reason: str, wait_s: float) -> None:
        """A line when it begins, when the reason changes, and from time to time."""
        now = self._setup.clock.monotonic()
        if reason == self._said_reason and now - self._said_at < _SAY_AGAIN_S:
            return
        self._said_reason, self._said_at = reason, now
        _log.warning("disconnected", reason=reason, retry_s=round(wait_s, 1))

    def _note(self, state: LinkState, reason: str = "", *, retry_s: float = 0.0) -> None:
        """What the operator sees of the connection."""
        now = self._setup.clock.monotonic()
        # Tries one after the other are one time without a coordinator.
        since = now if "online" in {state, self.link.state} else self.link.since
        self.link = LinkStatus(state, reason, since, retry_s)

    async def _connect_once(self) -> Exception | None:
        """One connection from its beginning to its end; returns why it ended."""
        reason: Exception | None = None
        try:
            async with self._setup.connect() as connection:
                reason = await self._converse(Link(connection))
        except (HandshakeError, OSError, trio.BrokenResourceError) as error:
            # An error of the closing handshake says less than what came before it.
            if isinstance(error, ConnectionRejected):
                said = said_in(error.status_code, error.body or b"")
            else:
                said = why_untrusted(error) or why_unreachable(error)
            reason = reason or LinkLost("unreachable", said)
        return reason

    async def _converse(self, link: Link) -> Exception | None:
        try:
            with trio.fail_after(AUTH_S):
                registered, coordinator_key = await self._register(link)
        except trio.TooSlowError:
            return LinkLost("deadline", f"no session within {AUTH_S:.0f} s")
        except HypernodeError as error:
            return error
        self.node_id = registered.node_id
        self._note("online")
        self._said_reason = ""
        _log.info("registered", node=registered.node_id, message=registered.message)
        if unsent := len(self.attempts.outbox):
            _log.info("unsent results", count=unsent)
        self._serving = Serving(
            self._setup, self.attempts, link, registered, coordinator_key=coordinator_key
        )
        self._serving.on_drain = self._hear_drain
        self._serving.on_standing = self._hear_standing
        try:
            return await self._serving.run()
        finally:
            self._serving = None

    def _hear_drain(self) -> None:
        """The coordinator stops soon."""
        self.link = msgspec.structs.replace(self.link, is_draining=True)

    def _hear_standing(self, reason: str) -> None:
        """The coordinator sends no jobs for this reason, or sends them again."""
        self.link = msgspec.structs.replace(self.link, standing=reason)

    async def _register(self, link: Link) -> tuple[Registered, bytes]:
        """The handshake; returns the coordinator's answer and its proven key.

        Raises:
            Unwelcome: a person must help.
            HypernodeError: anything else; the next connection may do better.
        """
        setup = self._setup
        handshake = AgentHandshake(setup.node_key, setup.new_nonce(), self._state.pinned)
        token = setup.token if self._wants_token else ""
        await link.send(handshake.hello())
        try:
            challenge = await link.expect(Challenge)
            await link.send(handshake.answer(challenge, token=token, host_info=setup.host_info))
            registered = await link.expect(Registered)
        except Refusal as refusal:
            raise self._judge(refusal, token) from refusal
        assert handshake.coordinator_key is not None
        try:
            await self._state.remember(handshake.coordinator_key)
        except OSError as error:
            raise LinkLost("internal", disk_trouble(error)) from error
        self._wants_token = False
        return registered, handshake.coordinator_key

    def _judge(self, refusal: Refusal, token: str) -> HypernodeError:
        """What a refused registration means: a person's work, another try, or one with a token."""
        if not token and self._setup.token and refusal.code in HEALED_BY_TOKEN:
            self._wants_token = True
            return LinkLost(refusal.code, f"{refusal.sentence} Next with the token.")
        return unwelcome(refusal.code, refusal.sentence) or refusal
