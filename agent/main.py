"""An agent of real parts: this machine, a folder of state, a socket.

In:   an `AgentConfig`.
Out:  runs until it is drained (SIGTERM, SIGINT) or refused for good (`Unwelcome`).
Rules:
  1. One agent a state directory: two with one node key would throw each other out for ever.
  2. The first signal drains, the second ends at once; either way the outbox keeps what is unsent.
  3. A token that cannot register is refused before anything is dialled or warmed up.
  4. Of a state directory that somebody named only the last folder is made: the rest may be a typing
     error, or a disk that is not mounted.
Not here: flags (`config.py`, `hypernode/cli`), devices and workers (`machine.py`).
"""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import SystemRandom  # noqa: TID251 (waiting times of a real agent: any source will do)
from ssl import SSLContext
from typing import TypeAlias

import trio
from platformdirs import user_state_path

from agent.client import Agent, connect_url
from agent.config import AgentConfig, ConfigError
from agent.control import Control
from agent.device import host_info
from agent.disk import FolderDisk, in_thread
from agent.downloads import HttpDownloader
from agent.earnings import read_earnings
from agent.guardians import Delivery, HttpPoster, deliveries
from agent.inputs import FOLDER, InputCache
from agent.keeper import disk_trouble
from agent.machine import Machine, installed_version
from agent.metrics import AgentMetrics
from agent.outbox import Outbox
from agent.papers import PapersKeeper
from agent.setup import Setup
from agent.state import State
from agent.uploads import HttpUploader
from agent.welcome import check_token
from coordinator.clock import SystemClock
from coordinator.log import get_log
from coordinator.metrics_port import open_metrics_port, serve_metrics
from coordinator.notify import Notifier
from coordinator.protocol.errors import HypernodeError
from coordinator.protocol.signing import Keypair, generate, load_keypair, save_keypair
from coordinator.protocol.trust import CaError, client_context
from onchain.address import encode_address

KEY_FILE = "node-key.json"
_LOCK_FILE = "lock"
_log = get_log("agent.main")


class StateInUse(ConfigError):
    """Another agent runs with this state directory: stop it, or pass another --state-dir."""


class CaUnusable(ConfigError):
    """The file of authorities cannot be used: check --ca."""


class MetricsPortTaken(ConfigError):
    """The port for metrics cannot be had: choose another one for --metrics-port."""


class StateDirMissing(ConfigError):
    """The folder above the state directory does not exist: make it, or pass another --state-dir."""


#: What runs beside an agent that is at work: a dashboard.
Beside: TypeAlias = Callable[[Control], Awaitable[None]]


async def run_agent(
    config: AgentConfig, notifier: Notifier | None = None, beside: Beside | None = None
) -> int:
    """Run an agent until it is drained; signals count from the first moment.

    Args:
        config: What it needs to start.
        notifier: The service manager: it is told of readiness once the host is warm.
        beside: Runs while the agent does.

    Returns:
        The signal that began the drain, 0 for none.

    Raises:
        ConfigError: `StateInUse`, `StateDirMissing`, `CaUnusable`, `NoGpu`.
        KeyFileError: the node key file cannot serve.
        Refusal: `agent_error`: no device can compute; the text says why.
        Unwelcome: the coordinator refuses this agent for good, or would; `fix` says what to do.
    """
    return await run_until_signal(partial(_run, config, beside), notifier)


def _trust(config: AgentConfig) -> SSLContext | None:
    """Whom to believe, where the coordinator is reached under TLS."""
    if not config.url.startswith("wss:"):
        return None
    try:
        return client_context(config.ca)
    except CaError as error:
        raise CaUnusable(str(error)) from error


def _poster(url: str, node_key: Keypair, config: AgentConfig) -> HttpPoster:
    """The way to a guardian."""
    name = encode_address(node_key.address)
    if not url.startswith("https:"):
        return HttpPoster(url, name)
    try:
        return HttpPoster(url, name, tls=client_context(config.ca))
    except CaError as error:
        raise CaUnusable(str(error)) from error


