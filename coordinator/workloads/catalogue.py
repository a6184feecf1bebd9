"""The kinds of jobs that this version knows, by name."""

from __future__ import annotations

from typing import Any, Final

from coordinator.protocol.errors import Refusal
from coordinator.workloads.command import Command
from coordinator.workloads.hashsearch import HashSearch
from coordinator.workloads.kernel import Kernel
from coordinator.workloads.matmul import MatMul
from coordinator.workloads.montecarlo import MonteCarlo
from coordinator.workloads.render import Render
from coordinator.workloads.workload import Workload

_WORKLOADS: Final[dict[str, Workload[Any]]] = {
    workload.kind: workload
    for workload in (Command(), HashSearch(), Kernel(), MatMul(), MonteCarlo(), Render())
}

#: All kinds, in alphabetical order.
KINDS: Final[tuple[str, ...]] = tuple(_WORKLOADS)
#: Those that are paid by time.
TIMED: Final = frozenset(kind for kind, workload in _WORKLOADS.items() if workload.is_timed)


def get(kind: str) -> Workload[Any]:
    """The workload of a kind.

    Raises:
        Refusal: `unknown_kind`.
    """
    workload = _WORKLOADS.get(kind)
    if workload is None:
        raise Refusal("unknown_kind", f"{kind[:32]!r} is none of {', '.join(KINDS)}")
    return workload
