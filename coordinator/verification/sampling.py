"""Which blocks are recomputed: drawn without replacement from 32 random bytes.

Rules:
  1. The bytes are chosen after the result's root was committed: an agent that knew them could
     compute the sampled blocks alone.
  2. The same bytes give the same blocks everywhere, so that a verdict can be replayed.
Source: SHA-256 in counter mode; rejection of the values that would favour small numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from math import ceil
from typing import Final

from coordinator.limits import SAMPLED_BLOCKS_MAX
from coordinator.protocol.errors import Refusal
from coordinator.protocol.spec import Policy, Sample

DRAW_BYTES: Final = 32
_DOMAIN: Final = b"hypernode sample v1\0"


def sample_size(policy: Policy, blocks: int) -> int:
    """How many of a job's blocks a policy recomputes.

    Raises:
        Refusal: `bad_spec` when it is more than a coordinator recomputes for one job.
    """
    if not isinstance(policy, Sample):
        return 0
    wanted = min(max(policy.floor, ceil(policy.rate * blocks)), blocks)
    if wanted > SAMPLED_BLOCKS_MAX:
        highest = SAMPLED_BLOCKS_MAX / blocks
        raise Refusal(
            "bad_spec",
            f"verify: {wanted} blocks would be recomputed, at most {SAMPLED_BLOCKS_MAX} may be: "
            f"a rate up to {highest:.2g} will do, and misses no cheat worth its risk",
        )
    return wanted


def draw_blocks(draw: bytes, blocks: int, count: int) -> tuple[int, ...]:
    """`count` different numbers below `blocks`, ascending, each set equally likely.

    Args:
        draw: 32 random bytes.
        blocks: Number of blocks.
        count: At most `blocks`.
    """
    assert len(draw) == DRAW_BYTES, len(draw)
    assert 0 <= count <= blocks, (count, blocks)
    # Of more than half, the few that are left out are drawn: the loop stays short.
    omit = count > blocks // 2
    wanted = blocks - count if omit else count
    chosen: set[int] = set()
    numbers = _numbers(draw, blocks)
    while len(chosen) < wanted:
        chosen.add(next(numbers))
    if omit:
        return tuple(number for number in range(blocks) if number not in chosen)
    return tuple(sorted(chosen))


def _numbers(draw: bytes, below: int) -> Iterator[int]:
    """Uniform numbers below `below`, without end."""
    fair = 2**64 - 2**64 % below
    counter = 0
    while True:
        digest = sha256(_DOMAIN + draw + counter.to_bytes(8, "little")).digest()
        for start in range(0, len(digest), 8):
            value = int.from_bytes(digest[start : start + 8], "little")
            if value < fair:
                yield value % below
        counter += 1
