"""What must be true of settlement at every step, added up by hand from the transfers.

As `checkers`: nothing here calls the ledger, the engine, or the store's sums.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from coordinator import chain_events as cev, events as ev
from coordinator.store.interface import Reader
from coordinator.store.values import Job, Transfer, TransferKind as K
from onchain.address import decode_address
from tests.pretend_chain import PretendChain

Leaves = dict[bytes, int]


class SettlementCheckers:
    """Watches the books beside the chain, across restarts."""

    def __init__(self, chain: PretendChain, seen: Counter[str]) -> None:
        self._chain = chain
        self._seen = seen
        #: Epoch → its leaves when it was first seen, and up to which transfer they count.
        self._leaves: dict[int, tuple[int, Leaves, Leaves]] = {}
        #: Owners whose wish to leave the books know, by the slot that told it.
        self._asked: dict[bytes, tuple[int, int]] = {}
        #: Jobs that were answered to somebody.
        self.jobs: set[int] = set()

    def after_commit(self, events: Sequence[ev.Event], outcomes: Sequence[ev.Outcome]) -> None:
        """Follow who is leaving: nothing of theirs is spent."""
        for event, outcome in zip(events, outcomes, strict=True):
            if isinstance(event, cev.DepositSeen) and outcome.refusal is None:
                slot, _ = self._asked.get(event.owner, (0, 0))
                if event.slot >= slot:
                    self._asked[event.owner] = (event.slot, event.exit_requested_s)
            elif isinstance(event, ev.JobsSubmitted) and outcome.refusal is None:
                self._check_spent(event, outcome.value)
            elif isinstance(event, cev.WithdrawAsked) and outcome.refusal is None:
                self._seen["withdrawn"] += 1

    def _check_spent(self, event: ev.JobsSubmitted, answers: Sequence[object]) -> None:
        is_leaving = self._asked.get(event.submitter, (0, 0))[1] > 0
        for answer in answers:
            if isinstance(answer, Job):
                fresh = answer.id not in self.jobs
                assert not (is_leaving and fresh), f"who leaves spends nothing: job {answer.id}"
                self.jobs.add(answer.id)

    def adopt(self, reader: Reader) -> None:
        """A new process: what was cut off is taken as the rows have it."""
        self.jobs |= {job.id for job in reader.all_jobs(1_000_000)}
        for record in reader.deposits():
            self._asked[record.owner] = (record.slot, record.exit_requested_s)

    def check_rows(self, reader: Reader) -> None:
        transfers = list(reader.transfers())
        self._check_chain(reader, transfers)
        self._check_earnings(reader, transfers)
        self._check_epochs(reader, transfers)

    def _check_chain(self, reader: Reader, transfers: Sequence[Transfer]) -> None:
        moved: dict[K, int] = defaultdict(int)
        for each in transfers:
            moved[each.kind] += each.amount
        credited: dict[bytes, int] = defaultdict(int)
        for each in transfers:
            if each.kind is K.DEPOSIT and each.credit.startswith("credit:"):
                credited[decode_address(each.credit.removeprefix("credit:"))] += each.amount
        rows = {record.owner: record for record in reader.deposits()}
        for owner, record in rows.items():
            real = self._chain.deposits[owner]
            assert record.deposited <= real.deposited, "no deposit is credited twice"
            assert record.exited <= real.exited, "no exit is booked twice"
            if owner in credited:
                assert credited[owner] == record.deposited, "each deposit is credited once"
        assert sum(r.deposited for r in rows.values()) == moved[K.DEPOSIT], "deposits add up"
        assert sum(r.exited for r in rows.values()) == moved[K.EXIT], "exits add up"
        claimed = {record.wallet: record.claimed for record in reader.claims()}
        for wallet, amount in claimed.items():
            assert amount <= self._chain.claims[wallet], "no claim is booked twice"
        assert sum(claimed.values()) == moved[K.CLAIM], "claims add up"
        assert not moved[K.FAUCET], "no money comes from nowhere"
        out = moved[K.CLAIM] + moved[K.EXIT] + moved[K.RESERVE]
        assert -reader.account("chain").balance == moved[K.DEPOSIT] - out, "the vault is the books'"

    def _check_earnings(self, reader: Reader, transfers: Sequence[Transfer]) -> None:
        paid: dict[str, int] = defaultdict(int)
        released: dict[str, int] = defaultdict(int)
        for each in transfers:
            if each.kind is K.PAY:
                paid[each.credit.partition(":")[2]] += each.amount
            elif each.kind is K.RELEASE:
                assert each.debit.startswith("withheld:")
                released[each.credit.partition(":")[2]] += each.amount
            elif each.credit.startswith("earned:"):
                assert each.kind in {K.WITHDRAW, K.LOSS, K.HOUSE}, "nothing else is earned"
        for wallet, amount in released.items():
            withheld = reader.account(f"withheld:{wallet}").balance
            assert amount + withheld == paid[wallet], "what is withheld is not earned"

    def _check_epochs(self, reader: Reader, transfers: Sequence[Transfer]) -> None:
        newest = reader.epochs(2)
        for epoch in newest:
            earnings = dict(reader.earnings_leaves(epoch.number))
            exits = dict(reader.exit_leaves(epoch.number))
            known = self._leaves.get(epoch.number)
            if known is not None and known[0] == epoch.last_transfer:
                assert known[1:] == (earnings, exits), f"leaves never change: {epoch.number}"
                continue
            self._leaves[epoch.number] = (epoch.last_transfer, earnings, exits)
            self._check_leaves(epoch.number, transfers[: epoch.last_transfer], earnings, exits)
            assert sum(earnings.values()) == epoch.total, f"leaves add up: {epoch.number}"
            assert sum(exits.values()) == epoch.total_exitable, f"exits add up: {epoch.number}"
            self._check_rise(epoch.number, earnings)

    def _check_leaves(
        self, number: int, before: Sequence[Transfer], earnings: Leaves, exits: Leaves
    ) -> None:
        earned: dict[str, int] = defaultdict(int)
        unspent: dict[str, int] = defaultdict(int)
        deposited = 0
        for each in before:
            deposited += each.amount if each.kind is K.DEPOSIT else 0
            if each.credit.startswith("earned:"):
                earned[each.credit.partition(":")[2]] += each.amount
            for code, sign in ((each.credit, 1), (each.debit, -1)):
                name, _, wallet = code.partition(":")
                if name in {"credit", "hold"} and wallet != "treasury":
                    unspent[wallet] += sign * each.amount
            if each.kind is K.EXIT:
                unspent[each.debit.partition(":")[2]] += each.amount
        by_hand = {decode_address(wallet): amount for wallet, amount in earned.items() if amount}
        assert earnings == by_hand, f"a leaf is all that was earned: epoch {number}"
        for owner, amount in exits.items():
            most = {decode_address(w): a for w, a in unspent.items() if w}.get(owner, 0)
            assert amount <= most, f"no exit of more than is unspent: epoch {number}"
        promised = sum(earnings.values()) + sum(exits.values())
        assert promised <= deposited, f"leaves are never more than deposits: epoch {number}"
        self._seen["epochs checked"] += 1

    def _check_rise(self, number: int, earnings: Leaves) -> None:
        before = [each for each in self._leaves if each < number]
        if before:
            _, older, _ = self._leaves[max(before)]
            fell = [w for w, amount in older.items() if earnings.get(w, 0) < amount]
            assert not fell, f"no leaf falls: epoch {number}"

    def check_end(self, reader: Reader) -> None:
        """Everything was told and claimed: the books and the chain say the same."""
        for owner, real in self._chain.deposits.items():
            row = reader.deposit(owner)
            assert (row.deposited, row.exited) == (real.deposited, real.exited), "all is booked"
        for wallet, claimed in self._chain.claims.items():
            assert reader.claim(wallet).claimed == claimed, "all claims are booked"
        assert self._chain.active is not None
        for wallet, lifetime in self._chain.active.earnings.items():
            assert self._chain.claims[wallet] == lifetime, "everybody is paid what the root says"
        assert -reader.account("chain").balance == self._chain.vault, "the vault is the books'"
        assert reader.account("loss").balance == 0, "the loss is made good"
