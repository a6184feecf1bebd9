"""Blobs in parts over HTTP: where an upload is, its next part, and its end.

Rules:
  1. `HEAD` says how much is here (`Upload-Offset`); 404 where nothing is.
  2. `PATCH` brings what follows, from `Upload-Offset` on, of a blob of `Upload-Length` bytes. What
     came of a request that broke stays.
  3. The part that completes the blob is answered once all bytes were hashed and are on disk.
Source: draft-ietf-httpbis-resumable-upload-12; its `Upload-Complete` follows from the length here.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from litestar import Request, Response, delete, head, patch
from litestar.params import HeaderParameter

from coordinator.blob_routes import Sha256
from coordinator.http_context import SECURED, ApiParam, SessionParam
from coordinator.limits import BLOB_BYTES_MAX, INTEGER_MAX
from coordinator.uploads import Part

Offset = Annotated[int, HeaderParameter(name="Upload-Offset", ge=0, le=INTEGER_MAX)]
Length = Annotated[int, HeaderParameter(name="Upload-Length", ge=0, le=INTEGER_MAX)]


@patch(
    "/api/blobs/{sha256:str}/upload",
    status_code=204,
    request_max_body_size=BLOB_BYTES_MAX,
    **SECURED,
)
async def append_upload(
    request: Request[Any, Any, Any],
    api: ApiParam,
    session: SessionParam,
    sha256: Sha256,
    upload_offset: Offset,
    upload_length: Length,
) -> Response[None]:
    """Bring a part of a blob; the last one makes it a blob, whose bytes must have this hash."""
    part = Part(upload_offset, upload_length)
    here = await api.append_upload(session, sha256, part, request.stream())
    return _said(here, upload_length, status=204)


@head("/api/blobs/{sha256:str}/upload", **SECURED)
async def head_upload(api: ApiParam, session: SessionParam, sha256: Sha256) -> Response[None]:
    """How much of an unfinished upload is here."""
    here, length = await api.upload(session, sha256)
    return _said(here, length, status=200)


@delete("/api/blobs/{sha256:str}/upload", status_code=204, **SECURED)
async def drop_upload(api: ApiParam, session: SessionParam, sha256: Sha256) -> None:
    """Forget an unfinished upload; harmless if there is none."""
    await api.drop_upload(session, sha256)


def _said(here: int, length: int, *, status: int) -> Response[None]:
    headers = {
        "upload-offset": str(here),
        "upload-complete": f"?{int(here == length)}",
        "cache-control": "no-store",
    }
    # Litestar writes an empty body for text only.
    return Response(None, status_code=status, media_type="text/plain", headers=headers)


ROUTES: Final = [append_upload, head_upload, drop_upload]
