"""Reading sources: kernels of real use are taken, and what is known of them is right."""

from __future__ import annotations

import hashlib
import threading
from time import perf_counter

import pytest

from coordinator.workloads.allowed import FUNCTIONS, MATH_CONSTANTS
from coordinator.workloads.kernel_types import SCALARS, SourceRefused
from coordinator.workloads.prelude import PRELUDE, prelude_of
from coordinator.workloads.source import parse_source
from tests.kernel_corpus import BLOCKS, CORPUS, ELEMENT


@pytest.mark.parametrize("name", CORPUS)
def test_a_kernel_of_real_use_is_taken(name: str) -> None:
    source = parse_source(CORPUS[name])

    assert source.entry == name
    assert source.form == ("element" if name in ELEMENT else "cuda")
    assert source.sha256 == hashlib.sha256(CORPUS[name].encode()).hexdigest()
    assert source.outputs


def test_the_corpus_uses_everything_that_may_be_called() -> None:
    text = "\n".join(CORPUS.values())

    assert [name for name in FUNCTIONS if f"{name}(" not in text] == []
    assert [name for name in SCALARS if f"[{name}" not in text] == []
    assert [name for name in ("math.pi", "math.e", "math.tau") if name not in text] == []
    assert {"math.inf", "math.nan"} <= set(MATH_CONSTANTS)


def test_what_a_kernel_of_blocks_needs_is_known() -> None:
    source = parse_source(BLOCKS["block_histogram"])

    assert (source.has_barriers, source.has_atomics, source.has_dynamic_shared) == (
        True,
        True,
        False,
    )
    assert source.shared_bytes == 64 * 4
    assert parse_source(BLOCKS["dynamic_reverse"]).has_dynamic_shared
    assert not parse_source(BLOCKS["atomic_tour"]).has_barriers


def test_parameters_are_read_in_order() -> None:
    source = parse_source(ELEMENT["pendulum"])

    assert source.signature == (
        "pendulum(i, dt: f64, steps: i32, damping: f64, start: In[f64], out: Out[f64, 2])"
    )
    assert [each.name for each in source.scalars] == ["dt", "steps", "damping"]
    assert [each.name for each in source.inputs] == ["start"]
    assert [(each.name, each.ndim) for each in source.outputs] == [("out", 2)]
    assert [each.name for each in source.indices] == ["i"]
    (device,) = source.devices
    assert (device.results, device.result_types) == (2, (SCALARS["f64"], SCALARS["f64"]))


def test_what_a_device_function_does_with_its_arrays_is_known() -> None:
    (insert,) = parse_source(ELEMENT["knn_several"]).devices

    assert [(a.name, a.is_array, a.is_written, a.ndim) for a in insert.arguments] == [
        ("found", True, True, 1),
        ("places", True, True, 1),
        ("d", False, False, 0),
        ("p", False, False, 0),
    ]
    (load,) = parse_source(BLOCKS["stencil_1d"]).devices
    assert not load.arguments[0].is_written


def test_constants_have_values_within_their_types() -> None:
    source = parse_source(
        "A = 2 ** 10 - 1\nB = A << 3\nC = f32(0.1)\nD = -math.pi / 2\nE = A == 3\n".replace(
            "E = A == 3\n", "E = not A\n"
        )
        + "F = u64(0xFFFF_FFFF_FFFF_FFFF)\nG = 7 // -2\n\n\n"
        + "@kernel\ndef k(i, out: Out[f32]):\n    out[i] = A\n"
    )

    assert {c.name: c.value for c in source.constants} == {
        "A": 1023,
        "B": 8184,
        "C": 0.10000000149011612,
        "D": -1.5707963267948966,
        "E": False,
        "F": 2**64 - 1,
        "G": -4,
    }
    assert source.constants[2].type == SCALARS["f32"]


def test_random_functions_are_sources_of_the_language_themselves() -> None:
    text = prelude_of(tuple(PRELUDE))
    for name in PRELUDE:
        text = text.replace(name, f"my_{name}")
    kernel = "@kernel\ndef k(i, out: Out[f64]):\n    out[i] = my_normal_f64(1, i, 0)\n"

    source = parse_source(f"{text}\n\n{kernel}")

    assert len(source.devices) == len(PRELUDE)
    assert prelude_of(()) == ""
    assert prelude_of(("uniform_f64",)).count("@device") == 3


def test_a_typical_source_is_read_within_a_millisecond_or_so() -> None:
    """0.3 ms on an idle core of 2 for twenty lines; ten times that fails."""
    took = []
    for _ in range(20):
        start = perf_counter()
        parse_source(BLOCKS["block_sums"])
        took.append(perf_counter() - start)

    assert min(took) < 0.003


def test_the_largest_source_is_read_in_bounded_time() -> None:
    line = "    out[i] = out[i] * 2 + 1\n"
    text = "@kernel\ndef k(i, out: Out[f32]):\n" + line * 700
    start = perf_counter()
    parse_source(text)

    assert perf_counter() - start < 1.0


@pytest.mark.parametrize(
    "inner",
    [
        "(" * 23 + "i" + ")" * 23,
        "-" * 60 + "i",
        "not " * 60 + "i",
        "i" + " + i" * 58,
        "i" + " ** i" * 58,
        "i" + " if i else i" * 58,
    ],
)
def test_what_is_deep_but_taken_needs_little_of_a_stack(inner: str) -> None:
    """As deep as the limits allow, in a thread with a quarter of a mebibyte of stack."""
    assert in_a_small_stack(assigning(inner)) == ""


@pytest.mark.parametrize(
    "inner",
    [
        "(" * 25 + "i" + ")" * 25,
        "-" * 390 + "i",
        "~" * 390 + "i",
        "not " * 390 + "i",
        "i" + " + i" * 190,
        "i" + " ** i" * 190,
        "i" + ".a" * 190,
        "i" + "[0]" * 120,
        "i" + "()" * 180,
        "i" + " if i else i" * 90,
        "-(" * 23 + "i" + ")" * 23 + "".join([" + i"] * 60),
        "f(" * 23 + "-" * 300 + "i" + ")" * 23,
    ],
)
def test_what_is_too_deep_is_refused_and_needs_little_of_a_stack(inner: str) -> None:
    """As deep as the parser is ever shown, in a thread with a quarter of a mebibyte of stack."""
    said = in_a_small_stack(assigning(inner))

    assert "nests deeper" in said or "brackets are at most" in said or "not Python" in said


def test_a_chain_of_branches_is_bounded() -> None:
    chain = "    if i == 0:\n        pass\n" + "    elif i == 1:\n        pass\n" * 200
    text = f"@kernel\ndef k(i, out: Out[f32]):\n{chain}"

    assert "nests deeper" in in_a_small_stack(text)
    assert "at most 200 `elif`" in in_a_small_stack(text + "    elif i == 1:\n        pass\n")


def assigning(expression: str) -> str:
    """A kernel that assigns an expression, a word a line: lines are short."""
    lines = expression.replace(" ", "\n        ")
    return f"@kernel\ndef k(i, out: Out[f32]):\n    out[i] = (\n        {lines}\n    )\n"


def in_a_small_stack(text: str) -> str:
    """What a refusal says; "" where the text is taken."""
    said: list[str] = []

    def read() -> None:
        try:
            parse_source(text)
            said.append("")
        except SourceRefused as refused:
            said.append(str(refused))

    before = threading.stack_size(256 * 1024)
    try:
        thread = threading.Thread(target=read)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    return said[0]
