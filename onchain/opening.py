"""Opening a market: its vault and its ledger, in one transaction.

In:   the program, the mint, the cluster's genesis hash, roles, limits, the key `base`.
Out:  the `Market`, and the `Recipe` that makes it.
Rule: whoever holds `base` decides the roles once; the key is of no use afterwards.
Not covered: making a mint.
Source: `docs/program.md`, "initialize".
"""

from __future__ import annotations

from onchain.calls import create_token_account
from onchain.drafts import Signer
from onchain.places import TOKEN_PROGRAM, Market, ledger_place
from onchain.role_calls import Roles, initialize
from onchain.transactions import Recipe
from onchain.views import Limits


def market_of(
    program: bytes,
    base: bytes,
    mint: bytes,
    cluster_tag: bytes,
    token_program: bytes = TOKEN_PROGRAM,
) -> Market:
    """The market that the key `base` makes, or has made."""
    ledger = ledger_place(program, base).address
    return Market(program, ledger, mint, token_program, cluster_tag)


def opening(market: Market, *, payer: Signer, base: Signer, roles: Roles, limits: Limits) -> Recipe:
    """The transaction that opens a market; `payer` and `base` sign."""
    vault = create_token_account(market, payer=payer.address, wallet=market.ledger)
    call = initialize(market, payer=payer.address, base=base.address, roles=roles, limits=limits)
    return Recipe((vault, call), (payer, base))
