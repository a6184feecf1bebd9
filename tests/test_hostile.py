"""Bad peers at the WebSocket of a live coordinator: each is refused by name, logged once, alone.

Every market of these tests ends with an honest job that goes through, and with a log in which
nothing of our own failed.
Not here: HTTP (`test_hostile_http.py`), the strict decoder by itself (`test_codec.py`).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import trio
from trio.testing import MockClock

from coordinator.limits import (
    AUTH_S,
    DELEGATION_MS,
    FRAME_BYTES_MAX,
    FRAME_BYTES_MAX_BEFORE_AUTH,
    ITEMS_PER_MESSAGE_MAX,
    JSON_DEPTH_MAX,
    LOG_LINES_BURST,
    MESSAGES_BURST,
    SEND_S,
    TOKEN_MS,
)
from coordinator.protocol import messages as m
from coordinator.protocol.base64url import decode_base64url, encode_base64url
from coordinator.protocol.codec import encode
from coordinator.protocol.commitment import output_root
from coordinator.protocol.handshake import AgentHandshake, proof_text
from coordinator.protocol.signing import generate
from onchain.address import decode_address, encode_address
from tests.house import (
    Market,
    captured_log,
    inventory_of,
    open_house,
    open_market,
    search,
    until,
)
from tests.indoors import open_indoors, spec_of
from tests.peer import End, Peer, dialled, knock

NODE_KEY: Final = encode_address(generate().address)
SIGNATURE: Final = "A" * 86
#: One of each message that a coordinator receives, as it may look in its own session.
EVERY_MESSAGE: Final[dict[str, m.AnyMessage]] = {
    "hello": m.Hello(2, NODE_KEY, "A" * 43),
    "register": m.Register("hy1.x.y", proof=SIGNATURE),
    "heartbeat": m.Heartbeat("node-1"),
    "job_result": m.JobResult("job-1", "completed"),
    "inventory": inventory_of("hashsearch"),
    "resume": m.Resume(),
    "results": m.Results([m.ResultItem("job-1", 1, "completed")]),
    "progress": m.Progress([m.ProgressItem("job-1", 1)]),
    "receipts_signed": m.ReceiptsSigned(1, SIGNATURE),
    "open": m.Open("A" * 43),
    "submit": m.Submit([]),
    "watch": m.Watch(["job-1"]),
    "cancel": m.Cancel(["job-1"]),
    "quote": m.Quote([]),
    "revoke": m.Revoke(["session-1"]),
}
OPENERS: Final = {"hello", "register", "open"}
NODE_WORDS: Final = {
    "heartbeat", "inventory", "resume", "results", "progress", "receipts_signed",
}  # fmt: skip
SEED_WORDS: Final = {"heartbeat", "job_result"}
SUBMITTER_WORDS: Final = {"submit", "watch", "cancel", "quote", "revoke"}


@pytest.fixture
async def market(tmp_path: Path) -> AsyncIterator[Market]:
    async with open_market(tmp_path) as opened:
        yield opened


def register(**fields: Any) -> str:
    return json.dumps({"type": "register", **fields})


def padded(message: str, size: int) -> str:
    return message + " " * (size - len(message))


def deep(depth: int) -> str:
    return f'{{"type":"register","token":"x","more":{"[" * depth}1{"]" * depth}}}'


#: name: (first frame, our code, the WebSocket's code).
STRANGERS_WORDS: Final[dict[str, tuple[str | bytes, str, int]]] = {
    "not JSON": ("hello?", "malformed", 1007),
    "nothing": ("", "malformed", 1007),
    "half of it": ('{"type":"register"', "malformed", 1007),
    "a list": ("[]", "malformed", 1007),
    "no type": ("{}", "malformed", 1007),
    "a number": ("17", "malformed", 1007),
    "a byte order mark": ("\ufeff{}", "malformed", 1007),
    "a type that is a number": ('{"type":7}', "unknown_type", 1003),
    "a type of another protocol": ('{"type":"subscribe"}', "unknown_type", 1003),
    "a type that only we send": ('{"type":"registered","nodeId":"x"}', "unknown_type", 1003),
    "one byte too many": (
        padded(register(token="x"), FRAME_BYTES_MAX_BEFORE_AUTH + 1), "too_large", 1009,
    ),
    "nested too deep": (deep(JSON_DEPTH_MAX), "too_deep", 1007),
    "nested a thousand deep": (deep(1000), "too_deep", 1007),
    "a key twice": ('{"type":"register","token":"a","token":"b"}', "malformed", 1007),
    "a type twice": ('{"type":"heartbeat","type":"register"}', "malformed", 1007),
    "a NUL": (register(token="a\0b"), "malformed", 1007),
    "half a surrogate pair": ('{"type":"register","token":"\\ud83d"}', "malformed", 1007),
    "a token that is a number": (register(token=5), "malformed", 1007),
    "a token that is null": (register(token=None), "malformed", 1007),
    "a token beyond its limit": (register(token="x" * 2049), "malformed", 1007),
    "GPUs that are a number": (register(token="x", hostInfo={"gpus": 3}), "malformed", 1007),
    "seventeen GPUs": (register(token="x", hostInfo={"gpus": [{}] * 17}), "malformed", 1007),
    "an integer beyond 2^53": ('{"type":"register","more":9007199254740993}', "malformed", 1007),
    "a number that is none": ('{"type":"register","more":NaN}', "malformed", 1007),
    "an empty binary frame": (b"", "malformed", 1007),
    "a header longer than its frame": (b"\xff\xff\xff\xff{}", "malformed", 1007),
    "bytes that are no UTF-8": (b"\x02\x00\x00\x00\xff\xfe", "malformed", 1007),
    "a negative protocol": ('{"type":"hello","protocol":-1}', "malformed", 1007),
    "another protocol": (
        encode(m.Hello(1, NODE_KEY, "A" * 43)), "malformed", 1007,
    ),
    "a node key that is none": (encode(m.Hello(2, "1" * 44, "A" * 43)), "malformed", 1007),
    "a node key of small order": (encode(m.Hello(2, "1" * 32, "A" * 43)), "weak_key", 1008),
    "a nonce of one byte": (encode(m.Hello(2, NODE_KEY, "AA")), "malformed", 1007),
    "no token and no proof": (register(), "unauthenticated", 1008),
    "a token of the seed's": (register(token="6d3f5c4b-0b29-4ac1-a1e8"), "token_malformed", 1008),
    "an unknown bearer": (encode(m.Open("A" * 43)), "unauthenticated", 1008),
    "no bearer": ('{"type":"open"}', "bad_address", 1008),
    "a wallet without its signature": (
        encode(m.Open(wallet=NODE_KEY, nonce="0" * 32, signature=SIGNATURE)),
        "challenge_unknown", 1008,
    ),
}  # fmt: skip


@pytest.mark.slow
async def test_a_strangers_first_word_is_refused_by_name_and_logged_once(market: Market) -> None:
    ends, lines = {}, {}
    for name, (frame, code, _close) in STRANGERS_WORDS.items():
        async with dialled(market.house) as peer:
            await peer.say(frame)
            ends[name] = await peer.end()
            lines[name] = market.log.said(code)
            market.log.forget()

    assert ends == {name: End([code], close) for name, (_, code, close) in STRANGERS_WORDS.items()}
    # Once each, as far as one address's lines go (`coordinator.log`, rule 4).
    assert list(lines.values())[:LOG_LINES_BURST] == [1] * LOG_LINES_BURST, lines
    assert set(lines.values()) <= {0, 1}, lines


async def test_what_is_not_an_opening_is_out_of_order(market: Market) -> None:
    ends = {}
    for name in EVERY_MESSAGE.keys() - OPENERS:
        async with dialled(market.house) as peer:
            await peer.say(EVERY_MESSAGE[name])
            ends[name] = await peer.end()

    assert set(EVERY_MESSAGE) == {m.tag_of(kind) for kind in m.ToCoordinator.__args__}
    assert ends == dict.fromkeys(EVERY_MESSAGE.keys() - OPENERS, End(["out_of_order"], 1002))
    assert market.log.said("out_of_order") == len(ends)


async def _as_node(market: Market, peer: Peer) -> None:
    await peer.register(generate(), await market.house.token(generate()))


async def _as_seed(market: Market, peer: Peer) -> None:
    await peer.register_as_seed(await market.house.token(generate()))


async def _as_submitter(market: Market, peer: Peer) -> None:
    await peer.open(await market.house.bearer(generate()))


WAYS_IN: Final = {
    "node": (_as_node, NODE_WORDS),
    "seed": (_as_seed, SEED_WORDS),
    "submitter": (_as_submitter, SUBMITTER_WORDS),
}


@pytest.mark.parametrize("role", WAYS_IN)
@pytest.mark.slow
async def test_a_message_of_another_role_ends_the_session(market: Market, role: str) -> None:
    enter, own_words = WAYS_IN[role]
    ends = {}
    for name in EVERY_MESSAGE.keys() - own_words:
        async with dialled(market.house) as peer:
            await enter(market, peer)
            await peer.say(EVERY_MESSAGE[name])
            ends[name] = await peer.end()

    assert ends == dict.fromkeys(EVERY_MESSAGE.keys() - own_words, End(["out_of_order"], 1002))
    assert market.log.said("out_of_order") == len(ends)


#: Broken words of whoever is let in: (frame, our code, the WebSocket's).
BROKEN_WORDS: Final[dict[str, tuple[str | bytes, str, int]]] = {
    "not JSON": ("{", "malformed", 1007),
    "a NUL": ('{"type":"heartbeat","nodeId":"\\u0000"}', "malformed", 1007),
    "half a surrogate pair": ('{"type":"heartbeat","nodeId":"\\udc00"}', "malformed", 1007),
    "nested too deep": ('{"type":"heartbeat","x":%s}' % ("[" * 100), "too_deep", 1007),
    "nested to the brim": ('{"type":"heartbeat","x":' + "[" * 900_000, "too_deep", 1007),
    "only quotes": ('"' * 900_001, "malformed", 1007),
    "only backslashes": ('"' + "\\" * 900_000, "malformed", 1007),
    "a number of a million digits": (
        '{"type":"receipts_signed","batch":%s}' % ("9" * 1_000_000), "malformed", 1007,
    ),
    "an id beyond its limit": (encode(m.Heartbeat("x" * 65)), "malformed", 1007),
    "a type of nobody's": ('{"type":"sudo"}', "unknown_type", 1003),
}  # fmt: skip


@pytest.mark.slow
async def test_broken_words_end_a_session_that_was_let_in(market: Market) -> None:
    ends, lines = {}, {}
    for name, (frame, code, _close) in BROKEN_WORDS.items():
        async with dialled(market.house) as peer:
            await _as_node(market, peer)
            market.log.forget()
            await peer.say(frame)
            ends[name] = await peer.end()
            lines[name] = market.log.said(code)

    assert ends == {name: End([code], close) for name, (_, code, close) in BROKEN_WORDS.items()}
    assert set(lines.values()) == {1}, lines


@pytest.mark.parametrize("role", ["nobody", *WAYS_IN])
async def test_a_frame_beyond_one_mebibyte_closes_the_connection(market: Market, role: str) -> None:
    async with dialled(market.house) as peer:
        if role != "nobody":
            await WAYS_IN[role][0](market, peer)
        market.log.forget()
        await peer.say("x" * (FRAME_BYTES_MAX + 1))
        end = await peer.end()

    assert end.close == 1009
    await until(lambda: len(market.log.lines()) == 1)


# ---- captured words -----------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_captured_session_opens_nothing(market: Market) -> None:
    """Whoever heard every word of a node, a seed client and a submitter says them again."""
    house = market.house
    node_key, wallet = generate(), generate()
    proof = await house.proof("/api/session/challenge", wallet, scope="wallet")
    opening = m.Open(wallet=proof["wallet"], nonce=proof["nonce"], signature=proof["signature"])
    async with dialled(house) as node, dialled(house) as seed, dialled(house) as submitter:
        await node.register(node_key, await house.token(wallet))
        await seed.register_as_seed(await house.token(wallet))
        await submitter.say(opening)
        await submitter.expect("opened")

    ends = []
    for captured in (node, seed, submitter):
        async with dialled(house) as thief:
            for frame in captured.said:
                await thief.say(frame)
                await trio.sleep(0.02)
            ends.append(await thief.end())
    async with dialled(house) as again:
        await again.register(node_key)

    assert ends == [
        End(["bad_signature"], 1008),
        End(["token_spent"], 1008),
        End(["challenge_unknown"], 1008),
    ]
    assert again.node == node.node, "the node itself comes back by its key alone"


async def test_wrong_proofs_of_a_node_key_open_nothing(market: Market) -> None:
    """Another key's signature, another nonce's, another token's, and a truncated one."""
    house, node_key = market.house, generate()
    token = await house.token(generate())
    stolen = await house.token(generate())
    ends = {}
    for name in ("other key", "old nonce", "other token", "no proof", "half a proof"):
        async with dialled(house) as peer:
            handshake, challenge = await peer.greet(node_key)
            honest = handshake.answer(challenge, token=token)
            match name:
                case "other key":
                    other = AgentHandshake(generate(), bytes(32), handshake.coordinator_key)
                    forged = m.Register(token, proof=_signed_by(other, challenge, token))
                case "old nonce":
                    async with dialled(house) as earlier:
                        handshake, old = await earlier.greet(node_key)
                    forged = handshake.answer(old, token=token)
                case "other token":
                    forged = msgspec.structs.replace(honest, token=stolen)
                case "no proof":
                    forged = m.Register(token)
                case _:
                    forged = msgspec.structs.replace(honest, proof=honest.proof[:43])
            await peer.say(forged)
            ends[name] = await peer.end()
    async with dialled(house) as peer:
        await peer.register(node_key, token)

    assert ends == {
        "other key": End(["bad_signature"], 1008),
        "old nonce": End(["bad_signature"], 1008),
        "other token": End(["bad_signature"], 1008),
        "no proof": End(["malformed"], 1007),
        "half a proof": End(["malformed"], 1007),
    }
    assert peer.node, "no failed try has spent the token"


