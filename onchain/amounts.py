"""Amounts: base units (integers) inside, decimal HYPER at the doors.

Rules:
  1. No float, ever: text is parsed digit by digit and refused if it is finer than a base unit.
  2. Amounts stay below 2^63: SQLite's integers are signed, and HYPER's whole supply is far less.
"""

from __future__ import annotations

import re
from functools import lru_cache

from onchain.errors import BadAmount

#: Decimals of HYPER; read from the mint once there is one.
DECIMALS = 6
#: Base units in one HYPER.
UNITS: int = 10**DECIMALS
#: Lamports in one SOL.
LAMPORTS: int = 10**9
#: Largest amount of base units: what a signed 64-bit integer of the store holds.
AMOUNT_MAX = 2**63 - 1

_AMOUNT = re.compile(r"(0|[1-9][0-9]{0,18})(?:\.([0-9]{1,18}))?\Z")


@lru_cache(maxsize=4096)
def parse_hyper(text: str) -> int:
    """Base units of a decimal number of HYPER, such as `"0.02"` or `"0.02 HYPER"`.

    Raises:
        BadAmount: not a plain decimal number, finer than a base unit, or out of range.
    """
    match = _AMOUNT.match(text.removesuffix(" HYPER"))
    if match is None:
        msg = f"not an amount of HYPER: {text[:40]!r} (write it like 0.02)"
        raise BadAmount(msg)
    fraction = (match[2] or "").rstrip("0")
    if len(fraction) > DECIMALS:
        msg = f"HYPER has {DECIMALS} decimals: {text[:40]!r} is finer than a base unit"
        raise BadAmount(msg)
    units = int(match[1]) * UNITS + int(fraction.ljust(DECIMALS, "0"))
    if units > AMOUNT_MAX:
        msg = f"{text[:40]!r} is more than any account can hold"
        raise BadAmount(msg)
    return units


@lru_cache(maxsize=4096)
def format_hyper(units: int) -> str:
    """Shortest decimal text of an amount of base units: `20000` is `"0.02"`."""
    sign, units = ("-", -units) if units < 0 else ("", units)
    whole, fraction = divmod(units, UNITS)
    tail = f"{fraction:0{DECIMALS}d}".rstrip("0")
    return f"{sign}{whole}.{tail}" if tail else f"{sign}{whole}"


def format_sol(lamports: int) -> str:
    """Lamports as SOL, all digits that count: `5000` is `"0.000005"`."""
    whole, rest = divmod(lamports, LAMPORTS)
    return f"{whole}.{rest:09d}".rstrip("0").rstrip(".")
