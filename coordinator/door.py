"""What every HTTP request passes before and after the application: an ASGI layer.

Rules, in this order:
  0. Behind a trusted proxy the peer and the scheme are those that it names (`forwarded`).
  1. A body with a length and chunks: 400, and the connection ends. A host that is not served: 421.
     A preflight of a listed origin, or for an Action: 204.
  2. Too many requests from one network: 429 with `Retry-After`.
  3. A body has `BODY_S`, a blob's `BLOB_S`; then 408.
  4. An answer given before the body was read is sent, then the rest of the body is thrown away for
     `DISCARD_S`; if there is still more, the connection ends. (Hypercorn would wait for ever for
     somebody to read it: a leak that a peer could cause at will.)
  5. No exception leaves: 500 `internal`, and one line in the log.
  6. Each refusal is one line in the log; 429 is counted only. With `access_log` every answer is one
     besides.
CORS: the exact origins of the configuration, never with credentials (there are no cookies). The one
exception are the paths of Solana Actions (`onchain.actions`): any origin, on every answer.
Not here: what is answered (`http`), WebSockets (`server` checks them).
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from http import HTTPStatus
from typing import Any, Final, TypeAlias

import msgspec
import trio

from coordinator.admission import ANY_ORIGIN, is_host_allowed, is_origin_allowed, network_of
from coordinator.config import Config
from coordinator.forwarded import (
    client_of,
    is_like_a_proxy,
    is_trusted,
    networks_of,
    scheme_of,
)
from coordinator.limits import BLOB_S, BODY_S, DISCARD_S, REQUESTS_BURST, REQUESTS_PER_S
from coordinator.log import bound_contextvars, get_log
from coordinator.metrics import Metrics
from coordinator.protocol.errors import Refusal
from coordinator.ratelimit import RateLimiter
from coordinator.views import ErrorView
from onchain import actions

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]
Headers: TypeAlias = list[tuple[bytes, bytes]]

#: Key in a scope's `state`: a function that ends the connection; `server` puts it there.
ABORT: Final = "hypernode.abort"
#: And one that says that the next bytes begin another request.
EXPECT_HEAD: Final = "hypernode.expect_head"

_EVERYWHERE: Final[Headers] = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]
_API: Final[Headers] = [
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
]
_NO_BODY: Final[Headers] = [(b"access-control-max-age", b"600"), (b"content-length", b"0")]
_PREFLIGHT: Final[Headers] = [
    (b"access-control-allow-methods", b"GET, HEAD, POST, PUT, DELETE"),
    (b"access-control-allow-headers", b"authorization, content-type, range"),
    *_NO_BODY,
]
#: 429 is counted; the line of a 500 has its traceback.
_NOTED_ELSEWHERE: Final = frozenset(
    {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.INTERNAL_SERVER_ERROR}
)
#: Answers that have no body, whatever their headers say.
_WITHOUT_BODY: Final = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})
#: Characters of a path that a line of the log keeps.
PATH_CHARS_LOGGED_MAX: Final = 200
_EXPOSED: Final = b"content-range, etag, retry-after"

log = get_log(__name__)


def error_view(path: str, sentence: str, code: str, challenge: str | None = None) -> ErrorView:
    """A refusal as the answers of a path show it."""
    return ErrorView(sentence, code, challenge, sentence if actions.is_action(path) else "")


def header(scope: Scope, name: bytes) -> str | None:
    """A header of the request, or None."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), None)


def headers_of(scope: Scope, name: bytes) -> str:
    """A header that may stand there several times, joined by commas."""
    return ",".join(value.decode("latin-1") for key, value in scope["headers"] if key == name)


def error_body(refusal: Refusal, path: str = "") -> bytes:
    """The JSON of a refusal."""
    return msgspec.json.encode(error_view(path, refusal.sentence, refusal.code))


