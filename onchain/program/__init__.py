"""The settlement program on Solana: its interface, its source in C, its build, the built files.

`layout`, `instructions` and `refusals` declare the interface; the C header, both IDLs and the
tables of `docs/program.md` are made from them.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

#: Where the program lies on development chains. Nobody holds a key of it.
DEVELOPMENT_ID: Final = sha256(b"hypernode settlement, for development").digest()
