"""What a secret looks like: for places where the path of its file should stand. Pure.

Not covered: passwords without an address around them, and keys in forms that nobody here makes.
"""

from __future__ import annotations

import re
from typing import Final

#: What a secret looks like, in text; and what it is.
_SECRETS: Final = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY"), "a private key"),
    (re.compile(r"\Ahy1[et]?\."), "a token"),
    (re.compile(r"\A\s*\[?\s*\d+(\s*,\s*\d+){31,}"), "a private key"),
    (re.compile(r"\A[1-9A-HJ-NP-Za-km-z]{86,88}\Z"), "a private key"),
    (re.compile(r"://[^/?#\s]*:[^/?#\s]*@"), "a password"),
)


def secret_in(value: object) -> str:
    """What a value is that should stand in a file of its own (`a token`); nothing else: `""`."""
    if isinstance(value, list | tuple):
        is_key = len(value) >= 32 and all(isinstance(item, int) for item in value)
        return "a private key" if is_key else next(filter(None, map(secret_in, value)), "")
    text = value if isinstance(value, str) else ""
    return next((kind for pattern, kind in _SECRETS if pattern.search(text)), "")
