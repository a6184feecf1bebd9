"""The ledger: any order of wishes keeps the books, and a refused wish changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from coordinator import ledger
from coordinator.ledger import HOUSE, Books, credit_of, earned_of, hold_of, withheld_of
from coordinator.protocol.errors import Refusal
from coordinator.store.values import Account, Transfer, TransferKind as K
from onchain.amounts import AMOUNT_MAX

ALICE, BOB, OPERATOR, REPLICA = (bytes([i]) * 32 for i in range(1, 5))
RULES = (ledger.__doc__ or "").partition("Rules:")[2].partition("Accounts:")[0]


def rules() -> list[str]:
    """The numbered sentences of the module."""
    return [" ".join(each.split()) for each in RULES.replace("\n  ", "\n").split("\n") if each]


class Ledger(RuleBasedStateMachine):
    """Submitters hold, jobs end, buckets are released, in any order and with any amounts."""

    holds: Bundle[tuple[int, bytes, int]] = Bundle("holds")
    wallets = st.sampled_from((ALICE, BOB, HOUSE))
    operators = st.sampled_from((OPERATOR, REPLICA))
    amounts = st.integers(1, 1_000)

    def __init__(self) -> None:
        super().__init__()
        self.books = Books(Account)
        self.jobs = 0
        self.releases = 0
        #: What each job held, and what its resolution moved.
        self.held: dict[int, int] = {}
        self.open: dict[int, tuple[bytes, int]] = {}

    def post(self, transfers: list[Transfer]) -> bool:
        before, journal = dict(self.books.accounts), list(self.books.journal)
        try:
            self.books.post(transfers)
        except Refusal:
            for code, account in self.books.accounts.items():
                assert before.get(code, Account(code)) == account
            assert self.books.journal == journal
            return False
        return True

    @initialize(amount=amounts)
    def begin(self, amount: int) -> None:
        assert self.post(ledger.faucet(ALICE, amount, 0))

    @rule(wallet=wallets, amount=amounts)
    def faucet(self, wallet: bytes, amount: int) -> None:
        self.jobs += 1
        assert self.post(ledger.faucet(wallet, amount, self.jobs))

    @rule(target=holds, wallet=wallets, budget=amounts)
    def hold(self, wallet: bytes, budget: int) -> Any:
        credit = self.books.account(credit_of(wallet)).balance
        self.jobs += 1
        is_held = self.post(ledger.hold(self.jobs, wallet, budget))
        assert is_held == (budget <= credit)
        if not is_held:
            return multiple()
        self.held[self.jobs] = budget
        self.open[self.jobs] = (wallet, budget)
        return self.jobs, wallet, budget

    @rule(hold=consumes(holds), data=st.data())
    def resolve(self, hold: tuple[int, bytes, int], data: st.DataObject) -> None:
        job, wallet, held = hold
        first = data.draw(st.integers(0, held))
        second = data.draw(st.integers(0, held - first))
        fee = data.draw(st.integers(0, held - first - second))
        transfers = ledger.resolve(job, wallet, held, ((OPERATOR, first), (REPLICA, second)), fee)
        assert self.post(transfers)
        assert sum(each.amount for each in transfers) == held
        del self.open[job]

    @rule(hold=consumes(holds))
    def void(self, hold: tuple[int, bytes, int]) -> None:
        job, wallet, held = hold
        transfers = ledger.resolve(job, wallet, held, (), 0)
        assert [(each.kind, each.amount) for each in transfers] == [(K.RETURN, held)]
        assert self.post(transfers)
        del self.open[job]

    @rule(wallet=operators, amount=amounts)
    def release(self, wallet: bytes, amount: int) -> None:
        withheld = self.books.account(withheld_of(wallet)).balance
        self.releases += 1
        is_released = self.post(ledger.release(wallet, amount, self.releases, 0))
        assert is_released == (amount <= withheld)

    @invariant()
    def every_transfer_has_two_different_sides_and_an_amount(self) -> None:
        assert rules()[0].startswith("1. Every transfer debits one account and credits another")
        for transfer in self.books.journal:
            assert transfer.amount > 0
            assert transfer.debit != transfer.credit
        assert sum(account.balance for account in self.books.accounts.values()) == 0

    @invariant()
    def nobody_inside_owes(self) -> None:
        assert rules()[1].startswith(
            "2. No account but `chain`, `faucet`, `loss`, the outside, may end"
        )
        for account in self.books.accounts.values():
            assert account.balance >= 0 or account.code in ledger.OUTSIDE

    @invariant()
    def a_hold_is_resolved_once_and_wholly(self) -> None:
        assert rules()[2].startswith("3. A hold is resolved exactly once")
        for wallet in (ALICE, BOB, HOUSE):
            held = sum(amount for owner, amount in self.open.values() if owner == wallet)
            assert self.books.account(hold_of(wallet)).balance == held
        for job, amount in self.held.items():
            ends = [t.amount for t in self.books.journal if _ends(t, job)]
            assert sum(ends) == (0 if job in self.open else amount)

    @invariant()
    def a_name_is_used_once(self) -> None:
        assert rules()[3].startswith("4. (kind, reference, sequence) names a transfer")
        names = [(each.kind, each.reference, each.sequence) for each in self.books.journal]
        assert len(names) == len(set(names))

    @invariant()
    def what_is_paid_is_withheld_first(self) -> None:
        assert rules()[4].startswith("5. A post goes to `withheld` first")
        for wallet in (OPERATOR, REPLICA):
            paid = sum(t.amount for t in self.books.journal if t.credit == withheld_of(wallet))
            assert self.books.account(withheld_of(wallet)).credits == paid
            earned = self.books.account(earned_of(wallet))
            assert earned.credits + self.books.account(withheld_of(wallet)).balance == paid
            assert {t.kind for t in self.books.journal if t.credit == earned.code} <= {K.RELEASE}

    @invariant()
    def the_accounts_are_the_sum_of_the_journal(self) -> None:
        for code, account in self.books.accounts.items():
            assert account.debits == sum(t.amount for t in self.books.journal if t.debit == code)
            assert account.credits == sum(t.amount for t in self.books.journal if t.credit == code)


def _ends(transfer: Transfer, job: int) -> bool:
    return transfer.reference == job and transfer.kind in {K.PAY, K.FEE, K.RETURN}


Ledger.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@pytest.mark.slow
class TestLedger(Ledger.TestCase):  # type: ignore[misc, valid-type]
    """Any order of wishes, against the module's own rules."""


