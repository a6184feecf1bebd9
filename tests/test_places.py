from __future__ import annotations

from typing import Any

import pytest

from agent.held import Held
from agent.places import Place, Places
from agent.task import Task

SMALL = Place("GPU-small", "cuda", 24_564, 89, takes_commands=False)
LARGE = Place("GPU-large", "cuda", 81_559, 90, takes_commands=False)
CPU = Place("cpu", "cpu", 64_000)
SHELL = Place("", "")


def task(name: str = "a", kind: str = "matmul", **needs: Any) -> Task:
    return Task(name, 1, kind, b"{}", 1.0, 16, 1, **needs)


def where(places: Places, *tasks: Task) -> list[int | None]:
    return [places.occupy(task) for task in tasks]


@pytest.mark.parametrize(
    ("needs", "expected"),
    [
        ({}, [0, 1, 2, None]),
        ({"gpu": True}, [0, 1, None, None]),
        ({"vram_mb": 24 * 1024}, [0, 1, 2, None]),
        ({"gpu": True, "vram_mb": 40_000}, [1, None, None, None]),
        ({"gpu": True, "vram_mb": 90_000}, [None] * 4),
        ({"gpu": True, "compute_capability": 90}, [1, None, None, None]),
        ({"gpu": True, "compute_capability": 100}, [None] * 4),
        ({"kind": "command"}, [3, 2, None, None]),
    ],
    ids=[
        *("anything", "a GPU", "what a card of 24 GiB has", "a large GPU", "too much"),
        *("a new GPU", "a newer one", "commands"),
    ],
)
def test_a_task_goes_to_the_least_place_that_fits(
    needs: dict[str, Any], expected: list[int | None]
) -> None:
    places = Places([SMALL, LARGE, CPU, SHELL])

    assert where(places, *[task(**needs)] * 4) == expected


def test_of_two_gpus_of_one_size_the_older_one_goes_first() -> None:
    older = Place("GPU-older", "cuda", 81_559, 80, takes_commands=False)
    places = Places([LARGE, older])

    assert where(places, task(), task(compute_capability=90)) == [1, 0]


def test_a_place_is_taken_until_it_is_released() -> None:
    places = Places([CPU])

    assert where(places, task(), task()) == [0, None]
    places.release(0)
    assert where(places, task()) == [0]


def test_a_place_that_is_out_gets_nothing_and_what_only_it_could_run_is_stranded() -> None:
    held = Held(Places([SMALL, LARGE]), window=8)
    for name, megabytes in (("a", 40_000), ("b", 0), ("c", 40_000)):
        assert held.take(task(name, gpu=True, vram_mb=megabytes)).is_held
    held.places.shut({1: "it is lost"})

    assert held.strand() == [("a", 1), ("c", 1)]
    assert (len(held.places), held.attempts()) == (1, [("b", 1)])
    assert not held.take(task("d", gpu=True, vram_mb=40_000)).is_held
    held.places.shut({})
    assert held.take(task("e", gpu=True, vram_mb=40_000)).is_held


def test_one_that_waits_for_a_large_gpu_holds_up_no_small_one() -> None:
    held = Held(Places([SMALL, LARGE]), window=8)
    for name, megabytes in (("a", 40_000), ("b", 40_000), ("c", 0), ("d", 0)):
        assert held.take(task(name, gpu=True, vram_mb=megabytes)).is_held
    begun = [held.start() for _ in range(3)]

    assert [(t.job, t.place) for t in begun if t is not None] == [("a", 1), ("c", 0)]


def test_a_gpu_is_kept_for_kernels_while_commands_have_places_of_their_own() -> None:
    held = Held(Places([LARGE, SHELL]), window=8)

    assert held.take(task("x", kind="command")).is_held
    assert held.take(task("y", kind="command")).code == "abandoned"
    assert held.take(task("a")).is_held
    begun = [held.start(), held.start()]
    assert [(t.job, t.place) for t in begun if t is not None] == [("x", 1), ("a", 0)]
