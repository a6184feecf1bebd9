"""Results on their way to submitters: from memory where they have just ended, else from the store.

In:   finished jobs.
Out:  a message of each: its outputs, its receipt and the path to the signed root.
Rule: jobs that end together have their receipts in one batch, which is read once for all of them.
Not here: who may have a result (api), when it is sent (submitter_link), memory (recent).
"""

from __future__ import annotations

from collections.abc import Sequence

from coordinator.desk import output_message
from coordinator.protocol.ids import Ids
from coordinator.protocol.messages import JobOutput, ReceiptBatch
from coordinator.protocol.receipts import SignedRoot, to_wire
from coordinator.recent import Recent
from coordinator.store.interface import Reader
from coordinator.store.values import Job, Output, ReceiptRoot

#: A message, and the data that its inline arrays ride in.
Message = tuple[JobOutput, bytes]


class Delivery:
    """Makes the messages of finished jobs."""

    def __init__(self, ids: Ids, coordinator_key: bytes, recent: Recent) -> None:
        self._ids = ids
        self._coordinator_key = coordinator_key
        self._recent = recent

    def remembered(self, job: Job) -> Message | None:
        """The message of a job that has just ended; None where the store must be asked."""
        outputs = self._recent.outputs(job)
        found = self._recent.receipt(job.id)
        if outputs is None or found is None:
            return None
        root, packed, index = found
        return self._message(job, outputs, to_wire(self._signed(root), packed, (index,)))

    def load(self, reader: Reader, jobs: Sequence[Job]) -> list[Message]:
        """The messages of finished jobs, in order; called off Trio's loop."""
        batches: dict[int, tuple[SignedRoot, tuple[bytes, ...]]] = {}
        messages = []
        for job in jobs:
            outputs = reader.outputs(job.id, job.fence)
            receipt = reader.receipt(job.id)
            signed = None
            if receipt is not None:
                if receipt.batch not in batches:
                    batches[receipt.batch] = self._load_batch(reader, receipt.batch)
                signed = to_wire(*batches[receipt.batch], (receipt.index,))
            messages.append(self._message(job, outputs, signed))
        return messages

    def _load_batch(self, reader: Reader, batch: int) -> tuple[SignedRoot, tuple[bytes, ...]]:
        root = reader.receipt_root(batch)
        assert root is not None, "a receipt has its root"
        return self._signed(root), tuple([row.data for row in reader.receipts_in(batch)])

    def _signed(self, root: ReceiptRoot) -> SignedRoot:
        return SignedRoot(self._coordinator_key, root.batch, root.count, root.root, root.signature)

    def _message(
        self, job: Job, outputs: Sequence[Output], receipt: ReceiptBatch | None
    ) -> Message:
        arrays, data = output_message(outputs)
        return JobOutput(self._ids.encode("job", job.id), arrays, receipt), data