def _signed_by(handshake: AgentHandshake, challenge: m.Challenge, token: str) -> str:
    """The proof that another node key would give (it does not check who challenges)."""
    text = proof_text(
        decode_address(challenge.coordinator_key),
        handshake._keypair.address,
        decode_base64url(challenge.server_nonce, size=32),
        bytes(32),
        token,
    )
    return encode_base64url(handshake._keypair.sign(text))


# ---- tokens -------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_tokens_that_are_spent_foreign_or_anothers_are_refused(
    market: Market, tmp_path: Path
) -> None:
    house, owner, node_key = market.house, generate(), generate()
    spent = await house.token(owner)
    async with dialled(house) as peer:
        await peer.register(generate(), spent)
    async with open_house(tmp_path / "elsewhere") as elsewhere:
        foreign = await elsewhere.token(owner)
    delegation = await house.token(owner, node_key.address)
    form, text, signature = (await house.token(owner)).split(".")
    changed = "B" if signature[0] != "B" else "C"
    tokens = {
        "token_spent": spent,
        "token_wrong_coordinator": foreign,
        "token_wrong_node": delegation,
        "bad_signature": f"{form}.{text}.{changed}{signature[1:]}",
        "token_malformed": f"{form}.{text}",
    }
    ends = {}
    for name, token in tokens.items():
        async with dialled(house) as peer:
            await peer.say(m.Register(token))
            ends[name] = await peer.end()

    assert ends == {name: End([name], 1008) for name in tokens}
    assert {name: market.log.said(name) for name in tokens} == dict.fromkeys(tokens, 1)


