"""Results that were not acknowledged yet, on disk: no kill loses one that was put.

In:   finished attempts (`put`), acknowledged ones (`forget`).
Out:  the results to send, in the order in which they were put, also after a restart.
Rules:
  1. When `put` returns, its results survive a kill and a power cut; a put is one write.
  2. A result leaves at its acknowledgement only. A forget rides with the next write: if a kill
     comes first, the result is sent again and answered `stale`, which is harmless.
  3. A record that was torn or altered is skipped, never believed; its neighbours stay.
  4. Past `AGENT_RESULTS_MAX` or `AGENT_RESULTS_BYTES_MAX` it is full: the agent starts no job. Jobs
     that run by then still get in, at most one result a slot.
Record: u32 length | u32 CRC-32 of the length | 16 bytes BLAKE2b of the payload | payload (msgpack).
Source: LevelDB's log format; compaction as in Bitcask (rewrite what lives, then rename).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from typing import Final, TypeAlias
from zlib import crc32

import msgspec
import trio

from agent.disk import Disk, Hop, in_thread
from coordinator.limits import AGENT_RESULTS_BYTES_MAX, AGENT_RESULTS_MAX, MIB
from coordinator.log import get_log
from coordinator.protocol.messages import ResultItem

#: Name of an attempt: the job's public id and the fencing token.
AttemptId: TypeAlias = tuple[str, int]

_FILE: Final = "outbox"
_BLOB: Final = "blob-"
_HEADER_BYTES: Final = 8
_DIGEST_BYTES: Final = 16
#: The file is rewritten once it has this many bytes and less than half of them live.
_COMPACT_BYTES: Final = 1 * MIB
#: Forgets that wait for the next write before they get a write of their own.
_FORGETS_MAX: Final = 256


class Kept(msgspec.Struct, frozen=True, tag="put"):
    """One result as it waits: small arrays in `data` (by `offset`), large ones as blobs."""

    item: ResultItem
    data: bytes = b""

    @property
    def attempt(self) -> AttemptId:
        return self.item.job, self.item.fence

    @property
    def blobs(self) -> list[str]:
        """SHA-256 of the arrays that must be uploaded before the result is sent."""
        return [array.sha256 for array in self.item.outputs if array.sha256 is not None]

    @property
    def size(self) -> int:
        """Bytes of all its arrays."""
        return sum(array.bytes for array in self.item.outputs)


class _Forget(msgspec.Struct, frozen=True, tag="forget"):
    attempts: list[AttemptId]


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final[msgspec.msgpack.Decoder[Kept | _Forget]] = msgspec.msgpack.Decoder(Kept | _Forget)
_log = get_log("agent.outbox")


class Outbox:
    """The results of one agent; made by `load`."""

    def __init__(self, disk: Disk, hop: Hop, kept: Mapping[AttemptId, Kept]) -> None:
        self._disk = disk
        self._hop = hop
        self._kept = dict(kept)
        self._size = sum(result.size for result in self._kept.values())
        self._forgotten: list[Kept] = []
        self._file_bytes = 0
        #: The file was not rewritten at the start: what is added behind a torn end would be lost.
        self._is_stale = False
        self._lock = trio.Lock()

    @classmethod
    async def load(cls, disk: Disk, hop: Hop = in_thread) -> Outbox:
        """What an earlier process left behind; the file is rewritten without its dead records.

        On a disk that takes nothing now it stays as it is: what is in it can be sent all the same.
        """
        kept = await hop(partial(_read, disk))
        outbox = cls(disk, hop, kept)
        try:
            await outbox._compact()
        except OSError as error:
            outbox._is_stale = True
            _log.error("outbox not rewritten", reason=str(error), unsent_results=len(kept))
        return outbox

    def __contains__(self, attempt: AttemptId) -> bool:
        return attempt in self._kept

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[Kept]:
        return iter(list(self._kept.values()))

    @property
    def size(self) -> int:
        """Bytes of all arrays."""
        return self._size

    @property
    def is_full(self) -> bool:
        """Whether the agent should start no job."""
        return len(self._kept) >= AGENT_RESULTS_MAX or self._size >= AGENT_RESULTS_BYTES_MAX

    async def put(self, results: Sequence[Kept], blobs: Mapping[str, bytes]) -> None:
        """Keep results; `blobs` has the bytes of their large arrays by SHA-256.

        Raises:
            OSError: nothing was kept; the caller tries again.
        """
        if self._is_stale:
            await self._compact()
            self._is_stale = False
        async with self._lock:
            forgotten = self._forgotten
            records = _forgets(forgotten) + b"".join(map(_record, results))
            await self._hop(partial(self._write, blobs, records))
            self._forgotten = self._forgotten[len(forgotten) :]
            replaced = [self._kept[r.attempt] for r in results if r.attempt in self._kept]
            self._size += sum(r.size for r in results) - sum(r.size for r in replaced)
            self._kept.update((result.attempt, result) for result in results)
            self._file_bytes += len(records)
            await self._remove_blobs([*forgotten, *replaced])

    def forget(self, attempts: Iterable[AttemptId]) -> list[AttemptId]:
        """Drop acknowledged results; returns those that were here."""
        gone = [self._kept.pop(attempt) for attempt in attempts if attempt in self._kept]
        self._size -= sum(result.size for result in gone)
        self._forgotten = [*self._forgotten, *gone]
        return [result.attempt for result in gone]

    @property
    def wants_flush(self) -> bool:
        """Whether forgotten results should be written off now: many, or large ones."""
        return len(self._forgotten) >= _FORGETS_MAX or any(
            result.blobs for result in self._forgotten
        )

    async def flush(self) -> None:
        """Write off what was forgotten, and rewrite the file if most of it is dead."""
        await self.put([], {})
        live = sum(len(result.data) for result in self._kept.values())
        if self._file_bytes > max(_COMPACT_BYTES, 2 * live):
            await self._compact()

    async def read_blob(self, sha256: str, start: int, length: int) -> bytes:
        """A part of a large array."""
        return await self._hop(partial(self._disk.read_part, _BLOB + sha256, start, length))

    def _write(self, blobs: Mapping[str, bytes], records: bytes) -> None:
        # Blobs first: a record never names bytes that are not there.
        for sha256, data in blobs.items():
            self._disk.replace(_BLOB + sha256, data)
        if records:
            self._disk.append(_FILE, records)

    async def _compact(self) -> None:
        async with self._lock:
            forgotten, self._forgotten = self._forgotten, []
            records = b"".join(map(_record, self._kept.values()))
            await self._hop(partial(self._disk.replace, _FILE, records))
            self._file_bytes = len(records)
            await self._remove_blobs(forgotten)

    async def _remove_blobs(self, results: Iterable[Kept]) -> None:
        """Remove the blobs of results whose forgetting is on disk."""
        gone = {sha256 for result in results for sha256 in result.blobs}
        gone -= {sha256 for result in self._kept.values() for sha256 in result.blobs}
        for sha256 in gone:
            await self._hop(partial(self._disk.remove, _BLOB + sha256))


def _forgets(results: Sequence[Kept]) -> bytes:
    return _record(_Forget([result.attempt for result in results])) if results else b""


def _record(value: Kept | _Forget) -> bytes:
    payload = _encoder.encode(value)
    length = len(payload).to_bytes(4, "little")
    digest = blake2b(payload, digest_size=_DIGEST_BYTES).digest()
    return length + crc32(length).to_bytes(4, "little") + digest + payload


def _payloads(log: bytes) -> Iterator[bytes]:
    """The payloads of all whole records; what follows a torn header is out of reach."""
    at = 0
    while at + _HEADER_BYTES + _DIGEST_BYTES <= len(log):
        length = log[at : at + 4]
        if crc32(length) != int.from_bytes(log[at + 4 : at + 8], "little"):
            return
        start = at + _HEADER_BYTES + _DIGEST_BYTES
        at = start + int.from_bytes(length, "little")
        payload = log[start:at]
        digest = log[start - _DIGEST_BYTES : start]
        if blake2b(payload, digest_size=_DIGEST_BYTES).digest() == digest:
            yield payload


def _read(disk: Disk) -> dict[AttemptId, Kept]:
    """What lives in the log; blobs that nothing names are removed."""
    kept: dict[AttemptId, Kept] = {}
    for payload in _payloads(disk.read(_FILE) or b""):
        value = _decoder.decode(payload)
        if isinstance(value, Kept):
            kept[value.attempt] = value
        else:
            for attempt in value.attempts:
                kept.pop(attempt, None)
    names = set(disk.names())
    for attempt, result in list(kept.items()):
        if any(_BLOB + sha256 not in names for sha256 in result.blobs):
            _log.error("result_without_blob", job=attempt[0], fence=attempt[1])
            del kept[attempt]
    named = {_BLOB + sha256 for result in kept.values() for sha256 in result.blobs}
    for name in names - named:
        if name.startswith(_BLOB):
            disk.remove(name)
    return kept
