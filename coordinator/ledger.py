"""Double entry: accounts whose two numbers only grow, and transfers that never change.

In:   a wish (hold, post, void, release, faucet).
Out:  transfers, applied to the accounts of one batch (`Books`), or a refusal and nothing changed.
Not here: saving (engine and store), prices (pricing).
Rules:
  1. Every transfer debits one account and credits another with the same amount, more than nothing.
  2. No account but `chain`, `faucet`, `loss`, the outside, may end with more debits than credits.
  3. A hold is resolved exactly once: what is paid and what is returned add up to what was held.
  4. (kind, reference, sequence) names a transfer: it happens once, whoever repeats it.
  5. A post goes to `withheld` first; a bucket of an hour moves to `earned` once its window is past.
Accounts: `credit: hold: withheld: earned:` each with a wallet, and `fees treasury hold:treasury
reserve loss chain faucet`.
Source: TigerBeetle (`two-phase-transfers`, balances as debits and credits).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

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
#: The operator's money behind what no root covers yet.
RESERVE: Final = "reserve"
#: What was paid on the chain beyond what was owed: its debit, until somebody makes it good.
LOSS: Final = "loss"
#: Accounts of the outside world: what came in is their debit. A loss is one too.
OUTSIDE: Final = frozenset({FAUCET, CHAIN, LOSS})
#: Classes of accounts that people look at, from what came in to what is the house's.
HOUSE_CLASSES: Final = ("credit", "hold", "withheld", "earned", "fees", "treasury")
#: The wallet that stands for the house as a submitter of test jobs: no key has it.
HOUSE: Final = bytes(32)
HOUR_MS: Final = 3_600_000
#: Names of accounts that are remembered, of each kind: those of the wallets at work.
ACCOUNT_NAMES: Final = 4096


@lru_cache(maxsize=ACCOUNT_NAMES)
def credit_of(wallet: bytes) -> str:
    """Where a submitter's money lies: the house's own is the treasury."""
    return TREASURY if wallet == HOUSE else f"credit:{encode_address(wallet)}"


@lru_cache(maxsize=ACCOUNT_NAMES)
def hold_of(wallet: bytes) -> str:
    return TREASURY_HOLD if wallet == HOUSE else f"hold:{encode_address(wallet)}"


@lru_cache(maxsize=ACCOUNT_NAMES)
def withheld_of(wallet: bytes) -> str:
    return f"withheld:{encode_address(wallet)}"


def earned_of(wallet: bytes) -> str:
    return f"earned:{encode_address(wallet)}"


class Books:
    """The accounts of one batch: loaded when first named, changed by transfers, then saved."""

    def __init__(self, load: Callable[[str], Account]) -> None:
        self._load = load
        #: Debits and credits of each account that was named.
        self._sums: dict[str, list[int]] = {}
        #: What happened in this batch, in order.
        self.journal: list[Transfer] = []

    def _sums_of(self, code: str) -> list[int]:
        sums = self._sums.get(code)
        if sums is None:
            account = self._load(code)
            sums = self._sums[code] = [account.debits, account.credits]
        return sums

    def account(self, code: str) -> Account:
        """An account as of now."""
        return Account(code, *self._sums_of(code))

    @property
    def accounts(self) -> dict[str, Account]:
        """Every account that was named, as of now."""
        return {code: Account(code, *sums) for code, sums in self._sums.items()}

    def post(self, transfers: Sequence[Transfer]) -> None:
        """Apply all of these transfers, or none.

        Raises:
            Refusal: `insufficient_credit` if a debited account cannot bear it.
        """
        known = self._sums.get
        for done, transfer in enumerate(transfers):
            amount = transfer.amount
            assert 0 < amount <= AMOUNT_MAX
            assert transfer.debit != transfer.credit
            debit = known(transfer.debit) or self._sums_of(transfer.debit)
            credit = known(transfer.credit) or self._sums_of(transfer.credit)
            if debit[0] + amount > debit[1] and transfer.debit not in OUTSIDE:
                self._undo(transfers[:done])
                raise Refusal("insufficient_credit")
            debit[0] += amount
            credit[1] += amount
            assert debit[0] <= AMOUNT_MAX >= credit[1], "the supply is far below this"
        self.journal.extend(transfers)

    def _undo(self, transfers: Sequence[Transfer]) -> None:
        for transfer in transfers:
            self._sums_of(transfer.debit)[0] -= transfer.amount
            self._sums_of(transfer.credit)[1] -= transfer.amount


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
