"""JSON-RPC nodes of one cluster: which of them is asked, and how long one waits for them.

In:   a method and its parameters; what to make of the result.
Out:  what was made of it, or an error of `chain_errors`; nothing of httpx or solana-py gets out.
Rules:
  1. A node that fails is left alone for a while, twice as long each time, and the next one is
     asked; one that answers 429 for as long as its `Retry-After` says.
  2. A node of another cluster is never asked again.
  3. A refusal is an answer: it is not put to another node.
  4. An answer has a limit of bytes and of time; addresses of nodes may hold keys, so texts name
     the host only.
Why solana-py's provider and not its client: the client's methods leave out `minContextSlot`, and
its parser takes errors that it does not know yet for broken answers.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import httpx
import trio
from solana.exceptions import SolanaRpcException
from solana.rpc.providers.async_http import AsyncHTTPProvider

from coordinator.limits import (
    CHAIN_ANSWER_BYTES_MAX,
    CHAIN_BACKOFF_S,
    CHAIN_BACKOFF_S_MAX,
    CHAIN_CALL_S,
    CHAIN_NODES_MAX,
    CHAIN_PATIENCE_S,
    CHAIN_RETRY_AFTER_S_MAX,
)
from onchain.chain_errors import (
    ChainBehind,
    ChainError,
    ChainLied,
    ChainRateLimited,
    ChainRejected,
    ChainUnreachable,
)

T = TypeVar("T")
#: Errors of JSON-RPC by which a node says that it is not up to date.
BEHIND: Final = frozenset({-32004, -32005, -32014, -32016})


class AnswerTooLong(httpx.TransportError):
    """The node sends more than we take."""


class BoundedTransport(httpx.AsyncBaseTransport):
    """Another transport, up to so many bytes an answer."""

    def __init__(self, inner: httpx.AsyncBaseTransport, bytes_max: int) -> None:
        self._inner = inner
        self._bytes_max = bytes_max

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _BoundedStream(response.stream, self._bytes_max)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


class _BoundedStream(httpx.AsyncByteStream):
    def __init__(self, inner: httpx.AsyncByteStream, bytes_max: int) -> None:
        self._inner = inner
        self._left = bytes_max

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks = aiter(self._inner)
        try:
            async for chunk in chunks:
                self._left -= len(chunk)
                if self._left < 0:
                    raise AnswerTooLong("too long an answer")
                yield chunk
        finally:
            if isinstance(chunks, AsyncGenerator):
                await chunks.aclose()

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Question:
    """A request; solana-py's provider wants nothing of it but its JSON."""

    def __init__(self, method: str, params: Sequence[object]) -> None:
        self._document = {"jsonrpc": "2.0", "id": 1, "method": method, "params": [*params]}

    def to_json(self) -> str:
        return json.dumps(self._document)


class Node:
    """One node: asks it once, and remembers how it behaved."""

    def __init__(
        self,
        url: str,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        call_s: float = CHAIN_CALL_S,
        bytes_max: int = CHAIN_ANSWER_BYTES_MAX,
    ) -> None:
        self.host = _where(url)
        self.failures = 0
        #: Trio's time until which it is left alone.
        self.rests_until = 0.0
        #: It has proved to be of the cluster, since it last failed.
        self.is_vetted = False
        self.is_foreign = False
        self._call_s = call_s
        self._provider = AsyncHTTPProvider(url)
        inner = transport or httpx.AsyncHTTPTransport(trust_env=False, retries=0)
        self._provider.session = httpx.AsyncClient(
            transport=BoundedTransport(inner, bytes_max), timeout=call_s, trust_env=False
        )

    async def ask(self, method: str, params: Sequence[object] = ()) -> Any:
        """The `result` of one request.

        Raises:
            ChainUnreachable, ChainRateLimited, ChainBehind, ChainRejected, ChainLied.
        """
        try:
            with trio.fail_after(self._call_s):
                question: Any = _Question(method, params)
                text = await self._provider.make_request_unparsed(question)
        except trio.TooSlowError as error:
            msg = f"{self.host} did not answer {method} in {self._call_s:g} s"
            raise ChainUnreachable(msg) from error
        except httpx.HTTPStatusError as error:
            raise self._status_error(error.response) from error
        except (httpx.HTTPError, SolanaRpcException, OSError) as error:
            why = type(error).__name__
            if isinstance(error.__cause__ or error, httpx.ConnectError):
                why = "nothing answers at this address (ConnectError)"
            msg = f"{self.host} did not answer {method}: {why}"
            raise ChainUnreachable(msg) from error
        return self._result_of(text)

    def _status_error(self, response: httpx.Response) -> Exception:
        status = response.status_code
        text = f"{self.host} answered HTTP {status}"
        if status in {408, 425} or status >= 500:
            wait = _seconds_of(response.headers.get("retry-after"))
            return ChainUnreachable(text) if wait is None else ChainRateLimited(text, wait)
        if status == 429:
            return ChainRateLimited(text, _seconds_of(response.headers.get("retry-after")))
        return ChainRejected(text, status)

    def _result_of(self, text: str) -> Any:
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            msg = f"{self.host} answered something that is not JSON"
            raise ChainLied(msg) from error
        if not isinstance(document, dict) or ("result" in document) == ("error" in document):
            msg = f"{self.host} answered something that is not JSON-RPC"
            raise ChainLied(msg)
        if "result" in document:
            return document["result"]
        raise self._error_of(document["error"])

    def _error_of(self, error: Any) -> Exception:
        if not isinstance(error, dict) or not isinstance(error.get("code"), int):
            return ChainLied(f"{self.host} answered an error that is none")
        code, said = error["code"], str(error.get("message"))[:300]
        text = f"{self.host}: {said} ({code})"
        if code == 429:
            return ChainRateLimited(text)
        if code in BEHIND:
            return ChainBehind(text)
        return ChainRejected(text, code, error.get("data"))

    async def aclose(self) -> None:
        await self._provider.close()


