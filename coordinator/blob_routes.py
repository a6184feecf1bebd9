"""Bytes over HTTP: blobs by their SHA-256, and the results of jobs.

Rules:
  1. A blob streams through, in and out: no more than a piece of it is in memory.
  2. `Range: bytes=a-b` (one range) is answered with 206; one that begins past the end with 416.
  3. A result is the frame that a WebSocket would carry: JSON, or binary where arrays ride in it.
Not here: hashes, quotas and who may read (the API), deadlines (`door`).
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

import trio
from litestar import Request, Response, get, head, put
from litestar.params import FromPath, PathParameter
from litestar.response import Stream

from coordinator.http_context import SECURED, ApiParam, SessionParam
from coordinator.limits import BLOB_BYTES_MAX, BLOB_CHUNK_BYTES
from coordinator.protocol.codec import encode
from coordinator.protocol.errors import Refusal

Sha256: TypeAlias = Annotated[str, PathParameter(pattern=r"^[0-9a-f]{64}$")]
_BYTES: Final = "application/octet-stream"
_RANGE: Final = re.compile(r"bytes=([0-9]{0,15})-([0-9]{0,15})\Z")


def parse_range(value: str, size: int) -> range | None:
    """The bytes that a `Range` header asks for.

    Args:
        value: The header, or `""`.
        size: Size of the blob, bytes.

    Returns:
        The positions asked for; None for no range, or one of a form that may be ignored.

    Raises:
        Refusal: `bad_range` if none of the bytes exist.
    """
    match = _RANGE.match(value.strip())
    if match is None or not any(match.groups()):
        return None
    first, last = match.groups()
    if first and last and int(first) > int(last):
        return None
    start = int(first) if first else max(0, size - int(last))
    stop = min(size, int(last) + 1) if first and last else size
    if start >= stop:
        raise Refusal("bad_range", f"the blob has {size} bytes")
    return range(start, stop)


async def read_pieces(file: Path, part: range) -> AsyncIterator[bytes]:
    """The bytes of a part of a file, in pieces."""
    async with await trio.open_file(file, "rb") as opened:
        await opened.seek(part.start)
        left = len(part)
        while left:
            piece = await opened.read(min(left, BLOB_CHUNK_BYTES))
            if not piece:
                msg = f"{file} is shorter than its row says"
                raise OSError(msg)
            left -= len(piece)
            yield piece


@put(
    "/api/blobs/{sha256:str}",
    status_code=204,
    request_max_body_size=BLOB_BYTES_MAX,
    **SECURED,
)
async def put_blob(
    request: Request[Any, Any, Any], api: ApiParam, session: SessionParam, sha256: Sha256
) -> None:
    """Store a blob; the bytes must have this hash. Storing it again changes nothing."""
    length = request.content_length
    if length is not None and length > BLOB_BYTES_MAX:
        raise Refusal("too_large", f"a blob has at most {BLOB_BYTES_MAX} bytes")
    await api.put_blob(session, sha256, request.stream(), length)


@get("/api/blobs/{sha256:str}", media_type=_BYTES, **SECURED)
async def get_blob(
    request: Request[Any, Any, Any], api: ApiParam, session: SessionParam, sha256: Sha256
) -> Stream:
    """Read a blob, or a range of it."""
    return _streamed(request, *await api.blob(session, sha256))


@get("/api/jobs/{job:str}/inputs/{name:str}", media_type=_BYTES, **SECURED)
async def get_input(
    request: Request[Any, Any, Any],
    api: ApiParam,
    session: SessionParam,
    job: FromPath[str],
    name: FromPath[str],
) -> Stream:
    """Read a job's input that is a blob, or a range of it: its submitter, or who has its lease."""
    return _streamed(request, *await api.input(session, job, name))


@head("/api/blobs/{sha256:str}", **SECURED)
async def head_blob(api: ApiParam, session: SessionParam, sha256: Sha256) -> Response[None]:
    """Whether a blob is here, and its size."""
    _, size = await api.blob(session, sha256)
    headers = {**_blob_headers(sha256, size), "content-type": _BYTES}
    # Litestar writes an empty body for text only.
    return Response(None, media_type="text/plain", headers=headers)


@get("/api/jobs/{job:str}/result", media_type=_BYTES, **SECURED)
async def job_result(
    api: ApiParam, session: SessionParam, job: FromPath[str]
) -> Response[str | bytes]:
    """The result of a job: a binary frame, or JSON if no array rides in it."""
    message, data = await api.result(session, job)
    frame = encode(message, data)
    kind = "application/json" if isinstance(frame, str) else _BYTES
    return Response(frame, media_type=kind)


def _streamed(request: Request[Any, Any, Any], file: Path, size: int) -> Stream:
    """A blob, or the part of it that is asked for; its file's name is its hash."""
    return streamed(request, file, size, file.name)


def streamed(
    request: Request[Any, Any, Any], file: Path, size: int, sha256: str, **more: str
) -> Stream:
    """A file, or the part of it that is asked for.

    Args:
        request: The one that asks, perhaps for a range.
        file: The file.
        size: Its bytes.
        sha256: Its hash, hexadecimal: the ETag.
        more: Further headers, with `_` for `-`.
    """
    part = parse_range(request.headers.get("range", ""), size)
    headers = _blob_headers(sha256, size if part is None else len(part))
    headers |= {name.replace("_", "-"): value for name, value in more.items()}
    if part is not None:
        headers["content-range"] = f"bytes {part.start}-{part.stop - 1}/{size}"
    return Stream(
        read_pieces(file, part or range(size)),
        status_code=200 if part is None else 206,
        media_type=_BYTES,
        headers=headers,
    )


def _blob_headers(sha256: str, length: int) -> dict[str, str]:
    return {"content-length": str(length), "accept-ranges": "bytes", "etag": f'"{sha256}"'}


ROUTES: Final = [put_blob, get_blob, get_input, head_blob, job_result]
