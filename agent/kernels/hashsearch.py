"""hashsearch: the nonces whose SHA-256 begins with enough zero bits, and each block's best.

Shapes:  template (16,) uint32, the padded message with a nonce of 0; best (lanes,) uint64 and hits
         (lanes,) int64; in the second pass found (total,) uint64.
Launch:  one thread a lane of `LANE` nonces. The first pass finds each lane's best hash and counts
         its hits; the second one, over the lanes that have any, lists them at offsets that the
         host summed: no atomics, and the list is in order by construction.
Work:    3,500 integer operations a hash, 16 bytes a lane: bound by computing.
Why no midstate: prefix, nonce and padding share one SHA-256 block; a full prefix would save the
         first 8 of 64 rounds, at a branch in each of them.
Source:  `coordinator/workloads/hashsearch.py` is the definition.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import int64, uint32, uint64

from agent.kernels import sha256
from agent.kernels.backend import Jit, Launch
from coordinator.protocol.arrays import AnyArray
from coordinator.workloads.hashsearch import BLOCK, HASH_OPS, HashSearchParams

#: Nonces of one thread: 64 lanes a block, so that 2^24 nonces keep 32,768 threads busy.
LANE = 2**9
_LANES = BLOCK // LANE
#: Blocks in one pass: half a megabyte of lanes.
_BLOCKS_AT_ONCE = 2**10
#: Room for a nonce below its number of bits in a lane's best: start + count < 2^54.
_NONCE_BITS = 54
_NONCE_MASK = 2**_NONCE_BITS - 1


def define_digest(jit: Jit) -> Any:
    """digest(nonce, template, first, shift): the eight words of the hash."""
    compress = sha256.define(jit)

    @jit
    def swap(nonce):
        """Reverse the eight bytes: the message is little-endian, SHA-256 big-endian."""
        x = uint64(nonce)
        x = ((x >> uint64(8)) & uint64(0x00FF00FF00FF00FF)) | (
            (x & uint64(0x00FF00FF00FF00FF)) << uint64(8)
        )
        x = ((x >> uint64(16)) & uint64(0x0000FFFF0000FFFF)) | (
            (x & uint64(0x0000FFFF0000FFFF)) << uint64(16)
        )
        return (x >> uint64(32)) | (x << uint64(32))

    @jit
    def word(j, template, first, high, middle, low):
        """Word j of the message: the template's, with the nonce's part of it."""
        part = uint32(0)
        if j == first:
            part = high
        elif j == first + 1:
            part = middle
        elif j == first + 2:
            part = low
        return uint32(template[j] | part)

    @jit
    def digest(nonce, template, first, shift):
        x = swap(nonce)
        high = uint32(x >> uint64(32 + shift))
        middle = uint32(x >> uint64(shift))
        low = uint32(0)
        if shift > 0:
            low = uint32(x << uint64(32 - shift))
        return compress(
            word(0, template, first, high, middle, low),
            word(1, template, first, high, middle, low),
            word(2, template, first, high, middle, low),
            word(3, template, first, high, middle, low),
            word(4, template, first, high, middle, low),
            word(5, template, first, high, middle, low),
            word(6, template, first, high, middle, low),
            word(7, template, first, high, middle, low),
            word(8, template, first, high, middle, low),
            word(9, template, first, high, middle, low),
            word(10, template, first, high, middle, low),
            template[11], template[12], template[13], template[14], template[15],
        )  # fmt: skip

    return digest


def define_zeros(jit: Jit) -> Any:
    """zeros(words): the leading zero bits of a digest."""

    @jit
    def zeros(words):
        count = 0
        for j in range(8):
            x = uint32(words[j])
            if x == uint32(0):
                count += 32
            else:
                while x < uint32(0x80000000):
                    x = uint32(x << uint32(1))
                    count += 1
                break
        return count

    return zeros


def define_search(jit: Jit) -> Any:
    """The body of the first pass."""
    digest = define_digest(jit)
    zeros = define_zeros(jit)

    @jit
    def limit(bits):
        """The largest first word of a digest that may have so many leading zero bits."""
        return uint32(uint32(0xFFFFFFFF) >> uint32(bits)) if bits < 32 else uint32(0)

    @jit
    def body(index, lane, start, count, target, template, first, shift, best, hits):
        begin = (lane + index) * LANE
        end = begin + LANE if begin + LANE < count else count
        most = -1
        best_nonce = start + begin
        found = 0
        # Most hashes are dismissed by one comparison of their first word.
        worth = uint32(0xFFFFFFFF)
        for offset in range(begin, end):
            words = digest(start + offset, template, first, shift)
            if words[0] <= worth:
                bits = zeros(words)
                if bits >= target:
                    found += 1
                if bits > most:
                    most = bits
                    best_nonce = start + offset
                    worth = limit(most + 1 if most < target else target)
        # One number to compare: more bits first, then the lesser nonce. An empty lane stays 0.
        if most >= 0:
            rank = uint64(_NONCE_MASK) - uint64(best_nonce)
            best[index] = (uint64(most) << uint64(_NONCE_BITS)) | rank
        hits[index] = found

    return body


def define_list(jit: Jit) -> Any:
    """The body of the second pass: index k lists the hits of the k-th lane that has any."""
    digest = define_digest(jit)
    zeros = define_zeros(jit)

    @jit
    def body(index, start, count, target, template, first, shift, lanes, places, found):
        begin = int64(lanes[index]) * LANE
        end = begin + LANE if begin + LANE < count else count
        place = places[index]
        for offset in range(begin, end):
            if zeros(digest(start + offset, template, first, shift)) >= target:
                found[place] = uint64(start + offset)
                place += 1

    return body


def template_of(prefix: bytes) -> npt.NDArray[np.uint32]:
    """The padded block for a nonce of 0."""
    size = len(prefix) + 8
    message = prefix + bytes(8) + b"\x80"
    padded = message.ljust(56, b"\0") + (8 * size).to_bytes(8, "big")
    return np.frombuffer(padded, dtype=">u4").astype(np.uint32)


def run(params: HashSearchParams, launch: Launch) -> list[AnyArray]:
    """The outputs `hits` and `best`."""
    blocks = -(-params.count // BLOCK)
    prefix = params.prefix_bytes
    place = (template_of(prefix), len(prefix) // 4, 8 * (len(prefix) % 4))
    task = (params.start, params.count, params.target_bits, *place)
    best = np.zeros((blocks, 2), dtype=np.uint64)
    hits: list[npt.NDArray[np.uint64]] = [np.zeros(0, dtype=np.uint64)]
    for block in range(0, blocks, _BLOCKS_AT_ONCE):
        count = min(_BLOCKS_AT_ONCE, blocks - block)
        ranks = np.zeros(count * _LANES, dtype=np.uint64)
        counts = np.zeros(count * _LANES, dtype=np.int64)
        lane = block * _LANES
        launch(define_search, count * _LANES, LANE * HASH_OPS, (lane, *task), (ranks, counts))
        top = ranks.reshape(count, _LANES).max(axis=1)
        best[block : block + count, 0] = np.uint64(_NONCE_MASK) - (top & np.uint64(_NONCE_MASK))
        best[block : block + count, 1] = top >> np.uint64(_NONCE_BITS)
        hits.append(_listed(task, lane, counts, launch))
    return [np.concatenate(hits), best]


def _listed(
    task: tuple[object, ...], lane: int, counts: npt.NDArray[np.int64], launch: Launch
) -> npt.NDArray[np.uint64]:
    """The hits of the lanes from `lane` on, given how many each one has."""
    lanes = np.flatnonzero(counts)
    ends = np.cumsum(counts[lanes])
    found = np.zeros(int(ends[-1]) if len(ends) else 0, dtype=np.uint64)
    if len(lanes):
        inputs = (*task, lanes + lane, ends - counts[lanes])
        launch(define_list, len(lanes), LANE * HASH_OPS, inputs, (found,))
    return found
