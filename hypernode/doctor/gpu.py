"""The GPUs: whether NVML answers, and whether driver and packages fit each other.

Not covered: whether a kernel runs. `hypernode agent` finds that out as it warms up, and says it.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from typing import Final, Protocol

from coordinator.protocol.messages import Device
from hypernode.doctor.finding import Finding, failure, ok, skipped, warning

#: CUDA of the extra `cuda`, and the least driver that runs it.
_CUDA_MAJOR: Final = 13
_DRIVER_MIN: Final = 580


class Gpus(Protocol):
    """What `agent.device.Gpus` tells."""

    remark: str

    def by_index(self) -> dict[int, Device]: ...

    def cuda_version(self) -> tuple[int, int] | None: ...


def check_gpus(gpus: Gpus, *, is_wanted: bool) -> Finding:
    """Which GPUs there are."""
    found = gpus.by_index()
    if not found:
        said = gpus.remark or "no GPU: the driver runs and shows none"
        if is_wanted:
            return failure("gpu", said, "check `nvidia-smi`; install the NVIDIA driver")
        return skipped("gpu", f"{said}; kernels run on the processor")
    names = ", ".join(f"{n}: {gpu.name}, {gpu.memory_mb} MB" for n, gpu in found.items())
    return ok("gpu", f"{names}; driver {next(iter(found.values())).driver}")


def check_cuda(gpus: Gpus, version_of: Callable[[str], str] = metadata.version) -> Finding:
    """Whether the CUDA of the packages is one that the driver runs."""
    if not gpus.by_index():
        return skipped("cuda", "no GPU, so no CUDA is needed")
    try:
        package = version_of("numba-cuda")
    except metadata.PackageNotFoundError:
        fix = "install the extra: `pip install 'hypernode[cuda]'`, or requirements/cuda.txt"
        return failure("cuda", "numba-cuda is missing: no kernel can run on the GPU", fix)
    driver = gpus.cuda_version()
    if driver is None:
        return warning("cuda", "the driver does not tell its CUDA version", "update the driver")
    said = f"numba-cuda {package}; the driver runs CUDA {driver[0]}.{driver[1]}"
    try:
        runtime = int(version_of("cuda-bindings").split(".")[0])
    except (metadata.PackageNotFoundError, ValueError):
        runtime = _CUDA_MAJOR
    if driver[0] < runtime:
        fix = (
            f"update the driver to {_DRIVER_MIN} or newer, or install "
            f"`numba-cuda[cu{driver[0]}]` instead"
        )
        return failure("cuda", f"{said}, the packages bring CUDA {runtime}", fix)
    return ok("cuda", f"{said}, which runs the packages' CUDA {runtime}")
