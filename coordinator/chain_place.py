"""Where a house settles, and that its books belong there.

In:   the configuration; the store at a start.
Out:  an `OnChain`, or a `ConfigError` before anything is done.
Rules:
  1. Books belong to one ledger of one chain for ever: another address would pay everything twice.
     They belong to it once the chain has shown it for the first time (`chain_books.bind`), so that
     a slip in the address costs no database.
  2. Money of the faucet and money of a chain are never in the same books.
"""

from __future__ import annotations

import msgspec

from coordinator.settings import ConfigError
from coordinator.store.interface import Batch
from onchain.address import encode_address


class OnChain(msgspec.Struct, frozen=True):
    """Where the house settles."""

    #: Address of its ledger, 32 bytes.
    ledger: bytes
    #: Wallets that `fees` and `treasury` become earnings of; `b""`: they stay where they are.
    fee_wallet: bytes = b""
    treasury_wallet: bytes = b""


def check_place(batch: Batch, on_chain: OnChain | None) -> None:
    """Refuse books that belong elsewhere, at each start.

    Raises:
        ConfigError: they belong to another one, or hold money of the faucet.
    """
    bound = batch.settlement()
    if bound is not None and (on_chain is None or on_chain.ledger != bound.ledger):
        address = encode_address(bound.ledger)
        msg = f"ledger: the books of this database settle on {address}: set that, or another db"
        raise ConfigError(msg)
    if on_chain is None:
        return
    if batch.account("faucet").debits:
        msg = (
            "ledger: this database holds money of the faucet, which no root may cover: use a new db"
        )
        raise ConfigError(msg)
