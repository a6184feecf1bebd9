"""A submitter's kernel, from its decorator to its paid result: a real agent, zygote and sandbox."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

import hypernode as hn
from agent.task import KERNEL
from agent.user_kernels import MODULE
from agent.worker import LocalRunner
from hypernode import cuda
from hypernode.errors import JobFailed
from tests.house import Market, agent_at, open_market
from tests.test_end_to_end import assert_books_hold

THREADS = 64
FAKES = str(Path(__file__).resolve().parent / "fakes")


@hn.kernel
def saxpy(i, a: hn.f32, x: hn.In[hn.f32], y: hn.In[hn.f32], out: hn.Out[hn.f32]):  # type: ignore[no-untyped-def]
    out[i] = a * x[i] + y[i]


@hn.kernel
def block_sums(x: hn.In[hn.f32], sums: hn.Out[hn.f32]):  # type: ignore[no-untyped-def]
    part = cuda.shared.array(THREADS, hn.f32)
    t = cuda.threadIdx.x
    i = cuda.grid(1)
    part[t] = x[i] if i < len(x) else hn.f32(0.0)
    cuda.syncthreads()
    step = THREADS // 2
    while step > 0:
        if t < step:
            part[t] += part[t + step]
        cuda.syncthreads()
        step //= 2
    if t == 0:
        sums[cuda.blockIdx.x] = part[0]


@hn.kernel
def wild(i, far: hn.i64, out: hn.Out[hn.f32]):  # type: ignore[no-untyped-def]
    out[i * far] = hn.f32(1.0)


@hn.kernel
def endless(i, out: hn.Out[hn.i64]):  # type: ignore[no-untyped-def]
    n = i + 1
    while n > 0:
        n = n % 1000 + 1
    out[i] = n


@hn.kernel
def untyped(i, x: hn.In[hn.f32], out: hn.Out[hn.f32]):  # type: ignore[no-untyped-def]
    out[i] = x[i] & 1  # type: ignore[operator]


@pytest.fixture
async def market(tmp_path: Path) -> AsyncIterator[Market]:
    async with open_market(tmp_path) as opened:
        yield opened
    assert_books_hold(tmp_path)


@pytest.fixture
async def runner() -> AsyncIterator[LocalRunner]:
    """A real runner with a zygote, where this host has a sandbox."""
    made = LocalRunner(
        kernels="fake_kernels", user_kernels=MODULE,
        import_paths=[FAKES],
    )  # fmt: skip
    await made.start()
    if not made.runs_user_kernels:
        await made.aclose()
        pytest.skip("; ".join(made.report.remarks))
    yield made
    await made.aclose()


@pytest.mark.slow
@pytest.mark.sandbox
async def test_kernels_of_a_submitter_run_fail_and_are_paid(
    market: Market, runner: LocalRunner, tmp_path: Path
) -> None:
    x = np.arange(100_000, dtype=np.float32)
    client = market.client
    async with agent_at(market.house, runner, KERNEL, sandbox=1, inputs=tmp_path / "inputs"):
        job = await client.submit(saxpy, n=x.size, a=2.0, x=x, y=x, budget="0.1")
        result = await job.result(60)
        sums = await client.submit(
            block_sums, grid=4, block=THREADS, x=x[:250], sums=4, budget="0.1"
        )
        small = await sums.result(60)

        failures = {}
        for kernel, more in (
            (wild, {"far": 2**40, "n": 1000}),
            (endless, {"n": 10}),
            (untyped, {"x": x[:9], "n": 9}),
        ):
            bad = await client.submit(kernel, **more, budget="0.03")
            with pytest.raises(JobFailed) as failed:
                await bad.result(60)
            failures[kernel.name] = (failed.value.code, str(failed.value))
        again = await client.submit(saxpy, n=4, a=3, x=x[:4], y=x[:4], budget="0.1")
        last = await again.result(60)

    np.testing.assert_array_equal(result["out"], 3 * x)
    assert dict(result).keys() == {"out"}
    assert result.receipt is not None
    assert (result.receipt.policy, result.receipt.verdict) == ("none", "unverified")
    expected = [x[:250][k * THREADS : (k + 1) * THREADS].sum() for k in range(4)]
    np.testing.assert_allclose(small["sums"], expected, rtol=1e-5)
    np.testing.assert_array_equal(last["out"], 4 * x[:4])
    assert failures["wild"][0] == "kernel_failed"
    assert "outside of its arrays" in failures["wild"][1]
    assert failures["endless"][0] == "execution_timeout"
    assert failures["untyped"][0] == "kernel_failed"
    assert "line" in failures["untyped"][1]
