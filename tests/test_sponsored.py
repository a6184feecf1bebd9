"""Claims that the house pays for: money moves, and nobody drains the sponsor.

Each attack says what it cost: `spent` is the sponsor's balance on the chain, to the lamport.
"""

from __future__ import annotations

import dataclasses
from base64 import b64decode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from solders.compute_budget import set_compute_unit_price
from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey

from coordinator import events as ev
from coordinator.key_files import key_file_problems
from coordinator.protocol.signing import Keypair
from onchain.address import encode_address
from onchain.amounts import parse_hyper
from tests.build import HOUR_MS, OPERATOR, answer as result_of
from tests.chain_faults import FaultyChain
from tests.chains import SOL, key
from tests.claim_counter import Counter, open_counter, parsed, signed_by
from tests.sponsor_scenes import (
    AGAIN,
    DAY_S,
    FIRST,
    GUARD,
    HOST,
    SPONSOR,
    asked,
    begun,
    changed,
    claimed,
    code_of,
    earned,
    ended,
    flags,
    given,
    offered,
    spent,
)


@pytest.fixture
async def counter(tmp_path: Path) -> AsyncIterator[Counter]:
    async with open_counter(tmp_path, settler=flags(tmp_path)) as made:
        await begun(made)
        yield made


# ---- the story ----------------------------------------------------------------------------------


async def test_a_host_without_sol_is_paid_and_the_house_pays_for_it(counter: Counter) -> None:
    bazaar = counter.house.bazaar
    answer = await asked(counter)
    offer, transaction = answer.json(), parsed(answer)
    assert (offer["state"], offer["wallet"], offer["lamports"]) == ("building", HOST, FIRST)
    assert [bytes(each) for each in transaction.message.account_keys[:2]] == [
        SPONSOR.address,
        OPERATOR.address,
    ]
    assert [bytes(each) for each in transaction.signatures] == [bytes(64)] * 2
    waiting = (await counter.http.get(f"/api/claims/{offer['claim']}")).json()
    assert waiting == offer

    sent = (await given(counter, offer["claim"], signed_by(transaction, OPERATOR))).json()
    told = await ended(counter, offer["claim"])

    assert (sent["state"], told["state"]) == ("sent", "finalized")
    assert told["signature"] == sent["signature"] != ""
    assert "transaction" not in told
    assert await bazaar.tokens(OPERATOR.address) == counter.house.market.money()["earned"]
    assert await bazaar.chain.balance(OPERATOR.address) == 0
    assert await spent(counter) == told["lamports"] == FIRST


async def test_states_follow_each_other(counter: Counter) -> None:
    claim, raw = await offered(counter)
    await given(counter, claim, raw)
    seen: list[str] = []
    for _ in range(300):
        state = (await counter.http.get(f"/api/claims/{claim}")).json()["state"]
        if not seen or seen[-1] != state:
            seen.append(state)
        if state == "finalized":
            break
        counter.house.bazaar.chain.advance(1)
        await trio.sleep(0.002)

    assert seen == ["sent", "confirmed", "finalized"]


async def test_a_later_claim_costs_its_signatures(counter: Counter) -> None:
    await claimed(counter)
    await earned(counter, "more")
    told = await claimed(counter)

    assert told["lamports"] == AGAIN
    assert await spent(counter) == FIRST + AGAIN


async def test_it_is_off_unless_its_owner_turned_it_on(tmp_path: Path) -> None:
    async with open_counter(tmp_path) as counter:
        await earned(counter, "k")
        assert code_of(await asked(counter)) == "sponsor_off"
        assert code_of(await given(counter, "0" * 64, b"x")) == "sponsor_off"


def test_the_publishers_key_is_no_sponsor(tmp_path: Path) -> None:
    path = flags(tmp_path)["sponsor_key"]
    ((setting, said),) = key_file_problems({"publisher_key": path, "sponsor_key": path})

    assert setting == "sponsor_key"
    assert said.endswith("an empty sponsor would stop roots too")