class Door:
    """The application, behind its door."""

    def __init__(
        self, app: App, config: Config, metrics: Metrics, chain_name: Callable[[], str] = str
    ) -> None:
        """Stand before an application.

        Args:
            app: What answers.
            config: Origins, hosts, proxies.
            metrics: Where answers and refusals are counted.
            chain_name: CAIP-2 name of the chain, "" while it is not known: Actions tell it.
        """
        self.app = app
        self._chain_name = chain_name
        self._hosts = config.allowed_hosts
        self._origins = config.cors_origins
        self._proxies = networks_of(config.trusted_proxies)
        self._is_remarked = False
        self._metrics = metrics
        self._requests = RateLimiter(REQUESTS_PER_S, REQUESTS_BURST)
        self._logs_all = config.access_log
        #: Requests that came.
        self._numbers = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        self._look_behind_proxy(scope)
        exchange = _Exchange(scope, receive, send, self._headers(scope), self._metrics)
        self._numbers += 1
        with bound_contextvars(request=self._numbers):
            await self._serve(scope, exchange)
            if self._logs_all:
                exchange.note()

    async def _serve(self, scope: Scope, exchange: _Exchange) -> None:
        try:
            self._check(scope)
            if is_preflight(scope):
                await self._preflight(scope, exchange)
            else:
                await self.app(scope, exchange.receive, exchange.send)
        except Refusal as refusal:
            await exchange.refuse(refusal)
        except Exception:
            # A request's fault ends that request only.
            log.exception("request failed", method=scope["method"], path=scope["path"])
            self._metrics.failed("http")
            await exchange.refuse(Refusal("internal"))
        finally:
            await exchange.finish()

    def _look_behind_proxy(self, scope: Scope) -> None:
        """Put the client's address and scheme into the scope, for everybody who looks there."""
        peer = peer_of(scope)
        if not is_trusted(peer, self._proxies):
            self._remark_on_proxy(scope, peer)
            return
        client = client_of(peer, headers_of(scope, b"x-forwarded-for"), self._proxies)
        if client != peer:
            scope["client"] = (client, 0)
        proto = headers_of(scope, b"x-forwarded-proto")
        scope["scheme"] = scheme_of(scope["scheme"], peer, proto, self._proxies)

    def _remark_on_proxy(self, scope: Scope, peer: str) -> None:
        """Once: a proxy of one's own that is not trusted gives all its clients one limit."""
        if self._is_remarked or header(scope, b"x-forwarded-for") is None:
            return
        if is_like_a_proxy(peer):
            self._is_remarked = True
            log.warning(
                "a proxy is not trusted",
                peer=peer,
                reason="it names clients (X-Forwarded-For), and all of them share its limits",
                fix=f"if it is yours: trusted_proxies = [{peer!r}]",
            )

    def _check(self, scope: Scope) -> None:
        if _has_two_lengths(scope):
            raise TwoLengths
        if not is_host_allowed(header(scope, b"host") or "", self._hosts):
            raise Refusal("bad_host")
        network = network_of(peer_of(scope))
        wait = self._requests.allow(network, trio.current_time())
        if wait:
            self._metrics.rate_limited("address")
            raise TooOften(wait)

    async def _preflight(self, scope: Scope, exchange: _Exchange) -> None:
        is_action = actions.is_action(scope["path"])
        if not is_action and not is_origin_allowed(header(scope, b"origin"), self._origins):
            raise Refusal("bad_origin")
        headers = list(_NO_BODY if is_action else _PREFLIGHT)
        await exchange.send({"type": "http.response.start", "status": 204, "headers": headers})
        await exchange.send({"type": "http.response.body", "body": b""})

    def _headers(self, scope: Scope) -> Headers:
        """What is added to the answer, where the application has not said it itself."""
        found = list(_EVERYWHERE)
        if scope["path"].startswith("/api/"):
            found += _API
        if actions.is_action(scope["path"]):
            told = actions.headers(self._chain_name())
            return found + [(k.lower().encode(), v.encode()) for k, v in told.items()]
        origin = header(scope, b"origin")
        if self._origins:
            found.append((b"vary", b"origin"))
        if origin is not None and is_origin_allowed(origin, self._origins):
            shown = ANY_ORIGIN if ANY_ORIGIN in self._origins else origin
            found.append((b"access-control-allow-origin", shown.encode("latin-1")))
            found.append((b"access-control-expose-headers", _EXPOSED))
        return found


class TooOften(Refusal):
    """Asked too often; `wait_s` says how long to wait."""

    def __init__(self, wait_s: float) -> None:
        super().__init__("rate_limited")
        self.wait_s = wait_s


class TwoLengths(Refusal):
    """A body with a length and chunks: a proxy before us may see its end elsewhere than we do."""

    def __init__(self) -> None:
        super().__init__("malformed", "a body has a length or chunks, not both")


def _has_two_lengths(scope: Scope) -> bool:
    return (
        header(scope, b"content-length") is not None
        and header(scope, b"transfer-encoding") is not None
    )


