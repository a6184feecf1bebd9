"""A guardian's own port: agents post the receipts of their nodes, over HTTPS.

`POST /receipts/<node key>`, lines of JSON; answered by what became of them (`keeping.Taken`).
In:   listeners, plain or under TLS; the store, once the guardian knows whose receipts count.
Out:  one answer a connection.
Rules:
  1. A head has `HEAD_S` and `HEAD_BYTES_MAX`, a body `BODY_S` and `GUARDIAN_BODY_BYTES_MAX`, and
     says its length before it comes.
  2. Connections are bounded in all and by network: past it they are closed, before TLS costs
     anything. Posts are bounded by network; past it comes a refusal.
  3. Who sends is not asked: a receipt proves itself, and nothing is told that was not sent.
  4. No sender's failure leaves its connection; one body at a time is checked, in a thread.
Not covered: a second request on a connection, bodies in chunks, a new certificate without a
restart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, TypeAlias

import msgspec
import trio

from coordinator.evidence_limits import (
    GUARDIAN_BODY_BYTES_MAX,
    GUARDIAN_CONNECTIONS_MAX,
    GUARDIAN_CONNECTIONS_PER_NETWORK_MAX,
    GUARDIAN_POSTS_BURST,
    GUARDIAN_POSTS_PER_S,
)
from coordinator.limits import (
    BODY_S,
    DISCARD_S,
    HEAD_BYTES_MAX,
    HEAD_S,
    KIB,
)
from coordinator.log import get_log
from coordinator.ratelimit import RateLimiter
from hypernode.guardian.keeping import ReceiptStore, StoreFull, Taken
from onchain.address import decode_address
from onchain.errors import BadAddress
from onchain.listing import RunThread

Stream: TypeAlias = trio.abc.Stream
PATH: Final = "/receipts/"
_REASONS: Final = {
    200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed",
    408: "Request Timeout", 411: "Length Required", 413: "Content Too Large",
    429: "Too Many Requests", 500: "Internal Server Error", 503: "Service Unavailable",
    507: "Insufficient Storage",
}  # fmt: skip
_LENGTH_DIGITS_MAX: Final = 10
_log = get_log("guardian.port")


class Refused(Exception):
    """An answer that is no receipt's."""

    def __init__(self, status: int, code: str, said: str) -> None:
        super().__init__(said)
        self.status = status
        self.code = code


class ReceiptPort:
    """Takes posts; `serve` it in one task."""

    def __init__(
        self,
        store: Callable[[], ReceiptStore | None],
        *,
        run_thread: RunThread,
        network_of: Callable[[str], str],
    ) -> None:
        """Take posts for a store.

        Args:
            store: Where receipts are kept; None while the coordinator's key is not known.
            run_thread: Runs what takes long.
            network_of: The network that an address counts as.
        """
        self._store = store
        self._run_thread = run_thread
        self._network_of = network_of
        self._of_network: Counter[str] = Counter()
        self._posts = RateLimiter(GUARDIAN_POSTS_PER_S, GUARDIAN_POSTS_BURST)
        self._one = trio.Lock()
        #: Receipts that were kept, and lines that did not hold, since the start.
        self.kept = 0
        self.refused = 0

    def page(self) -> bytes:
        """Its numbers, in Prometheus' text format."""
        numbers = {"receipts_kept_total": self.kept, "receipts_refused_lines_total": self.refused}
        return "".join(
            f"hypernode_guardian_{name} {value}\n" for name, value in numbers.items()
        ).encode()

    async def serve(self, listeners: Sequence[trio.abc.Listener[Stream]]) -> None:
        """Answer until cancelled."""
        await trio.serve_listeners(self.answer, list(listeners))

    async def answer(self, stream: Stream) -> None:
        """Answer one connection, and close it."""
        network = ""
        try:
            network = self._network_of(_peer_of(stream))
            self._of_network[network] += 1
            if self._has_room(network):
                await self._answer(stream, network)
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            _log.debug("sender left", error=str(error))
        finally:
            self._of_network[network] -= 1
            if self._of_network[network] <= 0:
                del self._of_network[network]
            await trio.aclose_forcefully(stream)

    def _has_room(self, network: str) -> bool:
        return (
            self._of_network[network] <= GUARDIAN_CONNECTIONS_PER_NETWORK_MAX
            and self._of_network.total() <= GUARDIAN_CONNECTIONS_MAX
        )

    async def _answer(self, stream: Stream, network: str) -> None:
        is_refused = False
        try:
            status, document = 200, msgspec.json.encode(await self._taken(stream, network))
        except Refused as refused:
            status, is_refused = refused.status, True
            document = msgspec.json.encode({"error": str(refused), "code": refused.code})
            _log.info("refused", code=refused.code, network=network)
        with trio.move_on_after(HEAD_S):
            await stream.send_all(_answer_of(status, document))
        if is_refused:
            # Closed upon bytes that nobody read, the answer would not arrive.
            with trio.move_on_after(DISCARD_S):
                await _discard(stream)

    async def _taken(self, stream: Stream, network: str) -> Taken:
        with trio.move_on_after(HEAD_S) as time:
            head, begun = await _read_head(stream)
        if time.cancelled_caught:
            raise Refused(408, "deadline", f"no request within {HEAD_S:.0f} s")
        node, length = _request_in(head)
        wait_s = self._posts.allow(network, trio.current_time())
        if wait_s:
            raise Refused(429, "rate_limited", f"come back in {wait_s:.1f} s")
        store = self._store()
        if store is None:
            raise Refused(503, "not_ready", "this guardian has not seen its coordinator yet")
        return await self._kept(store, node, await _read_body(stream, begun, length))

    async def _kept(self, store: ReceiptStore, node: bytes, body: bytes) -> Taken:
        async with self._one:
            try:
                taken: Taken = await self._run_thread(partial(store.take, node, body))
            except StoreFull as error:
                _log.error("the store of receipts is full", bytes=store.size)
                raise Refused(507, "store_full", str(error)) from error
            except OSError as error:
                _log.error("receipts not on disk", reason=str(error))
                raise Refused(503, "disk_failing", "the disk of this guardian fails") from error
        self.kept += taken.new
        self.refused += taken.refused
        return taken


