"""Double entry: accounts whose two numbers only grow, and transfers that never change.

In:   a wish (hold, post, void, release, faucet).
Out:  transfers, applied to the accounts of one batch (`Books`), or a refusal and nothing changed.
Not here: saving (engine and store), prices (pricing).
Rules:
  1. Every transfer debits one account and credits another with the same amount, more than nothing.
  2. No account but `chain` and `faucet`, the outside, may end with more debits than credits.
  3. A hold is resolved exactly once: what is paid and what is returned add up to what was held.
  4. (kind, reference, sequence) names a transfer: it happens once, whoever repeats it.
  5. A post goes to `withheld` first; a bucket of an hour moves to `earned` once its window is past.
Accounts: `credit: hold: withheld: earned:` each with a wallet, and `fees treasury hold:treasury
reserve loss chain faucet`.
Source: TigerBeetle (`two-phase-transfers`, balances as debits and credits).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from msgspec.structs import replace

from coordinator.protocol.errors import Refusal
from coordinator.store.values import Account, Transfer, TransferKind
from onchain.address import encode_address
from onchain.amounts import AMOUNT_MAX

FEES: Final = "fees"
TREASURY: Final = "treasury"
#: Holds of the house's own test jobs stand here.
TREASURY_HOLD: Final = "hold:treasury"
FAUCET: Final = "faucet"
CHAIN: Final = "chain"
#: Accounts of the outside world: what came in is their debit.
OUTSIDE: Final = frozenset({FAUCET, CHAIN})
#: Classes of accounts that people look at, from what came in to what is the house's.
HOUSE_CLASSES: Final = ("credit", "hold", "withheld", "earned", "fees", "treasury")
#: The wallet that stands for the house as a submitter of test jobs: no key has it.
HOUSE: Final = bytes(32)
HOUR_MS: Final = 3_600_000


def credit_of(wallet: bytes) -> str:
    """Where a submitter's money lies: the house's own is the treasury."""
    return TREASURY if wallet == HOUSE else f"credit:{encode_address(wallet)}"


def hold_of(wallet: bytes) -> str:
    return TREASURY_HOLD if wallet == HOUSE else f"hold:{encode_address(wallet)}"


def withheld_of(wallet: bytes) -> str:
    return f"withheld:{encode_address(wallet)}"


def earned_of(wallet: bytes) -> str:
    return f"earned:{encode_address(wallet)}"


class Books:
    """The accounts of one batch: loaded when first named, changed by transfers, then saved."""

    def __init__(self, load: Callable[[str], Account]) -> None:
        self._load = load
        self.accounts: dict[str, Account] = {}
        #: What happened in this batch, in order.
        self.journal: list[Transfer] = []

    def account(self, code: str) -> Account:
        """An account as of now."""
        found = self.accounts.get(code)
        if found is None:
            found = self.accounts[code] = self._load(code)
        return found

    def post(self, transfers: Sequence[Transfer]) -> None:
        """Apply all of these transfers, or none.

        Raises:
            Refusal: `insufficient_credit` if a debited account cannot bear it.
        """
        changed: dict[str, Account] = {}
        for transfer in transfers:
            assert 0 < transfer.amount <= AMOUNT_MAX
            assert transfer.debit != transfer.credit
            debit = changed.get(transfer.debit) or self.account(transfer.debit)
            debit = replace(debit, debits=debit.debits + transfer.amount)
            if debit.debits > debit.credits and transfer.debit not in OUTSIDE:
                raise Refusal("insufficient_credit")
            changed[transfer.debit] = debit
            credit = changed.get(transfer.credit) or self.account(transfer.credit)
            credit = replace(credit, credits=credit.credits + transfer.amount)
            assert max(debit.debits, credit.credits) <= AMOUNT_MAX, "the supply is far below this"
            changed[transfer.credit] = credit
        self.accounts.update(changed)
        self.journal.extend(transfers)


def hold(job: int, submitter: bytes, budget: int) -> list[Transfer]:
    """Reserve a job's budget."""
    return [Transfer(TransferKind.HOLD, job, credit_of(submitter), hold_of(submitter), budget)]


def resolve(
    job: int, submitter: bytes, held: int, pays: Sequence[tuple[bytes, int]], fee: int
) -> list[Transfer]:
    """Resolve a hold: pay the operators, take the fee, return the rest. Nothing paid is a void.

    Args:
        job: The job whose hold this is.
        submitter: Who held.
        held: The hold's amount, base units.
        pays: Operators' wallets and what each gets, base units (the fee is already out).
        fee: The house's part, base units.
    """
    source = hold_of(submitter)
    paid = sum(amount for _, amount in pays) + fee
    assert 0 <= paid <= held, "a job never costs more than its hold"
    transfers = [
        Transfer(TransferKind.PAY, job, source, withheld_of(wallet), amount, sequence)
        for sequence, (wallet, amount) in enumerate(pays)
        if amount
    ]
    if fee:
        transfers.append(Transfer(TransferKind.FEE, job, source, FEES, fee))
    if held > paid:
        transfers.append(
            Transfer(TransferKind.RETURN, job, source, credit_of(submitter), held - paid)
        )
    return transfers


def release(wallet: bytes, amount: int, reference: int, sequence: int) -> list[Transfer]:
    """Move a bucket of withheld earnings to `earned`; named by the ledger batch and a sequence."""
    return [
        Transfer(
            TransferKind.RELEASE,
            reference,
            withheld_of(wallet),
            earned_of(wallet),
            amount,
            sequence,
        )
    ]


def faucet(wallet: bytes, amount: int, reference: int) -> list[Transfer]:
    """HYPER out of nothing: development only; on a chain it is a mint and a deposit."""
    return [Transfer(TransferKind.FAUCET, reference, FAUCET, credit_of(wallet), amount)]
