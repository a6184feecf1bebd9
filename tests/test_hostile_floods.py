"""Too many of everything: connections, requests, challenges, nodes; the bounds in numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from coordinator import dispatcher, events as ev
from coordinator.api import TEST_JOB_SPEC
from coordinator.door import Door
from coordinator.limits import HELD_BYTES_MAX, REQUESTS_BURST, REQUESTS_PER_S
from coordinator.metrics import Metrics
from coordinator.protocol import messages as m
from coordinator.protocol.signing import from_seed, generate
from coordinator.submitter_link import SubmitterLink
from onchain.amounts import UNITS
from tests.build import Market, answer
from tests.house import open_house, until
from tests.indoors import open_indoors
from tests.serving import local_config
from tests.test_identity import Wallet, register
from tests.test_payroll import TEST_BUDGET, market_of

# ---- connections --------------------------------------------------------------------------------


@pytest.mark.slow
async def test_past_every_place_a_flood_is_refused_by_name_and_health_still_answers(
    tmp_path: Path,
) -> None:
    """300 sockets at once where 100 may be: each refusal has a code, and nothing is held up."""
    codes: dict[str, int] = {}

    async with open_house(tmp_path, connections=100, connections_per_address=1000) as house:

        async def ask(task_status: trio.TaskStatus[None]) -> None:
            async with await trio.open_tcp_stream("127.0.0.1", house.port) as stream:
                task_status.started()
                heard = b""
                with trio.move_on_after(3):
                    async for piece in stream:
                        heard += piece
                if heard:
                    code = json.loads(heard.partition(b"\r\n\r\n")[2])["code"]
                    codes[code] = codes.get(code, 0) + 1

        async with trio.open_nursery() as nursery:
            for _ in range(300):
                await nursery.start(ask)
            await until(lambda: sum(codes.values()) >= 150)
            nursery.cancel_scope.cancel()
        async with house.http() as http:
            began = trio.current_time()
            answer = await http.get("/livez")
            took = trio.current_time() - began

    assert set(codes) == {"busy"}
    assert codes["busy"] <= 200
    assert (answer.status_code, took < 1) == (200, True)


@pytest.mark.parametrize("kind", ["node", "submitter"])
async def test_one_wallet_has_its_places_and_no_more_and_a_freed_one_is_taken_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock, kind: str
) -> None:
    monkeypatch.setattr(dispatcher, "NODES_PER_WALLET_MAX", 3)
    monkeypatch.setattr(dispatcher, "SESSIONS_PER_WALLET_MAX", 3)
    wallet, other = generate(), generate()
    async with open_indoors(tmp_path) as house:

        async def enter(owner: Any) -> Any:
            peer = await house.connect()
            if kind == "node":
                await peer.register(generate(), await house.token(owner))
            else:
                await peer.open(await house.bearer(owner))
            return peer

        first, *_ = [await enter(wallet) for _ in range(3)]
        refused = await (await enter(wallet)).end()
        await enter(other)
        await first.socket.aclose()
        await trio.sleep(1)
        again = await enter(wallet)
        await again.say(m.Heartbeat() if kind == "node" else m.Quote([], 5))
        heard = await again.expect("ack", "quoted")

    assert refused.codes == ["too_many_sessions"]
    assert heard["type"] in {"ack", "quoted"}


async def test_who_reads_too_slowly_is_told_so_and_to_come_back(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_indoors(tmp_path) as house:
        peer = await house.connect(is_lockstep=True)
        await peer.open(await house.bearer(generate()))
        (links,) = house.coordinator.operations.open_links._links.values()
        (link,) = links
        assert isinstance(link, SubmitterLink)
        # More than one send holds: it stands until the peer reads, and more comes meanwhile.
        big = m.Error("x" * (HELD_BYTES_MAX // 30), "busy")
        for _ in range(40):
            link.outgoing.put(big)
        await wait_all_tasks_blocked()
        while not link.outgoing.is_overrun:
            link.outgoing.put(m.Quoted([], 1))
        end = await peer.end()

    assert end.close == 1013
    assert end.codes[-1] == "slow_reader"


# ---- requests -----------------------------------------------------------------------------------


class Asked:
    """A door in front of nothing, asked from one address at one moment."""

    def __init__(self) -> None:
        self.door = Door(self._application, local_config(), Metrics())
        self.headers: dict[bytes, bytes] = {}

    async def _application(self, _scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def __call__(self, address: str) -> int:
        """The status of one request from this address."""
        scope = {
            "type": "http", "method": "GET", "path": "/api/x", "headers": [], "http_version": "1.1",
            "client": (address, 1), "state": {},
        }  # fmt: skip
        statuses: list[int] = []

        async def receive() -> dict[str, Any]:
            await trio.lowlevel.checkpoint()
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            await trio.lowlevel.checkpoint()
            if message["type"] == "http.response.start":
                statuses.append(message["status"])
                self.headers = dict(message["headers"])

        await self.door(scope, receive, send)
        (status,) = statuses
        return status


async def test_requests_of_one_network_have_an_exact_rate_and_others_their_own(
    autojump_clock: MockClock,
) -> None:
    ask = Asked()
    one, same, other = "2001:db8:1:2::1", "2001:db8:1:2:ffff::9", "2001:db8:1:3::1"

    at_once = [await ask(one if i % 2 else same) for i in range(REQUESTS_BURST + 5)]
    wait_s = int(ask.headers[b"retry-after"])
    elsewhere = [await ask(other), await ask("192.0.2.1")]
    await trio.sleep(wait_s)
    later = [await ask(same) for _ in range(int(REQUESTS_PER_S) * wait_s + 5)]

    assert at_once == [200] * REQUESTS_BURST + [429] * 5
    assert elsewhere == [200, 200]
    assert wait_s == 1
    assert later == [200] * int(REQUESTS_PER_S) + [429] * 5


# ---- Sybils -------------------------------------------------------------------------------------


@pytest.fixture
def market() -> Iterator[Market]:
    made = Market()
    yield made
    made.close()


@pytest.mark.slow
def test_a_thousand_sybils_that_farm_test_jobs_earn_nothing(market: Market) -> None:
    """A thousand wallets with a node each: without a cap of the owner's, tests pay nobody."""
    for number in range(1000):
        sybil = Wallet(market, from_seed(number.to_bytes(32, "big")))
        node = register(market, sybil.token())
        job = market.ask(ev.TestJobDue(node.id, TEST_JOB_SPEC))
        market.now_ms += 5_000
        assert market.ask(answer(job)) == "accepted"
    # The fixture's own people have credit; nobody has earned.
    assert market.money() == {}
    assert market.receipts() == []


@pytest.mark.slow
def test_sybils_share_one_daily_cap_whatever_their_number() -> None:
    market = market_of(test_pay_daily=2 * TEST_BUDGET)
    market.fund(bytes(32), 10 * UNITS)
    paid = 0
    for number in range(200):
        sybil = Wallet(market, from_seed(number.to_bytes(32, "big")))
        node = register(market, sybil.token())
        job = market.ask(ev.TestJobDue(node.id, TEST_JOB_SPEC))
        market.now_ms += 5_000
        market.ask(answer(job))
        paid += market.job(job).paid

    assert 0 < paid <= 2 * TEST_BUDGET
    market.close()
