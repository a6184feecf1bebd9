"""From C to a Solana program: compile, link, check, prove; `python -m onchain.program.build`."""

from __future__ import annotations
