"""The dev node from outside: raw JSON-RPC, subscriptions, bodies and bytes that are hostile."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import trio
from hypothesis import given, settings, strategies as st
from trio_websocket import ConnectionClosed, WebSocketConnection, open_websocket_url

from coordinator.limits import (
    DEVNODE_BATCH_MAX,
    DEVNODE_BODY_BYTES_MAX,
    DEVNODE_SUBSCRIPTIONS_MAX,
)
from onchain.address import encode_address
from onchain.devnode import DevNode, Ports
from onchain.devnode_rpc import METHODS, answer
from onchain.drafts import Budget
from onchain.machine import Machine
from onchain.transactions import Recipe
from tests.chain_faults import FaultyNode
from tests.chains import SOL, TOKEN, fresh_machine, key, pay, put_mint, put_tokens, served

ALICE, BOB = key("alice"), key("bob")
NAMES = {"alice": encode_address(ALICE.address), "bob": encode_address(BOB.address)}


def call(machine: Machine, method: str, *params: object) -> Any:
    """The whole answer to one request, without a socket."""
    request = {"jsonrpc": "2.0", "id": 7, "method": method, "params": [*params]}
    document = json.loads(answer(machine, json.dumps(request).encode()))
    assert (document["jsonrpc"], document["id"]) == ("2.0", 7)
    return document


def result(machine: Machine, method: str, *params: object) -> Any:
    document = call(machine, method, *params)
    assert "error" not in document, document
    return document["result"]


def code(machine: Machine, method: str, *params: object) -> int:
    number: int = call(machine, method, *params)["error"]["code"]
    return number


def transfer(machine: Machine, lamports: int = SOL) -> str:
    """A signed transfer in base64."""
    blockhash = next(reversed(machine.blockhashes))
    draft = Recipe((pay(ALICE, BOB.address, lamports),), (ALICE,))
    return b64encode(draft.sign(blockhash, Budget(10_000)).raw).decode()


@pytest.fixture
def machine() -> Machine:
    made = fresh_machine()
    made.airdrop(ALICE.address, 10 * SOL)
    return made


# ---- methods -------------------------------------------------------------------------------


def test_a_transfer_is_told_in_every_shape(machine: Machine) -> None:
    signature = result(machine, "sendTransaction", transfer(machine), {"encoding": "base64"})

    (status,) = result(machine, "getSignatureStatuses", [signature])["value"]
    told = result(machine, "getTransaction", signature, {"maxSupportedTransactionVersion": 0})
    parsed = result(
        machine,
        "getTransaction",
        signature,
        {"encoding": "jsonParsed", "maxSupportedTransactionVersion": 0},
    )
    raw = result(
        machine,
        "getTransaction",
        signature,
        {"encoding": "base64", "maxSupportedTransactionVersion": 0},
    )
    (listed,) = result(machine, "getSignaturesForAddress", NAMES["bob"])

    assert (status["err"], status["confirmationStatus"]) == (None, "finalized")
    assert told["transaction"]["message"]["accountKeys"][:2] == [NAMES["alice"], NAMES["bob"]]
    assert told["meta"]["fee"] == 5_000
    assert told["meta"]["postBalances"][1] - told["meta"]["preBalances"][1] == SOL
    keys = parsed["transaction"]["message"]["accountKeys"]
    assert [(each["signer"], each["writable"]) for each in keys[:3]] == [
        (True, True),
        (False, True),
        (False, False),
    ]
    assert raw["transaction"][1] == "base64"
    assert listed["signature"] == signature


def test_a_client_that_knows_no_versions_is_told_so(machine: Machine) -> None:
    signature = result(machine, "sendTransaction", transfer(machine), {"encoding": "base64"})

    assert code(machine, "getTransaction", signature) == -32015


def test_a_failed_preflight_comes_with_its_simulation(machine: Machine) -> None:
    refused = call(machine, "sendTransaction", transfer(machine, 99 * SOL), {"encoding": "base64"})

    error = refused["error"]
    assert error["code"] == -32002
    assert error["message"].endswith("Error processing Instruction 1: custom program error: 0x1")
    assert error["data"]["err"] == {"InstructionError": [1, {"Custom": 1}]}
    assert any("insufficient" in line for line in error["data"]["logs"])


def test_a_simulation_tells_accounts_and_a_new_blockhash(machine: Machine) -> None:
    config = {
        "encoding": "base64",
        "replaceRecentBlockhash": True,
        "accounts": {"encoding": "base64", "addresses": [NAMES["bob"]]},
    }
    value = result(machine, "simulateTransaction", transfer(machine), config)["value"]

    assert value["accounts"][0]["lamports"] == SOL
    assert value["replacementBlockhash"]["lastValidBlockHeight"] == machine.height + 150
    assert result(machine, "getBalance", NAMES["bob"])["value"] == 0
    both = {**config, "sigVerify": True}
    assert code(machine, "simulateTransaction", transfer(machine), both) == -32602


def test_lists_by_address_have_a_beginning_and_an_end(machine: Machine) -> None:
    signatures = [
        result(machine, "sendTransaction", transfer(machine, SOL + n), {"encoding": "base64"})
        for n in range(5)
    ][::-1]

    def listed(**how: object) -> list[str]:
        rows = result(machine, "getSignaturesForAddress", NAMES["bob"], how)
        return [row["signature"] for row in rows]

    assert listed() == signatures
    assert listed(limit=2) == signatures[:2]
    assert listed(before=signatures[1]) == signatures[2:]
    assert listed(until=signatures[3]) == signatures[:3]
    assert code(machine, "getSignaturesForAddress", NAMES["bob"], {"limit": 0}) == -32602


def test_accounts_come_in_parts_and_encodings(machine: Machine) -> None:
    name = encode_address(key("data").address)
    machine.set_account(key("data").address, SOL, bytes(range(200)))

    def data(**how: object) -> Any:
        return result(machine, "getAccountInfo", name, how)["value"]["data"]

    assert data(encoding="base64") == [b64encode(bytes(range(200))).decode(), "base64"]
    assert data(dataSlice={"offset": 1, "length": 3}) == ["Ldp", "base58"]
    assert data(encoding="jsonParsed")[1] == "base64"
    assert code(machine, "getAccountInfo", name) == -32602  # 200 bytes are too many for base58
    assert code(machine, "getAccountInfo", name, {"encoding": "base64+zstd"}) == -32602
    assert result(machine, "getAccountInfo", NAMES["bob"])["value"] is None


def test_tokens_are_told_by_owner_and_in_words(machine: Machine) -> None:
    mint, holder = key("mint").address, key("holder").address
    put_mint(machine, mint, decimals=2, supply=12345)
    put_tokens(machine, holder, mint, BOB.address, 12340)
    how = {"encoding": "jsonParsed"}

    by_mint = result(
        machine, "getTokenAccountsByOwner", NAMES["bob"], {"mint": encode_address(mint)}, how
    )
    by_program = result(
        machine, "getTokenAccountsByOwner", NAMES["bob"], {"programId": encode_address(TOKEN)}, how
    )
    balance = result(machine, "getTokenAccountBalance", encode_address(holder))["value"]
    supply = result(machine, "getTokenSupply", encode_address(mint))["value"]

    assert by_mint["value"] == by_program["value"]
    info = by_mint["value"][0]["account"]["data"]["parsed"]["info"]
    assert (info["owner"], info["tokenAmount"]["uiAmountString"]) == (NAMES["bob"], "123.4")
    assert (balance["amount"], balance["uiAmount"]) == ("12340", 123.4)
    assert supply["amount"] == "12345"
    assert code(machine, "getTokenAccountBalance", NAMES["alice"]) == -32602
    assert code(machine, "getTokenSupply", NAMES["alice"]) == -32602


def test_what_a_message_costs_and_how_long_its_blockhash_lives(machine: Machine) -> None:
    draft = Recipe((pay(ALICE, BOB.address, 1),), (ALICE,))
    blockhash = next(reversed(machine.blockhashes))
    raw = draft.unsigned(blockhash, Budget(1_000_000, 10))
    message = b64encode(raw[65:]).decode()

    assert result(machine, "getFeeForMessage", message)["value"] == 5_010
    assert result(machine, "isBlockhashValid", encode_address(blockhash))["value"] is True
    machine.advance(151)
    assert result(machine, "getFeeForMessage", message)["value"] is None
    assert result(machine, "isBlockhashValid", encode_address(blockhash))["value"] is False


def test_slots_pass_by_a_call_of_our_own(machine: Machine) -> None:
    slot, height = machine.slot, machine.height

    assert result(machine, "hyperAdvance", {"slots": 432_000, "blocks": 10}) == slot + 432_000
    info = result(machine, "getEpochInfo")

    assert (info["epoch"], info["absoluteSlot"]) == (1, slot + 432_000)
    assert info["blockHeight"] == height + 10
    assert result(machine, "hyperAdvance") == slot + 432_001
    assert code(machine, "hyperAdvance", {"slots": 2**40}) == -32602
    assert code(machine, "hyperAdvance", {"slots": 1, "blocks": 2}) == -32602


def test_an_account_is_put_by_a_call_of_our_own(machine: Machine) -> None:
    account = {"lamports": SOL, "data": "AQID", "owner": encode_address(TOKEN)}

    assert result(machine, "hyperSetAccount", NAMES["bob"], account) is True
    told = result(machine, "getAccountInfo", NAMES["bob"], {"encoding": "base64"})["value"]

    assert (told["data"][0], told["owner"]) == ("AQID", encode_address(TOKEN))
    program = {**account, "executable": True}
    assert code(machine, "hyperSetAccount", NAMES["bob"], program) == -32602


@pytest.mark.parametrize(
    "method",
    [
        *("getHealth", "getVersion", "getGenesisHash", "getSlot", "getBlockHeight", "getIdentity"),
        *("getLatestBlockhash", "getEpochInfo", "getEpochSchedule", "getRecentPrioritizationFees"),
        *("getFirstAvailableBlock", "getTransactionCount", "getClusterNodes", "minimumLedgerSlot"),
    ],
)
def test_a_method_without_parameters_has_an_answer(machine: Machine, method: str) -> None:
    assert result(machine, method) is not None


def test_a_slot_that_has_not_come_is_said_so(machine: Machine) -> None:
    ahead = {"minContextSlot": machine.slot + 1}

    told = call(machine, "getSlot", ahead)["error"]
    assert (told["code"], told["data"]) == (-32016, {"contextSlot": machine.slot})
    assert code(machine, "getBalance", NAMES["bob"], ahead) == -32016
    assert code(machine, "getBlockTime", machine.slot + 1) == -32004


# ---- hostile bodies ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "number"),
    [
        (b"", -32700),
        (b"{", -32700),
        (b"\xff\xfe", -32700),
        (b"[" * 20_000, -32700),
        (b"[]", -32600),
        (b"7", -32600),
        (b"null", -32600),
        (b'"getSlot"', -32600),
        (b"{}", -32600),
        (b'{"method":7,"id":1}', -32600),
        (b'{"method":"getBlock","id":1}', -32601),
        (b'{"method":"__init__","id":1}', -32601),
        (b'{"method":"getSlot","params":{"a":1},"id":1}', -32602),
        (b'{"method":"getSlot","params":["x"],"id":1}', -32602),
        (b'{"method":"getSlot","params":[{"commitment":[]}],"id":1}', -32602),
        (b'{"method":"getSlot","params":[{"minContextSlot":"1"}],"id":1}', -32602),
        (b'{"method":"getBalance","params":[7],"id":1}', -32602),
        (b'{"method":"getBalance","params":["%s"],"id":1}' % (b"1" * 45), -32602),
        (b'{"method":"sendTransaction","params":[{}],"id":1}', -32602),
        (b'{"method":"sendTransaction","params":["%s"],"id":1}' % (b"2" * 2001), -32602),
        (b'{"method":"sendTransaction","params":["!",{"encoding":"base64"}],"id":1}', -32602),
        (b'{"method":"sendTransaction","params":["",{"encoding":"utf8"}],"id":1}', -32602),
        (b'{"method":"getMultipleAccounts","params":[["x"]],"id":1}', -32602),
        (b'{"method":"getMultipleAccounts","params":["x"],"id":1}', -32602),
        (b'{"method":"requestAirdrop","params":["%s",-1],"id":1}' % (b"1" * 32), -32602),
        (b'{"method":"requestAirdrop","params":["%s",1e3],"id":1}' % (b"1" * 32), -32602),
        (b'{"method":"getSignatureStatuses","params":[["1"]],"id":1}', -32602),
        (b'{"method":"getFeeForMessage","params":["AAAA"],"id":1}', -32602),
        (b" " * (DEVNODE_BODY_BYTES_MAX + 1), -32600),
    ],
)
def test_a_hostile_body_has_an_error_for_an_answer(
    machine: Machine, body: bytes, number: int
) -> None:
    assert json.loads(answer(machine, body))["error"]["code"] == number


def test_a_transaction_larger_than_a_packet_is_refused(machine: Machine) -> None:
    raw = b64encode(bytes(1233)).decode()

    told = call(machine, "simulateTransaction", raw, {"encoding": "base64"})["error"]
    assert told["code"] == -32602


def test_a_batch_is_answered_in_order_and_has_a_limit(machine: Machine) -> None:
    ask = {"jsonrpc": "2.0", "method": "getSlot"}
    batch = [{**ask, "id": 1}, ask, {**ask, "id": "two"}, 5]

    told = json.loads(answer(machine, json.dumps(batch).encode()))
    assert [each["id"] for each in told] == [1, "two", None]
    assert answer(machine, json.dumps([ask]).encode()) == b""
    assert answer(machine, json.dumps(ask).encode()) == b""
    many = [{**ask, "id": 1}] * (DEVNODE_BATCH_MAX + 1)
    assert json.loads(answer(machine, json.dumps(many).encode()))["error"]["code"] == -32600


JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False),
        st.text(max_size=50),
        st.sampled_from([*NAMES.values(), "base64", "finalized", "1" * 64, "AQ=="]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from(
                [
                    *("encoding", "commitment", "filters", "memcmp", "dataSize", "bytes", "offset"),
                    *("mint", "programId", "accounts", "addresses", "dataSlice", "length"),
                    *("limit", "before", "slots", "ms", "blocks", "lamports", "owner", "data"),
                ]
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(method=st.sampled_from(sorted(METHODS)), params=st.lists(JSON, max_size=3))
def test_no_parameters_make_it_fail(method: str, params: list[object]) -> None:
    told = call(SHARED, method, *params)

    assert "result" in told or told["error"]["code"] in range(-32768, -31999)


SHARED = fresh_machine()


# ---- over sockets --------------------------------------------------------------------------


@dataclass
class House:
    node: DevNode
    ports: Ports

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports.http}"

    async def talk(self, *pieces: bytes) -> bytes:
        """Raw bytes in, all that comes back until the end out."""
        stream = await trio.open_tcp_stream("127.0.0.1", self.ports.http)
        async with stream:
            for piece in pieces:
                await stream.send_all(piece)
            await stream.send_eof()
            return b"".join([bytes(part) async for part in stream])

    @asynccontextmanager
    async def socket(self) -> AsyncIterator[WebSocketConnection]:
        async with open_websocket_url(f"ws://127.0.0.1:{self.ports.websocket}/") as opened:
            yield opened


@pytest.fixture
async def house(machine: Machine) -> AsyncIterator[House]:
    with trio.fail_after(10):
        node = DevNode(machine, slot_s=None)
        async with served(node) as ports:
            yield House(node, ports)


async def test_a_page_of_another_origin_may_ask(house: House) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        asked = await client.options(house.url, headers={"origin": "http://localhost:5173"})
        healthy = await client.get(f"{house.url}/health")
        read = await client.get(house.url)
        told = await client.post(house.url, content=b'{"id":1,"method":"getHealth"}')

    assert (asked.status_code, healthy.text, read.status_code) == (204, "ok", 405)
    assert asked.headers["access-control-allow-origin"] == "*"
    assert told.headers["access-control-allow-origin"] == "*"
    assert told.json()["result"] == "ok"


@pytest.mark.parametrize(
    ("pieces", "begins"),
    [
        ((b"\0" * 100,), b"HTTP/1.1 400"),
        ((b"POST / HTTP/1.1\r\n\r\n",), b"HTTP/1.1 400"),
        ((b"POST / HTTP/1.1\r\nhost: x\r\n" + b"a: b\r\n" * 20_000,), b"HTTP/1.1 431"),
        (
            (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 60000\r\n\r\n", b" " * 60_000),
            b"HTTP/1.1 413",
        ),
        ((b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{",), b"HTTP/1.1 400"),
        ((b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",), b"HTTP/1.1 40"),
        ((b"",), b""),
    ],
    ids=["noise", "no host", "long head", "long body", "torn body", "http2", "nothing"],
)
async def test_bytes_that_are_no_request_end_their_connection_only(
    house: House, pieces: tuple[bytes, ...], begins: bytes
) -> None:
    try:
        told = await house.talk(*pieces)
    except trio.BrokenResourceError:
        told = begins  # the node closed while we were still sending

    assert told.startswith(begins)
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"{house.url}/health")).text == "ok"


async def test_requests_on_one_connection_are_answered_one_after_the_other(house: House) -> None:
    body = b'{"jsonrpc":"2.0","id":1,"method":"getSlot"}'
    request = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)

    told = await house.talk(request * 3)

    assert told.count(b"HTTP/1.1 200") == 3


async def test_connections_have_a_limit(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onchain.devnode_http.DEVNODE_CONNECTIONS_MAX", 1)
    async with httpx.AsyncClient(trust_env=False) as first:
        await first.get(f"{house.url}/health")
        async with httpx.AsyncClient(trust_env=False) as second:
            refused = await second.get(f"{house.url}/health")

    assert refused.status_code == 503


async def ask(socket: WebSocketConnection, method: str, *params: object) -> Any:
    request = {"jsonrpc": "2.0", "id": method, "method": method, "params": [*params]}
    await socket.send_message(json.dumps(request))
    return await hear(socket)


async def hear(socket: WebSocketConnection) -> Any:
    with trio.fail_after(3):
        return json.loads(await socket.get_message())


async def test_a_signature_is_told_of_once(house: House) -> None:
    raw = transfer(house.node.machine)
    async with house.socket() as socket:
        signature = result(house.node.machine, "sendTransaction", raw, {"encoding": "base64"})
        number = (await ask(socket, "signatureSubscribe", signature))["result"]
        told = await hear(socket)
        again = await ask(socket, "signatureUnsubscribe", number)

    assert told["method"] == "signatureNotification"
    assert told["params"]["subscription"] == number
    assert told["params"]["result"]["value"] == {"err": None}
    assert again["error"]["code"] == -32602  # it ended by itself


async def test_accounts_programs_logs_and_slots_are_told_of(house: House) -> None:
    machine = house.node.machine
    async with house.socket() as socket:
        numbers = [
            (await ask(socket, *each))["result"]
            for each in (
                ("accountSubscribe", NAMES["bob"], {"encoding": "base64"}),
                ("programSubscribe", "1" * 32, {"encoding": "base64"}),
                ("logsSubscribe", {"mentions": [NAMES["bob"]]}),
                ("slotSubscribe",),
                ("rootSubscribe",),
            )
        ]
        result(machine, "sendTransaction", transfer(machine), {"encoding": "base64"})
        machine.advance()
        house.node.bell.ring()
        told = [await hear(socket) for _ in range(6)]

    assert len(set(numbers)) == 5
    assert [each["method"] for each in told] == [
        "accountNotification",
        "programNotification",
        "programNotification",
        "logsNotification",
        "slotNotification",
        "rootNotification",
    ]
    assert told[0]["params"]["result"]["value"]["lamports"] == SOL
    assert told[3]["params"]["result"]["value"]["err"] is None
    assert told[4]["params"]["result"]["slot"] == machine.slot


async def test_an_ended_subscription_is_silent(house: House) -> None:
    async with house.socket() as socket:
        number = (await ask(socket, "slotSubscribe"))["result"]
        assert (await ask(socket, "slotUnsubscribe", number))["result"] is True
        house.node.machine.advance()
        house.node.bell.ring()

        assert (await ask(socket, "getHealth"))["result"] == "ok"


async def test_a_new_account_and_its_end_are_news_at_the_commitment_asked_for() -> None:
    machine = fresh_machine(confirm_slots=1, finalize_slots=31)
    node = DevNode(machine, slot_s=None)
    with trio.fail_after(5):
        async with served(node) as ports, House(node, ports).socket() as socket:
            how = {"commitment": "confirmed", "encoding": "base64"}
            await ask(socket, "accountSubscribe", NAMES["bob"], how)
            machine.airdrop(BOB.address, SOL)
            node.bell.ring()
            assert (await ask(socket, "getHealth"))["result"] == "ok"  # not yet confirmed
            machine.advance()
            node.bell.ring()
            told = await hear(socket)

    assert told["params"]["result"]["value"]["lamports"] == SOL


async def test_subscriptions_have_a_limit(house: House) -> None:
    async with house.socket() as socket:
        for _ in range(DEVNODE_SUBSCRIPTIONS_MAX):
            assert "result" in await ask(socket, "accountSubscribe", NAMES["bob"])

        assert (await ask(socket, "accountSubscribe", NAMES["bob"]))["error"]["code"] == -32000


async def test_hostile_messages_leave_a_socket_alive(house: House) -> None:
    async with house.socket() as socket:
        for message in ("", "{", "[]", "7", '{"method":"xSubscribe","id":1}', "[[" * 1000):
            await socket.send_message(message)
            assert "error" in await hear(socket)
        for params in ([], [7], ["x", "y"], [NAMES["bob"], 7]):
            assert "error" in await ask(socket, "accountSubscribe", *params)
        assert "error" in await ask(socket, "logsSubscribe", {"mentions": []})
        assert "error" in await ask(socket, "slotUnsubscribe", 99)
        await socket.send_message('{"jsonrpc":"2.0","method":"ping","params":null}')

        assert (await ask(socket, "getHealth"))["result"] == "ok"


async def test_a_peer_that_leaves_takes_nobody_along(house: House) -> None:
    async with house.socket() as stays:
        await ask(stays, "slotSubscribe")
        async with house.socket() as leaves:
            await ask(leaves, "slotSubscribe")
        house.node.machine.advance()
        house.node.bell.ring()

        assert (await hear(stays))["method"] == "slotNotification"


# ---- time ----------------------------------------------------------------------------------


async def test_slots_move_with_time(machine: Machine) -> None:
    slot, ms = machine.slot, machine.time_ms
    async with served(DevNode(machine, slot_s=0.01)):
        await trio.sleep(0.1)

    assert 5 <= machine.slot - slot <= 40
    assert machine.time_ms - ms == (machine.slot - slot) * 400


async def test_faults_stand_around_the_node_and_not_in_it(machine: Machine) -> None:
    faults = FaultyNode({"getSlot": ["429 1", "garbage", "lag 1"]})
    node = DevNode(machine, slot_s=None, around=faults.around)
    async with served(node) as ports, httpx.AsyncClient(trust_env=False) as client:
        ask_slot = b'{"jsonrpc":"2.0","id":1,"method":"getSlot"}'
        url = f"http://127.0.0.1:{ports.http}"
        busy = await client.post(url, content=ask_slot)
        broken = await client.post(url, content=ask_slot)

    assert (busy.status_code, busy.headers["retry-after"]) == (429, "1")
    assert broken.text == "<html>"


async def test_a_message_that_is_too_long_ends_its_socket_only(house: House) -> None:
    async with house.socket() as stays, house.socket() as ends:
        await ends.send_message(" " * (DEVNODE_BODY_BYTES_MAX + 1))
        with pytest.raises(ConnectionClosed) as closed:
            await hear(ends)
        await ends._stream.aclose()  # trio-websocket leaves it open when the peer ends it so

        assert closed.value.reason.code == 1009
        assert (await ask(stays, "getHealth"))["result"] == "ok"


async def test_many_clients_are_answered_at_a_time(house: House) -> None:
    told: list[int] = []

    async def client(number: int) -> None:
        async with httpx.AsyncClient(trust_env=False) as made:
            body = json.dumps({"jsonrpc": "2.0", "id": number, "method": "getSlot"})
            answers = [(await made.post(house.url, content=body)).json() for _ in range(5)]
        told.extend(each["id"] for each in answers)

    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(client, number)

    assert sorted(told) == sorted([*range(10)] * 5)
