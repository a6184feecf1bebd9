"""A market that settles, for the tests of its books: what a chain would say is told by hand.

In:   as `build.Market`. Out: the same, with money that was deposited instead of given.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from coordinator import chain_events as cev, events as ev
from coordinator.chain_books import Booked
from coordinator.chain_place import OnChain
from coordinator.protocol.errors import Refusal
from coordinator.protocol.signing import Keypair, from_seed
from coordinator.protocol.withdrawal import withdrawal_text
from coordinator.store.settlement_values import Epoch, EpochState, Withdrawal
from tests.build import ALICE, BOB, CREDIT, HOUR_MS, REALM, RULES, Market

LEDGER = bytes([77]) * 32
FEE_WALLET, TREASURY_WALLET = (from_seed(bytes([i]) * 32) for i in (21, 22))
ON_CHAIN = OnChain(LEDGER, FEE_WALLET.address, TREASURY_WALLET.address)
EXIT_AFTER_S = 30 * 24 * 3600


class ChainMarket(Market):
    """An engine over a store in memory that settles on a chain which the test plays."""

    def __init__(self, on_chain: OnChain = ON_CHAIN, **rules: Any) -> None:
        super().__init__(replace(RULES, faucet=False, **rules), on_chain=on_chain)
        self.slot = 100
        self.look()
        for submitter in (ALICE, BOB):
            self.deposit(submitter.address, CREDIT)

    def money_of(self, name: str) -> int:
        return self.balance(name)

    def deposit(
        self, owner: bytes, deposited: int, exited: int = 0, asked_s: int = 0, slot: int = 0
    ) -> Booked:
        self.slot += 1
        booked: Booked = self.ask(
            cev.DepositSeen(owner, deposited, exited, asked_s, slot or self.slot)
        )
        return booked

    def claim(self, wallet: bytes, claimed: int, slot: int = 0) -> Booked:
        self.slot += 1
        booked: Booked = self.ask(cev.ClaimSeen(wallet, claimed, slot or self.slot))
        return booked

    def look(self, **changes: int) -> None:
        now_s = self.now_ms // 1000
        numbers = {
            "now_s": now_s, "last_activation_s": now_s, "exit_after_s": EXIT_AFTER_S,
            "unrooted": 0, "promise": 0,
        }  # fmt: skip
        self.ask(cev.ChainLooked(**(numbers | changes)))

    def earn(self, key: str = "k") -> int:
        """A job of ALICE's, paid and past its window; what its host got."""
        before = self.money().get("earned", 0)
        self.judge(self.verifying(key=key))
        self.now_ms += self.rules.withhold_ms + 2 * HOUR_MS
        self.look()
        self.ask(ev.ReleaseDue())
        return self.money()["earned"] - before

    def withdraw(self, keypair: Keypair, amount: int, key: str = "w", **changes: Any) -> Withdrawal:
        event = self.wish_to_withdraw(keypair, amount, key)
        withdrawal: Withdrawal = self.ask(replace(event, **changes))
        return withdrawal

    def wish_to_withdraw(
        self, keypair: Keypair, amount: int, key: str = "w", signed: dict[str, Any] | None = None
    ) -> cev.WithdrawAsked:
        fields: dict[str, Any] = {
            "coordinator_key": REALM.coordinator_key, "chain": REALM.chain, "ledger": LEDGER,
            "wallet": keypair.address, "amount": amount, "key": key, "issued_ms": self.now_ms,
        }  # fmt: skip
        text = withdrawal_text(**(fields | (signed or {})))
        signature = keypair.sign(text.encode())
        return cev.WithdrawAsked(keypair.address, amount, key, self.now_ms, signature)

    def close_epoch(self, number: int = 1, **more: Any) -> Epoch:
        epoch: Epoch = self.ask(cev.EpochClosed(number, **more))
        return epoch

    def seal_epoch(self, number: int = 1) -> Epoch:
        """Build a tree of an epoch's leaves (its root is made up) and note it."""
        earnings, exits = self.leaves(number)
        epoch: Epoch = self.ask(
            cev.EpochSealed(
                number,
                root_of(number),
                root_of(-number),
                len(earnings) + len(exits),
                sum(earnings.values()),
                sum(exits.values()),
            )
        )
        return epoch

    def activate(self, number: int = 1) -> Epoch:
        """An epoch from its closing to its activation."""
        self.close_epoch(number)
        self.seal_epoch(number)
        return self.move_epoch(number, EpochState.ACTIVE)

    def move_epoch(self, number: int, state: EpochState, **changes: Any) -> Epoch:
        event = cev.EpochMoved(number, state, self.now_ms // 1000, root_of(number))
        epoch: Epoch = self.ask(replace(event, **changes))
        return epoch

    def leaves(self, number: int = 1) -> tuple[dict[bytes, int], dict[bytes, int]]:
        return (
            dict(self.reader.earnings_leaves(number)),
            dict(self.reader.exit_leaves(number)),
        )

    def refused(self, event: ev.Event) -> str:
        """The code of a refusal; the books as they were."""
        before = {account.code: account for account in self.reader.accounts()}
        (outcome,) = self.apply(event)
        assert isinstance(outcome.refusal, Refusal), outcome
        assert {account.code: account for account in self.reader.accounts()} == before
        return outcome.refusal.code


def root_of(number: int) -> bytes:
    """A made-up hash."""
    return number.to_bytes(32, "little", signed=True)
