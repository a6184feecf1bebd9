"""What waits for one peer: order, frames that fit, and a bound."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec
import pytest
import trio
from hypothesis import given, strategies as st
from trio.testing import wait_all_tasks_blocked

from coordinator.limits import (
    FRAME_BYTES_MAX,
    ITEMS_PER_MESSAGE_MAX,
    LOG_CHARS_PER_MESSAGE,
    LOG_CHARS_WAITING_MAX,
    LOG_CHARS_WAITING_PER_JOB,
    OUTBOX_FRAMES_MAX,
    SPEC_BYTES_MAX,
)
from coordinator.live_logs import left_out
from coordinator.outgoing import FRAME_ROOM, Outgoing, split
from coordinator.protocol import messages as m
from coordinator.protocol.codec import encode
from coordinator.protocol.parcel import Parcel

SPEC = b'{"kind":"command"}'
#: The longest that a public id may be.
LONG_ID = "j" * 64
#: Text that takes six bytes a character in JSON.
WIDE = "\x01"


def job(number: int, spec: bytes = SPEC) -> m.JobItem:
    return m.JobItem(f"job-{number}", 1, msgspec.Raw(spec), 300)


def ack(number: int) -> m.AckItem:
    return m.AckItem(f"job-{number}", 1)


def update(number: int, **how: Any) -> m.JobUpdate:
    return m.JobUpdate(f"job-{number}", "running", **how)


def taken(outgoing: Outgoing) -> list[m.AnyMessage]:
    messages = []
    for message, data in outgoing.take():
        assert len(encode(message, data)) <= FRAME_BYTES_MAX
        messages.append(message)
    assert not outgoing
    return messages


async def test_single_messages_go_first_then_each_kind_in_its_order() -> None:
    outgoing = Outgoing()
    outgoing.put_update(update(1))
    outgoing.put_stop(m.Attempt("job-3", 1), "cancelled")
    for number in (1, 2):
        outgoing.put_ack(ack(number))
        outgoing.put_job(job(number))
    outgoing.put(m.Ack("one"))
    outgoing.put(m.JobOutput("job-9"), b"data")

    assert taken(outgoing) == [
        m.Ack("one"),
        m.JobOutput("job-9"),
        m.Jobs([job(1), job(2)]),
        m.Acks([ack(1), ack(2)]),
        m.CancelAttempts([m.Attempt("job-3", 1)], "cancelled"),
        m.Update([update(1)]),
    ]


async def test_what_is_put_while_a_frame_is_on_its_way_goes_with_the_next_one() -> None:
    outgoing = Outgoing()
    outgoing.put_job(job(1))
    frames = outgoing.take()
    assert next(frames) == (m.Jobs([job(1)]), b"")

    outgoing.put_job(job(2))
    outgoing.put_ack(ack(1))
    assert [message for message, _ in frames] == [m.Jobs([job(2)]), m.Acks([ack(1)])]
    assert not outgoing


async def test_a_stop_never_overtakes_its_job() -> None:
    outgoing = Outgoing()
    outgoing.put_stop(m.Attempt("job-1", 1), "cancelled")
    outgoing.put_job(job(1))

    first, second = taken(outgoing)

    assert isinstance(first, m.Jobs)
    assert isinstance(second, m.CancelAttempts)


# ---- frames that fit --------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 999, 1000, 1001, 2500])
async def test_a_message_has_no_more_items_than_its_type_allows(count: int) -> None:
    outgoing = Outgoing()
    for number in range(count):
        outgoing.put_ack(ack(number))

    groups = taken(outgoing)

    assert all(isinstance(group, m.Acks) for group in groups)
    sizes = [len(group.acks) for group in groups if isinstance(group, m.Acks)]
    assert sum(sizes) == count
    assert all(size == ITEMS_PER_MESSAGE_MAX for size in sizes[:-1])


async def test_the_largest_specifications_fill_frames_and_never_overfill_one() -> None:
    spec = b'{"kind":"%s"}' % (b"k" * (SPEC_BYTES_MAX - 11))
    outgoing = Outgoing()
    for number in range(50):
        outgoing.put_job(m.JobItem(LONG_ID, 2**53 - 1, msgspec.Raw(spec), 86_400 + number))

    groups = taken(outgoing)

    order = [
        item.execution_s for group in groups if isinstance(group, m.Jobs) for item in group.jobs
    ]
    assert order == list(range(86_400, 86_450))
    assert len(groups) == 4


async def test_the_widest_updates_fit_too() -> None:
    outgoing = Outgoing()
    for _ in range(12):
        outgoing.put_update(
            m.JobUpdate(
                LONG_ID, "c" * 40, "c" * 40, WIDE * 2000, 0.123456789, WIDE * LOG_CHARS_PER_MESSAGE
            )
        )

    groups = taken(outgoing)

    assert sum(len(group.jobs) for group in groups if isinstance(group, m.Update)) == 12


@given(st.lists(st.integers(0, FRAME_ROOM), max_size=30))
def test_split_keeps_order_and_room(sizes: Sequence[int]) -> None:
    groups = list(split(sizes, lambda size: size))

    assert [size for group in groups for size in group] == list(sizes)
    assert all(sum(group) <= FRAME_ROOM for group in groups)
    # Greedy: no group could have taken the first of the next one.
    assert all(sum(one) + other[0] > FRAME_ROOM for one, other in pairwise(groups))


def test_split_bounds_the_number_of_items() -> None:
    groups = list(split(range(2 * ITEMS_PER_MESSAGE_MAX + 1), lambda _: 1))

    assert [len(group) for group in groups] == [ITEMS_PER_MESSAGE_MAX, ITEMS_PER_MESSAGE_MAX, 1]


# ---- waiting and the bound --------------------------------------------------------------------


def test_whoever_sends_is_told_of_what_is_put_and_not_of_answers() -> None:
    outgoing = Outgoing()
    outgoing.put_ack(ack(1))  # nobody sends yet: it is found at the beginning
    told: list[bool] = []
    outgoing.on_more = lambda: told.append(bool(outgoing))

    outgoing.answer(m.Ack())
    assert told == []
    outgoing.put(m.Ack())
    outgoing.put_ack(ack(2))
    assert told == [True, True]
    assert taken(outgoing) == [m.Ack(), m.Ack(), m.Acks([ack(1), ack(2)])]
    outgoing.stop()
    assert told == [True, True, False]


def test_a_peer_that_was_sent_everything_holds_no_queue() -> None:
    def size(outgoing: Outgoing) -> int:
        return sum(sys.getsizeof(getattr(outgoing, name)) for name in Outgoing.__slots__)

    outgoing = Outgoing()
    empty = size(outgoing)
    outgoing.put(m.Ack())
    outgoing.put_ack(ack(1))
    outgoing.put_stop(m.Attempt("job_1", 1), "cancelled")
    assert size(outgoing) > empty + 1500

    taken(outgoing)

    assert size(outgoing) == empty


@pytest.mark.parametrize("put", ["messages", pytest.param("items", marks=pytest.mark.slow)])
async def test_a_peer_that_reads_too_slowly_is_full_and_no_sooner(put: str) -> None:
    outgoing = Outgoing()
    if put == "messages":
        for _ in range(OUTBOX_FRAMES_MAX):
            outgoing.put(m.Ack())
    else:
        for _ in range(OUTBOX_FRAMES_MAX * ITEMS_PER_MESSAGE_MAX // 2):
            outgoing.put_ack(ack(1))
            outgoing.put_stop(m.Attempt("job-1", 1), "cancelled")
    states = [outgoing.is_full]
    outgoing.put(m.Ack())
    outgoing.put_update(update(1))
    states.append(outgoing.is_full)

    assert states == [False, True]


async def test_whoever_waits_for_room_goes_on_once_there_is_some() -> None:
    outgoing = Outgoing()
    for _ in range(OUTBOX_FRAMES_MAX + 1):
        outgoing.put(m.Ack())
    went_on = trio.Event()

    async def feed() -> None:
        await outgoing.room()
        went_on.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(feed)
        await wait_all_tasks_blocked()
        assert not went_on.is_set()
        taken(outgoing)
        await wait_all_tasks_blocked()
        assert went_on.is_set()


def test_a_piece_of_a_log_that_fits_the_agents_frame_fits_ours() -> None:
    for item in (
        {"job": "j", "fence": 1, "log": "x" * (LOG_CHARS_PER_MESSAGE + 1)},
        {"job": "j", "fence": 1, "log": "x" * LOG_CHARS_PER_MESSAGE},
    ):
        is_bounded = len(str(item["log"])) <= LOG_CHARS_PER_MESSAGE
        raw = msgspec.json.encode(item)
        if is_bounded:
            msgspec.json.decode(raw, type=m.ProgressItem)
        else:
            with pytest.raises(msgspec.ValidationError, match="log"):
                msgspec.json.decode(raw, type=m.ProgressItem)


async def test_whoever_waits_for_room_goes_on_even_if_nothing_is_put_meanwhile() -> None:
    outgoing = Outgoing()
    for _ in range(OUTBOX_FRAMES_MAX + 64):
        outgoing.put(m.Ack())
    sent = 0

    async def pump() -> None:
        nonlocal sent
        while True:
            await trio.lowlevel.checkpoint()
            for _message in outgoing.take():
                await trio.lowlevel.checkpoint()
                sent += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pump)
        with trio.fail_after(1.0):
            await outgoing.room()
            outgoing.put(m.Ack())
            while sent < OUTBOX_FRAMES_MAX + 65:
                await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()


# ---- what running jobs say ----------------------------------------------------------------------


def updates_of(outgoing: Outgoing) -> list[m.JobUpdate]:
    messages = [message for message, _ in outgoing.take()]
    return [job for message in messages if isinstance(message, m.Update) for job in message.jobs]


def test_what_a_job_says_meanwhile_is_one_update() -> None:
    outgoing = Outgoing()
    for number in range(1000):
        outgoing.put_saying("job-1", number / 1000, f"{number % 10}")
    outgoing.put_saying("job-2", None, "other")

    first, second = updates_of(outgoing)
    assert (first.id, first.state, first.progress) == ("job-1", "running", 0.999)
    assert first.log == "0123456789" * 100
    assert (second.id, second.progress, second.log) == ("job-2", None, "other")
    assert not outgoing


def test_a_state_is_not_overtaken_by_what_was_said_after_it() -> None:
    outgoing = Outgoing()
    outgoing.put_saying("job-1", None, "before")
    outgoing.put_update(m.JobUpdate("job-1", "queued", "lease_lost"))
    outgoing.put_saying("job-1", None, "after")
    outgoing.put_update(m.JobUpdate("job-1", "completed"))

    told = [(update.state, update.log) for update in updates_of(outgoing)]
    assert told == [("running", "before"), ("queued", ""), ("running", "after"), ("completed", "")]


def test_who_reads_too_slowly_loses_some_of_a_log_and_a_line_says_how_much() -> None:
    outgoing = Outgoing()
    for _ in range(1000):
        outgoing.put_saying("job-1", None, "x" * 1000)
    assert not outgoing.is_full, "logs alone close no connection"

    told = updates_of(outgoing)
    text = "".join(update.log for update in told)
    assert max(len(update.log) for update in told) <= LOG_CHARS_PER_MESSAGE
    kept = LOG_CHARS_WAITING_PER_JOB
    assert text == "x" * kept + left_out(1_000_000 - kept)
    outgoing.put_saying("job-1", None, "and on")
    assert [each.log for each in updates_of(outgoing)] == ["and on"]


def test_who_takes_it_in_time_loses_nothing_of_the_largest_piece() -> None:
    outgoing = Outgoing()
    for number in range(3):
        outgoing.put_saying("job-1", None, str(number) * LOG_CHARS_PER_MESSAGE)

    text = "".join(update.log for update in updates_of(outgoing))
    assert text == "".join(str(number) * LOG_CHARS_PER_MESSAGE for number in range(3))


def test_pieces_of_logs_among_many_updates_stay_within_the_items_of_a_message() -> None:
    outgoing = Outgoing()
    for number in range(990):
        outgoing.put_update(m.JobUpdate(f"job-{number}", "queued"))
    for number in range(3):
        outgoing.put_saying(f"job-{number}", 0.5, "z" * LOG_CHARS_WAITING_PER_JOB)

    messages = [message for message, _ in outgoing.take()]
    counts = [len(message.jobs) for message in messages if isinstance(message, m.Update)]
    assert sum(counts) == 990 + 3 * 4
    assert max(counts) <= ITEMS_PER_MESSAGE_MAX


def test_all_that_waits_to_be_said_is_bounded_and_every_frame_fits() -> None:
    outgoing = Outgoing()
    for job in range(200):
        for _ in range(40):
            outgoing.put_saying(f"job-{job}", None, "\x01" * 1000)

    frames = [encode(message, data) for message, data in outgoing.take()]
    assert max(map(len, frames)) <= FRAME_BYTES_MAX
    assert sum(map(len, frames)) < 8 * LOG_CHARS_WAITING_MAX
    outgoing.put_saying("job-1", None, "room again")
    assert [each.log for each in updates_of(outgoing)] == ["room again"]


def test_what_comes_while_frames_leave_overtakes_nothing() -> None:
    outgoing = Outgoing()
    outgoing.put_stop(m.Attempt("job-1", 1), "cancelled")
    outgoing.put_parcel(Parcel("job-1", [], b""))
    kinds: list[str] = []
    for message, _ in outgoing.take():
        kinds.append(type(message).__name__)
        if isinstance(message, m.CancelAttempts) and len(kinds) == 1:
            outgoing.put_job(m.JobItem("job-2", 1, msgspec.Raw(b"{}"), 1))
            outgoing.put_stop(m.Attempt("job-2", 1), "cancelled")
        if isinstance(message, m.JobOutput):
            outgoing.put_update(m.JobUpdate("job-3", "completed"))
            outgoing.put_parcel(Parcel("job-3", [], b""))

    assert kinds == ["CancelAttempts", "JobOutput"]
    assert [type(message).__name__ for message, _ in outgoing.take()] == [
        "Jobs",
        "CancelAttempts",
        "Update",
        "JobOutput",
    ]
