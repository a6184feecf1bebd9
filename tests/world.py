"""The whole house in one process, from one seed: coordinator, agents, submitters, and bad luck.

Real engine, store, sessions, trio-websocket, agents; a faked network (memory streams), clock
(Trio's mock clock), devices (a runner that sleeps and computes small jobs) and fate (generators
with seeds).
Bad luck: links cut and stalled for longer than a lease, agents parted from the house for minutes,
frames duplicated and replayed on later connections, agents killed and restarted, results that lie,
the coordinator killed between any two of its steps, above all between a commit and its effects; the
power cut in the middle of a commit, with un-synced writes kept, lost or torn (`power_disk`); the
system's clock set forth and back; roots cancelled and revoked, money stolen on the chain.
The same seed gives the same history, told by a hash over every commit.
Not covered: real time, real sandboxes, threads (the house's hops run inline here).
Source: TigerBeetle's VOPR, FoundationDB's simulation; Trio's deterministic scheduling switch.
"""

from __future__ import annotations

import random  # noqa: TID251 - one seeded generator a purpose
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import numpy as np
import trio
import trio._core._run as trio_run
import trio.testing
import trio_websocket as tw

from agent.client import Agent, connect_stream
from agent.disk import MemoryDisk, inline
from agent.link import Connect, Connection
from agent.outbox import Outbox
from agent.setup import Setup
from agent.state import State
from agent.task import OnLog, OnProgress, Outcome, OutputData, Task
from agent.uploads import ReadPart
from agent.welcome import Unwelcome
from coordinator import chain_events as cev, events as ev
from coordinator.blobs import BlobFolder
from coordinator.clock import SteadyClock, TrioClock
from coordinator.config import load_config
from coordinator.frame_stream import FrameStream
from coordinator.ledger import credit_of
from coordinator.main import Coordinator, open_house
from coordinator.protocol.arrays import AnyArray, to_wire
from coordinator.protocol.commitment import output_root
from coordinator.protocol.errors import Refusal
from coordinator.protocol.messages import Device, HostInfo, Inventory, Submission
from coordinator.protocol.signing import Keypair, encode_signature, from_seed
from coordinator.protocol.spec import decode_spec
from coordinator.refill import refill
from coordinator.store.interface import Reader, StoreError
from coordinator.store.sqlite import open_sqlite
from coordinator.store.sqlite_connection import DriverError
from coordinator.store.values import Session
from coordinator.views import IssuedToken
from coordinator.workloads.catalogue import get
from coordinator.writer import Applied
from onchain.address import encode_address
from tests.checkers import Checkers, trace_hash
from tests.power_disk import Disk, mounted, swap
from tests.pretend_chain import PretendChain
from tests.settlement_checkers import SettlementCheckers
from tests.world_settlement import Settler

START_MS = 1_780_000_000_000
#: A search for this ends the agent that runs it.
POISON = b"deadbeef"
#: Codes of jobs that time ended.
TIMEOUTS = frozenset({"queue_timeout", "execution_timeout", "total_timeout"})
#: What a submitter deposits, base units.
DEPOSIT = 50_000_000
#: The ledger on the pretend chain.
LEDGER = bytes([77]) * 32


@dataclass(frozen=True)
class Fate:
    """How much happens, and how bad it gets. Probabilities and virtual seconds."""

    agents: int = 4
    #: Of them, so many leave for good when they are first killed, with whatever they hold.
    leavers: int = 1
    submitters: int = 2
    jobs: int = 24
    #: How long submissions and faults go on.
    trouble_s: float = 900.0
    #: Time for everything to end once the faults are over.
    peace_s: float = 7200.0
    crash_after_commit: float = 0.004
    crash_before_commit: float = 0.002
    drop_link: float = 0.01
    stall: float = 0.02
    duplicate: float = 0.1
    replay: float = 0.05
    lie: float = 0.1
    fail: float = 0.05
    #: Of searches: that end the agent which runs them.
    poison: float = 0.06
    #: Commits in which the power goes; and crashes that are power cuts too.
    power_cut: float = 0.006
    crash_without_power: float = 0.5
    #: Looks at the chain after which somebody has stolen from it.
    theft: float = 0.01
    #: Seconds between two agents that are parted from the house, and between two set clocks.
    parting_every_s: float = 150.0
    clock_set_every_s: float = 400.0