def _peer_of(stream: Stream) -> str:
    while isinstance(stream, trio.SSLStream):
        stream = stream.transport_stream
    assert isinstance(stream, trio.SocketStream)
    name: str = stream.socket.getpeername()[0]
    return name


async def _read_head(stream: Stream) -> tuple[bytes, bytes]:
    """The head of a request, and what came of its body."""
    raw = bytearray()
    while (end := raw.find(b"\r\n\r\n")) < 0:
        if len(raw) > HEAD_BYTES_MAX:
            raise Refused(400, "head_too_large", f"more than {HEAD_BYTES_MAX} bytes of head")
        piece = await stream.receive_some(HEAD_BYTES_MAX)
        if not piece:
            raise trio.ClosedResourceError
        raw += piece
    return bytes(raw[:end]), bytes(raw[end + 4 :])


def _request_in(head: bytes) -> tuple[bytes, int]:
    """The node key and the length of a request.

    Raises:
        Refused: it is another one than those that are answered here.
    """
    first, *fields = head.decode("latin-1").split("\r\n")
    method, _, rest = first.partition(" ")
    target, _, version = rest.partition(" ")
    if version not in {"HTTP/1.1", "HTTP/1.0"}:
        raise Refused(400, "malformed", "this is no HTTP/1.1")
    if not target.startswith(PATH):
        raise Refused(404, "not_found", f"there is {PATH}<node key>, and nothing else")
    if method != "POST":
        raise Refused(405, "method_not_allowed", "receipts are posted")
    try:
        node = decode_address(target.removeprefix(PATH))
    except BadAddress as error:
        raise Refused(404, "not_found", "a node key is 32 bytes, in base58") from error
    named = [field.partition(":") for field in fields]
    lengths = [value.strip() for name, _, value in named if name.lower() == "content-length"]
    is_chunked = any(name.lower() == "transfer-encoding" for name, _, _ in named)
    if len(lengths) != 1 or is_chunked or not _is_length(lengths[0]):
        raise Refused(411, "length_required", "a post says its length, once")
    if int(lengths[0]) > GUARDIAN_BODY_BYTES_MAX:
        raise Refused(413, "too_large", f"a post has at most {GUARDIAN_BODY_BYTES_MAX} bytes")
    return node, int(lengths[0])


def _is_length(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _LENGTH_DIGITS_MAX


async def _read_body(stream: Stream, begun: bytes, length: int) -> bytes:
    body = bytearray(begun)
    with trio.move_on_after(BODY_S):
        while len(body) < length:
            piece = await stream.receive_some(min(64 * KIB, length - len(body)))
            if not piece:
                raise trio.ClosedResourceError
            body += piece
        if len(body) > length:
            raise Refused(400, "malformed", "more came than was said")
        return bytes(body)
    raise Refused(408, "deadline", f"no whole body within {BODY_S:.0f} s")


async def _discard(stream: Stream) -> None:
    left = GUARDIAN_BODY_BYTES_MAX
    while left > 0 and (piece := await stream.receive_some(64 * KIB)):
        left -= len(piece)


def _answer_of(status: int, document: bytes) -> bytes:
    wait = "Retry-After: 5\r\n" if status in {429, 503} else ""
    head = (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(document)}\r\n{wait}Connection: close\r\n\r\n"
    )
    return head.encode() + document
