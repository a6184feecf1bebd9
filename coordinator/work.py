"""One batch at work: what every handler is given.

`House` holds what does not change while the coordinator runs (rules, keys, names); `Work` holds
one transaction: the store's batch, the books, the effects so far, the receipts to be signed.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

import msgspec

from coordinator import job_blobs
from coordinator.chain_place import OnChain
from coordinator.events import Effect
from coordinator.jobs import FINAL
from coordinator.ledger import Books
from coordinator.pricing import Rules
from coordinator.protocol.receipts import Receipt
from coordinator.protocol.signin import Realm
from coordinator.protocol.signing import Keypair
from coordinator.store.interface import Batch
from coordinator.store.values import Job


class House(msgspec.Struct, frozen=True):
    """What does not change while the coordinator runs."""

    rules: Rules
    #: The coordinator's own key: signs challenges and receipts.
    keypair: Keypair
    #: What sign-in texts name: domain, URI, chain, our key.
    realm: Realm
    #: Wallets that may open `admin` sessions.
    admins: frozenset[bytes] = frozenset()
    #: None: nothing is settled, and the faucet may give.
    on_chain: OnChain | None = None
    #: Where samples are drawn from that are checked within a transaction.
    random_bytes: Callable[[int], bytes] = secrets.token_bytes


class Work:
    """One transaction on its way."""

    def __init__(self, batch: Batch, house: House, now_ms: int) -> None:
        self.batch = batch
        self.house = house
        self.rules = house.rules
        self.now_ms = now_ms
        self.books = Books(batch.account)
        self.effects: list[Effect] = []
        #: What nodes were paid in this batch.
        self.earned: dict[int, int] = {}
        #: Receipts of this batch, with the node of each.
        self.receipts: list[tuple[int, Receipt]] = []

    def job(self, job: int) -> Job | None:
        return self.batch.job(job)

    def order(self, *effects: Effect) -> None:
        self.effects.extend(effects)

    def order_first(self, effect: Effect) -> None:
        """Before all others: what they are about to tell of needs it."""
        self.effects.insert(0, effect)

    def save(self, after: Job, *, was: Job) -> None:
        """Write a decision. One writer: a lost row is our mistake."""
        kept = self.batch.save_job(after, was=was)
        assert kept, "the row changed under the only writer"
        if after.state in FINAL and was.state not in FINAL:
            job_blobs.end(self.batch, after, self.now_ms)
