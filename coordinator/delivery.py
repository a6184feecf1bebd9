"""Results on their way to submitters: from memory where they have just ended, else from the store.

In:   finished jobs.
Out:  a parcel of each: its outputs, its receipt and the path to the signed root.
Rule: jobs that end together have their receipts in one batch, which is read once for all of them.
Not here: who may have a result (api), when it is sent (submitter_link), memory (recent).
"""

from __future__ import annotations

from collections.abc import Sequence

from coordinator.desk import output_message
from coordinator.protocol.ids import Ids
from coordinator.protocol.parcel import Parcel
from coordinator.protocol.receipts import Levels, SignedRoot, build_batch, item_of
from coordinator.recent import Recent
from coordinator.store.interface import Reader
from coordinator.store.values import Job, ReceiptRoot

#: A batch of receipts: its signed root, the packed receipts, the tree over them.
_Batch = tuple[SignedRoot, tuple[bytes, ...], Levels]


class Delivery:
    """Makes the parcels of finished jobs."""

    def __init__(self, ids: Ids, coordinator_key: bytes, recent: Recent) -> None:
        self._ids = ids
        self._coordinator_key = coordinator_key
        self._recent = recent
        #: The last batch's root, as it travels: jobs that end together share it.
        self._last: tuple[ReceiptRoot, SignedRoot] | None = None

    def remembered(self, job: Job) -> Parcel | None:
        """The parcel of a job that has just ended; None where the store must be asked."""
        outputs = self._recent.outputs(job)
        found = self._recent.receipt(job.id)
        if outputs is None or found is None:
            return None
        ready, index = found
        arrays, data = output_message(outputs)
        public = self._ids.encode("job", job.id)
        return Parcel(public, arrays, data, self._signed(ready.root), ready.item(index))

    def load(self, reader: Reader, jobs: Sequence[Job]) -> list[Parcel]:
        """The parcels of finished jobs, in order; called off Trio's loop."""
        batches: dict[int, _Batch] = {}
        parcels = []
        for job in jobs:
            arrays, data = output_message(reader.outputs(job.id, job.fence))
            public = self._ids.encode("job", job.id)
            receipt = reader.receipt(job.id)
            if receipt is None:
                parcels.append(Parcel(public, arrays, data))
                continue
            if receipt.batch not in batches:
                batches[receipt.batch] = self._load_batch(reader, receipt.batch)
            signed, packed, levels = batches[receipt.batch]
            item = item_of(packed[receipt.index], levels, receipt.index)
            parcels.append(Parcel(public, arrays, data, signed, item))
        return parcels

    def _load_batch(self, reader: Reader, batch: int) -> _Batch:
        root = reader.receipt_root(batch)
        assert root is not None, "a receipt has its root"
        packed = tuple([row.data for row in reader.receipts_in(batch)])
        return self._signed(root), packed, build_batch(packed)[1]

    def _signed(self, root: ReceiptRoot) -> SignedRoot:
        last = self._last
        if last is None or last[0] is not root:
            key = self._coordinator_key
            signed = SignedRoot(key, root.batch, root.count, root.root, root.signature)
            last = self._last = root, signed
        return last[1]
