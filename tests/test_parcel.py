"""Results that share a message are the results that would have come alone."""

from __future__ import annotations

from hypothesis import given, strategies as st

from coordinator.protocol import messages as m
from coordinator.protocol.codec import encode, submitter_decoder
from coordinator.protocol.parcel import Parcel, alone, apart, together
from coordinator.protocol.receipts import SignedRoot, build_batch, item_of

PACKED = [bytes([number]) * 271 for number in range(5)]
ROOT, LEVELS = build_batch(PACKED)


def parcel(number: int, sizes: list[int], batch: int) -> Parcel:
    """A result of arrays of these sizes; its receipt is the `number`-th of its batch."""
    starts = [sum(sizes[:index]) for index in range(len(sizes))]
    arrays = [
        m.Array("uint8", [size], size, offset=start)
        for size, start in zip(sizes, starts, strict=True)
    ]
    data = bytes([65 + number]) * sum(sizes)
    signed = SignedRoot(bytes(32), batch, len(PACKED), ROOT, bytes(64)) if batch else None
    receipt = item_of(PACKED[number], LEVELS, number) if batch else None
    return Parcel(f"job-{number + 1}", arrays, data, signed, receipt)


def raws(output: m.JobOutput, data: memoryview) -> list[bytes]:
    """The data of a result's arrays, as a submitter cuts them out."""
    return [
        bytes(data[array.offset : array.offset + array.bytes])
        for array in output.outputs
        if array.offset is not None
    ]


@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 40), max_size=3), st.integers(0, 2)),
        min_size=1,
        max_size=5,
    )
)
def test_parcels_come_apart_as_they_went_in(wanted: list[tuple[list[int], int]]) -> None:
    parcels = [parcel(number, *each) for number, each in enumerate(wanted)]

    message, data = submitter_decoder.decode(encode(*together(parcels)))

    assert isinstance(message, m.JobOutputs)
    found = apart(message, data)
    assert [output for output, _ in found] == [alone(each)[0] for each in parcels]
    assert [raws(output, own) for output, own in found] == [
        raws(output, memoryview(own)) for output, own in map(alone, parcels)
    ]


def test_a_signed_root_stands_once_for_all_receipts_under_it() -> None:
    message, _ = together([parcel(0, [4], 7), parcel(1, [4], 7), parcel(2, [4], 8)])

    assert [(batch.batch, len(batch.receipts)) for batch in message.receipts] == [(7, 2), (8, 1)]


def test_a_result_that_was_not_paid_has_no_receipt() -> None:
    message, data = together([parcel(0, [3], 0), parcel(1, [3], 7)])

    (first, _), (second, _) = apart(message, memoryview(data))
    assert first.receipt is None
    assert second.receipt is not None
