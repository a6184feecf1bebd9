"""How light peers get their tokens and sessions: HTTP calls of many wallets, from many addresses.

In:   a coordinator's address; a local address to call from.
Out:  tokens of agents, bearers and credit of submitters.
Why not the client of `hypernode.web`: a coordinator lets one address ask 20 times a second; this
one calls from whichever loopback address it is told, and is light enough for thousands of wallets.
"""

from __future__ import annotations

from typing import Any, Final, Self
from urllib.parse import urlencode, urlsplit

import msgspec
import trio

from benchmarks.hub import open_tcp
from coordinator.clock import SystemClock
from coordinator.limits import REQUESTS_BURST
from coordinator.protocol.signin import Scope
from coordinator.protocol.signing import Keypair, generate
from hypernode.answers import Challenged, IssuedToken, OpenedSession
from hypernode.signin import KeySigner, check_challenge
from onchain.address import encode_address

#: Calls of one address before another one is used: within what it may ask at once.
_CALLS_MAX: Final = REQUESTS_BURST - 10
_ANSWER_S: Final = 60.0
_CREDIT: Final = "1000000"
#: 127.x.y.z: another address for every few wallets, from the second one on.
_FIRST_ADDRESS: Final = 2
_ADDRESSES: Final = 250


class CallFailed(Exception):
    """The coordinator refused a call, or did not answer."""


def loopback(number: int) -> str:
    """One of this machine's loopback addresses."""
    high, low = divmod(number, _ADDRESSES)
    return f"127.0.{high % _ADDRESSES}.{_FIRST_ADDRESS + low}"


class Caller:
    """One connection over which HTTP calls go, one after the other."""

    def __init__(self, url: str, local: str) -> None:
        self._parts = urlsplit(url)
        self._local = local
        self._stream: trio.SocketStream
        self._rest = b""

    async def __aenter__(self) -> Self:
        host, port = self._parts.hostname, self._parts.port
        assert host is not None
        assert port is not None
        self._stream = await open_tcp(host, port, self._local)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stream.aclose()

    async def call(self, method: str, path: str, body: Any = None, bearer: str = "") -> bytes:
        """The body of the answer.

        Raises:
            CallFailed: a status of 400 or more.
        """
        data = b"" if body is None else msgspec.json.encode(body)
        signed = f"Authorization: Bearer {bearer}\r\n" if bearer else ""
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self._parts.netloc}\r\n{signed}"
            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        with trio.fail_after(_ANSWER_S):
            await self._stream.send_all(head.encode() + data)
            status, answer = await self._receive()
        if status >= 400:
            msg = f"{method} {path.partition('?')[0]}: {status} {answer.decode()[:300]}"
            raise CallFailed(msg)
        return answer

    async def _receive(self) -> tuple[int, bytes]:
        data = self._rest
        while b"\r\n\r\n" not in data:
            data += await self._more()
        head, _, body = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").lower().split("\r\n")
        sizes = [line.partition(":")[2] for line in lines if line.startswith("content-length:")]
        size = int(sizes[0])
        while len(body) < size:
            body += await self._more()
        self._rest = body[size:]
        return int(lines[0].split()[1]), body[:size]

    async def _more(self) -> bytes:
        data = await self._stream.receive_some()
        if not data:
            raise CallFailed("the coordinator closed the connection")
        return bytes(data)

    async def _proof(self, path: str, wallet: Keypair, scope: Scope) -> dict[str, str]:
        signer = KeySigner(wallet)
        address = encode_address(signer.address)
        query = {"wallet": address} | ({"scope": scope} if scope != "token" else {})
        asked = await self.call("GET", f"{path}?{urlencode(query)}")
        challenge = msgspec.json.decode(asked, type=Challenged)
        now_ms = SystemClock().wall_ms()
        said = check_challenge(
            signer.address, challenge, scope=scope, domain=self._parts.netloc, now_ms=now_ms
        )
        return {"wallet": address, "nonce": said.nonce, **await signer.prove(said.text)}

    async def token(self, wallet: Keypair) -> str:
        """A token of this wallet's."""
        proof = await self._proof("/api/nodes/challenge", wallet, "token")
        answer = await self.call("POST", "/api/nodes/issue-token", proof)
        return msgspec.json.decode(answer, type=IssuedToken).token

    async def bearer(self) -> str:
        """A session of a new wallet's, with credit."""
        proof = await self._proof("/api/session/challenge", generate(), "wallet")
        answer = await self.call("POST", "/api/session", proof)
        bearer = msgspec.json.decode(answer, type=OpenedSession).bearer
        gift = {"amount": _CREDIT, "key": "benchmark"}
        await self.call("POST", "/api/faucet", gift, bearer)
        return bearer


class Joins:
    """Tokens and bearers, as many as are wanted."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._addresses = 0

    async def tokens(self, count: int) -> list[str]:
        """One token each of `count` new wallets, two calls each."""
        found: list[str] = []
        while len(found) < count:
            async with self._caller() as caller:
                few = min(_CALLS_MAX // 2, count - len(found))
                found += [await caller.token(generate()) for _ in range(few)]
        return found

    async def token_of(self, wallet: Keypair) -> str:
        """A token of this wallet's."""
        async with self._caller() as caller:
            return await caller.token(wallet)

    async def bearers(self, count: int) -> list[str]:
        """One session each of `count` new wallets with credit, three calls each."""
        found: list[str] = []
        while len(found) < count:
            async with self._caller() as caller:
                few = min(_CALLS_MAX // 3, count - len(found))
                found += [await caller.bearer() for _ in range(few)]
        return found

    def _caller(self) -> Caller:
        self._addresses += 1
        return Caller(self._url, loopback(self._addresses))
