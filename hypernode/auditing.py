"""One wallet's money on every side, gathered and compared: books, receipts, voucher, leaves, chain.

In:   the coordinator's pages, files that were kept (receipts, leaf files, a voucher), the chain.
Out:  `WalletFacts` and what differs (`onchain.audit`).
Rules:
  1. A receipt counts if the coordinator's signature over its batch holds; a proof if it leads to
     the root on the chain; a voucher if its own signature holds.
  2. What is not at hand is left out, and then not compared.
Not covered: what a failed audit took back is not on any page: it is what the books' own sums lack.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec

from coordinator.limits import FRAME_BYTES_MAX, LISTING_ROWS_MAX
from coordinator.protocol.errors import ProtocolError
from coordinator.protocol.messages import ReceiptBatch
from coordinator.protocol.receipts import Receipt, from_wire
from hypernode.answers import Account, ProofInfo, SettlementInfo, Withdrawn
from hypernode.claims import ForeignProof, proof_of
from hypernode.errors import NotFound
from onchain.address import decode_address, encode_address
from onchain.amounts import parse_hyper
from onchain.audit import Books, Difference, WalletFacts, audit
from onchain.chain import Chain
from onchain.leaves import Kind, LeafFile
from onchain.outlook import promoted, root_of_epoch
from onchain.places import Market
from onchain.reads import read_claim
from onchain.vouchers import SignedVoucher

#: How a line begins that holds a node's counter-signatures beside its receipts.
_SIGNED: Final = b'{"type":"receipts_signed"'


class Pages(Protocol):
    """What of a coordinator is asked, in the wallet's session."""

    async def account(self) -> Account: ...
    async def settlement(self) -> SettlementInfo: ...
    async def withdrawals(self) -> list[Withdrawn]: ...
    async def proof(self, wallet: str) -> ProofInfo: ...


async def audit_wallet(
    pages: Pages,
    chain: Chain,
    market: Market,
    wallet: bytes,
    *,
    receipts: Sequence[Path] = (),
    leaves: Sequence[Path] = (),
    voucher: SignedVoucher | None = None,
) -> tuple[WalletFacts, tuple[Difference, ...]]:
    """Gather what there is about a wallet, and compare it.

    Args:
        pages: The coordinator.
        chain: Nodes of one's own choosing.
        market: The ledger that was pinned.
        wallet: Whose money it is.
        receipts: Agents' files of receipts.
        leaves: Leaf files that were kept.
        voucher: The one that is kept.

    Raises:
        ForeignProof: the coordinator's proof does not lead to the root on the chain.
        HypernodeError, ChainError: somebody could not be asked.
    """
    told = await pages.settlement()
    state = await read_claim(chain, market, wallet)
    amounts = {epoch: amount for path in leaves for epoch, amount in _leaf_in(path, wallet)}
    try:
        info = await pages.proof(encode_address(wallet))
    except NotFound:
        pass
    else:
        proof = proof_of(info, market.ledger, wallet)
        root = root_of_epoch(promoted(state.ledger, state.clock), proof.epoch)
        if root is not None and not proof.leads_to(root.root, root.leaf_count):
            msg = "the coordinator's proof does not lead to the root on the chain"
            raise ForeignProof(msg)
        amounts[proof.epoch] = proof.amount
    facts = WalletFacts(
        books=books_of(await pages.account(), await pages.withdrawals()),
        receipts=receipts_in(receipts, decode_address(told.coordinator_key), wallet),
        voucher=None if voucher is None else voucher.voucher,
        leaves=sorted(amounts.items()),
        record=state.record,
    )
    return facts, audit(facts)


def books_of(account: Account, withdrawals: Sequence[Withdrawn]) -> Books:
    """What the coordinator says of a wallet; what its sums lack was taken back."""
    earned, withheld = parse_hyper(account.earned_total), parse_hyper(account.withheld)
    lifetime = parse_hyper(account.earned)
    if len(withdrawals) < LISTING_ROWS_MAX:
        withdrawn = sum(parse_hyper(each.amount) for each in withdrawals)
    else:
        # More than the page shows: they are what the lifetime has beyond its earnings.
        withdrawn = max(0, lifetime - (earned - withheld))
    return Books(
        earned=earned,
        withheld=withheld,
        taken_back=max(0, earned - withheld + withdrawn - lifetime),
        withdrawn=withdrawn,
        lifetime=lifetime,
    )


def receipts_in(files: Iterable[Path], coordinator_key: bytes, wallet: bytes) -> list[Receipt]:
    """A wallet's receipts in agents' files, in the order in which they were made; each once.

    Raises:
        Refusal, ProtocolError: a line whose signature does not hold, or which is none.
    """
    found: dict[int, Receipt] = {}
    for path in files:
        with path.open("rb") as file:
            while line := file.readline(2 * FRAME_BYTES_MAX):
                if not line.strip() or line.startswith(_SIGNED):
                    continue
                try:
                    batch = msgspec.json.decode(line, type=ReceiptBatch)
                except msgspec.DecodeError:
                    if not line.endswith(b"\n"):
                        break  # half a line: the agent died while it wrote
                    said = f"{path.name} holds a line that is no batch of receipts"
                    raise ProtocolError("malformed", said) from None
                _, held = from_wire(batch, coordinator_key)
                found.update({each.job: each for each in held if each.wallet == wallet})
    return sorted(found.values(), key=lambda each: (each.cumulative, each.job))


def _leaf_in(path: Path, wallet: bytes) -> list[tuple[int, int]]:
    with path.open("rb") as opened:
        file = LeafFile(opened)
        file.check()
        place = file.find(Kind.EARNINGS, wallet)
        return [(file.head.epoch, place[1] if place else 0)]
