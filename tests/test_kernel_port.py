"""A user's kernel on the CPU: right, the same block by block, and wrong in a way that is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agent.kernels.parts import KernelFailed
from agent.kernels.user import Compiled, Launch, compile_cpu
from coordinator.workloads.source import SourceRefused, parse_source
from tests.kernel_cases import CASES, Case
from tests.kernel_corpus import CORPUS


def compiled(text: str) -> Compiled:
    return compile_cpu(parse_source(text))


def ran(name: str, case: Case, **how: Any) -> dict[str, Any]:
    arrays = case.arrays(name)
    compiled(CORPUS[name]).run(arrays, case.scalars, case.launch, **how)
    return {key: array for key, array in arrays.items() if key not in case.inputs}


def agrees(found: Any, expected: Any) -> None:
    """Integers exactly, floating point within what orders of sums and libraries differ by."""
    if found.dtype.kind == "f":
        rtol = 1e-10 if found.dtype == np.float64 else 1e-4
        np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol / 10)
    else:
        np.testing.assert_array_equal(found, expected)


def test_every_kernel_of_the_corpus_has_a_case() -> None:
    assert CASES.keys() == CORPUS.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_kernel_computes_what_numpy_says(name: str) -> None:
    case = CASES[name]

    outputs = ran(name, case)

    expected = case.expected(case) if case.expected is not None else {}
    assert any(array.any() for array in outputs.values())
    for key, value in expected.items():
        agrees(outputs[key], value)


@pytest.mark.parametrize("name", ["saxpy", "wave_3d", "every_random", "tiled_matmul", "stencil_1d"])
def test_some_blocks_are_the_same_as_those_of_the_whole(name: str) -> None:
    case = CASES[name]
    whole = ran(name, case)
    blocks = list(range(0, case.launch.blocks, 2))

    some = ran(name, case, blocks=blocks)
    others = ran(name, case, blocks=[b for b in range(case.launch.blocks) if b not in blocks])

    for key, array in whole.items():
        np.testing.assert_array_equal(some[key] + others[key], array)


def test_a_long_row_is_several_blocks_and_each_element_belongs_to_one() -> None:
    n = 10_000
    launch = Launch(extent=(2, n))
    run = compiled("@kernel\ndef count(i, j, out: Out[i32, 2]):\n    out[i, j] += i * 10000 + j\n")
    out = np.zeros((2, n), np.int32)

    for block in range(launch.blocks):
        run.run({"out": out}, {}, launch, blocks=[block])

    assert launch.blocks == 6
    np.testing.assert_array_equal(out.ravel(), np.arange(2 * n))


@pytest.mark.parametrize("processors", [1, 2, 5])
def test_any_number_of_processors_gives_the_same_and_says_how_far_it_is(processors: int) -> None:
    text = "@kernel\ndef fill(i, out: Out[i64]):\n    out[i] += i\n"
    out, heard = np.zeros(300_000, np.int64), list[float]()

    compiled(text).run(
        {"out": out}, {}, Launch(extent=(out.size,)), processors=processors,
        on_progress=heard.append,
    )  # fmt: skip

    np.testing.assert_array_equal(out, np.arange(out.size))
    assert heard == sorted(heard)
    assert heard[-1] == 1


@pytest.mark.parametrize("launch", [Launch(extent=(0,)), Launch(extent=(0,), grid=())])
def test_an_empty_extent_is_no_work(launch: Launch) -> None:
    out = np.zeros(0, np.int64)

    compiled("@kernel\ndef fill(i, out: Out[i64]):\n    out[i] = 1\n").run({"out": out}, {}, launch)

    assert launch.blocks == 0


def test_atomic_functions_of_many_processors_lose_nothing() -> None:
    text = """@kernel
def add(i, sums: Out[i64], reals: Out[f64]):
    cuda.atomic.add(sums, i % 3, i)
    cuda.atomic.add(reals, 0, 0.1)
