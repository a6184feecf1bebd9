from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

import httpx
import pytest

from agent.uploads import HttpUploader, UploadFailed
from coordinator.limits import UPLOAD_CHUNK_BYTES
from coordinator.protocol.errors import Refusal

DATA = bytes(range(256)) * (UPLOAD_CHUNK_BYTES // 256) + b"tail"
HASH = sha256(DATA).hexdigest()


async def read_part(start: int, length: int) -> bytes:
    return DATA[start : start + length]


async def put(answer: Callable[[httpx.Request], httpx.Response]) -> list[httpx.Request]:
    requests: list[httpx.Request] = []

    async def handle(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        await request.aread()
        return answer(request)

    uploader = HttpUploader("http://house", transport=httpx.MockTransport(handle))
    try:
        await uploader.put(HASH, len(DATA), read_part, bearer="session-key")
    finally:
        await uploader.aclose()
    return requests


async def test_a_blob_is_put_whole_under_its_hash_with_the_sessions_bearer() -> None:
    head, body = await put(lambda request: httpx.Response(404 if request.method == "HEAD" else 201))

    assert (head.method, body.method) == ("HEAD", "PUT")
    assert str(body.url) == f"http://house/api/blobs/{HASH}"
    assert body.headers["authorization"] == "Bearer session-key"
    assert body.headers["content-length"] == str(len(DATA))
    assert "transfer-encoding" not in body.headers
    assert body.content == DATA


async def test_a_blob_that_is_there_is_not_sent_again() -> None:
    assert [request.method for request in await put(lambda _: httpx.Response(200))] == ["HEAD"]


@pytest.mark.parametrize(
    ("status", "body"), [(500, b"oops"), (502, b"{}"), (413, b'{"error":"x","code":"whim"}')]
)
async def test_an_answer_that_makes_no_sense_is_a_failure_to_try_again(
    status: int, body: bytes
) -> None:
    with pytest.raises(UploadFailed, match=str(status)):
        await put(lambda _: httpx.Response(status, content=body))


async def test_a_lawful_no_is_a_refusal_with_its_code() -> None:
    with pytest.raises(Refusal) as info:
        await put(lambda _: httpx.Response(413, json={"error": "full", "code": "quota"}))

    assert info.value.code == "quota"


async def test_a_broken_connection_is_a_failure_to_try_again() -> None:
    def answer(_request: httpx.Request) -> httpx.Response:
        msg = "reset by peer"
        raise httpx.ReadError(msg)

    with pytest.raises(UploadFailed, match="reset"):
        await put(answer)
