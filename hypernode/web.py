"""The coordinator's HTTP API, as a submitter and the command line use it.

Rules:
  1. A refusal becomes its named exception; a coordinator that does not answer is `Unreachable`.
  2. A session is opened at the first call that needs one, and again once it has expired. The
     bearer stays in this process's memory.
  3. What is refused for the moment (busy, too often) is asked again after a wait; a signed proof
     is spent by its first use, so signing in begins anew with another challenge.
  4. The session that was opened here is closed at the end: a wallet has few of them.
  5. A blob is believed when its hash is right.
Not here: submissions and results as they come (`client.py`, over a WebSocket).
"""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from hashlib import sha256
from pathlib import Path
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
from coordinator.protocol.trust import CA_VARIABLE, client_context, why_untrusted
from hypernode.answers import (
    Account,
    Challenged,
    ErrorAnswer,
    IssuedToken,
    JobInfo,
    LogPart,
    NodeInfo,
    OpenedSession,
)
from hypernode.errors import (
    HypernodeError,
    NotFound,
    Unauthenticated,
    Unreachable,
    error_of,
)
from hypernode.signin import Asked, KeySigner, Signer, check_challenge
from onchain.address import encode_address

A = TypeVar("A")
T = TypeVar("T")

#: Where a coordinator listens by default.
URL_DEFAULT: Final = "http://127.0.0.1:3001"
#: Tries of one call when the coordinator asks to wait: 0.25 + 0.5 + 1 + 2 + 4 seconds in all.
TRIES_MAX: Final = 6
_FIRST_WAIT_S: Final = 0.25
#: Refusals that pass by themselves.
_MOMENTARY: Final = frozenset({"rate_limited", "busy", "unavailable", "draining"})
#: For a TCP connection and TLS: a server without TLS does not answer its first bytes.
_CONNECT_S: Final = 5.0
#: For the farewell.
_CLOSE_S: Final = 1.0
#: Codes for answers that are not ours (a proxy's).
_CODES_OF_STATUSES: Final = {
    401: "unauthenticated", 403: "forbidden", 404: "not_found", 429: "rate_limited", 503: "busy",
}  # fmt: skip
_SENTENCE_BYTES_MAX: Final = 64 * KIB
#: Where a proof is sent, and where its challenge comes from.
_CHALLENGES: Final = {
    "/api/session": "/api/session/challenge",
    "/api/nodes/issue-token": "/api/nodes/challenge",
}


def http_url(url: str) -> str:
    """The coordinator's HTTP address, whichever of http(s) and ws(s) was given.

    Raises:
        ValueError: no such address.
    """
    parts = urlsplit(url if "://" in url else f"http://{url}")
    scheme = {"http": "http", "ws": "http", "https": "https", "wss": "https"}.get(parts.scheme)
    if scheme is None or not parts.hostname:
        msg = f"not a coordinator's address: {url[:100]!r} (write it like {URL_DEFAULT}, or https:)"
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
    #: Where an upload is, or "".
    upload_offset: str = ""


class Body(NamedTuple):
    """What a call sends that is no JSON."""

    #: Its pieces, made anew for each try.
    pieces: Callable[[], AsyncIterator[bytes]]
    headers: Mapping[str, str]