async def test_an_empty_sponsor_says_so(counter: Counter) -> None:
    chain = counter.house.bazaar.chain
    chain.machine.set_account(SPONSOR.address, 900_000, b"", bytes(32))

    assert code_of(await asked(counter)) == "sponsor_empty"


# ---- drains -------------------------------------------------------------------------------------


async def test_who_closes_the_token_account_comes_for_its_rent_once(counter: Counter) -> None:
    bazaar = counter.house.bazaar
    await claimed(counter)
    for number in range(3):
        counter.house.later(DAY_S)
        await earned(counter, f"more {number}")
        bazaar.chain.machine.set_account(bazaar.market.token_account(OPERATOR.address), 0, b"")

        assert code_of(await asked(counter)) == "token_account_paid"
    assert await spent(counter) == FIRST


async def test_dust_is_not_paid_for(tmp_path: Path) -> None:
    async with open_counter(tmp_path, settler=flags(tmp_path, sponsor_payout_min="1")) as counter:
        await begun(counter)

        assert code_of(await asked(counter)) == "payout_too_small"
        assert await spent(counter) == 0


async def test_a_wallet_is_paid_for_so_often_a_day(tmp_path: Path) -> None:
    async with open_counter(tmp_path, settler=flags(tmp_path, sponsor_claims_daily=1)) as counter:
        await begun(counter)
        told = await claimed(counter)
        await earned(counter, "more")
        market, now_ms = counter.house.market, counter.house.market.now_ms
        (taken_ms,) = market.reader.sponsor_use(OPERATOR.address, 0).taken_ms
        assert told["lamports"] == FIRST

        # Settling took days: the books' clock goes back to the last moment of the window.
        market.now_ms = taken_ms + 1000 * DAY_S - 1
        assert code_of(await asked(counter)) == "sponsored_too_often"
        assert await spent(counter) == FIRST
        market.now_ms = now_ms
        assert (await claimed(counter))["state"] == "finalized"
        assert await spent(counter) == FIRST + AGAIN


async def test_many_wallets_spend_the_days_budget_and_no_more(tmp_path: Path) -> None:
    hosts = [key(f"host {number}") for number in range(5)]
    budget = 2 * FIRST + AGAIN
    settler = flags(tmp_path, sponsor_lamports_daily=budget)
    async with open_counter(tmp_path, settler=settler) as counter:
        await begun(counter)
        await roots_of(counter, hosts)
        codes = []
        for host in hosts:
            answer = await asked(counter, encode_address(host.address))
            if answer.status_code == 200:
                raw = signed_by(parsed(answer), host)
                answer = await given(counter, answer.json()["claim"], raw)
                await ended(counter, answer.json()["claim"])
            codes.append(answer.json().get("code", ""))

        assert codes == ["", "", *["sponsor_budget_spent"] * 3]
        assert await spent(counter) == 2 * FIRST <= budget
        counter.house.later(DAY_S + 1)
        assert (await asked(counter, encode_address(hosts[4].address))).status_code == 200


async def roots_of(counter: Counter, hosts: list[Keypair]) -> None:
    """A root on the chain in which each of these has earned; the settler's proofs are its."""
    house = counter.house
    for number, host in enumerate(hosts):
        node = house.market.add_node(host.address)
        job = house.market.assign(house.market.queued(key=f"job {number}"), node)
        assert house.market.ask(result_of(job)) == "accepted"
        house.market.judge(house.market.job(job))
    house.market.now_ms += house.market.rules.withhold_ms + 2 * HOUR_MS
    house.market.look()
    house.market.ask(ev.ReleaseDue())
    await house.settle()


