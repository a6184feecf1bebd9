"""Uploads that are not finished: what came stays, and goes on at the byte that was reached.

In:   parts of a blob, each with the byte where it begins and the length of the whole.
Out:  how much is here; at the end, the blob in its folder.
Rules:
  1. An upload is a wallet's and a hash's: nobody else sees it or writes to it, and one at a time.
  2. Its whole length counts against the quota before its first byte is taken.
  3. Bytes are believed at the end: all of them are hashed, and those of another hash are deleted.
  4. What does not move for `UPLOAD_KEEP_S` is deleted. A restart keeps what came.
Form: headers as in Resumable Uploads for HTTP (draft-ietf-httpbis-resumable-upload-12), but the
upload's address is the blob's with `/upload`, so none is created: the first part makes it.
Not here: quotas of finished blobs (store), HTTP (`upload_routes`).
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import trio

from coordinator.blobs import BlobFolder, write_all
from coordinator.limits import (
    BLOB_BYTES_MAX,
    BLOB_QUOTA_BYTES,
    UPLOADS_OPEN_BYTES_MAX,
    UPLOADS_OPEN_PER_WALLET_MAX,
)
from coordinator.protocol.errors import Refusal

_PART: Final = re.compile(r"part-([0-9a-f]{64})-([0-9a-f]{64})\Z")


class UploadId(NamedTuple):
    """Whose upload of what, 32 bytes each."""

    wallet: bytes
    digest: bytes


class Part(NamedTuple):
    """What one request brings."""

    #: Where it begins.
    offset: int
    #: Bytes of the whole blob.
    length: int


class Uploads:
    """Those of one coordinator."""

    def __init__(self, root: Path, blobs: BlobFolder) -> None:
        """Find what an earlier process left in the folder of blobs."""
        self._root = root
        self._blobs = blobs
        #: Bytes that each will have; of one that a restart left, those that are here.
        self._lengths: dict[UploadId, int] = {}
        self._busy: set[UploadId] = set()
        for path in root.glob("part-*"):
            if match := _PART.match(path.name):
                name = UploadId(*map(bytes.fromhex, match.groups()))
                self._lengths[name] = path.stat().st_size

    def _path(self, name: UploadId) -> Path:
        return self._root / f"part-{name.wallet.hex()}-{name.digest.hex()}"

    def offset(self, name: UploadId) -> int | None:
        """Bytes that are here; None where there is no such upload."""
        if name not in self._lengths:
            return None
        try:
            return self._path(name).stat().st_size
        except FileNotFoundError:
            # Nothing came yet of its first part.
            return 0

    def length(self, name: UploadId) -> int:
        return self._lengths[name]

    def check(self, name: UploadId, part: Part, stored_bytes: int) -> None:
        """Whether a part may come.

        Args:
            name: The upload.
            part: What is to come.
            stored_bytes: Of the wallet's finished blobs.

        Raises:
            Refusal: the first that applies: `too_large`, `busy`, `upload_offset`, `quota`.
        """
        if not 0 < part.length <= BLOB_BYTES_MAX:
            raise Refusal(
                "too_large", f"a blob that comes in parts has 1 to {BLOB_BYTES_MAX} bytes"
            )
        if name in self._busy:
            raise Refusal("busy", "another part of this upload is coming")
        here = self.offset(name) or 0
        if part.offset != here or here > part.length:
            raise Refusal("upload_offset", f"the upload is at byte {here} of {part.length}")
        own = {each: size for each, size in self._lengths.items() if each.wallet == name.wallet}
        own[name] = part.length
        if len(own) > UPLOADS_OPEN_PER_WALLET_MAX:
            raise Refusal("quota", f"{UPLOADS_OPEN_PER_WALLET_MAX} uploads are not finished")
        if stored_bytes + sum(own.values()) > BLOB_QUOTA_BYTES:
            raise Refusal("quota")
        if sum({**self._lengths, **own}.values()) > UPLOADS_OPEN_BYTES_MAX:
            raise Refusal("busy", "too many uploads are not finished")

    async def append(self, name: UploadId, part: Part, body: AsyncIterator[bytes]) -> int:
        """Take a part that has passed `check`; what comes of it stays, whatever ends it.

        Returns:
            Bytes that are here now.

        Raises:
            Refusal: `too_large` for more bytes than the whole has.
        """
        self._busy.add(name)
        self._lengths[name] = part.length
        descriptor = os.open(
            self._path(name), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        here = part.offset
        try:
            async for chunk in body:
                if here + len(chunk) > part.length:
                    raise Refusal("too_large", f"the upload has {part.length} bytes")
                await trio.to_thread.run_sync(write_all, descriptor, chunk)
                here += len(chunk)
        finally:
            os.close(descriptor)
            self._busy.discard(name)
        return here

    async def finish(self, name: UploadId) -> int:
        """Give a whole upload its place among the blobs; its size.

        Raises:
            Refusal: `blob_mismatch`; the upload is gone, too.
        """
        size = self.length(name)
        self._busy.add(name)
        try:
            await trio.to_thread.run_sync(self._blobs.adopt, self._path(name), name.digest)
        finally:
            self._busy.discard(name)
            self.drop(name)
        return size

    def drop(self, name: UploadId) -> None:
        """Forget an upload; harmless if there is none, or if a part of it is coming."""
        if name not in self._busy:
            self._lengths.pop(name, None)
            self._path(name).unlink(missing_ok=True)

    def sweep(self, before_s: float) -> None:
        """Delete what has not moved since then (Unix time, s)."""
        for name in list(self._lengths):
            with suppress(FileNotFoundError):
                if self._path(name).stat().st_mtime >= before_s:
                    continue
            self.drop(name)
