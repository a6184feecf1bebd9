"""What the writer of the SQLite store remembers of committed rows, within bounds.

Only the one writer changes rows, so what it remembers is what the file holds. A batch keeps its own
changes apart and hands them over after its commit: an undone batch leaves no trace here.
Rules:
  1. A value here was committed.
  2. After any failure of the engine everything is forgotten and read again.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Generic, TypeVar

from coordinator.limits import CACHED_JOBS_MAX, CACHED_ROWS_MAX, CACHED_SPEC_BYTES_MAX
from coordinator.store.settlement_values import Deposit, Settlement
from coordinator.store.values import Account, Attempt, Job, LedgerBatch, Node

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Cache(Generic[K, V]):
    """A dictionary that forgets what came first once it is full.

    Args:
        rows_max: Most entries.
        bytes_max: Most bytes, by `bytes_of`.
        bytes_of: Size of a value, bytes.
    """

    def __init__(
        self, rows_max: int, bytes_max: int = 0, bytes_of: Callable[[V], int] | None = None
    ) -> None:
        self._rows: dict[K, V] = {}
        self._rows_max = rows_max
        self._bytes_max = bytes_max
        self._bytes_of = bytes_of
        self._bytes = 0
        #: The dictionary's own method: the hot path asks thousands of times a batch.
        self.get = self._rows.get

    def __len__(self) -> int:
        return len(self._rows)

    def put(self, key: K, value: V) -> None:
        """Remember; what came first gives way."""
        rows = self._rows
        if self._bytes_of is not None:
            old = rows.get(key)
            self._bytes += self._bytes_of(value) - (0 if old is None else self._bytes_of(old))
        rows[key] = value
        if len(rows) > self._rows_max or self._bytes > self._bytes_max:
            self._shrink()

    def _shrink(self) -> None:
        while len(self._rows) > self._rows_max or self._bytes > self._bytes_max:
            self.drop(next(iter(self._rows)))

    def put_all(self, values: Mapping[K, V]) -> None:
        for key, value in values.items():
            self.put(key, value)

    def drop(self, key: K) -> None:
        value = self._rows.pop(key, None)
        if value is not None and self._bytes_of is not None:
            self._bytes -= self._bytes_of(value)

    def clear(self) -> None:
        self._rows.clear()
        self._bytes = 0


class Memory:
    """The caches of one writer."""

    def __init__(self) -> None:
        self.jobs: Cache[int, Job] = Cache(
            CACHED_JOBS_MAX, CACHED_SPEC_BYTES_MAX, lambda job: len(job.spec)
        )
        self.attempts: Cache[tuple[int, int], Attempt] = Cache(CACHED_JOBS_MAX)
        self.nodes: Cache[int, Node] = Cache(CACHED_ROWS_MAX)
        self.accounts: Cache[str, Account] = Cache(CACHED_ROWS_MAX)
        #: Numbers of accounts and wallets.
        self.account_ids: Cache[str, int] = Cache(CACHED_ROWS_MAX)
        self.wallet_ids: Cache[bytes, int] = Cache(CACHED_ROWS_MAX)
        #: Open jobs and all posts ever, by wallet.
        self.open_jobs: Cache[bytes, int] = Cache(CACHED_ROWS_MAX)
        self.cumulative: Cache[bytes, int] = Cache(CACHED_ROWS_MAX)
        #: Of owners that spend, whether they have deposited on the chain or not.
        self.deposits: Cache[bytes, Deposit] = Cache(CACHED_ROWS_MAX)
        self.settlement: Settlement | None = None
        self.is_settlement_known = False
        self.last_ledger_batch: LedgerBatch | None = None
        #: The next free number of each table that is counted here.
        self.next_ids: dict[str, int] = {}

    def clear(self) -> None:
        """Forget everything."""
        for cache in (
            self.jobs, self.attempts, self.nodes, self.accounts, self.account_ids,
            self.wallet_ids, self.open_jobs, self.cumulative, self.deposits,
        ):  # fmt: skip
            cache.clear()
        self.settlement, self.is_settlement_known = None, False
        self.last_ledger_batch = None
        self.next_ids.clear()
