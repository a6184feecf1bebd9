"""The coordinator's HTTP API, as a submitter and the command line use it.

Rules:
  1. A refusal becomes its named exception; a coordinator that does not answer is `Unreachable`.
  2. A session is opened at the first call that needs one, and again once it has expired. The
     bearer stays in this process's memory.
  3. Only calls that are harmless to repeat are repeated, and only when asked to wait (429, 503).
  4. A blob is believed when its hash is right.
Not here: submissions and results as they come (`client.py`, over a WebSocket).
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, TypeVar
from urllib.parse import quote as escape, urlsplit

import httpx
import msgspec
import trio

from coordinator.clock import Clock, SystemClock
from coordinator.limits import BLOB_BYTES_MAX, BODY_BYTES_MAX, KIB
from coordinator.protocol.errors import Refusal
from coordinator.protocol.messages import Price
from coordinator.protocol.signin import Scope
from coordinator.protocol.signing import Keypair
from hypernode.answers import (
    Account,
    Challenged,
    ErrorAnswer,
    IssuedToken,
    JobInfo,
    NodeInfo,
    OpenedSession,
)
from hypernode.errors import HypernodeError, Unauthenticated, Unreachable, error_of
from hypernode.signin import sign_challenge
from onchain.address import encode_address

A = TypeVar("A")

#: Where a coordinator listens by default.
URL_DEFAULT: Final = "http://127.0.0.1:3001"
#: Tries of one call when the coordinator asks to wait: 0.25 + 0.5 + 1 + 2 + 4 seconds in all.
TRIES_MAX: Final = 6
_FIRST_WAIT_S: Final = 0.25
_WAIT_STATUSES: Final = frozenset({429, 503})
#: Codes for answers that are not ours (a proxy's).
_CODES_OF_STATUSES: Final = {
    401: "unauthenticated", 403: "forbidden", 404: "not_found", 429: "rate_limited", 503: "busy",
}  # fmt: skip
_SENTENCE_BYTES_MAX: Final = 64 * KIB


def http_url(url: str) -> str:
    """The coordinator's HTTP address, whichever of http(s) and ws(s) was given.

    Raises:
        ValueError: no such address.
    """
    parts = urlsplit(url if "://" in url else f"http://{url}")
    scheme = {"http": "http", "ws": "http", "https": "https", "wss": "https"}.get(parts.scheme)
    if scheme is None or not parts.hostname:
        msg = f"not a coordinator's address: {url[:100]!r} (write it like {URL_DEFAULT})"
        raise ValueError(msg)
    return f"{scheme}://{parts.netloc}"


def socket_url(url: str) -> str:
    """The coordinator's WebSocket address."""
    return "ws" + http_url(url).removeprefix("http") + "/ws"


class Reply(NamedTuple):
    """What came back: status, whole body, content type."""

    status: int
    body: bytes
    content_type: str


