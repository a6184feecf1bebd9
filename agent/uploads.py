"""Large outputs on their way to the coordinator: one PUT a blob, named by its SHA-256.

In:   a hash, a size, a way to read parts, the session's bearer.
Out:  nothing; the coordinator has the blob when `put` returns.
Rules:
  1. A blob that is there already is not sent again (HEAD first).
  2. A lawful "no" is a `Refusal` with the coordinator's code; anything else is `UploadFailed`, and
     the caller tries again while its session lives.
  3. One above `UPLOAD_WHOLE_BYTES_MAX` comes in a part that begins where an earlier try stopped.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus
from ssl import SSLContext
from typing import Protocol

import httpx
import msgspec

from coordinator.limits import (
    UPLOAD_CHUNK_BYTES,
    UPLOAD_IDLE_S,
    UPLOAD_WHOLE_BYTES_MAX,
    UPLOADS_MAX,
)
from coordinator.protocol.errors import CODES, Refusal
from coordinator.protocol.resuming import PARTIAL, upload_offset

#: Reads a part of a blob: (start, length) → bytes.
ReadPart = Callable[[int, int], Awaitable[bytes]]


class UploadFailed(Exception):
    """The coordinator did not answer, or its answer makes no sense: try again later."""


class Uploader(Protocol):
    async def put(self, sha256: str, size: int, read_part: ReadPart, *, bearer: str) -> None:
        """Bring a blob to the coordinator.

        Raises:
            Refusal: the coordinator does not take it.
            UploadFailed: no answer, or none that makes sense.
        """
        ...


class _Answer(msgspec.Struct):
    error: str = ""
    code: str = ""


def open_client(
    base_url: str,
    connections: int,
    *,
    tls: SSLContext | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> httpx.AsyncClient:
    """A client for bytes on their way to or from the coordinator, over so many connections."""
    return httpx.AsyncClient(
        base_url=base_url,
        timeout=UPLOAD_IDLE_S,
        limits=httpx.Limits(max_connections=connections),
        verify=True if tls is None else tls,
        transport=transport,
    )


class HttpUploader:
    """Uploads over HTTP to `<base>/api/blobs/<sha256>`."""

    def __init__(
        self,
        base_url: str,
        *,
        tls: SSLContext | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._client = open_client(base_url, UPLOADS_MAX, tls=tls, transport=transport)

    async def put(self, sha256: str, size: int, read_part: ReadPart, *, bearer: str) -> None:
        path = f"/api/blobs/{sha256}"
        headers = {"Authorization": f"Bearer {bearer}"}
        try:
            found = await self._client.head(path, headers=headers)
            if found.status_code == HTTPStatus.OK:
                return
            if size > UPLOAD_WHOLE_BYTES_MAX:
                answer = await self._go_on(path, size, read_part, headers)
            else:
                answer = await self._client.put(
                    path,
                    content=_parts(0, size, read_part),
                    headers={**headers, "Content-Length": str(size)},
                )
        except httpx.HTTPError as error:
            msg = f"{type(error).__name__}: {error}"
            raise UploadFailed(msg) from error
        check_answer(answer.status_code, answer.content)

    async def _go_on(
        self, path: str, size: int, read_part: ReadPart, headers: dict[str, str]
    ) -> httpx.Response:
        found = await self._client.head(f"{path}/upload", headers=headers)
        here = upload_offset(found.status_code, found.headers.get("upload-offset", ""), size)
        return await self._client.patch(
            f"{path}/upload",
            content=_parts(here, size, read_part),
            headers={
                **headers,
                "Content-Length": str(size - here),
                "Content-Type": PARTIAL,
                "Upload-Offset": str(here),
                "Upload-Length": str(size),
            },
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()


async def _parts(first: int, size: int, read_part: ReadPart) -> AsyncIterator[bytes]:
    for start in range(first, size, UPLOAD_CHUNK_BYTES):
        yield await read_part(start, min(UPLOAD_CHUNK_BYTES, size - start))


def check_answer(status: int, content: bytes) -> None:
    """Read an HTTP answer's status and, where it is a refusal, its words.

    Raises:
        Refusal: the coordinator says no, with a code that exists.
        UploadFailed: anything else but a success.
    """
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return
    try:
        found = msgspec.json.decode(content, type=_Answer)
    except msgspec.DecodeError as error:
        msg = f"HTTP {status}"
        raise UploadFailed(msg) from error
    if found.code not in CODES:
        msg = f"HTTP {status}: {found.code[:40]!r}"
        raise UploadFailed(msg)
    raise Refusal(found.code, found.error)
