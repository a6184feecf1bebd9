"""From outputs to verdicts: sampling, policies and what a cheat risks."""

from __future__ import annotations

import json
from collections import Counter
from hashlib import sha256
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, strategies as st

from coordinator.limits import SAMPLED_BLOCKS_MAX
from coordinator.protocol.commitment import output_root
from coordinator.protocol.errors import Refusal
from coordinator.protocol.spec import Limits, Policy, Sample, Spec, Unverified
from coordinator.verification.sampling import draw_blocks, sample_size
from coordinator.verification.verdict import (
    Verdict,
    check_policy,
    check_root,
    policy_of,
    verify,
)
from coordinator.workloads.catalogue import get
from coordinator.workloads.montecarlo import MonteCarlo

DRAW = bytes(range(32))
BLOCKS = 16
WORKLOAD = MonteCarlo()


def spec_of(policy: Policy | None = None, kind: str = "montecarlo", **changes: Any) -> Spec:
    params = {
        "spot": 100.0, "strike": 100.0, "rate": 0.05, "volatility": 0.2, "maturity_years": 1.0,
        "option": "call", "paths": BLOCKS * 1024, "steps": 256,
    }  # fmt: skip
    if kind == "command":
        params = {"command": "true"}
    return Spec(kind=kind, params=msgspec.Raw(json.dumps(params | changes).encode()), verify=policy)


def honest() -> list[Any]:
    params = WORKLOAD.decode(bytes(spec_of().params))
    assert WORKLOAD.blocks(params) == BLOCKS
    return [np.stack([WORKLOAD.reference(params, block)[0] for block in range(BLOCKS)])]


@pytest.fixture(scope="module")
def sums() -> Any:
    return honest()[0]


def draw_number(number: int) -> bytes:
    return sha256(number.to_bytes(8, "little")).digest()


@given(st.binary(min_size=32, max_size=32), st.integers(1, 500), st.data())
def test_a_draw_has_no_block_twice_and_none_beyond_the_last(
    draw: bytes, blocks: int, data: st.DataObject
) -> None:
    count = data.draw(st.integers(0, blocks))

    drawn = draw_blocks(draw, blocks, count)

    assert len(drawn) == len(set(drawn)) == count
    assert list(drawn) == sorted(drawn)
    assert all(0 <= block < blocks for block in drawn)
    assert drawn == draw_blocks(draw, blocks, count)


def test_every_block_is_drawn_equally_often() -> None:
    for count in (3, 7):
        seen = Counter(b for n in range(2000) for b in draw_blocks(draw_number(n), 10, count))

        assert all(abs(seen[block] - 200 * count) < 5 * (200 * count) ** 0.5 for block in range(10))


def test_another_draw_gives_other_blocks() -> None:
    assert draw_blocks(DRAW, 2**20, 8) != draw_blocks(draw_number(0), 2**20, 8)


@pytest.mark.parametrize(
    ("policy", "blocks", "size"),
    [
        (Sample(rate=0.0, floor=8), 1000, 8),
        (Sample(rate=0.0, floor=8), 5, 5),
        (Sample(rate=0.01, floor=8), 1001, 11),
        (Sample(rate=1.0, floor=1), 1000, 1000),
        (Unverified(), 1000, 0),
    ],
)
def test_a_sample_has_its_rate_and_at_least_its_floor(
    policy: Policy, blocks: int, size: int
) -> None:
    assert sample_size(policy, blocks) == size


def test_a_sample_beyond_the_limit_is_refused_with_the_rate_that_would_do() -> None:
    with pytest.raises(Refusal, match=r"bad_spec: .*a rate up to 0\.0039"):
        sample_size(Sample(rate=0.5), 2**20)
    assert sample_size(Sample(rate=SAMPLED_BLOCKS_MAX / 2**20), 2**20) == SAMPLED_BLOCKS_MAX


def test_a_command_that_asks_for_a_sample_is_refused() -> None:
    command = get("command")
    params = command.decode(b'{"command":"true"}')

    check_policy(spec_of(kind="command"), command, params)
    with pytest.raises(Refusal, match="bad_spec"):
        check_policy(spec_of(Sample(), kind="command"), command, params)


