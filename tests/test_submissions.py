"""Submissions of one connection share a commit, and are answered in order, as is the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from coordinator import events as ev
from coordinator.limits import ITEMS_PER_MESSAGE_MAX, QUEUE_EVENTS_MAX
from coordinator.operations import Operations
from coordinator.protocol import messages as m
from coordinator.protocol.errors import ProtocolError, Refusal
from coordinator.protocol.ids import Ids
from coordinator.scheduler import Capability
from coordinator.store.interface import StoreError
from coordinator.store.values import Job
from coordinator.submissions import Submissions
from coordinator.submitter_link import SubmitterLink
from tests.build import ALICE, RULES, Market, montecarlo_spec
from tests.test_operations import HandClock, operations

IDS = Ids(bytes(32))
#: A node that takes them.
ABLE = Capability(frozenset({"montecarlo"}), False, 0, 2, 2, slots=2, window=2)

Answers = list[m.SubmissionAnswer] | Refusal


def jobs(*keys: str) -> list[m.Submission]:
    return [m.Submission(key, msgspec.Raw(montecarlo_spec()), "0.01") for key in keys]


class Counter:
    """Where submissions are handed in, over a real engine."""

    def __init__(self) -> None:
        self.market = Market()
        self.operations: Operations = operations(self.market, HandClock())
        self.submissions = Submissions(self.operations, IDS, RULES)
        self.answers: list[Answers] = []
        self.watched: list[Job] = []
        self.batches: list[int] = []
        apply = self.market.engine.apply

        def counted(events: Sequence[ev.Event], now_ms: int) -> Any:
            self.batches.append(len(events))
            return apply(events, now_ms)

        vars(self.market.engine)["apply"] = counted

    def hand_in(self, *keys: str) -> None:
        self.submissions.store_soon(
            ALICE.address, jobs(*keys), self.watched.append, self.answers.append
        )


@pytest.fixture
def counter() -> Iterator[Counter]:
    made = Counter()
    yield made
    made.market.close()


async def test_what_comes_meanwhile_shares_a_commit_and_is_answered_in_order(
    counter: Counter,
) -> None:
    counter.hand_in("a", "b")
    counter.hand_in("c")
    assert counter.answers == []
    await counter.operations.writer.flush()

    assert counter.batches == [2]
    told = [[each.key for each in answers] for answers in counter.answers if answers]  # type: ignore[union-attr]
    assert told == [["a", "b"], ["c"]]
    assert [IDS.encode("job", job.id) for job in counter.watched] == [
        each.id
        for answers in counter.answers
        for each in answers  # type: ignore[union-attr]
    ]


async def test_nothing_lawful_is_answered_at_once(counter: Counter) -> None:
    counter.hand_in("", "x" * 1_000)

    ((one, other),) = counter.answers  # type: ignore[misc]
    assert (one.code, other.code) == ("malformed", "malformed")
    assert not counter.batches


async def test_a_commit_that_fails_gives_the_places_back(
    counter: Counter, monkeypatch: pytest.MonkeyPatch, autojump_clock: object
) -> None:
    made, node = counter.operations, counter.market.node.id
    made.matching.set_node(node, ABLE, 0)

    def fail(*_: object) -> None:
        raise StoreError("disk full")

    monkeypatch.setattr(counter.market.engine, "apply", fail)
    counter.hand_in("a", "b")
    assert made.matching.on_their_way(node) == 2
    await made.writer.flush()

    assert [getattr(answer, "code", "") for answer in counter.answers] == ["unavailable"]
    assert made.matching.on_their_way(node) == 0
    assert made.scheduler.reserve(node)


@pytest.mark.parametrize("code", ["draining", "busy"])
async def test_a_house_that_takes_nothing_says_so_and_takes_no_places(
    counter: Counter, code: str
) -> None:
    made, node = counter.operations, counter.market.node.id
    made.matching.set_node(node, ABLE, 0)
    if code == "draining":
        made.is_draining = True
    else:
        for _ in range(QUEUE_EVENTS_MAX):
            made.writer.tell(ev.ExpiryDue())
    with pytest.raises(Refusal, match=code):
        counter.hand_in("a")
    assert counter.answers == []
    assert made.matching.on_their_way(node) == 0


# ---- a connection -----------------------------------------------------------------------------


class Later:
    """An api whose submissions are durable when the test says so."""

    def __init__(self) -> None:
        clock = HandClock()
        writer = SimpleNamespace(has_room=lambda _events=1: True)
        links = SimpleNamespace(note=lambda _link: None, forget=lambda _link: None)
        self.operations = SimpleNamespace(clock=clock, writer=writer, open_links=links)
        self.waiting: list[Callable[[Answers], None]] = []
        self.cancelled: list[str] = []

    def submit_soon(self, _session: object, _jobs: object, _on_job: object, then: Any) -> None:
        self.waiting.append(then)

    async def cancel(self, _session: object, ids: list[str]) -> list[m.JobUpdate]:
        await trio.lowlevel.checkpoint()
        self.cancelled += ids
        return []

    def commit(self) -> None:
        self.waiting.pop(0)([])


def link_over(api: Later) -> SubmitterLink:
    given: Any = api
    session: Any = SimpleNamespace(wallet=ALICE.address, expires_ms=1 << 60)
    return SubmitterLink(given, session)


def takes_more(link: SubmitterLink) -> bool:
    return link.is_open


NOTHING = memoryview(b"")


def test_submissions_go_on_while_others_are_on_their_way_up_to_a_message_full() -> None:
    api = Later()
    link = link_over(api)
    half = jobs(*map(str, range(ITEMS_PER_MESSAGE_MAX // 2 - 1)))

    assert link.receive_now(m.Submit(half, 1), NOTHING)
    assert link.receive_now(m.Submit(half, 2), NOTHING)
    assert not takes_more(link)
    assert not link.receive_now(m.Submit(half, 3), NOTHING)
    api.commit()
    assert takes_more(link)
    assert link.receive_now(m.Submit(half, 3), NOTHING)
    assert [message for message, _ in link.outgoing.take()] == [m.Submitted([], 1)]


async def test_what_is_asked_behind_a_submission_is_done_behind_it() -> None:
    api = Later()
    link = link_over(api)
    assert link.receive_now(m.Submit(jobs("a"), 1), NOTHING)
    assert not link.receive_now(m.Cancel(["job"], 2), NOTHING)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.receive, m.Cancel(["job"], 2), NOTHING)
        await wait_all_tasks_blocked()
        assert not api.cancelled
        api.commit()

    assert api.cancelled == ["job"]
    assert [message for message, _ in link.outgoing.take()] == [
        m.Submitted([], 1), m.Cancelled([], 2),
    ]  # fmt: skip


def test_a_refusal_at_the_commit_is_told_with_its_reference() -> None:
    api = Later()
    link = link_over(api)
    link.receive_now(m.Submit(jobs("a"), 7), NOTHING)
    api.waiting.pop()(Refusal("unavailable"))

    ((error, _),) = link.outgoing.take()
    assert isinstance(error, m.Error)
    assert (error.code, error.ref) == ("unavailable", 7)
    assert link.is_open


def test_a_session_that_has_ended_takes_nothing() -> None:
    api = Later()
    link = link_over(api)
    link.end(Refusal("session_revoked"))
    assert not link.is_open
    with pytest.raises(ProtocolError, match="session_revoked"):
        link.receive_now(m.Submit(jobs("a"), 1), NOTHING)
