"""`@hn.kernel`: what text a function becomes, and which line of whose file a refusal names."""

from __future__ import annotations

import importlib.util
import linecache
import math as m
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from enum import IntEnum
from math import pi, sqrt as root
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import hypernode as hn
from hypernode import In, Out as Written, cuda as blocks, f32
from hypernode.errors import KernelRefused
from tests import typed_kernels
from tests.kernel_corpus import CORPUS
from tests.tree import ROOT

HALF = hn.f32(0.1)
TABLE = np.zeros((3, 4))
WORDS = ["a"]
HUGE = m.inf


class Level(IntEnum):
    HIGH = 3


LEVEL = Level.HIGH
YES = np.bool_(True)


@hn.device
def inner(x):  # type: ignore[no-untyped-def]
    return x * LEVEL


@hn.device
def helper(x: hn.f32) -> hn.f32:
    return hn.f32(root(x) + m.sin(x) * pi + inner(x))  # é: hn.f32 stays


@hn.device
def circle(x: hn.i32) -> hn.i32:
    return circle(x)


def made(size: int) -> hn.Kernel:
    limit = size

    @hn.kernel(
        fastmath=True,
    )
    def inside(i, a: hn.f64, x: In[f32], out: Written[hn.f32]) -> None:  # type: ignore[no-untyped-def]
        """What hn.f32 is here stays.
        It is less indented.
        """
        # So does hn.f32 here.
        t = blocks.local.array(limit, hn.f32)
        t[0] = HALF if YES else hn.f32(1.0)
        out[i] = helper(x[i]) + t[0] + a
        hn.cuda.atomic.add(out, 0, 1)

    return inside


CANONICAL = '''\
HALF = f32(0.10000000149011612)
LEVEL = 3
YES = True
limit = 4
pi = 3.141592653589793


@device
def inner(x):  # type: ignore[no-untyped-def]
    return x * LEVEL


@device
def helper(x: f32) -> f32:
    return f32(math.sqrt(x) + math.sin(x) * pi + inner(x))  # é: hn.f32 stays


@kernel(fastmath=True)
def inside(i, a: f64, x: In[f32], out: Out[f32]) -> None:  # type: ignore[no-untyped-def]
    """What hn.f32 is here stays.
    It is less indented.
    """
    # So does hn.f32 here.
    t = cuda.local.array(limit, f32)
    t[0] = HALF if YES else f32(1.0)
    out[i] = helper(x[i]) + t[0] + a
    cuda.atomic.add(out, 0, 1)
'''


def test_a_text_is_the_users_own_lines_with_the_languages_names() -> None:
    assert made(4).source == CANONICAL


def test_a_kernel_says_what_it_is() -> None:
    kernel = made(4)

    assert kernel.name == "inside"
    assert kernel.signature == "inside(i, a: f64, x: In[f32], out: Out[f32])"
    assert repr(kernel) == f"<kernel {kernel.signature} {kernel.sha256[:8]}>"
    assert kernel.__doc__ is not None
    assert kernel.parsed.fastmath
    assert kernel == made(4)
    assert hash(kernel) == hash(made(4))
    assert kernel != made(5)
    assert kernel.sha256 != made(5).sha256
    with pytest.raises(TypeError, match=re.escape("client.submit(inside, n=…, a=…, x=…)")):
        kernel(1, 2)


def test_a_device_function_stays_a_function_in_python() -> None:
    assert helper(4.0) == pytest.approx(2.0 + m.sin(4.0) * pi + 12.0)
    assert repr(helper) == "<device function helper>"
    with pytest.raises(TypeError, match=r"`cuda\.grid` stands in the text of a kernel"):
        hn.cuda.grid(1)


def loaded(folder: Path, name: str, text: str) -> ModuleType:
    """A module of a file."""
    path = folder / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[name]
    return module


@pytest.mark.parametrize("name", CORPUS)
def test_the_text_of_a_canonical_text_is_the_same_text(name: str, tmp_path: Path) -> None:
    head = "from hypernode import *\nimport math\n\n\n"

    module = loaded(tmp_path, f"canonical_{name}", head + CORPUS[name])

    assert getattr(module, name).source == CORPUS[name]


def test_tabs_line_ends_and_blanks_of_a_file_leave_the_same_text(tmp_path: Path) -> None:
    body = "def k(i, out: hn.Out[hn.f32]):\n\tif i:\n\t\tout[i] = 1\n"
    text = f"import hypernode as hn\n@hn.kernel\n{body}"

    plain = loaded(tmp_path, "plain", text.replace("\t", " " * 8))
    (tmp_path / "odd.py").write_bytes(b"")
    odd = loaded(tmp_path, "odd", text.replace("= 1\n", "= 1  \t \n").replace("\n", "\r\n"))

    assert odd.k.source == plain.k.source
    assert "\t" not in odd.k.source


