"""docs/kernels.md: tables are the declarations', examples are kernels, types are Numba's."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numba
import pytest

from tests.kernel_tables import TABLES
from tests.readme_sections import marked
from tests.test_kernel_decorator import loaded
from tests.tree import read

PAGE = read(Path("docs/kernels.md"))
EXAMPLES = [
    example
    for example in re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    if "@hn.kernel" in example
]


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_what_the_declarations_say(name: str) -> None:
    """If it is not: `python -m tests.docs_sections --write`."""
    written = marked(name).search(PAGE)

    assert written is not None
    assert written[0] == TABLES[name]()


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_is_a_kernel(number: int, tmp_path: Path) -> None:
    module = loaded(tmp_path, f"example_{number}", f"import hypernode as hn\n{EXAMPLES[number]}")
    (entry,) = re.findall(r"^@hn\.kernel\ndef (\w+)", EXAMPLES[number], re.MULTILINE)

    assert getattr(module, entry).signature.startswith(f"{entry}(")


def test_there_is_an_example_of_each_form() -> None:
    assert sum("cuda.grid" in example for example in EXAMPLES) == 1
    assert len(EXAMPLES) == 3


@pytest.mark.parametrize(
    ("operation", "given", "result"),
    [
        (lambda a, b: a * b, "f32 f32", "float32"),
        (lambda a, b: a**b, "f32 i64", "float32"),
        (lambda a, b: a * b, "f32 f64", "float64"),
        (lambda a, b: a * b, "f32 i32", "float64"),
        (lambda a, b: a * b, "f32 i64", "float64"),
        (lambda a, b: a + b, "i32 i32", "int64"),
        (lambda a, b: a + b, "u32 u32", "uint64"),
        (lambda a, b: a + b, "u64 i64", "int64"),
        (lambda a, b: min(b, a), "u64 i64", "float64"),
        (lambda a, b: a / b, "i64 i64", "float64"),
        (lambda a, b: a // b, "i64 i64", "int64"),
        (lambda a, _: math.sqrt(a), "f32 f32", "float32"),
        (lambda a, _: math.floor(a), "f32 f32", "int64"),
    ],
)
def test_the_types_of_arithmetic_are_those_of_the_page(
    operation: Any, given: str, result: str
) -> None:
    """As the version of Numba that is installed infers them."""
    kinds = {
        "f32": numba.float32,
        "f64": numba.float64,
        "i32": numba.int32,
        "i64": numba.int64,
        "u32": numba.uint32,
        "u64": numba.uint64,
    }
    compiled = numba.njit(operation)
    compiled.compile(tuple(kinds[name] for name in given.split()))

    assert [str(found.return_type) for found in compiled.nopython_signatures] == [result]


def test_a_name_of_two_integer_types_is_a_double_as_the_page_warns() -> None:
    def counted(h: Any, n: Any) -> Any:  # pragma: no cover - Numba compiles it
        for _ in range(n):
            h = h + 1
        return h

    compiled = numba.njit(counted)
    compiled.compile((numba.uint64, numba.int64))

    assert str(compiled.nopython_signatures[0].return_type) == "float64"


def test_every_limit_is_on_the_page() -> None:
    names = re.findall(
        r"^([A-Z_]+): Final", read(Path("coordinator/workloads/kernel_limits.py")), re.MULTILINE
    )

    assert [name for name in names if f"| `{name}` |" not in PAGE] == []
