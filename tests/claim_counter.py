"""A coordinator's counter over a house that settles on a chain in this process, asked by HTTP.

In:   requests, by ASGI: routes, door and desk are the product's. Out: answers; money that moves.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import trio
import trio.testing
from solders.message import to_bytes_versioned
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from coordinator.api import Api
from coordinator.blobs import BlobFolder
from coordinator.config import load_config
from coordinator.events import Event
from coordinator.http import build_app
from coordinator.leaf_files import LeafFiles
from coordinator.metrics import Metrics
from coordinator.operations import Operations
from coordinator.protocol.ids import Ids
from coordinator.protocol.signing import Keypair
from coordinator.readiness import Readiness
from coordinator.settlement.sponsoring import Sponsoring
from coordinator.signals import Drain
from coordinator.writer import run_inline
from tests.settling import House, open_house


@dataclass
class BooksClock:
    """The books' own time."""

    house: House

    def wall_ms(self) -> int:
        return self.house.market.now_ms

    def monotonic(self) -> float:
        return self.house.market.now_ms / 1000


class Asked:
    """The books as the desk's writer."""

    failure = ""
    halted = None
    is_stuck = False

    def __init__(self, house: House) -> None:
        self.house = house

    async def ask(self, event: Event) -> Any:
        return await self.house.ask(event)


@dataclass
class Counter:
    """What a test asks, and what lies behind it."""

    house: House
    api: Api
    http: httpx.AsyncClient
    nursery: trio.Nursery
    #: What answers.
    app: Any
    #: Of what follows sponsored claims, in the process that runs now.
    life: trio.CancelScope = field(default_factory=trio.CancelScope)

    async def restart(self, **flags: Any) -> None:
        """The coordinator's process ends, wherever it is, and another one begins."""
        self.life.cancel()
        await trio.testing.wait_all_tasks_blocked()
        await self.house.restart(**flags)
        await self.house.round()
        self.attend()
        self.follow()

    def follow(self) -> None:
        """Sponsored claims are followed from now on."""
        sponsoring, self.life = self.house.settlement.sponsoring, trio.CancelScope()
        assert sponsoring is not None
        self.nursery.start_soon(_run, sponsoring, self.life)

    def attend(self) -> None:
        """The counter asks the settler that runs now."""
        self.api.settling = self.house.settlement
        self.api.find_proof = self.house.settlement.proof


async def _run(sponsoring: Sponsoring, life: trio.CancelScope) -> None:
    with life:
        await sponsoring.run()


def api_of(house: House, folder: Path, metrics: Metrics) -> Api:
    operations = Operations(rules=house.market.rules, clock=BooksClock(house), metrics=metrics)
    operations.writer = Asked(house)  # type: ignore[assignment]
    api = Api(
        house=house.market.house,
        operations=operations,
        reader=house.market.reader,
        ids=Ids(bytes(32)),
        blobs=BlobFolder(folder / "blobs"),
        random_bytes=bytes,
        run_thread=run_inline,
    )
    api.leaf_files = LeafFiles(folder / "leaves")
    return api


@asynccontextmanager
async def open_counter(
    folder: Path, *, cors: tuple[str, ...] = (), settler: Any = None, **limits: Any
) -> AsyncIterator[Counter]:
    """A counter of a fresh house.

    Args:
        folder: For its files.
        cors: Origins that the configuration lists.
        settler: Flags of the settler's configuration.
        limits: Of the market.
    """
    house = await open_house(folder, **limits)
    if settler:
        await house.restart(**settler)
    metrics = Metrics()
    api = api_of(house, folder, metrics)
    writer: Any = api.operations.writer
    config = load_config({"port": 0, "cors_origins": list(cors)}, {}, None)
    app: Any = build_app(api, config, metrics=metrics, readiness=Readiness(Drain(), writer))
    transport = httpx.ASGITransport(app)
    async with (
        trio.open_nursery() as nursery,
        httpx.AsyncClient(transport=transport, base_url="http://hyper.example") as http,
    ):
        counter = Counter(house, api, http, nursery, app)
        counter.attend()
        yield counter
        nursery.cancel_scope.cancel()
    await house.close()


def parsed(answer: httpx.Response) -> VersionedTransaction:
    """The transaction in an answer."""
    assert answer.status_code == 200, answer.text
    return VersionedTransaction.from_bytes(b64decode(answer.json()["transaction"]))


def signed_by(transaction: VersionedTransaction, wallet: Keypair) -> bytes:
    """What a wallet returns: the same message, its own signature in its place."""
    message = transaction.message
    signers = message.account_keys[: message.header.num_required_signatures]
    signatures = list(transaction.signatures)
    place = [bytes(key) for key in signers].index(wallet.address)
    signatures[place] = Signature.from_bytes(wallet.sign(to_bytes_versioned(message)))
    return bytes(VersionedTransaction.populate(message, signatures))
