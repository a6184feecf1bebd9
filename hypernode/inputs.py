"""Input arrays of a job on their way: small ones into the specification, others as blobs.

In:   arrays by name.
Out:  what the specification says of them, and the bytes to be uploaded.
Rules:
  1. Data are hashed and sent in C order, little-endian; an array that lies so is not copied.
  2. A blob is looked for once a client and hash; if the coordinator misses one all the same, it is
     looked for again (`input_missing`), once.
Not here: the upload itself (`blob_web.py`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import trio

from coordinator.limits import INLINE_ARRAY_BYTES_MAX, KIB, MIB, UPLOADS_MAX
from coordinator.protocol.arrays import DTYPES
from coordinator.protocol.errors import Refusal
from coordinator.protocol.inputs import Input
from hypernode.errors import BadSpec

#: Bytes of all small arrays of one specification: in base64 two thirds of what one may have.
_INLINE_BYTES_MAX: Final = 32 * KIB
#: Hashes that a client remembers: 10 MB of them.
_KNOWN_MAX: Final = 100_000
#: Hashing more than this takes a thread.
_HASH_HERE_BYTES: Final = 1 * MIB


class Blob(NamedTuple):
    """Bytes that a job names by their hash, hexadecimal."""

    sha256: str
    data: memoryview


class Prepared(NamedTuple):
    """The inputs of one job."""

    inputs: dict[str, Input]
    blobs: tuple[Blob, ...]


class BlobStore(Protocol):
    async def has_blob(self, digest: str) -> bool:
        """Whether this wallet has brought the blob already."""
        ...

    async def put_blob(self, blob: Blob) -> None:
        """Bring it."""
        ...


async def prepare(arrays: Mapping[str, npt.ArrayLike]) -> Prepared:
    """What a specification says of these arrays, and what is to be uploaded.

    Raises:
        BadSpec: a type that does not travel, or an array beyond the limits.
    """
    inputs: dict[str, Input] = {}
    blobs: dict[str, Blob] = {}
    inline = 0
    for name, given in arrays.items():
        array = _plain(name, given)
        data = array.reshape(-1).data.cast("B") if array.size else memoryview(b"")
        if len(data) <= min(INLINE_ARRAY_BYTES_MAX, _INLINE_BYTES_MAX - inline):
            inline += len(data)
            inputs[name] = _input(name, array, data=bytes(data))
            continue
        digest = await _hash(data)
        inputs[name] = _input(name, array, sha256=digest)
        blobs[digest] = Blob(digest, data)
    return Prepared(inputs, tuple(blobs.values()))


def _plain(name: str, given: npt.ArrayLike) -> npt.NDArray[Any]:
    array = np.asarray(given)
    if (dtype := DTYPES.get(array.dtype.name)) is None:
        raise BadSpec("bad_spec", f"input {name}: arrays of {array.dtype} do not travel")
    return np.asarray(array, dtype=dtype, order="C").reshape(array.shape)


def _input(name: str, array: npt.NDArray[Any], **where: Any) -> Input:
    try:
        return Input(array.dtype.name, array.shape, **where)
    except (Refusal, ValueError) as error:
        raise BadSpec("bad_spec", f"input {name}: {error}") from error


async def _hash(data: memoryview) -> str:
    if len(data) <= _HASH_HERE_BYTES:
        return sha256(data).hexdigest()
    return await trio.to_thread.run_sync(lambda: sha256(data).hexdigest())


class Uploads:
    """Blobs of one client that the coordinator has, or is being given."""

    def __init__(self, store: BlobStore) -> None:
        self._store = store
        #: The least recently named first.
        self._known: OrderedDict[str, None] = OrderedDict()
        self._locks: dict[str, trio.Lock] = {}
        self._at_once = trio.Semaphore(UPLOADS_MAX)

    async def ensure(self, blobs: Iterable[Blob], *, again: bool = False) -> None:
        """Bring what the coordinator does not have.

        Args:
            blobs: What jobs name.
            again: Look also for those that it had: it has just said that one is missing.
        """
        for blob in blobs:
            if again:
                self._known.pop(blob.sha256, None)
            if blob.sha256 not in self._known:
                await self._bring(blob)
            self._known[blob.sha256] = None
            self._known.move_to_end(blob.sha256)
            if len(self._known) > _KNOWN_MAX:
                self._known.popitem(last=False)

    async def _bring(self, blob: Blob) -> None:
        lock = self._locks.setdefault(blob.sha256, trio.Lock())
        async with lock, self._at_once:
            if blob.sha256 in self._known or await self._store.has_blob(blob.sha256):
                return
            await self._store.put_blob(blob)
        self._locks.pop(blob.sha256, None)
