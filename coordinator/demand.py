"""What a specification asks of a node, in few different ways: jobs that ask alike share a queue."""

from __future__ import annotations

from coordinator.protocol.spec import Spec
from coordinator.scheduler import Demand
from coordinator.workloads.catalogue import get

#: Memories of devices, GiB: a demand is rounded up to one of these, so that there are few demands.
VRAM_CLASSES_GIB = (0, 2, 4, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 141, 192, 288, 1024)


def demand_for(spec: Spec) -> Demand:
    """What a specification asks of a node."""
    workload = get(spec.kind)
    asked = spec.resources.sandbox
    return Demand(
        kind=spec.kind,
        is_timed=workload.is_timed,
        gpu=spec.resources.gpu,
        vram_gib=next(size for size in VRAM_CLASSES_GIB if size * 1024 >= spec.resources.vram_mb),
        sandbox=workload.sandbox if asked is None else asked,
    )
