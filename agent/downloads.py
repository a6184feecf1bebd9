"""Inputs on their way from the coordinator: a job's input by its name, from any byte on.

In:   a job, an input's name, where to begin, the session's bearer.
Out:  the bytes, piece by piece.
Rules:
  1. A lawful "no" is a `Refusal` with the coordinator's code; anything else is `TransferFailed`,
     and the caller tries again from where it is.
  2. Nothing of what came is believed here: size and hash are the cache's matter (`inputs.py`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from http import HTTPStatus
from ssl import SSLContext
from typing import Final, Protocol

import httpx

from agent.uploads import UploadFailed, check_answer, open_client
from coordinator.limits import AGENT_DOWNLOADS_MAX

#: Bytes of an answer that is no input: a refusal in words.
_ANSWER_BYTES_MAX: Final = 64 * 1024

TransferFailed = UploadFailed


class Downloader(Protocol):
    def read(
        self, job: str, name: str, start: int, *, bearer: str
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The bytes of a job's input from `start` on.

        Raises:
            Refusal: the coordinator does not give it.
            TransferFailed: no answer, or none that makes sense; also in the middle.
        """
        ...


class HttpDownloader:
    """Downloads over HTTP from `<base>/api/jobs/<job>/inputs/<name>`."""

    def __init__(
        self,
        base_url: str,
        *,
        tls: SSLContext | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._client = open_client(base_url, AGENT_DOWNLOADS_MAX, tls=tls, transport=transport)

    @asynccontextmanager
    async def read(
        self, job: str, name: str, start: int, *, bearer: str
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        # Never compressed: what a few bytes could unpack to has no bound.
        headers = {"Authorization": f"Bearer {bearer}", "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        path = f"/api/jobs/{job}/inputs/{name}"
        try:
            async with self._client.stream("GET", path, headers=headers) as answer:
                if not answer.is_success:
                    await _read_refusal(answer)
                _check_place(answer, start)
                yield answer.aiter_raw()
        except httpx.HTTPError as error:
            msg = f"{type(error).__name__}: {error}"
            raise TransferFailed(msg) from error

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()


async def _read_refusal(answer: httpx.Response) -> None:
    """Raise what an answer says that is no input."""
    said = bytearray()
    async for piece in answer.aiter_raw():
        said += piece
        if len(said) > _ANSWER_BYTES_MAX:
            break
    check_answer(answer.status_code, bytes(said))


def _check_place(answer: httpx.Response, start: int) -> None:
    """Whether the bytes begin where they were asked for.

    Raises:
        TransferFailed: they do not.
    """
    if answer.headers.get("content-encoding", "identity") != "identity":
        msg = "the answer is compressed"
        raise TransferFailed(msg)
    wanted = HTTPStatus.PARTIAL_CONTENT if start else HTTPStatus.OK
    said = answer.headers.get("content-range", "")
    if answer.status_code != wanted or (start and not said.startswith(f"bytes {start}-")):
        msg = f"HTTP {answer.status_code} {said[:40]!r} instead of the bytes from {start} on"
        raise TransferFailed(msg)