class Nodes:
    """The nodes of one cluster, asked one after the other until one answers.

    Args:
        nodes: In the order in which they are preferred.
        genesis: Base58 of the cluster's genesis hash; the first node to answer decides without one.
        patience_s: Time that one question may take in all.
        jitter: A number from 0 to 1 for each wait, so that clients do not come back together.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        *,
        genesis: str | None = None,
        patience_s: float = CHAIN_PATIENCE_S,
        jitter: Callable[[], float] | None = None,
    ) -> None:
        assert 0 < len(nodes) <= CHAIN_NODES_MAX
        self.genesis = genesis
        self._nodes = list(nodes)
        self._patience_s = patience_s
        self._jitter = jitter or (lambda: secrets.randbelow(1000) / 1000)

    @property
    def usable(self) -> int:
        """Nodes that have not proved to be of another cluster."""
        return sum(not node.is_foreign for node in self._nodes)

    async def ask(
        self,
        method: str,
        params: Sequence[object],
        read: Callable[[Any], T],
        *,
        without: frozenset[Node] = frozenset(),
        rounds: int | None = None,
    ) -> tuple[T, Node]:
        """What `read` makes of the first good answer, and whose answer it is.

        Args:
            method: Of JSON-RPC.
            params: Of the method.
            read: Raises `ChainLied` for a broken answer, `ChainBehind` for one that is too old.
            without: Nodes that are not asked: for a second opinion.
            rounds: How often each node is asked at most; as often as patience lasts unless said.
        """
        deadline = trio.current_time() + self._patience_s
        failures: list[ChainError] = []
        while True:
            node = self._next(without)
            await self._wait_for(node, deadline, failures)
            try:
                answer = read(await self._ask_vetted(node, method, params))
            except (ChainUnreachable, ChainLied) as error:
                self._blame(node, error)
                failures.append(error)
                left = self._left(without)
                if not left or (rounds is not None and len(failures) >= rounds * len(left)):
                    raise
            else:
                node.failures = 0
                return answer, node

    async def _wait_for(self, node: Node, deadline: float, failures: Sequence[ChainError]) -> None:
        wait = node.rests_until - trio.current_time()
        if wait <= 0:
            return
        if trio.current_time() + wait > deadline:
            msg = f"no node may be asked within {self._patience_s:g} s"
            raise failures[-1] if failures else ChainRateLimited(msg, wait)
        await trio.sleep(wait)

    def _left(self, without: frozenset[Node]) -> list[Node]:
        return [node for node in self._nodes if not node.is_foreign and node not in without]

    def _next(self, without: frozenset[Node]) -> Node:
        left = self._left(without)
        if not left:
            msg = "no node of the cluster is left to be asked"
            raise ChainUnreachable(msg)
        now = trio.current_time()
        # Who is awake comes first in the order of preference, then who wakes first.
        return min(left, key=lambda node: max(0.0, node.rests_until - now))

    async def _ask_vetted(self, node: Node, method: str, params: Sequence[object]) -> Any:
        if not node.is_vetted:
            told = await node.ask("getGenesisHash")
            if not isinstance(told, str):
                msg = f"{node.host} told no genesis hash"
                raise ChainLied(msg)
            self.genesis = self.genesis or told
            if told != self.genesis:
                node.is_foreign = True
                msg = f"{node.host} is of another cluster: its genesis is {told[:44]}"
                raise ChainLied(msg)
            node.is_vetted = True
        return await node.ask(method, params)

    def _blame(self, node: Node, error: Exception) -> None:
        """Leave a node alone: as long as it asks for, or longer each time."""
        if isinstance(error, ChainUnreachable) and not isinstance(error, ChainRateLimited):
            node.is_vetted = False  # somebody else may answer at its address next time
        backoff = min(CHAIN_BACKOFF_S_MAX, CHAIN_BACKOFF_S * 2 ** min(node.failures, 10))
        wait = backoff * (0.5 + self._jitter() / 2)
        if isinstance(error, ChainRateLimited) and error.retry_after_s is not None:
            wait = max(wait, min(error.retry_after_s, CHAIN_RETRY_AFTER_S_MAX))
        node.failures += 1
        node.rests_until = trio.current_time() + wait

    async def aclose(self) -> None:
        for node in self._nodes:
            await node.aclose()


def _where(url: str) -> str:
    """Host and port; what else stands in an address may be a key to it."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    host = parts.hostname or "?"
    return f"{f'[{host}]' if ':' in host else host}:{port}"


def _seconds_of(text: str | None) -> float | None:
    """`Retry-After` in seconds; its other form, a date, is as good as none."""
    return float(text) if text is not None and text.isascii() and text.isdigit() else None