"""
    sums, reals = np.zeros(3, np.int64), np.zeros(1)
    launch = Launch(extent=(100_000,))

    compiled(text).run({"sums": sums, "reals": reals}, {}, launch, processors=4)

    assert sums.tolist() == [sum(range(k, 100_000, 3)) for k in range(3)]
    # Floating point in the element form: one processor, in order, the same bits always.
    expected = 0.0
    for _ in range(100_000):
        expected += 0.1
    assert reals[0] == expected


def test_float_atomics_of_blocks_are_right_but_for_the_order_of_their_sum() -> None:
    text = "@kernel\ndef add(total: Out[f64]):\n    cuda.atomic.add(total, 0, 0.1)\n"
    total = np.zeros(1)

    compiled(text).run({"total": total}, {}, Launch(grid=(2000,), block=(64,)), processors=4)

    assert total[0] == pytest.approx(12_800.0, rel=1e-9)


# ---- barriers ---------------------------------------------------------------------------------

#: Body of a kernel of one block → what each of 8 threads (`t`) leaves in `out`; `s` is shared.
BARRIERS: dict[str, tuple[str, list[int]]] = {
    "a value is kept across": ("v = t * t\ns[t] = v\nB\nout[t] = v + s[7 - t]",
        [49, 37, 29, 25, 25, 29, 37, 49]),
    "a name that changes": ("v = t\ns[t] = t\nB\nv += s[(t + 1) % 8]\nB\nv *= 2\nB\nout[t] = v",
        [2, 6, 10, 14, 18, 22, 26, 14]),
    "threads that returned are not waited for":
        ("if t >= 5:\n    return\ns[t] = t + 1\nB\nout[t] = s[4 - t]", [5, 4, 3, 2, 1, 0, 0, 0]),
    "a return from loops of a thread":
        (("s[t] = 1\nfor a in range(3):\n    for b in range(3):\n        if a + b == t:\n"
         "            return\nB\nout[t] = s[t]"), [0, 0, 0, 0, 0, 1, 1, 1]),
    "a loop that goes on after some returned":
        ("k = 0\nwhile k < 8:\n    if t == k:\n        return\n    out[t] += 1\n    B\n    k += 1",
        [0, 1, 2, 3, 4, 5, 6, 7]),
    "all have returned": ("if t >= 0:\n    return\nwhile out[t] == 0:\n    B", [0] * 8),
    "a loop whose index is each thread's own":
        (("total = 0\nfor k in range(t, t + 16, 8):\n    s[t] = k\n    B\n    total += s[7 - t]\n"
         "    B\nout[t] = total"), [22, 20, 18, 16, 14, 12, 10, 8]),
    "the index of a loop is there in every part":
        ("for k in range(t, t + 3):\n    B\n    s[t] = k\n    B\n    out[t] += s[t] - k + k",
        [3, 6, 9, 12, 15, 18, 21, 24]),
    "a condition that is the same but not by its form":
        (("v = out[t]\nif v == 0:\n    s[t] = t\n    B\n    out[t] = s[7 - t]\nelse:\n    B\n"
         "    out[t] = 99"), [7, 6, 5, 4, 3, 2, 1, 0]),
    "a break of the block":
        (("k = 0\nwhile True:\n    s[t] = k\n    B\n    if s[0] == 3:\n        break\n    B\n"
         "    k += 1\nout[t] = k"), [3] * 8),
    "a continue of the block":
        (("for k in range(4):\n    if k % 2 == 0:\n        continue\n    s[t] = k\n    B\n"
         "    out[t] += s[7 - t]\n    B"), [4] * 8),
    "a break in a loop of the thread's own":
        (("for k in range(2):\n    for m in range(9):\n        if m == t:\n            break\n"
         "        out[t] += 1\n    B"), [0, 2, 4, 6, 8, 10, 12, 14]),
    "nested loops": (("for a in range(3):\n    for b in range(a):\n        s[t] = a * b\n"
         "        B\n        out[t] += s[(t + 1) % 8]\n        B"), [2] * 8),
    "a local array is each thread's own":
        (("own = L\nfor k in range(4):\n    own[k] = t * k\nB\nown[0] += 1\nB\nfor k in range(4):\n"
         "    out[t] += own[k]"), [1, 7, 13, 19, 25, 31, 37, 43]),
    "a name of the block that changes":
        (("step = 4\ns[t] = t\nB\nwhile step > 0:\n    if t < step:\n        s[t] += s[t + step]\n"
         "    B\n    step //= 2\nout[t] = s[0] + step"), [28] * 8),
    "a uniform name that is used before it changes in one part":
        ("m = 1\ns[t] = m\nm = 2\nB\nout[t] = s[t] * 10 + m", [12] * 8),
    "a value given in both branches":
        ("if t < 4:\n    v = 1\nelse:\n    v = 2\nB\nif t == 0:\n    v = 5\nB\nout[t] = v",
        [5, 1, 1, 1, 2, 2, 2, 2]),
    "exchange through shared memory":
        ("s[t] = t\nB\ns[t], s[7 - t] = s[t], s[t]\nB\nout[t] = s[t]", [7, 6, 5, 4, 4, 5, 6, 7]),
}  # fmt: skip


def barrier_kernel(body: str) -> str:
    lines = body.replace("B\n", "cuda.syncthreads()\n").split("\n")
    lines = [line[:-1] + "cuda.syncthreads()" if line.strip() == "B" else line for line in lines]
    shared = "s = cuda.shared.array(8, i64)"
    local = [line for line in lines if line.endswith("= L")]
    rest = [line for line in lines if not line.endswith("= L")]
    made = [line.replace("L", "cuda.local.array(4, i64)") for line in local]
    text = "\n    ".join([shared, *made, "t = cuda.threadIdx.x", *rest])
    return f"@kernel\ndef threads(out: Out[i64]):\n    {text}\n"


@pytest.mark.parametrize("name", BARRIERS)
def test_threads_of_a_block_meet_at_barriers(name: str) -> None:
    body, expected = BARRIERS[name]
    out = np.zeros(8, np.int64)

    compiled(barrier_kernel(body)).run({"out": out}, {}, Launch(grid=(1,), block=(8,)))

    if name.startswith("exchange"):
        assert out[:4].tolist() in ([7, 6, 5, 4], [0, 1, 2, 3])
    else:
        assert out.tolist() == expected


#: Body → the line at which threads part, from the kernel's first.
PARTED: dict[str, tuple[str, int]] = {
    "an if": ("s[t] = 1\nif t < 4:\n    B\nout[t] = 1", 6),
    "a while": ("k = t\nwhile k < 8:\n    B\n    k += 1", 6),
    "a for": ("for k in range(t):\n    B", 5),
    "a break": ("for k in range(9):\n    if t == k:\n        break\n    B", 6),
}


@pytest.mark.parametrize("name", PARTED)
def test_a_barrier_that_not_all_threads_reach_is_named(name: str) -> None:
    body, line = PARTED[name]
    run = compiled(barrier_kernel(body))

    with pytest.raises(KernelFailed, match=f"line {line}: .*around a barrier"):
        run.run({"out": np.zeros(8, np.int64)}, {}, Launch(grid=(3,), block=(8,)))


def test_an_element_form_of_three_indices_has_them_in_order() -> None:
    text = (
        "@kernel\ndef place(i, j, k, out: Out[i64, 3]):\n    out[i, j, k] = i * 100 + j * 10 + k\n"
    )
    out = np.zeros((2, 3, 4), np.int64)

    compiled(text).run({"out": out}, {}, Launch(extent=(2, 3, 4)))

    i, j, k = np.indices(out.shape)
    np.testing.assert_array_equal(out, i * 100 + j * 10 + k)


def test_a_device_function_knows_its_thread_and_has_arrays_of_its_own() -> None:
    text = """@device
