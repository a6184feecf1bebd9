"""A claim whose fee and rents the coordinator's owner pays: for a wallet without SOL.

In:   a chain, a market, the wallet's key and proof; the coordinator, which offers, sends, tells.
Out:  `Paid`, as of any claim; or the owner's refusal, by its code.
Rules:
  1. The wallet builds the same claim from the chain and its own proof, and signs only that: all
     that a coordinator could do with the signature is to pay for this claim.
  2. Whether it landed the coordinator tells, and the wallet's own token account on the chain shows.
Not here: claims that the wallet pays for (`claims`).
"""

from __future__ import annotations

from base64 import b64decode
from typing import Final

import trio

from hypernode.answers import ClaimInfo
from hypernode.claims import ForeignProof, Paid, tokens
from hypernode.errors import error_of
from hypernode.settlement_web import SettlementWeb
from onchain.address import encode_address
from onchain.chain import Chain
from onchain.claim import Elsewhere, plan_claim
from onchain.drafts import Signer
from onchain.lookup_tables import read_tables
from onchain.places import Market
from onchain.reads import read_claim
from onchain.settlement_tree import Proof
from onchain.sponsored import ForeignOffer, payer_in, sign_offer, tables_in

#: Between two questions; and after so long it is left to the coordinator: a transaction lives for a
#: minute, and a chain that stands still may take longer.
POLL_S: Final = 1.0
PATIENCE_S: Final = 180.0
_LANDED: Final = frozenset({"confirmed", "finalized"})


async def claim_sponsored(
    chain: Chain, market: Market, wallet: Signer, proof: Proof, web: SettlementWeb
) -> Paid:
    """Pay a wallet what its leaf proves, at the owner's cost.

    Raises:
        HypernodeError: the owner does not pay; or it expired, and may be asked for again.
        ForeignOffer: what was offered is another claim; nothing was signed.
        ProgramRefused, ChainError: as `claims.claim`.
    """
    if proof.ledger != market.ledger or proof.address != wallet.address:
        raise ForeignProof(ForeignProof.__doc__)
    before = await tokens(chain, market, wallet.address)
    offered = await web.offer_claim(encode_address(wallet.address))
    signed = await _signed(chain, market, wallet, proof, offered)
    told = await web.accept_claim(offered.claim, signed)
    with trio.move_on_after(PATIENCE_S):
        while told.state == "sent":
            await trio.sleep(POLL_S)
            told = await web.sponsored_claim(offered.claim)
    if told.state not in _LANDED:
        raise error_of(*_why(told))
    return Paid(before, await tokens(chain, market, wallet.address), told.signature)


async def _signed(
    chain: Chain, market: Market, wallet: Signer, proof: Proof, offered: ClaimInfo
) -> bytes:
    try:
        raw = b64decode(offered.transaction, validate=True)
    except ValueError as error:
        raise ForeignOffer(ForeignOffer.__doc__) from error
    tables = tables_in(raw)
    plan = plan_claim(
        market,
        await read_claim(chain, market, wallet.address),
        proof,
        payer=Elsewhere(payer_in(raw)),
        wallet=wallet,
        tables=await read_tables(chain, tables) if tables else (),
    )
    return sign_offer(raw, plan, wallet)


def _why(told: ClaimInfo) -> tuple[str, str]:
    """Code and sentence of a claim that did not land."""
    if told.state == "expired":
        return "claim_expired", "it did not land in time and cost nobody anything: claim again"
    if told.state == "failed":
        return "claim_refused", f"it landed and the program refused it ({told.signature})"
    return "deadline", f"it is on its way still: see /api/claims/{told.claim}"
