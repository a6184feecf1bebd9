"""kill -9 of the real programs under load, again and again: what was acknowledged stays, once.

A coordinator and two agents, each a process of its own, on a real disk and real sockets; one
submitter with a journal of what it was told. A seed chooses whom to kill and when, sometimes while
the victim is still starting. In the end everything acknowledged must have ended, and the rows are
audited by `tests.checkers` (which uses nothing of the house's ledger) and by the store itself.
Real: processes, sockets, files, the client, agents and their outboxes. Light: the kernels (see
`tests.light_agent`), since an agent with compiled ones takes longer to start than it lives here.
Not covered: power cuts (a killed process leaves its writes to the system's cache), a killed client.

`python -m tests.test_kill KILLS [SEED]` goes on for as many kills as are asked for.
"""

from __future__ import annotations

import random  # noqa: TID251 - one seeded generator a purpose
import secrets
import sys
import tempfile
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
import trio

from coordinator.config import load_config
from coordinator.main import open_house
from coordinator.protocol.ids import Ids
from coordinator.protocol.signing import Keypair, from_seed
from coordinator.store.interface import Reader
from coordinator.store.sqlite import open_sqlite
from coordinator.store.values import AttemptState, JobState
from hypernode.client import AsyncClient
from hypernode.errors import Busy, RateLimited, Timeout, TooLate, Unreachable
from hypernode.job import Job
from tests.checkers import FINAL, Checkers
from tests.light_agent import Journal
from tests.processes import PORTS, Program, free_port

KILLS = 20
AGENTS = ("agent-1", "agent-2")
#: Open jobs at which the submitter waits: some seconds of work.
OPEN_MAX = 600
#: For a program to start on a busy machine, and to end once asked.
START_S, STOP_S = 30.0, 30.0
#: For everything to end once the killing is over: a lease, its grace, and attempts after that.
PEACE_S = 120.0
#: So that a search of fifty nonces costs some hundred base units, and has a fee.
PRICES = {"HYPERNODE_PRICE_PER_TFLOP": "5000"}
#: A coordinator that is away, or has too much to do: the same keys are sent again.
TRANSIENT = (Unreachable, Busy, RateLimited, Timeout)


def a_search(rng: random.Random, count_max: int = 50, bits: int = 5) -> dict[str, object]:
    """The parameters of a small search."""
    return {"prefix": rng.randbytes(4).hex(), "start": rng.getrandbits(40),
            "count": rng.randrange(1, count_max), "target_bits": bits}  # fmt: skip


class Wanted(NamedTuple):
    """Jobs of one submission."""

    kind: str
    params: list[dict[str, object]]
    budget: str


