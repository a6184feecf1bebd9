"""Amounts of SOL as a command line writes and shows them; lamports inside."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Final

from hypernode.cli.exit import Usage

_LAMPORTS_PER_SOL: Final = 1_000_000_000
#: 2^53 lamports, rounded down: what a faucet of ours gives at once.
_SOL_MAX: Final = 9_000_000


def parse_sol(text: str) -> int:
    """Lamports of a decimal number of SOL.

    Raises:
        Usage: it is none, or finer than a lamport.
    """
    try:
        lamports = Decimal(text) * _LAMPORTS_PER_SOL
    except InvalidOperation:
        lamports = Decimal("NaN")
    if not lamports.is_finite() or lamports % 1 or not 0 < lamports <= _SOL_MAX * _LAMPORTS_PER_SOL:
        msg = f"not an amount of SOL up to {_SOL_MAX}: {text[:40]!r} (write it like 0.5)"
        raise Usage(msg)
    return int(lamports)


def sol_text(lamports: int) -> str:
    """Lamports as SOL, all digits that count."""
    whole, rest = divmod(lamports, _LAMPORTS_PER_SOL)
    return f"{whole}.{rest:09d}".rstrip("0").rstrip(".")