def test_without_a_policy_the_kind_s_own_holds() -> None:
    assert policy_of(spec_of(), WORKLOAD) == WORKLOAD.default_policy
    assert policy_of(spec_of(Unverified()), WORKLOAD) == Unverified()


def test_an_honest_result_is_accepted(sums: Any) -> None:
    assert verify(spec_of(), WORKLOAD, [sums], DRAW) == Verdict("accepted", checked=BLOCKS)
    few = spec_of(Sample(rate=0.0, floor=3))
    assert verify(few, WORKLOAD, [sums], DRAW) == Verdict("accepted", checked=3)


def test_a_result_with_every_block_wrong_is_always_rejected(sums: Any) -> None:
    one = spec_of(Sample(rate=0.0, floor=1))
    for number in range(20):
        verdict = verify(one, WORKLOAD, [sums * (1 + 1e-6)], draw_number(number))

        assert (verdict.state, verdict.checked) == ("rejected", 1)


@pytest.mark.parametrize("block", [0, 7, BLOCKS - 1])
def test_one_wrong_block_is_always_found_at_full_rate(sums: Any, block: int) -> None:
    wrong = sums.copy()
    wrong[block, 0] *= 1 + 1e-6

    verdict = verify(spec_of(Sample(rate=1.0, floor=1)), WORKLOAD, [wrong], DRAW)

    assert verdict.state == "rejected"
    assert verdict.reason.startswith(f"block {block} of {BLOCKS}: ")
    assert verdict.checked == block + 1


@pytest.mark.slow
def test_half_wrong_blocks_pass_as_often_as_computed(sums: Any) -> None:
    wrong = sums.copy()
    wrong[::2] *= 1 + 1e-6
    spec = spec_of(Sample(rate=0.0, floor=2))
    draws = 200

    passed = sum(
        verify(spec, WORKLOAD, [wrong], draw_number(n)).state == "accepted" for n in range(draws)
    )

    # Two of eight right blocks among sixteen: 8/16 * 7/15; four standard deviations.
    chance = 8 / 16 * 7 / 15
    assert abs(passed - draws * chance) < 4 * (draws * chance * (1 - chance)) ** 0.5


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        ([], "0 outputs"),
        ([np.zeros((BLOCKS, 2), dtype=np.float32)], "float32"),
        ([np.zeros((BLOCKS, 3))], "shape"),
        ([np.full((BLOCKS, 2), np.nan)], "finite"),
        ([np.full((BLOCKS, 2), -1.0)], "negative"),
    ],
    ids=["number", "type", "shape", "nan", "sense"],
)
@pytest.mark.parametrize("policy", [None, Unverified()], ids=["sampled", "unverified"])
def test_garbage_is_rejected_under_every_policy(
    outputs: list[Any], said: str, policy: Policy | None
) -> None:
    verdict = verify(spec_of(policy), WORKLOAD, outputs, DRAW)

    assert (verdict.state, verdict.checked) == ("rejected", 0)
    assert said in verdict.reason


def test_outputs_beyond_the_job_s_limit_are_rejected(sums: Any) -> None:
    small = msgspec.structs.replace(spec_of(), limits=Limits(output_bytes=sums.nbytes - 1))

    assert "bytes" in verify(small, WORKLOAD, [sums], DRAW).reason


def test_an_unverified_result_is_taken_as_it_comes(sums: Any) -> None:
    assert verify(spec_of(Unverified()), WORKLOAD, [sums * 2], DRAW) == Verdict("unverified")


def test_a_command_s_log_is_unverified() -> None:
    log = [np.frombuffer(b"hello\n", dtype=np.uint8)]

    assert verify(spec_of(kind="command"), get("command"), log, DRAW) == Verdict("unverified")


def test_a_result_read_from_the_wire_is_the_same_result(sums: Any) -> None:
    assert verify(spec_of(), WORKLOAD, [sums.astype("<f8")], DRAW).state == "accepted"


def test_outputs_of_another_root_are_rejected(sums: Any) -> None:
    data = sums.tobytes()
    root = output_root([data])

    check_root([data], root)
    with pytest.raises(Refusal, match="rejected"):
        check_root([data[:-1] + bytes([data[-1] ^ 1])], root)
