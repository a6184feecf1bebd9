"""Blobs that jobs name as inputs: there when a job begins, kept until it ends.

In:   a batch, and a job that is wished for, begins or ends.
Out:  a refusal, or counts in the batch.
Rules:
  1. A job's blobs are its submitter's when it is submitted, of the size that it says. A blob is a
     wallet's that has uploaded its bytes: the hash, which agents see too, makes nobody its owner.
  2. What an open job names is not dropped. From its end on a blob stays as long as any other:
     `BLOB_KEEP_MS` and the withholding window.
Not here: files (`blobs`), quotas (`identity`), who may read (store).
"""

from __future__ import annotations

from coordinator import events as ev
from coordinator.protocol.errors import Refusal
from coordinator.protocol.inputs import blob_sizes
from coordinator.protocol.spec import decode_spec
from coordinator.store.interface import Batch
from coordinator.store.values import Job


def missing(batch: Batch, submitter: bytes, wish: ev.Wish) -> Refusal | None:
    """Why a job cannot have the blobs that it names; None if it can."""
    for digest, size in wish.blobs.items():
        found = batch.blob_size(digest, submitter)
        if found is None:
            return Refusal("input_missing", f"upload {digest.hex()} ({size} bytes) first")
        if found != size:
            return Refusal(
                "bad_spec", f"inputs: {digest.hex()} has {found} bytes, type and shape take {size}"
            )
    return None


def begin(batch: Batch, job: Job, now_ms: int) -> None:
    """Keep what a new job names until its end."""
    _count(batch, job, now_ms, 1)


def end(batch: Batch, job: Job, now_ms: int) -> None:
    """A job has ended: its blobs are as young as if they had come now."""
    _count(batch, job, now_ms, -1)


def _count(batch: Batch, job: Job, now_ms: int, change: int) -> None:
    try:
        inputs = decode_spec(job.spec).inputs
    except Refusal:
        # Of another version of this program: it ends all the same, and named nothing here.
        return
    if inputs and (sizes := blob_sizes(inputs)):
        batch.name_blobs(job.submitter, sizes, now_ms, change)
