"""Light checks: a result that is cheap to check is taken, judged and paid in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
import numpy as np
import pytest
from hypothesis import given, strategies as st
from msgspec.structs import replace

from coordinator import checks, events as ev
from coordinator.protocol.arrays import AnyArray, to_wire
from coordinator.protocol.commitment import output_root
from coordinator.protocol.spec import Limits, Sample, Spec, Unverified, encode_spec
from coordinator.store.values import Job, JobState, Output
from coordinator.workloads.hashsearch import HashSearch, HashSearchParams
from tests.build import Market, montecarlo_spec

RULES_BUDGET = 10_000


@pytest.fixture
def market() -> Iterator[Market]:
    made = Market()
    yield made
    made.close()


def search_spec(count: int = 10, **changes: object) -> bytes:
    params = {"prefix": "68", "start": 5, "count": count, "target_bits": 3}
    return encode_spec(
        msgspec.structs.replace(
            Spec("hashsearch", msgspec.Raw(msgspec.json.encode(params))), **changes
        )
    )


def arrays_of(job: Job) -> list[AnyArray]:
    """The right answer."""
    workload = HashSearch()
    params = workload.decode(bytes(msgspec.json.decode(job.spec, type=Spec).params))
    hits, best = workload.reference(params, 0)
    return [hits, best.reshape(1, 2)]


def result_of(job: Job, arrays: list[AnyArray]) -> ev.ResultArrived:
    outputs = []
    for index, array in enumerate(arrays):
        dtype, shape, data = to_wire(array)
        outputs.append(Output(job.id, job.fence, index, dtype, shape, data, size=len(data)))
    root = output_root([output.data for output in outputs])
    return ev.ResultArrived(
        job.id, job.fence, job.node, is_completed=True, code="", detail="",
        outputs=tuple(outputs), root=root,
    )  # fmt: skip


def test_a_right_result_is_completed_and_paid_at_once(market: Market) -> None:
    job = market.assigned(spec=search_spec(), budget=RULES_BUDGET)

    assert market.ask(result_of(job, arrays_of(job))) == "accepted"

    after = market.job(job)
    assert (after.state, after.paid) == (JobState.COMPLETED, job.price)
    assert not market.of(ev.VerificationDue)
    assert [checked.state for checked in market.of(ev.ResultChecked)] == ["accepted"]
    (receipt,) = market.receipts()
    assert (receipt.verdict, receipt.policy) == ("accepted", "sample")
    # Told once: assigned, then completed.
    assert [changed.job.state for changed in market.of(ev.JobChanged)] == ["assigned", "completed"]


def test_a_wrong_result_is_not_paid_and_its_job_goes_elsewhere(market: Market) -> None:
    job = market.assigned(spec=search_spec(), budget=RULES_BUDGET)
    hits, best = arrays_of(job)
    lie = [hits, best + np.array([[1, 0]], dtype=np.uint64)]

    assert market.ask(result_of(job, lie)) == "accepted", "it was taken in, and found wrong"

    after = market.job(job)
    assert (after.state, after.failures, after.code) == (JobState.QUEUED, 1, "rejected")
    assert not market.receipts()
    assert market.reader.outputs(job.id, job.fence) == []
    (again,) = [each for each in market.of(ev.JobQueued) if each.avoid]
    assert again.avoid == job.node


def test_a_result_that_comes_again_gets_the_same_answer_and_no_second_payment(
    market: Market,
) -> None:
    job = market.assigned(spec=search_spec(), budget=RULES_BUDGET)
    result = result_of(job, arrays_of(job))

    answers = [market.ask(result), market.ask(result)]

    assert answers == ["accepted", "accepted"]
    assert len(market.receipts()) == 1


def test_the_sample_is_drawn_after_the_root_is_known_and_anew_for_each_result(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws: list[bytes] = []
    real = checks.judge

    def watching(
        job: Job, outputs: object, raw: object, root: bytes, draw: Callable[[], bytes]
    ) -> ev.VerdictReached:
        draws.append(draw())
        return real(job, outputs, raw, root, draw)  # type: ignore[arg-type]

    monkeypatch.setattr("coordinator.lifecycle.judge", watching)
    for key in ("a", "b"):
        job = market.assigned(spec=search_spec(), budget=RULES_BUDGET, key=key)
        market.ask(result_of(job, arrays_of(job)))

    assert len(set(draws)) == 2
    assert {len(draw) for draw in draws} == {checks.DRAW_BYTES}


def test_a_check_that_breaks_by_our_own_mistake_pays_nothing(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = market.assigned(spec=search_spec(), budget=RULES_BUDGET)
    result = result_of(job, arrays_of(job))
    monkeypatch.setattr(HashSearch, "answer", lambda *_: 1 / 0)

    market.ask(result)

    assert market.job(job).state is JobState.QUEUED
    assert market.job(job).code == "rejected"


@pytest.mark.parametrize(
    ("spec", "light"),
    [
        (search_spec(), True),
        (search_spec(100_000), False),
        (search_spec(verify=Sample(rate=1.0)), True),
        (search_spec(verify=Unverified()), False),
        (montecarlo_spec(), False),
    ],
    ids=["small", "large", "all of a small one", "unverified", "many blocks"],
)
def test_only_a_small_check_is_light(market: Market, spec: bytes, *, light: bool) -> None:
    job = market.queued(spec=spec, budget=RULES_BUDGET)
    inline = Output(job.id, 1, 0, "uint8", (1,), b"x", size=1)

    assert checks.is_light(job, [inline]) is light
    assert not checks.is_light(job, [replace(inline, sha256=bytes(32))]), "a blob has to be read"


@given(st.binary(max_size=32), st.integers(0, 2**53 - 33), st.integers(1, 32), st.integers(1, 12))
def test_the_short_answer_is_the_reference_answer(
    prefix: bytes, start: int, count: int, target_bits: int
) -> None:
    workload = HashSearch()
    params = HashSearchParams(prefix.hex(), start, count, target_bits)

    short = workload.answer(params)

    hits, best = workload.reference(params, 0)
    assert short == tuple(to_wire(array) for array in (hits, best.reshape(1, 2)))


def test_a_right_answer_that_is_larger_than_was_asked_for_is_rejected(market: Market) -> None:
    spec = search_spec(limits=Limits(output_bytes=8))
    job = market.assigned(spec=spec, budget=RULES_BUDGET)

    market.ask(result_of(job, arrays_of(job)))

    assert market.job(job).code == "rejected"


# ---- kernels of submitters: nobody recomputes them, but what comes is what was asked for --------

KERNEL = encode_spec(
    Spec(
        "kernel",
        msgspec.Raw(
            msgspec.json.encode(
                {
                    "source": "@kernel\ndef k(i, out: Out[f32], ends: Out[i64]):\n    out[i] = i\n",
                    "outputs": {"out": [4], "ends": [2]},
                    "extent": [4],
                }
            )
        ),
        Limits(output_bytes=32),
    )
)
ANSWER: list[AnyArray] = [np.arange(4, dtype=np.float32), np.zeros(2, np.int64)]


def test_a_kernels_outputs_of_the_form_asked_for_are_paid_unverified(market: Market) -> None:
    job = market.assigned(spec=KERNEL, budget=RULES_BUDGET)

    assert market.ask(result_of(job, ANSWER)) == "accepted"

    assert market.job(job).state is JobState.COMPLETED
    (receipt,) = market.receipts()
    assert (receipt.verdict, receipt.policy) == ("unverified", "none")


@pytest.mark.parametrize(
    "arrays",
    [
        [],
        ANSWER[:1],
        [*ANSWER, ANSWER[0]],
        ANSWER[::-1],
        [ANSWER[0].astype(np.float64), ANSWER[1]],
        [ANSWER[0][:3], ANSWER[1]],
        [ANSWER[0].reshape(2, 2), ANSWER[1]],
    ],
    ids=[
        "none",
        "too few",
        "too many",
        "another order",
        "another type",
        "shorter",
        "two-dimensional",
    ],
)
def test_a_kernels_outputs_of_another_form_are_not_paid(
    market: Market, arrays: list[AnyArray]
) -> None:
    job = market.assigned(spec=KERNEL, budget=RULES_BUDGET)

    market.ask(result_of(job, arrays))

    after = market.job(job)
    assert (after.state, after.failures, after.code) == (JobState.QUEUED, 1, "rejected")
    assert not market.receipts()


def test_a_kernel_that_failed_is_paid_by_its_time_and_has_no_outputs(market: Market) -> None:
    job = market.assigned(spec=KERNEL, budget=RULES_BUDGET)
    failed = replace(result_of(job, []), is_completed=False, code="kernel_failed", detail="line 3")

    assert market.ask(failed) == "accepted"

    after = market.job(job)
    assert (after.state, after.code) == (JobState.FAILED, "kernel_failed")
    assert after.paid > 0
    other = market.assigned(spec=KERNEL, budget=RULES_BUDGET, key="second")
    full = replace(result_of(other, ANSWER), is_completed=False, code="kernel_failed", detail="")
    market.ask(full)
    assert market.job(other).code == "rejected"
