"""Claims as Solana Actions, by HTTP, over the real program: bodies, headers, CORS, money.

What a client may rely on is the specification's, version 2.4; `HEADERS` is written out from there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
import trio.testing
from msgspec.structs import replace
from solders.message import MessageV0

from coordinator.claim_limits import CLAIM_READS_PER_MINUTE
from coordinator.limits import TRANSACTION_BYTES_MAX
from coordinator.settlement.claiming import Claims
from onchain.address import encode_address
from onchain.amounts import format_hyper
from onchain.chain_errors import ChainUnreachable
from onchain.claim import table_addresses
from onchain.lookup_tables import create_table, extend_table
from onchain.outlook import Outlook
from onchain.role_calls import Pause
from tests.build import OPERATOR
from tests.chains import SOL, key
from tests.claim_counter import Counter, open_counter, parsed, signed_by

HOST = encode_address(OPERATOR.address)
STRANGER = key("stranger")
CLAIM = "/api/actions/claim"
HEADERS = {
    "access-control-allow-origin": "*",
    "access-control-allow-methods": "GET,POST,PUT,OPTIONS",
    "access-control-allow-headers": (
        "Content-Type, Authorization, Content-Encoding, Accept-Encoding, "
        "X-Accept-Action-Version, X-Accept-Blockchain-Ids"
    ),
    "access-control-expose-headers": "X-Action-Version, X-Blockchain-Ids",
    "x-action-version": "2.4",
}
#: A page of somebody else's.
PAGE = {"origin": "https://dial.example"}
PREFLIGHT = {
    **PAGE,
    "access-control-request-method": "POST",
    "access-control-request-headers": "content-type,x-accept-action-version",
}


@pytest.fixture
async def counter(tmp_path: Path) -> AsyncIterator[Counter]:
    async with open_counter(tmp_path) as made:
        yield made


async def earned(counter: Counter) -> int:
    """The host has earned, and a root is active in which it has a leaf."""
    amount = counter.house.market.earn()
    await counter.house.settle()
    return amount


def check_headers(answer: httpx.Response, counter: Counter | None = None) -> None:
    assert {name: answer.headers.get_list(name) for name in HEADERS} == {
        name: [value] for name, value in HEADERS.items()
    }
    if counter is not None:
        genesis = encode_address(counter.house.bazaar.chain.machine.genesis)
        assert answer.headers["x-blockchain-ids"] == f"solana:{genesis[:32]}"
    assert "access-control-allow-credentials" not in answer.headers


# ---- what clients show --------------------------------------------------------------------------


async def test_the_rules_file_lies_at_the_root_and_names_the_action(counter: Counter) -> None:
    answer = await counter.http.get("/actions.json", headers=PAGE)

    check_headers(answer)
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "rules": [{"pathPattern": f"{CLAIM}/**", "apiPath": f"{CLAIM}/**"}],
    }


async def test_a_link_without_a_wallet_asks_nothing_of_the_chain(counter: Counter) -> None:
    answer = await counter.http.get(CLAIM, headers=PAGE)

    assert answer.status_code == 200
    check_headers(answer)
    shown = answer.json()
    assert shown.keys() == {"type", "icon", "title", "description", "label"}
    assert shown["type"] == "action"
    assert shown["title"] == "Claim earned on hyper.example"
    assert shown["icon"] == "https://hyper.example/api/actions/icon.svg"


async def test_a_link_of_a_wallet_shows_what_it_would_be_paid(counter: Counter) -> None:
    amount = format_hyper(await earned(counter))
    answer = await counter.http.get(f"{CLAIM}/{HOST}", headers=PAGE)

    check_headers(answer, counter)
    assert answer.json()["label"] == f"Claim {amount} HYPER"
    assert "disabled" not in answer.json()


async def test_a_link_that_would_pay_nothing_is_disabled_and_says_why(counter: Counter) -> None:
    await earned(counter)
    nobody = await counter.http.get(f"{CLAIM}/{encode_address(STRANGER.address)}")
    await counter.house.claim(OPERATOR.address)
    paid = await counter.http.get(f"{CLAIM}/{HOST}")

    for answer, said in ((nobody, "no active root has a leaf"), (paid, "NothingToClaim")):
        assert answer.status_code == 200
        check_headers(answer, counter)
        assert answer.json()["disabled"] is True
        assert said in answer.json()["error"]["message"]


async def test_a_claim_that_only_proves_is_not_offered(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vouchers have paid it already: the payer's fee would be for nothing."""
    await earned(counter)
    counter.house.bazaar.chain.airdrop(OPERATOR.address, SOL)
    counter.house.bazaar.fund(OPERATOR.address, 1)
    for module in ("onchain.claim", "coordinator.settlement.claiming"):
        monkeypatch.setattr(f"{module}.claim_outlook", lambda *_: Outlook(pay=0))
    shown = (await counter.http.get(f"{CLAIM}/{HOST}")).json()
    answer = await counter.http.post(CLAIM, json={"account": HOST})

    assert shown["disabled"] is True
    assert "would pay nothing" in shown["error"]["message"]
    assert (answer.status_code, answer.json()["code"]) == (409, "claim_refused")


