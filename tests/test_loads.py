"""Which node is next: the same as one that looks at every node each time, and never a full one."""

from __future__ import annotations

from hypothesis import given, strategies as st

from coordinator.loads import SPARE_ENTRIES, Loads

NODES = range(1, 6)
PLACES, SLOTS = 4, 2
STEPS = st.lists(
    st.tuples(st.sampled_from(["next", "give", "reserve", "set", "drop"]), st.sampled_from(NODES)),
    max_size=60,
)


class Naive:
    """The rule itself, without an index."""

    def __init__(self) -> None:
        self.held: dict[int, int] = {}
        self.turn: dict[int, int] = {}
        self.turns = 0

    def free(self) -> list[int]:
        found = [node for node, held in self.held.items() if held < PLACES]
        return sorted(found, key=lambda node: (self.held[node] / SLOTS, self.turn[node]))

    def do(self, step: str, node: int) -> None:
        if step == "next":
            self.held[node] += 1
            self.turns += 1
            self.turn[node] = self.turns
        elif step == "give" and self.held.get(node, 0) > 0:
            self.held[node] -= 1
        elif step == "reserve" and self.held.get(node, SLOTS) < SLOTS:
            self.held[node] += 1
        elif step == "set":
            self.held[node] = 1
            self.turn.setdefault(node, 0)
        elif step == "drop":
            self.held.pop(node, None)
            self.turn.pop(node, None)


@given(STEPS)
def test_the_next_node_is_the_one_that_a_look_at_all_of_them_finds(
    steps: list[tuple[str, int]],
) -> None:
    loads, naive = Loads(), Naive()
    for step, node in steps:
        if step == "next":
            found = loads.next(lambda _: True, len(NODES))
            best = naive.free()[:1]
            # Equals that never had a turn may come in any order.
            ties = [n for n in naive.free() if _key(naive, n) == _key(naive, best[0])]
            assert found in (ties or [0])
            if found:
                loads.take(found)
                naive.do(step, found)
        else:
            _apply(loads, step, node)
            naive.do(step, node)
        assert set(loads.free()) == set(naive.free())
        assert {n: loads.held(n) for n in naive.held} == naive.held


def _key(naive: Naive, node: int) -> tuple[int, int]:
    return naive.held[node], naive.turn[node]


def _apply(loads: Loads, step: str, node: int) -> None:
    if step == "give":
        loads.give_back(node)
    elif step == "reserve":
        loads.reserve(node)
    elif step == "set":
        loads.set(node, held=1, slots=SLOTS, places=PLACES)
    else:
        loads.drop(node)


def test_a_node_that_does_not_fit_is_passed_and_keeps_its_turn() -> None:
    loads = Loads()
    for node in NODES:
        loads.set(node, held=0, slots=SLOTS, places=PLACES)

    assert loads.next(lambda node: node == 4, looks=5) == 4
    assert loads.next(lambda node: node == 9, looks=5) == 0
    assert loads.next(lambda node: node == 5, looks=2) == 0, "not among the next two"
    assert loads.next(lambda _: True, looks=5) == 1


def test_outdated_entries_do_not_pile_up() -> None:
    loads = Loads()
    loads.set(1, held=0, slots=SLOTS, places=PLACES)
    for _ in range(10 * SPARE_ENTRIES):
        loads.take(1)
        loads.give_back(1)

    assert len(loads._heap) <= SPARE_ENTRIES + 2
    assert loads.next(lambda _: True, looks=1) == 1