class Web:
    """HTTP calls to one coordinator, with a session where there is a wallet."""

    def __init__(
        self,
        url: str,
        keypair: Keypair | None,
        *,
        scope: Scope = "wallet",
        timeout_s: float = 30.0,
        clock: Clock | None = None,
    ) -> None:
        self.url = http_url(url)
        #: Host and port: what a sign-in text must name.
        self.domain = urlsplit(self.url).netloc
        self.keypair = keypair
        #: The coordinator's public key, 32 bytes; known once signed in.
        self.coordinator_key = b""
        self._scope = scope
        self._bearer = ""
        self._clock = clock or SystemClock()
        self._signing_in = trio.Lock()
        self._http = httpx.AsyncClient(base_url=self.url, timeout=timeout_s, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with trio.CancelScope(shield=True), trio.move_on_after(1):
            await self._http.aclose()

    # ---- who asks -----------------------------------------------------------------------------

    async def bearer(self) -> str:
        """The session's bearer; signs in if there is none.

        Raises:
            Unauthenticated: there is no wallet, or the coordinator refused it.
        """
        async with self._signing_in:
            if not self._bearer:
                self._bearer = await self._sign_in()
            return self._bearer

    def forget_bearer(self, bearer: str) -> None:
        """The coordinator no longer knows this session: the next call signs in anew."""
        if self._bearer == bearer:
            self._bearer = ""

    def _wallet(self) -> Keypair:
        if self.keypair is None:
            sentence = "this needs a wallet: pass a key file (make one: hypernode wallet new FILE)"
            raise Unauthenticated("unauthenticated", sentence)
        return self.keypair

    async def _challenge(self, path: str, query: Mapping[str, str]) -> Challenged:
        return await self._ask("GET", path, Challenged, params=query)

    async def _sign_in(self) -> str:
        keypair = self._wallet()
        wallet = encode_address(keypair.address)
        query = {"wallet": wallet, "scope": self._scope}
        challenge = await self._challenge("/api/session/challenge", query)
        try:
            signed = sign_challenge(
                keypair,
                challenge,
                scope=self._scope,
                domain=self.domain,
                now_ms=self._clock.wall_ms(),
            )
        except Refusal as refusal:
            raise Unauthenticated(refusal.code, refusal.sentence) from refusal
        proof = {"wallet": wallet, "nonce": signed.nonce, "signature": signed.signature}
        opened = await self._ask("POST", "/api/session", OpenedSession, json=proof)
        self.coordinator_key = signed.coordinator_key
        return opened.bearer

    async def issue_token(self, node_key: bytes = b"") -> IssuedToken:
        """A token with which one agent registers for this wallet."""
        keypair = self._wallet()
        query = {"wallet": encode_address(keypair.address)}
        if node_key:
            query["node"] = encode_address(node_key)
        challenge = await self._challenge("/api/nodes/challenge", query)
        try:
            signed = sign_challenge(
                keypair,
                challenge,
                scope="token",
                domain=self.domain,
                now_ms=self._clock.wall_ms(),
                node_key=node_key,
            )
        except Refusal as refusal:
            raise Unauthenticated(refusal.code, refusal.sentence) from refusal
        proof = {
            "wallet": query["wallet"],
            "nonce": signed.nonce,
            "signature": signed.signature,
        }
        return await self._ask("POST", "/api/nodes/issue-token", IssuedToken, json=proof)

    # ---- what is asked ------------------------------------------------------------------------

    async def quote(self, specs: list[bytes]) -> list[Price]:
        """What these specifications would cost, in order; whether it takes a session is theirs."""
        body = {"specs": [msgspec.Raw(spec) for spec in specs]}
        signed_in = self.keypair is not None
        return await self._ask("POST", "/api/quotes", list[Price], json=body, signed_in=signed_in)

    async def jobs(self) -> list[JobInfo]:
        """This wallet's newest jobs."""
        return await self._ask("GET", "/api/jobs", list[JobInfo], signed_in=True)

    async def job(self, job: str) -> JobInfo:
        """One job; budget and payment are shown to its submitter only."""
        signed_in = self.keypair is not None
        path = f"/api/jobs/{escape(job, safe='')}"
        return await self._ask("GET", path, JobInfo, signed_in=signed_in)

    async def nodes(self, wallet: str) -> list[NodeInfo]:
        """The nodes of a wallet: public, no session needed."""
        query = {"wallet": wallet}
        return await self._ask("GET", "/api/nodes/mine", list[NodeInfo], params=query)

    async def account(self) -> Account:
        """This wallet's money."""
        return await self._ask("GET", "/api/account", Account, signed_in=True)

    async def faucet(self, amount: str, key: str) -> Account:
        """Development money; the same key gives once."""
        body = {"amount": amount, "key": key}
        return await self._ask("POST", "/api/faucet", Account, json=body, signed_in=True)

    async def cancel(self, job: str) -> None:
        """Stop one job.

        Raises:
            TooLate: it has ended, or its result is being verified.
        """
        await self._call("DELETE", f"/api/jobs/{escape(job, safe='')}", signed_in=True)

    async def result_frame(self, job: str) -> str | bytes:
        """A finished job's result as a frame of the wire: binary where arrays ride along."""
        path = f"/api/jobs/{escape(job, safe='')}/result"
        reply = await self._call("GET", path, signed_in=True)
        return reply.body.decode() if "json" in reply.content_type else reply.body

    async def blob(self, digest: str, size: int) -> bytes:
        """The bytes with this SHA-256 (hexadecimal).

        Raises:
            HypernodeError: `blob_mismatch` if what came has another hash.
        """
        assert size <= BLOB_BYTES_MAX
        reply = await self._call("GET", f"/api/blobs/{digest}", signed_in=True, limit=size)
        if sha256(reply.body).hexdigest() != digest:
            raise error_of("blob_mismatch")
        return reply.body

    # ---- how ----------------------------------------------------------------------------------

    async def _ask(self, method: str, path: str, kind: type[A], **options: Any) -> A:
        reply = await self._call(method, path, **options)
        try:
            return msgspec.json.decode(reply.body, type=kind)
        except msgspec.DecodeError as error:
            raise error_of(
                "malformed", f"the coordinator's answer is not valid: {error}"
            ) from error

    async def _call(
        self, method: str, path: str, *, signed_in: bool = False, **options: Any
    ) -> Reply:
        """One call: repeated after a wait the coordinator asks for, and once with a new session."""
        may_sign_in_again = signed_in
        wait_s = _FIRST_WAIT_S
        for attempt in range(TRIES_MAX):
            bearer = await self.bearer() if signed_in else ""
            reply = await self._send(method, path, bearer, **options)
            if reply.status < 400:
                return reply
            if may_sign_in_again and reply.status == 401:
                may_sign_in_again = False
                self.forget_bearer(bearer)
            elif reply.status in _WAIT_STATUSES and attempt + 1 < TRIES_MAX:
                await trio.sleep(wait_s)
                wait_s *= 2
            else:
                raise _refusal_in(reply, self.domain)
        raise AssertionError  # the last try returns or raises

    async def _send(
        self,
        method: str,
        path: str,
        bearer: str,
        *,
        json: Any = None,
        params: Mapping[str, str] | None = None,
        limit: int = BODY_BYTES_MAX,
    ) -> Reply:
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        content = None
        if json is not None:
            content = msgspec.json.encode(json)
            headers["Content-Type"] = "application/json"
        call = self._http.stream(method, path, content=content, params=params, headers=headers)
        try:
            async with call as response:
                body = await _read(response, limit)
        except httpx.TransportError as error:
            reason = str(error) or type(error).__name__
            msg = f"no answer from {self.url}: {reason}"
            raise Unreachable(msg) from error
        return Reply(response.status_code, body, response.headers.get("content-type", ""))


async def _read(response: httpx.Response, limit: int) -> bytes:
    """A body of at most `limit` bytes (a refusal's sentence is always let through)."""
    body = bytearray()
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > max(limit, _SENTENCE_BYTES_MAX):
            raise error_of("too_large", "the coordinator's answer is larger than announced")
    return bytes(body)


def _refusal_in(reply: Reply, domain: str) -> HypernodeError:
    """The named error of a refusing answer; a proxy's own page becomes a plain sentence."""
    try:
        answer = msgspec.json.decode(reply.body, type=ErrorAnswer)
    except msgspec.DecodeError:
        answer = ErrorAnswer(f"{domain} answered {reply.status}")
    code = answer.code or _CODES_OF_STATUSES.get(reply.status, "internal")
    return error_of(code, answer.error)
