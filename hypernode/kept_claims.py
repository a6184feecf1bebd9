"""A claim by the papers that an agent kept, with nobody left but the chain.

In:   a chain, a market, a wallet's key; its proofs and vouchers, as they were kept.
Out:  `Claimed`: the wallet's tokens before and after, and each transaction that moved some.
Rules:
  1. The proof first, then the voucher: a voucher pays only what no leaf that was proven covers.
  2. A paper that the chain does not take now is passed over, and why is said; nothing is signed
     for it. Nothing at all that it takes is an error, with the first reason.
Not here: what makes a paper worth keeping (`agent.paper_rules`), flags (`hypernode.cli.claims`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec

from hypernode import claims
from hypernode.claims import Paid, PaysNothing
from onchain.chain import Chain
from onchain.drafts import Signer
from onchain.errors import OnchainError
from onchain.fees import Fees
from onchain.places import Market
from onchain.program_refusals import ProgramRefused
from onchain.sender import Pace
from onchain.settlement_tree import Proof
from onchain.vouchers import SignedVoucher, VoucherError


class NothingKept(OnchainError):
    """No papers of this wallet are kept here."""


class Claimed(msgspec.Struct, frozen=True):
    """What came of it; base units of the wallet's own token account."""

    before: int
    after: int
    #: Base58, one a transaction.
    signatures: tuple[str, ...] = ()
    #: Papers that the chain does not take now, and why.
    passed_over: tuple[str, ...] = ()


async def claim_kept(
    chain: Chain,
    market: Market,
    wallet: Signer,
    proofs: Sequence[Proof],
    vouchers: Sequence[SignedVoucher],
    fees: Fees,
    pace: Pace | None = None,
) -> Claimed:
    """Pay a wallet all that its papers prove.

    Args:
        chain: Nodes of one's own choosing.
        market: The ledger that was pinned.
        wallet: Signs, pays the fee and is paid.
        proofs: The newest first: the first one that the chain takes is enough.
        vouchers: The same.
        fees: What may be spent.
        pace: Of the sender.

    Raises:
        NothingKept: there are no papers.
        ProgramRefused, VoucherError, PaysNothing: the chain takes none of them now; the first
            one's reason.
        ChainError: the chain could not be asked, or what was sent did not land.
    """
    before = await claims.tokens(chain, market, wallet.address)
    by_proof = [
        (
            f"the proof of epoch {each.epoch}",
            # What vouchers advanced is covered first: the next one pays the more.
            partial(claims.claim, proof=each, may_pay_nothing=bool(vouchers)),
        )
        for each in proofs
    ]
    by_voucher = [
        (
            f"the voucher of key epoch {each.voucher.key_epoch}",
            partial(claims.redeem, raw=each.pack()),
        )
        for each in vouchers
    ]
    paid: list[Paid] = []
    errors: list[tuple[str, Exception]] = []
    for papers in (by_proof, by_voucher):
        for name, deed in papers:
            try:
                paid.append(await deed(chain, market, wallet, fees=fees, pace=pace))
            except (ProgramRefused, VoucherError, PaysNothing) as error:
                errors.append((name, error))
            else:
                break
    if not paid:
        raise errors[0][1] if errors else NothingKept(NothingKept.__doc__)
    return Claimed(
        before,
        await claims.tokens(chain, market, wallet.address),
        tuple(each.signature for each in paid if each.signature is not None),
        tuple(f"{name}: {error}" for name, error in errors),
    )
