"""Blobs on disk: whole and hashed, or not there at all."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from hashlib import sha256
from pathlib import Path

import pytest
import trio

from coordinator.blobs import BlobFolder, parse_digest
from coordinator.limits import BLOB_BYTES_MAX
from coordinator.protocol.errors import Refusal

DATA = bytes(range(256)) * 1000
DIGEST = sha256(DATA).digest()


@pytest.fixture
def folder(tmp_path: Path) -> BlobFolder:
    return BlobFolder(tmp_path / "blobs")


def names(tmp_path: Path) -> list[str]:
    """Everything below the folder that is a file."""
    root = tmp_path / "blobs"
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


async def chunks(data: bytes, size: int = 50_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def endless() -> AsyncGenerator[bytes, None]:
    while True:
        yield bytes(BLOB_BYTES_MAX // 4)


async def broken() -> AsyncIterator[bytes]:
    yield DATA[:100]
    msg = "the peer left"
    raise ConnectionError(msg)


async def test_a_blob_that_was_stored_is_there_with_its_bytes(
    folder: BlobFolder, tmp_path: Path
) -> None:
    assert folder.size(DIGEST) is None

    assert await folder.put(DIGEST, chunks(DATA), None) == len(DATA)

    assert folder.size(DIGEST) == len(DATA)
    assert folder.path(DIGEST).read_bytes() == DATA
    assert names(tmp_path) == [f"{DIGEST.hex()[:2]}/{DIGEST.hex()}"]


async def test_only_its_owner_may_read_a_blob(folder: BlobFolder, tmp_path: Path) -> None:
    await folder.put(DIGEST, chunks(DATA), None)

    for path in (tmp_path / "blobs", folder.path(DIGEST).parent, folder.path(DIGEST)):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


async def test_an_empty_blob_is_a_blob(folder: BlobFolder) -> None:
    empty = sha256(b"").digest()

    assert await folder.put(empty, chunks(b""), 0) == 0
    assert folder.size(empty) == 0


async def test_a_blob_may_come_again_and_from_two_peers_at_once(
    folder: BlobFolder, tmp_path: Path
) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(folder.put, DIGEST, chunks(DATA, 1_000), None)
    await folder.put(DIGEST, chunks(DATA), len(DATA))

    assert folder.path(DIGEST).read_bytes() == DATA
    assert len(names(tmp_path)) == 1


@pytest.mark.parametrize("data", [DATA[:-1], DATA + b"x", b""], ids=["shorter", "longer", "empty"])
async def test_bytes_of_another_hash_are_refused_and_nothing_is_left(
    folder: BlobFolder, tmp_path: Path, data: bytes
) -> None:
    with pytest.raises(Refusal, match="blob_mismatch"):
        await folder.put(DIGEST, chunks(data), None)

    assert folder.size(DIGEST) is None
    assert names(tmp_path) == []


async def test_a_length_beyond_the_limit_is_refused_before_a_byte_is_read(
    folder: BlobFolder, tmp_path: Path
) -> None:
    with pytest.raises(Refusal, match="too_large"):
        await folder.put(DIGEST, broken(), BLOB_BYTES_MAX + 1)

    assert names(tmp_path) == []


@pytest.mark.slow
async def test_more_bytes_than_the_limit_are_refused_whatever_was_announced(
    folder: BlobFolder, tmp_path: Path
) -> None:
    async with aclosing(endless()) as body:
        with pytest.raises(Refusal, match="too_large"):
            await folder.put(DIGEST, body, 10)

    assert names(tmp_path) == []


async def test_an_upload_that_breaks_leaves_nothing(folder: BlobFolder, tmp_path: Path) -> None:
    with pytest.raises(ConnectionError):
        await folder.put(DIGEST, broken(), None)

    assert names(tmp_path) == []


async def test_a_cancelled_upload_leaves_nothing(folder: BlobFolder, tmp_path: Path) -> None:
    async def stalled() -> AsyncIterator[bytes]:
        yield DATA[:100]
        await trio.sleep_forever()

    with trio.move_on_after(0.05) as scope:
        await folder.put(DIGEST, stalled(), None)

    assert scope.cancelled_caught
    assert names(tmp_path) == []


async def test_what_a_crash_left_of_an_upload_is_deleted_at_the_next_start(
    folder: BlobFolder, tmp_path: Path
) -> None:
    await folder.put(DIGEST, chunks(DATA), None)
    (tmp_path / "blobs" / "upload-abc").write_bytes(b"half")

    BlobFolder(tmp_path / "blobs")

    assert names(tmp_path) == [f"{DIGEST.hex()[:2]}/{DIGEST.hex()}"]


async def test_a_blob_is_deleted_and_deleting_it_again_is_harmless(folder: BlobFolder) -> None:
    await folder.put(DIGEST, chunks(DATA), None)

    for _ in range(2):
        folder.delete([DIGEST, bytes(32)], before_s=4e9)

    assert folder.size(DIGEST) is None


async def test_a_file_that_came_after_its_rows_were_dropped_stays(folder: BlobFolder) -> None:
    await folder.put(DIGEST, chunks(DATA), None)
    written_s = folder.path(DIGEST).stat().st_mtime

    folder.delete([DIGEST], before_s=written_s)
    assert folder.size(DIGEST) == len(DATA)
    folder.delete([DIGEST], before_s=written_s + 1)
    assert folder.size(DIGEST) is None


async def test_what_was_refused_stays_while_somebody_else_brings_it(folder: BlobFolder) -> None:
    with folder.placing(DIGEST):
        await folder.put(DIGEST, chunks(DATA), None)
        with folder.placing(DIGEST):
            folder.delete_refused(DIGEST)
            assert folder.size(DIGEST) == len(DATA)
        folder.delete_refused(DIGEST)

    assert folder.size(DIGEST) is None


async def test_a_disk_that_fails_at_the_end_is_reported_as_itself(
    folder: BlobFolder, tmp_path: Path
) -> None:
    """Its folder's name is taken by a file: the rename cannot be."""
    (tmp_path / "blobs" / DIGEST.hex()[:2]).write_bytes(b"")

    with pytest.raises(OSError, match=r"."):
        await folder.put(DIGEST, chunks(DATA), None)

    assert [name for name in names(tmp_path) if name.startswith("upload-")] == []
    assert not any(fd for fd in _open_files() if fd.startswith(str(tmp_path)))


def _open_files() -> list[str]:
    found = []
    for descriptor in os.listdir("/proc/self/fd"):  # noqa: PTH208
        try:
            found.append(os.readlink(f"/proc/self/fd/{descriptor}"))  # noqa: PTH115
        except FileNotFoundError:
            continue
    return found


# ---- names ------------------------------------------------------------------------------------


def test_a_digest_is_64_lower_case_hexadecimal_digits() -> None:
    assert parse_digest(DIGEST.hex()) == DIGEST


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ab",
        DIGEST.hex()[:-1],
        DIGEST.hex() + "0",
        DIGEST.hex() + "\n",
        ("ab" * 32).upper(),
        "g" * 64,
        "../" + "a" * 61,
        "/" * 64,
        "a" * 62 + "\0\0",
        # `bytes.fromhex` skips blanks: these are 31 bytes.
        "ab" * 31 + "  ",
        "  " + "ab" * 31,
        "ab " * 21 + "a",
        "\uff11" * 64,
    ],
    ids=lambda text: repr(text[:12]),
)
def test_anything_else_is_not_found(text: str) -> None:
    with pytest.raises(Refusal) as caught:
        parse_digest(text)

    assert caught.value.code == "not_found"