async def test_two_signed_offers_at_once_are_one_claim(counter: Counter) -> None:
    first = await offered(counter)
    counter.house.bazaar.chain.advance(1)
    second = await offered(counter)
    assert first[0] != second[0]
    answers: list[httpx.Response] = []

    async def give(claim: str, raw: bytes) -> None:
        answers.append(await given(counter, claim, raw))

    async with trio.open_nursery() as nursery:
        for claim, raw in (first, second):
            nursery.start_soon(give, claim, raw)

    assert sorted(answer.status_code for answer in answers) == [200, 409]
    refused = next(answer for answer in answers if answer.status_code == 409)
    assert code_of(refused) == "claim_out"
    taken = next(answer for answer in answers if answer.status_code == 200)
    await ended(counter, taken.json()["claim"])
    assert await spent(counter) == FIRST


async def test_a_signed_transaction_said_again_is_the_same_claim(counter: Counter) -> None:
    claim, raw = await offered(counter)
    answers = [await given(counter, claim, raw) for _ in range(3)]
    told = await ended(counter, claim)
    answers.append(await given(counter, claim, raw))

    assert {answer.json()["signature"] for answer in answers} == {told["signature"]}
    assert answers[-1].json()["state"] == "finalized"
    assert await spent(counter) == FIRST


async def test_other_bytes_than_ours_are_not_signed(counter: Counter) -> None:
    """A wallet's guards, a raised fee, a claim of another's, nonsense."""
    claim, raw = await offered(counter)
    theft = Instruction(
        Pubkey(bytes(32)),
        (2).to_bytes(4, "little") + (900_000_000).to_bytes(8, "little"),
        [
            AccountMeta(Pubkey(SPONSOR.address), is_signer=True, is_writable=True),
            AccountMeta(Pubkey(OPERATOR.address), is_signer=True, is_writable=True),
        ],
    )
    tried = [
        signed_by(changed(raw, GUARD), OPERATOR),
        signed_by(changed(raw, set_compute_unit_price(10**9)), OPERATOR),
        signed_by(changed(raw, theft), OPERATOR),
        signed_by(changed(raw, drop=1), OPERATOR),
        b64decode((await counter.http.get(f"/api/claims/{claim}")).json()["transaction"]),
        raw[:-1],
        b"",
    ]
    codes = [code_of(await given(counter, claim, each)) for each in tried]

    assert set(codes) == {"not_as_built"}
    wrong = await counter.http.post(f"/api/claims/{claim}", json={"transaction": "%"})
    assert code_of(wrong) == "not_as_built"
    assert counter.house.market.reader.sponsored_out() == []
    assert await spent(counter) == 0


