"""Blobs on disk: a file a hash, written whole or not at all.

Rules:
  1. A file stands under its name only after its bytes were hashed, matched and fsynced.
  2. A blob's rows are dropped before its file; a file that came meanwhile is not the one that was
     meant, and stays.
  3. Names are hashes that were parsed: nothing of a request ever becomes a path otherwise.
Not here: who may read (store), quotas (identity), uploads in parts (`uploads`).
"""

from __future__ import annotations

import os
import re
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager, suppress
from hashlib import file_digest, sha256
from mmap import ACCESS_READ, mmap
from pathlib import Path
from threading import Lock
from typing import Final

import trio

from coordinator.limits import BLOB_BYTES_MAX
from coordinator.protocol.errors import Refusal
from coordinator.store.sqlite_connection import sync_folder

# `bytes.fromhex` would skip blanks.
_DIGEST: Final = re.compile(r"[0-9a-f]{64}\Z")


class BlobFolder:
    """A folder of blobs, two levels deep."""

    def __init__(self, root: Path) -> None:
        #: The folder.
        self.root = root
        #: Between looking at a file and deleting it no other one takes its name.
        self._lock = Lock()
        #: Blobs that come now, each with how many bring it.
        self._placing: Counter[bytes] = Counter()
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        for broken in root.glob("upload-*"):
            broken.unlink()

    def path(self, digest: bytes) -> Path:
        """Where the blob with this hash stands, or would stand."""
        assert len(digest) == 32
        name = digest.hex()
        return self.root / name[:2] / name

    def size(self, digest: bytes) -> int | None:
        """Bytes of a blob, or `None` if it is not here."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            return None

    def view(self, digest: bytes) -> memoryview:
        """A blob's bytes without reading them all: pages come as they are looked at."""
        path = self.path(digest)
        if not path.stat().st_size:
            return memoryview(b"")
        with path.open("rb") as file:
            return memoryview(mmap(file.fileno(), 0, access=ACCESS_READ))

    def delete(self, digests: Iterable[bytes], before_s: float) -> None:
        """Delete files whose rows were dropped; those that are gone already are no error.

        Args:
            digests: Their hashes.
            before_s: Unix time, s; a younger file is not deleted.
        """
        for digest in digests:
            path = self.path(digest)
            with self._lock, suppress(FileNotFoundError):
                # A wallet brought it again since its row was dropped.
                if path.stat().st_mtime < before_s:
                    path.unlink()

    @contextmanager
    def placing(self, digest: bytes) -> Iterator[None]:
        """While a blob comes: its file is not noted yet."""
        self._placing[digest] += 1
        try:
            yield
        finally:
            self._placing[digest] -= 1
            if not self._placing[digest]:
                del self._placing[digest]

    def delete_refused(self, digest: bytes) -> None:
        """Delete a file that was placed and then refused, unless somebody else brings it too."""
        if self._placing[digest] == 1:
            self.path(digest).unlink(missing_ok=True)

    async def put(self, digest: bytes, body: AsyncIterator[bytes], length: int | None) -> int:
        """Take a blob from a stream; its size.

        Raises:
            Refusal: `too_large`, or `blob_mismatch` if the bytes have another hash.
        """
        if length is not None and length > BLOB_BYTES_MAX:
            raise Refusal("too_large", f"a blob has at most {BLOB_BYTES_MAX} bytes")
        descriptor, name = tempfile.mkstemp(prefix="upload-", dir=self.root)
        try:
            size = await self._receive(descriptor, digest, body)
            await trio.to_thread.run_sync(self._place, descriptor, name, digest)
        except BaseException:
            # One call on a local file, also when the upload was cancelled.
            with suppress(FileNotFoundError):
                os.unlink(name)  # noqa: PTH108
            raise
        finally:
            os.close(descriptor)
        return size

    def adopt(self, path: Path, digest: bytes) -> None:
        """Give a file its place; in a thread, since its bytes are hashed first.

        Raises:
            Refusal: `blob_mismatch`; the file is left where it is.
        """
        with path.open("rb") as file:
            if file_digest(file, "sha256").digest() != digest:
                raise Refusal("blob_mismatch")
            self._place(file.fileno(), str(path), digest)

    async def _receive(self, descriptor: int, digest: bytes, body: AsyncIterator[bytes]) -> int:
        hasher, size = sha256(), 0
        async for chunk in body:
            size += len(chunk)
            if size > BLOB_BYTES_MAX:
                raise Refusal("too_large", f"a blob has at most {BLOB_BYTES_MAX} bytes")
            hasher.update(chunk)
            await trio.to_thread.run_sync(write_all, descriptor, chunk)
        if hasher.digest() != digest:
            raise Refusal("blob_mismatch")
        return size

    def _place(self, descriptor: int, name: str, digest: bytes) -> None:
        os.fsync(descriptor)
        target = self.path(digest)
        target.parent.mkdir(exist_ok=True, mode=0o700)
        with self._lock:
            Path(name).rename(target)
        for folder in (target.parent, self.root):
            sync_folder(folder)


def write_all(descriptor: int, data: bytes) -> None:
    """Write everything, however many calls it takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def parse_digest(text: str) -> bytes:
    """The 32 bytes of a hexadecimal hash.

    Raises:
        Refusal: `not_found` for anything else.
    """
    if _DIGEST.match(text) is None:
        raise Refusal("not_found")
    return bytes.fromhex(text)