def test_functions_and_constants_of_other_modules_come_along(tmp_path: Path) -> None:
    other = (
        "import hypernode\nSIZE = 7\n@hypernode.device\ndef twice(x):\n    return x * 2 * SIZE\n"
    )
    sys.modules["other_module"] = loaded(tmp_path, "other_module", other)
    head = "import hypernode as hn\nimport other_module as o\nfrom other_module import twice as t\n"
    body = "@hn.kernel\ndef k(i, out: hn.Out[hn.i64]):\n    out[i] = o.twice(i) + t(1) + o.SIZE\n"
    try:
        module = loaded(tmp_path, "using", head + body)
        clashing = head + "SIZE = 8\n" + body.replace("o.SIZE", "SIZE")
        with pytest.raises(KernelRefused, match=r"clashing.py, line 7: `SIZE` is 7 in line 5"):
            loaded(tmp_path, "clashing", clashing)
        twice = (
            head + "@hn.device\ndef twice(x):\n    return x\n" + body.replace("o.SIZE", "twice(1)")
        )
        with pytest.raises(KernelRefused, match="two functions are named `twice`"):
            loaded(tmp_path, "named_twice", twice)
    finally:
        del sys.modules["other_module"]

    assert module.k.source == (
        "SIZE = 7\n\n\n@device\ndef twice(x):\n    return x * 2 * SIZE\n\n\n"
        "@kernel\ndef k(i, out: Out[i64]):\n    out[i] = twice(i) + twice(1) + SIZE\n"
    )


# ---- refusals ---------------------------------------------------------------------------------


def here(offset: int) -> int:
    """A line below the caller's own."""
    return sys._getframe(1).f_lineno + offset


def test_a_refusal_names_the_line_of_the_users_file() -> None:
    line = here(7)
    with pytest.raises(KernelRefused) as refused:

        @hn.kernel
        def k(i, x: In[f32], out: Written[f32]):  # type: ignore[no-untyped-def]
            out[i] = 0.0

            out[i] = np.sqrt(x[i])

    assert refused.value.line == line
    assert refused.value.file == __file__
    assert refused.value.sentence == (
        f"test_kernel_decorator.py, line {line}: `np.sqrt` cannot be called in a kernel:"
        " write `math.sqrt(…)`"
    )


def test_a_refusal_inside_a_device_function_names_its_own_line(tmp_path: Path) -> None:
    text = """
import hypernode as hn


@hn.device
def f(x):
    y = x
    return open(y)


@hn.kernel
def k(i, out: hn.Out[hn.f32]):
    out[i] = f(i)
"""
    with pytest.raises(KernelRefused, match=r"inside_device.py, line 8: `open` cannot be called"):
        loaded(tmp_path, "inside_device", text)


def refusal_of(body: str, tmp_path: Path, head: str = "") -> str:
    text = f"import hypernode as hn\nimport numpy as np\n{head}\n{textwrap.dedent(body)}"
    with pytest.raises(KernelRefused) as refused:
        loaded(tmp_path, "refused_module", text)
    return refused.value.sentence


_DEVICE = "@hn.device\ndef "
KERNEL = "@hn.kernel\ndef k(i, out: hn.Out[hn.f32]):\n    out[i] = {}\n"


@pytest.mark.parametrize(
    ("head", "read", "says"),
    [
        ("T = np.zeros((2, 3))", "T[0, 0]", "line 6: `T` is an array: take it as a parameter"),
        ("T = [1, 2]", "T[0]", "`T` is a list"),
        ("T = (1, 2)", "T[0]", "`T` is a tuple"),
        ("T = 'abc'", "T", "`T` is a str"),
        ("T = float('inf')", "T", "`T` is inf: write `math.inf`"),
        ("T = np.float16(1)", "T", "`T` is a float16"),
        ("T = 2 ** 64", "T", "64 bits"),
        ("def T(x): return x", "T(1)", "`T` is a plain function: put `@hn.device` above it"),
        ("T = lambda x: x", "T(1)", "`T` is a plain function"),
        ("@hn.kernel\ndef T(i, out: hn.Out[hn.f32]): pass", "T(1, out)", "`T` is a kernel"),
        ("", "later(1)", "`later` cannot be called"),
        ("class T: pass", "T()", "`T` cannot be called"),
        ("sum = 3", "sum", "a name of Python"),
        (f"{_DEVICE}T(x):\n    return T(x)", "T(1)", "`T` calls itself"),
        (f"{_DEVICE}T(x):\n    U(x)\n{_DEVICE}U(x):\n    T(x)", "T(1)", "stands below"),
        ("", "np.float32(1)", "write `f32(…)`"),
        ("", "(hn.\n        f32(1))", "in one line"),
    ],
)  # fmt: skip
def test_what_a_kernel_cannot_take_along_is_refused_by_name(
    head: str, read: str, says: str, tmp_path: Path
) -> None:
    assert says in refusal_of(KERNEL.format(read), tmp_path, head)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("k = hn.kernel(lambda i, out: None)", "a lambda has no text"),
        ("class A:\n    @hn.kernel\n    def k(self, i): pass", "stands in the class `A`"),
        ("class A:\n    @hn.device\n    def k(self, i): pass", "stands in the class `A`"),
        ("import functools\n@hn.kernel\n@functools.cache\ndef k(i): pass", None),
        ("@hn.kernel\n@hn.device\ndef k(i): pass", None),
        ("def other(f): return f\n@other\n@hn.kernel\ndef k(i): pass", "one decorator"),
        ("@hn.kernel\nasync def k(i): pass", "`k` is `async`"),
        ("@hn.kernel\ndef k(i, out: hn.Out[hn.f32]): yield 1", "not in this language"),
        ("@hn.kernel\ndef k(i): pass", "at least one `Out`"),
        ("@hn.kernel\ndef k(i, out: 'hn.Out[hn.f32]'): pass", "a type is one of"),
        ("@hn.kernel\ndef k(i, x: np.ndarray, out: hn.Out[hn.f32]): pass", "a type is one of"),
        ("@hn.kernel\ndef k(i, a: hn.f32 = 1, *, out: hn.Out[hn.f32]): pass", "in this language"),
    ],
)  # fmt: skip
def test_what_is_no_kernel_is_refused_by_name(text: str, says: str | None, tmp_path: Path) -> None:
    if says is None:
        with pytest.raises(TypeError, match="stands above a function"):
            loaded(tmp_path, "no_function", f"import hypernode as hn\n{text}\n")
    else:
        assert says in refusal_of(text, tmp_path)


