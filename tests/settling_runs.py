"""The whole settler over loopback JSON-RPC with two bad nodes, from one seed: paid once, always.

`python -m tests.settling_runs [--runs N] [--seed N]` lives markets: earnings, withdrawals,
deposits, epochs, a guardian's approvals, claims. Each goes over sockets to two nodes that drop,
delay, refuse (429, 500), answer garbage, lag behind, lie about deposits, are dead for a while, and
let transactions fall so that they expire. The coordinator, the guardian and whoever claims are
killed at any moment and start again over the same rows, files and journals; the nodes' servers are
killed and come back on the same ports, over the same chain.
At the end the faults stop. Then every wallet has what its leaf says, once; ledger, vault, token
accounts and books agree on the unit; each epoch has one root; and every row is audited.
Not covered: processes of their own (`tests.kill_runs` kills those), forks of the chain.
"""

from __future__ import annotations

import argparse
import base64
import json
import random  # noqa: TID251 - seeded generators
import secrets
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import based58
import trio

from coordinator.store.settlement_values import EpochState as S
from onchain.address import encode_address
from onchain.chain_errors import ChainError
from onchain.claim import claim_intent, plan_claim
from onchain.devnode import DevNode, Ports
from onchain.devnode_http import Answer, Reply
from onchain.endpoints import Node, Nodes
from onchain.errors import OnchainError
from onchain.journal import FileJournal
from onchain.leaves import LeafFile
from onchain.program.layout import DEPOSIT_RECORD
from onchain.publish import Roots
from onchain.reads import read_claim
from onchain.sender import Pace, Sender
from onchain.solana_chain import SolanaChain
from tests.build import ALICE, BOB, OPERATOR
from tests.chain_faults import FaultyNode
from tests.chain_market import FEE_WALLET
from tests.chains import key
from tests.ledger_values import LIMITS
from tests.settling import open_house

WALLETS: Final = tuple(each.address for each in (OPERATOR, ALICE, BOB, FEE_WALLET))
#: What befalls a call, and how often in a hundred; else it is answered as it should be.
FAULTS: Final = {
    "429": 4,
    "500": 4,
    "garbage": 2,
    "empty": 2,
    "dead": 4,
    "late": 6,
    "lag 40": 3,
    "lie": 5,
    # Of what is sent.
    "lost": 12,
    "drop": 15,
}
_SENDING: Final = frozenset({"lost", "drop"})
SLOT_S: Final = 0.004
PACE: Final = Pace(poll_s=0.01, resend_s=0.05, patience_s=1.5)
#: Rounds of peace within which everything must be paid.
PEACE_ROUNDS: Final = 60


@dataclass
class BadNode(FaultyNode):
    """A node whose every call may go wrong, by a generator; `seen` counts how."""

    rng: random.Random = field(default_factory=lambda: random.Random(0))
    seen: Counter[str] = field(default_factory=Counter)
    is_bad: bool = True
    #: Trio's time until which nobody is there.
    dead_until: float = 0.0
    #: Signatures of transactions that were taken and let fall.
    dropped: set[bytes] = field(default_factory=set)

    async def _reply(self, how: str, answer: Answer, body: bytes) -> Reply:
        asked = json.loads(body)
        how = self._fault(asked["method"]) if self.is_bad else "ok"
        if how != "ok":
            self.seen[how] += 1
        if trio.current_time() < self.dead_until:
            raise trio.BrokenResourceError
        match how:
            case "late":
                await trio.sleep(self.rng.uniform(0.0, 0.12))
            case "drop":
                raw = base64.b64decode(asked["params"][0])
                self.dropped.add(raw[1:65])
                result = based58.b58encode(raw[1:65]).decode()
                return Reply(json.dumps({"jsonrpc": "2.0", "id": 1, "result": result}).encode())
            case "lost":
                await answer(body)
                raise trio.BrokenResourceError
            case "lie":
                return _lied(await answer(body))
        return await super()._reply("ok" if how == "late" else how, answer, body)

    def _fault(self, method: str) -> str:
        drawn = self.rng.randrange(100)
        for how, weight in FAULTS.items():
            if how in _SENDING and method != "sendTransaction":
                continue
            if how in {"lag 40", "lie"} and method != "getMultipleAccounts":
                continue
            drawn -= weight
            if drawn < 0:
                return how
        return "ok"


def _lied(reply: Reply) -> Reply:
    """The same answer with a million base units more in each deposit record."""
    document = json.loads(reply.body)
    for each in (document.get("result") or {}).get("value", []):
        data = base64.b64decode(each["data"][0]) if each else b""
        if data[:8] == DEPOSIT_RECORD.discriminator:
            more = int.from_bytes(data[72:80], "little") + 10**6
            each["data"][0] = base64.b64encode(
                data[:72] + more.to_bytes(8, "little") + data[80:]
            ).decode()
    return Reply(json.dumps(document).encode())


