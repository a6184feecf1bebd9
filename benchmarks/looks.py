"""`python -m benchmarks.looks COUNT`: the coordinator's looks at a market of so many, measured.

Prints a `Measured` as JSON. The market is `crowd`'s, in a process of its own; the books are a file
that knows all of it. In turn: a first pass over all deposits; a look at which nothing is new; one
with a hundred new deposits; as many as it takes to find a hundred claims.
Not covered: the engine that books what was found (rows are written here); real nodes, whose own
time is theirs.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

from benchmarks.crowd import DEPOSITED, claimed_by, owner
from benchmarks.million_leaves import peak_kib
from benchmarks.record import ROOT
from coordinator import chain_events as cev
from coordinator.settlement.reading import News, Reading
from coordinator.store.interface import Reader, Store
from coordinator.store.settlement_values import Claim, Deposit
from coordinator.store.sqlite import open_sqlite
from coordinator.store.values import Account
from onchain.address import encode_address
from onchain.endpoints import Node, Nodes
from onchain.places import Market
from onchain.program import DEVELOPMENT_ID
from onchain.solana_chain import SolanaChain

_BATCH: Final = 20_000
#: Owners that deposit, wallets that claim.
_CHANGED: Final = 100
_LOOKS_MAX: Final = 1_000


class Measured(msgspec.Struct, frozen=True):
    """Seconds, and the most memory that the process ever held, KiB."""

    #: Looks of the first pass, and the longest of them.
    first_looks: int
    first_longest_s: float
    #: CPU seconds of the whole first pass, of this process.
    first_cpu_s: float
    idle_s: float
    idle_cpu_s: float
    deposits_s: float
    #: Looks until the claims were found, and the longest of them.
    claim_looks: int
    claim_longest_s: float
    peak_kib: int


class Books:
    """A store that knows a crowd, and books what was found."""

    def __init__(self, store: Store, count: int, ledger: bytes) -> None:
        self._store = store
        self.reader: Reader = store.reader()
        for first in range(0, count, _BATCH):
            with store.batch() as batch:
                for number in range(first, min(count, first + _BATCH)):
                    each, claimed = owner(number), claimed_by(number)
                    batch.save_deposit(Deposit(each, DEPOSITED, slot=1))
                    batch.save_claim(Claim(each, claimed, 1))
                    batch.save_account(Account(f"earned:{encode_address(each)}", 0, claimed))
                batch.save_deposit(Deposit(ledger, 0, slot=1))

    def book(self, news: News) -> None:
        with self._store.batch() as batch:
            for each in news.events:
                if isinstance(each, cev.DepositSeen):
                    batch.save_deposit(Deposit(each.owner, each.deposited, slot=each.slot))
                elif isinstance(each, cev.ClaimSeen):
                    batch.save_claim(Claim(each.wallet, each.claimed, each.slot))


async def _measure(told: dict[str, Any], store: Store, count: int) -> Measured:
    market = Market(
        DEVELOPMENT_ID,
        bytes.fromhex(told["ledger"]),
        bytes.fromhex(told["mint"]),
        cluster_tag=bytes.fromhex(told["genesis"]),
    )
    books = Books(store, count, market.ledger)
    node = Node(f"http://127.0.0.1:{told['port']}", call_s=120.0)
    chain = SolanaChain(Nodes([node], patience_s=240.0))

    async def in_thread(function: Callable[[], Any]) -> Any:
        return await trio.to_thread.run_sync(function)

    async def read(function: Callable[[Reader], Any]) -> Any:
        return await in_thread(lambda: function(books.reader))

    reading = Reading(chain, market, read=read, run_thread=in_thread, threshold=2**63)

    async def look() -> tuple[float, News]:
        start = time.perf_counter()
        news = await reading.look()
        took = time.perf_counter() - start
        books.book(news)
        return took, news

    async def until(is_done: Callable[[], bool]) -> list[float]:
        times = []
        while not is_done():
            times.append((await look())[0])
            if len(times) > _LOOKS_MAX:
                msg = "nothing comes of it"
                raise RuntimeError(msg)
        return times

    cpu = time.process_time()
    first = await until(lambda: reading.has_seen_all)
    first_cpu = time.process_time() - cpu
    cpu = time.process_time()
    idle, _ = await look()
    idle_cpu = time.process_time() - cpu
    await node.ask("hn_change", [_CHANGED, 0])
    deposits, news = await look()
    if len(news.events) != _CHANGED:
        msg = f"{len(news.events)} deposits were found, not {_CHANGED}"
        raise RuntimeError(msg)
    await node.ask("hn_change", [0, _CHANGED])
    total = books.reader.chain_sums().claimed + _CHANGED
    claims = await until(lambda: books.reader.chain_sums().claimed == total)
    await chain.aclose()
    return Measured(
        len(first), max(first), first_cpu, idle, idle_cpu, deposits,
        len(claims), max(claims), peak_kib(),
    )  # fmt: skip


def measure(count: int) -> Measured:
    """Look at a crowd of so many.

    Raises:
        RuntimeError: what is new was not found.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(  # noqa: S603 - our own words
            [sys.executable, "-m", "benchmarks.crowd", str(count)],
            cwd=ROOT, stdout=subprocess.PIPE, text=True,
        ) as node,
    ):  # fmt: skip
        try:
            assert node.stdout is not None
            told = json.loads(node.stdout.readline())
            store = open_sqlite(Path(folder) / "market.db")
            try:
                return trio.run(_measure, told, store, count)
            finally:
                store.close()
        finally:
            node.kill()


if __name__ == "__main__":
    sys.stdout.write(msgspec.json.encode(measure(int(sys.argv[1]))).decode())
