"""Uploads in parts: what came stays, is a wallet's own, counts, and is believed at its end."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from hashlib import sha256
from pathlib import Path
from random import Random  # noqa: TID251 (bytes of a test)

import httpx
import pytest
import trio

from agent.uploads import HttpUploader, UploadFailed
from coordinator.blobs import BlobFolder
from coordinator.limits import (
    BLOB_BYTES_MAX,
    BLOB_QUOTA_BYTES,
    UPLOAD_WHOLE_BYTES_MAX,
    UPLOADS_OPEN_PER_WALLET_MAX,
)
from coordinator.protocol.errors import Refusal
from coordinator.protocol.resuming import upload_offset
from coordinator.protocol.signing import generate
from coordinator.uploads import Part, UploadId, Uploads
from hypernode.client import AsyncClient
from hypernode.inputs import Blob
from tests.house import open_house

DATA = Random(0).randbytes(300_000)
DIGEST = sha256(DATA).digest()
ALICE, BOB = bytes([1]) * 32, bytes([2]) * 32
NAME = UploadId(ALICE, DIGEST)


async def pieces(data: bytes, breaks_after: int | None = None) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(data), 50_000):
        if breaks_after is not None and start >= breaks_after:
            msg = "the peer left"
            raise ConnectionError(msg)
        yield data[start : start + 50_000]


@pytest.fixture
def blobs(tmp_path: Path) -> BlobFolder:
    return BlobFolder(tmp_path / "blobs")


@pytest.fixture
def uploads(blobs: BlobFolder) -> Uploads:
    return Uploads(blobs.root, blobs)


def refused(uploads: Uploads, part: Part, name: UploadId = NAME, stored: int = 0) -> str:
    with pytest.raises(Refusal) as caught:
        uploads.check(name, part, stored)

    return caught.value.code


async def test_an_upload_goes_on_where_it_broke_also_after_a_restart(
    uploads: Uploads, blobs: BlobFolder
) -> None:
    uploads.check(NAME, Part(0, len(DATA)), 0)
    with pytest.raises(ConnectionError):
        await uploads.append(NAME, Part(0, len(DATA)), pieces(DATA, 100_000))
    assert (uploads.offset(NAME), uploads.length(NAME)) == (100_000, len(DATA))

    again = Uploads(blobs.root, blobs)
    assert again.offset(NAME) == 100_000
    again.check(NAME, Part(100_000, len(DATA)), 0)
    assert await again.append(NAME, Part(100_000, len(DATA)), pieces(DATA[100_000:])) == len(DATA)
    assert await again.finish(NAME) == len(DATA)

    assert blobs.path(DIGEST).read_bytes() == DATA
    assert again.offset(NAME) is None
    assert list(blobs.root.glob("part-*")) == []


async def test_bytes_of_another_hash_are_deleted_at_the_end(
    uploads: Uploads, blobs: BlobFolder
) -> None:
    wrong = bytes(len(DATA))
    await uploads.append(NAME, Part(0, len(DATA)), pieces(wrong))
    with pytest.raises(Refusal, match="blob_mismatch"):
        await uploads.finish(NAME)

    assert (blobs.size(DIGEST), uploads.offset(NAME)) == (None, None)
    assert [path for path in blobs.root.rglob("*") if path.is_file()] == []


async def test_more_bytes_than_the_whole_has_are_not_taken(uploads: Uploads) -> None:
    async with aclosing(pieces(DATA)) as body:
        with pytest.raises(Refusal, match="too_large"):
            await uploads.append(NAME, Part(0, 60_000), body)

    assert uploads.offset(NAME) == 50_000


async def test_a_part_begins_where_the_upload_is_and_no_two_come_at_once(uploads: Uploads) -> None:
    assert refused(uploads, Part(5, 100)) == "upload_offset"
    await uploads.append(NAME, Part(0, len(DATA)), pieces(DATA[:50_000]))
    assert refused(uploads, Part(0, len(DATA))) == "upload_offset"
    assert refused(uploads, Part(50_000, 40_000)) == "upload_offset"
    async with trio.open_nursery() as nursery:
        gate = trio.Event()

        async def slow() -> AsyncGenerator[bytes, None]:
            await gate.wait()
            yield DATA[50_000:60_000]

        nursery.start_soon(uploads.append, NAME, Part(50_000, len(DATA)), slow())
        await trio.testing.wait_all_tasks_blocked()
        assert refused(uploads, Part(50_000, len(DATA))) == "busy"
        uploads.drop(NAME)
        gate.set()

    assert uploads.offset(NAME) == 60_000


@pytest.mark.parametrize("length", [0, BLOB_BYTES_MAX + 1, 2**53])
def test_a_length_beyond_the_limits_is_refused(uploads: Uploads, length: int) -> None:
    assert refused(uploads, Part(0, length)) == "too_large"


async def test_unfinished_uploads_count_before_a_byte_of_them_comes(uploads: Uploads) -> None:
    assert refused(uploads, Part(0, 11), stored=BLOB_QUOTA_BYTES - 10) == "quota"
    uploads.check(NAME, Part(0, 10), BLOB_QUOTA_BYTES - 10)
    for number in range(UPLOADS_OPEN_PER_WALLET_MAX):
        name = UploadId(ALICE, bytes([number]) * 32)
        uploads.check(name, Part(0, BLOB_QUOTA_BYTES // 16), 0)
        await uploads.append(name, Part(0, BLOB_QUOTA_BYTES // 16), pieces(b""))

    assert refused(uploads, Part(0, 1)) == "quota"
    # Another wallet's do not count here, nor can it see them.
    other = UploadId(BOB, bytes(32))
    uploads.check(other, Part(0, 1), 0)
    assert uploads.offset(other) is None
    uploads.drop(UploadId(ALICE, bytes(32)))
    uploads.check(NAME, Part(0, 1), 0)


async def test_what_does_not_move_is_swept(uploads: Uploads, blobs: BlobFolder) -> None:
    for name in (NAME, UploadId(BOB, DIGEST)):
        await uploads.append(name, Part(0, 10), pieces(b"12345"))
    (path,) = blobs.root.glob(f"part-{ALICE.hex()}-*")
    os.utime(path, (1000, 1000))

    uploads.sweep(before_s=2000)

    assert uploads.offset(NAME) is None
    assert uploads.offset(UploadId(BOB, DIGEST)) == 5


@pytest.mark.parametrize(
    ("status", "said", "here"),
    [(200, "5", 5), (200, "10", 10), (200, "11", 0), (200, "-1", 0), (200, "5.0", 0), (200, "", 0),
     (404, "5", 0), (200, "9" * 16, 0)],
)  # fmt: skip
def test_an_answer_that_makes_no_sense_begins_anew(status: int, said: str, here: int) -> None:
    assert upload_offset(status, said, 10) == here


# ---- over HTTP ----------------------------------------------------------------------------------

LARGE = Random(1).randbytes(UPLOAD_WHOLE_BYTES_MAX + 300_000)


async def test_a_client_goes_on_with_what_an_earlier_one_began(tmp_path: Path) -> None:
    digest = sha256(LARGE).hexdigest()
    async with open_house(tmp_path) as house, AsyncClient(house.url, generate()) as client:
        headers = {
            "Authorization": f"Bearer {await client.web.bearer()}",
            "Upload-Offset": "0",
            "Upload-Length": str(len(LARGE)),
        }
        path = f"/api/blobs/{digest}/upload"
        async with httpx.AsyncClient(base_url=house.url) as web:
            assert (await web.head(path, headers=headers)).status_code == 404
            begun = await web.patch(path, headers=headers, content=LARGE[:5_000_000])
            assert begun.status_code == 204
            where = await web.head(path, headers=headers)
            assert where.status_code == 200
            assert where.headers["upload-offset"] == "5000000"
            assert where.headers["upload-complete"] == "?0"
            again = await web.patch(path, headers=headers, content=b"x")
            assert (again.status_code, again.json()["code"]) == (409, "upload_offset")
            bad = await web.patch(path, headers={**headers, "Upload-Offset": "x"}, content=b"x")
            assert (bad.status_code, bad.json()["code"]) == (400, "malformed")

            await client.web.put_blob(Blob(digest, memoryview(LARGE)))

            assert await client.web.has_blob(digest)
            assert await client.web.blob(digest, len(LARGE)) == LARGE
            assert (await web.head(path, headers=headers)).status_code == 404


async def test_an_agent_goes_on_with_what_broke(tmp_path: Path) -> None:
    digest, read = sha256(LARGE).hexdigest(), []
    async with open_house(tmp_path) as house, AsyncClient(house.url, generate()) as client:
        bearer = await client.web.bearer()
        uploader = HttpUploader(house.url)

        async def read_part(start: int, length: int) -> bytes:
            read.append(start)
            if len(read) == 4:
                msg = "the line broke"
                raise httpx.ReadError(msg)
            return LARGE[start : start + length]

        with pytest.raises(UploadFailed):
            await uploader.put(digest, len(LARGE), read_part, bearer=bearer)
        # The coordinator may still wait for the rest of the first try.
        for _ in range(100):
            try:
                await uploader.put(digest, len(LARGE), read_part, bearer=bearer)
                break
            except Refusal as refusal:
                assert refusal.code == "busy"  # noqa: PT017
                await trio.sleep(0.05)
        await uploader.aclose()

        assert await client.web.has_blob(digest)
    assert read[4] > 0, "it went on where it was"
