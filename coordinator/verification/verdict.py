"""From outputs and a policy to a verdict: pure, and the same wherever it is computed again.

In:   the specification, its workload, the outputs, and bytes drawn after the root was committed.
Out:  a `Verdict`: accepted, rejected with the reason, or unverified.
Covered: wrong number, type, shape or size of outputs; values that are not finite; contradictions
      that the workload knows; wrong blocks, by chance: an agent that fakes a share f of the blocks
      passes s checks with probability (1 - f)^s.
Not covered: a cheat in blocks that were not drawn; commands, which nobody can recompute; who
      computed the result, and where.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hmac import compare_digest
from typing import Any, Literal

import msgspec

from coordinator.protocol.arrays import AnyArray
from coordinator.protocol.commitment import output_root
from coordinator.protocol.errors import Refusal
from coordinator.protocol.spec import Policy, Sample, Spec
from coordinator.verification.sampling import draw_blocks, sample_size
from coordinator.workloads.workload import NO_INPUTS, InputArrays, Workload


class Verdict(msgspec.Struct, frozen=True):
    """What became of a result."""

    state: Literal["accepted", "rejected", "unverified"]
    #: Why it was rejected, for people; "" otherwise.
    reason: str = ""
    #: Blocks that were recomputed.
    checked: int = 0


def policy_of(spec: Spec, workload: Workload[Any]) -> Policy:
    """The policy under which a job runs: the submitter's, or the kind's own."""
    return workload.default_policy if spec.verify is None else spec.verify


def check_policy(spec: Spec, workload: Workload[Any], params: Any) -> None:
    """Whether a job can be verified as it asks; to be called when it is submitted.

    Raises:
        Refusal: `bad_spec` when the kind has nothing to recompute, or the sample is too large.
    """
    policy, blocks = policy_of(spec, workload), workload.blocks(params)
    if isinstance(policy, Sample) and not blocks:
        raise Refusal("bad_spec", f"verify: a {workload.kind} cannot be recomputed; say none")
    sample_size(policy, blocks)


def check_root(outputs: Iterable[bytes | memoryview], root: bytes) -> None:
    """Whether outputs (raw C-order data each, in order) are those that the agent committed to.

    Raises:
        Refusal: `rejected`.
    """
    if not compare_digest(output_root(outputs), root):
        raise Refusal("rejected", "the outputs are not those of the committed root")


def verify(
    spec: Spec,
    workload: Workload[Any],
    outputs: Sequence[AnyArray],
    draw: bytes,
    inputs: InputArrays = NO_INPUTS,
) -> Verdict:
    """Judge a result.

    Args:
        spec: The job's specification; it has passed `check_policy`.
        workload: The workload of its kind.
        outputs: The result, in the order of the schema.
        draw: 32 random bytes that the agent could not know when it committed its root.
        inputs: The job's inputs by name; they have passed `check_inputs`.
    """
    params = workload.decode(bytes(spec.params))
    policy = policy_of(spec, workload)
    if reason := _fault(spec, workload, params, outputs):
        return Verdict("rejected", reason)
    if not isinstance(policy, Sample):
        return Verdict("unverified")
    blocks = workload.blocks(params)
    drawn = draw_blocks(draw, blocks, sample_size(policy, blocks))
    for done, block in enumerate(drawn, start=1):
        claimed = workload.extract(params, outputs, block)
        reference = workload.reference(params, block, inputs)
        if reason := workload.disagreement(params, block, claimed, reference):
            return Verdict("rejected", f"block {block} of {blocks}: {reason}", done)
    return Verdict("accepted", checked=len(drawn))


def _fault(spec: Spec, workload: Workload[Any], params: Any, outputs: Sequence[AnyArray]) -> str:
    """What is wrong with the outputs before any block is recomputed; "" if nothing is."""
    size = sum(output.nbytes for output in outputs)
    if size > spec.limits.output_bytes:
        return f"the outputs have {size} bytes, more than {spec.limits.output_bytes}"
    try:
        workload.check_schema(params, outputs)
    except Refusal as refusal:
        return refusal.sentence
    return workload.inspect(params, outputs)