class Run:
    """One history."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.rng = random.Random(seed)
        self.folder = folder
        self.bad = [BadNode(rng=random.Random(f"{seed} node {n}")) for n in range(2)]
        self.seen: Counter[str] = Counter()
        self._scopes: list[trio.CancelScope] = []
        self._ports: list[Ports] = []

    async def live(self, steps: int) -> Counter[str]:
        """Play, then check; what was seen.

        Raises:
            AssertionError: a promise was broken.
        """
        self.house = await open_house(self.folder)
        machine = self.house.bazaar.chain.machine
        self.nodes = [
            DevNode(machine, slot_s=slot_s, around=bad.around)
            for slot_s, bad in zip((SLOT_S, None), self.bad, strict=True)
        ]
        async with trio.open_nursery() as self.nursery:
            for number in range(2):
                await self._begin_node(number)
            try:
                await self._restart()
                for step in range(steps):
                    await self._step(step)
                await self._peace()
            except BaseException:
                await self._close()
                raise
            self.nursery.cancel_scope.cancel()
        landed = self.house.bazaar.chain.machine.landed
        for each in self.bad:
            self.seen += each.seen
            # The same bytes may have been sent again, and landed then.
            self.seen["expired"] += len(each.dropped - landed.keys())
        await self._check()
        return self.seen

    # ---- nodes and processes ------------------------------------------------------------------

    async def _begin_node(self, number: int) -> None:
        scope = trio.CancelScope()
        ports = self._ports[number] if number < len(self._ports) else None

        async def serve(*, task_status: trio.TaskStatus[Ports]) -> None:
            with scope:
                http, websocket = (ports.http, ports.websocket) if ports else (0, None)
                await self.nodes[number].serve(
                    "127.0.0.1", http, websocket, task_status=task_status
                )

        told: Ports = await self.nursery.start(serve)
        self._ports[number:] = [told] if ports is None else self._ports[number:]
        self._scopes[number : number + 1] = [scope]

    def _chain(self) -> SolanaChain:
        nodes = [Node(f"http://127.0.0.1:{each.http}", call_s=0.3) for each in self._ports]
        return SolanaChain(Nodes(nodes, patience_s=1.0, jitter=self.rng.random))

    async def _restart(self) -> None:
        """The coordinator's process dies and begins again: rows, files, journal are what it has."""
        urls = [f"http://127.0.0.1:{each.http}" for each in self._ports]
        await self.house.settlement.aclose()
        self.house.chain = self._chain()
        self.house.start(rpc=urls, second_opinion="0.000001")
        self.house.settlement._pace = PACE

    async def _close(self) -> None:
        """Let go of sockets and the journal: a killed process does not have to."""
        with trio.CancelScope(shield=True):
            await self.house.settlement.aclose()

    async def _killed(self, what: str, deed: Callable[[], Awaitable[Any]]) -> None:
        """A deed of a process that may be killed in it; what the chain refuses is tried later."""
        seconds = self.rng.uniform(0.0, 0.8) if self.rng.random() < 0.4 else 3.0
        with trio.move_on_after(seconds) as scope, suppress(ChainError, OnchainError):
            await deed()
            self.seen[what] += 1
        if scope.cancelled_caught:
            self.seen[f"killed: {what}"] += 1

    # ---- the history --------------------------------------------------------------------------

    async def _step(self, step: int) -> None:
        match self.rng.choice(("round", "round", "round", "earn", "money", "node", "claim")):
            case "round":
                await self._round()
            case "earn":
                self.house.market.look()
                self.house.market.earn(f"job {step}")
            case "money":
                await self._money(step)
            case "node":
                await self._kill_node()
            case "claim":
                for wallet in self.rng.sample(WALLETS, 2):
                    await self._killed("claim", partial(self._claim, wallet))
        if self.rng.random() < 0.5:
            self.house.later(self.rng.choice((30, 3_600, LIMITS.slow_delay)))

    async def _round(self) -> None:
        house, close_now = self.house, self.rng.random() < 0.7
        before = self.seen["round"]
        await self._killed("round", lambda: house.round(close_now=close_now))
        if self.seen["round"] == before or self.rng.random() < 0.2:
            await self._restart()
        if self.rng.random() < 0.5:
            await self._killed("approval", self._approve)

    async def _approve(self) -> None:
        """The guardian, in a process of its own with its own journal."""
        epoch = next(iter(self.house.market.reader.epochs(1)), None)
        if epoch is None or epoch.state is not S.PUBLISHED:
            return
        journal, chain = FileJournal(self.folder / "guardian.journal"), self._chain()
        try:
            path = self.house.settlement.files.path(epoch.number, epoch.data_hash)
            with path.open("rb") as opened:
                sender = Sender(chain, journal, pace=PACE)
                roots = Roots(chain, sender, self.house.bazaar.market, key("payer"))
                await roots.approve(LeafFile(opened), guardian=key("guardian"))
        finally:
            journal.release()
            with trio.CancelScope(shield=True):
                await chain.aclose()

    async def _money(self, step: int) -> None:
        """Somebody deposits, or makes credit its earnings."""
        who = self.rng.choice((ALICE, BOB))
        amount = self.rng.randrange(1, 900)
        if self.rng.random() < 0.5:
            await self.house.bazaar.deposit(who.address, amount)
        else:
            signed = {"ledger": self.house.bazaar.market.ledger}
            self.house.market.look()
            wish = self.house.market.wish_to_withdraw(who, amount, f"w{step}", signed=signed)
            self.house.market.ask(wish)
        self.seen["money"] += 1

    async def _kill_node(self) -> None:
        number = self.rng.randrange(2)
        self._scopes[number].cancel()
        self.seen["killed: node"] += 1
        await trio.sleep(self.rng.uniform(0.0, 0.1))
        await self._begin_node(number)
        if self.rng.random() < 0.5:
            self.bad[number].dead_until = trio.current_time() + self.rng.uniform(0.0, 1.0)

    async def _claim(self, wallet: bytes) -> None:
        """A wallet's own process: its proof from the house, its journal on its disk."""
        house = self.house
        proofs = house.settlement.proofs
        proof = None if proofs is None else await proofs.find(wallet)
        if proof is None:
            return
        market, chain = house.bazaar.market, self._chain()
        journal = FileJournal(self.folder / f"{encode_address(wallet)[:8]}.journal")
        try:
            state = await read_claim(chain, market, wallet)
            plan = plan_claim(market, state, proof, payer=house.bazaar.payer)
            intent = claim_intent(chain, market, wallet, state, plan)
            await Sender(chain, journal, pace=PACE).send(intent)
        finally:
            journal.release()
            with trio.CancelScope(shield=True):
                await chain.aclose()

    # ---- the end ------------------------------------------------------------------------------

    async def _peace(self) -> None:
        """The faults are over: one more epoch with all that was earned, and every wallet claims."""
        for bad in self.bad:
            bad.is_bad, bad.dead_until = False, 0.0
        await self._restart()
        house, alarm = self.house, ""
        for _ in range(PEACE_ROUNDS):
            house.later(LIMITS.slow_delay)
            await trio.sleep(0.02)
            alarm = await house.round(close_now=True)
            for wallet in WALLETS:
                if self._owed(wallet):
                    await self._killed("claim", partial(self._claim, wallet))
            active = house.market.reader.active_epoch()
            if not alarm and active and not any(map(self._owed, WALLETS)):
                return
        msg = f"nothing is left to pay within {PEACE_ROUNDS} rounds of peace: {alarm}"
        raise AssertionError(msg)

    def _owed(self, wallet: bytes) -> int:
        """What a wallet has earned and was not booked as paid."""
        name = encode_address(wallet)
        return self.house.market.balance(f"earned:{name}")

    async def _check(self) -> None:
        house, bazaar = self.house, self.house.bazaar
        reader, ledger = house.market.reader, await bazaar.ledger()
        paid = 0
        for wallet in WALLETS:
            lifetime = reader.account(f"earned:{encode_address(wallet)}").credits
            assert await bazaar.tokens(wallet) == lifetime, "every wallet is paid exactly once"
            assert reader.claim(wallet).claimed == lifetime, "every claim is booked once"
            paid += lifetime
        assert ledger.total_claimed == paid, "the ledger counts what was paid"
        vault = await bazaar.chain.token_balance(bazaar.market.vault)
        assert vault is not None
        assert vault.amount == ledger.total_deposited - paid, "the vault holds the rest"
        assert -reader.account("chain").balance == vault.amount, "the books say so too"
        epochs = reader.epochs(1_000)
        assert [each.number for each in epochs] == [*range(len(epochs), 0, -1)]
        assert ledger.last_epoch in {len(epochs), len(epochs) - 1}, "one root an epoch"
        assert ledger.active.root in {each.root for each in epochs}
        self.seen["epochs"] += sum(each.state is S.ACTIVE for each in epochs)
        self.seen["paid"] += paid
        assert house.settlement.state.unexplained == 0
        await house.close()


def live(seed: int, folder: Path, steps: int) -> Counter[str]:
    """One history; what was seen in it."""
    return trio.run(Run(seed, folder).live, steps)


def main(arguments: Sequence[str]) -> int:
    """Live; 0 if every promise was kept."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.settling_runs", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--runs", type=int, default=5, help="histories (5)")
    parser.add_argument("--steps", type=int, default=60, help="of each (60)")
    parser.add_argument("--seed", type=int, help="of the first one (by chance)")
    options = parser.parse_args(arguments)
    first = secrets.randbits(32) if options.seed is None else options.seed
    for seed in range(first, first + options.runs):
        with tempfile.TemporaryDirectory() as folder:
            seen = live(seed, Path(folder), options.steps)
        print(f"seed {seed}: every promise kept; {dict(sorted(seen.items()))}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