async def test_a_fee_that_rose_is_not_paid(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever crowds the chain makes the sponsor pay no more than its owner said."""
    sponsoring = counter.house.settlement.sponsoring
    assert sponsoring is not None

    async def dear(*_: Any) -> tuple[int, ...]:
        await trio.lowlevel.checkpoint()
        return (1_000_000,) * 9

    monkeypatch.setattr(sponsoring._chain, "priority_fees", dear)
    sponsoring._rules = dataclasses.replace(sponsoring._rules, lamports_max=FIRST)

    assert code_of(await asked(counter)) == "sponsorship_too_dear"
    assert await spent(counter) == 0


async def test_a_claim_that_would_fail_by_now_is_not_paid_for(counter: Counter) -> None:
    """The wallet claimed by itself after it had signed: the fee would be for nothing."""
    claim, raw = await offered(counter)
    await counter.house.claim(OPERATOR.address)

    answer = await given(counter, claim, raw)
    assert code_of(answer) == "claim_refused"
    assert await spent(counter) == 0


async def test_an_offer_has_its_time(counter: Counter) -> None:
    claim, raw = await offered(counter)
    counter.house.bazaar.chain.advance(200, blocks=200)

    assert code_of(await given(counter, claim, raw)) == "claim_expired"
    assert code_of(await given(counter, claim, raw)) == "claim_unknown"
    assert code_of(await counter.http.get(f"/api/claims/{claim}")) == "claim_unknown"
    assert await spent(counter) == 0


async def test_a_strangers_offers_spend_no_budget(counter: Counter) -> None:
    for _ in range(15):
        counter.house.bazaar.chain.advance(1)
        await asked(counter)
    use = counter.house.market.reader.sponsor_use(OPERATOR.address, 0)

    assert (use.lamports, use.out, use.is_out) == (0, 0, False)
    assert (await asked(counter)).status_code == 200


async def test_offers_that_are_held_have_a_bound(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coordinator.settlement.sponsoring.CLAIM_OFFERS_MAX", 2)
    names = []
    for _ in range(3):
        counter.house.bazaar.chain.advance(1)
        names.append((await asked(counter)).json()["claim"])
    codes = [(await counter.http.get(f"/api/claims/{name}")).status_code for name in names]

    assert codes == [404, 200, 200]


async def test_names_that_are_none_are_unknown(counter: Counter) -> None:
    for name in ("x", "0" * 63, "0" * 64, "A" * 64, "00" * 33):
        assert code_of(await counter.http.get(f"/api/claims/{name}")) == "claim_unknown"
    sponsor = encode_address(SPONSOR.address)
    assert code_of(await asked(counter, sponsor)) == "bad_address"


# ---- the chain is slow, silent, or forgets ------------------------------------------------------


async def test_what_expires_costs_nothing_and_counts_as_tried(tmp_path: Path) -> None:
    async with open_counter(tmp_path, settler=flags(tmp_path)) as counter:
        await begun(counter)
        faulty = FaultyChain(counter.house.bazaar.chain)
        counter.house.chain = faulty
        await counter.restart(**flags(tmp_path))
        claim, raw = await offered(counter)
        faulty.sends = ["drop"] * 10_000
        await given(counter, claim, raw)
        told = await ended(counter, claim)

        assert (told["state"], told["lamports"]) == ("expired", 0)
        assert await spent(counter) == 0
        use = counter.house.market.reader.sponsor_use(OPERATOR.address, 0)
        assert (len(use.taken_ms), use.token_account_paid, use.lamports) == (1, False, 0)
        faulty.sends = []
        assert (await claimed(counter))["state"] == "finalized"
        assert await spent(counter) == FIRST


async def test_a_lost_answer_pays_once(tmp_path: Path) -> None:
    async with open_counter(tmp_path, settler=flags(tmp_path)) as counter:
        await begun(counter)
        faulty = FaultyChain(counter.house.bazaar.chain)
        counter.house.chain = faulty
        await counter.restart(**flags(tmp_path))
        faulty.sends = ["dead", "429", "lost", "drop"]
        told = await claimed(counter)
        gauge = counter.house.metrics.registry.get_sample_value

        assert told["state"] == "finalized"
        assert await spent(counter) == FIRST
        assert gauge("hypernode_sponsor_balance_lamports") == SOL
        assert gauge("hypernode_sponsor_budget_lamports") == 100_000_000
        for state in ("sent", "confirmed", "finalized"):
            assert gauge("hypernode_sponsored_claims_total", {"state": state}) == 1


async def test_what_landed_and_failed_cost_its_fee(counter: Counter) -> None:
    """Between our last look and the block somebody else claimed for the wallet."""
    claim, raw = await offered(counter)
    bazaar, chain = counter.house.bazaar, counter.house.bazaar.chain
    real = chain.simulate
    looked = 0

    async def then_claimed(*args: Any, **how: Any) -> Any:
        nonlocal looked
        found = await real(*args, **how)
        looked += 1
        if looked == 1:
            await counter.house.claim(OPERATOR.address)
        return found

    chain.simulate = then_claimed  # type: ignore[method-assign]
    assert (await given(counter, claim, raw)).status_code == 200
    told = await ended(counter, claim)

    assert (told["state"], told["lamports"]) == ("failed", AGAIN)
    assert await spent(counter) == AGAIN
    assert await bazaar.tokens(OPERATOR.address) > 0


# ---- a process that ends ------------------------------------------------------------------------


async def test_a_restart_opens_no_drain(counter: Counter, tmp_path: Path) -> None:
    await claimed(counter)
    now_ms = counter.house.market.now_ms
    await earned(counter, "more")
    bazaar = counter.house.bazaar
    bazaar.chain.machine.set_account(bazaar.market.token_account(OPERATOR.address), 0, b"")
    counter.house.market.now_ms = max(now_ms, counter.house.market.now_ms)
    await counter.restart(**flags(tmp_path))

    assert code_of(await asked(counter)) == "token_account_paid"
    assert await spent(counter) == FIRST


async def test_an_offer_is_forgotten_by_a_restart(counter: Counter, tmp_path: Path) -> None:
    claim, raw = await offered(counter)
    await counter.restart(**flags(tmp_path))

    assert code_of(await given(counter, claim, raw)) == "claim_unknown"
    assert await spent(counter) == 0


@pytest.mark.parametrize("has_journal", [True, False], ids=["with journal", "journal lost"])
async def test_a_claim_that_was_out_goes_on_after_a_restart(
    counter: Counter, tmp_path: Path, *, has_journal: bool
) -> None:
    """Written, and not sent: the row holds the bytes."""
    counter.life.cancel()
    claim, raw = await offered(counter)
    assert (await given(counter, claim, raw)).status_code == 200
    assert await spent(counter) == 0
    if not has_journal:
        (tmp_path / "journal" / "sponsor.journal").unlink()
    await counter.restart(**flags(tmp_path))
    told = await ended(counter, claim)

    assert told["state"] == "finalized"
    assert await spent(counter) == FIRST


async def test_a_ceiling_that_was_lowered_keeps_no_claim_from_ending(
    counter: Counter, tmp_path: Path
) -> None:
    claim, raw = await offered(counter)
    counter.life.cancel()
    await given(counter, claim, raw)
    counter.house.bazaar.chain.advance(200, blocks=200)
    await counter.restart(**flags(tmp_path, fee_max=5_000))
    told = await ended(counter, claim)

    assert (told["state"], told["lamports"]) == ("expired", 0)
    assert await spent(counter) == 0


async def test_what_a_node_has_forgotten_is_not_free_again(
    counter: Counter, tmp_path: Path
) -> None:
    """Out for longer than nodes remember, and silence: it counts as paid."""
    claim, raw = await offered(counter)
    counter.life.cancel()
    await given(counter, claim, raw)
    counter.house.bazaar.chain.advance(3_000, blocks=3_000)
    await counter.restart(**flags(tmp_path))
    told = await ended(counter, claim)

    assert (told["state"], told["lamports"]) == ("expired", FIRST)
    use = counter.house.market.reader.sponsor_use(OPERATOR.address, 0)
    assert use.token_account_paid


async def test_a_claim_that_would_pay_dust_by_now_is_not_paid_for(
    counter: Counter,
) -> None:
    """The market's breaker closed between offer and signature."""
    claim, raw = await offered(counter)
    sponsoring = counter.house.settlement.sponsoring
    assert sponsoring is not None
    pay = (await counter.api.sponsored_claim(claim)).amount
    sponsoring._rules = dataclasses.replace(sponsoring._rules, payout_min=parse_hyper(pay) + 1)

    assert code_of(await given(counter, claim, raw)) == "payout_too_small"
    assert await spent(counter) == 0


async def test_the_settlers_own_task_follows_claims(tmp_path: Path) -> None:
    settler = flags(tmp_path, chain_every_s=0.1)
    async with open_counter(tmp_path, settler=settler) as counter:
        counter.house.bazaar.chain.airdrop(SPONSOR.address, SOL)
        await earned(counter, "k")
        await counter.nursery.start(counter.house.settlement.run)
        await trio.sleep(0.3)
        told = await claimed(counter)
        gauge = counter.house.metrics.registry.get_sample_value

        assert told["state"] == "finalized"
        assert await spent(counter) == FIRST
        assert gauge("hypernode_sponsor_balance_lamports") == SOL
        assert gauge("hypernode_sponsor_budget_lamports") == 100_000_000
        for state in ("sent", "confirmed", "finalized"):
            assert gauge("hypernode_sponsored_claims_total", {"state": state}) == 1
