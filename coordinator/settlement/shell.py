"""The coordinator's task that settles: opens the chain, runs rounds, tells gauges how it stands.

In:   the configuration, the engine and the books, the chain's nodes.
Out:  rounds on a beat, for ever; before the doors open, one look at the chain.
Rules:
  1. A node that is silent or lies costs this task its round, and nobody else anything.
  2. The doors wait `FIRST_LOOK_S` for the first look and no longer: a restored database spends no
     credit until the chain was read (`settlement_unread`), and any other one goes on as it was.
  3. One process holds the journal, and so one settler signs.
  4. The cluster that the nodes are of, the one of the ledger, and the one of our sign-in texts are
     the same, or nothing is settled.
  5. Books that belong to no ledger yet are bound to the configured one when it was read. Where it
     is none, or a key is not its role's, such a start is refused by name; later it is an alarm.
Not here: what a round does (`settler`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import trio
from msgspec.structs import replace

from coordinator import chain_events as cev
from coordinator.clock import iso
from coordinator.config import Config, ConfigError, sponsor_rules
from coordinator.events import Event
from coordinator.leaf_files import LeafFiles
from coordinator.log import get_log
from coordinator.metrics import Metrics
from coordinator.protocol.base64url import encode_base64url
from coordinator.protocol.errors import Refusal
from coordinator.protocol.signing import Keypair, load_keypair
from coordinator.settlement.claiming import Claims
from coordinator.settlement.issuing import Issuing
from coordinator.settlement.proofs import Proofs
from coordinator.settlement.reading import Reading
from coordinator.settlement.settler import Settler, name_of
from coordinator.settlement.sponsoring import Sponsoring
from coordinator.settlement.taking import Taken, Taking
from coordinator.settlement_state import SettlementState
from coordinator.settlement_views import ProofView, VoucherView
from coordinator.store.interface import Reader, Store, StoreError
from onchain.address import decode_address, encode_address
from onchain.amounts import format_hyper, parse_hyper
from onchain.chain import Chain, Commitment
from onchain.chain_errors import ChainError, ChainLied
from onchain.clusters import cluster_of, url_of
from onchain.errors import OnchainError
from onchain.fees import Fees
from onchain.journal import FileJournal, Journal, JournalBroken, MemoryJournal
from onchain.places import Market
from onchain.program import DEVELOPMENT_ID
from onchain.publish import Roots
from onchain.role_keys import HeldKey, WrongKey, check_keys
from onchain.sender import Pace, Sender
from onchain.solana_chain import SolanaChain
from onchain.views import Ledger, NotOfTheProgram, decode_ledger, decode_market
from onchain.vouchers import SignedVoucher

log = get_log(__name__)

#: The doors wait so long for the first look: a slow node's answer.
FIRST_LOOK_S: Final = 10.0
#: A round that takes longer is broken off; the next one goes on where it stopped.
ROUND_S: Final = 900.0


class OtherCluster(ChainLied):
    """The nodes, the ledger and the settings do not speak of one cluster."""


class Settlement:
    """One house's settlement; `run` is its task."""

    def __init__(  # noqa: PLR0913 - what the house lends it; made in one place
        self,
        config: Config,
        *,
        store: Store,
        ask: Callable[[Event], Awaitable[Any]],
        files: LeafFiles,
        metrics: Metrics,
        wall_ms: Callable[[], int],
        run_thread: Callable[[Callable[[], Any]], Awaitable[Any]],
        chain: Chain | None = None,
        pace: Pace | None = None,
    ) -> None:
        """Settle as configured.

        Args:
            config: Its `ledger` and `rpc` are set.
            store: Gives readers of its own.
            ask: Hands an event to the engine.
            files: Where leaf files are kept.
            metrics: Told after each round.
            wall_ms: The house's clock.
            run_thread: Runs what takes long.
            chain: In place of the configured nodes.
            pace: Of the sender.

        Raises:
            KeyFileError: a key file does not serve.
            ConfigError: another settler holds the journal, or it is damaged.
        """
        self._config = config
        self._ask = ask
        #: Where leaf files are kept.
        self.files = files
        self._metrics = metrics
        self._wall_ms = wall_ms
        self._run_thread = run_thread
        self._reader: Reader = store.reader()
        #: Reads leaves, and nothing else does meanwhile.
        self.leaves_reader: Reader = store.reader()
        self._publisher = _key(config.publisher_key)
        self._voucher_key = _key(config.voucher_key)
        self._keys = held_keys(config, publisher=self._publisher, voucher_key=self._voucher_key)
        self._issuing: Issuing | None = None
        self._lock = trio.Lock()
        self._sponsor_key = _key(config.sponsor_key)
        self._journal = _journal(config, "settlement", self._publisher)
        self._sponsor_journal = _journal(config, "sponsor", self._sponsor_key)
        self._chain: Chain = chain or SolanaChain.of(*map(url_of, config.rpc))
        self._pace = pace
        self._settler: Settler | None = None
        #: The active root's tree; None until the market was found.
        self.proofs: Proofs | None = None
        #: Builds claims; None until the market was found.
        self.claiming: Claims | None = None
        #: Called after each round.
        self.after_round: Callable[[], None] = _nothing
        #: Pays for claims; None where no key is configured, and until the market was found.
        self.sponsoring: Sponsoring | None = None
        self._before = SettlementState(publishes=self._publisher is not None)
        metrics.settlement.is_on = True

    @property
    def state(self) -> SettlementState:
        return self._settler.state if self._settler is not None else self._before

    async def proof(self, wallet: bytes) -> ProofView | None:
        """The proof of a wallet's leaf in the active root."""
        return None if self.proofs is None else await self.proofs.view(wallet)

    @property
    def active_epoch(self) -> int:
        """Of the root that proofs are of; 0: there is none."""
        epoch = None if self.proofs is None else self.proofs.epoch
        return 0 if epoch is None else epoch.number

    @property
    def key_epoch(self) -> int | None:
        """Of the vouchers that are given now; None: none are."""
        settler = self._settler
        if self._issuing is None or settler is None or settler.now is None:
            return None
        return self._issuing.key_epoch(settler.now, settler.state.promise)

    async def signed_voucher(self, wallet: bytes) -> SignedVoucher:
        """A wallet's voucher.

        Raises:
            Refusal: `not_found`: there is none for it here.
        """
        settler = self._settler
        if self._issuing is None or settler is None or settler.now is None:
            raise Refusal("not_found", "this coordinator gives no vouchers")
        return await self._issuing.give(wallet, settler.now, settler.state.promise)

    async def voucher(self, wallet: bytes) -> VoucherView:
        """The same as HTTP shows it."""
        given = await self.signed_voucher(wallet)
        return VoucherView(
            wallet=encode_address(wallet),
            cumulative=format_hyper(given.voucher.cumulative),
            expires_at=iso(1000 * given.voucher.expires_at),
            voucher=encode_base64url(given.pack()),
        )

    async def round(self) -> None:
        """One round on the beat."""
        await self._round()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Settle, for ever; started when the chain was read, or has had its time.

        Raises:
            ConfigError: these books are new, and what was configured is not on the chain.
        """
        try:
            with trio.move_on_after(FIRST_LOOK_S) as first:
                await self._check_place()
                await self._round()
            if first.cancelled_caught or not self.state.looked_ms:
                log.warning("the chain was not read before the doors open", said=self.state.said)
            task_status.started()
            async with trio.open_nursery() as nursery:
                if self._sponsor_key is not None:
                    while self.sponsoring is None:
                        await self._beat()
                    nursery.start_soon(self.sponsoring.run)
                while True:
                    await self._beat()
        finally:
            with trio.CancelScope(shield=True):
                await self.aclose()

    async def _beat(self) -> None:
        await trio.sleep(self._config.chain_every_s)
        await self._round()

    async def _check_place(self) -> None:
        """Refuse new books at a ledger that is none, or with keys that are not its roles'."""
        if await self._read(lambda reader: reader.settlement()) is not None:
            return
        try:
            # One that was made a moment ago is not final yet, and is bound when it is.
            _, ledger = await find_market(self._chain, self._config, Commitment.CONFIRMED)
            check_keys(ledger, self._keys)
        except OtherCluster as error:
            msg = f"chain_id, rpc: {error}"
            raise ConfigError(msg) from error
        except OnchainError as error:
            setting = "" if isinstance(error, WrongKey) else "ledger: "
            msg = f"{setting}{error}"
            raise ConfigError(msg) from error
        except ChainError as error:
            log.warning("the ledger could not be read yet", said=str(error))

    async def round_now(self, anew: int = 0) -> SettlementState:
        """One round, and how it ended; an epoch is closed where the chain allows it.

        Args:
            anew: Of the last epoch, whose leaves are fixed anew first; 0: of none.

        Raises:
            Refusal: `epoch_state` or `settlement_unread`: nothing is closed anew.
        """
        if anew:
            async with self._lock:
                await self._close_anew(anew)
        return await self._round(close_now=True)

    async def _close_anew(self, number: int) -> None:
        try:
            settler = self._settler or await self._open()
            await settler.close_anew(number)
        except (ChainError, OnchainError) as error:
            raise Refusal("settlement_unread", str(error)) from error

    async def take_over(self, path: Path) -> Taken:
        """Take a root over that the chain holds and these books have forgotten: see `taking`."""
        async with self._lock:
            market, _ = await find_market(self._chain, self._config)
            await self._ask(cev.LedgerFound(market.ledger))
            taking = Taking(
                market,
                ask=self._ask,
                read=self._read,
                reading=self._reading(market),
                files=self.files,
                run_thread=self._run_thread,
            )
            return await taking.take(path)

    def _reading(self, market: Market) -> Reading:
        config = self._config
        return Reading(
            self._chain,
            market,
            read=self._read,
            run_thread=self._run_thread,
            threshold=parse_hyper(config.second_opinion),
            opinions=min(2, len(config.rpc)),
        )

    async def _round(self, *, close_now: bool = False) -> SettlementState:
        # One at a time, also before there is a settler: two would send over one journal.
        async with self._lock:
            await self._round_alone(close_now=close_now)
            return replace(self.state)

    async def _round_alone(self, *, close_now: bool) -> None:
        with trio.move_on_after(ROUND_S) as scope:
            try:
                settler = self._settler or await self._open()
                await settler.round(close_now=close_now)
            except (ChainError, OnchainError, StoreError, OSError) as error:
                self.state.alarm, self.state.said = name_of(error), str(error)
                log.warning("settlement", code=self.state.alarm, said=self.state.said)
        if scope.cancelled_caught:
            self.state.alarm, self.state.said = "round_too_long", f"longer than {ROUND_S:.0f} s"
        self._metrics.settlement.tell(self.state)
        self.after_round()

    async def _open(self) -> Settler:
        """Find the market that was pinned, and settle it from now on."""
        config, chain = self._config, self._chain
        market, _ = await find_market(chain, config)
        await self._ask(cev.LedgerFound(market.ledger))
        fees = Fees(price_max=config.fee_price_max, lamports_max=config.fee_max)
        sender = Sender(chain, self._journal, fees=fees, pace=self._pace)
        proofs = Proofs(self.leaves_reader, self.files, market.ledger, self._run_thread)
        payer = self._publisher
        if self._voucher_key is not None:
            self._issuing = Issuing(market, self._voucher_key, ask=self._ask, wall_ms=self._wall_ms)
        self.proofs = proofs
        table = None if config.lookup_table is None else decode_address(config.lookup_table)
        self.claiming = Claims(chain, market, proofs, fees, table)
        if self._sponsor_key is not None:
            self.sponsoring = Sponsoring(
                self.claiming,
                chain,
                market,
                key=self._sponsor_key,
                rules=sponsor_rules(config),
                fees=fees,
                journal=self._sponsor_journal,
                ask=self._ask,
                read=self._read,
                wall_ms=self._wall_ms,
                metrics=self._metrics.settlement.sponsor,
                pace=self._pace,
            )
        self._settler = Settler(
            ask=self._ask,
            read=self._read,
            reader=self.leaves_reader,
            files=self.files,
            reading=self._reading(market),
            proofs=proofs,
            roots=Roots(chain, sender, market, payer) if payer is not None else None,
            market=market,
            publisher=payer,
            keys=self._keys,
            epoch_every_s=config.epoch_every_s,
            wall_ms=self._wall_ms,
            run_thread=self._run_thread,
            on_trouble=self._metrics.chain_disagreed,
        )
        return self._settler

    async def _read(self, function: Callable[[Reader], Any]) -> Any:
        return await self._run_thread(lambda: function(self._reader))

    async def aclose(self) -> None:
        """Let go of nodes, journal and files."""
        if self.proofs is not None:
            self.proofs.close()
        for journal in (self._journal, self._sponsor_journal):
            if isinstance(journal, FileJournal):
                journal.release()
        await self._chain.aclose()


