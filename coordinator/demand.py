"""What a specification asks of a node, in few different ways: jobs that ask alike share a queue."""

from __future__ import annotations

from functools import lru_cache

from coordinator.protocol.spec import Resources, Spec
from coordinator.scheduler import Demand
from coordinator.workloads.catalogue import get

#: Memories of devices, GiB: a demand is rounded up to one of these, so that there are few demands.
VRAM_CLASSES_GIB = (0, 2, 4, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 141, 192, 288, 1024)
#: Compute capabilities, tenths, that are told apart: a demand is rounded up to one of these.
COMPUTE_CLASSES = (0, 50, 60, 70, 75, 80, 86, 89, 90, 100, 120, 999)

#: Different demands that are remembered.
DEMANDS_MAX = 1024


def demand_for(spec: Spec) -> Demand:
    """What a specification asks of a node."""
    return _demand_for(spec.kind, spec.resources)


@lru_cache(maxsize=DEMANDS_MAX)
def _demand_for(kind: str, asked_of: Resources) -> Demand:
    # There are few different ones, and each of millions of jobs has one of them.
    workload = get(kind)
    asked = asked_of.sandbox
    return Demand(
        kind=kind,
        is_timed=workload.is_timed,
        # Memory and capability are those of a GPU.
        gpu=asked_of.gpu or asked_of.vram_mb > 0 or asked_of.compute_capability > 0,
        compute=next(each for each in COMPUTE_CLASSES if each >= asked_of.compute_capability),
        vram_gib=next(size for size in VRAM_CLASSES_GIB if size * 1024 >= asked_of.vram_mb),
        sandbox=workload.sandbox if asked is None else asked,
    )