# ---- one at a time ----------------------------------------------------------------------------


def books(**given: int) -> Books:
    """Books in which these wallets (by name) have credit."""
    made = Books(Account)
    wallets = {"alice": ALICE, "bob": BOB, "house": HOUSE}
    for reference, (name, amount) in enumerate(given.items()):
        made.post(ledger.faucet(wallets[name], amount, reference))
    return made


def test_the_accounts_have_the_documented_names() -> None:
    wallet, address = bytes(32 * [0xFF]), "JEKNVnkbo3jma5nREBBJCDoXFVeKkD56V3xKrvRmWxFG"

    assert credit_of(wallet) == f"credit:{address}"
    assert hold_of(wallet) == f"hold:{address}"
    assert withheld_of(wallet) == f"withheld:{address}"
    assert earned_of(wallet) == f"earned:{address}"
    assert (credit_of(HOUSE), hold_of(HOUSE)) == ("treasury", "hold:treasury")


def test_a_resolution_pays_first_then_takes_the_fee_then_returns_the_rest() -> None:
    transfers = ledger.resolve(7, ALICE, 100, ((OPERATOR, 60), (REPLICA, 10)), 5)

    assert transfers == [
        Transfer(K.PAY, 7, hold_of(ALICE), withheld_of(OPERATOR), 60, 0),
        Transfer(K.PAY, 7, hold_of(ALICE), withheld_of(REPLICA), 10, 1),
        Transfer(K.FEE, 7, hold_of(ALICE), "fees", 5),
        Transfer(K.RETURN, 7, hold_of(ALICE), credit_of(ALICE), 25),
    ]


def test_nothing_is_returned_when_all_is_paid() -> None:
    transfers = ledger.resolve(7, ALICE, 100, ((OPERATOR, 100),), 0)

    assert [each.kind for each in transfers] == [K.PAY]


def test_a_job_never_costs_more_than_its_hold() -> None:
    with pytest.raises(AssertionError, match="never costs more"):
        ledger.resolve(7, ALICE, 100, ((OPERATOR, 100),), 1)


def test_credit_is_spent_to_the_last_unit_and_no_further() -> None:
    made = books(alice=100)

    made.post(ledger.hold(1, ALICE, 100))
    with pytest.raises(Refusal, match="insufficient_credit"):
        made.post(ledger.hold(2, ALICE, 1))

    assert made.account(credit_of(ALICE)).balance == 0


def test_of_several_transfers_all_happen_or_none() -> None:
    made = books(alice=100, bob=100)
    before, journal = dict(made.accounts), list(made.journal)

    with pytest.raises(Refusal, match="insufficient_credit"):
        made.post(
            [*ledger.hold(1, ALICE, 60), *ledger.hold(2, BOB, 60), *ledger.hold(3, ALICE, 60)]
        )

    assert {code: made.account(code) for code in before} == before
    assert made.account(hold_of(BOB)).balance == 0
    assert made.journal == journal


def test_a_transfer_may_spend_what_one_before_it_in_the_same_post_brought() -> None:
    made = books()

    made.post([*ledger.faucet(ALICE, 50, 1), *ledger.hold(1, ALICE, 50)])

    assert made.account(hold_of(ALICE)).balance == 50


@pytest.mark.parametrize("amount", [0, -1, AMOUNT_MAX + 1])
def test_an_amount_that_is_none_is_our_own_mistake(amount: int) -> None:
    with pytest.raises(AssertionError):
        books().post([Transfer(K.FAUCET, 1, "faucet", credit_of(ALICE), amount)])


def test_an_account_is_loaded_once_a_batch() -> None:
    loaded: list[str] = []

    def load(code: str) -> Account:
        loaded.append(code)
        return Account(code, credits=1_000)

    made = Books(load)
    for job in range(5):
        made.post(ledger.hold(job, ALICE, 10))

    assert sorted(loaded) == sorted({credit_of(ALICE), hold_of(ALICE)})
