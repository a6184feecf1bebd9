"""Kernels as object code: built once, linked by others, with the same answers as Numba's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agent.kernels import object_code
from agent.kernels.parts import KernelFailed
from agent.kernels.user import Compiled, Launch, compile_cpu
from coordinator.workloads.source import SourceRefused, parse_source
from tests.kernel_cases import CASES
from tests.kernel_corpus import CORPUS

#: One of the element form; one with a barrier, shared memory and values kept across it.
QUICK = ("saxpy", "tiled_matmul")
PARTED = """@kernel
def parted(out: Out[i64]):
    t = cuda.threadIdx.x
    if t < out[0]:
        cuda.syncthreads()
    out[t] = t
"""


def outputs_of(compiled: Compiled, name: str) -> dict[str, Any]:
    case = CASES[name]
    arrays = case.arrays(name)
    compiled.run(arrays, case.scalars, case.launch)
    return {key: array for key, array in arrays.items() if key not in case.inputs}


@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in CASES],
)
def test_linked_code_computes_what_numbas_own_does(name: str) -> None:
    source = parse_source(CORPUS[name])

    found = outputs_of(object_code.load(source, object_code.build(source)), name)

    for output, expected in outputs_of(compile_cpu(source), name).items():
        if expected.dtype.kind == "f":
            # Sums of atomics come in any order; all else is the same code.
            np.testing.assert_allclose(found[output], expected, rtol=1e-5, atol=1e-6)
        else:
            np.testing.assert_array_equal(found[output], expected)


def test_a_failure_at_a_barrier_comes_through_linked_code() -> None:
    source = parse_source(PARTED)
    linked = object_code.load(source, object_code.build(source))

    with pytest.raises(KernelFailed, match=r"line 4: .*around a barrier"):
        linked.run({"out": np.ones(4, np.int64)}, {}, Launch(grid=(1,), block=(4,)))


def test_types_that_do_not_fit_are_refused_with_the_line() -> None:
    text = "@kernel\ndef wrong(i, x: In[f32], out: Out[f32]):\n    out[i] = x[i] & 1\n"
    source = parse_source(text)

    with pytest.raises(SourceRefused, match=r"line 3: .*f32"):
        object_code.build(source)
