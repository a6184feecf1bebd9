"""Why a node has nothing to do: decided from what it can and what waits. Pure.

In:   a node's state and capability, how much it holds, what the waiting jobs ask.
Out:  a code and a sentence; empty where it works.
Rules: the first that applies.
  1. It is not there: `offline` (its key may be the reason: `revoked`, `key_expired`), `silent`.
  2. It gets no jobs for a while: `drained`.
  3. It has not said what it can do: `starting`. It has no place that computes: `no_slots`.
  4. It holds jobs: nothing to explain.
  5. No job waits: `no_work`.
  6. Of the waiting jobs, the one that comes nearest: what the node lacks for it
     (`no_matching_kind`, `no_gpu`, `memory_too_small`, `gpu_too_old`, `level_too_low`). Lacking
     nothing, it is given one at any moment.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from coordinator.scheduler import Capability, Demand

#: From the farthest to the nearest.
_LACKS: Final = (
    "no_matching_kind",
    "no_gpu",
    "memory_too_small",
    "gpu_too_old",
    "level_too_low",
    "",
)

SENTENCES: Final = {
    "": "",
    "offline": "not connected",
    "revoked": "not connected, and its permission was withdrawn: sign a new token",
    "key_expired": "not connected, and its permission has expired: sign a new token",
    "silent": "connected, but silent for more than 30 s",
    "drained": "gets no jobs for a while",
    "starting": "warming up: it has not said yet what it can do",
    "no_slots": "none of its devices computes",
    "no_work": "no job waits",
    "no_matching_kind": "jobs wait, but none of a kind that it runs",
    "no_gpu": "the jobs that wait want a GPU",
    "memory_too_small": "the jobs that wait want more GPU memory",
    "gpu_too_old": "the jobs that wait want a newer GPU (compute capability), or all in one GPU",
    "level_too_low": "the jobs that wait want a better sandbox",
}


def lack(has: Capability, demands: Iterable[Demand]) -> str:
    """What the node lacks for the waiting job that comes nearest; `no_work` if none waits."""
    found = [_lack_for(has, demand) for demand in demands]
    return max(found, key=_LACKS.index) if found else "no_work"


def _lack_for(has: Capability, demand: Demand) -> str:
    if demand.kind not in has.kinds:
        return "no_matching_kind"
    if demand.gpu and not has.has_gpu:
        return "no_gpu"
    if has.vram_gib < demand.vram_gib:
        return "memory_too_small"
    if has.devices and not any(device.fits(demand) for device in has.devices):
        return "gpu_too_old"
    return "" if has.can(demand) else "level_too_low"
