"""Prices: from declared work, in integers, never rounded in the submitter's disfavour."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, strategies as st

from coordinator.pricing import (
    GIB,
    TERA,
    Rules,
    check_budget,
    fee_of,
    price_of_time,
    quote,
    timed_limit_s,
)
from coordinator.protocol.errors import Refusal
from coordinator.protocol.spec import Unverified, decode_spec
from onchain.amounts import AMOUNT_MAX, UNITS
from tests.build import command_spec, montecarlo_spec

RULES = Rules(price_per_tflop=100, price_per_gib=50)
RATES = st.integers(0, 10**9)
BUDGETS = st.integers(1, AMOUNT_MAX)
ELAPSED = st.integers(-(10**6), 10**12)


def refusal_of(spec: bytes, rules: Rules = RULES) -> str:
    with pytest.raises(Refusal) as caught:
        quote(decode_spec(spec), rules)
    return caught.value.code


@given(st.integers(2**10, 2**30), RATES, RATES)
def test_a_price_is_the_dearer_of_operations_and_bytes_rounded_down(
    paths: int, per_tflop: int, per_gib: int
) -> None:
    rules = Rules(price_per_tflop=per_tflop, price_per_gib=per_gib)

    asked = quote(decode_spec(montecarlo_spec(paths=paths)), rules)

    exact = max(Fraction(asked.flop * per_tflop, TERA), Fraction(asked.bytes * per_gib, GIB))
    assert asked.price == max(int(exact), 1)
    assert not asked.is_timed


def test_the_sample_job_of_these_tests_costs_what_they_say() -> None:
    asked = quote(decode_spec(montecarlo_spec()), RULES)

    assert (asked.price, fee_of(asked.price, RULES)) == (6601, 165)


def test_the_smallest_job_costs_one_base_unit() -> None:
    assert quote(decode_spec(montecarlo_spec(paths=1)), RULES).price == 1


def test_a_command_is_quoted_at_its_execution_limit() -> None:
    asked = quote(decode_spec(command_spec(execution_s=30)), RULES)

    assert (asked.kind, asked.price, asked.is_timed) == ("command", 30 * UNITS // 100, True)


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        (b'{"kind":"sorting"}', "unknown_kind"),
        (b'{"kind":"montecarlo"}', "bad_spec"),
        (b'{"kind":"command","params":{}}', "bad_spec"),
        (b'{"kind":"command","params":{"command":"a\\u0000b"}}', "bad_spec"),
        # A command cannot be recomputed: a policy that wants it is a misunderstanding.
        (b'{"kind":"command","params":{"command":"ls"},"verify":{"policy":"sample"}}', "bad_spec"),
    ],
    ids=repr,
)
def test_what_cannot_be_priced_is_refused_by_name(spec: bytes, code: str) -> None:
    assert refusal_of(spec) == code


def test_a_price_beyond_every_account_is_refused() -> None:
    assert refusal_of(montecarlo_spec(), Rules(price_per_tflop=AMOUNT_MAX)) == "bad_spec"


def test_a_job_may_ask_not_to_be_verified_and_costs_the_same() -> None:
    unverified = montecarlo_spec(verify=Unverified())

    assert quote(decode_spec(unverified), RULES) == quote(decode_spec(montecarlo_spec()), RULES)


# ---- budgets ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("budget", "code"),
    [(-1, "bad_amount"), (0, "bad_amount"), (6600, "over_budget"), (6601, None), (6602, None)],
)
def test_a_budget_covers_the_price_or_is_refused(budget: int, code: str | None) -> None:
    asked = quote(decode_spec(montecarlo_spec()), RULES)
    if code is None:
        check_budget(asked, budget)
        return
    with pytest.raises(Refusal) as caught:
        check_budget(asked, budget)
    assert caught.value.code == code


def test_a_refused_budget_is_told_the_price() -> None:
    with pytest.raises(Refusal, match=r"0\.006601 HYPER"):
        check_budget(quote(decode_spec(montecarlo_spec()), RULES), 1)


def test_a_command_runs_on_any_budget_as_long_as_it_is_paid_for() -> None:
    check_budget(quote(decode_spec(command_spec()), RULES), 1)


@pytest.mark.parametrize(
    ("budget", "limit_s"),
    [(1, 1), (9_999, 1), (10_000, 1), (19_999, 1), (20_000, 2), (300_000, 30), (10**9, 30)],
)
def test_a_commands_time_is_what_its_budget_pays_for_and_its_limit_at_most(
    budget: int, limit_s: int
) -> None:
    assert timed_limit_s(decode_spec(command_spec(execution_s=30)), budget, RULES) == limit_s


def test_without_a_budget_the_limit_alone_counts() -> None:
    assert timed_limit_s(decode_spec(command_spec(execution_s=30)), 0, RULES) == 30


def test_where_time_is_free_the_limit_alone_counts() -> None:
    spec = decode_spec(command_spec(execution_s=30))

    assert timed_limit_s(spec, 1, Rules(command_price_per_s=0)) == 1
    assert timed_limit_s(spec, UNITS, Rules(command_price_per_s=0)) == 30


# ---- time and fees ----------------------------------------------------------------------------


@given(ELAPSED, BUDGETS, st.integers(0, 10**6))
def test_time_is_rounded_down_and_never_costs_more_than_the_budget(
    elapsed_ms: int, budget: int, per_s: int
) -> None:
    price = price_of_time(elapsed_ms, budget, Rules(command_price_per_s=per_s))

    assert 1 <= price <= budget
    assert price == 1 or price <= Fraction(per_s * elapsed_ms, 1000)


@given(ELAPSED, ELAPSED, BUDGETS)
def test_more_time_never_costs_less(one: int, other: int, budget: int) -> None:
    shorter, longer = sorted((one, other))

    assert price_of_time(shorter, budget, RULES) <= price_of_time(longer, budget, RULES)


@pytest.mark.parametrize(
    ("elapsed_ms", "price"),
    [(0, 1), (99, 990), (100, 1_000), (1_999, 19_990), (5_000, 50_000), (10**9, 60_000)],
)
def test_a_second_costs_what_the_seed_says(elapsed_ms: int, price: int) -> None:
    assert price_of_time(elapsed_ms, 60_000, RULES) == price


@given(st.integers(0, AMOUNT_MAX), st.integers(0, 10_000))
def test_the_fee_is_a_part_of_the_price_rounded_down(price: int, fee_bp: int) -> None:
    fee = fee_of(price, Rules(fee_bp=fee_bp))

    assert 0 <= fee <= price
    assert fee == int(Fraction(price * fee_bp, 10_000))
