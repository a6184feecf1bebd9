"""What a wallet takes back ends at once, everywhere, and for good; what was earned stays.

First the decisions, in their transactions; then live connections; then a restart.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
import trio_websocket as tw
from trio.testing import MockClock

from agent.welcome import Unwelcome
from coordinator import events as ev
from coordinator.limits import DELEGATION_MS, IDLE_S, SESSION_MS, SESSIONS_PER_WALLET_MAX
from coordinator.protocol import messages as m, token as token_text
from coordinator.protocol.errors import Refusal
from coordinator.protocol.signing import Keypair, generate, save_keypair
from coordinator.revocation import Tally, session_name
from coordinator.store.values import JobState
from coordinator.views import FaucetRequest
from hypernode.cli.exit import Exit, status_of
from hypernode.client import AsyncClient
from hypernode.errors import HypernodeError
from onchain.address import encode_address
from tests.build import ALICE, NODE, OPERATOR, Market
from tests.house import (
    HonestRunner,
    House,
    agent_at,
    captured_log,
    inventory_of,
    open_house,
    search,
    until,
)
from tests.indoors import Indoors, open_indoors, spec_of
from tests.peer import End, Peer, dialled
from tests.test_cli import hypernode
from tests.test_hostile_bytes import finish
from tests.test_identity import OTHER_NODE, Wallet, not_registered, refused, register

# ---- decisions ----------------------------------------------------------------------------------


@pytest.fixture
def market() -> Iterator[Market]:
    made = Market()
    yield made
    made.close()


@pytest.fixture
def operator(market: Market) -> Wallet:
    return Wallet(market)


def nonce_of(market: Market) -> str:
    """The one unspent token of the operator."""
    (token,) = market.reader.tokens_of(OPERATOR.address, market.now_ms, 5)
    return token.nonce


def test_a_revoked_session_is_gone_and_others_stay(market: Market, operator: Wallet) -> None:
    one, other = market.ask(operator.opens(bearer=1)), market.ask(operator.opens(bearer=2))
    name = session_name(one.bearer_hash)

    # Both hashes begin with the same bytes here: the name that they share ends both.
    assert name == session_name(other.bearer_hash)
    apart = market.ask(operator.opens(bearer=1 << 250))
    market.ask(ev.SessionRevoked(OPERATOR.address, session_name(apart.bearer_hash)))

    left = market.reader.sessions_of(OPERATOR.address, 5)
    assert {row.bearer_hash for row in left} == {one.bearer_hash, other.bearer_hash}
    assert refused(market, ev.SessionRevoked(ALICE.address, name)) == "not_found"


def test_a_revoked_token_registers_nothing(market: Market, operator: Wallet) -> None:
    token = operator.token()
    nonce = nonce_of(market)

    assert refused(market, ev.TokenRevoked(ALICE.address, nonce)) == "not_found"
    market.ask(ev.TokenRevoked(OPERATOR.address, nonce))

    assert not_registered(market, token, NODE.address) == "token_revoked"
    assert market.reader.tokens_of(OPERATOR.address, market.now_ms, 5) == []
    assert refused(market, ev.TokenRevoked(OPERATOR.address, "0" * 32)) == "not_found"


def test_a_spent_token_takes_its_node_with_it(market: Market, operator: Wallet) -> None:
    token = operator.token()
    nonce = nonce_of(market)
    node = register(market, token, NODE.address)

    market.ask(ev.TokenRevoked(OPERATOR.address, nonce))

    row = market.reader.node(node.id)
    assert row is not None
    assert row.is_revoked
    assert not_registered(market, token, NODE.address) == "token_revoked"


def test_a_revoked_node_key_opens_nothing_however_it_was_bound(
    market: Market, operator: Wallet
) -> None:
    delegation, bare = operator.token(NODE.address), operator.token()
    again = operator.token(NODE.address)
    node = register(market, delegation, NODE.address)

    assert refused(market, ev.NodeRevoked(ALICE.address, node.id)) == "not_found"
    assert refused(market, ev.NodeRevoked(OPERATOR.address, 999)) == "not_found"
    market.ask(ev.NodeRevoked(OPERATOR.address, node.id))

    # By the key alone, by the delegation that bound it, by another one that names it.
    assert not_registered(market, "", NODE.address) == "token_revoked"
    assert not_registered(market, delegation, NODE.address) == "token_revoked"
    assert not_registered(market, again, NODE.address) == "token_revoked"
    # A token that names no key is for another machine, and serves it.
    assert register(market, bare, OTHER_NODE.address).id != node.id
    # The wallet signs again: it is welcome.
    fresh = operator.token(NODE.address)
    assert register(market, fresh, NODE.address).id == node.id


def test_everything_is_revoked_at_once_and_nothing_of_another_wallets(
    market: Market, operator: Wallet
) -> None:
    alice = Wallet(market, ALICE)
    kept = [alice.token(), market.ask(alice.opens(bearer=5 << 240))]
    node = register(market, operator.token(), NODE.address)
    market.ask(operator.opens(bearer=1))
    market.ask(operator.opens(bearer=2))
    unspent = operator.token()

    tally = market.ask(ev.AllRevoked(OPERATOR.address, with_nodes=False))
    assert tally == Tally(2, 1, 0)
    assert not_registered(market, unspent, OTHER_NODE.address) == "token_revoked"
    assert register(market, "", NODE.address).id == node.id

    assert market.ask(ev.AllRevoked(OPERATOR.address, with_nodes=True)) == Tally(0, 0, 1)
    assert not_registered(market, "", NODE.address) == "token_revoked"
    assert market.ask(ev.AllRevoked(OPERATOR.address, with_nodes=True)) == Tally(0, 0, 0)

    assert market.reader.session(kept[1].bearer_hash) is not None
    assert register(market, kept[0], OTHER_NODE.address).wallet == ALICE.address


def test_a_signature_that_was_not_posted_yet_is_worth_nothing_after_that(
    market: Market, operator: Wallet
) -> None:
    token, session = operator.asks(operator.challenge()), operator.opens(bearer=3)
    market.ask(ev.AllRevoked(OPERATOR.address, with_nodes=False))

    assert refused(market, token) == "challenge_unknown"
    assert refused(market, session) == "challenge_unknown"
    assert market.ask(operator.opens(bearer=4)).wallet == OPERATOR.address


def test_a_session_that_makes_room_for_another_ends_with_its_connections(
    market: Market, operator: Wallet
) -> None:
    for number in range(SESSIONS_PER_WALLET_MAX + 1):
        market.ask(operator.opens(bearer=number + 1))

    ended = [effect for effect in market.effects if isinstance(effect, ev.AccessEnded)]
    assert [len(effect.sessions) for effect in ended] == [1]


# ---- live connections ---------------------------------------------------------------------------


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Indoors]:
    async with open_indoors(tmp_path) as opened:
        yield opened


async def listed(house: Indoors, bearer: str) -> list[Any]:
    session = await house.coordinator.api.session(bearer)
    return await house.coordinator.api.open_things(session)


async def funded(house: Indoors, wallet: Keypair) -> str:
    """A bearer of a wallet that has money."""
    bearer = await house.bearer(wallet)
    session = await house.coordinator.api.session(bearer)
    await house.coordinator.api.faucet(session, FaucetRequest("10", "k"))
    return bearer


async def revoke(house: Indoors, bearer: str, name: str) -> None:
    session = await house.coordinator.api.session(bearer)
    await house.coordinator.api.revoke(session, name)


async def worker_at(house: Indoors, wallet: Keypair, node_key: Keypair) -> Peer:
    peer = await house.connect()
    await peer.register(node_key, await house.token(wallet))
    await peer.offer(inventory_of("hashsearch"))
    return peer


async def test_a_revoked_nodes_connection_ends_by_name_and_its_jobs_go_on_elsewhere(
    house: Indoors, autojump_clock: MockClock
) -> None:
    wallet, key = generate(), generate()
    bearer, submitter = await house.bearer(wallet), await house.connect()
    await submitter.open(await funded(house, generate()))
    worker = await worker_at(house, wallet, key)
    job_id = await submitter.submit(spec_of("hashsearch", **search()))
    job = await worker.job()

    began = trio.current_time()
    await revoke(house, bearer, worker.node)
    ended = await worker.end()
    other = await worker_at(house, generate(), generate())
    again = await other.job()
    waited = trio.current_time() - began

    assert ended == End(["token_revoked"], 4003)
    assert (job["id"], again["id"], again["fence"]) == (job_id, job_id, job["fence"] + 1)
    # Not after a lease of 45 seconds: only the pause between two attempts.
    assert waited < 5
    back = await house.connect()
    handshake, challenge = await back.greet(key)
    await back.say(handshake.answer(challenge))
    assert (await back.end()).codes == ["token_revoked"]


async def test_a_result_that_was_on_its_way_when_the_node_was_revoked_earns_nothing(
    house: Indoors, autojump_clock: MockClock
) -> None:
    wallet, payer = generate(), generate()
    bearer, submitter = await house.bearer(wallet), await house.connect()
    await submitter.open(await funded(house, payer))
    worker = await worker_at(house, wallet, generate())
    await submitter.submit(spec_of("hashsearch", **search()))
    job = await worker.job()
    api = house.coordinator.api
    number, node = api.ids.decode("job", job["id"]), api.ids.decode("node", worker.node)

    await revoke(house, bearer, worker.node)
    late = ev.ResultArrived(number, job["fence"], node, True, "", "", (), bytes(32))
    assert await api.operations.writer.ask(late) == "stale"
    # Nor does the scheduler's last match reach it.
    row = api._reader.job(number)
    assert row is not None
    assert row.job.state is JobState.QUEUED
    assert await api.operations.writer.ask(ev.JobMatched(number, node)) is None
    account = await api.account(await api.session(bearer))
    assert (account.earned_total, account.paid_jobs) == ("0", 0)


async def test_what_a_node_earned_stays_when_it_is_revoked(
    house: Indoors, autojump_clock: MockClock
) -> None:
    wallet = generate()
    bearer, submitter = await house.bearer(wallet), await house.connect()
    await submitter.open(await funded(house, generate()))
    worker = await worker_at(house, wallet, generate())
    params = search()
    await submitter.submit(spec_of("hashsearch", **params))
    await finish(worker, await worker.job(), params)
    await submitter.expect("result")
    api = house.coordinator.api
    before = await api.account(await api.session(bearer))

    await revoke(house, bearer, worker.node)

    assert await api.account(await api.session(bearer)) == before
    assert before.paid_jobs == 1
    (node,) = await api.nodes_mine(encode_address(wallet.address))
    assert bytes(node.earned).decode() == before.earned_total


async def test_a_nodes_bearer_ends_with_its_key(house: Indoors, autojump_clock: MockClock) -> None:
    wallet = generate()
    bearer = await house.bearer(wallet)
    worker = await worker_at(house, wallet, generate())
    api = house.coordinator.api
    await api.session(worker.session_key)

    await revoke(house, bearer, worker.node)

    with pytest.raises(Refusal, match="unauthenticated"):
        await api.session(worker.session_key)


async def test_a_seed_client_is_revoked_by_its_node_and_by_everything(
    house: Indoors, autojump_clock: MockClock
) -> None:
    wallet = generate()
    bearer = await house.bearer(wallet)
    one, other, strangers = [await house.connect() for _ in range(3)]
    for peer, owner in ((one, wallet), (other, wallet), (strangers, generate())):
        await peer.register_as_seed(await house.token(owner))
    api = house.coordinator.api

    await revoke(house, bearer, one.node)
    assert await one.end() == End(["token_revoked"], 4003)
    await api.revoke_all(await api.session(bearer), with_nodes=True)
    assert await other.end() == End(["token_revoked"], 4003)
    await strangers.say(m.Heartbeat())
    await strangers.expect("ack")


async def test_revoked_sessions_end_their_sockets_and_their_requests(
    house: Indoors, autojump_clock: MockClock
) -> None:
    wallet = generate()
    bearer, stolen = await house.bearer(wallet), await house.bearer(wallet)
    thief, owner = await house.connect(), await house.connect()
    await thief.open(stolen)
    await owner.open(bearer)
    things = {thing.id: thing for thing in await listed(house, bearer)}
    (name,) = [name for name, thing in things.items() if not thing.is_current]

    await owner.say(m.Revoke([name, name, "session-0", "node-1-0", "token-x", "what"], ref=7))
    answer = await owner.expect("revoked")

    codes = [item.get("code", "") for item in answer["items"]]
    assert codes == ["", *["not_found"] * 5]
    assert answer["ref"] == 7
    assert await thief.end() == End(["session_revoked"], 4003)
    with pytest.raises(Refusal, match="unauthenticated"):
        await house.coordinator.api.session(stolen)
    assert [thing.is_current for thing in await listed(house, bearer)] == [True]


async def test_all_over_a_socket_ends_that_socket_too(
    house: Indoors, autojump_clock: MockClock
) -> None:
    wallet = generate()
    owner, worker = await house.connect(), await worker_at(house, wallet, generate())
    unspent = await house.token(wallet)
    await owner.open(await house.bearer(wallet))

    await owner.say(m.Revoke(all="nodes"))
    end = await owner.end()

    assert end == End(["session_revoked"], 4003)
    assert await worker.end() == End(["token_revoked"], 4003)
    late = await house.connect()
    await late.say(m.Register(unspent))
    assert (await late.end()).codes == ["token_revoked"]


async def test_a_list_shows_what_is_open_and_nothing_that_opens_anything(
    house: Indoors, autojump_clock: MockClock
) -> None:
    wallet, key = generate(), generate()
    bearer = await house.bearer(wallet)
    token, delegation = await house.token(wallet), await house.token(wallet, key.address)
    node = await worker_at(house, wallet, key)

    things = await listed(house, bearer)
    shown = msgspec.json.encode(things).decode()

    kinds = sorted(thing.kind for thing in things)
    assert kinds == ["delegation", "node key", "session", "token"]
    assert {thing.node_key for thing in things} == {"", encode_address(key.address)}
    assert node.node in {thing.id for thing in things}
    secrets = (bearer, token.split(".")[2], delegation.split(".")[2], node.session_key)
    assert not any(secret in shown for secret in secrets)
    # Used again after a while: it is told, to the minute.
    before = next(thing for thing in things if thing.kind == "session")
    house.clock.ahead_ms += 3_600_000
    await listed(house, bearer)
    await house.coordinator.operations.writer.flush()
    (after,) = [thing for thing in await listed(house, bearer) if thing.kind == "session"]
    assert (after.id, after.created_at) == (before.id, before.created_at)
    assert after.last_used_at > before.last_used_at


async def test_nobody_sees_or_revokes_anothers_things_but_an_administrator(tmp_path: Path) -> None:
    admin, wallet, stranger = generate(), generate(), generate()
    address = encode_address(wallet.address)
    async with open_house(tmp_path, admin_wallets=[encode_address(admin.address)]) as house:
        own, foreign = await house.bearer(wallet), await house.bearer(stranger)
        chief = await house.bearer(admin, "admin")
        node = await _registered(house, wallet)
        (name,) = [each["id"] for each in await _get(house, own) if each["kind"] == "session"]
        paths = [f"/api/sessions/{name}", f"/api/nodes/{node}/key", f"/api/sessions/{node}"]
        refused = {await _delete(house, foreign, path) for path in paths}
        pretended = {
            await _delete(house, foreign, f"{path}?wallet={address}")
            for path in ("/api/sessions", paths[0])
        }
        allowed = [
            await _delete(house, chief, f"{paths[0]}?wallet={address}"),
            await _delete(house, chief, paths[1]),
            await _delete(house, own, "/api/session"),
        ]

    assert refused == {(404, "not_found")}
    assert pretended == {(403, "forbidden")}
    assert allowed == [(204, ""), (204, ""), (401, "unauthenticated")]


async def _registered(house: House, wallet: Keypair) -> str:
    async with dialled(house) as peer:
        await peer.register(generate(), await house.token(wallet))
        return peer.node


async def _get(house: House, bearer: str) -> Any:
    async with house.http(bearer) as http:
        return (await http.get("/api/sessions")).json()


async def _delete(house: House, bearer: str, path: str) -> tuple[int, str]:
    async with house.http(bearer) as http:
        answer = await http.delete(path)
    return answer.status_code, answer.json()["code"] if answer.status_code >= 400 else ""


async def test_a_body_that_drips_under_a_session_that_was_revoked_submits_nothing(
    tmp_path: Path,
) -> None:
    body = b'{"jobs":[{"key":"k","budget":"1","spec":{"kind":"hashsearch","params":{}}}]}'

    async with open_house(tmp_path) as house:
        bearer = await house.bearer(generate())

        async def dripping() -> AsyncIterator[bytes]:
            yield body[:20]
            assert await _delete(house, bearer, "/api/sessions") == (200, "")
            await trio.sleep(0.1)
            yield body[20:]

        async with house.http(bearer) as http:
            answer = await http.post(
                "/api/jobs", content=dripping(), headers={"content-type": "application/json"}
            )

    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


# ---- between two steps --------------------------------------------------------------------------


async def test_a_session_that_is_revoked_while_it_is_looked_up_opens_no_socket(
    house: Indoors, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    wallet, api = generate(), house.coordinator.api
    bearer, looked_up = await house.bearer(wallet), api.session

    async def looked_up_just_before_its_end(text: str) -> Any:
        session = await looked_up(text)
        monkeypatch.setattr(api, "session", looked_up)
        await api.revoke_all(session)
        return session

    monkeypatch.setattr(api, "session", looked_up_just_before_its_end)
    peer = await house.connect()
    await peer.say(m.Open(bearer))

    assert (await peer.end()).codes in (["unauthenticated"], ["session_revoked"])
    assert len(api.operations.open_links) == 0


async def test_a_node_that_is_revoked_while_it_registers_does_not_get_in(
    house: Indoors, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    wallet, writer = generate(), house.coordinator.operations.writer
    token, ask = await house.token(wallet), writer.ask

    async def answered_just_after_its_end(event: ev.Event, *args: Any, **options: Any) -> Any:
        answer = await ask(event, *args, **options)
        if isinstance(event, ev.NodeRegistered):
            await ask(ev.NodeRevoked(wallet.address, answer.id))
        return answer

    monkeypatch.setattr(writer, "ask", answered_just_after_its_end)
    peer = await house.connect()
    handshake, challenge = await peer.greet(generate())
    await peer.say(handshake.answer(challenge, token=token))

    assert (await peer.end()).codes == ["token_revoked"]
    assert house.coordinator.operations.agents == {}


# ---- whoever is revoked -------------------------------------------------------------------------


async def test_a_revoked_agent_says_so_in_plain_words_and_stops(tmp_path: Path) -> None:
    operator, runner = generate(), HonestRunner()
    with captured_log() as log:
        async with (
            open_house(tmp_path) as house,
            agent_at(house, runner, "hashsearch", wallet=operator) as agent,
        ):
            await until(lambda: bool(agent.node_id))
            bearer = await house.bearer(operator)
            assert await _delete(house, bearer, f"/api/nodes/{agent.node_id}/key") == (204, "")
            await until(lambda: agent.failure is not None, 30)
    error = agent.failure
    assert isinstance(error, Unwelcome)
    ending = status_of(error)
    assert ending is not None
    assert (ending.status, ending.code) == (Exit.REFUSED, "token_revoked")
    assert "its wallet withdrew it; sign a new token" in ending.sentence
    # It comes back by its key, then with the token that it still has, and no more.
    assert sum(line["event"] == "disconnected" for line in log.lines()) <= 2


async def _revoke_soon(house: House, wallet: Keypair) -> None:
    await trio.sleep(0.2)
    assert await _delete(house, await house.bearer(wallet), "/api/sessions") == (200, "")


async def test_a_client_whose_session_was_revoked_stops_and_signs_in_only_for_a_new_question(
    tmp_path: Path,
) -> None:
    wallet = generate()
    async with open_house(tmp_path) as house, AsyncClient(house.url, wallet) as client:
        await client.faucet("10")
        job = await client.submit("hashsearch", search(), budget="1")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_revoke_soon, house, wallet)
            # It waits when the session ends.
            with pytest.raises(HypernodeError, match="session_revoked"):
                await job.result(timeout_s=10)
        again = await client.submit("hashsearch", search(), budget="1")

    assert again.id != job.id


def _token_name(token: str) -> str:
    return f"token-{token_text.nonce_of(token)}"


@pytest.mark.slow
async def test_the_command_line_lists_and_revokes(tmp_path: Path) -> None:
    wallet, file, token = generate(), tmp_path / "wallet.json", tmp_path / "token"
    save_keypair(file, wallet)
    async with open_house(tmp_path) as house:
        ask = partial(hypernode, HYPERNODE_URL=house.url, HYPERNODE_KEYPAIR=str(file))
        await house.bearer(wallet)
        token.write_text(await house.token(wallet))
        listed = await ask("sessions", "list", "--json")
        table = await ask("sessions", "list")
        by_file = await ask("token", "revoke", str(token))
        async with dialled(house) as peer:
            await peer.register(generate(), await house.token(wallet))
            by_node = await ask("nodes", "revoke", peer.node)
            ended = await peer.end()
        unknown = await ask("sessions", "revoke", "session-0123456789abcdef")
        one, other = [_token_name(await house.token(wallet)) for _ in range(2)]
        mixed = await ask("sessions", "revoke", "token-0", one)
        as_json = await ask("sessions", "revoke", "token-0", other, "--json")
        slips = [
            await ask("sessions", "revoke", *more) for more in ([], ["--nodes"], ["--all", "x"])
        ]
        everything = await ask("sessions", "revoke", "--all", "--nodes", "--json")

    kinds = [(thing["kind"], thing["isCurrent"]) for thing in json.loads(listed.stdout)]
    assert sorted(kinds) == [("session", False), ("token", False)], "not the one that asked"
    assert table.stdout.startswith(b"id\tkind\tcreated")
    assert by_file.stdout.startswith(b"revoked token-")
    assert (by_node.stdout.decode(), ended.codes) == (f"revoked {peer.node}\n", ["token_revoked"])
    assert (unknown.returncode, unknown.stderr[:6]) == (Exit.FAILED, b"error:")
    assert (mixed.returncode, mixed.stdout.decode()) == (Exit.FAILED, f"revoked {one}\n")
    assert mixed.stderr == b"error: this wallet has no 'token-0' to revoke (not_found)\n"
    tried = json.loads(as_json.stdout)
    assert (as_json.returncode, tried["revoked"]) == (Exit.FAILED, [other])
    assert [(failed["id"], failed["code"]) for failed in tried["failed"]] == [
        ("token-0", "not_found")
    ]
    assert {slip.returncode for slip in slips} == {Exit.USAGE}
    assert json.loads(everything.stdout) == {"sessions": 2, "tokens": 0, "nodes": 0}


# ---- time and restarts --------------------------------------------------------------------------


async def test_connections_end_with_the_time_of_their_session_and_their_key(
    house: Indoors, autojump_clock: MockClock
) -> None:
    waits = await house.connect()
    await waits.open(await house.bearer(generate()))

    house.clock.ahead_ms += SESSION_MS + 1
    with trio.fail_after(2 * IDLE_S):
        # It says nothing; only its keep-alive looks at the time.
        ended = await _end_of(waits)
    worker = await house.connect()
    await worker.register(generate(), await house.token(generate()))
    house.clock.ahead_ms += DELEGATION_MS + 1
    await worker.say(m.Heartbeat())

    assert ended == End(["session_expired"], 4001)
    assert await worker.end() == End(["token_expired"], 4001)


async def _end_of(peer: Peer) -> End:
    """As `Peer.end`, for one that must wait for minutes."""
    codes: list[str] = []
    while True:
        try:
            frame = await peer.socket.get_message()
        except tw.ConnectionClosed as closed:
            return End(codes, closed.reason.code if closed.reason else 0)
        codes.append(msgspec.json.decode(frame)["code"])


async def test_what_was_revoked_stays_so_after_a_restart(tmp_path: Path) -> None:
    wallet, key = generate(), generate()
    names: dict[str, Any] = {"domain": "hyper.example", "uri": "https://hyper.example"}
    async with open_house(tmp_path, **names) as house:
        bearer, other = await house.bearer(wallet), await house.bearer(wallet)
        unspent = await house.token(wallet)
        async with dialled(house) as peer:
            await peer.register(key, await house.token(wallet))
            assert await _delete(house, bearer, "/api/sessions?nodes=true") == (200, "")
            assert await peer.end() == End(["token_revoked"], 4003)
    async with open_house(tmp_path, **names) as house:
        codes = [await _delete(house, each, "/api/session") for each in (bearer, other)]
        async with dialled(house) as peer:
            handshake, challenge = await peer.greet(key)
            await peer.say(handshake.answer(challenge))
            by_key = await peer.end()
        async with dialled(house) as peer:
            await peer.say(m.Register(unspent))
            by_token = await peer.end()

    assert codes == [(401, "unauthenticated")] * 2
    assert (by_key.codes, by_token.codes) == (["token_revoked"], ["token_revoked"])