async def test_tokens_delegations_and_sessions_end_when_their_time_is_over(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    with captured_log() as log:
        async with open_indoors(tmp_path) as house:
            owner, node_key = generate(), generate()
            token = await house.token(owner)
            delegation = await house.token(owner, node_key.address)
            bearer = await house.bearer(owner)
            house.clock.ahead_ms = TOKEN_MS + 1000
            heard = [
                await _first_answer(await house.connect(), m.Register(token)),
                await _first_answer(await house.connect(), m.Open(bearer)),
            ]
            early = await house.connect()
            await early.register(node_key, delegation)
            house.clock.ahead_ms = DELEGATION_MS + 1000
            late = await house.connect()
            handshake, challenge = await late.greet(node_key)
            heard.append(await _first_answer(late, handshake.answer(challenge)))

    assert early.node, "a delegation lives longer than a token"
    assert heard == ["token_expired", "session_expired", "token_expired"]
    assert log.failures() == []


async def _first_answer(peer: Peer, message: m.AnyMessage) -> str:
    await peer.say(message)
    answer, _ = await peer.hear()
    code: str = answer.get("code", answer["type"])
    return code


# ---- doors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:3001"])
async def test_a_page_of_a_foreign_origin_gets_no_websocket(market: Market, origin: str) -> None:
    assert await knock(market.house, Origin=origin) == (403, "bad_origin")
    assert market.log.said("bad_origin") == 1


async def test_connections_beyond_the_bound_of_an_address_are_refused_until_some_close(
    tmp_path: Path,
) -> None:
    async with open_market(tmp_path, connections_per_address=8) as market:
        async with AsyncExitStack() as stack:
            # Some of the eight belong to the honest.
            opened = 0
            with contextlib.suppress(Exception):
                for _ in range(9):
                    await stack.enter_async_context(dialled(market.house))
                    opened += 1
            refused = await knock(market.house)
        lines = market.log.said("rate_limited")

    assert 3 <= opened <= 6
    assert refused == (429, "rate_limited")
    assert lines >= 1


@pytest.mark.parametrize("words", [0, 1])
async def test_a_stranger_who_falls_silent_is_closed_in_time(
    tmp_path: Path, autojump_clock: MockClock, words: int
) -> None:
    with captured_log() as log:
        async with open_indoors(tmp_path) as house:
            peer = await house.connect()
            began = trio.current_time()
            if words:
                await peer.greet(generate())
                await trio.sleep(AUTH_S * 0.9)
            with trio.move_on_after(AUTH_S + 1):
                await peer.socket._recv_channel.receive()
            waited = trio.current_time() - began
            end = await peer.end()

    assert waited == pytest.approx(AUTH_S, abs=0.1)
    assert end.close == 1008
    assert log.said("deadline") == 1
    assert log.failures() == []


async def test_a_peer_that_never_reads_is_closed_and_holds_up_nobody(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    with captured_log() as log:
        async with open_indoors(tmp_path) as house:
            deaf, other = await house.connect(is_lockstep=True), await house.connect()
            await deaf.open(await house.bearer(generate()))
            await other.open(await house.bearer(generate()))
            quote = m.Quote([msgspec.Raw(spec_of("hashsearch", **search()))] * 100, 1)
            began = trio.current_time()
            for _ in range(5):
                await deaf.say(quote)
            await other.say(quote)
            await other.expect("quoted")
            answered = trio.current_time() - began
            await until(lambda: bool(log.said("deadline")), SEND_S + 1)
            closed = trio.current_time() - began

    assert answered < 1
    assert closed == pytest.approx(SEND_S, abs=2.5)
    assert log.said("deadline") == 1
    assert log.failures() == []


@pytest.mark.slow
async def test_a_flood_is_slowed_down_and_hurts_nobody_else(market: Market) -> None:
    beat = encode(m.Heartbeat())
    quiet = sorted([await market.prove_alive() for _ in range(9)])[4]
    async with dialled(market.house, queue=20_000) as peer:
        await _as_node(market, peer)
        count = MESSAGES_BURST + 3_000
        began = trio.current_time()
        times: list[float] = []
        is_over = trio.Event()

        async def flood() -> None:
            for _ in range(count):
                await peer.say(beat)
            for _ in range(count):
                await peer.expect("ack")
            is_over.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(flood)
            while not is_over.is_set():
                times.append(await market.prove_alive())
                await trio.sleep(0.02)
    took = trio.current_time() - began
    median = sorted(times)[len(times) // 2]

    assert took >= 1.2, "3000 messages beyond the burst at 2000 a second"
    assert len(times) > 10
    assert median < max(20 * quiet, 0.25), (median, quiet)


async def test_a_flood_of_inventories_does_not_pile_up(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_indoors(tmp_path) as house:
        peer = await house.connect()
        await peer.register(generate(), await house.token(generate()))
        writer, longest = house.coordinator.operations.writer, 0
        for _ in range(300):
            await peer.say(inventory_of("hashsearch"))
            longest = max(longest, len(writer))
        await peer.say(m.Heartbeat())
        await peer.expect("ack")

    assert longest <= 1


# ---- other people's jobs, and lies --------------------------------------------------------------


async def test_a_result_for_another_nodes_job_is_stale_and_earns_nothing(market: Market) -> None:
    market.runner.gate = trio.Event()
    params = search()
    job = await market.client.submit("hashsearch", params, budget="1")
    await until(lambda: market.runner.began[-1].job == job.id)
    thief_wallet = generate()
    async with dialled(market.house) as thief:
        await thief.register(generate(), await market.house.token(thief_wallet))
        await thief.offer(inventory_of("montecarlo"))
        codes = [
            await thief.answer(m.ResultItem(job.id, fence, "completed", root="0" * 64))
            for fence in (0, 1, 2)
        ]
        codes.append(await thief.answer(m.ResultItem("job-1-0123456789abcdef", 1, "completed")))
        await thief.say(m.Progress([m.ProgressItem(job.id, 1, 0.5, "mine now")]))
        await thief.say(m.Resume([m.Attempt(job.id, 1)]))
        resumed = await thief.expect("resumed")
    market.runner.gate.set()
    result = await job.result(5)
    async with market.house.http(await market.house.bearer(thief_wallet)) as http:
        account = (await http.get("/api/account")).json()

    assert codes == ["stale"] * 4
    assert resumed == {"type": "resumed", "abandon": [{"job": job.id, "fence": 1}]}
    assert (account["earnedTotal"], account["paidJobs"]) == ("0", 0)
    assert result.receipt is not None
    assert result.receipt.wallet == market.operator.address


OUTPUT: Final = bytes(8) + bytes(8)
EMPTY: Final = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def sums(**changes: Any) -> list[m.Array]:
    """The one output of a small `montecarlo` job, with something changed."""
    array = m.Array(dtype="float64", shape=[1, 2], bytes=16, offset=0)
    return [msgspec.structs.replace(array, **changes)]


#: Results that do not fit together, none of which may be believed: (outputs, data).
LIES: Final[dict[str, tuple[list[m.Array], bytes]]] = {
    "no output": ([], b""),
    "two outputs": (sums() * 2, OUTPUT),
    "an offset behind the data": (sums(offset=1), OUTPUT),
    "an offset far away": (sums(offset=2**53 - 1), OUTPUT),
    "no data": (sums(), b""),
    "neither offset nor blob": (sums(offset=None), OUTPUT),
    "a size that is not the shape's": (sums(bytes=15), OUTPUT),
    "a shape that is not the size's": (sums(shape=[2, 2]), OUTPUT),
    "a shape of another kind": (sums(shape=[2]), OUTPUT),
    "a shape without end": (sums(shape=[2**53 - 1] * 8, bytes=2**20), OUTPUT),
    "a shape without end and without bytes": (sums(shape=[0, *[2**53 - 1] * 7], bytes=0), b"x"),
    "another type": (sums(dtype="int64"), OUTPUT),
    "a type that does not travel": (sums(dtype="object"), OUTPUT),
    "a blob that nobody uploaded": (sums(offset=None, sha256="ab" * 32), b""),
    "a blob and an offset": (sums(sha256="ab" * 32), OUTPUT),
    "an empty blob": (sums(shape=[0, 2], bytes=0, offset=None, sha256=EMPTY), b""),
    "numbers that are none": (sums(), b"\xff" * 16),
    "a guess": (sums(), OUTPUT[:8] + b"\x00\x00\x00\x00\x00\x00\xf0\x3f"),
}
OPTION: Final = {
    "spot": 100, "strike": 90, "rate": 0.05, "volatility": 0.2, "maturity_years": 1,
    "option": "call", "paths": 64,
}  # fmt: skip


@pytest.mark.slow
async def test_results_whose_arrays_lie_are_rejected_and_never_paid(market: Market) -> None:
    house, client = market.house, market.client
    before = (await client.account()).credit
    ends: dict[str, tuple[str, str]] = {}
    async with dialled(house) as liar:
        await liar.register(generate(), await house.token(generate()))
        await liar.offer(inventory_of("montecarlo"))
        async with house.http(liar.session_key) as http:
            assert (await http.put(f"/api/blobs/{EMPTY}", content=b"")).status_code == 204
        for name, (outputs, data) in LIES.items():
            job = await client.submit("montecarlo", OPTION, budget="1", retries=0)
            item = await liar.job()
            code = await liar.answer(
                m.ResultItem(item["id"], item["fence"], "completed", outputs=outputs), data
            )
            await job.wait(5)
            ends[name] = (code, (await client.job(job.id)).code)
        job = await client.submit("montecarlo", OPTION, budget="1", retries=0)
        item = await liar.job()
        result = m.ResultItem(
            item["id"], item["fence"], "completed", outputs=sums(), root="00" * 32
        )
        ends["another root"] = (await liar.answer(result, OUTPUT), "")
        await job.wait(5)
    after = (await client.account()).credit

    assert set(ends.values()) <= {("accepted", "rejected"), ("accepted", "")}, ends
    assert job.state == "failed"
    assert after == before, "every hold came back"


@pytest.mark.parametrize(
    "change",
    [
        {"offset": -1}, {"offset": 1.5}, {"shape": [-1]}, {"shape": [1] * 9}, {"bytes": 2**40},
        {"sha256": "../../etc/passwd"}, {"sha256": "AB" * 32}, {"dtype": "a" * 9},
    ],
)  # fmt: skip
async def test_an_array_that_no_message_can_carry_ends_the_session(
    market: Market, change: dict[str, Any]
) -> None:
    array = {"dtype": "float64", "shape": [2], "bytes": 16, "offset": 0, **change}
    item = {"job": "job-1", "fence": 1, "status": "completed", "outputs": [array]}
    async with dialled(market.house) as peer:
        await _as_node(market, peer)
        await peer.say(json.dumps({"type": "results", "results": [item]}))
        end = await peer.end()

    assert end == End(["malformed"], 1007)


async def test_a_true_root_over_wrong_numbers_is_no_excuse(market: Market) -> None:
    async with dialled(market.house) as liar:
        await liar.register(generate(), await market.house.token(generate()))
        await liar.offer(inventory_of("montecarlo"))
        job = await market.client.submit("montecarlo", OPTION, budget="1", retries=0)
        item = await liar.job()
        root = output_root([OUTPUT]).hex()
        await liar.answer(
            m.ResultItem(item["id"], item["fence"], "completed", outputs=sums(), root=root), OUTPUT
        )
        await job.wait(5)
        info = await market.client.job(job.id)

    assert (info.status, info.code, info.paid) == ("failed", "rejected", "0")


# ---- words that come back larger ----------------------------------------------------------------


def as_many_as_fit(kind: str, name: str, item: dict[str, Any]) -> str:
    """A message with the same item again and again, as large as a frame may be."""
    one = json.dumps(item, separators=(",", ":"))
    room = FRAME_BYTES_MAX - len(f'{{"type":"{kind}","ref":1,"{name}":[]}}')
    items = ",".join([one] * min(room // (len(one) + 1), ITEMS_PER_MESSAGE_MAX))
    return f'{{"type":"{kind}","ref":1,"{name}":[{items}]}}'


async def test_answers_that_repeat_a_submitters_own_words_still_fit_a_frame(
    market: Market,
) -> None:
    """Control characters take six bytes each; keys and sentences repeat them."""
    job = {"key": '"' * 128, "spec": {"kind": "x", "\x02" * 237: 1}, "budget": "1"}
    spec = {"kind": "x", "\x04" * 237: 1}
    async with dialled(market.house) as peer:
        await _as_submitter(market, peer)
        await peer.say(as_many_as_fit("submit", "jobs", job))
        submitted = await peer.expect("submitted")
        await peer.say(as_many_as_fit("quote", "specs", spec))
        quoted = await peer.expect("quoted")

    assert {answer["code"] for answer in submitted["jobs"]} == {"bad_spec"}
    assert {price["code"] for price in quoted["prices"]} == {"bad_spec"}


async def test_what_an_agent_tells_of_its_job_cannot_break_the_submitters_connection(
    market: Market,
) -> None:
    async with dialled(market.house) as loud:
        await loud.register(generate(), await market.house.token(generate()))
        await loud.offer(inventory_of("montecarlo"))
        job = await market.client.submit("montecarlo", OPTION, budget="1", retries=0)
        item = await loud.job()
        progress = m.Progress([m.ProgressItem(item["id"], item["fence"], 0.5, "\x01" * 174_700)])
        await loud.say(encode(progress))
        end = await loud.end()
        await job.cancel()

    assert end == End(["malformed"], 1007)
    assert job.state == "cancelled"


async def test_attempts_with_unreadable_names_cannot_break_the_resume(market: Market) -> None:
    async with dialled(market.house) as peer:
        await _as_node(market, peer)
        await peer.say(inventory_of("montecarlo"))
        attempt = '{"job":"%s","fence":9}' % ("\\u0001" * 64)
        attempts = ",".join([attempt] * 2558)
        frame = f'{{"type":"resume","attempts":[{attempts}]}}'
        await peer.say(padded(frame, FRAME_BYTES_MAX))
        end = await peer.end()

    assert end == End(["malformed"], 1007)


async def test_a_closed_session_ends_the_connections_that_go_on_under_it(market: Market) -> None:
    house, wallet = market.house, generate()
    bearer, other = await house.bearer(wallet), await house.bearer(wallet)
    async with dialled(house) as ended, dialled(house) as stays:
        await ended.open(bearer)
        await stays.open(other)
        async with house.http(bearer) as http:
            assert (await http.delete("/api/session")).status_code < 300
        end = await ended.end()
        await stays.say(m.Quote([msgspec.Raw(spec_of("hashsearch", **search()))]))
        quoted = await stays.expect("quoted")

    assert end == End(["session_revoked"], 4003)
    assert len(quoted["prices"]) == 1