async def test_the_icon_is_an_image_that_may_be_kept(counter: Counter) -> None:
    answer = await counter.http.get("/api/actions/icon.svg")

    assert answer.headers["content-type"] == "image/svg+xml"
    assert answer.headers["cache-control"] == "public, max-age=86400"
    assert answer.text.startswith("<svg ")
    assert not {"script", "href", "style"} & set(answer.text.replace("<", " ").split())


# ---- what a wallet signs ------------------------------------------------------------------------


async def test_a_posted_account_gets_a_claim_that_pays_it(counter: Counter) -> None:
    amount = await earned(counter)
    chain = counter.house.bazaar.chain
    chain.airdrop(OPERATOR.address, SOL)
    answer = await counter.http.post(CLAIM, json={"account": HOST}, headers=PAGE)

    check_headers(answer, counter)
    assert answer.json().keys() == {"type", "transaction", "message"}
    assert answer.json()["type"] == "transaction"
    transaction = parsed(answer)
    latest = await chain.latest_blockhash()
    assert bytes(transaction.message.recent_blockhash) == latest.blockhash
    assert [bytes(each) for each in transaction.signatures] == [bytes(64)]
    assert bytes(transaction.message.account_keys[0]) == OPERATOR.address
    assert len(bytes(transaction)) <= TRANSACTION_BYTES_MAX
    await chain.send(signed_by(transaction, OPERATOR))
    assert await counter.house.bazaar.tokens(OPERATOR.address) == amount


async def test_somebody_else_may_pay_the_fee_and_the_wallet_is_paid(counter: Counter) -> None:
    amount = await earned(counter)
    counter.house.bazaar.chain.airdrop(STRANGER.address, SOL)
    account = {"account": encode_address(STRANGER.address), "type": "transaction", "data": {}}
    answer = await counter.http.post(f"{CLAIM}/{HOST}", json=account)

    await counter.house.bazaar.chain.send(signed_by(parsed(answer), STRANGER))
    assert await counter.house.bazaar.tokens(OPERATOR.address) == amount
    assert await counter.house.bazaar.tokens(STRANGER.address) == 0


async def test_an_account_without_sol_is_told_how_much_it_takes(counter: Counter) -> None:
    await earned(counter)
    answer = await counter.http.post(CLAIM, json={"account": HOST}, headers=PAGE)

    check_headers(answer, counter)
    assert (answer.status_code, answer.json()["code"]) == (402, "insufficient_sol")
    assert answer.json()["message"] == f"{HOST} has 0.000000000 SOL; this claim takes 0.003157880"