#: How long an agent is parted from the house, at most: longer than a lease and its grace.
PARTED_S_MAX = 150.0
#: By how much somebody sets the system's clock, s.
CLOCK_SETS_S = (-7200.0, -60.0, 60.0, 7200.0, 86_400.0)


class Crash(Exception):
    """The coordinator dies here."""


class World:
    """One history."""

    def __init__(self, seed: int, folder: Path, fate: Fate | None = None) -> None:
        self.seed = seed
        self.fate = fate or Fate()
        self._db = folder / f"world-{seed}.db"
        self._blobs = BlobFolder(folder / f"blobs-{seed}")
        self.trace: list[str] = []
        self.restarts = 0
        self.is_peaceful = False
        self.coordinator: Coordinator | None = None
        self.checkers: Checkers
        self._house: trio.Nursery | None = None
        self._luck = self.generator("luck")
        self._disk = Disk()
        #: Whether the last batch told of the chain.
        self._is_settling = False
        #: Jobs of the batch that is under way, and of one whose commit the power cut off.
        self._under_way: set[int] = set()
        self._cut_off: set[int] = set()
        #: Agents that are parted from the house, and until when.
        self._parted: dict[str, float] = {}
        #: How far the system's clock was set, in all, ms; and as the house last took it.
        self._set_ms = 0
        self._set_ms_taken = 0
        self.treasury = self._key("treasury").address
        self.chain = PretendChain(LEDGER)
        self.settler = Settler(self, self.chain)
        self._settling = trio.CancelScope()
        self._config = load_config(
            {
                "port": 3001, "db": str(self._db), "withhold_hours": seed % 2,
                "connections_per_address": 1000, "ledger": encode_address(LEDGER),
                "fee_wallet": encode_address(self._key("fees").address),
                "treasury_wallet": encode_address(self.treasury),
            },
            {},
            None,
        )  # fmt: skip

    def generator(self, purpose: str) -> random.Random:
        """A generator of its own for each purpose: one more draw here moves nothing there."""
        return random.Random(f"{self.seed} {purpose}")

    def happens(self, probability: float) -> bool:
        return not self.is_peaceful and self._luck.random() < probability

    def note(self, *words: object) -> None:
        self.trace.append(f"{trio.current_time():.6f} " + " ".join(map(str, words)))

    # ---- the coordinator -----------------------------------------------------------------------

    async def keep_house(self) -> None:
        """Run the coordinator; start it again whenever it dies."""
        self.clock = TrioClock(START_MS)
        rng = self.generator("restarts")
        while True:
            try:
                await self._run_house()
            except* Crash:
                self.note("crash", "power" if self._disk.is_dead else "")
                self.restarts += 1
            if self._disk.is_dead:
                self.checkers.seen["power cuts"] += 1
                self._disk = self._disk.after_cut(self._luck)
                swap(self._disk)
            self.coordinator = None
            await trio.sleep(rng.uniform(0.1, 30.0))

    async def _run_house(self) -> None:
        random_bytes = self.generator(f"secrets {self.restarts}").randbytes
        store = open_sqlite(self._db)
        reader = store.reader()
        try:
            secrets = self.generator("keys")
            house, ids = open_house(store, self._config, lambda _: secrets.randbytes(32))
            if not hasattr(self, "checkers"):
                self.checkers = Checkers(
                    house.keypair.address, lambda number: ids.encode("job", number)
                )
                self.settlement = SettlementCheckers(self.chain, self.checkers.seen)
            self.checkers.adopt(reader, self._cut_off)
            self._cut_off = set()
            self.checkers.check_rows(reader)
            self.settlement.adopt(reader)
            self.settlement.check_rows(reader)
            coordinator = Coordinator(
                store,
                reader,
                self._config,
                house=house,
                ids=ids,
                blobs=self._blobs,
                clock=self._house_clock(),
                random_bytes=random_bytes,
                run_store=self._commit,
                run_thread=inline_thread,
            )
            self._spy(coordinator)
            coordinator.operations.restore(reader)
            async with trio.open_nursery() as nursery:
                self._house = nursery
                self.coordinator = coordinator
                nursery.start_soon(refill, coordinator.operations, coordinator.api.read)
                await coordinator.operations.run()
        finally:
            self._house = self.coordinator = None
            with suppress(DriverError):
                store.close()

    def _house_clock(self) -> SteadyClock:
        """The system's clock as the new process finds it, then steady whatever is set."""
        self.checkers.set_back_ms += max(0, self._set_ms_taken - self._set_ms)
        self._set_ms_taken = self._set_ms
        return SteadyClock(lambda: self.clock.wall_ms() + self._set_ms)

    def _spy(self, coordinator: Coordinator) -> None:
        """Let the checkers see what goes into the engine and what comes out."""
        engine = coordinator.operations.writer._engine
        apply = engine.apply

        def watched(events: Any, now_ms: int) -> Applied:
            self._under_way = {each.job for each in events if isinstance(_job_of(each), int)}
            outcomes, effects = apply(events, now_ms)
            names = ",".join(type(event).__name__ for event in events)
            codes = ",".join(o.refusal.code if o.refusal else "ok" for o in outcomes)
            self.note("commit", names, codes, len(effects))
            self.checkers.after_commit(events, outcomes, effects)
            self.settlement.after_commit(events, outcomes)
            self._is_settling = any(type(event).__module__ == cev.__name__ for event in events)
            return outcomes, effects

        engine.apply = watched  # type: ignore[method-assign]

    async def _commit(self, function: Callable[[], Applied]) -> Applied:
        await trio.sleep(self._luck.uniform(0.0001, 0.02))
        if self.happens(self.fate.crash_before_commit):
            self._crash()
        if self.happens(self.fate.power_cut):
            self._disk.dies_at = self._disk.operations + self._luck.randrange(1, 30)
        try:
            applied = function()
        except StoreError:
            if not self._disk.is_dead:
                raise
            # It may be there or not: nobody was told.
            self._cut_off = self._under_way
            raise Crash from None
        if self._disk.dies_at:
            self._crash()
        coordinator = self.coordinator
        if coordinator is not None and (applied[1] or self._is_settling):
            self.checkers.check_rows(coordinator.reader)
        if coordinator is not None and self._is_settling:
            self.settlement.check_rows(coordinator.reader)
        if self.happens(self.fate.crash_after_commit):
            self._crash()
        return applied

    def _crash(self) -> NoReturn:
        """Die here, perhaps with the whole machine."""
        if self._disk.dies_at or self._luck.random() < self.fate.crash_without_power:
            self._disk.is_dead = True
        raise Crash

    # ---- the network ---------------------------------------------------------------------------

    async def open_stream(self, name: str) -> trio.abc.Stream:
        """A connection to the coordinator, with its own bad luck."""
        await trio.sleep(self._luck.uniform(0.001, 0.1))
        is_parted = self._parted.get(name, 0.0) > trio.current_time()
        if self._house is None or self.coordinator is None or is_parted or self.happens(0.05):
            msg = "connection refused"
            raise OSError(msg)
        ours, theirs = trio.testing.memory_stream_pair()
        for one in (ours, theirs):
            one.send_stream.send_all_hook = self._hook(one, name)
        self._house.start_soon(self._serve, self.coordinator, theirs, name)
        return ours

    def _hook(self, stream: Any, name: str) -> Callable[[], Awaitable[None]]:
        pump = stream.send_stream.send_all_hook

        async def hook() -> None:
            await trio.sleep(self._luck.uniform(0.0005, 0.05))
            # Nothing is lost and nothing arrives: each end believes that the other one is silent.
            await trio.sleep_until(max(trio.current_time(), self._parted.get(name, 0.0)))
            if self.happens(self.fate.stall):
                await trio.sleep(self._luck.choice((1.0, 8.0, 70.0)))
            if self.happens(self.fate.drop_link):
                await trio.aclose_forcefully(stream)
                raise trio.BrokenResourceError
            await pump()

        return hook

    async def _serve(self, coordinator: Coordinator, stream: trio.abc.Stream, name: str) -> None:
        try:
            async with trio.open_nursery() as nursery:
                with trio.move_on_after(10.0):
                    framed = FrameStream(stream)
                    request = await tw.wrap_server_stream(nursery, framed)
                    await self._handle(coordinator, request, name, framed)
                nursery.cancel_scope.cancel()
        except* (tw.HandshakeError, tw.ConnectionClosed, trio.BrokenResourceError, OSError):
            self.note("link broke", name)
        except* trio.ClosedResourceError:
            self.note("link closed", name)
        finally:
            await trio.aclose_forcefully(stream)

    async def _handle(
        self, coordinator: Coordinator, request: Any, name: str, stream: FrameStream
    ) -> None:
        # The deadline of the handshake does not hold for the conversation.
        with trio.CancelScope() as scope:
            scope.deadline = float("inf")
            await coordinator.dispatcher.handle(request, name, stream)

    async def part_agents(self) -> None:
        """Now and then an agent and the house hear nothing of each other."""
        rng = self.generator("partings")
        while not self.is_peaceful:
            await trio.sleep(rng.expovariate(1 / self.fate.parting_every_s))
            name = f"agent-{rng.randrange(self.fate.agents)}"
            self._parted[name] = trio.current_time() + rng.uniform(1.0, PARTED_S_MAX)
            self.checkers.seen["partings"] += 1
            self.note("parted", name)

    async def set_clocks(self) -> None:
        """Now and then somebody sets the system's clock."""
        rng = self.generator("clocks")
        while not self.is_peaceful:
            await trio.sleep(rng.expovariate(1 / self.fate.clock_set_every_s))
            self._set_ms += int(1000 * rng.choice(CLOCK_SETS_S))
            self.checkers.seen["clocks set"] += 1
            self.note("clock set", self._set_ms)

    # ---- agents --------------------------------------------------------------------------------

    async def keep_agent(self, number: int) -> None:
        """Run an agent; kill it and start it again with the disk it had."""
        rng = self.generator(f"agent {number}")
        node_key, wallet = self._key(f"node {number}"), self._key(f"operator {number}")
        disk = MemoryDisk()
        token = await self.persist(lambda: self._token(wallet))
        while True:
            runner = SleepyRunner(self, rng)
            agent = Agent(
                Setup(
                    connect=self._connect(f"agent-{number}", rng),
                    node_key=node_key,
                    token=token,
                    inventory=INVENTORY,
                    runner=runner,
                    outbox=await Outbox.load(disk, inline),
                    state=await State.load(disk, inline),
                    uploader=NoUploads(),
                    clock=self.clock,
                    rng=rng,
                    host_info=HostInfo(hostname=f"agent-{number}"),
                    new_nonce=lambda: rng.randbytes(32),
                    hop=inline,
                )
            )
            with trio.CancelScope() as life:
                runner.life = life
                if not self.is_peaceful:
                    life.deadline = trio.current_time() + rng.uniform(20.0, 400.0)
                    self._mortal.add(life)
                try:
                    await agent.run()
                except Unwelcome as refused:
                    if refused.code != "token_expired":
                        raise
                    self.note("unwelcome", number, refused.code)
                    # A clock that was set made it old before it was used.
                    token = await self.persist(lambda: self._token(wallet))
            self._mortal.discard(life)
            self.note("agent ended", number)
            if number < self.fate.leavers and not self.is_peaceful:
                return
            await trio.sleep(rng.uniform(0.1, 40.0))

    def _key(self, name: str) -> Keypair:
        return from_seed(self.generator(f"key {name}").randbytes(32))

    async def _token(self, wallet: Keypair) -> str:
        api = self.api
        address = encode_address(wallet.address)
        challenge = await api.challenge(address, scope="token")
        signature = encode_signature(wallet.sign(challenge.message.encode()))
        issued: IssuedToken = await api.issue_token(address, challenge.nonce, signature)
        return issued.token

    def _connect(self, name: str, rng: random.Random) -> Connect:
        plain = connect_stream(lambda: self.open_stream(name))
        replayed: list[str | bytes] = []

        @asynccontextmanager
        async def connect() -> AsyncIterator[Connection]:
            async with plain() as connection:
                yield Stutterer(self, connection, replayed, rng)

        return connect

    # ---- submitters ----------------------------------------------------------------------------

    @property
    def api(self) -> Any:
        if self.coordinator is None:
            raise trio.BrokenResourceError
        return self.coordinator.api

    async def api_now(self) -> Any:
        await trio.lowlevel.checkpoint()
        return self.api

    @property
    def reader(self) -> Reader | None:
        """The house's own, while it lives and its disk does."""
        return None if self.coordinator is None or self._disk.is_dead else self.coordinator.reader

    async def persist(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        """Ask until there is an answer: what a client does whose connection breaks."""
        while True:
            try:
                with trio.move_on_after(20.0):
                    return await ask()
            except (Crash, trio.BrokenResourceError):
                pass
            except Refusal as refusal:
                if refusal.code not in {"busy", "unavailable", "challenge_unknown"}:
                    raise
            await trio.sleep(self._luck.uniform(0.5, 3.0))

    async def submit_all(self, number: int) -> None:
        """Submit jobs over the troubled time; repeat, contradict and cancel some of them."""
        rng = self.generator(f"submitter {number}")
        wallet = self._key(f"submitter {number}").address
        session = Session(b"", "wallet", wallet, 0, 2**53)
        await self._fund(wallet)
        for index in range(self.fate.jobs):
            await trio.sleep(rng.expovariate(self.fate.jobs / self.fate.trouble_s))
            spec, budget = a_job(rng, self.fate.poison)
            await self._settle_some(number, index, rng)
            first = await self._submit(session, f"job {index}", spec, budget)
            if not first.id:
                continue
            if rng.random() < 0.2:
                await self._submit(session, f"job {index}", spec, budget)
            if rng.random() < 0.1:
                answer = await self._submit(session, f"job {index}", spec, "7")
                assert answer.code == "key_conflict", (
                    f"an acknowledged submission is never lost: under its key there is {answer}"
                )
            if rng.random() < 0.1:
                await self._cancel(session, f"job {index}", spec, budget)
        self.note("submitter done", number)

    async def _settle_some(self, number: int, index: int, rng: random.Random) -> None:
        """Now and then a submitter deposits, withdraws, leaves, exits, or stays after all."""
        keypair, chain = self._key(f"submitter {number}"), self.chain
        if rng.random() < 0.1:
            chain.deposit(keypair.address, rng.randrange(1, 1_000_000))
        if rng.random() < 0.1:
            await self.settler.withdraw(keypair, f"w{index}", rng.randrange(1, 200_000))
        is_leaving = chain.deposits[keypair.address].exit_requested_s > 0
        if rng.random() < (0.25 if is_leaving else 0.06):
            chain.ask_to_leave(keypair.address, stays=is_leaving)
            self.checkers.seen["wishes to leave"] += 1
        if is_leaving and chain.exit(keypair.address):
            self.checkers.seen["exits"] += 1

    async def _fund(self, wallet: bytes) -> None:
        """Deposit on the chain, and wait for the credit."""
        self.chain.deposit(wallet, DEPOSIT)
        while True:
            reader = self.reader
            if reader is not None and reader.account(credit_of(wallet)).credits:
                return
            await trio.sleep(1.0)

    async def _submit(self, session: Session, key: str, spec: bytes, budget: str) -> Any:
        submission = Submission(key, msgspec.Raw(spec), budget)

        async def ask() -> Any:
            (answer,) = await self.api.submit(session, [submission])
            return answer

        answer = await self.persist(ask)
        if answer.id:
            assert self.coordinator is not None
            self.checkers.acknowledged.add(self.coordinator.api.ids.decode("job", answer.id))
        self.note("answer", key, answer.code)
        return answer

    async def _cancel(self, session: Session, key: str, spec: bytes, budget: str) -> None:
        answer = await self._submit(session, key, spec, budget)
        if not answer.id:
            return
        (update,) = await self.persist(lambda: self.api.cancel(session, [answer.id]))
        assert update.code in {"", "too_late", *TIMEOUTS}, (
            f"an acknowledged submission is never lost: asked to cancel it, the house says {update}"
        )
        self.note("cancel", key, update.state, update.code)

    # ---- the history ---------------------------------------------------------------------------

    async def play(self) -> None:
        """Live through trouble, then peace; then everything must have ended."""
        self._mortal: set[trio.CancelScope] = set()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.keep_house)
            await trio.sleep(1.0)
            nursery.start_soon(self.part_agents)
            nursery.start_soon(self.set_clocks)
            nursery.start_soon(self._settle)
            for number in range(self.fate.agents):
                nursery.start_soon(self.keep_agent, number)
            async with trio.open_nursery() as submitters:
                for number in range(self.fate.submitters):
                    submitters.start_soon(self.submit_all, number)
            self.is_peaceful = True
            for life in self._mortal:
                life.deadline = float("inf")
            await self._wait_for_the_end()
            nursery.cancel_scope.cancel()

    async def _settle(self) -> None:
        with self._settling:
            await self.settler.run()

    async def _wait_for_the_end(self) -> None:
        with trio.move_on_after(self.fate.peace_s):
            while True:
                await trio.sleep(10.0)
                reader = self.coordinator.reader if self.coordinator else None
                if reader is not None and not list(reader.open_jobs()):
                    break
        self._settling.cancel()
        with trio.fail_after(600.0):
            await self.settler.finish()
        assert self.coordinator is not None, "the house stands in peace"
        self.settlement.check_end(self.coordinator.reader)
        self.checkers.check_end(self.coordinator.reader)
        self.note("end", self.checkers.commits)


