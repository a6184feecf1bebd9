"""Amounts of SOL as a command line writes them; lamports inside."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Final

from hypernode.cli.exit import Usage
from onchain.amounts import LAMPORTS

#: 2^53 lamports, rounded down: what a faucet of ours gives at once.
_SOL_MAX: Final = 9_000_000


def parse_sol(text: str) -> int:
    """Lamports of a decimal number of SOL.

    Raises:
        Usage: it is none, or finer than a lamport.
    """
    try:
        lamports = Decimal(text) * LAMPORTS
    except InvalidOperation:
        lamports = Decimal("NaN")
    if not lamports.is_finite() or lamports % 1 or not 0 < lamports <= _SOL_MAX * LAMPORTS:
        msg = f"not an amount of SOL up to {_SOL_MAX}: {text[:40]!r} (write it like 0.5)"
        raise Usage(msg)
    return int(lamports)