async def test_what_would_not_fit_takes_the_markets_lookup_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a proof of a million leaves would: here the packet is made smaller instead."""
    async with open_counter(tmp_path) as counter:
        house, bazaar = counter.house, counter.house.bazaar
        payer = bazaar.payer
        slot = await bazaar.chain.slot() - 1
        table, create = create_table(payer.address, payer.address, slot)
        names = table_addresses(bazaar.market)
        await bazaar.do(create, extend_table(table, payer.address, payer.address, names))
        await house.restart(lookup_table=encode_address(table))
        counter.attend()
        amount = await earned(counter)
        bazaar.chain.airdrop(OPERATOR.address, SOL)
        whole = parsed(await counter.http.post(CLAIM, json={"account": HOST}))
        monkeypatch.setattr("onchain.claim.TRANSACTION_BYTES_MAX", len(bytes(whole)) + 12)
        short = parsed(await counter.http.post(CLAIM, json={"account": HOST}))

        assert isinstance(whole.message, MessageV0)
        assert isinstance(short.message, MessageV0)
        assert whole.message.address_table_lookups == []
        (lookup,) = short.message.address_table_lookups
        assert bytes(lookup.account_key) == table
        await bazaar.chain.send(signed_by(short, OPERATOR))
        assert await bazaar.tokens(OPERATOR.address) == amount


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[]", b'{"account":5}', b'{"account":"\xff"}', b'{"account":"a","account":"b"}'],
)
async def test_another_body_is_refused_with_a_message(counter: Counter, body: bytes) -> None:
    answer = await counter.http.post(CLAIM, content=body, headers=PAGE)

    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")
    assert answer.json()["message"] == answer.json()["error"] != ""
    check_headers(answer)


async def test_refusals_have_their_headers_and_a_message(counter: Counter) -> None:
    await earned(counter)
    http, found = counter.http, []
    found.append((await http.post(CLAIM, json={"account": "x"}), 400, "bad_address"))
    found.append((await http.get(f"{CLAIM}/x"), 400, "bad_address"))
    found.append((await http.put(CLAIM, json={}), 405, "method_not_allowed"))
    found.append((await http.get("/api/nodes", headers=PAGE), 401, "unauthenticated"))
    await counter.house.bazaar.pause(Pause.CLAIM)
    found.append((await http.post(CLAIM, json={"account": HOST}), 409, "claim_refused"))

    for answer, status, code in found:
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        if code == "unauthenticated":
            assert "access-control-allow-origin" not in answer.headers
            assert "message" not in answer.json()
            continue
        check_headers(answer, counter)
        assert answer.json()["message"] == answer.json()["error"]
    assert "Paused" in found[-1][0].json()["message"]


async def test_a_chain_that_is_silent_is_said_and_nothing_hangs(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    await earned(counter)
    claims = counter.house.settlement.claiming
    assert isinstance(claims, Claims)

    async def silent(*_: Any, **__: Any) -> None:
        await trio.lowlevel.checkpoint()
        msg = "no node answered"
        raise ChainUnreachable(msg)

    monkeypatch.setattr(claims._chain, "accounts", silent)
    answer = await counter.http.get(f"{CLAIM}/{HOST}")
    assert (answer.status_code, answer.json()["code"]) == (503, "chain_unreachable")
    check_headers(answer, counter)

    async def hangs(*_: Any, **__: Any) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(claims._chain, "accounts", hangs)
    monkeypatch.setattr("coordinator.settlement.claiming.CLAIM_BUILD_S", 0.02)
    answer = await counter.http.get(f"{CLAIM}/{HOST}")
    assert (answer.status_code, answer.json()["code"]) == (503, "chain_unreachable")


async def test_so_many_claims_are_built_at_once_and_no_more(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    await earned(counter)
    claims = counter.house.settlement.claiming
    assert isinstance(claims, Claims)
    gate, real, codes = trio.Event(), claims._chain.accounts, []

    async def waits(*args: Any, **how: Any) -> Any:
        await gate.wait()
        return await real(*args, **how)

    monkeypatch.setattr(claims._chain, "accounts", waits)

    async def ask() -> None:
        codes.append((await counter.http.get(f"{CLAIM}/{HOST}")).status_code)

    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        assert codes == [503, 503]
        gate.set()
    assert sorted(codes) == [200, 200, 200, 200, 503, 503]


async def test_one_network_asks_so_often(counter: Counter) -> None:
    await earned(counter)
    codes = [
        (await counter.http.get(f"{CLAIM}/{HOST}", headers=PAGE)).status_code
        for _ in range(CLAIM_READS_PER_MINUTE)
    ]
    last = await counter.http.get(f"{CLAIM}/{HOST}", headers=PAGE)

    assert set(codes) == {200}
    assert (last.status_code, last.json()["code"]) == (429, "rate_limited")
    assert int(last.headers["retry-after"]) >= 1
    check_headers(last, counter)
    assert last.json()["message"]


# ---- other origins ------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/actions.json", CLAIM, f"{CLAIM}/{HOST}"])
async def test_a_preflight_and_a_plain_options_are_answered(counter: Counter, path: str) -> None:
    for headers in (PREFLIGHT, PAGE, {}):
        answer = await counter.http.options(path, headers=headers)

        assert answer.status_code == 204
        check_headers(answer)


@pytest.mark.parametrize(
    "path",
    ["/api/settlement", "/api/nodes", "/api/session", "/api/actions/icon.svg", "/api/actions",
     f"{CLAIM}/{HOST}/x", f"{CLAIM}s", "/openapi.json", "/", "/livez"],
)  # fmt: skip
async def test_nothing_else_is_open_to_other_origins(counter: Counter, path: str) -> None:
    preflight = await counter.http.options(path, headers=PREFLIGHT)
    answer = await counter.http.get(path, headers=PAGE)

    assert (preflight.status_code, preflight.json()["code"]) == (403, "bad_origin")
    for each in (preflight, answer):
        assert not [name for name in each.headers if name.startswith("access-control")]
        assert "x-action-version" not in each.headers


async def test_listed_origins_keep_what_they_have(tmp_path: Path) -> None:
    async with open_counter(tmp_path, cors=("https://app.example",)) as counter:
        ours = await counter.http.get("/api/settlement", headers={"origin": "https://app.example"})
        action = await counter.http.get(CLAIM, headers={"origin": "https://app.example"})

    assert ours.headers["access-control-allow-origin"] == "https://app.example"
    check_headers(action)


async def test_without_an_https_address_there_are_no_actions(counter: Counter) -> None:
    house = counter.api.house
    realm = dataclasses.replace(house.realm, uri="http://localhost:3001")
    counter.api.house = replace(house, realm=realm)
    for answer in (
        await counter.http.get("/actions.json"),
        await counter.http.get(CLAIM),
        await counter.http.post(CLAIM, json={"account": HOST}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "no_actions")
        assert "https" in answer.json()["message"]
        check_headers(answer)


async def test_before_the_chain_was_read_a_claim_waits(counter: Counter) -> None:
    answer = await counter.http.post(CLAIM, json={"account": HOST})

    assert (answer.status_code, answer.json()["code"]) == (503, "chain_unreachable")
    check_headers(answer)
