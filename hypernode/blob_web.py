"""Blobs to the coordinator over HTTP, from memory or a mapped file.

Rules:
  1. A piece at a time: no copy of a blob is made.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

from coordinator.limits import UPLOAD_CHUNK_BYTES
from hypernode.errors import NotFound
from hypernode.inputs import Blob
from hypernode.settlement_web import SettlementWeb
from hypernode.web import Body


class BlobWeb(SettlementWeb):
    """HTTP calls about blobs."""

    async def has_blob(self, digest: str) -> bool:
        """Whether this wallet has brought the blob with this SHA-256 (hexadecimal)."""
        try:
            await self._call("HEAD", f"/api/blobs/{digest}", signed_in=True)
        except NotFound:
            return False
        return True

    async def put_blob(self, blob: Blob) -> None:
        """Bring a blob.

        Raises:
            HypernodeError: `quota`, `too_large`, …
        """
        body = Body(partial(_pieces, blob.data), {"Content-Length": str(len(blob.data))})
        await self._call("PUT", f"/api/blobs/{blob.sha256}", signed_in=True, sent=body)


async def _pieces(data: memoryview) -> AsyncIterator[bytes]:
    for start in range(0, len(data), UPLOAD_CHUNK_BYTES):
        yield bytes(data[start : start + UPLOAD_CHUNK_BYTES])
