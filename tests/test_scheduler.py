"""Who gets which job: fairness, demands, idle slots, and a cost that no queue raises."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace

from coordinator.scheduler import (
    LOOKS_MAX,
    Capability,
    Demand,
    DeviceKind,
    Scheduler,
    Waiting,
)

ALICE, BOB, CAROL = (bytes([i]) * 32 for i in range(3))
KERNEL = Demand("montecarlo", is_timed=False, gpu=False, vram_gib=0, sandbox=0)
OTHER_KERNEL = replace(KERNEL, kind="render")
COMMAND = Demand("command", is_timed=True, gpu=False, vram_gib=0, sandbox=1)
NODE = Capability(
    kinds=frozenset({"montecarlo", "render", "command"}),
    has_gpu=False,
    vram_gib=0,
    sandbox=1,
    worker_sandbox=0,
    slots=1,
    window=1,
)
NOW_MS = 1_000_000
#: An older card with much memory, a newer one with little: neither does for a job that asks both.
TWO_GPUS: dict[str, Any] = {
    "has_gpu": True,
    "vram_gib": 24,
    "devices": (DeviceKind(True, 24, 80), DeviceKind(True, 8, 90)),
    "slots": 2,
    "window": 32,
}


def waiting(job: int, submitter: bytes = ALICE, demand: Demand = KERNEL, **how: Any) -> Waiting:
    return Waiting(job, submitter, demand, **how)


def scheduler(*jobs: Waiting, **nodes: Capability) -> Scheduler:
    """Jobs that wait, and nodes by name: `n1` is node 1, holding nothing."""
    made = Scheduler()
    for each in jobs:
        made.add(each, NOW_MS)
    for name, capability in nodes.items():
        made.set_node(int(name[1:]), capability, 0)
    return made


def pairs(made: Scheduler, now_ms: int = NOW_MS) -> list[tuple[int, int]]:
    return [(each.job, node) for each, node in made.match(now_ms)]


def served(made: Scheduler, node: int = 1) -> Iterator[int]:
    """The jobs that one node gets, one after the other, as long as there are any."""
    while True:
        found = pairs(made)
        if not found:
            return
        for job, to in found:
            assert to == node
            made.give_back(node)
            yield job


# ---- fairness ---------------------------------------------------------------------------------


def test_one_job_among_ten_thousand_of_another_submitter_is_second() -> None:
    made = scheduler(*(waiting(job) for job in range(1, 10_001)), waiting(99_999, BOB), n1=NODE)

    order = served(made)

    assert [next(order), next(order)] == [1, 99_999]


@pytest.mark.parametrize("demand", [KERNEL, OTHER_KERNEL, COMMAND], ids=lambda each: each.kind)
def test_a_full_node_has_a_place_for_a_newcomer_of_any_demand_before_it_is_full_again(
    demand: Demand,
) -> None:
    made = scheduler(*(waiting(job) for job in range(10_000)), n1=replace(NODE, slots=2, window=32))
    assert len(pairs(made)) == 32
    made.add(waiting(99_999, BOB, demand), NOW_MS)

    ended = 0
    while (99_999, 1) not in pairs(made):
        made.give_back(1)
        ended += 1
        assert ended <= 32


def test_a_node_takes_jobs_ahead_again_once_no_command_waits_for_it() -> None:
    node = replace(NODE, slots=2, window=8)
    made = scheduler(
        *(waiting(job) for job in range(100)), waiting(100, BOB, demand=COMMAND), n1=node
    )
    far = replace(node, kinds=frozenset({"montecarlo"}))
    made.set_node(2, far, 0)

    # One kernel and the command for node 1; node 2 runs no commands.
    assert Counter(to for _, to in pairs(made)) == {1: 2, 2: 8}
    assert Counter(to for _, to in pairs(made)) == {1: 6}

    made.add(waiting(101, demand=replace(COMMAND, sandbox=2)), NOW_MS)
    made.give_back(1)
    assert [to for _, to in pairs(made)] == [1]


def test_three_submitters_take_turns_and_each_ones_jobs_keep_their_order() -> None:
    jobs = [
        waiting(job, wallet)
        for wallet, first in ((ALICE, 1), (BOB, 11), (CAROL, 21))
        for job in range(first, first + 3)
    ]

    assert list(served(scheduler(*jobs, n1=NODE))) == [1, 11, 21, 2, 12, 22, 3, 13, 23]


def test_demands_take_turns_on_one_node() -> None:
    jobs = [
        waiting(job, demand=demand)
        for demand, first in ((KERNEL, 1), (OTHER_KERNEL, 11))
        for job in range(first, first + 3)
    ]

    assert list(served(scheduler(*jobs, n1=NODE))) == [1, 11, 2, 12, 3, 13]


def test_a_thousand_different_demands_of_one_wallet_have_one_wallets_turns() -> None:
    """What would be a thousand turns, if queues took them, is every second job."""
    node = replace(NODE, has_gpu=True, vram_gib=2000)
    spread = [waiting(job, demand=replace(KERNEL, vram_gib=job % 1000)) for job in range(3000)]
    plain = [waiting(10_000 + job, BOB) for job in range(50)]
    made = scheduler(*spread, *plain, n1=node)
    order = served(made)
    first = [next(order) for _ in range(100)]

    assert sum(job >= 10_000 for job in first) == 50


def test_nobody_saves_up_turns_and_nobody_owes_any() -> None:
    made = scheduler(*(waiting(job) for job in range(1000)), n1=NODE)
    order = served(made)
    assert [next(order) for _ in range(500)] == list(range(500))
    for job in range(5000, 5100):
        made.add(waiting(job, BOB, OTHER_KERNEL), NOW_MS)

    # Bob comes late: from now on they take turns, and he is not given 500 jobs first.
    mixed = [next(order) for _ in range(100)]
    assert sum(job >= 5000 for job in mixed) == 50
    made.add(waiting(9000, CAROL), NOW_MS)
    assert 9000 in [next(order) for _ in range(4)]


def test_jobs_that_were_withdrawn_cost_their_submitter_no_turns() -> None:
    made = scheduler(*(waiting(job) for job in range(1000)), n1=NODE)
    for job in range(990):
        made.remove(job)
    for job in range(5000, 5010):
        made.add(waiting(job, BOB), NOW_MS)

    assert list(served(made)) == [
        each for pair in zip(range(990, 1000), range(5000, 5010), strict=True) for each in pair
    ]


# ---- who may ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("demand", "changes", "can"),
    [
        (KERNEL, {}, True),
        (KERNEL, {"kinds": frozenset({"render"})}, False),
        (replace(KERNEL, gpu=True), {}, False),
        (replace(KERNEL, gpu=True), {"has_gpu": True}, True),
        (replace(KERNEL, vram_gib=8), {"vram_gib": 7}, False),
        (replace(KERNEL, vram_gib=8), {"vram_gib": 8}, True),
        (replace(KERNEL, gpu=True, compute=90), {"has_gpu": True}, True),
        (replace(KERNEL, gpu=True, vram_gib=20, compute=90), {**TWO_GPUS}, False),
        (replace(KERNEL, gpu=True, vram_gib=20, compute=80), {**TWO_GPUS}, True),
        (replace(KERNEL, gpu=True, vram_gib=8, compute=90), {**TWO_GPUS}, True),
        (replace(KERNEL, gpu=True, vram_gib=30), {**TWO_GPUS}, False),
        (KERNEL, {**TWO_GPUS}, True),
        (replace(KERNEL, sandbox=1), {"sandbox": 2}, False),
        (replace(KERNEL, sandbox=1), {"worker_sandbox": 1}, True),
        (COMMAND, {"sandbox": 0, "worker_sandbox": 2}, False),
        (COMMAND, {"sandbox": 1}, True),
    ],
    ids=str,
)
def test_a_node_gets_what_it_can_do_and_nothing_else(
    demand: Demand, changes: dict[str, Any], *, can: bool
) -> None:
    capability = replace(NODE, **changes)
    made = scheduler(waiting(1, demand=demand), n1=capability)

    assert capability.can(demand) is can
    assert made.able(demand) == can
    assert pairs(made) == ([(1, 1)] if can else [])
    assert len(made) == (not can)


def test_a_kernel_fills_the_window_and_a_command_only_an_idle_slot() -> None:
    node = replace(NODE, slots=2, window=5)

    assert len(pairs(scheduler(*(waiting(job) for job in range(9)), n1=node))) == 5
    assert len(pairs(scheduler(*(waiting(j, demand=COMMAND) for j in range(9)), n1=node))) == 2

    full = scheduler(waiting(1, demand=COMMAND), n1=node)
    full.set_node(1, node, 2)
    assert pairs(full) == []
    full.give_back(1)
    assert pairs(full) == [(1, 1)]


LARGE = replace(KERNEL, gpu=True, vram_gib=20)


def test_jobs_for_one_of_two_devices_hold_its_half_of_the_window_and_the_other_is_kept_busy() -> (
    None
):
    node = replace(NODE, **TWO_GPUS)
    made = scheduler(
        *(waiting(job, demand=LARGE) for job in range(100)),
        *(waiting(job, BOB) for job in range(200, 300)),
        n1=node,
    )
    held: list[Demand] = []
    made.held_demands = lambda _node: (held, 0)
    found = made.match(NOW_MS)
    held += [each.demand for each, _ in found]

    assert Counter(each.demand for each, _ in found) == {LARGE: 16, KERNEL: 16}
    # A large one ends: a large one follows. A small one ends: no large one takes its place.
    held.remove(LARGE)
    made.give_back(1)
    made.give_back(1)
    held.remove(KERNEL)
    again = made.match(NOW_MS)
    assert Counter(each.demand for each, _ in again) == {LARGE: 1, KERNEL: 1}


def test_jobs_on_their_way_count_too_and_alone_they_still_fill_no_more_than_their_part() -> None:
    node = replace(NODE, **TWO_GPUS)
    made = scheduler(*(waiting(job, demand=LARGE) for job in range(100)), n1=node)
    made.held_demands = lambda _node: ([LARGE] * 5, 3)

    assert len(made.match(NOW_MS)) == 8


@pytest.mark.parametrize(
    ("demand", "part"),
    [(KERNEL, 0), (LARGE, 16), (replace(KERNEL, gpu=True), 0), (COMMAND, 0),
     (replace(KERNEL, gpu=True, compute=90), 16)],
)  # fmt: skip
def test_a_part_is_of_what_some_devices_do_not_take(demand: Demand, part: int) -> None:
    assert replace(NODE, **TWO_GPUS).part(demand) == part


def test_jobs_are_spread_over_the_nodes_before_any_of_them_is_filled() -> None:
    node = replace(NODE, slots=1, window=4)

    found = pairs(scheduler(*(waiting(job) for job in range(6)), n1=node, n2=node, n3=node))

    assert Counter(to for _, to in found) == {1: 2, 2: 2, 3: 2}


def test_a_node_that_is_gone_gets_nothing_and_one_that_is_back_holds_what_it_held() -> None:
    made = scheduler(waiting(1), waiting(2), n1=NODE)
    made.drop_node(1)
    assert pairs(made) == []
    made.give_back(1)

    made.set_node(1, NODE, 1)
    assert pairs(made) == []
    made.set_node(1, NODE, 0)
    assert pairs(made) == [(1, 1)]


def test_giving_back_more_than_was_held_makes_no_room() -> None:
    made = scheduler(waiting(1), waiting(2), n1=NODE)
    for _ in range(3):
        made.give_back(1)

    assert pairs(made) == [(1, 1)]


# ---- avoiding the node that failed ------------------------------------------------------------


def test_a_job_goes_to_another_node_than_the_one_that_failed_it() -> None:
    made = scheduler(waiting(1, avoid=1), n1=NODE, n2=NODE)

    assert pairs(made) == [(1, 2)]


def test_a_job_waits_for_another_node_while_that_is_busy() -> None:
    made = scheduler(waiting(1, avoid=1), n1=NODE)
    made.set_node(2, NODE, 1)

    assert pairs(made) == []
    made.give_back(2)
    assert pairs(made) == [(1, 2)]


def test_the_only_node_gets_the_job_that_it_failed() -> None:
    made = scheduler(waiting(1, avoid=1), n1=NODE, n2=replace(NODE, kinds=frozenset({"command"})))

    assert pairs(made) == [(1, 1)]


def test_a_job_that_avoids_a_node_holds_up_nobody_behind_it() -> None:
    made = scheduler(waiting(1, avoid=1), waiting(2), waiting(3, BOB), n1=replace(NODE, window=2))
    made.set_node(2, NODE, 1)

    assert [job for job, _ in pairs(made)] == [3, 2]
    made.give_back(2)
    assert pairs(made) == [(1, 2)]


def test_the_search_behind_avoiding_jobs_is_bounded() -> None:
    made = scheduler(*(waiting(job, avoid=1) for job in range(100)), waiting(100), n1=NODE)
    made.set_node(2, NODE, 1)
    looks = _count_looks(made)

    assert pairs(made) == []
    # Each job is looked at when it comes up and when it is the next one.
    assert looks() <= 3 * (LOOKS_MAX + 1)


# ---- delays and removals ----------------------------------------------------------------------


def test_a_delayed_job_waits_for_its_time() -> None:
    made = scheduler(waiting(1, not_before_ms=NOW_MS + 500), n1=NODE)

    assert made.next_due_ms() == NOW_MS + 500
    assert pairs(made, NOW_MS + 499) == []
    assert pairs(made, NOW_MS + 500) == [(1, 1)]
    assert made.next_due_ms() is None


def test_a_removed_job_is_skipped_whether_it_waited_or_was_delayed() -> None:
    made = scheduler(waiting(1), waiting(2, not_before_ms=NOW_MS + 1), waiting(3), n1=NODE)
    made.remove(1)
    made.remove(2)
    made.remove(2)
    made.remove(77)

    assert len(made) == 1
    assert pairs(made, NOW_MS + 1) == [(3, 1)]
    assert len(made) == 0


@pytest.mark.parametrize("first_delay_ms", [0, 100])
def test_a_job_that_was_removed_and_comes_back_later_keeps_its_new_time(
    first_delay_ms: int,
) -> None:
    made = scheduler(waiting(1, not_before_ms=NOW_MS + first_delay_ms), n1=NODE)
    made.remove(1)
    made.add(waiting(1, not_before_ms=NOW_MS + 500), NOW_MS)

    assert pairs(made, NOW_MS + 499) == []
    assert pairs(made, NOW_MS + 500) == [(1, 1)]


def test_a_job_that_is_added_twice_is_given_once() -> None:
    made = scheduler(waiting(1), waiting(1), n1=replace(NODE, window=5))

    assert pairs(made) == [(1, 1)]
    assert pairs(made) == []


# ---- cost -------------------------------------------------------------------------------------


def _count_looks(made: Scheduler) -> Any:
    """Count how often the index of jobs is looked at."""

    class Counting(dict[int, Waiting]):
        looks = 0

        def get(self, key: int, default: Any = None) -> Any:
            Counting.looks += 1
            return super().get(key, default)

        def __getitem__(self, key: int) -> Waiting:
            Counting.looks += 1
            return super().__getitem__(key)

        def __contains__(self, key: object) -> bool:
            Counting.looks += 1
            return super().__contains__(key)

    made._jobs = Counting(made._jobs)
    return lambda: Counting.looks


@pytest.mark.parametrize("queued", [100, 10_000])
def test_a_decision_costs_the_same_however_many_jobs_wait(queued: int) -> None:
    made = scheduler(*(waiting(job, bytes([job % 50]) * 32) for job in range(queued)), n1=NODE)
    looks = _count_looks(made)
    order = served(made)
    for _ in range(20):
        next(order)

    # At each decision the heads of a few lines, and the job itself.
    assert 20 < looks() <= 12 * 20


def test_a_full_house_costs_nothing_however_many_demands_wait() -> None:
    asked: list[Demand] = []

    class Counted(Capability, frozen=True):
        def can(self, demand: Demand) -> bool:
            asked.append(demand)
            return super().can(demand)

    node = Counted(**{name: getattr(NODE, name) for name in Capability.__struct_fields__})
    made = scheduler(
        *(waiting(job, demand=replace(KERNEL, vram_gib=job)) for job in range(500)), n1=node
    )
    made.set_node(1, node, 1)

    assert pairs(made) == []
    assert asked == []


# ---- any order --------------------------------------------------------------------------------


class Market(RuleBasedStateMachine):
    """Jobs come, go and come back; nodes connect, finish and leave."""

    numbers = st.integers(1, 12)
    nodes = st.integers(1, 3)

    def __init__(self) -> None:
        super().__init__()
        self.made = Scheduler()
        self.now_ms = NOW_MS
        self.waiting: dict[int, Waiting] = {}
        self.held: dict[int, list[int]] = {}
        self.capabilities: dict[int, Capability] = {}

    @rule(
        job=numbers,
        wallet=st.sampled_from((ALICE, BOB)),
        demand=st.sampled_from((KERNEL, OTHER_KERNEL, COMMAND)),
        delay_ms=st.integers(0, 3),
        avoid=st.integers(0, 3),
    )
    def add(self, job: int, wallet: bytes, demand: Demand, delay_ms: int, avoid: int) -> None:
        if any(job in held for held in self.held.values()):
            return
        self.waiting[job] = Waiting(job, wallet, demand, self.now_ms + delay_ms, avoid)
        self.made.add(self.waiting[job], self.now_ms)

    @rule(job=numbers)
    def remove(self, job: int) -> None:
        self.waiting.pop(job, None)
        self.made.remove(job)

    @rule(node=nodes, slots=st.integers(1, 2), ahead=st.integers(0, 3))
    def connect(self, node: int, slots: int, ahead: int) -> None:
        self.capabilities[node] = replace(NODE, slots=slots, window=slots + ahead)
        self.held.setdefault(node, [])
        self.made.set_node(node, self.capabilities[node], len(self.held[node]))

    @rule(node=nodes)
    def leave(self, node: int) -> None:
        self.capabilities.pop(node, None)
        self.held.pop(node, None)
        self.made.drop_node(node)

    @precondition(lambda self: any(self.held.values()))
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        node = data.draw(st.sampled_from([node for node, held in self.held.items() if held]))
        self.held[node].pop()
        self.made.give_back(node)

    @rule()
    def wait(self) -> None:
        self.now_ms += 1

    @rule()
    def match(self) -> None:
        for given, node in self.made.match(self.now_ms):
            # No job twice, none that was removed, none before its time.
            assert self.waiting.pop(given.job) == given
            assert given.not_before_ms <= self.now_ms
            capability = self.capabilities[node]
            assert capability.can(given.demand)
            # No node above its room.
            assert len(self.held[node]) < capability.room(given.demand)
            assert given.avoid != node or self.made.able(given.demand) == 1
            self.held[node].append(given.job)
        self._nobody_idle_waits()

    def _nobody_idle_waits(self) -> None:
        for node, capability in self.capabilities.items():
            if len(self.held[node]) >= capability.slots:
                continue
            for each in self.waiting.values():
                is_due = each.not_before_ms <= self.now_ms
                avoids = each.avoid == node and self.made.able(each.demand) > 1
                assert not (is_due and capability.can(each.demand) and not avoids), (node, each)

    @invariant()
    def the_index_has_what_waits(self) -> None:
        assert len(self.made) == len(self.waiting)


Market.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@pytest.mark.slow
class TestMarket(Market.TestCase):  # type: ignore[misc, valid-type]
    """Any order of jobs, nodes and time."""