class Stutterer:
    """An agent's connection that says some things twice, and old things again."""

    def __init__(
        self, world: World, inner: Connection, old: list[str | bytes], rng: random.Random
    ) -> None:
        self._world = world
        self._inner = inner
        self._old = old
        self._rng = rng

    async def send(self, frame: str | bytes) -> None:
        await self._inner.send(frame)
        head = frame[:60] if isinstance(frame, bytes) else frame[:60].encode()
        if b'"type":"results"' not in head:
            return
        self._old.append(frame)
        if self._world.happens(self._world.fate.duplicate):
            await self._inner.send(frame)
        if self._world.happens(self._world.fate.replay):
            await self._inner.send(self._rng.choice(self._old))

    async def receive(self) -> str | bytes:
        return await self._inner.receive()


class NoUploads:
    """The world's outputs are small."""

    async def put(self, sha256: str, size: int, read_part: ReadPart, *, bearer: str) -> None:
        msg = f"no output of the world is a blob: {sha256} of {size} bytes"
        raise AssertionError(msg)


class SleepyRunner:
    """Computes small jobs after a while of virtual time; sometimes fails, sometimes lies."""

    slots = 2

    def __init__(self, world: World, rng: random.Random) -> None:
        self._world = world
        self._rng = rng
        #: The whole agent's: poison ends it.
        self.life = trio.CancelScope()

    async def run(
        self, task: Task, *, on_log: OnLog | None = None, on_progress: OnProgress | None = None
    ) -> Outcome:
        began = trio.current_time()
        if POISON in task.spec:
            await trio.sleep(self._rng.choice((0.01, 2.0, 12.0)))
            self.life.cancel()
        await trio.sleep(self._rng.choice((0.01, 0.3, 2.0, 12.0, 65.0)))
        if self._world.happens(self._world.fate.fail):
            return Outcome("failed", "agent_error", "bad luck")
        outputs = [OutputData(*to_wire(array)) for array in self._compute(task)]
        if self._world.happens(self._world.fate.lie) and task.kind != "command":
            self._world.checkers.lies.add((task.job, task.fence))
            outputs[-1] = msgspec.structs.replace(
                outputs[-1], data=bytes(len(outputs[-1].data) - 1) + b"\x01"
            )
        return Outcome(
            "completed",
            outputs=tuple(outputs),
            root=output_root(output.data for output in outputs),
            duration_ms=int((trio.current_time() - began) * 1000),
        )

    def _compute(self, task: Task) -> list[Any]:
        if task.kind == "command":
            return [get_log(task)]
        workload = get(task.kind)
        params = workload.decode(bytes(decode_spec(task.spec).params))
        hits, best = workload.reference(params, 0)
        return [hits, best.reshape(1, 2)]

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


