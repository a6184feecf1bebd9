"""What a specification says, worked out once: its kind, parameters, price's work, and check.

In:   a specification's bytes.
Out:  a `Task`, remembered for as long as its job is likely to move: it is asked for when the job is
      submitted, and again when its result comes.
Not here: what a job costs (pricing), whether a result is right (checks, verification). Pure.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, NamedTuple

from coordinator.limits import CACHED_SPEC_BYTES, CACHED_SPECS_MAX
from coordinator.protocol.inputs import blob_sizes
from coordinator.protocol.spec import Policy, Spec, decode_spec
from coordinator.verification.sampling import sample_size
from coordinator.verification.verdict import check_policy, policy_of
from coordinator.workloads.catalogue import get
from coordinator.workloads.workload import Work, Workload

#: Blocks of a light check: each takes some calls of NumPy.
LIGHT_BLOCKS_MAX: Final = 2


class Task(NamedTuple):
    """What a specification says."""

    spec: Spec
    workload: Workload[Any]
    params: Any
    #: The declared work, which is what is paid for.
    work: Work
    policy: Policy
    #: Blocks that are recomputed.
    blocks: int
    #: Whether recomputing them is little work.
    is_light: bool


def task_of(raw: bytes) -> Task:
    """What a specification's bytes say.

    Raises:
        Refusal: `too_large`, `bad_spec` naming the field, or `unknown_kind`.
    """
    return _cached(raw) if len(raw) <= CACHED_SPEC_BYTES else _of_bytes(raw)


def task_for(spec: Spec) -> Task:
    """What a decoded specification says: see `task_of`."""
    workload = get(spec.kind)
    params = workload.decode(bytes(spec.params))
    workload.check_inputs(params, spec.inputs)
    check_policy(spec, workload, params)
    policy, work = policy_of(spec, workload), workload.work(params)
    blocks = sample_size(policy, workload.blocks(params))
    is_light = (
        0 < blocks <= LIGHT_BLOCKS_MAX
        and work.flop <= workload.light_flop_max
        and not blob_sizes(spec.inputs)
    )
    return Task(spec, workload, params, work, policy, blocks, is_light)


def _of_bytes(raw: bytes) -> Task:
    return task_for(decode_spec(raw))


_cached = lru_cache(maxsize=CACHED_SPECS_MAX)(_of_bytes)
