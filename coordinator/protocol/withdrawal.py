"""The text that a wallet signs to make unspent credit its earnings, built by both sides.

The coordinator rebuilds it from the fields of the request and compares bytes by checking the
signature over its own text; the signer writes it from what it means to do, and never signs bytes
that a coordinator sent. The text names coordinator, chain and ledger, so that it is worth nothing
anywhere else, and a key of the wallet's, so that it counts once.
Rules:
  1. Printable ASCII only, one field a line, always in this order.
  2. The amount is decimal HYPER, as `onchain.amounts` writes it: one text an amount.
"""

from __future__ import annotations

import re
from typing import Final

from coordinator.clock import iso_seconds
from coordinator.limits import WITHDRAWAL_KEY_CHARS_MAX
from coordinator.protocol.errors import Refusal
from coordinator.protocol.signin import CHAINS
from onchain.address import encode_address
from onchain.amounts import format_hyper

_KEY: Final = re.compile(rf"[A-Za-z0-9_-]{{1,{WITHDRAWAL_KEY_CHARS_MAX}}}\Z")
_HEAD: Final = (
    "HYPERNODE withdrawal\n\n"
    "Make this much of my unspent credit my earnings. It is paid to my own wallet, after the next "
    "root.\n"
)


def withdrawal_text(
    *,
    coordinator_key: bytes,
    chain: str,
    ledger: bytes,
    wallet: bytes,
    amount: int,
    key: str,
    issued_ms: int,
) -> str:
    """The text to sign.

    Args:
        coordinator_key: The coordinator's public key, 32 bytes.
        chain: One of `signin.CHAINS`.
        ledger: Address of its ledger on that chain, 32 bytes.
        wallet: Who withdraws, 32 bytes.
        amount: Base units, more than nothing.
        key: The wallet's own name for it: letters, digits, `_` and `-`, up to 64.
        issued_ms: Unix ms; the text has whole seconds.

    Raises:
        Refusal: `malformed` for a key of another form, `bad_amount` for nothing.
    """
    assert chain in CHAINS
    if _KEY.match(key) is None:
        raise Refusal("malformed", "a withdrawal's key has 1 to 64 letters, digits, _ and -")
    if amount <= 0:
        raise Refusal("bad_amount", "a withdrawal is of more than nothing")
    return (
        f"{_HEAD}\n"
        f"Coordinator: {encode_address(coordinator_key)}\n"
        f"Chain ID: {chain}\n"
        f"Ledger: {encode_address(ledger)}\n"
        f"Wallet: {encode_address(wallet)}\n"
        f"Amount: {format_hyper(amount)} HYPER\n"
        f"Key: {key}\n"
        f"Issued At: {iso_seconds(issued_ms)}"
    )
