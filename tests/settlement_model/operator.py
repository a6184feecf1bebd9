"""An honest operator of a market: it keeps the books off the chain, publishes true roots, pays all.

Kept here and not on the chain: what each owner spent and each wallet earned. `pay_everybody` is
the promise of liveness: whatever happened, honest roles that wait and operate as intended pay all.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Final

from tests.settlement_model.market import Answer, Market, ok
from tests.settlement_model.model import Refused
from tests.settlement_model.proposals import Kind
from tests.settlement_model.setting import Tree, key
from tests.settlement_model.state import ClaimRecord, DepositRecord, Limits
from tests.settlement_model.tree import root_of

#: Who puts in what false roots and late exits have taken from the others; owns no credit.
HOUSE: Final = "house"
#: A limit that nobody meets: breakers and caps are tested elsewhere.
PLENTY: Final = 10**12


@dataclass
class Operator:
    market: Market
    owners: tuple[str, ...]
    wallets: tuple[str, ...]
    spent: Counter[str] = field(default_factory=Counter)
    earned: Counter[str] = field(default_factory=Counter)
    #: What the operator had to put in itself so that a true root is solvent.
    topped_up: int = 0

    def deposited(self, owner: str) -> DepositRecord:
        account = self.market.model.world.accounts.get(self.market.deposit_record_of(owner))
        if account is None:
            return DepositRecord(self.market.ledger_key, key(owner))
        assert isinstance(account.data, DepositRecord)
        return account.data

    def paid(self, wallet: str) -> ClaimRecord:
        account = self.market.model.world.accounts.get(self.market.claim_record_of(wallet))
        if account is None:
            return ClaimRecord()
        assert isinstance(account.data, ClaimRecord)
        return account.data

    def credit(self, owner: str) -> int:
        """What an owner may spend: nothing of it once it has asked to leave."""
        record = self.deposited(owner)
        if record.exit_requested_at:
            return 0
        return max(0, record.deposited - self.spent[owner] - record.exited)

    def work(self, owner: str, wallet: str, price: int) -> int:
        """A job: the wallet earns what the owner spends; answers how much that was."""
        price = min(price, self.credit(owner))
        self.spent[owner] += price
        self.earned[wallet] += price
        return price

    def true_tree(self) -> Tree:
        """What everybody earned and may take back; never less than what was taken already."""
        earnings = {}
        for wallet in self.wallets:
            record = self.paid(wallet)
            earnings[wallet] = max(self.earned[wallet], min(record.claimed, record.covered))
        exits = {}
        for owner in self.owners:
            owned = self.deposited(owner)
            exits[owner] = max(owned.deposited - self.spent[owner], owned.exited)
        return Tree(self.market.ledger_key, earnings, exits)

    def publish(self, tree: Tree | None = None, *, total: int | None = None) -> Answer:
        """A root, by default the true one with the least totals that the program takes."""
        tree = tree or self.true_tree()
        ledger = self.market.ledger
        epoch = ledger.last_epoch + 1
        least = max(sum(tree.earnings.values()), ledger.active.total)
        answer = self.market.by(
            "publisher",
            "publish_root",
            epoch=epoch,
            root=root_of(tree.leaves),
            data_hash=key("data"),
            total=least if total is None else total,
            total_exitable=sum(tree.exits.values()),
            leaf_count=len(tree.leaves),
        )
        if not isinstance(answer, Refused):
            self.market.trees[epoch] = tree
        return answer

    # Everybody is paid

    def pay_everybody(self) -> None:
        """Puts the market in order again and pays all that is earned and all credit.

        Raises:
            AssertionError: somebody cannot be paid.
        """
        market = self.market
        self.drop_what_is_pending()
        self.carry_out(Kind.UNPAUSE, flags=15)
        wide = replace(market.limits, window_limit=PLENTY, max_epoch_increase=PLENTY)
        self.carry_out(Kind.LIMITS, limits=wide)
        for owner in self.owners:
            record = self.deposited(owner)
            if record.deposited and not record.exit_requested_at:
                ok(market.ask(owner))
        market.wait(market.ledger.limits.min_epoch_interval + 600)
        self._settle()
        market.wait(market.ledger.limits.exit_after)
        self._pay_wallets()
        self._pay_owners()

    def drop_what_is_pending(self) -> None:
        ledger = self.market.ledger
        if ledger.proposal_kind:
            ok(self.market.by("admin", "cancel_config", number=ledger.proposal_number))
        if ledger.pending.epoch:
            ok(self.market.by("guardian", "cancel_root", epoch=ledger.pending.epoch))

    def carry_out(self, kind: Kind, flags: int = 0, limits: Limits | None = None) -> None:
        ok(self.market.propose(kind, flags=flags, limits=limits))
        self.market.wait(self.market.ledger.limits.config_delay)
        ok(self.market.send("apply_config"))

    def _settle(self) -> None:
        """Publishes the true root and sees it active; puts in what is missing."""
        market, ledger = self.market, self.market.ledger
        tree = self.true_tree()
        total = max(sum(tree.earnings.values()), ledger.active.total)
        promised = total + sum(tree.exits.values()) + ledger.reserve + ledger.total_withdrawn
        missing = promised - ledger.total_deposited
        if missing > 0:
            self.topped_up += missing
            ok(market.deposit(HOUSE, max(missing, ledger.limits.min_deposit)))
        ok(self.publish(tree))
        ok(market.approve())
        market.wait(market.ledger.limits.fast_delay)
        ok(market.activate())

    def _pay_wallets(self) -> None:
        market = self.market
        tree = market.trees[market.ledger.active.epoch]
        for wallet in self.wallets:
            record = self.paid(wallet)
            if tree.earnings[wallet] > min(record.claimed, record.covered):
                answer = market.claim(wallet)
                assert not isinstance(answer, Refused) or answer.error == "NothingToClaim", answer
            record = self.paid(wallet)
            assert record.claimed >= self.earned[wallet], (wallet, record, self.earned[wallet])

    def _pay_owners(self) -> None:
        for owner in self.owners:
            due = self.deposited(owner).deposited - self.spent[owner]
            if due > self.deposited(owner).exited:
                ok(self.market.leave(owner))
            assert self.deposited(owner).exited >= due, (owner, due)
