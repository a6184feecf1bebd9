"""A result's arrays from the wire: every size is checked before anything is believed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from coordinator.blobs import BlobFolder
from coordinator.limits import INLINE_ARRAY_BYTES_MAX, OUTPUT_BYTES_MAX, OUTPUTS_MAX
from coordinator.protocol.errors import Refusal
from coordinator.protocol.messages import Array
from coordinator.results import outputs_of
from coordinator.store.values import Output

BLOB = bytes(range(200)) * 50
DIGEST = sha256(BLOB).digest()


@pytest.fixture
async def blobs(tmp_path: Path) -> BlobFolder:
    folder = BlobFolder(tmp_path / "blobs")

    async def body() -> AsyncIterator[bytes]:
        yield BLOB

    await folder.put(DIGEST, body(), len(BLOB))
    return folder


def array(**changes: Any) -> Array:
    given: dict[str, Any] = {"dtype": "int32", "shape": [2, 1], "bytes": 8, "offset": 0}
    return Array(**(given | changes))


def blob(**changes: Any) -> Array:
    size = len(BLOB)
    given = {"dtype": "uint8", "shape": [size], "bytes": size, "sha256": DIGEST.hex()}
    return array(**{"offset": None, **given, **changes})


async def test_small_arrays_come_from_the_frame_and_large_ones_from_their_blobs(
    blobs: BlobFolder,
) -> None:
    data = memoryview(b"....12345678ab")
    arrays = [
        array(offset=4),
        blob(),
        array(dtype="uint8", shape=[2], bytes=2, offset=12),
        array(dtype="float64", shape=[0], bytes=0, offset=14),
    ]

    assert outputs_of(7, 3, arrays, data, blobs) == (
        Output(7, 3, 0, "int32", (2, 1), b"12345678", size=8),
        Output(7, 3, 1, "uint8", (len(BLOB),), b"", DIGEST, len(BLOB)),
        Output(7, 3, 2, "uint8", (2,), b"ab", size=2),
        Output(7, 3, 3, "float64", (0,), b"", size=0),
    )
    assert outputs_of(7, 3, [], data, blobs) == ()


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (array(dtype="object"), "bad_spec"),
        (array(shape=[3, 1]), "bad_spec"),
        (array(bytes=7), "bad_spec"),
        (array(shape=[2**53 - 1, 2**53 - 1]), "bad_spec"),
        (array(offset=None), "bad_spec"),
        (array(offset=1), "bad_spec"),
        (array(offset=2**53 - 1), "bad_spec"),
        (
            array(
                dtype="uint8", shape=[INLINE_ARRAY_BYTES_MAX + 1], bytes=INLINE_ARRAY_BYTES_MAX + 1
            ),
            "bad_spec",
        ),
        (blob(sha256="00" * 32), "not_found"),
        (blob(shape=[len(BLOB) - 1], bytes=len(BLOB) - 1), "not_found"),
        (blob(shape=[len(BLOB) - 1]), "bad_spec"),
        (blob(shape=[OUTPUT_BYTES_MAX + 1], bytes=OUTPUT_BYTES_MAX + 1), "output_too_large"),
    ],
    ids=str,
)
async def test_what_does_not_fit_is_refused_by_name(
    blobs: BlobFolder, wrong: Array, code: str
) -> None:
    with pytest.raises(Refusal) as caught:
        outputs_of(7, 3, [array(), wrong], memoryview(bytes(8)), blobs)

    assert caught.value.code == code


async def test_all_outputs_together_have_a_limit(blobs: BlobFolder) -> None:
    half = blob(shape=[OUTPUT_BYTES_MAX // 2 + 1], bytes=OUTPUT_BYTES_MAX // 2 + 1)

    with pytest.raises(Refusal, match="output_too_large"):
        outputs_of(7, 3, [half, half], memoryview(b""), blobs)


async def test_the_largest_inline_array_fits(blobs: BlobFolder) -> None:
    size = INLINE_ARRAY_BYTES_MAX
    (output,) = outputs_of(
        7, 3, [array(dtype="uint8", shape=[size], bytes=size)], memoryview(bytes(size)), blobs
    )

    assert output.size == size


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.builds(
            Array,
            dtype=st.sampled_from(("uint8", "int32", "float64", "object")),
            shape=st.lists(st.integers(0, 5), max_size=3),
            bytes=st.integers(0, 200),
            offset=st.none() | st.integers(0, 100),
            sha256=st.none() | st.just(DIGEST.hex()) | st.just("ab" * 32),
        ),
        max_size=OUTPUTS_MAX,
    ),
    st.binary(max_size=100),
)
def test_any_arrays_are_outputs_of_the_size_that_they_say_or_refused(
    tmp_path_factory: pytest.TempPathFactory, arrays: list[Array], data: bytes
) -> None:
    folder = BlobFolder(tmp_path_factory.getbasetemp() / "none")
    try:
        outputs = outputs_of(7, 3, arrays, memoryview(data), folder)
    except Refusal:
        return
    assert [each.size for each in outputs] == [each.bytes for each in arrays]
    assert all(len(each.data) == each.size for each in outputs)
