"""A house that settles on a chain in this process: real books, real program, time that passes.

In:   what people do: deposits, jobs, claims. Out: the settlement shell's own rounds over both.
`Lives` kills the settler's process at any of its moments and starts it again over the same rows,
files and journal.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from coordinator.chain_place import OnChain
from coordinator.config import load_config
from coordinator.events import Event
from coordinator.leaf_files import LeafFiles
from coordinator.metrics import Metrics
from coordinator.protocol.signing import save_keypair
from coordinator.settlement.shell import Settlement
from coordinator.store.settlement_values import Epoch
from coordinator.writer import run_inline
from onchain.address import encode_address
from onchain.claim import claim_intent, plan_claim
from onchain.reads import read_claim
from onchain.sender import Pace
from tests.build import ALICE, BOB, CREDIT
from tests.chain_faults import Fuse
from tests.chain_market import FEE_WALLET, TREASURY_WALLET, ChainMarket
from tests.chains import SOL, key
from tests.ledger_values import LIMITS
from tests.settlement_chain import Bazaar, open_bazaar

#: Finality and some slots more.
FINAL_S = 30


@dataclass
class House:
    """Books, a chain, and the settler between them."""

    folder: Path
    bazaar: Bazaar
    market: ChainMarket
    chain: Any
    fuse: Fuse = field(default_factory=Fuse)
    settlement: Settlement = field(init=False)
    metrics: Metrics = field(init=False)

    def start(self, *, reader: Any = None, **flags: Any) -> None:
        """A process of its own begins."""
        path, voucher_path = (self.folder / f"{name}.json" for name in ("publisher", "voucher"))
        if not path.exists():
            save_keypair(path, key("publisher"))
            save_keypair(voucher_path, key("voucher"))
        settings = {
            "db": str(self.folder / "market.db"), "rpc": ["localnet"],
            "ledger": encode_address(self.bazaar.market.ledger),
            "publisher_key": str(path), "voucher_key": str(voucher_path),
            "epoch_every_s": 7 * 24 * 3600.0,
        }  # fmt: skip
        config = load_config(settings | flags, {}, None)
        self.metrics = Metrics(wall_ms=lambda: self.market.now_ms)
        self.settlement = Settlement(
            config,
            store=self.market.store,
            ask=self.ask,
            files=LeafFiles(self.folder / "leaves"),
            metrics=self.metrics,
            wall_ms=lambda: self.market.now_ms,
            run_thread=run_inline,
            chain=self.chain,
            pace=Pace(poll_s=0.001, resend_s=0.002, patience_s=0.2),
        )
        if reader is not None:
            self.settlement.leaves_reader = reader(self.settlement.leaves_reader)

    async def ask(self, event: Event) -> Any:
        """The engine, on whose both sides a process may die."""
        await trio.lowlevel.checkpoint()
        self.fuse.burn()
        answer = self.market.ask(event)
        self.fuse.burn()
        return answer

    async def restart(self, **flags: Any) -> None:
        await self.settlement.aclose()
        self.start(**flags)

    async def round(self, *, close_now: bool = False) -> str:
        """One round; the code of what went wrong."""
        if close_now:
            await self.settlement.round_now()
        else:
            await self.settlement.round()
        return self.settlement.state.alarm

    def later(self, seconds: int = FINAL_S) -> None:
        """Time passes on both clocks."""
        self.bazaar.later(seconds)
        self.market.now_ms += 1000 * seconds

    async def settle(self) -> Epoch:
        """Rounds until the next epoch is active, without a guardian."""
        await self.round(close_now=True)
        await self.until_active()
        return self.last()

    async def until_active(self) -> None:
        self.later()
        await self.round()
        self.later(LIMITS.slow_delay)
        await self.round()
        self.later()
        await self.round()

    def last(self) -> Epoch:
        return self.market.reader.epochs(1)[0]

    async def claim(self, wallet: bytes) -> int:
        """Claim what a wallet's proof in the settler's hands gives; what it was paid."""
        bazaar, before = self.bazaar, await self.bazaar.tokens(wallet)
        assert self.settlement.proofs is not None
        proof = await self.settlement.proofs.find(wallet)
        assert proof is not None
        state = await read_claim(bazaar.chain, bazaar.market, wallet)
        plan = plan_claim(bazaar.market, state, proof, payer=bazaar.payer)
        await bazaar.deed(claim_intent(bazaar.chain, bazaar.market, wallet, state, plan))
        return await bazaar.tokens(wallet) - before

    async def close(self) -> None:
        """End after an audit of every row."""
        await self.settlement.aclose()
        self.market.close()


async def open_house(folder: Path, **limits: Any) -> House:
    """A house whose submitters have deposited on the chain what the books say."""
    bazaar = await open_bazaar(**limits)
    bazaar.chain.airdrop(key("publisher").address, SOL)
    market = ChainMarket(OnChain(bazaar.market.ledger, FEE_WALLET.address, TREASURY_WALLET.address))
    for submitter in (ALICE, BOB):
        await bazaar.deposit(submitter.address, CREDIT)
    house = House(folder, bazaar, market, bazaar.chain)
    house.later()
    house.start()
    return house
