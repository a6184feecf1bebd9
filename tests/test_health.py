from __future__ import annotations

import pytest

from agent.health import (
    COOL_CELSIUS,
    FAILURES_MAX,
    LIMIT_CELSIUS,
    RETRY_FIRST_S,
    RETRY_MAX_S,
    Health,
    Reading,
)

GOOD = Reading(celsius=60, limit_celsius=90, memory_errors=0)


def fail(health: Health, *jobs: str, now: float = 0.0) -> None:
    for job in jobs:
        health.job_failed(job, "an illegal memory access", now)


def test_a_device_works_while_nothing_is_wrong() -> None:
    health = Health("H100")
    for now in range(10):
        health.see(GOOD, float(now))
        health.job_ended()

    assert (health.works, health.reason, health.is_due(1e9)) == (True, "", False)


def test_a_lost_device_is_out_at_once_and_its_work_is_given_back() -> None:
    health = Health("H100")
    health.see(Reading(lost="GPU is lost"), 5.0)

    assert (health.state, health.is_gone) == ("lost", True)
    assert "fell off the bus (GPU is lost)" in health.reason
    assert "dmesg" in health.reason
    assert not health.is_due(5.0 + RETRY_FIRST_S - 1)
    assert health.is_due(5.0 + RETRY_FIRST_S)


def test_an_error_of_memory_that_was_there_before_is_no_news_and_a_new_one_is() -> None:
    health = Health("H100")
    old = Reading(memory_errors=3)
    health.see(old, 0.0)
    assert health.works
    health.see(Reading(memory_errors=5), 1.0)

    assert (health.state, health.is_gone) == ("memory errors", True)
    assert "2 errors" in health.reason


@pytest.mark.parametrize(
    ("reading", "is_hot"),
    [
        (Reading(celsius=89, limit_celsius=90), False),
        (Reading(celsius=90, limit_celsius=90), True),
        (Reading(celsius=LIMIT_CELSIUS), True),
        (Reading(celsius=LIMIT_CELSIUS - 1), False),
        (Reading(), False),
    ],
)
def test_a_device_above_its_own_limit_is_hot(reading: Reading, is_hot: bool) -> None:
    health = Health("H100")
    health.see(reading, 0.0)

    assert (health.state == "hot") == is_hot
    assert not health.is_gone


def test_a_hot_device_comes_back_when_it_is_well_below_its_limit_by_itself() -> None:
    health = Health("H100")
    health.see(Reading(celsius=90, limit_celsius=90), 0.0)
    health.see(Reading(celsius=91 - COOL_CELSIUS, limit_celsius=90), 1.0)
    assert not health.works
    assert not health.is_due(1e9)
    health.see(Reading(celsius=90 - COOL_CELSIUS, limit_celsius=90), 2.0)
    assert health.works


def test_several_jobs_in_a_row_put_a_device_out_and_one_bad_job_does_not() -> None:
    health = Health("H100")
    fail(health, *["the same"] * 10)
    assert health.works
    health.job_ended()
    fail(health, *map(str, range(FAILURES_MAX - 1)))
    assert health.works
    fail(health, "one more")
    assert (health.state, health.is_gone) == ("fails", False)
    assert f"{FAILURES_MAX} jobs in a row failed on it" in health.reason
    assert "an illegal memory access" in health.reason


def test_a_device_that_came_back_is_out_again_at_its_first_failure_and_waits_longer() -> None:
    health = Health("H100")
    now, waits = 0.0, []
    fail(health, *"abc", now=now)
    for number in range(9):
        began = now
        while not health.is_due(now):
            now += 1
        waits.append(now - began)
        health.warmed()
        assert health.works
        fail(health, f"again {number}", now=now)
        assert not health.works

    assert waits[:3] == [RETRY_FIRST_S, 2 * RETRY_FIRST_S, 4 * RETRY_FIRST_S]
    assert waits[-1] == RETRY_MAX_S


def test_a_good_job_after_the_return_makes_everything_as_before() -> None:
    health = Health("H100")
    fail(health, *"abc")
    health.warmed()
    health.job_ended()
    fail(health, *"de")

    assert health.works


def test_a_device_that_does_not_warm_up_stays_out_for_the_reason_that_it_had() -> None:
    health = Health("H100")
    health.see(Reading(lost="GPU is lost"), 0.0)
    health.stayed_cold("NVML does not find it", 60.0)
    assert (health.state, health.is_due(119.0), health.is_due(180.0)) == ("lost", False, True)
    fresh = Health("H100")
    fresh.stayed_cold("no device here", 0.0)
    assert (fresh.state, "no device here" in fresh.reason) == ("fails", True)
