"""The guardian's rounds: a pending root is approved or cancelled; thieves find the doors shut.

In:   a chain of its own choosing, its key, its folder, the coordinator's public pages.
Out:  approvals, cancellations, pauses; a `Report` of each round, with every reason.
Rules:
  1. A root is approved if nothing is wrong with it (`judgement`), and cancelled otherwise.
  2. What cannot be fetched, and receipts that lack, are waited for until
     `cancel_before_s` before the root would become
     active by itself; then it is cancelled. Whatever else is wrong is cancelled at once.
  3. A wallet that was paid more than the guardian itself knows that it earned pauses claims and
     vouchers.
  4. Leaf files that passed stay here for ever; so do the coordinator's key, the ledger, and the
     leaves that were active at the beginning. Another key or ledger is refused.
Not covered: two guardians of one ledger (the second finds everything done); what happened while
this process was away, but for what the chain still shows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

from coordinator.log import get_log
from coordinator.protocol.signing import Keypair
from hypernode.guardian.evidence import Evidence, read_evidence
from hypernode.guardian.fetching import Coordinator, NotFetched
from hypernode.guardian.judgement import Bounds, Finding, Known, judge
from hypernode.guardian.keeping import ReceiptStore
from onchain import role_calls
from onchain.address import encode_address
from onchain.amounts import format_hyper
from onchain.chain import Chain
from onchain.errors import OnchainError
from onchain.leaves import Kind, LeafFile
from onchain.listing import RunThread, list_claims, list_deposits
from onchain.places import Market
from onchain.publish import Roots
from onchain.reads import LedgerNow, read_records
from onchain.role_calls import Pause
from onchain.role_keys import HeldKey, check_keys
from onchain.sender import Intent, Sender
from onchain.transactions import Recipe
from onchain.views import Root

log = get_log(__name__)

#: What may be right a little later.
MENDABLE: Final = frozenset({"withheld", "rise_unproven", "one_sided", "fee_leaf"})
STATE_FILE: Final = "guardian.json"
_PAUSES: Final = Pause.CLAIM | Pause.REDEEM


class ForeignFolder(OnchainError):
    """This folder belongs to another ledger or coordinator."""


class Memory(msgspec.Struct, rename="camel"):
    """What the folder is about; hexadecimal."""

    ledger: str
    coordinator_key: str
    chain: str
    #: Epoch of the root that was active at the beginning; 0: there was none.
    baseline: int
    #: Withdrawals by epoch, then by wallet: those of roots that were approved, base units.
    withdrawn: dict[str, dict[str, int]] = {}


@dataclass
class Report:
    """One round."""

    #: `idle`, `approved`, `cancelled`, `waiting`, `watching` (approved before).
    did: str = "idle"
    epoch: int = 0
    findings: tuple[Finding, ...] = ()
    paused_for: tuple[str, ...] = ()
    #: Of a root that waits: when it is cancelled unless the findings are gone, Unix s of the chain.
    until_s: int = 0
    clock_s: int = 0


@dataclass
class Tally:
    """What was done since the start, for gauges."""

    approved: int = 0
    cancelled: int = 0
    pauses: int = 0
    looked_s: float = 0.0
    failing: bool = False


@dataclass
class Guardian:
    """Watches one ledger."""

    chain: Chain
    market: Market
    sender: Sender
    key: Keypair
    coordinator: Coordinator
    folder: Path
    bounds: Bounds
    cancel_before_s: int
    run_thread: RunThread
    unix_s: Callable[[], float]
    tally: Tally = field(default_factory=Tally)
    #: Where the key was read, for people.
    key_where: str = "the guardian's key"
    #: Of the coordinator whose receipts count, once it is known.
    _coordinator_key: bytes = b""
    _store: ReceiptStore | None = None

    @property
    def _roots(self) -> Roots:
        return Roots(self.chain, self.sender, self.market, self.key)

    async def round(self) -> Report:
        """Look once, and do what is to be done.

        Raises:
            WrongKey: this key is not the ledger's guardian; nothing was fetched.
            ChainError, OnchainError: it could not; nothing was decided.
        """
        slot, deposits = await list_deposits(self.chain, self.market, self.run_thread)
        now, _ = await read_records(self.chain, self.market, (), slot_min=slot)
        check_keys(now.ledger, {"guardian": HeldKey(self.key.address, self.key_where)})
        memory = await self._remember(now)
        self._coordinator_key = bytes.fromhex(memory.coordinator_key)
        evidence: Evidence = await self.run_thread(partial(self._evidence, memory))
        pending = now.ledger.pending
        report = Report("watching" if pending.epoch else "idle", pending.epoch)
        if pending.epoch and not now.ledger.approved:
            known = Known(
                ledger_address=self.market.ledger,
                ledger=now.ledger,
                deposits={owner: each.deposited for owner, each in deposits.items()},
                evidence=evidence,
                baseline=await self.run_thread(partial(self._baseline, memory)),
            )
            report = await self._decide(now, memory, known)
        report.paused_for = await self._watch_records(now, memory, evidence)
        self.tally.looked_s = self.unix_s()
        return report

    def receipt_store(self) -> ReceiptStore | None:
        """Where receipts that agents send are kept; None before the coordinator is known."""
        if self._store is None and self._coordinator_key:
            self._store = ReceiptStore(self.folder / "receipts", self._coordinator_key)
        return self._store

    # ---- memory -------------------------------------------------------------------------------

    async def _remember(self, now: LedgerNow) -> Memory:
        """What this folder is about; learnt at the first round, held to ever after."""
        path = self.folder / STATE_FILE
        if path.exists():
            memory = msgspec.json.decode(path.read_bytes(), type=Memory)
            if memory.ledger != self.market.ledger.hex():
                raise ForeignFolder(ForeignFolder.__doc__)
            return memory
        ledger, coordinator_key, chain = await self.coordinator.identity()
        if ledger != self.market.ledger:
            msg = f"this coordinator settles on {encode_address(ledger)}"
            raise ForeignFolder(msg)
        active = now.ledger.active
        if active.epoch:
            await self._fetch(active)
        memory = Memory(ledger.hex(), coordinator_key.hex(), chain, active.epoch)
        self._write(memory)
        log.info("guardian begins", baseline=active.epoch, coordinator=coordinator_key.hex())
        return memory

    def _write(self, memory: Memory) -> None:
        path = self.folder / STATE_FILE
        draft = path.with_suffix(".new")
        draft.write_bytes(msgspec.json.encode(memory))
        draft.rename(path)

    def _leaves(self, epoch: int) -> Path:
        return self.folder / "leaves" / f"epoch-{epoch:06}.leaves"

    def _evidence(self, memory: Memory) -> Evidence:
        found = read_evidence(self.folder / "receipts", bytes.fromhex(memory.coordinator_key))
        for amounts in memory.withdrawn.values():
            for wallet, amount in amounts.items():
                found.withdrawn[bytes.fromhex(wallet)] += amount
        return found

    def _baseline(self, memory: Memory) -> dict[bytes, int]:
        if not memory.baseline:
            return {}
        with self._leaves(memory.baseline).open("rb") as file:
            return dict(LeafFile(file).leaves(Kind.EARNINGS))

    async def _fetch(self, root: Root) -> Path:
        folder = self.folder / "leaves"
        folder.mkdir(exist_ok=True)
        return await self.coordinator.leaf_file(root, folder)

    # ---- a pending root -----------------------------------------------------------------------

    async def _decide(self, now: LedgerNow, memory: Memory, known: Known) -> Report:
        pending = now.ledger.pending
        try:
            withdrawn = await self._gather(now.ledger.active, pending, memory)
        except NotFetched as error:
            return await self._wait_or_cancel(now, (Finding("withheld", str(error)),))
        known.evidence.withdrawn.update(withdrawn)
        findings = await self.run_thread(partial(self._judge, known))
        if findings:
            return await self._wait_or_cancel(now, findings)
        # Noted first: an approval that this folder does not know of would look like a theft.
        kept = {wallet.hex(): amount for wallet, amount in withdrawn.items()}
        memory.withdrawn.setdefault(str(pending.epoch), kept)
        self._write(memory)
        with self._leaves(pending.epoch).open("rb") as file:
            await self._roots.approve(LeafFile(file), guardian=self.key)
        self.tally.approved += 1
        log.info("approved", epoch=pending.epoch, root=pending.root.hex(), total=pending.total)
        return Report("approved", pending.epoch)

    async def _gather(self, active: Root, pending: Root, memory: Memory) -> Counter[bytes]:
        """Both files here, and the withdrawals that the pending root counts first."""
        if active.epoch and not self._leaves(active.epoch).exists():
            await self._fetch(active)
        await self._fetch(pending)
        found: Counter[bytes] = Counter()
        # Epochs that were cancelled counted withdrawals first, and no root of them was approved.
        last = max((int(each) for each in memory.withdrawn), default=memory.baseline)
        for epoch in range(last + 1, pending.epoch + 1):
            found.update(
                await self.coordinator.withdrawals(
                    epoch,
                    ledger=self.market.ledger,
                    coordinator_key=bytes.fromhex(memory.coordinator_key),
                    chain=memory.chain,
                )
            )
        return found

    def _judge(self, known: Known) -> tuple[Finding, ...]:
        ledger = known.ledger
        with ExitStack() as stack:
            files = [
                LeafFile(stack.enter_context(self._leaves(epoch).open("rb")))
                for epoch in (ledger.pending.epoch, ledger.active.epoch)
                if epoch
            ]
            return judge(files[0], files[1] if len(files) > 1 else None, known, self.bounds)

    async def _wait_or_cancel(self, now: LedgerNow, findings: tuple[Finding, ...]) -> Report:
        """Receipts may still come, and a file be served; nothing else mends itself."""
        pending = now.ledger.pending
        left_s = pending.active_at - self.cancel_before_s - now.clock.unix_s
        if left_s <= 0 or not all(each.code in MENDABLE for each in findings):
            return await self._cancel(pending, findings)
        now_s = now.clock.unix_s
        return Report("waiting", pending.epoch, findings, until_s=now_s + left_s, clock_s=now_s)

    async def _cancel(self, pending: Root, findings: tuple[Finding, ...]) -> Report:
        for finding in findings:
            log.error("cancels", epoch=pending.epoch, code=finding.code, said=finding.said)
        await self._roots.cancel(pending.epoch, role=self.key)
        self.tally.cancelled += 1
        return Report("cancelled", pending.epoch, findings)

    # ---- what was paid ------------------------------------------------------------------------

    async def _watch_records(
        self, now: LedgerNow, memory: Memory, evidence: Evidence
    ) -> tuple[str, ...]:
        """Wallets that were paid beyond what is known here; claims and vouchers are paused then."""
        lifetimes: dict[bytes, int] = await self.run_thread(
            partial(self._lifetimes, now, memory, evidence)
        )
        places = {self.market.claim_record(wallet): wallet for wallet in lifetimes}
        _, records = await list_claims(self.chain, self.market, places, self.run_thread)
        spare = self.bounds.unproven_max
        thieves = [w for w, record in records.items() if record.claimed > lifetimes[w] + spare]
        if not thieves:
            return ()
        for wallet in thieves:
            log.error(
                "paid beyond its lifetime",
                wallet=encode_address(wallet),
                paid=format_hyper(records[wallet].claimed),
                earned=format_hyper(lifetimes[wallet]),
            )
        clock, ledger = now.clock.unix_s, now.ledger
        if not all(clock < ledger.paused_until[index] for index in (1, 3)):
            await self._pause(now)
        return tuple(map(encode_address, thieves))

    def _lifetimes(self, now: LedgerNow, memory: Memory, evidence: Evidence) -> dict[bytes, int]:
        """By wallet: its leaf in a root that passed here, or what is proven otherwise."""
        found: dict[bytes, int] = {}
        epochs = {memory.baseline, *(int(each) for each in memory.withdrawn)}
        for epoch in epochs & {now.ledger.active.epoch, now.ledger.previous.epoch}:
            if epoch:
                with self._leaves(epoch).open("rb") as file:
                    for wallet, amount in LeafFile(file).leaves(Kind.EARNINGS):
                        found[wallet] = max(amount, found.get(wallet, 0))
        baseline = self._baseline(memory)
        for wallet in {*evidence.two_sided, *evidence.one_sided, *evidence.withdrawn, *baseline}:
            known = evidence.proven(wallet) + evidence.one_sided[wallet] + baseline.get(wallet, 0)
            found[wallet] = max(known, found.get(wallet, 0))
        return found

    async def _pause(self, now: LedgerNow) -> None:
        call = role_calls.set_paused(self.market, authority=self.key.address, flags=_PAUSES)

        async def is_done() -> bool:
            found, _ = await read_records(self.chain, self.market, ())
            return all(found.clock.unix_s < found.ledger.paused_until[each] for each in (1, 3))

        name = f"pause:{self.market.ledger.hex()}:{now.ledger.guardian_paused_at}:{now.slot}"
        await self.sender.send(Intent(name, Recipe((call,), (self.key,)), is_done, lands_once=True))
        self.tally.pauses += 1
        log.error("claims and vouchers are paused")


async def watch(guardian: Guardian, every_s: float) -> None:
    """Rounds, for ever; what goes wrong is said and tried again."""
    from onchain.chain_errors import ChainError  # noqa: PLC0415

    while True:
        try:
            report = await guardian.round()
            guardian.tally.failing = False
            if report.did == "waiting":
                said, left_s = "; ".join(map(str, report.findings)), report.until_s - report.clock_s
                log.warning("waits", epoch=report.epoch, said=said, left_s=left_s)
            elif report.did not in {"idle", "watching"}:
                log.info("round", did=report.did, epoch=report.epoch)
        except (ChainError, OnchainError, OSError) as error:
            guardian.tally.failing = True
            log.warning("round failed", error=type(error).__name__, said=str(error))
        await trio.sleep(every_s)


def page_of(tally: Tally) -> bytes:
    """The guardian's numbers, in Prometheus' text format."""
    numbers: dict[str, Any] = {
        "approved_total": tally.approved,
        "cancelled_total": tally.cancelled,
        "pauses_total": tally.pauses,
        "looked_timestamp_seconds": tally.looked_s,
        "failing": int(tally.failing),
    }
    return "".join(
        f"hypernode_guardian_{name} {value}\n" for name, value in numbers.items()
    ).encode()
