"""An agent's receipts on their way to a guardian: posted in order, each once as far as it knows.

In:   `receipts.jsonl`, from where the last post ended; a guardian's address.
Out:  posts of whole lines (both signatures are in them); how far it is, on the disk.
Rules:
  1. How far it is follows the guardian's answer, never the sending: what is not answered is sent
     again, and a guardian keeps each receipt once.
  2. A guardian that has fewer receipts than it said before has lost them: all are sent again.
  3. A failure is waited out, up to `GUARDIAN_RETRY_S_MAX`; it costs no job and no connection to the
     coordinator, and is said once.
Why: a guardian that counts only what both sides signed needs nobody to copy files.
Not covered: which guardian is honest; a receipt tells it wallet, amount and submitter. What was not
sent when the agent ends is sent at its next start.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from functools import partial
from hashlib import sha256
from random import Random  # noqa: TID251 (the caller's seeded generator, as a type)
from ssl import SSLContext
from typing import Final, Protocol, cast

import httpx
import msgspec
import trio

from agent.backoff import Backoff
from agent.disk import Disk, Hop
from agent.keeper import disk_trouble
from agent.state import RECEIPTS_FILE
from agent.status import GuardianStatus
from coordinator.evidence_limits import (
    GUARDIAN_BODY_BYTES_MAX,
    GUARDIAN_EVERY_S,
    GUARDIAN_RETRY_S_MAX,
)
from coordinator.limits import HEAD_S, KIB, UPLOAD_IDLE_S
from coordinator.log import get_log
from coordinator.protocol.trust import why_untrusted

_ANSWER_BYTES_MAX: Final = 4 * KIB
_HASH_CHARS: Final = 12
_log = get_log("agent.guardians")


class NotTaken(Exception):
    """The guardian did not take a post; the text says why."""


class Answer(msgspec.Struct, frozen=True):
    """What a guardian says of a post; `hypernode/guardian/keeping.py`."""

    read: int
    new: int
    kept: int
    refused: int


class _Refusal(msgspec.Struct):
    error: str = ""
    code: str = ""


class _Place(msgspec.Struct, frozen=True):
    """How far it is with one guardian."""

    #: Bytes of the receipts file that were answered.
    offset: int = 0
    #: Receipts of this node that the guardian has.
    kept: int = 0


class Poster(Protocol):
    """The way to one guardian."""

    async def post(self, body: bytes) -> Answer:
        """Bring it some lines.

        Raises:
            NotTaken: it has not answered that it keeps them.
        """
        ...


class HttpPoster:
    """Posts to `<url>/receipts/<node key>`."""

    def __init__(
        self,
        url: str,
        node_key: str,
        *,
        tls: SSLContext | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._client = httpx.AsyncClient(
            timeout=UPLOAD_IDLE_S,
            trust_env=False,
            verify=True if tls is None else tls,
            transport=transport,
        )
        self._url = f"{url.rstrip('/')}/receipts/{node_key}"

    async def post(self, body: bytes) -> Answer:
        try:
            async with self._client.stream("POST", self._url, content=body) as answer:
                with trio.fail_after(HEAD_S):
                    raw = await _read(answer)
        except trio.TooSlowError as error:
            msg = "its answer does not end"
            raise NotTaken(msg) from error
        except httpx.HTTPError as error:
            raise NotTaken(why_untrusted(error) or type(error).__name__) from error
        return _answer_in(answer.status_code, raw, len(body))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()


async def _read(answer: httpx.Response) -> bytes:
    raw = b""
    # httpx says less of it than it is: it can be closed before its end.
    pieces = cast("AsyncGenerator[bytes, None]", answer.aiter_bytes())
    async with aclosing(pieces):
        async for piece in pieces:
            raw += piece
            if len(raw) > _ANSWER_BYTES_MAX:
                msg = "its answer is too long"
                raise NotTaken(msg)
    return raw


def _answer_in(status: int, raw: bytes, sent: int) -> Answer:
    try:
        if status != 200:
            said = msgspec.json.decode(raw, type=_Refusal)
            msg = f"{said.code[:40]}: {said.error[:200]}"
            raise NotTaken(msg)
        answer = msgspec.json.decode(raw, type=Answer)
    except msgspec.DecodeError as error:
        msg = f"HTTP {status}, and no answer of a guardian"
        raise NotTaken(msg) from error
    if not (0 < answer.read <= sent and 0 <= answer.new <= answer.kept):
        msg = "its answer makes no sense"
        raise NotTaken(msg)
    return answer


class Delivery:
    """The way of the receipts to one guardian; `run` it in one task."""

    def __init__(
        self,
        url: str,
        poster: Poster,
        *,
        disk: Disk,
        hop: Hop,
        rng: Random,
        every_s: float = GUARDIAN_EVERY_S,
    ) -> None:
        self.url = url
        self._poster = poster
        self._disk = disk
        self._hop = hop
        self._rng = rng
        self._every_s = every_s
        self._file = f"guardian-{sha256(url.encode()).hexdigest()[:_HASH_CHARS]}.json"
        self._backoff = Backoff(rng, first_s=every_s, max_s=GUARDIAN_RETRY_S_MAX)
        self._place = _Place()
        #: Where the post that is under way begins.
        self._start = 0
        self._trouble = ""

    @property
    def status(self) -> GuardianStatus:
        """How it goes, for the operator."""
        return GuardianStatus(self.url, self._place.kept, self._trouble)

    async def run(self) -> None:
        """Send what there is, for ever."""
        await self._recall()
        while True:
            wait_s = await self.step()
            await trio.sleep(wait_s)

    async def step(self) -> float:
        """Send one post, if there is something; the seconds until the next one."""
        try:
            body = await self._body()
            if not body:
                return self._every_s * self._rng.uniform(0.5, 1.5)
            answer = await self._poster.post(body)
            await self._note(answer)
        except NotTaken as error:
            return self._wait_out(str(error))
        except OSError as error:
            return self._wait_out(disk_trouble(error))
        if self._trouble:
            _log.info("guardian takes receipts again", guardian=self.url)
        self._trouble = ""
        self._backoff.reset()
        return 0.0

    def _wait_out(self, trouble: str) -> float:
        if trouble != self._trouble:
            _log.warning("guardian takes no receipts", guardian=self.url, reason=trouble)
        self._trouble = trouble
        return self._backoff.next_s()

    async def _body(self) -> bytes:
        """The next whole lines."""
        if not await self._is_same_file():
            _log.warning("receipts file is another one: all are sent again", guardian=self.url)
            self._place = _Place(0, self._place.kept)
        self._start = self._place.offset
        while True:
            part = await self._read(self._start, GUARDIAN_BODY_BYTES_MAX)
            whole = part.rfind(b"\n") + 1
            if whole or len(part) < GUARDIAN_BODY_BYTES_MAX:
                return part[:whole]
            # A line that no post can hold, which no frame brought: its end will not hold there.
            self._start += len(part)

    async def _is_same_file(self) -> bool:
        """Whether a line ends where the last post ended."""
        offset = self._place.offset
        return not offset or await self._read(offset - 1, 1) == b"\n"

    async def _read(self, start: int, length: int) -> bytes:
        try:
            return await self._hop(partial(self._disk.read_part, RECEIPTS_FILE, start, length))
        except (FileNotFoundError, KeyError):
            return b""  # nothing was paid yet

    async def _note(self, answer: Answer) -> None:
        if answer.refused:
            _log.warning("lines did not hold", guardian=self.url, count=answer.refused)
        if answer.kept - answer.new < self._place.kept:
            _log.warning("guardian has lost receipts: all are sent again", guardian=self.url)
            place = _Place()
        else:
            place = _Place(self._start + answer.read, answer.kept)
        await self._hop(partial(self._disk.replace, self._file, msgspec.json.encode(place)))
        self._place = place

    async def _recall(self) -> None:
        raw = await self._hop(partial(self._disk.read, self._file))
        if raw is None:
            return
        try:
            self._place = msgspec.json.decode(raw, type=_Place)
        except msgspec.DecodeError as error:
            _log.error("guardian's place damaged", error=str(error))


def deliveries(
    posters: Mapping[str, Poster], *, disk: Disk, hop: Hop, rng: Random
) -> tuple[Delivery, ...]:
    """One for each guardian, by its address."""
    return tuple(
        Delivery(url, poster, disk=disk, hop=hop, rng=rng) for url, poster in posters.items()
    )
