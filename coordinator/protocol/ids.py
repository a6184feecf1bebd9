"""Public ids: an integer inside, a signed text outside.

`job-1f-9c0d3b1a2e4f5a6b` is the row 0x1f with a keyed checksum: short, made without a table, and
nobody who counts upwards finds another one's job. The key lives in the store.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b
from hmac import compare_digest
from typing import Literal

from coordinator.limits import CACHED_IDS_MAX
from coordinator.protocol.errors import Refusal

Prefix = Literal["job", "node"]

_ID = re.compile(r"(job|node)-([1-9a-f][0-9a-f]{0,14})-([0-9a-f]{16})\Z")
_CHECK_BYTES = 8
_NUMBERS = 2**53


class Ids:
    """Turns row numbers into public ids and back, under one secret key of 32 bytes."""

    def __init__(self, secret: bytes) -> None:
        assert len(secret) == 32
        self._secret = secret
        #: A job's id is said and heard about ten times, within seconds.
        self.encode = lru_cache(maxsize=CACHED_IDS_MAX)(self._encode)

    def _encode(self, prefix: Prefix, number: int) -> str:
        """The public id of row `number` (1 to 2^53)."""
        assert 0 < number < _NUMBERS
        tag = number.to_bytes(8, "little") + prefix.encode()
        check = blake2b(tag, key=self._secret, digest_size=_CHECK_BYTES).hexdigest()
        return f"{prefix}-{number:x}-{check}"

    def decode(self, prefix: Prefix, text: str) -> int:
        """The row number of a public id.

        Raises:
            Refusal: `not_found`; a forged id and an unknown one look the same.
        """
        match = _ID.match(text)
        if match is None or match[1] != prefix:
            raise Refusal("not_found")
        number = int(match[2], 16)
        if number >= _NUMBERS or not compare_digest(text, self.encode(prefix, number)):
            raise Refusal("not_found")
        return number