@pytest.mark.parametrize("wanted", [3, len, Level, m.sqrt, type("C", (), {})()])
def test_a_decorator_on_anything_else_is_a_type_error(wanted: Any) -> None:
    with pytest.raises(TypeError, match="`@kernel` stands above a function"):
        hn.kernel(wanted)
    with pytest.raises(TypeError, match="`@device` stands above a function"):
        hn.device(wanted)


def test_a_function_whose_file_was_changed_is_refused(tmp_path: Path) -> None:
    module = loaded(tmp_path, "changing", "def k(i, out): pass\n")
    function: Callable[..., None] = module.k
    (tmp_path / "changing.py").write_text("def other(i, out): pass\n", encoding="utf-8")

    with pytest.raises(KernelRefused, match="not `k` any more"):
        hn.kernel(function)


def test_a_cell_of_a_notebook_is_a_text() -> None:
    """IPython and Jupyter keep each cell's lines where Python looks for a file's."""
    cell = "import hypernode as hn\n\n@hn.kernel\ndef k(i, out: hn.Out[hn.f32]):\n    out[i] = {}\n"
    made: dict[str, Any] = {}
    for name, body in (("<ipython-input-1-abc>", "1.0"), ("<ipython-input-2-abc>", "open(1)")):
        text = cell.format(body)
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        code = compile(text, name, "exec")
        if body == "1.0":
            exec(code, made)
        else:
            with pytest.raises(KernelRefused, match="<ipython-input-2-abc>, line 5: `open` cannot"):
                exec(code, made)
        del linecache.cache[name]

    assert made["k"].source == "@kernel\ndef k(i, out: Out[f32]):\n    out[i] = 1.0\n"


@pytest.mark.slow
def test_without_a_text_the_way_out_is_named() -> None:
    program = "import hypernode as hn\n@hn.kernel\ndef k(i, out: hn.Out[hn.f32]): out[i] = 1\n"

    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False
    )

    assert ended.returncode == 1
    last = ended.stderr.strip().splitlines()[-1]
    assert "`k` is not at hand (<string> keeps none)" in last
    assert "write it into a file, or use IPython or a notebook" in last


# ---- type checkers ----------------------------------------------------------------------------


def test_kernels_that_a_type_checker_takes_are_kernels() -> None:
    assert typed_kernels.rows.signature == (
        "rows(i, seed: u64, x: In[f32, 2], best: Out[f32], place: Out[i64])"
    )
    assert "x: In[f32, 2], i: int)" not in typed_kernels.rows.source
    assert typed_kernels.tiles.parsed.form == "cuda"
    assert typed_kernels.blur.parsed.constants[0].name == "GAIN"


@pytest.mark.slow
def test_a_type_checker_finds_what_a_kernel_may_not_do(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "import hypernode as hn\n\n\n"
        "@hn.kernel\n"
        "def k(i: hn.Index, x: hn.In[hn.f32], out: hn.Out[hn.f32]) -> None:\n"
        "    x[i] = 1.0\n"
        "    a, b = hn.philox(1, i, 0)\n"
        "    out[i] = x\n\n\n"
        "print(k.sha256, k.signature, k.missing)\n",
        encoding="utf-8",
    )

    ended = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", str(wrong)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )

    lines = re.findall(r"wrong\.py:(\d+): error", ended.stdout)
    assert lines == ["6", "7", "8", "11"], ended.stdout