def _nothing() -> None:
    """Nobody listens."""


def _journal(config: Config, name: str, key: Keypair | None) -> Journal:
    """The journal of a key that is used; of none, one that holds nothing."""
    if key is None:
        return MemoryJournal()
    try:
        return FileJournal(Path(config.journal) / f"{name}.journal")
    except JournalBroken as error:
        msg = f"journal: {error}"
        raise ConfigError(msg) from error


def _key(path: str | None) -> Keypair | None:
    return None if path is None else load_keypair(Path(path))


def held_keys(config: Config, **keys: Keypair | None) -> dict[str, HeldKey]:
    """The keys at hand by the ledger's role, with the setting that named each."""
    held = {}
    for role, key in keys.items():
        setting = "publisher_key" if role == "publisher" else role
        if key is not None:
            held[role] = HeldKey(key.address, f"{setting}: {getattr(config, setting)}")
    return held


async def find_market(
    chain: Chain, config: Config, commitment: Commitment = Commitment.FINALIZED
) -> tuple[Market, Ledger]:
    """The market of the configured ledger, on the cluster that was configured, and its ledger.

    Raises:
        NotOfTheProgram: there is none at this address.
        OtherCluster: the nodes are of another cluster.
        ChainError: the chain could not be asked.
    """
    assert config.ledger is not None
    genesis = await chain.genesis_hash()
    cluster = cluster_of(genesis).value
    if cluster != config.chain_id:
        msg = f"the nodes are of {cluster}, chain_id says {config.chain_id}"
        raise OtherCluster(msg)
    program = DEVELOPMENT_ID if config.program is None else decode_address(config.program)
    found = await chain.accounts([decode_address(config.ledger)], commitment)
    if found.values[0] is None:
        msg = (
            f"nothing lies at {config.ledger} on this cluster ({cluster}), as of its final state: "
        )
        msg += "a ledger that was made a moment ago is final in some 15 s"
        raise NotOfTheProgram(msg)
    market = decode_market(found.values[0], program)
    if market.cluster_tag != genesis:
        msg = "the ledger was made for another cluster than the nodes are of"
        raise OtherCluster(msg)
    return market, decode_ledger(found.values[0], market)
