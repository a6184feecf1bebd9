"""Which earnings papers an agent keeps: pure.

In:   what is kept for a wallet, a proof or a voucher that the coordinator sent.
Out:  what is kept from now on, or a `PaperRefused` that names the field that is wrong.
Rules:
  1. A proof must lead from the wallet's own leaf to the root that it names.
  2. Two proofs are kept, since the chain pays the active root and the one before, and since a
     guardian may revoke the active one. A later epoch's leaf is never less than an earlier one's.
  3. A voucher must be signed by the key in it. It is never less than any that is kept, and of one
     key epoch there is one key. Each key epoch's best one is kept until it ends: a made-up key with
     a higher epoch takes nothing away.
  4. Ledger, program and cluster are those of the first paper, or of the configuration.
Covered: whatever is wrong in itself, of somebody else, or less than what is there.
Not covered: whether the chain holds this root, or this key. The agent asks no chain; `hypernode
claim` does, and a coordinator that lied is found out there: then the published leaf file serves.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from coordinator.evidence_limits import PROOFS_KEPT, VOUCHERS_KEPT_MAX
from coordinator.protocol.base64url import decode_base64url, encode_base64url
from coordinator.protocol.parts import EarningsProof, PapersKept, VoucherText
from onchain.address import decode_address, encode_address
from onchain.amounts import format_hyper, parse_hyper
from onchain.errors import OnchainError
from onchain.leaves import Kind
from onchain.settlement_tree import Proof
from onchain.vouchers import (
    VOUCHER_BYTES,
    SignedVoucher,
    Voucher,
    VoucherForged,
    VoucherMalformed,
    parse_voucher,
)


class PaperRefused(Exception):
    """A paper that is not kept; `code` is stable, the text says why."""

    def __init__(self, code: str, said: str) -> None:
        super().__init__(said)
        self.code = code


class Kept(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One wallet's papers, as they lie on the disk."""

    wallet: str
    #: The ledger that they are of, base58; empty before the first paper.
    ledger: str = ""
    #: The newest first.
    proofs: Annotated[list[EarningsProof], Meta(max_length=PROOFS_KEPT)] = []
    #: The highest key epoch first.
    vouchers: Annotated[list[VoucherText], Meta(max_length=VOUCHERS_KEPT_MAX)] = []

    @property
    def summary(self) -> PapersKept:
        """What the coordinator is told of them."""
        epoch = self.proofs[0].epoch if self.proofs else 0
        if not self.vouchers:
            return PapersKept(epoch)
        said = vouchers_in(self)[0].voucher
        amount, until = format_hyper(said.cumulative), max(0, said.expires_at)
        return PapersKept(epoch, amount, until, said.key_epoch)


def vouchers_in(kept: Kept) -> list[SignedVoucher]:
    """The vouchers that are kept, the highest key epoch first."""
    return [_signed(text) for text in kept.vouchers]


def proofs_in(kept: Kept) -> list[Proof]:
    """The proofs that are kept, the newest first."""
    return [proof_in(each) for each in kept.proofs]


def proof_in(paper: EarningsProof) -> Proof:
    """A paper's proof; whether it holds is not said.

    Raises:
        PaperRefused: `proof_malformed`.
    """
    try:
        return Proof(
            kind=Kind.EARNINGS,
            ledger=decode_address(paper.ledger),
            address=decode_address(paper.wallet),
            epoch=paper.epoch,
            index=paper.index,
            amount=parse_hyper(paper.lifetime),
            path=tuple(map(bytes.fromhex, paper.path)),
        )
    except OnchainError as error:
        raise PaperRefused("proof_malformed", str(error)) from error


