"""What has just happened, in memory for a while: outputs and receipts that are about to be sent.

In:   effects after their commit.
Out:  the same values to whoever asks soon; nothing to whoever asks late, who then reads the store.
Rules:
  1. What is remembered is on the disk already.
  2. Past the bounds of `limits` it is forgotten, the oldest first.
Why: a result leaves a moment after its commit, and a read costs as much as the whole way there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from coordinator.events import ReceiptsReady
from coordinator.limits import (
    RECENT_BATCHES_MAX,
    RECENT_OUTPUT_BYTES_MAX,
    RECENT_OUTPUTS_MAX,
)
from coordinator.store.values import Job, Output, Receipt, ReceiptRoot


class Recent:
    """What has just happened, within bounds."""

    def __init__(self) -> None:
        #: Of each job's last attempt with a result.
        self._outputs: OrderedDict[int, tuple[Output, ...]] = OrderedDict()
        self._bytes = 0
        self._batches: dict[int, ReceiptsReady] = {}
        #: A job's receipt, which says where it stands.
        self._receipts: dict[int, Receipt] = {}

    def note_outputs(self, job: Job, outputs: tuple[Output, ...]) -> None:
        """The outputs of an attempt are on the disk."""
        known = self._outputs.get(job.id)
        if known is outputs:
            return
        self._outputs[job.id] = outputs
        self._bytes += _size_of(outputs)
        if known is not None:
            self._bytes -= _size_of(known)
        while len(self._outputs) > RECENT_OUTPUTS_MAX or self._bytes > RECENT_OUTPUT_BYTES_MAX:
            _, oldest = self._outputs.popitem(last=False)
            self._bytes -= _size_of(oldest)

    def note_receipts(self, ready: ReceiptsReady) -> None:
        """A batch of receipts is on the disk."""
        number = ready.root.batch
        self._batches[number] = ready
        self._receipts.update([(receipt.job, receipt) for receipt in ready.receipts])
        if len(self._batches) > RECENT_BATCHES_MAX:
            for receipt in self._batches.pop(next(iter(self._batches))).receipts:
                del self._receipts[receipt.job]

    def outputs(self, job: Job) -> tuple[Output, ...] | None:
        """The outputs of a job's current attempt, if they are remembered."""
        outputs = self._outputs.get(job.id)
        # All of them are of one attempt.
        if outputs is None or (outputs and outputs[0].fence != job.fence):
            return None
        return outputs

    def receipt(self, job: int) -> tuple[ReceiptsReady, int] | None:
        """A job's batch of receipts and the job's place in it, if they are remembered."""
        receipt = self._receipts.get(job)
        return None if receipt is None else (self._batches[receipt.batch], receipt.index)

    def root_for(self, batch: int, node: int) -> ReceiptRoot | None:
        """The root of a batch in which a node has receipts, if it is remembered."""
        found = self._batches.get(batch)
        if found is None or all(receipt.node != node for receipt in found.receipts):
            return None
        return found.root


def _size_of(outputs: Sequence[Output]) -> int:
    """Bytes in memory: blobs are not."""
    return sum([len(output.data) for output in outputs])
