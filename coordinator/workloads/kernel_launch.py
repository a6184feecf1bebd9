"""How a kernel is started: an extent of indices, or blocks of threads; what each device takes.

Rules:
  1. The element form has an extent, one number for each index; the CUDA form has grid and block,
     of one to three numbers each, and the bytes of its dynamic shared array, if it has one.
  2. What passes here is a launch that every CUDA device takes.
"""

from __future__ import annotations

from math import prod
from typing import NamedTuple, TypeAlias

from coordinator.workloads.kernel_limits import (
    BLOCK_THREADS_MAX,
    BLOCK_XY_MAX,
    BLOCK_Z_MAX,
    GRID_X_MAX,
    GRID_YZ_MAX,
    LAUNCH_THREADS_MAX,
    SHARED_BYTES_MAX,
)
from coordinator.workloads.kernel_types import KernelSource

Three: TypeAlias = tuple[int, int, int]


class Launch(NamedTuple):
    """A launch as asked for; what is not given is empty."""

    #: Indices of each dimension, in the order of the kernel's indices.
    extent: tuple[int, ...] = ()
    #: Blocks along x, y and z.
    grid: tuple[int, ...] = ()
    #: Threads of a block along x, y and z.
    block: tuple[int, ...] = ()
    #: Bytes of the dynamic shared array.
    shared: int = 0

    @property
    def blocks(self) -> Three:
        """The grid in three dimensions."""
        return _three(self.grid)

    @property
    def threads(self) -> Three:
        """The block in three dimensions."""
        return _three(self.block)


def launch_fault(source: KernelSource, launch: Launch) -> str:
    """What is wrong with a launch of a kernel, naming the parameter; "" if nothing is."""
    if source.form == "element":
        return _extent_fault(source, launch)
    return _blocks_fault(source, launch)


def _extent_fault(source: KernelSource, launch: Launch) -> str:
    if launch.grid or launch.block or launch.shared:
        return "`grid`, `block` and `shared` belong to the CUDA form: this kernel has an `extent`"
    names = ", ".join(each.name for each in source.indices)
    if len(launch.extent) != len(source.indices):
        return f"`extent` has {len(launch.extent)} numbers, the kernel has the indices {names}"
    if min(launch.extent) < 1:
        return "`extent` holds a number below 1"
    if prod(launch.extent) > LAUNCH_THREADS_MAX:
        return f"`extent` has more than {LAUNCH_THREADS_MAX} indices"
    return ""


def _blocks_fault(source: KernelSource, launch: Launch) -> str:
    if launch.extent:
        return "`extent` belongs to the element form: this kernel has `grid` and `block`"
    for name, given in (("grid", launch.grid), ("block", launch.block)):
        if not 1 <= len(given) <= 3:
            return f"`{name}` has one to three numbers, not {len(given)}"
        if min(given) < 1:
            return f"`{name}` holds a number below 1"
    return _sizes_fault(launch) or _shared_fault(source, launch.shared)


def _sizes_fault(launch: Launch) -> str:
    limits = (
        ("block", launch.threads, (BLOCK_XY_MAX, BLOCK_XY_MAX, BLOCK_Z_MAX)),
        ("grid", launch.blocks, (GRID_X_MAX, GRID_YZ_MAX, GRID_YZ_MAX)),
    )
    for name, given, most in limits:
        for axis, number, limit in zip("xyz", given, most, strict=True):
            if number > limit:
                return f"`{name}` has {number} along {axis}, at most {limit} are possible"
    if prod(launch.block) > BLOCK_THREADS_MAX:
        return f"`block` has {prod(launch.block)} threads, at most {BLOCK_THREADS_MAX} are possible"
    if prod(launch.grid) * prod(launch.block) > LAUNCH_THREADS_MAX:
        return f"`grid` and `block` have more than {LAUNCH_THREADS_MAX} threads together"
    return ""


def _shared_fault(source: KernelSource, shared: int) -> str:
    if shared and not source.has_dynamic_shared:
        return "`shared` is for a shared array of the shape 0: this kernel has none"
    if source.has_dynamic_shared and not shared:
        return "`shared` is missing: this kernel has a shared array of the shape 0"
    if (together := source.shared_bytes + shared) > SHARED_BYTES_MAX:
        have = f"`shared` and the kernel's own shared arrays have {together} bytes"
        return f"{have}, at most {SHARED_BYTES_MAX} are possible"
    return ""


def _three(given: tuple[int, ...]) -> Three:
    x, y, z, *_ = (*given, 1, 1, 1)
    return x, y, z
