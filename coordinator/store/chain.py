"""The hash chain over the ledger: each batch of transfers names the link before it.

In:   the previous link, the batch's number, its transfers in the order of posting.
Out:  the batch's link, 32 bytes.
Encoding, all integers little-endian:
  link     = sha256(TAG | previous, 32 bytes | number u64 | count u32 | each transfer)
  transfer = reference u64 | sequence u64 | amount u64 | text(kind) | text(debit) | text(credit)
  text     = length u16 | UTF-8 bytes
Every field has a length, so no two different batches share an encoding.
Not covered: who keeps a link safe. Somebody who rewrites the whole table recomputes every link;
a link that was published, or copied to another machine, is what exposes that.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from struct import Struct
from typing import Final

from coordinator.store.values import Transfer

#: Names the encoding: another one gets another tag, and no link can be mistaken for another hash.
TAG: Final = b"hypernode ledger link 1\n"
#: The link before the first batch.
FIRST_LINK: Final = bytes(32)

_HEAD = Struct("<QI")
_NUMBERS = Struct("<QQQ")
_LENGTH = Struct("<H")


@lru_cache(maxsize=4096)
def _words(*words: str) -> bytes:
    # The same few kinds and accounts stand in all transfers of a batch.
    raws = [word.encode() for word in words]
    return b"".join([_LENGTH.pack(len(raw)) + raw for raw in raws])


def link_of(previous: bytes, number: int, transfers: Sequence[Transfer]) -> bytes:
    """The link of ledger batch `number` (1 for the first) after `previous`."""
    assert len(previous) == 32
    assert number > 0
    parts = [TAG, previous, _HEAD.pack(number, len(transfers))]
    for transfer in transfers:
        parts += (
            _NUMBERS.pack(transfer.reference, transfer.sequence, transfer.amount),
            _words(transfer.kind, transfer.debit, transfer.credit),
        )
    return sha256(b"".join(parts)).digest()
