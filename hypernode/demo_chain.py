"""The demo's chain: a development node in this process, a market on it, an epoch, a claim.

In:   a folder for keys; the running coordinator's address.
Out:  money that was deposited, a configuration that settles, and in the end a balance that moved.
Rules:
  1. The program is the real one, and nothing is done that an owner could not do by hand; only time
     is moved, past the guardian's delay.
  2. The guardian is the real one too: it recomputes the root from the agents' own receipts, and
     takes none that their nodes have not signed.
  3. The claim is by what an agent kept: the coordinator is not asked.
  4. This module needs the extra `chain`; whoever imports it has asked `demo_terms` before.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import trio

from agent.paper_rules import Kept, proofs_in, vouchers_in
from agent.papers import read_papers
from coordinator.log import logging_into
from coordinator.protocol.signing import Keypair, generate, load_keypair, save_keypair
from hypernode.claims import deposit
from hypernode.demo_terms import CREDIT, TEST_PAY, Claim
from hypernode.guardian.fetching import Coordinator
from hypernode.guardian.judgement import Bounds
from hypernode.guardian.watching import Guardian, Report
from hypernode.kept_claims import claim_kept
from hypernode.settlement_web import SettlementWeb
from onchain.address import encode_address
from onchain.amounts import format_hyper, parse_hyper
from onchain.deeds import carry_out
from onchain.fees import Fees
from onchain.journal import MemoryJournal
from onchain.localnet import GENESIS, LocalNet, development_mint, open_node
from onchain.opening import market_of, opening
from onchain.places import Market
from onchain.program import DEVELOPMENT_ID
from onchain.role_calls import Roles
from onchain.sender import Sender
from onchain.views import Limits

_SOL: Final = 10**9
#: Finality and some slots more, ms of the chain's time.
_FINAL_MS: Final = 30_000
_FAST_DELAY_S: Final = 3600
_DAY_S: Final = 86_400
#: The last receipts leave some seconds after their jobs.
_RECEIPTS_S: Final = 30.0
#: A proof leaves with the round of settlement that sees its root active.
_PAPERS_S: Final = 10.0
_KEYS: Final = ("admin", "publisher", "guardian", "treasury", "fees", "submitter")


def key_in(folder: Path, name: str) -> Keypair:
    """The key of this name; made at its first use."""
    path = folder / f"{name}.json"
    if not path.exists():
        save_keypair(path, generate())
    return load_keypair(path)


@dataclass
class DemoChain:
    """A market on a chain of this process."""

    folder: Path
    url: str
    net: LocalNet
    market: Market

    def key(self, name: str) -> Keypair:
        return key_in(self.folder, name)

    def config(self) -> Path:
        """The coordinator's settings, as a file."""
        wallets = {name: encode_address(self.key(name).address) for name in _KEYS}
        path = self.folder / "coordinator.toml"
        lines = {
            "rpc": [self.url],
            "ledger": encode_address(self.market.ledger),
            "publisher_key": str(self.folder / "publisher.json"),
            "fee_wallet": wallets["fees"],
            "treasury_wallet": wallets["treasury"],
            "chain_every_s": 1.0,
            "epoch_every_s": 604_800.0,
            "admin_wallets": [wallets["admin"]],
        }
        path.write_text(
            "".join(f"{name} = {msgspec.json.encode(value).decode()}\n" for name, value in
                    lines.items())
        )  # fmt: skip
        return path

    async def pass_time(self, ms: int = _FINAL_MS) -> None:
        await self.net.advance(ms)

    async def settle(self, url: str, agents: list[str]) -> Claim:
        """Close an epoch, let the guardian approve it, claim for the first agent that has earned.

        Args:
            url: The coordinator's.
            agents: Names of the agents' wallets and state folders.
        """
        for name in agents:
            await self.net.airdrop(self.key(name).address, _SOL)
        async with SettlementWeb(url, self.key("admin"), scope="admin") as web:
            await self._publish(web, url, agents)
            found = await self._kept(agents)
            if found is None:
                return Claim(skipped="no agent has earned anything")
            name, kept = found
            wallet = self.key(name)
            paid = await claim_kept(
                self.net.chain, self.market, wallet, proofs_in(kept), vouchers_in(kept), Fees()
            )
            # The coordinator sees it too: its books and the chain agree in the end.
            await self.pass_time()
            await web.settle_now()
            return Claim(
                wallet=encode_address(wallet.address),
                before=format_hyper(paid.before),
                after=format_hyper(paid.after),
                signature=paid.signatures[0],
            )

    async def _kept(self, agents: list[str]) -> tuple[str, Kept] | None:
        """The first agent that was sent a proof, and what it keeps; None: none was in time."""
        deadline = trio.current_time() + _PAPERS_S
        while trio.current_time() < deadline:
            for name in agents:
                address = encode_address(self.key(name).address)
                kept = await trio.to_thread.run_sync(read_papers, self.folder / name, address)
                if kept is not None and kept.proofs:
                    return name, kept
            await trio.sleep(0.2)
        return None

    async def _publish(self, web: SettlementWeb, url: str, agents: list[str]) -> None:
        """From the closing of an epoch to its activation."""
        told = await web.settle_now()
        if told.alarm:
            msg = f"the epoch was not published: {told.alarm}"
            raise RuntimeError(msg)
        await self.pass_time()
        await web.settle_now()
        await self._approve(url, agents)
        await self.pass_time(1000 * (_FAST_DELAY_S + 60))
        await web.settle_now()
        await self.pass_time()
        await web.settle_now()

    async def _approve(self, url: str, agents: list[str]) -> None:

        folder = self.folder / "guardian"
        (folder / "receipts").mkdir(parents=True, exist_ok=True)
        async with Coordinator(url) as coordinator:
            guardian = Guardian(
                chain=self.net.chain,
                market=self.market,
                sender=Sender(self.net.chain, MemoryJournal()),
                key=self.key("guardian"),
                coordinator=coordinator,
                folder=folder,
                # Nothing rests on the coordinator's word alone: the agents signed their receipts.
                bounds=Bounds(
                    fee_wallet=self.key("fees").address,
                    treasury_wallet=self.key("treasury").address,
                ),
                cancel_before_s=0,
                run_thread=trio.to_thread.run_sync,
                unix_s=trio.current_time,
            )
            report = await self._look(guardian, agents)
            deadline = trio.current_time() + _RECEIPTS_S
            while report.did == "waiting" and trio.current_time() < deadline:
                await trio.sleep(0.5)
                report = await self._look(guardian, agents)
        if report.did != "approved":
            msg = f"the guardian {report.did}: {'; '.join(map(str, report.findings))}"
            raise RuntimeError(msg)

    async def _look(self, guardian: Guardian, agents: list[str]) -> Report:
        """One round, with the receipts that the agents have by now."""
        for name in agents:
            kept, sent = self.folder / name / "receipts.jsonl", guardian.folder / "receipts"
            if kept.exists():
                await trio.to_thread.run_sync(partial(shutil.copy, kept, sent / f"{name}.jsonl"))
        return await guardian.round()