async def _run(config: AgentConfig, beside: Beside | None, ending: Ending) -> None:
    tls = _trust(config)
    with locked(config.state_dir):
        node_key, clock = node_key_in(config.state_dir), SystemClock()
        disk = FolderDisk(config.state_dir)
        state = await State.load(disk)
        # Once the node key is bound the token stays at home: it may be an old one.
        if config.token and not state.is_bound:
            state.wallet = check_token(
                config.token,
                pinned=state.pinned,
                node_key=node_key.address,
                now_ms=clock.wall_ms(),
            )
        earnings = await in_thread(partial(read_earnings, config.state_dir, clock.wall_ms()))
        papers = await PapersKeeper.load(
            disk,
            wallet=lambda: state.wallet or earnings.owner,
            now_ms=clock.wall_ms,
            ledger=config.ledger,
        )
        machine = await Machine.find(config)
        posters = {url: _poster(url, node_key, config) for url in config.guardians}
        sending = deliveries(posters, disk=disk, hop=in_thread, rng=SystemRandom())
        uploader = HttpUploader(config.http_url, tls=tls)
        downloader = HttpDownloader(config.http_url, tls=tls)
        inputs = InputCache(config.state_dir / FOLDER, downloader, SystemRandom())
        try:
            setup = Setup(
                connect=connect_url(config.url, tls),
                node_key=node_key,
                token=config.token,
                inventory=machine.warm_up,
                places=lambda: machine.places,
                watch=machine.watch,
                runner=machine,
                outbox=await Outbox.load(disk),
                state=state,
                uploader=uploader,
                inputs=inputs,
                clock=clock,
                rng=SystemRandom(),
                host_info=host_info(machine.devices),
                telemetry=machine.telemetry,
                earnings=earnings,
                papers=papers,
            )
            _log.info(
                "starting",
                version=installed_version() or "unreleased",
                url=config.url,
                devices=[device.name for device in machine.devices],
                node_key=encode_address(node_key.address),
                state_dir=str(config.state_dir),
            )
            ending.agent = Agent(setup)
            control = Control(
                *(config, ending.agent, machine),
                clock=clock,
                earnings=earnings,
                papers=papers,
                guardians=sending,
                node_key=node_key.address,
            )
            await live(control, ending.agent, config, beside, sending)
        finally:
            with trio.CancelScope(shield=True):
                for poster in posters.values():
                    await poster.aclose()
                await uploader.aclose()
                await downloader.aclose()
                await machine.aclose()


async def _metrics_port(config: AgentConfig) -> Sequence[trio.SocketListener]:
    """Listeners for metrics, where they are wanted."""
    if config.metrics_port is None:
        return ()
    try:
        return await open_metrics_port(config.metrics_port)
    except OSError as error:
        where = f"{config.metrics_port}: {error.strerror}"
        raise MetricsPortTaken(where) from error


async def live(
    control: Control,
    agent: Agent,
    config: AgentConfig,
    beside: Beside | None,
    sending: Sequence[Delivery] = (),
) -> None:
    """Run the agent, and beside it whoever looks at it, or is sent receipts; all end with it."""
    failure: Exception | None = None
    metrics = await _metrics_port(config)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(control.serve, config.state_dir)
        nursery.start_soon(_stop_when_asked, control, nursery.cancel_scope)
        for delivery in sending:
            nursery.start_soon(delivery.run)
        if beside is not None:
            nursery.start_soon(beside, control)
        if metrics:
            nursery.start_soon(serve_metrics, metrics, AgentMetrics(control.look).page)
        try:
            await agent.run()
        except HypernodeError as error:
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _stop_when_asked(control: Control, scope: trio.CancelScope) -> None:
    await control.heed()
    scope.cancel()


class Ending:
    """What signals do: the first drains the agent, once there is one; the second ends at once."""

    def __init__(self, notifier: Notifier | None = None) -> None:
        self.seen: list[int] = []
        self.agent: Agent | None = None
        self._notifier = notifier or Notifier()

    async def tell(self) -> None:
        """Tell the service manager when the host is warm, and from then on how it goes."""
        while self.agent is None:  # noqa: ASYNC110 (once, for the moment of finding the devices)
            await trio.sleep(0.1)
        agent = self.agent
        await agent.attempts.inventory()
        self._notifier.ready(agent.status)
        await self._notifier.keep_alive(lambda: agent.status, lambda: "")

    async def heed(
        self, scope: trio.CancelScope, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Listen until the scope ends."""
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            task_status.started()
            async with trio.open_nursery() as nursery:
                self.seen.append(await anext(signals))
                _log.info("draining")
                self._notifier.stopping("draining")
                if self.agent is None:  # nothing was taken: there is nothing to drain
                    scope.cancel()
                    return
                nursery.start_soon(self.agent.drain)
                await anext(signals)
                scope.cancel()


async def run_until_signal(
    work: Callable[[Ending], Awaitable[None]], notifier: Notifier | None = None
) -> int:
    """Run an agent's life under signals.

    Args:
        work: The life; it notes its agent in the `Ending` as soon as there is one.
        notifier: The service manager.

    Returns:
        The signal that began the end, 0 for none.
    """
    failure: Exception | None = None
    ending = Ending(notifier)
    async with trio.open_nursery() as nursery:
        await nursery.start(ending.heed, nursery.cancel_scope)
        nursery.start_soon(ending.tell)
        try:
            await work(ending)
        except Exception as error:  # noqa: BLE001 (raised below, outside the nursery's group)
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return ending.seen[0] if ending.seen else 0


def _make(folder: Path) -> None:
    is_default = folder.parent == user_state_path("hypernode")
    try:
        folder.mkdir(mode=0o700, parents=is_default, exist_ok=True)
    except FileNotFoundError as error:
        raise StateDirMissing(str(folder.parent)) from error


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a state directory for this process.

    Raises:
        StateInUse: another one has it.
    """
    _make(folder)
    handle = os.open(folder / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StateInUse(str(folder)) from error
        yield
    finally:
        os.close(handle)


def node_key_in(folder: Path) -> Keypair:
    """The node key of a state directory; made at its first use.

    Raises:
        KeyFileError: there is a file, but it cannot serve.
    """
    path = folder / KEY_FILE
    if not path.exists():
        try:
            save_keypair(path, generate())
        except OSError as error:
            raise OSError(error.errno, disk_trouble(error), str(folder)) from error
    return load_keypair(path)
