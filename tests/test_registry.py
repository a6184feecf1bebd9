"""Who is here and what each node holds: leases, resumption, and what a restart gives anew."""

from __future__ import annotations

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from coordinator.limits import LEASE_GRACE_S, LEASE_S, OFFLINE_S, RESUME_S
from coordinator.registry import ENDS_MIN, Registry

LEASE_END_S = LEASE_S + LEASE_GRACE_S
NOW = 1_000.0


def registry(*attempts: tuple[int, int], node: int = 1) -> tuple[Registry, int]:
    """A registry with one connected node that holds these attempts, and its connection."""
    made = Registry()
    connection = made.connect(node, NOW)
    for job, fence in attempts:
        made.take(node, job, fence, seconds=1e9, now=NOW)
    return made, connection


# ---- presence ---------------------------------------------------------------------------------


def test_a_node_is_online_from_its_connection_until_its_silence() -> None:
    made, connection = registry()

    assert not made.is_online(2, NOW)
    assert made.is_online(1, NOW + OFFLINE_S - 0.001)
    assert not made.is_online(1, NOW + OFFLINE_S)
    made.hear(1, NOW + OFFLINE_S)
    assert made.is_online(1, NOW + OFFLINE_S)
    assert (made.online(NOW + OFFLINE_S), made.last_heard()) == (1, {1: NOW + OFFLINE_S})

    assert made.disconnect(1, connection, NOW + OFFLINE_S)
    assert not made.is_online(1, NOW + OFFLINE_S)
    assert (made.online(NOW), made.last_heard()) == (0, {})


def test_a_newer_connection_supersedes_the_older_one() -> None:
    made, first = registry((7, 1))
    second = made.connect(1, NOW + 1)

    assert (made.is_current(1, first), made.is_current(1, second)) == (False, True)
    # The older one's end is no end of the node.
    assert not made.disconnect(1, first, NOW + 2)
    assert made.is_online(1, NOW + 2)
    assert made.holds(1) == {(7, 1)}
    assert made.overdue(NOW + 2 + RESUME_S) == []


def test_connection_numbers_are_never_used_again() -> None:
    made, first = registry()
    made.disconnect(1, first, NOW)
    numbers = [first, made.connect(2, NOW), made.connect(1, NOW), made.connect(1, NOW)]

    assert len(set(numbers)) == len(numbers)
    assert not made.disconnect(1, first, NOW)


def test_a_node_that_was_never_here_has_nothing() -> None:
    made = Registry()

    assert (made.holds(1), made.held(1)) == (frozenset(), 0)
    assert not made.let_go(1, 7, 1)
    assert not made.disconnect(1, 1, NOW)
    assert not made.is_current(1, 0)


# ---- leases -----------------------------------------------------------------------------------


def test_a_heartbeat_renews_all_leases_of_its_node_and_of_no_other() -> None:
    made, _ = registry((7, 1), (8, 1))
    made.connect(2, NOW)
    made.take(2, 9, 3, seconds=1e9, now=NOW)
    made.hear(1, NOW + 10)

    assert made.overdue(NOW + LEASE_END_S - 0.001) == []
    assert made.overdue(NOW + LEASE_END_S) == [(2, (9, 3))]
    assert sorted(made.overdue(NOW + LEASE_END_S + 10)) == [
        (1, (7, 1)),
        (1, (8, 1)),
        (2, (9, 3)),
    ]


def test_an_overdue_attempt_is_told_again_until_it_is_let_go() -> None:
    made, _ = registry((7, 1))
    late = NOW + LEASE_END_S

    assert made.overdue(late) == made.overdue(late) == [(1, (7, 1))]
    assert made.let_go(1, 7, 1)
    assert made.overdue(late) == []
    assert not made.let_go(1, 7, 1)


def test_an_attempt_is_let_go_under_its_own_fence_only() -> None:
    made, _ = registry((7, 2))

    assert not made.let_go(1, 7, 1)
    assert not made.let_go(2, 7, 2)
    assert made.holds(1) == {(7, 2)}


@pytest.mark.parametrize("heard_s", [0.0, LEASE_END_S - RESUME_S + 3])
def test_after_a_closed_connection_the_leases_end_with_the_time_to_resume(heard_s: float) -> None:
    made, connection = registry((7, 1))
    made.hear(1, NOW + heard_s)
    made.disconnect(1, connection, NOW + heard_s + 1)
    end = min(NOW + heard_s + 1 + RESUME_S, NOW + heard_s + LEASE_END_S)

    assert made.overdue(end - 0.001) == []
    assert made.overdue(end) == [(1, (7, 1))]


def test_silence_before_the_close_counts() -> None:
    made, connection = registry((7, 1))
    made.disconnect(1, connection, NOW + LEASE_END_S - 1)

    assert made.overdue(NOW + LEASE_END_S) == [(1, (7, 1))]