def place():
    own = cuda.local.array(2, i64)
    own[0] = cuda.blockIdx.x
    own[1] = cuda.threadIdx.x
    return own[0] * 100 + own[1]


@device
def twice(x):
    return place() * 2 + x


@kernel
def tell(out: Out[i64]):
    out[cuda.grid(1)] = twice(1)
"""
    out = np.zeros(6, np.int64)

    compiled(text).run({"out": out}, {}, Launch(grid=(3,), block=(2,)))

    assert out.tolist() == [1, 3, 201, 203, 401, 403]


# ---- indices ----------------------------------------------------------------------------------

OUTSIDE: dict[str, tuple[str, int, int]] = {
    "a read beyond the end": ("out[i] = x[i + 5]", 3, 8),
    "a write beyond the end": ("out[i] = 1.0\n    out[i * 9] = 2.0", 4, 9),
    "below the beginning": ("out[i] = x[i - 9]", 3, -9),
    "an atomic": ("cuda.atomic.add(out, i + 8, 1.0)", 3, 8),
    "in a device function": ("out[i] = read(x, i + 8)", 9, 8),
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_checked_kernel_names_the_line_of_an_index_outside(name: str) -> None:
    body, line, index = OUTSIDE[name]
    text = f"@kernel\ndef wrong(i, x: In[f32], out: Out[f32]):\n    {body}\n"
    if "read" in body:
        text = f"@device\ndef read(y, k):\n    return y[k]\n\n\n{text}".replace(
            "    return", "    return"
        )
        line = 3
    run = compile_cpu(parse_source(text), checked=True)
    arrays = {"x": np.ones(8, np.float32), "out": np.zeros(8, np.float32)}

    with pytest.raises(
        KernelFailed, match=f"line {line}: the index {index} is outside of an extent of 8"
    ):
        run.run(arrays, {}, Launch(extent=(8,)), processors=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["life", "bitonic_sort", "tiled_matmul", "block_histogram"])
def test_a_checked_kernel_computes_the_same(name: str) -> None:
    case = CASES[name]
    arrays = case.arrays(name)

    compile_cpu(parse_source(CORPUS[name]), checked=True).run(arrays, case.scalars, case.launch)

    for key, value in ran(name, case).items():
        np.testing.assert_array_equal(arrays[key], value)


# ---- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "line", "sentence"),
    [
        ("out[i] = x[i] & 1", 3, "f32"),
        ("out[i] = x[i, 0]", 3, ""),
        ("v = x\n    out[i] = v[i]", 3, ""),
        ("out[i] = 1.0\n    out[i] = math.sqrt(x)", 4, ""),
    ],
)
def test_types_that_do_not_fit_are_refused_with_the_line(
    body: str, line: int, sentence: str
) -> None:
    text = f"@kernel\ndef wrong(i, x: In[f32], out: Out[f32]):\n    {body}\n"

    with pytest.raises(SourceRefused) as refused:
        compiled(text)

    assert refused.value.line == line
    assert sentence in refused.value.sentence
    assert len(refused.value.sentence) <= 160


@pytest.mark.parametrize(
    "arrays",
    [
        {"out": np.zeros(4, np.float32)},
        {"x": np.zeros(4), "out": np.zeros(4, np.float32)},
        {"x": np.zeros((4, 1), np.float32), "out": np.zeros(4, np.float32)},
        {"x": np.zeros(4, np.float32), "out": np.zeros(8, np.float32)[::2]},
    ],
)
def test_arguments_of_another_type_are_an_error_before_anything_runs(
    arrays: dict[str, Any],
) -> None:
    run = compiled("@kernel\ndef copy(i, x: In[f32], out: Out[f32]):\n    out[i] = x[i]\n")

    with pytest.raises(ValueError, match="array"):
        run.run(arrays, {}, Launch(extent=(4,)))
