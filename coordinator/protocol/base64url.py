"""Base64url without padding, one text for each byte string: of tokens, nonces, proofs and bearers.

Python's own decoder skips characters that it does not know and ignores stray bits at the end, so
that one value would have many texts; here a text is accepted only if it is the one we would write.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

_ALPHABET: Final = re.compile(r"[A-Za-z0-9_-]*\Z")


def encode_base64url(raw: bytes) -> str:
    """The unpadded base64url text of some bytes."""
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode_base64url(text: str, *, size: int | None = None) -> bytes:
    """The bytes of an unpadded, canonical base64url text.

    Args:
        text: What a peer sent, of bounded length already.
        size: Number of bytes that it must hold, if that is known.

    Raises:
        ValueError: another alphabet, padding, stray bits, or another size.
    """
    if _ALPHABET.match(text) is None or len(text) % 4 == 1:
        msg = "not base64url"
        raise ValueError(msg)
    raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if encode_base64url(raw) != text:
        msg = "not the canonical base64url text of these bytes"
        raise ValueError(msg)
    if size is not None and len(raw) != size:
        msg = f"{size} bytes are wanted, not {len(raw)}"
        raise ValueError(msg)
    return raw
