"""A user's kernel in CUDA's simulator and as PTX: the same text as on the CPU, the same answers.

Numba decides when it is loaded whether CUDA is the simulator: each has a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kernel_cases import CASES
from tests.kernel_corpus import CORPUS
from tests.kernel_fuzz import kernel

ROOT = Path(__file__).parents[1]


def python(script: str, *flags: str, **environment: str) -> list[str]:
    """The lines that a script prints in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, *flags, "-c", script],
        env=os.environ | environment, cwd=ROOT, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


SIMULATED = """
import numpy as np
from agent.kernels.user import compile_cpu
from agent.kernels.user_cuda import run_cuda
from coordinator.workloads.source import parse_source
from tests.kernel_cases import CASES
from tests.kernel_corpus import CORPUS
for name, case in CASES.items():
    source = parse_source(CORPUS[name])
    ours, theirs = case.arrays(name), case.arrays(name)
    compile_cpu(source).run(ours, case.scalars, case.launch)
    run_cuda(source, theirs, case.scalars, case.launch)
    for key in ours.keys() - case.inputs.keys():
        a, b = ours[key], theirs[key]
        # Single precision is computed in double by the simulator's own `math`.
        rtol = 1e-10 if a.dtype == np.float64 and name != "every_random" else 1e-4
        same = np.allclose(a, b, rtol, rtol / 10) if a.dtype.kind == "f" else (a == b).all()
        print(name, key, "same" if same else (a, b))
"""


@pytest.mark.slow
def test_every_kernel_gives_on_the_cpu_what_it_gives_in_the_simulator() -> None:
    printed = python(SIMULATED, "-W", "ignore::RuntimeWarning", NUMBA_ENABLE_CUDASIM="1")

    assert [line for line in printed if not line.endswith(" same")] == []
    assert {line.split()[0] for line in printed} == set(CASES)


@pytest.mark.slow
def test_kernels_that_nobody_wrote_agree_whole_by_blocks_and_simulated() -> None:
    script = "from tests.kernel_fuzz import main; main(20, 0)"

    printed = python(script, NUMBA_ENABLE_CUDASIM="1")

    assert printed == ["20 kernels agree"]


def test_made_kernels_have_barriers_everywhere_and_are_never_the_same() -> None:
    texts = [kernel(seed) for seed in range(40)]

    assert len(set(texts)) == len(texts)
    assert sum(text.count("        cuda.syncthreads()") for text in texts) > 40
    assert sum("return\n" in text for text in texts) > 5


COMPILED = """
import re
from importlib import import_module
from agent.kernels._cuda import cuda
from agent.kernels.user_cuda import CAPABILITIES, ptx_of
from coordinator.workloads.source import parse_source
from tests.kernel_corpus import CORPUS
try:
    import_module("numba.cuda.cudadrv.nvvm").NVVM()
except Exception as error:
    print("no NVVM:", type(error).__name__)
    raise SystemExit
for name, text in CORPUS.items():
    ptx = ptx_of(parse_source(text), (8, 6))
    double = bool(re.search(r"[.]f64\\b", ptx))
    print(name, "double" if double else "", "fma" if "fma.rn" in ptx else "")
for capability in CAPABILITIES:
    ptx = ptx_of(parse_source(CORPUS["tiled_matmul"]), capability)
    print("target", re.search(r"[.]target (\\w+)", ptx)[1], getattr(cuda, "implementation", "old"))
"""

#: Kernels that say f64 somewhere: most GPUs compute it 32 or 64 times more slowly.
DOUBLE = {
    *("mandelbrot", "monte_carlo_call", "nbody_forces", "black_scholes", "ray_sphere", "dft"),
    *("pendulum", "every_function", "every_random", "dynamic_reverse"),
}


@pytest.mark.slow
def test_every_kernel_compiles_for_a_gpu_that_is_not_there() -> None:
    printed = python(COMPILED)
    if printed[0].startswith("no NVVM"):
        pytest.skip(printed[0])
    kernels = {words[0]: words[1:] for words in map(str.split, printed) if words[0] != "target"}

    assert kernels.keys() == CORPUS.keys()
    assert {name for name, has in kernels.items() if "double" in has} == DOUBLE
    # A product and a sum are one operation where a kernel has them.
    assert {name for name in ("saxpy", "matmul_rows", "tiled_matmul", "heat_step", "layer_norm")
            if "fma" not in kernels[name]} == set()  # fmt: skip
    targets = [line.split()[1:] for line in printed if line.startswith("target")]
    # Numba's built-in target has none above 90; the package numba-cuda has.
    newest = 120 if targets[0][1] == "NVIDIA" else 90
    architectures = (75, 80, 86, 89, 90, 100, 120)
    assert [made for made, _ in targets] == [f"sm_{min(a, newest)}" for a in architectures]