def get_log(task: Task) -> AnyArray:
    return np.frombuffer(f"log of {task.job}".encode(), dtype=np.uint8)


INVENTORY = Inventory(
    devices=[Device(uuid="cpu", name="a patient CPU", backend="cpu")],
    kinds=["command", "hashsearch"],
    sandbox=2,
    worker_sandbox=2,
    slots=2,
    window=4,
)


def a_job(rng: random.Random, poison: float) -> tuple[bytes, str]:
    """A small job and its budget: mostly searches, some commands."""
    if rng.random() < 0.15:
        spec = (
            b'{"kind":"command","params":{"command":"true"},"retries":3,'
            b'"limits":{"execution_s":%d,"total_s":%d}}'
        )
        return spec % (rng.choice((5, 60)), rng.choice((40, 600_000))), "0.3"
    spec = (
        b'{"kind":"hashsearch","params":{"prefix":"%s","start":%d,"count":%d,"target_bits":8},'
        b'"limits":{"execution_s":120,"queue_s":%d,"total_s":%d},"retries":%d}'
    )
    prefix = POISON if rng.random() < poison else rng.randbytes(4).hex().encode()
    # Some wait for no more than a moment: agents are often away.
    times = (rng.choice((2, 86_400, 86_400)), rng.choice((15, 600_000, 600_000)))
    numbers = (rng.randrange(10**6), rng.randrange(1, 200), *times, rng.choice((0, 2, 9)))
    return spec % (prefix, *numbers), rng.choice(("0.001", "0.05"))