def test_a_node_that_is_back_in_time_keeps_what_it_holds() -> None:
    made, connection = registry((7, 1))
    made.disconnect(1, connection, NOW + 1)
    made.connect(1, NOW + RESUME_S)

    assert made.holds(1) == {(7, 1)}
    assert made.overdue(NOW + RESUME_S + LEASE_END_S - 0.001) == []
    assert made.overdue(NOW + RESUME_S + LEASE_END_S) == [(1, (7, 1))]


def test_an_attempt_given_to_a_node_that_has_just_left_ends_with_the_time_to_resume() -> None:
    made, connection = registry()
    made.disconnect(1, connection, NOW)
    made.take(1, 7, 1, seconds=1e9, now=NOW + 1)

    assert made.overdue(NOW + 1 + RESUME_S - 0.001) == []
    assert made.overdue(NOW + 1 + RESUME_S) == [(1, (7, 1))]


# ---- an attempt's own time --------------------------------------------------------------------


def test_an_attempts_own_time_ends_whatever_its_lease_does() -> None:
    made, _ = registry()
    made.take(1, 7, 1, seconds=5.0, now=NOW)
    made.take(1, 8, 1, seconds=2.0, now=NOW)
    made.hear(1, NOW + 4)

    assert made.out_of_time(NOW + 1.999) == []
    assert made.out_of_time(NOW + 5) == [(8, 1), (7, 1)]
    assert made.out_of_time(NOW + 5) == []


def test_the_ends_of_ended_attempts_are_not_kept_for_as_long_as_they_might_have_run() -> None:
    made, _ = registry()
    made.take(1, 1, 1, seconds=50.0, now=NOW)
    for job in range(2, 20_000):
        made.take(1, job, 1, seconds=86_400.0, now=NOW)
        made.let_go(1, job, 1)

    assert len(made._ends) <= 2 * ENDS_MIN
    assert made.out_of_time(NOW + 50) == [(1, 1)]


def test_no_end_of_an_open_attempt_is_forgotten() -> None:
    made, _ = registry()
    for job in range(1, 5 * ENDS_MIN):
        made.take(1, job, 1, seconds=float(job), now=NOW)

    assert len(made.out_of_time(NOW + 5 * ENDS_MIN)) == 5 * ENDS_MIN - 1


# ---- a restart --------------------------------------------------------------------------------


def test_a_restart_gives_every_open_attempt_a_whole_lease_anew() -> None:
    made = Registry()
    made.take(2, 9, 4, seconds=1e9, now=NOW)
    made.restore([(7, 1, 1), (8, 3, 1), (9, 4, 2)], NOW)

    assert (made.holds(1), made.held(2)) == (frozenset({(7, 1), (8, 3)}), 1)
    assert made.online(NOW) == 0
    assert made.overdue(NOW + LEASE_END_S - 0.001) == []
    assert len(made.overdue(NOW + LEASE_END_S)) == 3

    made.connect(1, NOW + 40)
    assert made.overdue(NOW + LEASE_END_S) == [(2, (9, 4))]


# ---- any order --------------------------------------------------------------------------------


class Presence(RuleBasedStateMachine):
    """Nodes connect, fall silent, leave and hold attempts, in any order."""

    nodes = st.integers(1, 3)
    attempts = st.tuples(st.integers(1, 5), st.integers(1, 2))

    def __init__(self) -> None:
        super().__init__()
        self.made = Registry()
        self.now = NOW
        self.held: dict[int, set[tuple[int, int]]] = {1: set(), 2: set(), 3: set()}
        self.connections: dict[int, int] = {}

    @rule(node=nodes)
    def connect(self, node: int) -> None:
        self.connections[node] = self.made.connect(node, self.now)

    @rule(node=nodes)
    def disconnect(self, node: int) -> None:
        is_open = node in self.connections
        connection = self.connections.pop(node, -1)
        assert self.made.disconnect(node, connection, self.now) == is_open

    @rule(node=nodes, attempt=attempts)
    def take(self, node: int, attempt: tuple[int, int]) -> None:
        self.held[node].add(attempt)
        self.made.take(node, *attempt, seconds=10.0, now=self.now)

    @rule(node=nodes, attempt=attempts)
    def let_go(self, node: int, attempt: tuple[int, int]) -> None:
        assert self.made.let_go(node, *attempt) == (attempt in self.held[node])
        self.held[node].discard(attempt)

    @rule(seconds=st.sampled_from((1.0, RESUME_S, LEASE_S)))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        for node, attempt in self.made.overdue(self.now):
            assert attempt in self.held[node]

    @invariant()
    def what_is_held_is_what_was_taken(self) -> None:
        for node, held in self.held.items():
            assert self.made.holds(node) == held
            assert self.made.held(node) == len(held)
        assert set(self.made.last_heard()) == set(self.connections)

    @invariant()
    def nobody_is_remembered_for_nothing(self) -> None:
        known = {node for node, held in self.held.items() if held} | set(self.connections)
        assert set(self.made._nodes) == known


Presence.TestCase.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)


@pytest.mark.slow
class TestPresence(Presence.TestCase):  # type: ignore[misc, valid-type]
    """Any order of connections and attempts."""
