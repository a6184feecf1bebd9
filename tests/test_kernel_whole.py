"""From a decorated function to numbers: text, request, parameters as decoded, the CPU's answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import pytest

import hypernode as hn
from agent.kernels.user import Launch, compile_cpu
from coordinator.workloads.kernel import Kernel as KernelKind, read_source, scalar_values
from coordinator.workloads.source import parse_source
from hypernode.kernel_request import KernelRequest, kernel_request
from tests import typed_kernels
from tests.typed_kernels import blur, rows

OFFSET = np.float32(0.25)


@hn.device
def shifted(x):  # type: ignore[no-untyped-def]
    return x + OFFSET


@hn.kernel
def saxpy(i, a: hn.f32, x: hn.In[hn.f32], y: hn.In[hn.f32], out: hn.Out[hn.f32]):  # type: ignore[no-untyped-def]
    out[i] = a * x[i] + shifted(y[i])


@hn.kernel
def reversed_blocks(x: hn.In[hn.i64], out: hn.Out[hn.i64]) -> None:
    part = hn.cuda.shared.array(0, hn.i64)
    t, n = hn.cuda.threadIdx.x, hn.cuda.blockDim.x
    part[t] = x[hn.cuda.grid(1)]
    hn.cuda.syncthreads()
    out[hn.cuda.grid(1)] = part[n - 1 - t]


def answer(request: KernelRequest) -> dict[str, Any]:
    """What an agent makes of the bytes of a request."""
    kind = KernelKind()
    params = kind.decode(msgspec.json.encode(request.params))
    outputs = {each.name: np.zeros(each.shape, each.dtype) for each in kind.schema(params)}  # type: ignore[type-var]
    scalars: Mapping[str, Any] = scalar_values(params)
    arrays = {**request.inputs, **outputs}
    compile_cpu(read_source(params.source)).run(arrays, scalars, Launch(*params.launch))
    kind.check_schema(params, list(outputs.values()))
    return outputs


def test_an_element_kernel_computes_what_its_text_says() -> None:
    x = np.linspace(0, 1, 1000, dtype=np.float32)
    y = np.arange(1000, dtype=np.uint8)

    found = answer(kernel_request(saxpy, {"a": 0.1, "x": x, "y": y}, n=1000))

    np.testing.assert_allclose(found["out"], np.float32(0.1) * x + y + OFFSET, rtol=1e-6)


def test_a_kernel_of_blocks_computes_what_its_text_says() -> None:
    x = np.arange(128)

    found = answer(
        kernel_request(reversed_blocks, {"x": x, "out": 128}, grid=4, block=32, shared=256)
    )

    assert found["out"].tolist() == x.reshape(4, 32)[:, ::-1].ravel().tolist()


def test_kernels_that_a_type_checker_takes_compute_too() -> None:
    x = np.arange(12, dtype=np.float32)
    found = answer(kernel_request(blur, {"a": 2, "x": x}, n=12))
    around = (x + np.roll(x, -1)) * np.float32(0.5)
    np.testing.assert_allclose(found["out"], 2 * around + np.sqrt(np.float32(2)), rtol=1e-6)

    square = x.reshape(3, 4)
    found = answer(kernel_request(rows, {"seed": 1, "x": square}, n=3))
    assert found["place"].tolist() == [3, 3, 3]
    np.testing.assert_allclose(found["best"], square[:, 3], atol=1e-4)

    shapes = {"x": np.ones((16, 16), np.float32), "sums": 1, "n": 1}
    found = answer(kernel_request(typed_kernels.tiles, shapes, grid=1, block=(16, 16)))
    assert found["sums"].tolist() == [16.0]
    assert found["n"].tolist() == [4]


NAMED = """{constant} = 3


@device
def {device}(a):
    return a + {constant}


@kernel
def {kernel}({index}, x: In[f64], out: Out[f64]):
    {local} = {device}(x[{index}])
    out[{index}] = {local}
"""


@pytest.mark.parametrize("place", ["constant", "device", "kernel", "index", "local"])
@pytest.mark.parametrize("name", ["launch", "block", "njit", "numba", "np", "float64", "uint32"])
def test_names_that_a_translator_might_use_are_the_submitters(name: str, place: str) -> None:
    names = {"constant": "c", "device": "d", "kernel": "k", "index": "i", "local": "t"}
    source = parse_source(NAMED.format(**{**names, place: name}))
    out = np.zeros(4)

    compile_cpu(source).run({"x": np.arange(4.0), "out": out}, {}, Launch(extent=(4,)))

    assert out.tolist() == [3, 4, 5, 6]
