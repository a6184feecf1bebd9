"""One coordinator, put together: store, engine, index, doors; and taken apart in order.

Start: store, key, index from the rows, listeners, `/readyz`. Stop: no new work, agents told,
results awaited, what waits to be sent is sent, connections closed (1012), the last batch
committed, the log of the database copied into it, the store closed.
Not here: flags and exit codes (hypernode.cli, signals).
"""

from __future__ import annotations

import secrets
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import trio
from msgspec.structs import replace
from platformdirs import user_data_path

from coordinator import events as ev
from coordinator.admission import Connections
from coordinator.api import Api
from coordinator.backups import Plan, begin_backups, keep_backups
from coordinator.blob_sweep import sweep_blobs
from coordinator.blobs import BlobFolder
from coordinator.chain_place import check_place
from coordinator.clock import Clock, SteadyClock, SystemClock
from coordinator.config import Config, on_chain, rules as rules_of
from coordinator.dispatcher import Dispatcher
from coordinator.engine import Engine
from coordinator.fleet import Fleet
from coordinator.garbage import collect_when_quiet
from coordinator.health_routes import page_of
from coordinator.http import build_app
from coordinator.key_files import check_key_files
from coordinator.leaf_files import LeafFiles
from coordinator.ledger import HOUSE
from coordinator.limits import CLOCK_SKEW_MS, CLOSE_S
from coordinator.log import get_log
from coordinator.metrics import Metrics
from coordinator.metrics_port import Page, open_metrics_port, serve_metrics
from coordinator.notify import Notifier
from coordinator.operations import Operations
from coordinator.overview import ASKED, Overview
from coordinator.protocol.errors import Refusal
from coordinator.protocol.ids import Ids
from coordinator.protocol.signin import Realm
from coordinator.protocol.signing import from_seed
from coordinator.readiness import Readiness
from coordinator.refill import refill
from coordinator.server import Listener, Server, open_listeners, port_of
from coordinator.settle import begin_settling
from coordinator.signals import Drain, heed_hangups
from coordinator.status_routes import status_router
from coordinator.store.interface import Reader, Store
from coordinator.store.sqlite import open_sqlite
from coordinator.tls import Tls, reload_certificate, tls_of, watch_certificate
from coordinator.verifier import Verifier
from coordinator.watch import Watch
from coordinator.work import House
from coordinator.writer import Applied, StoreThread, Writer
from onchain.address import decode_address, encode_address
from onchain.amounts import parse_hyper

log = get_log(__name__)

#: Threads that verify: as many as a small machine has cores.
VERIFIERS: Final = 2
SECRET_BYTES: Final = 32
#: How often the house's time is compared with the system's.
CLOCK_EVERY_S: Final = 60.0
RunThread = Callable[[Callable[[], Any]], Awaitable[Any]]


class Coordinator:
    """The parts of one coordinator, over an open store."""

    def __init__(  # noqa: PLR0913 - what a coordinator is made of; it is made in two places
        self,
        store: Store,
        reader: Reader,
        config: Config,
        *,
        house: House,
        ids: Ids,
        blobs: BlobFolder,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        run_store: Callable[[Callable[[], Applied]], Awaitable[Applied]],
        run_thread: RunThread,
    ) -> None:
        self.config = config
        self.store = store
        self.reader = reader
        self.metrics = Metrics(version=package_version(), wall_ms=clock.wall_ms)
        self.operations = Operations(rules=house.rules, clock=clock, metrics=self.metrics)
        self.operations.writer = Writer(
            Engine(store, replace(house, random_bytes=random_bytes)),
            clock,
            run_store,
            self.operations.carry_out,
            self.metrics.committed,
        )
        self.operations.verifier = Verifier(
            tell=self._tell_verdict,
            run_thread=run_thread,
            random_bytes=random_bytes,
            open_blob=blobs.view,
            workers=VERIFIERS,
        )
        self.api = Api(
            house=house,
            operations=self.operations,
            reader=reader,
            ids=ids,
            blobs=blobs,
            random_bytes=random_bytes,
            run_thread=run_thread,
        )
        self.api.leaf_files = LeafFiles(Path(config.leaves))
        self.connections = Connections(
            total_max=config.connections, per_network_max=config.connections_per_address
        )
        self.dispatcher = Dispatcher(self.api, self.connections, self.metrics)

    def _tell_verdict(self, verdict: ev.VerdictReached) -> None:
        if verdict.state != "unreadable":
            self.metrics.verdict_reached(verdict.state)
        self.operations.writer.tell(verdict)


def package_version() -> str:
    """The installed version, or `unknown` when run from a bare checkout."""
    try:
        return version("hypernode")
    except PackageNotFoundError:
        return "unknown"


def open_house(store: Store, config: Config, seed: Callable[[str], bytes]) -> tuple[House, Ids]:
    """The coordinator's key and the ids' secret: made at the first start, kept in the store."""
    with store.batch() as batch:
        keypair = from_seed(batch.secret("coordinator_key", seed("coordinator_key")))
        ids = Ids(batch.secret("ids", seed("ids")))
        check_place(batch, on_chain(config))
    realm = Realm(keypair.address, config.domain, config.uri, config.chain_id)
    admins = frozenset(decode_address(wallet) for wallet in config.admin_wallets)
    return House(rules_of(config), keypair, realm, admins, on_chain(config)), ids