def peer_of(scope: Mapping[str, Any]) -> str:
    """The address that a request counts for: the peer's, or the one that its proxy names."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def is_preflight(scope: Scope) -> bool:
    """Whether a browser asks what it may ask."""
    return (
        scope["method"] == "OPTIONS" and header(scope, b"access-control-request-method") is not None
    )


def wait_header(refusal: Refusal) -> dict[str, str]:
    """`Retry-After`, where the refusal knows it."""
    if isinstance(refusal, TooOften):
        return {"retry-after": str(max(1, math.ceil(refusal.wait_s)))}
    return {"retry-after": "1"} if refusal.status in {429, 503, 507} else {}


class _Exchange:
    """One request and its answer."""

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, headers: Headers, metrics: Metrics
    ) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._headers = headers
        self._metrics = metrics
        self._abort: Callable[[], None] | None = scope.get("state", {}).get(ABORT)
        self._expect_head: Callable[[], None] | None = scope.get("state", {}).get(EXPECT_HEAD)
        #: Bytes of the answer that the peer waits for, where it knows their number.
        self._left: int | None = None
        self._is_whole = False
        is_blob = scope["path"].startswith("/api/blobs/")
        self._deadline = trio.current_time() + (BLOB_S if is_blob else BODY_S)
        # HTTP/2 has bodies without either header, and says for every request where its body ends.
        self._is_received = (
            scope["http_version"].startswith("1")
            and header(scope, b"content-length") in {None, "0"}
            and header(scope, b"transfer-encoding") is None
        )
        self._is_answered = False
        self._began = trio.current_time()
        self._status = 0
        self._sent_bytes = 0

    async def receive(self) -> Message:
        """The application's view of the request: in time, or not at all."""
        if self._is_received:
            return await self._receive()
        with trio.move_on_at(self._deadline) as scope:
            message = await self._receive()
            self._is_received = not message.get("more_body", False)
            if message["type"] == "http.disconnect":
                raise Refusal("malformed", "the body of the request ended early")
            return message
        assert scope.cancelled_caught
        raise Refusal("deadline", "the body of the request took too long")

    async def send(self, message: Message) -> None:
        """The application's answer, with what is added to each."""
        if message["type"] == "http.response.start":
            self._is_answered = True
            self._status = message["status"]
            self._metrics.http_answered(self._status)
            if self._status >= HTTPStatus.BAD_REQUEST and self._status not in _NOTED_ELSEWHERE:
                log.info("request refused", **self._facts())
            said = {name.lower() for name, _ in message.get("headers", [])}
            added = [pair for pair in self._headers if pair[0] not in said]
            message = {**message, "headers": [*message.get("headers", []), *added]}
            self._left = self._length_of(message)
        elif not message.get("more_body", False) and not self._is_received:
            await self._pass_on({**message, "more_body": True})
            await self.finish()
            message = {"type": "http.response.body", "body": b""}
        await self._pass_on(message)

    def _length_of(self, start: Message) -> int | None:
        """Bytes of the body that the peer waits for; None where only their end tells."""
        if self._scope["method"] == "HEAD" or start["status"] in _WITHOUT_BODY:
            return 0
        lengths = [value for name, value in start["headers"] if name.lower() == b"content-length"]
        return int(lengths[0]) if len(lengths) == 1 and lengths[0].isdigit() else None

    async def _pass_on(self, message: Message) -> None:
        size = len(message.get("body", b""))
        self._sent_bytes += size
        if self._left is not None:
            self._left -= size
        is_body = message["type"] == "http.response.body"
        is_end = is_body and not message.get("more_body", False)
        if not self._is_whole and (self._left == 0 or is_end):
            # With this the peer has the whole answer, and may ask again before it formally ends.
            self._is_whole = True
            self._note_whole()
        await self._send(message)

    def _note_whole(self) -> None:
        """The next bytes are a request's head, unless some of this one's body are still to come."""
        is_http1 = self._scope["http_version"].startswith("1")
        if self._is_received and is_http1 and self._expect_head is not None:
            self._expect_head()

    def note(self) -> None:
        """One line about a request that was answered."""
        log.info("request answered", **self._facts(), sent_bytes=self._sent_bytes)

    def _facts(self) -> dict[str, Any]:
        """What a line tells of a request: never its query, its headers or its body."""
        return {
            "status": self._status,
            "method": self._scope["method"],
            "path": self._scope["path"][:PATH_CHARS_LOGGED_MAX],
            "peer": peer_of(self._scope),
            "scope": getattr(self._scope.get("auth"), "scope", ""),
            "ms": round((trio.current_time() - self._began) * 1000, 1),
        }

    async def refuse(self, refusal: Refusal) -> None:
        """Answer with a refusal, if no answer has begun; one that has begun is cut off."""
        if self._is_answered:
            if self._abort is not None:
                self._abort()
            return
        body = error_body(refusal, self._scope["path"])
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        headers += [(k.encode(), v.encode()) for k, v in wait_header(refusal).items()]
        if isinstance(refusal, TwoLengths):
            # What follows may be somebody else's request.
            headers.append((b"connection", b"close"))
        await self.send(
            {"type": "http.response.start", "status": refusal.status, "headers": headers}
        )
        await self.send({"type": "http.response.body", "body": body})

    async def finish(self) -> None:
        """Throw away what is left of the body; end the connection if it does not end in time."""
        with trio.move_on_after(DISCARD_S):
            while not self._is_received:
                message = await self._receive()
                self._is_received = not message.get("more_body", False)
        if not self._is_received and self._abort is not None:
            self._abort()
            self._is_received = True