def _job_of(event: ev.Event) -> object:
    return getattr(event, "job", None)


async def inline_thread(function: Callable[[], Any]) -> Any:
    await trio.lowlevel.checkpoint()
    return function()


@contextmanager
def seeded_scheduler(seed: int) -> Iterator[None]:
    """Trio picks the next task from a seed."""
    was = (trio_run._ALLOW_DETERMINISTIC_SCHEDULING, trio_run._r)
    # By name: Trio calls the switch final, and Hypothesis's plugin sets it just so.
    setattr(trio_run, "_ALLOW_DETERMINISTIC_SCHEDULING", True)  # noqa: B010
    trio_run._r = random.Random(seed)
    try:
        yield
    finally:
        setattr(trio_run, "_ALLOW_DETERMINISTIC_SCHEDULING", was[0])  # noqa: B010
        trio_run._r = was[1]


def live(seed: int, folder: Path, fate: Fate | None = None) -> World:
    """Play one history; the world after it.

    Raises:
        AssertionError: a promise was broken; the seed is in its notes.
    """
    world = World(seed, folder, fate)
    with seeded_scheduler(seed), mounted(folder, world._disk):
        try:
            trio.run(world.play, clock=trio.testing.MockClock(autojump_threshold=0))
        except BaseException as error:
            error.add_note(f"seed {seed}: {len(world.trace)} steps, the last ones:")
            for line in world.trace[-25:]:
                error.add_note(line)
            raise
    return world


def hash_of(world: World) -> str:
    return trace_hash(world.trace)