async def run_coordinator(
    config: Config,
    drain: Drain,
    *,
    ready: Callable[[int], None] | None = None,
    notifier: Notifier | None = None,
    sockets: Sequence[socket.socket] = (),
) -> None:
    """Run a coordinator until the drain has ended.

    Args:
        config: The effective configuration.
        drain: Begins when the process shall stop.
        ready: Called with the port once connections are accepted.
        notifier: The service manager.
        sockets: Listening sockets that it opened; they are served instead of the configured port.

    Raises:
        StoreError: the database cannot be opened (another coordinator has it, a damaged file).
        OSError: the port is taken.
        TlsError: the certificate or its key cannot serve.
        ConfigError: a key file cannot, or the ledger that was named is none.
    """
    # From the first moment on: what comes while a large database opens waits, and kills nobody.
    with trio.open_signal_receiver(signal.SIGHUP) as hangups:
        await _run(config, drain, hangups, ready, notifier or Notifier(), sockets)


async def _run(
    config: Config,
    drain: Drain,
    hangups: AsyncIterator[int],
    ready: Callable[[int], None] | None,
    notifier: Notifier,
    sockets: Sequence[socket.socket],
) -> None:
    check_key_files(config)
    tls = tls_of(config, SystemClock())
    listeners = await open_listeners(config, tls, sockets)
    port = port_of(listeners[0])
    if sockets and port != config.port:
        log.warning(
            "the service manager's socket has another port than the settings",
            port=port,
            configured=config.port,
            fix=f"set port = {port} in the settings, or ListenStream={config.port} in the socket "
            "unit; the socket's is the one that is served",
        )
    config = with_port(config, port)
    make_folder(Path(config.db).parent)
    remark_on_new(Path(config.db))
    store = open_sqlite(Path(config.db))
    thread = StoreThread()
    try:
        house, ids = await thread.run(
            partial(open_house, store, config, lambda _: secrets.token_bytes(SECRET_BYTES))
        )
        coordinator = Coordinator(
            store,
            store.reader(),
            config,
            house=house,
            ids=ids,
            blobs=BlobFolder(Path(config.blobs)),
            clock=SteadyClock(),
            random_bytes=secrets.token_bytes,
            run_store=thread.run,
            run_thread=trio.to_thread.run_sync,
        )
        reload = partial(reload_certificate, tls, coordinator.metrics)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(heed_hangups, hangups, drain, reload)
            await _serve(coordinator, listeners, drain, ready, tls, notifier)
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            await thread.run(store.close)
            await trio.to_thread.run_sync(thread.close)
        log.info("stopped")


def make_folder(folder: Path) -> None:
    """Make the database's folder; of a path that somebody typed, the last part only."""
    is_ours = folder == user_data_path("hypernode")
    folder.mkdir(parents=is_ours, exist_ok=True)


def remark_on_new(db: Path) -> None:
    """Say that there was no database: a path that somebody mistyped is a market of its own."""
    if not db.exists():
        log.info("new database", db=str(db), reason="a market with books and a key of its own")


def with_port(config: Config, port: int) -> Config:
    """The configuration once the system has chosen a port: sign-in texts name the real one."""
    if config.port or not config.domain.endswith(":0"):
        return config
    domain = f"{config.domain.removesuffix(':0')}:{port}"
    uri = config.uri.replace(config.domain, domain)
    return replace(config, domain=domain, uri=uri)