class Web:
    """HTTP calls to one coordinator, with a session where there is a wallet."""

    def __init__(
        self,
        url: str,
        wallet: Keypair | Signer | None,
        *,
        scope: Scope = "wallet",
        timeout_s: float = 30.0,
        ca: Path | str | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Prepare calls; nothing is dialled yet.

        Raises:
            ValueError: the address is none, or the file of authorities (`ca`) cannot serve.
        """
        self.url = http_url(url)
        #: Host and port: what a sign-in text must name.
        self.domain = urlsplit(self.url).netloc
        #: Who signs, if anybody does.
        self.signer: Signer | None = KeySigner(wallet) if isinstance(wallet, Keypair) else wallet
        #: The coordinator's public key, 32 bytes; known once signed in.
        self.coordinator_key = b""
        self._scope = scope
        self._bearer = ""
        self._clock = clock or SystemClock()
        self._signing_in = trio.Lock()
        #: Under TLS: whom to believe; a WebSocket to the same coordinator believes the same.
        self.tls: ssl.SSLContext | None = None
        if self.url.startswith("https:"):
            authorities = ca or os.environ.get(CA_VARIABLE)
            self.tls = client_context(Path(authorities).expanduser() if authorities else None)
        timeout = httpx.Timeout(timeout_s, connect=min(timeout_s, _CONNECT_S))
        self._http = httpx.AsyncClient(
            base_url=self.url, timeout=timeout, trust_env=False, verify=self.tls or True
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with trio.CancelScope(shield=True), trio.move_on_after(_CLOSE_S):
            # A session that cannot be closed now ends by itself in some hours.
            with suppress(HypernodeError):
                await self._sign_out()
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

    def _wallet(self) -> Signer:
        if self.signer is None:
            sentence = "this needs a wallet: pass a key file (make one: hypernode wallet new FILE)"
            raise Unauthenticated("unauthenticated", sentence)
        return self.signer

    async def _sign_in(self) -> str:
        opened, asked = await patiently(
            partial(self._prove, "/api/session", OpenedSession, scope=self._scope)
        )
        self.coordinator_key = asked.coordinator_key
        return opened.bearer

    async def _sign_out(self) -> None:
        bearer, self._bearer = self._bearer, ""
        if bearer:
            await self._send("DELETE", "/api/session", bearer)

    async def issue_token(self, node_key: bytes = b"") -> IssuedToken:
        """A token with which one agent registers for this wallet."""
        issued, _asked = await patiently(
            partial(
                self._prove, "/api/nodes/issue-token", IssuedToken, scope="token", node_key=node_key
            )
        )
        return issued

    async def _prove(
        self, path: str, kind: type[A], *, scope: Scope, node_key: bytes = b""
    ) -> tuple[A, Asked]:
        """Ask for a challenge, have it signed, and send the proof to `path`, once."""
        signer = self._wallet()
        asked = await self._challenge(
            _CHALLENGES[path], signer.address, scope=scope, node_key=node_key
        )
        proof = {
            "wallet": encode_address(signer.address),
            "nonce": asked.nonce,
            **await signer.prove(asked.text),
        }
        return decode(await self._call_once("POST", path, json=proof), kind), asked

    async def _challenge(
        self, path: str, wallet: bytes, *, scope: Scope, node_key: bytes = b""
    ) -> Asked:
        """A challenge for a wallet, checked before anybody signs it."""
        query = {"wallet": encode_address(wallet)}
        if scope != "token":
            query["scope"] = scope
        if node_key:
            query["node"] = encode_address(node_key)
        challenge = decode(await self._call_once("GET", path, params=query), Challenged)
        try:
            return check_challenge(
                wallet,
                challenge,
                scope=scope,
                domain=self.domain,
                now_ms=self._clock.wall_ms(),
                node_key=node_key,
            )
        except Refusal as refusal:
            raise Unauthenticated(refusal.code, refusal.sentence) from refusal

    # ---- what is asked ------------------------------------------------------------------------

    async def quote(self, specs: list[bytes]) -> list[Price]:
        """What these specifications would cost, in order: public, no session needed."""
        body = {"specs": [msgspec.Raw(spec) for spec in specs]}
        return await self._ask("POST", "/api/quotes", list[Price], json=body)

    async def jobs(self) -> list[JobInfo]:
        """This wallet's newest jobs."""
        return await self._ask("GET", "/api/jobs", list[JobInfo], signed_in=True)

    async def job(self, job: str) -> JobInfo:
        """One job; budget and payment are shown to its submitter only."""
        signed_in = self.signer is not None
        return decode(await self._call_job("GET", job, signed_in=signed_in), JobInfo)

    async def nodes(self, wallet: str) -> list[NodeInfo]:
        """The nodes of a wallet: public, no session needed."""
        query = {"wallet": wallet}
        return await self._ask("GET", "/api/nodes/mine", list[NodeInfo], params=query)

    @property
    def wallet(self) -> str:
        """The wallet that asks, base58."""
        return encode_address(self._wallet().address)

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
        await self._call_job("DELETE", job)

    async def logs(
        self, job: str, offset: int = 0, attempt: int = 0, wait_s: float = 0.0
    ) -> LogPart:
        """A job's log from a place on; waits so long at most where there is nothing yet."""
        query = f"/logs?offset={offset}&attempt={attempt}&wait={wait_s:g}"
        return decode(await self._call_job("GET", job, query), LogPart)

    async def result_frame(self, job: str) -> str | bytes:
        """A finished job's result as a frame of the wire: binary where arrays ride along."""
        reply = await self._call_job("GET", job, "/result")
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
        return decode(await self._call(method, path, **options), kind)

    async def _call_job(
        self, method: str, job: str, more: str = "", *, signed_in: bool = True
    ) -> Reply:
        """A call about one job; a refusal says about which."""
        try:
            path = f"/api/jobs/{escape(job, safe='')}{more}"
            return await self._call(method, path, signed_in=signed_in)
        except NotFound as error:
            sentence = f"there is no job {job[:80]!r} here, or it is another wallet's"
            raise error_of("not_found", sentence) from error

    async def _call(self, method: str, path: str, **options: Any) -> Reply:
        """One call, asked again after a wait where it is refused for the moment."""
        if options.get("signed_in"):
            await self.bearer()  # which is patient by itself
        return await patiently(partial(self._call_once, method, path, **options))

    async def _call_once(
        self, method: str, path: str, *, signed_in: bool = False, **options: Any
    ) -> Reply:
        """One call, with a new session where the old one has ended."""
        bearer = await self.bearer() if signed_in else ""
        reply = await self._send(method, path, bearer, **options)
        if reply.status == 401 and signed_in:
            self.forget_bearer(bearer)
            reply = await self._send(method, path, await self.bearer(), **options)
        if reply.status >= 400:
            raise _refusal_in(reply, self.domain)
        return reply

    async def _send(
        self,
        method: str,
        path: str,
        bearer: str,
        *,
        json: Any = None,
        params: Mapping[str, str] | None = None,
        limit: int = BODY_BYTES_MAX,
        sent: Body | None = None,
    ) -> Reply:
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        content: Any = None
        if sent is not None:
            content = sent.pieces()
            headers |= sent.headers
        if json is not None:
            content = msgspec.json.encode(json)
            headers["Content-Type"] = "application/json"
        call = self._http.stream(method, path, content=content, params=params, headers=headers)
        try:
            async with call as response:
                answer = await _read(response, limit)
        except httpx.TransportError as error:
            msg = f"no answer from {self.url}: {_reason(error, self.url)}"
            raise Unreachable(msg) from error
        said = response.headers
        return Reply(
            response.status_code,
            answer,
            said.get("content-type", ""),
            said.get("upload-offset", ""),
        )


async def patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask, and ask again after a growing wait as long as the coordinator says that it is busy."""
    wait_s = _FIRST_WAIT_S
    for _ in range(TRIES_MAX - 1):
        try:
            return await ask()
        except HypernodeError as error:
            if error.code not in _MOMENTARY:
                raise
        await trio.sleep(wait_s)
        wait_s *= 2
    return await ask()


def decode(reply: Reply, kind: type[A]) -> A:
    try:
        return msgspec.json.decode(reply.body, type=kind)
    except msgspec.DecodeError as error:
        raise error_of("malformed", f"the coordinator's answer is not valid: {error}") from error


def _reason(error: httpx.TransportError, url: str) -> str:
    """Why there was no answer; a word about TLS where that is the likely mistake."""
    if untrusted := why_untrusted(error):
        return untrusted
    reason = str(error) or type(error).__name__
    is_tls = isinstance(error, httpx.ConnectTimeout) or "SSL" in reason
    if url.startswith("https:") and is_tls:
        return f"{reason} (a coordinator without TLS is reached by http:)"
    return reason


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