class House:
    """The programs, their submitter, and what became of both."""

    scheme = "http"
    #: Authorities that the clients believe, where there is TLS.
    ca: Path | None = None

    def __init__(self, seed: int, folder: Path, kills: int) -> None:
        self.seed = seed
        self.folder = folder
        self.database = folder / "market.db"
        self.schedule: list[str] = []
        self.journal = Journal(folder / "submitter", "acknowledged")
        #: Key → public id, final states and cancellations, as the coordinator acknowledged them.
        self.acknowledged: dict[str, str] = {}
        self.ended: dict[str, str] = {}
        self.cancelled: set[str] = set()
        self.seen: Counter[str] = Counter()
        self._kills = kills
        self._victims = self._choose_victims()
        self._is_over = False
        self._coordinator_key = b""
        self._open: set[str] = set()
        self.submitter = self._key("submitter")
        port = free_port(self.generator("port").choice(PORTS[:-1000]))
        self._url = f"{self.scheme}://127.0.0.1:{port}"
        arguments = f"hypernode coordinator --faucet --withhold-hours 0 --log-text --port {port}"
        name = ("--domain", f"127.0.0.1:{port}", "--db", str(self.database))
        settings = {**PRICES, **self.settings()}
        self.coordinator = Program("coordinator", [*arguments.split(), *name], folder, settings)
        self.agents: list[Program] = []

    def settings(self) -> dict[str, str]:
        """More settings of the coordinator, as environment."""
        return {}

    def generator(self, purpose: str) -> random.Random:
        return random.Random(f"{self.seed} {purpose}")

    def _key(self, name: str) -> Keypair:
        return from_seed(self.generator(f"key {name}").randbytes(32))

    def _choose_victims(self) -> list[str]:
        """Half of the kills hit the coordinator, the others an agent."""
        rng = self.generator("victims")
        coordinators = ["coordinator"] * (self._kills // 2)
        victims = coordinators + rng.choices(AGENTS, k=self._kills - len(coordinators))
        rng.shuffle(victims)
        return victims

    # ---- the history ---------------------------------------------------------------------------

    async def play(self) -> None:
        """Start, kill and start again under load; then let everything end, and stop."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.coordinator)
            await self._until_coordinator_is_up()
            async with AsyncClient(
                self._url, self.submitter, patience_s=60.0, ca=self.ca
            ) as client:
                await client.web.faucet("1000", "start")
                self._coordinator_key = client.web.coordinator_key
                await self._start_agents(stack)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._submit, client, nursery)
                    await self._kill_all()
                    self._is_over = True
                    await self._until_all_ended()
                    nursery.cancel_scope.cancel()
            await self._stop()

    async def _until_coordinator_is_up(self) -> None:
        await self.coordinator.until_said("listening on", START_S)

    async def _start_agents(self, stack: AsyncExitStack) -> None:
        for name in AGENTS:
            async with AsyncClient(self._url, self._key(name), ca=self.ca) as operator:
                token = (await operator.web.issue_token()).token
            url = self._url.replace("http", "ws")
            arguments = ["tests.light_agent", url, str(self.folder / name), token, str(self.seed)]
            arguments += [str(self.ca)] if self.ca else []
            agent = await stack.enter_async_context(Program(name, arguments, self.folder))
            self.agents.append(agent)

    async def _kill_all(self) -> None:
        rng = self.generator("moments")
        programs = {program.name: program for program in (self.coordinator, *self.agents)}
        for victim in self._victims:
            if rng.random() < 0.8:
                await self._until_coordinator_is_up()
                await trio.sleep(rng.uniform(0.0, 2.0))
            else:
                await trio.sleep(rng.uniform(0.0, 0.8))
            self.schedule.append(f"{trio.current_time():.3f} {victim}")
            await programs[victim].kill()
            self.seen[f"killed {victim}"] += 1
            await trio.sleep(rng.choice((0.0, 0.0, 0.3)))
            await programs[victim].start()
        await self._until_coordinator_is_up()

    async def _until_all_ended(self) -> None:
        with trio.move_on_after(PEACE_S):
            # Jobs end in tasks of their own; this loop also sees an unacknowledged submission.
            while self._open:  # noqa: ASYNC110
                await trio.sleep(0.1)
        missing = sorted(self.acknowledged.keys() - self.ended.keys())
        assert not missing, f"every acknowledged job ends once the faults are over: {missing[:9]}"

    async def _stop(self) -> None:
        for program in (*self.agents, self.coordinator):
            status = await program.stop(STOP_S)
            assert status == 0, f"{program.name} was asked to end and ended with {status}"

    # ---- the submitter -------------------------------------------------------------------------

    async def _submit(self, client: AsyncClient, nursery: trio.Nursery) -> None:
        rng = self.generator("submitter")
        number = 0
        while not self._is_over:
            await trio.sleep(rng.uniform(0.0, 0.1))
            if len(self._open) >= OPEN_MAX:
                continue
            keys = [f"key-{number + i}" for i in range(rng.choice((1, 1, 5, 40)))]
            number += len(keys)
            self._open.update(keys)
            wanted = self.wanted(rng, len(keys))
            nursery.start_soon(self._see_through, client, keys, wanted, rng.random() < 0.1)

    def wanted(self, rng: random.Random, count: int) -> Wanted:
        """So many jobs of one kind."""
        return Wanted("hashsearch", [a_search(rng) for _ in range(count)], "0.01")

    async def _see_through(
        self,
        client: AsyncClient,
        keys: list[str],
        wanted: Wanted,
        is_regretted: bool,
    ) -> None:
        """Submit until it is acknowledged; note that; wait for the ends and note them."""
        jobs: list[Job] = []
        while not jobs:
            try:
                jobs = await client.submit_many(
                    wanted.kind, wanted.params, budget=wanted.budget, keys=keys, retries=9
                )
            except TRANSIENT:
                self.seen["submissions repeated"] += 1
                await trio.sleep(0.2)
        for job in jobs:
            await self.journal.write(job.key, job.id)
            self.acknowledged[job.key] = job.id
        if is_regretted:
            await self._cancel(jobs[0])
        for job in jobs:
            self.ended[job.key] = await self._end_of(job)
            self._open.discard(job.key)

    async def _cancel(self, job: Job) -> None:
        try:
            await job.cancel()
        except TooLate:
            self.seen["cancelled too late"] += 1
        except TRANSIENT:
            self.seen["cancelled perhaps"] += 1
        else:
            self.cancelled.add(job.key)

    async def _end_of(self, job: Job) -> str:
        while True:
            try:
                return await job.wait()
            except TRANSIENT:
                await trio.sleep(0.2)

    # ---- the audit -----------------------------------------------------------------------------

    def audit(self) -> None:
        """Compare what was acknowledged with the rows, and the rows with each other."""
        config = load_config({"db": str(self.database)}, {}, None)
        store = open_sqlite(self.database)
        try:
            # Secrets are made at the first start only: these zeros must not become the house's.
            house, ids = open_house(store, config, lambda _: bytes(32))
            assert house.keypair.address == self._coordinator_key, "the house's key is kept"
            faults = store.check()
            assert not faults, f"the store's own audit: {faults}"
            reader = store.reader()
            checkers = Checkers(house.keypair.address, lambda number: ids.encode("job", number))
            self._tell(checkers, reader, ids)
            checkers.check_end(reader)
            self._check_journals(reader, ids)
        finally:
            store.close()

    def _tell(self, checkers: Checkers, reader: Reader, ids: Ids) -> None:
        """What the checkers would have seen had they watched."""
        rows = {job.key: job for job in reader.all_jobs(1_000_000)}
        for key, public in self.acknowledged.items():
            assert key in rows, f"an acknowledged submission is never lost: {key}"
            number = ids.decode("job", public)
            assert rows[key].id == number, f"a key keeps its job: {key}"
            checkers.acknowledged.add(number)
            checkers.finished[number] = JobState(self.ended[key])
            if key in self.cancelled:
                assert rows[key].state is JobState.CANCELLED, f"a cancellation stays: {key}"
        assert len(rows) == sum(reader.jobs_by_state().values()), "one job a key"
        for job in rows.values():
            row = reader.job(job.id)
            assert row is not None
            self.seen["attempts lost"] += sum(a.state is AttemptState.LOST for a in row.attempts)
            if row.attempts:
                last = row.attempts[-1]
                checkers.holder[job.id] = (last.node, last.fence)
            self.seen[f"job {job.state}"] += 1

    def _check_journals(self, reader: Reader, ids: Ids) -> None:
        """What the agents were told of their results, and what they know of their own lies."""
        for agent in self.agents:
            for public, fence, *_ in Journal(self.folder / agent.name, "lies").lines():
                row = reader.job(ids.decode("job", str(public)))
                assert row is not None
                is_paid = row.job.state is JobState.COMPLETED and row.job.fence == fence
                assert not is_paid, f"nothing is paid for a lie: {row.job}"
                self.seen["lies"] += 1
            told: set[tuple[str | int, str | int]] = set()
            for public, fence, code in Journal(self.folder / agent.name, "acks").lines():
                self.seen[f"result {code}"] += 1
                self.seen["result answered again"] += (public, fence) in told
                told.add((public, fence))
                row = reader.job(ids.decode("job", str(public)))
                assert row is not None
                # What an agent gives back is acknowledged too; nothing is kept of it.
                mine = [each for each in row.attempts if each.fence == fence]
                states = [each.state for each in mine if each.code != "abandoned"]
                taken = {AttemptState.ACCEPTED, AttemptState.REJECTED}
                assert code != "accepted" or taken.issuperset(states), (
                    f"a result that was acknowledged is kept: job {row.job.id}, {states}"
                )
        assert {job.state for job in reader.all_jobs(1_000_000)} <= FINAL


def live(seed: int, folder: Path, kills: int = KILLS, kind: type[House] = House) -> House:
    """Play one history and audit it.

    Raises:
        BaseException: a promise was broken; schedule and logs are in its notes.
    """
    house = kind(seed, folder, kills)
    print(f"seed {seed}: {kills} kills")
    try:
        trio.run(house.play)
        house.audit()
    except BaseException as error:
        error.add_note(f"seed {seed}, kills: {', '.join(house.schedule)}")
        for program in (house.coordinator, *house.agents):
            error.add_note(program.tail())
        raise
    return house


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_and_nothing_is_credited_twice_by_kill_9(
    tmp_path: Path,
) -> None:
    seen = live(1, tmp_path).seen

    assert seen["killed coordinator"] >= 8
    assert sum(count for what, count in seen.items() if what.startswith("killed")) == KILLS
    assert seen["job completed"] > 500, f"kills without load show little: {seen}"
    assert seen["lies"] > 0


def main(arguments: list[str]) -> None:
    kills = int(arguments[0])
    seed = int(arguments[1]) if len(arguments) > 1 else secrets.randbits(32)
    with tempfile.TemporaryDirectory() as folder:
        seen = live(seed, Path(folder), kills).seen
    print(f"seed {seed}: every promise kept; {dict(sorted(seen.items()))}")


if __name__ == "__main__":
    main(sys.argv[1:])
