"""Turns over several queues: equal shares, order within a line, and nothing that is not waiting."""

from __future__ import annotations

from collections import Counter, defaultdict

from hypothesis import given, strategies as st

from coordinator.turns import MARKS_MIN, Lines, Marks, Turns


class Desk:
    """Queues by name, and the jobs that wait in them."""

    def __init__(self) -> None:
        self.marks = Marks()
        self.waits: set[int] = set()
        self.queues: dict[str, Lines] = {}
        self.owner: dict[int, bytes] = {}

    def add(self, queue: str, submitter: bytes) -> int:
        job = len(self.owner)
        self.owner[job] = submitter
        self.waits.add(job)
        if queue not in self.queues:
            self.queues[queue] = Lines(self.marks, self.waits.__contains__)
        self.queues[queue].push(submitter, job)
        return job

    def give(self, turns: Turns[str]) -> int | None:
        """The next job over all queues."""
        name = turns.next()
        if name is None:
            return None
        job = self.queues[name].pop()
        if job is None:
            return self.give(turns)
        self.waits.discard(job)
        self.marks.serve(self.owner[job])
        turns.again(name)
        return job

    def give_all(self) -> list[int]:
        turns, given = Turns(self.queues), []
        while (job := self.give(turns)) is not None:
            given.append(job)
        return given


JOBS = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 3)), max_size=60)


@given(JOBS, st.sets(st.integers(0, 59)))
def test_every_job_that_waits_is_given_once_and_in_order_within_its_line(
    jobs: list[tuple[str, int]], withdrawn: set[int]
) -> None:
    desk = Desk()
    lines: dict[tuple[str, int], list[int]] = defaultdict(list)
    for queue, who in jobs:
        lines[queue, who].append(desk.add(queue, bytes([who])))
    desk.waits -= withdrawn
    expected = sorted(desk.waits)
    given = desk.give_all()

    assert sorted(given) == expected
    for line in lines.values():
        mine = [job for job in given if job in line]
        assert mine == sorted(mine)


@given(JOBS)
def test_as_long_as_two_submitters_wait_they_have_had_equally_much(
    jobs: list[tuple[str, int]],
) -> None:
    desk = Desk()
    for queue, who in jobs:
        desk.add(queue, bytes([who]))
    left = Counter(desk.owner.values())
    had: Counter[bytes] = Counter()
    for job in desk.give_all():
        had[desk.owner[job]] += 1
        left[desk.owner[job]] -= 1
        waiting = [had[who] for who, count in left.items() if count]
        assert not waiting or max(waiting) - min(waiting) <= 1


def test_marks_of_those_who_have_gone_are_forgotten() -> None:
    marks = Marks()
    for number in range(10 * MARKS_MIN):
        marks.serve(number.to_bytes(4, "little"))
        assert len(marks._marks) <= MARKS_MIN + 1