async def _serve(
    coordinator: Coordinator,
    listeners: Sequence[Listener],
    drain: Drain,
    ready: Callable[[int], None] | None,
    tls: Tls | None,
    notifier: Notifier,
) -> None:
    config, operations = coordinator.config, coordinator.operations
    readiness = Readiness(drain, operations.writer)
    watch = Watch(
        coordinator.api,
        coordinator.store.reader(),
        coordinator.metrics,
        readiness,
        Path(config.db),
        ASKED,
    )
    overview = Overview(
        coordinator.api,
        coordinator.connections,
        coordinator.metrics,
        readiness,
        watch,
        package_version(),
    )
    app = build_app(
        coordinator.api,
        config,
        metrics=coordinator.metrics,
        readiness=readiness,
        more=[status_router(overview, Fleet(coordinator.api))],
    )
    server = Server(
        app,
        coordinator.dispatcher.handle,
        config,
        connections=coordinator.connections,
        metrics=coordinator.metrics,
        drain=drain,
    )
    backups = await plan_backups(coordinator)
    await _rebuild(coordinator, watch)
    readiness.is_started = True
    async with trio.open_nursery() as house:
        house.start_soon(operations.run)
        house.start_soon(coordinator.metrics.watch_loop)
        house.start_soon(watch.run)
        await house.start(
            own_metrics_port,
            config,
            partial(_page, coordinator.api, coordinator.metrics, readiness),
        )
        await begin_settling(coordinator, house)
        house.start_soon(collect_when_quiet, lambda: operations.writer.is_idle)
        house.start_soon(watch_clock, operations.clock)
        house.start_soon(sweep_blobs, operations, coordinator.api.blobs, coordinator.api.uploads)
        if tls is not None:
            house.start_soon(watch_certificate, tls, coordinator.metrics, config.domain)
        if backups is not None:
            house.start_soon(backups)
        await fund_test_jobs(coordinator)
        async with trio.open_nursery() as doors:
            await doors.start(server.run, listeners)
            # Only now: nobody waits for the doors while a long queue comes back.
            house.start_soon(refill, operations, coordinator.api.read)
            port = port_of(listeners[0])
            key = encode_address(coordinator.api.coordinator_key)
            log.info("ready", port=port, db=config.db, coordinator_key=key)
            if ready is not None:
                ready(port)
            notifier.ready(f"ready on port {port}")
            house.start_soon(
                notifier.keep_alive,
                lambda: _status_of(coordinator, readiness, port),
                lambda: "a write to the disk hangs" if operations.writer.is_stuck else "",
            )
            await drain.wait()
            notifier.stopping(f"draining: {operations.attempts_open} attempts are out")
            # Requests that have begun may end; then nobody is left.
            doors.cancel_scope.deadline = trio.current_time() + config.drain_s
            await _drain(coordinator)
        await operations.finish()
        log.info("drained", attempts=operations.attempts_open)
        house.cancel_scope.cancel()


async def _rebuild(coordinator: Coordinator, watch: Watch) -> None:
    """Rebuild the index and add up the books: nothing is done with wrong ones, not even once."""
    async with trio.open_nursery() as start:
        start.start_soon(watch.add_up)
        # It begins, in a thread: a million accounts are added up while the index is rebuilt.
        await trio.lowlevel.checkpoint()
        coordinator.operations.restore(coordinator.reader)


async def own_metrics_port(config: Config, page: Page, task_status: trio.TaskStatus[None]) -> None:
    """Serve the page of metrics on its own port, if it has one."""
    if config.metrics_port is None:
        task_status.started()
        return
    listeners = await open_metrics_port(config.metrics_port)
    task_status.started()
    await serve_metrics(listeners, page)


async def _page(api: Api, metrics: Metrics, readiness: Readiness) -> bytes:
    await trio.lowlevel.checkpoint()
    return page_of(api, metrics, readiness)


async def plan_backups(coordinator: Coordinator) -> Callable[[], Awaitable[None]] | None:
    """What makes the scheduled backups, if there are any.

    Raises:
        BackupError: their folder cannot be used.
    """
    config, metrics = coordinator.config, coordinator.metrics
    if config.backup_folder is None:
        return None
    plan = Plan(
        db=Path(config.db),
        folder=Path(config.backup_folder),
        every_s=config.backup_every_s,
        keep=config.backup_keep,
        program=package_version(),
        blobs=Path(config.blobs) if config.backup_blobs else None,
    )
    metrics.backup_interval.set(plan.every_s)
    last_ms = await begin_backups(plan, metrics)
    return partial(keep_backups, plan, last_ms, coordinator.operations.clock, metrics)


async def _drain(coordinator: Coordinator) -> None:
    """Let what is out come in, then close what is open, within the drain's time."""
    operations, seconds = coordinator.operations, coordinator.config.drain_s
    log.info("draining", seconds=seconds, attempts=operations.attempts_open)
    closing_s = min(CLOSE_S, seconds / 5)
    await operations.drain(seconds - closing_s)
    await coordinator.dispatcher.close(closing_s)


def _status_of(coordinator: Coordinator, readiness: Readiness, port: int) -> str:
    """One line for the service manager."""
    operations = coordinator.operations
    if reasons := readiness.reasons():
        return "not ready: " + "; ".join(reason.sentence for reason in reasons)
    return (
        f"ready on port {port}: {len(operations.agents)} agents, "
        f"{operations.attempts_open} attempts out, {len(operations.scheduler)} jobs wait"
    )


async def watch_clock(clock: Clock) -> None:
    """Say it when somebody has set the system's clock: ours follows it slowly, or at a restart."""
    while isinstance(clock, SteadyClock):
        ahead_ms = clock.ahead_ms()
        if abs(ahead_ms) > CLOCK_SKEW_MS:
            log.warning("the system clock was set: a restart follows it", ahead_s=ahead_ms // 1000)
        await trio.sleep(CLOCK_EVERY_S)


async def fund_test_jobs(coordinator: Coordinator) -> None:
    """With the development faucet on, the treasury has one day's test pay, given at a start."""
    amount = parse_hyper(coordinator.config.test_pay_daily)
    if coordinator.config.faucet and amount:
        day = coordinator.operations.clock.wall_ms() // (24 * 3600 * 1000)
        event = ev.FaucetAsked(HOUSE, amount, f"test pay {day}")
        try:
            await coordinator.operations.writer.ask(event)
        except Refusal as refusal:
            log.warning("no test pay", code=refusal.code)
