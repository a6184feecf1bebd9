"""hashsearch: every nonce whose SHA-256 begins with at least `target_bits` zero bits.

The hashed message is `prefix | nonce`, the nonce as 8 bytes little-endian.
Outputs: `hits` (k,) uint64, the nonces found, ascending; `best` (blocks, 2) uint64, for each block
         the nonce with the most leading zero bits (the least such nonce) and that number.
Block:   `BLOCK` nonces. `best` has a row in each block, so that a block without a hit is checked
         like any other: an honest row cannot be known without hashing the block.
Work:    `HASH_OPS` 32-bit integer operations a hash (64 rounds of 24, 48 schedule words of 12,
         and the rest; three-operand instructions do fewer). Bound by computing.
Checks:  exact. Every hit is hashed again by hashlib, wherever the sample falls.
Source:  FIPS 180-4; Back, "Hashcash", 2002.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Annotated, Final

import numpy as np
import numpy.typing as npt
from msgspec import Meta

from coordinator.limits import BLOCKS_MAX, INTEGER_MAX
from coordinator.protocol.arrays import AnyArray
from coordinator.protocol.errors import Refusal
from coordinator.workloads.workload import (
    NO_INPUTS,
    InputArrays,
    OutputSchema,
    Params,
    Raw,
    Work,
    Workload,
)

#: Nonces in a block: 14 ms of hashlib.
BLOCK: Final = 2**15
#: Nonces of a search whose whole answer costs less than NumPy's calls around a block: 30 µs.
ANSWER_MAX: Final = 32
HASH_OPS: Final = 3500
#: 2^36 hashes: some ten seconds of a large GPU.
COUNT_MAX: Final = 2**36
#: Hits of one job: 512 KiB, and 30 ms to hash them all again.
HITS_MAX: Final = 2**16
PREFIX_BYTES_MAX: Final = 32


class HashSearchParams(Params, frozen=True):
    #: Bytes before the nonce, hexadecimal in small letters, at most 32 of them.
    prefix: Annotated[str, Meta(pattern=r"^([0-9a-f]{2}){0,32}\Z")]
    #: The first nonce.
    start: Annotated[int, Meta(ge=0, le=INTEGER_MAX)]
    #: Nonces to try.
    count: Annotated[int, Meta(ge=1, le=COUNT_MAX)]
    #: Leading zero bits of a hit.
    target_bits: Annotated[int, Meta(ge=1, le=256)]

    @property
    def prefix_bytes(self) -> bytes:
        return bytes.fromhex(self.prefix)

    def hash_of(self, nonce: int) -> bytes:
        """SHA-256 of the message with this nonce, 32 bytes."""
        return sha256(self.prefix_bytes + nonce.to_bytes(8, "little")).digest()


class HashSearch(Workload[HashSearchParams]):
    """Search for hashes below a target."""

    kind = "hashsearch"
    light_flop_max = 100_000
    params_type = HashSearchParams

    def check_params(self, params: HashSearchParams) -> None:
        # Hits are Poisson distributed: twice the expectation is never seen, so `HITS_MAX` holds.
        if params.count >> params.target_bits > HITS_MAX // 2:
            bits = max((params.count // (HITS_MAX // 2)).bit_length(), 1)
            raise Refusal(
                "bad_spec",
                f"hashsearch: `$.target_bits` gives more than {HITS_MAX // 2} hits; "
                f"use {bits} or more for this count",
            )

    def work(self, params: HashSearchParams) -> Work:
        return Work(flop=params.count * HASH_OPS, bytes=16 * self.blocks(params))

    def schema(self, params: HashSearchParams) -> tuple[OutputSchema, ...]:
        return (
            OutputSchema("hits", "uint64", (None,)),
            OutputSchema("best", "uint64", (self.blocks(params), 2)),
        )

    def blocks(self, params: HashSearchParams) -> int:
        return -(-params.count // BLOCK)

    def answer(self, params: HashSearchParams) -> tuple[Raw, ...] | None:
        """All hits and the one row of `best`, of a search in at most `ANSWER_MAX` nonces."""
        if params.count > ANSWER_MAX:
            return None
        prefix = params.prefix_bytes
        hits = []
        best, most = 0, -1
        for nonce in range(params.start, _end(params)):
            message = nonce.to_bytes(8, "little")
            bits = leading_zeros(sha256(prefix + message).digest())
            if bits >= params.target_bits:
                hits.append(message)
            if bits > most:
                best, most = nonce, bits
        row = best.to_bytes(8, "little") + most.to_bytes(8, "little")
        return Raw("uint64", (len(hits),), b"".join(hits)), Raw("uint64", (1, 2), row)

    def inspect(self, params: HashSearchParams, outputs: Sequence[AnyArray]) -> str:
        """Hits ascend, lie in the range, are hits, and fit the rows of `best`."""
        hits, best = outputs
        if len(hits) > HITS_MAX:
            return f"{len(hits)} hits, more than {HITS_MAX}"
        if (hits[1:] <= hits[:-1]).any():
            return "hits do not ascend"
        if len(hits) and not params.start <= int(hits[0]) <= int(hits[-1]) < _end(params):
            return "a hit lies outside the range"
        for nonce in hits.tolist():
            if leading_zeros(params.hash_of(nonce)) < params.target_bits:
                return f"nonce {nonce} is not a hit"
        return _best_fault(params, hits, best)

    def reference(
        self,
        params: HashSearchParams,
        block: int,
        inputs: InputArrays = NO_INPUTS,  # noqa: ARG002 - an interface
    ) -> tuple[AnyArray, ...]:
        first = params.start + block * BLOCK
        last = min(first + BLOCK, _end(params))
        prefix = params.prefix_bytes
        digests = b"".join(
            [sha256(prefix + n.to_bytes(8, "little")).digest() for n in range(first, last)]
        )
        heads = np.frombuffer(digests, dtype=">u8")[::4]
        lowest = int(np.argmin(heads))
        bits = leading_zeros(digests[32 * lowest : 32 * lowest + 32])
        # The least nonce among equals: the lowest hash need not be the first of its bits.
        limit = (1 << max(64 - bits, 0)) - 1
        first_best = int(np.argmax(heads <= np.uint64(limit)))
        best = np.array([first + first_best, bits], dtype=np.uint64)
        return self._hits(params, first, digests, heads), best

    def _hits(
        self, params: HashSearchParams, first: int, digests: bytes, heads: AnyArray
    ) -> npt.NDArray[np.uint64]:
        limit = (1 << max(64 - params.target_bits, 0)) - 1
        found = [
            first + int(i)
            for i in np.flatnonzero(heads <= np.uint64(limit))
            if leading_zeros(digests[32 * i : 32 * i + 32]) >= params.target_bits
        ]
        return np.array(found, dtype=np.uint64)

    def extract(
        self, params: HashSearchParams, outputs: Sequence[AnyArray], block: int
    ) -> tuple[AnyArray, ...]:
        hits, best = outputs
        first = params.start + block * BLOCK
        low, high = np.searchsorted(hits, np.array([first, first + BLOCK], dtype=np.uint64))
        return hits[low:high], best[block]

    def disagreement(
        self,
        params: HashSearchParams,  # noqa: ARG002 - an interface
        block: int,  # noqa: ARG002 - an interface
        claimed: Sequence[AnyArray],
        reference: Sequence[AnyArray],
    ) -> str:
        if not np.array_equal(claimed[0], reference[0]):
            return f"hits are {claimed[0][:4].tolist()}…, not {reference[0][:4].tolist()}…"
        if not np.array_equal(claimed[1], reference[1]):
            return f"the best is {claimed[1].tolist()}, not {reference[1].tolist()}"
        return ""


def leading_zeros(digest: bytes) -> int:
    """Zero bits before the first one."""
    return 8 * len(digest) - int.from_bytes(digest, "big").bit_length()


def _end(params: HashSearchParams) -> int:
    return params.start + params.count


def _best_fault(
    params: HashSearchParams, hits: npt.NDArray[np.uint64], best: npt.NDArray[np.uint64]
) -> str:
    """A row's nonce lies in its block; its bits reach the target just where there are hits."""
    blocks = np.arange(len(best), dtype=np.uint64)
    offset = best[:, 0] - np.uint64(params.start)
    if (best[:, 0] < params.start).any() or (offset // np.uint64(BLOCK) != blocks).any():
        return "a row of `best` names a nonce outside its block"
    with_hits = np.unique((hits - np.uint64(params.start)) // np.uint64(BLOCK))
    if not np.array_equal(np.flatnonzero(best[:, 1] >= params.target_bits), with_hits):
        return "`best` and `hits` contradict each other"
    return ""


assert -(-COUNT_MAX // BLOCK) <= BLOCKS_MAX
