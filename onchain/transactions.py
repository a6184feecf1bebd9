"""Transactions: built here, measured here, signed here, and never from bytes of somebody else.

In:   a `Recipe` (who pays, what is done, who signs, lookup tables), a blockhash, a `Budget`.
Out:  `Signed`: bytes that fit in a packet, and the signature by which they are known.
Rules:
  1. A compute limit is always set: the priority fee is charged on the limit, not on what is used.
  2. A transaction larger than a packet is refused before anything is signed.
  3. Signers are checked: none missing, none without a use, and each signs this message only.
Not covered: durable nonces; signers that are not here (a wallet signs what `unsigned` gives).
Source: the packet's 1,232 bytes are 1,280 of IPv6 less 48 of headers.
"""

from __future__ import annotations

from dataclasses import dataclass

from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price
from solders.hash import Hash
from solders.instruction import Instruction
from solders.message import MessageV0, to_bytes_versioned
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from coordinator.limits import TRANSACTION_BYTES_MAX
from onchain.chain_errors import BadDraft, PacketTooLarge
from onchain.drafts import Budget, Signed, Signer
from onchain.lookup_tables import LookupTable


@dataclass(frozen=True, slots=True)
class Recipe:
    """A `Draft` of instructions; see `drafts.Draft` for what its methods promise."""

    instructions: tuple[Instruction, ...]
    #: The first one pays the fee.
    signers: tuple[Signer, ...]
    tables: tuple[LookupTable, ...] = ()

    def __post_init__(self) -> None:
        if not self.signers or not self.instructions:
            msg = "a transaction has an instruction and somebody who pays for it"
            raise BadDraft(msg)

    @property
    def signatures(self) -> int:
        return len({signer.address for signer in self.signers})

    def unsigned(self, blockhash: bytes, budget: Budget) -> bytes:
        message = self._message(blockhash, budget)
        empty = [Signature.default()] * message.header.num_required_signatures
        return _fitting(VersionedTransaction.populate(message, empty))

    def sign(self, blockhash: bytes, budget: Budget) -> Signed:
        message = self._message(blockhash, budget)
        by_address = {signer.address: signer for signer in self.signers}
        wanted = [bytes(k) for k in message.account_keys[: message.header.num_required_signatures]]
        _fitting(VersionedTransaction.populate(message, [Signature.default()] * len(wanted)))
        if missing := [key for key in wanted if key not in by_address]:
            msg = f"nobody here can sign for {Pubkey(missing[0])}"
            raise BadDraft(msg)
        if len(by_address) != len(wanted):
            msg = "a signer has nothing to sign in this transaction"
            raise BadDraft(msg)
        body = to_bytes_versioned(message)
        signatures = [Signature.from_bytes(by_address[key].sign(body)) for key in wanted]
        transaction = VersionedTransaction.populate(message, signatures)
        if not all(transaction.verify_with_results()):
            msg = "a signature does not fit its key"
            raise BadDraft(msg)
        return Signed(bytes(signatures[0]), bytes(transaction))

    def _message(self, blockhash: bytes, budget: Budget) -> MessageV0:
        before = [set_compute_unit_limit(budget.units)]
        if budget.price:
            before.append(set_compute_unit_price(budget.price))
        return MessageV0.try_compile(
            Pubkey(self.signers[0].address),
            [*before, *self.instructions],
            [table.in_solders for table in self.tables],
            Hash.from_bytes(blockhash),
        )


def _fitting(transaction: VersionedTransaction) -> bytes:
    raw = bytes(transaction)
    if len(raw) > TRANSACTION_BYTES_MAX:
        raise PacketTooLarge(len(raw), TRANSACTION_BYTES_MAX)
    return raw
