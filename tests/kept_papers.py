"""Earnings papers for tests: right ones, and what they are changed into."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from typing import Any

from agent.disk import Disk, inline
from agent.papers import PapersKeeper
from coordinator.protocol.base64url import encode_base64url
from coordinator.protocol.messages import EarningsProof
from coordinator.protocol.signing import Keypair, from_seed
from onchain.address import encode_address
from onchain.amounts import format_hyper
from onchain.leaves import Kind, LeafFile, write_leaves
from onchain.settlement_tree import SettlementTree
from onchain.vouchers import sign_voucher, voucher_for
from tests.ledger_values import MARKET, NOW

WALLET = bytes([87]) * 32
OTHER = bytes([88]) * 32
VOUCHER_KEY = from_seed(b"k" * 32)


def proof(
    epoch: int = 1, amount: int = 500, wallet: bytes = WALLET, ledger: bytes = MARKET.ledger
) -> EarningsProof:
    """A wallet's leaf among three in the root of an epoch."""
    file = BytesIO()
    leaves = {bytes([1]) * 32: 7, wallet: amount, bytes([99]) * 32: 9}
    write_leaves(file, ledger=ledger, epoch=epoch, earnings=sorted(leaves.items()))
    tree = SettlementTree(LeafFile(file))
    found = tree.proof(Kind.EARNINGS, wallet)
    return EarningsProof(
        ledger=encode_address(ledger),
        wallet=encode_address(wallet),
        epoch=epoch,
        root=tree.root.hex(),
        leaf_count=tree.leaf_count,
        index=found.index,
        lifetime=format_hyper(amount),
        path=[each.hex() for each in found.path],
    )


def voucher(
    cumulative: int = 600,
    *,
    expires_at: int = NOW + 60,
    key_epoch: int = 0,
    wallet: bytes = WALLET,
    key: Keypair = VOUCHER_KEY,
    **market: Any,
) -> str:
    """A voucher as it travels."""
    said = voucher_for(
        replace(MARKET, **market) if market else MARKET,
        wallet,
        cumulative=cumulative,
        expires_at=expires_at,
        key_epoch=key_epoch,
    )
    return encode_base64url(sign_voucher(key, said).pack())


async def keeper(disk: Disk, wallet: str = encode_address(WALLET), **how: Any) -> PapersKeeper:
    return await PapersKeeper.load(
        disk, wallet=lambda: wallet, now_ms=lambda: 1000 * NOW, hop=inline, **how
    )
