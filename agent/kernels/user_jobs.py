"""Strangers' kernels as jobs: what the zygote and its children call.

In:   parameters of the kind `kernel` (JSON bytes), input arrays.
Out:  object code (in a compile child); outputs (in a run child).
Rules:
  1. Every child reads the source anew, against the closed list: nobody's word for it is taken.
  2. What is kept is kept under the source alone: it says all that the compiler sees.
Not here: processes and walls (`agent/zygote_process.py`), the compiler (`user`, `object_code`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Final

# Before Numba is imported: OpenMP's threads do not survive a fork.
os.environ.setdefault("NUMBA_THREADING_LAYER", "workqueue")

import msgspec
import numpy as np

from agent.kernels import object_code
from agent.kernels.parts import KernelFailed
from agent.kernels.user import Launch
from coordinator.protocol.arrays import AnyArray
from coordinator.protocol.errors import Refusal
from coordinator.workloads.kernel import Kernel, read_source, scalar_values
from coordinator.workloads.kernel_types import SourceRefused
from coordinator.workloads.source import parse_source

_KIND: Final = Kernel()
#: Compiled once in the zygote, so that its children find the compiler's own parts ready: one of
#: each form, with what most kernels call.
_FIRST: Final = (
    """@kernel
def first(i, a: f32, x: In[f32], out: Out[f32]):
    out[i] = a * math.sqrt(x[i]) + normal_f32(1, i, 0)
""",
    """@kernel
def first(x: In[f64], out: Out[f64]):
    part = cuda.shared.array(32, f64)
    t = cuda.threadIdx.x
    part[t] = x[t]
    cuda.syncthreads()
    out[t] = part[31 - t]
""",
)


class _Source(msgspec.Struct, frozen=True):
    """Of the parameters only what decides about the object code."""

    source: str


def warm() -> None:
    """Compile, link and run kernels of our own."""
    for text in _FIRST:
        source = parse_source(text)
        compiled = object_code.load(source, object_code.build(source))
        kind = source.outputs[0].type.dtype
        arrays = {name: np.ones(32, kind) for name in ("x", "out")}
        launch = Launch(extent=(32,)) if source.form == "element" else Launch((), (1,), (32,))
        compiled.run(arrays, {"a": 1.0}, launch)


def key(params: bytes) -> bytes:
    """SHA-256 of the source.

    Raises:
        Refusal: `bad_spec`.
    """
    try:
        return sha256(msgspec.json.decode(params, type=_Source).source.encode()).digest()
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise Refusal("bad_spec", f"kernel: {error}"[:300]) from error


def build(params: bytes) -> bytes:
    """Object code of a job's source.

    Raises:
        Refusal: `kernel_failed` naming the source's line: its types do not fit together, which the
            coordinator could not see.
    """
    decoded = _KIND.decode(params)
    try:
        return object_code.build(read_source(decoded.source))
    except SourceRefused as refused:
        raise Refusal("kernel_failed", f"kernel: source, {refused}") from refused


def run(
    params: bytes,
    inputs: Mapping[str, AnyArray],
    code: bytes,
    zeros: Callable[[str, Sequence[int]], AnyArray],
    on_progress: Callable[[float], None],
) -> None:
    """Run a job.

    Args:
        params: Its parameters.
        inputs: Its input arrays.
        code: Its source's object code.
        zeros: Makes an output; called for each, in order.
        on_progress: Called with how much is done, from 0 to 1.

    Raises:
        Refusal: `bad_spec` for inputs that do not fit, `kernel_failed` where it ended itself.
    """
    decoded = _KIND.decode(params)
    source = read_source(decoded.source)
    _KIND.check_arrays(decoded, inputs)
    outputs = {
        each.name: zeros(each.type.dtype, decoded.outputs[each.name]) for each in source.outputs
    }
    launch = Launch(*decoded.launch)
    scalars = {name: value.item() for name, value in scalar_values(decoded).items()}
    compiled = object_code.load(source, code)
    try:
        compiled.run({**inputs, **outputs}, scalars, launch, on_progress=on_progress)
    except KernelFailed as failed:
        raise Refusal("kernel_failed", f"kernel: source, {failed}") from failed
