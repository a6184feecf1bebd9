"""Blobs to the coordinator over HTTP, from memory or a mapped file.

Rules:
  1. A piece at a time: no copy of a blob is made.
  2. One above `UPLOAD_WHOLE_BYTES_MAX` comes in parts: a try that breaks is followed by another
     one, which goes on where it stopped, as long as any byte came meanwhile.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

from coordinator.limits import UPLOAD_CHUNK_BYTES, UPLOAD_WHOLE_BYTES_MAX
from coordinator.protocol.resuming import PARTIAL, upload_offset
from hypernode.errors import HypernodeError, NotFound, Unreachable
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
        if len(blob.data) > UPLOAD_WHOLE_BYTES_MAX:
            await self._put_parts(blob)
            return
        body = Body(partial(_pieces, blob.data), {"Content-Length": str(len(blob.data))})
        await self._call("PUT", f"/api/blobs/{blob.sha256}", signed_in=True, sent=body)

    async def _put_parts(self, blob: Blob) -> None:
        before = -1
        while True:
            here = await self._offset_of(blob)
            try:
                await self._put_part(blob, here)
            except HypernodeError as error:
                is_passing = isinstance(error, Unreachable) or error.code == "upload_offset"
                if not is_passing or here <= before:
                    raise
                before = here
            else:
                return

    async def _offset_of(self, blob: Blob) -> int:
        try:
            reply = await self._call("HEAD", f"/api/blobs/{blob.sha256}/upload", signed_in=True)
        except NotFound:
            return 0
        return upload_offset(reply.status, reply.upload_offset, len(blob.data))

    async def _put_part(self, blob: Blob, here: int) -> None:
        rest = blob.data[here:]
        headers = {
            "Content-Length": str(len(rest)),
            "Content-Type": PARTIAL,
            "Upload-Offset": str(here),
            "Upload-Length": str(len(blob.data)),
        }
        path = f"/api/blobs/{blob.sha256}/upload"
        await self._call("PATCH", path, signed_in=True, sent=Body(partial(_pieces, rest), headers))


async def _pieces(data: memoryview) -> AsyncIterator[bytes]:
    for start in range(0, len(data), UPLOAD_CHUNK_BYTES):
        yield bytes(data[start : start + UPLOAD_CHUNK_BYTES])
