"""Jobs that a submitter wants, made ready: specifications, keys, and the blobs that they name.

In:   a kind, and for each job its parameters, or parameters and input arrays; or a kernel, and for
      each job its arguments.
Out:  one `Wish` a job, in order.
Not here: sending them (`client.py`), uploading (`inputs.py`).
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy.typing as npt

from hypernode.inputs import Blob, prepare
from hypernode.kernel_request import Extents, KernelRequest, kernel_request
from hypernode.kernels import Kernel
from hypernode.submission import spec_bytes

Arrays: TypeAlias = Mapping[str, npt.ArrayLike]
#: What one job of many takes: its parameters, or its parameters and its input arrays.
JobArguments: TypeAlias = Mapping[str, Any] | tuple[Mapping[str, Any], Arrays]


class Wish(NamedTuple):
    """One job, ready to be sent."""

    spec: bytes
    key: str
    blobs: tuple[Blob, ...]


class Launch(NamedTuple):
    """How the jobs of a kernel are started, where a job does not say it itself."""

    n: Extents | None = None
    grid: Extents | None = None
    block: Extents | None = None
    shared: int = 0


async def wishes_of(
    kind: str | Kernel,
    many: Sequence[JobArguments],
    keys: Sequence[str] | None = None,
    inputs: Arrays | None = None,
    **options: Any,
) -> list[Wish]:
    """Make jobs of one kind ready.

    Args:
        kind: The workload, or a kernel.
        many: What each job takes.
        keys: The caller's names for them; random by default.
        inputs: Arrays that all of them have.
        options: See `hypernode.submission.Options`; of a kernel `n`, `grid`, `block`, `shared` too.

    Raises:
        BadSpec: a parameter or an array that cannot travel.
        KernelRefused: arguments that do not fit the kernel.
        ValueError: not as many keys as jobs.
    """
    names = list(keys) if keys is not None else [secrets.token_hex(16) for _ in many]
    if len(names) != len(many):
        msg = f"{len(names)} keys for {len(many)} jobs"
        raise ValueError(msg)
    if isinstance(kind, Kernel):
        launch = Launch(**{name: options.pop(name) for name in Launch._fields if name in options})
        many = [_request(kind, each, inputs or {}, launch) for each in many]
        kind, inputs = "kernel", None
    shared = await prepare(inputs or {})
    wishes = []
    for each, key in zip(many, names, strict=True):
        params, arrays = each if isinstance(each, tuple) else (each, {})
        own = await prepare(arrays) if arrays else shared
        named = own.inputs if own is shared else {**shared.inputs, **own.inputs}
        blobs = own.blobs if own is shared else (*shared.blobs, *own.blobs)
        wishes.append(Wish(spec_bytes(kind, params, inputs=named, **options), key, blobs))
    return wishes


def _request(kernel: Kernel, each: JobArguments, shared: Arrays, launch: Launch) -> KernelRequest:
    """One job of a kernel: arguments and launch stand beside each other."""
    params, arrays = each if isinstance(each, tuple) else (each, {})
    said = {**params, **shared, **arrays}
    own = {name: said.pop(name) for name in Launch._fields if name in said}
    return kernel_request(kernel, said, **launch._replace(**own)._asdict())