@asynccontextmanager
async def demo_chain(folder: Path) -> AsyncIterator[DemoChain]:
    """A chain of this process, with a market in which the submitter has deposited."""
    node = await trio.to_thread.run_sync(open_node)
    # Node and guardian speak as the children do: into a file of their own.
    with (folder / "chain.log").open("w", encoding="utf-8") as out, logging_into(out):
        async with trio.open_nursery() as nursery:
            ports = await nursery.start(node.serve, "127.0.0.1", 0)
            net = LocalNet(f"http://127.0.0.1:{ports.http}")
            try:
                yield await _opened(folder, f"http://127.0.0.1:{ports.http}", net)
            finally:
                with trio.CancelScope(shield=True):
                    await net.aclose()
            nursery.cancel_scope.cancel()


async def _opened(folder: Path, url: str, net: LocalNet) -> DemoChain:

    keys = {name: key_in(folder, name) for name in _KEYS}
    for keypair in keys.values():
        await net.airdrop(keypair.address, _SOL)
    mint = development_mint()
    for name, amount in (("submitter", CREDIT), ("treasury", TEST_PAY)):
        await net.mint(mint, keys[name].address, parse_hyper(amount))
    admin = keys["admin"]
    market = market_of(DEVELOPMENT_ID, admin.address, mint.new.mint, GENESIS)
    roles = Roles(
        admin=admin.address,
        publisher=keys["publisher"].address,
        guardian=keys["guardian"].address,
    )
    recipe = opening(market, payer=admin, base=admin, roles=roles, limits=_limits())

    async def is_open() -> bool:
        return (await net.chain.accounts([market.ledger])).values[0] is not None

    await carry_out(net.chain, recipe, market.program, Fees(), name="open", is_done=is_open)
    for name, amount in (("submitter", CREDIT), ("treasury", TEST_PAY)):
        await deposit(net.chain, market, keys[name], parse_hyper(amount), Fees())
    await net.advance(_FINAL_MS)
    return DemoChain(folder, url, net, market)


def _limits() -> Limits:
    """As an owner might choose them, but that an epoch may follow another at once."""
    much = parse_hyper("1000000")
    return Limits(
        max_epoch_increase=much,
        window_limit=much,
        advance_cap=0,
        wallet_advance_cap=0,
        voucher_limit=0,
        min_deposit=1,
        min_epoch_interval=1,
        slow_delay=_DAY_S,
        fast_delay=_FAST_DELAY_S,
        window_secs=_DAY_S,
        exit_after=7 * _DAY_S,
        config_delay=2 * _DAY_S,
    )
