from __future__ import annotations

from hashlib import sha256

import msgspec
import pytest
from hypothesis import given, strategies as st

from agent.outbox import Kept
from agent.results import clean_text, failed, keep, pack
from agent.sending import batched
from agent.task import Outcome, OutputData, Task
from coordinator.limits import (
    FRAME_BYTES_MAX,
    INLINE_ARRAY_BYTES_MAX,
    ITEMS_PER_MESSAGE_MAX,
    LOG_CHARS_PER_MESSAGE,
    OUTPUTS_MAX,
)
from coordinator.protocol.codec import coordinator_decoder, encode
from coordinator.protocol.messages import ProgressItem, Results

TASK = Task("job-1-0123456789abcdef", 3, "matmul", b"{}", 1.0, 16, 1 << 30)


def completed(*data: bytes) -> Outcome:
    outputs = tuple(OutputData("uint8", (len(raw),), raw) for raw in data)
    return Outcome("completed", outputs=outputs, root=bytes(32), duration_ms=5)


@pytest.mark.parametrize(
    ("size", "is_inline"),
    [(0, True), (INLINE_ARRAY_BYTES_MAX, True), (INLINE_ARRAY_BYTES_MAX + 1, False)],
)
def test_an_array_rides_in_the_message_up_to_the_limit(size: int, is_inline: bool) -> None:
    data = bytes(size)
    kept, blobs = keep(TASK, completed(data))
    (array,) = kept.item.outputs

    assert (array.offset is not None) == is_inline
    assert (array.sha256 is None) == is_inline
    assert blobs == ({} if is_inline else {sha256(data).hexdigest(): data})
    assert kept.data == (data if is_inline else b"")


@given(st.lists(st.lists(st.binary(max_size=200), max_size=OUTPUTS_MAX), min_size=1, max_size=20))
def test_arrays_come_out_of_a_frame_as_they_went_in(jobs: list[list[bytes]]) -> None:
    results = [keep(TASK, completed(*data))[0] for data in jobs]
    message, data, taken = pack(results)
    decoded, section = coordinator_decoder.decode(encode(message, data))

    assert isinstance(decoded, Results)
    assert len(taken) == len(jobs)
    for item, expected in zip(decoded.results, jobs, strict=True):
        found = [bytes(section[a.offset or 0 :][: a.bytes]) for a in item.outputs]
        assert found == expected


@pytest.mark.parametrize("text", ["x" * 4000, "\x01" * 4000, "\U0001f600" * 4000, '"\\' * 4000])
def test_the_largest_results_fit_a_frame_one_by_one_and_in_batches(text: str) -> None:
    largest, _ = keep(TASK, completed(*[b"\xff" * INLINE_ARRAY_BYTES_MAX] * OUTPUTS_MAX))
    item = msgspec.structs.replace(
        largest.item, detail=failed("j", 1, "rejected", text).item.detail
    )
    results = [Kept(item, largest.data)] * 40
    sent = 0
    while sent < len(results):
        message, data, taken = pack(results[sent:])
        sent += len(taken)

        assert taken
        assert len(encode(message, data)) <= FRAME_BYTES_MAX


def test_a_message_has_no_more_results_than_the_wire_takes() -> None:
    message, _, taken = pack([failed("j", 1, "rejected")] * (ITEMS_PER_MESSAGE_MAX + 1))

    assert len(message.results) == len(taken) == ITEMS_PER_MESSAGE_MAX


@given(st.text(st.characters(codec=None), max_size=50))
def test_cleaned_text_passes_the_wire(text: str) -> None:
    message = Results([failed("j", 1, "rejected", text).item])

    assert coordinator_decoder.decode(encode(message))[0] == message
    assert "\x00" not in clean_text(text)


def test_logs_of_many_jobs_are_sent_in_frames_within_the_limit() -> None:
    items = [ProgressItem(f"j{i}", 1, log="\x01" * LOG_CHARS_PER_MESSAGE) for i in range(30)]
    messages = batched(items)

    assert [item for message in messages for item in message.attempts] == items
    assert all(len(encode(message)) <= FRAME_BYTES_MAX for message in messages)
    assert batched([]) == []


def test_a_failed_command_keeps_its_log() -> None:
    log = OutputData("uint8", (3,), b"log")
    outcome = Outcome("failed", "exit_nonzero", "exit status 1", (log,), bytes(32))
    kept, _ = keep(TASK, outcome)

    assert (kept.item.status, kept.item.code, kept.data) == ("failed", "exit_nonzero", b"log")
