"""Restarts in good order, under load: no job is lost, none is paid twice, nobody is turned away.

The house of `test_kill`: a coordinator and two agents as processes, a submitter with a journal.
They are asked to end (SIGTERM) and started again while jobs run; in the end everything acknowledged
must have ended, and the same audit passes. A drain that works shows in what a kill cannot promise:
exit status 0 within the drain's time, no attempt lost, a database without a log beside it.
Two ways of restarting: the port is closed meanwhile, or a service manager keeps the socket, and
whoever connects meanwhile waits in it.
Not covered: two coordinators that run at the same time (one database, one coordinator).
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import httpx
import pytest
import trio

from coordinator.limits import DRAIN_S
from tests.processes import Program
from tests.test_kill import PRICES, START_S, House

#: Whom to restart, one after the other.
RESTARTED = ("coordinator", "agent-1", "coordinator", "agent-2", "coordinator")
#: What an agent says that found nobody at the port.
TURNED_AWAY = "all attempts to connect"


class Restarts(House):
    """Asks programs to end and starts them again, instead of killing them."""

    def __init__(self, seed: int, folder: Path, listener: socket.socket | None = None) -> None:
        super().__init__(seed, folder, kills=0)
        #: How long each end took, by program.
        self.took_s: dict[str, list[float]] = {}
        #: Answers of a stranger who asks all the time, and what it met instead of one.
        self.answers = 0
        self.failures: list[str] = []
        self._listener = listener
        if listener is not None:
            port = listener.getsockname()[1]
            self._url = f"http://127.0.0.1:{port}"
            flags = "--faucet --withhold-hours 0 --log-text --port 1"
            words = f"-m hypernode coordinator {flags} --domain 127.0.0.1:{port}"
            self.coordinator = Program(
                "coordinator",
                [*words.split(), "--db", str(self.database)],
                folder,
                PRICES,
                command=(*self._activated(listener), sys.executable),
                pass_fds=(listener.fileno(),),
            )

    @staticmethod
    def _activated(listener: socket.socket) -> tuple[str, ...]:
        return (sys.executable, "-m", "tests.activated", str(listener.fileno()))

    async def _kill_all(self) -> None:
        rng = self.generator("moments")
        programs = {program.name: program for program in (self.coordinator, *self.agents)}
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._ask_all_the_time)
            for name in RESTARTED:
                await self._until_coordinator_is_up()
                await trio.sleep(rng.uniform(0.5, 1.5))
                await self._restart(programs[name])
            await self._until_coordinator_is_up()
            nursery.cancel_scope.cancel()

    async def _restart(self, program: Program) -> None:
        self.schedule.append(f"{trio.current_time():.3f} {program.name}")
        began = trio.current_time()
        status = await program.stop(DRAIN_S + 10)
        self.took_s.setdefault(program.name, []).append(trio.current_time() - began)
        assert status == 0, f"{program.name} was asked to end and ended with {status}"
        if program is self.coordinator:
            assert not self.database.with_name("market.db-wal").exists()
        # Somebody connects meanwhile.
        await trio.sleep(0.3)
        await program.start()

    async def _ask_all_the_time(self) -> None:
        """A stranger with a new connection for each question, also while nobody is there."""
        while True:
            async with httpx.AsyncClient(trust_env=False) as client:
                try:
                    answer = await client.get(f"{self._url}/livez", timeout=START_S)
                except httpx.TransportError as error:
                    self.failures.append(repr(error))
                else:
                    self.answers += answer.status_code == 200
            await trio.sleep(0.02)


def live(restarts: Restarts) -> Restarts:
    """Play one history and audit it; a broken promise comes with schedule and logs."""
    try:
        trio.run(restarts.play)
        restarts.audit()
    except BaseException as error:
        error.add_note(f"seed {restarts.seed}: {', '.join(restarts.schedule)}")
        for program in (restarts.coordinator, *restarts.agents):
            error.add_note(program.tail())
        raise
    print(restarts.took_s, dict(restarts.seen), restarts.answers)
    return restarts


def assert_in_good_order(restarts: Restarts) -> None:
    assert restarts.seen["job completed"] > 300, (
        f"restarts without load show little: {restarts.seen}"
    )
    assert restarts.seen["job failed"] == 0
    assert len(restarts.took_s["coordinator"]) == RESTARTED.count("coordinator")
    assert max(restarts.took_s["coordinator"]) < DRAIN_S
    assert restarts.seen["attempts lost"] == 0, "what was out came in before the end, or after it"


@pytest.mark.slow
def test_restarts_lose_no_job_and_pay_none_twice(tmp_path: Path) -> None:
    restarts = live(Restarts(31, tmp_path))

    assert_in_good_order(restarts)
    assert restarts.failures != [], "a port that nobody holds refuses: the stranger sees it"


@pytest.mark.slow
def test_a_socket_that_outlives_the_service_turns_nobody_away(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        restarts = live(Restarts(32, tmp_path, listener))

    assert_in_good_order(restarts)
    assert restarts.failures == []
    assert restarts.answers > 50
    logs = "".join(agent.log.read_text() for agent in restarts.agents)
    assert "disconnected" in logs
    assert TURNED_AWAY not in logs