def with_proof(kept: Kept, paper: EarningsProof) -> Kept:
    """What is kept once this proof has come.

    Raises:
        PaperRefused: `proof_malformed`, `proof_of_another`, `proof_broken`, `proof_differs`,
            `proof_below`.
    """
    proof = proof_in(paper)
    _check_owner("proof_of_another", kept, paper.wallet, paper.ledger)
    if not proof.leads_to(bytes.fromhex(paper.root), paper.leaf_count):
        raise PaperRefused("proof_broken", "the leaf does not lead to the root that it names")
    for other in kept.proofs:
        if other.epoch == paper.epoch:
            if other != paper:
                said = f"epoch {paper.epoch} has another proof here"
                raise PaperRefused("proof_differs", said)
            return kept
        amount = parse_hyper(other.lifetime)
        if (other.epoch < paper.epoch) != (amount <= proof.amount) and amount != proof.amount:
            said = f"{paper.lifetime} HYPER in epoch {paper.epoch}, {other.lifetime} in "
            raise PaperRefused("proof_below", f"{said}epoch {other.epoch}")
    # Also an older one than the newest: its root is active again after that one was revoked.
    proofs = sorted([paper, *kept.proofs[: PROOFS_KEPT - 1]], key=lambda each: -each.epoch)
    return replace(kept, ledger=paper.ledger, proofs=proofs)


def with_voucher(kept: Kept, text: str, now_s: int) -> Kept:
    """What is kept once this voucher has come.

    Raises:
        PaperRefused: `voucher_malformed`, `voucher_forged`, `voucher_of_another`,
            `voucher_outdated`, `voucher_below`, `voucher_keys`.
    """
    signed = _signed(text)
    said = signed.voucher
    ledger = encode_address(said.ledger)
    _check_owner("voucher_of_another", kept, encode_address(said.wallet), ledger)
    if said.expires_at <= now_s:
        raise PaperRefused("voucher_outdated", "it has expired by this machine's clock")
    before = {each.voucher.key_epoch: each for each in vouchers_in(kept)}
    for other in before.values():
        _compare(signed, other)
    # Those that have ended are worth nothing; a clock that is wrong now costs none that lives.
    lives = {epoch: each for epoch, each in before.items() if each.voucher.expires_at > now_s}
    lives[said.key_epoch] = signed
    if len(lives) > VOUCHERS_KEPT_MAX:
        raise PaperRefused("voucher_keys", f"{VOUCHERS_KEPT_MAX} keys have signed vouchers already")
    vouchers = [encode_base64url(lives[epoch].pack()) for epoch in sorted(lives, reverse=True)]
    return replace(kept, ledger=ledger, vouchers=vouchers)


def _signed(text: str) -> SignedVoucher:
    try:
        return parse_voucher(decode_base64url(text, size=VOUCHER_BYTES))
    except VoucherForged as error:
        raise PaperRefused("voucher_forged", str(error)) from error
    except (ValueError, VoucherMalformed) as error:
        raise PaperRefused("voucher_malformed", str(error)) from error


def _check_owner(code: str, kept: Kept, wallet: str, ledger: str) -> None:
    if wallet != kept.wallet:
        raise PaperRefused(code, f"it is of wallet {wallet}, this agent earns for {kept.wallet}")
    if kept.ledger not in {"", ledger}:
        raise PaperRefused(code, f"it is of ledger {ledger}, not of {kept.ledger}")


def _compare(signed: SignedVoucher, other: SignedVoucher) -> None:
    """Refuse a voucher that one of those that are kept speaks against."""
    said, kept = signed.voucher, other.voucher
    if _market(said) != _market(kept):
        raise PaperRefused("voucher_of_another", "it names another program, or another cluster")
    if said.cumulative < kept.cumulative:
        less, more = format_hyper(said.cumulative), format_hyper(kept.cumulative)
        raise PaperRefused("voucher_below", f"{less} HYPER, {more} are vouched for here")
    if said.key_epoch != kept.key_epoch:
        return
    if signed.key != other.key:
        raise PaperRefused("voucher_of_another", f"key epoch {said.key_epoch} has another key here")
    if (said.cumulative, said.expires_at) < (kept.cumulative, kept.expires_at):
        raise PaperRefused("voucher_outdated", "the one that is kept says as much for longer")


def _market(voucher: Voucher) -> tuple[bytes, bytes]:
    return voucher.program, voucher.cluster_tag
