"""The settlement model's payments: claims, vouchers and their breakers, worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.settlement_model import Before
from tests.settlement_model.addresses import INSTRUCTIONS_SYSVAR, token_address
from tests.settlement_model.calls import Argument
from tests.settlement_model.market import Market, no, ok
from tests.settlement_model.setting import HOUR, LIMITS, MINT, key


@pytest.fixture
def market() -> Market:
    return Market()


# Claims


def test_a_claim_pays_the_difference_once(market: Market) -> None:
    ok(market.deposit("alice", 1_000))
    ok(market.settle({"wally": 300, "zoe": 100}, {"alice": 600}))
    (event,) = ok(market.claim("wally")).events
    no(market.claim("wally"), "NothingToClaim")
    ok(market.settle({"wally": 350, "zoe": 150}, {"alice": 500}))
    ok(market.claim("wally"))
    ok(market.claim("zoe", epoch=1))
    ok(market.claim("zoe"))
    no(market.claim("zoe", epoch=1), "NothingToClaim")

    assert event.fields == {
        "wallet": key("wally"),
        "amount": 300,
        "claimed": 300,
        "covered": 300,
        "epoch": 1,
    }
    assert (market.balance("wally"), market.balance("zoe")) == (350, 150)
    assert (market.ledger.total_claimed, market.vault_balance) == (500, 500)


def test_a_root_before_the_previous_one_is_stale_and_no_epoch_is_none(market: Market) -> None:
    ok(market.deposit("alice", 1_000))
    for earned in (100, 200, 300):
        ok(market.settle({"wally": earned}, {"alice": 600}))
    no(market.claim("wally", epoch=1), "StaleEpoch")
    market.trees[0] = market.trees[1]
    no(market.claim("wally", epoch=0), "StaleEpoch")

    ok(market.claim("wally", epoch=2))
    assert market.balance("wally") == 200


def test_a_false_leaf_a_wrong_place_and_another_wallet_are_refused(market: Market) -> None:
    ok(market.deposit("alice", 1_000))
    ok(market.settle({"wally": 300, "zoe": 100}, {"alice": 600}))
    good: dict[str, Argument] = {"epoch": 1, **market.trees[1].earned("wally")}
    accounts = market.wallet_accounts("wally")
    wrongs: list[dict[str, Argument]]
    wrongs = [{"lifetime": 301}, {"index": 1}, {"index": 3}, {"proof": []}]
    for wrong in wrongs:
        no(market.send("claim", {**good, **wrong}, accounts), "InvalidProof")
    zoe = market.wallet_accounts("zoe")

    no(market.send("claim", good, {**accounts, "wallet": key("zoe")}), "InvalidProof")
    no(
        market.send("claim", good, {**accounts, "claim_record": zoe["claim_record"]}),
        "InvalidRecord",
    )
    no(
        market.send("claim", good, {**accounts, "destination": zoe["destination"]}),
        "WrongTokenOwner",
    )
    assert market.vault_balance == 1_000


def test_claim_to_pays_anywhere_but_into_the_vault_if_the_wallet_signs(market: Market) -> None:
    ok(market.deposit("alice", 1_000))
    ok(market.settle({"wally": 300}, {"alice": 600}))
    args: dict[str, Argument] = {"epoch": 1, **market.trees[1].earned("wally")}
    accounts = {**market.wallet_accounts("wally"), "destination": market.vault}
    no(market.send("claim_to", args, accounts), "WrongDestination")
    accounts["destination"] = market.wallet_accounts("carol")["destination"]
    call = market.call("claim_to", args, accounts)
    unsigned = replace(call.accounts[1], signer=False)
    metas = (call.accounts[0], unsigned, *call.accounts[2:])
    no(market.model.apply(replace(call, accounts=metas)), "MissingSigner")

    ok(market.model.apply(call))
    assert market.balance("carol") == 300
    assert market.claim_record("wally").ata_bump == 0


def test_the_bump_of_the_wallets_token_account_is_kept_by_claim_and_redeem(market: Market) -> None:
    ok(market.deposit("alice", 1_000))
    ok(market.deposit("reserve", 100))
    ok(market.settle({"wally": 300}, {"alice": 600}))
    ok(market.claim("wally"))
    ok(market.redeem("zoe", 50))

    for who in ("wally", "zoe"):
        expected = token_address(key(who), market.token_program, MINT)[1]
        assert market.claim_record(who).ata_bump == expected


# The breaker


def test_the_breaker_fills_and_drains_by_a_thousand_a_second() -> None:
    market = Market(replace(LIMITS, window_limit=100_000))
    ok(market.deposit("alice", 1_000_000))
    ok(market.settle({"wally": 150_000, "zoe": 30_000}, {"alice": 500_000}))
    ok(market.claim("wally"))
    assert market.balance("wally") == 100_000
    no(market.claim("wally"), "RateLimited")
    market.wait(10)
    ok(market.claim("zoe"))
    assert market.balance("zoe") == 10_000
    assert (market.ledger.flow_level, market.ledger.flow_updated_at) == (100_000, market.now)
    market.wait(50)
    ok(market.claim("wally"))
    assert market.balance("wally") == 150_000
    assert market.ledger.flow_level == 100_000
    market.wait(100)
    ok(market.claim("zoe"))

    assert market.balance("zoe") == 30_000
    assert market.ledger.flow_level == 20_000


def test_the_breaker_drains_in_whole_units_and_never_by_a_clock_that_went_back() -> None:
    market = Market(replace(LIMITS, window_secs=7, window_limit=7_005))
    ok(market.deposit("alice", 1_000_000))
    ok(market.settle({"wally": 20_000}, {"alice": 500_000}))
    ok(market.claim("wally"))
    market.wait(3)
    # 7005 = 7 · 1000 + 5: in 3 s, 3 · 1000 + 15 // 7 = 3002 are free.
    ok(market.claim("wally"))
    assert market.balance("wally") == 7_005 + 3_002
    market.model.world.now -= 2
    no(market.claim("wally"), "RateLimited")
    assert market.ledger.flow_updated_at == market.now + 2


# Vouchers


def test_a_voucher_pays_ahead_of_roots_within_both_caps_and_the_reserve(market: Market) -> None:
    ok(market.deposit("alice", 1_000))
    ok(market.deposit("reserve", 300))
    (event,) = ok(market.redeem("wally", 250)).events
    assert event.fields["amount"] == 200  # wallet_advance_cap
    no(market.redeem("wally", 250), "AdvanceExhausted")
    ok(market.redeem("zoe", 150))
    assert market.balance("zoe") == 100  # the reserve of 300 less an advance of 200
    assert market.ledger.advance == 300
    no(market.redeem("zoe", 100), "NothingToClaim")

    ok(market.settle({"wally": 250, "zoe": 150}, {"alice": 600}))
    ok(market.claim("wally", name="cover"))
    assert (market.ledger.advance, market.claim_record("wally").covered) == (100, 250)
    no(market.claim("wally", name="cover"), "NothingToClaim")
    # wally: 50 covered and unpaid, and 200 of his cap; of the reserve 300 - 100 = 200.
    ok(market.redeem("wally", 600))
    assert market.balance("wally") == 450
    assert market.ledger.advance == 300
    ok(market.claim("zoe"))
    assert (market.balance("zoe"), market.ledger.advance) == (150, 200)
    assert market.ledger.total_claimed - market.ledger.advance == 400


def test_a_claim_below_what_vouchers_paid_covers_and_pays_nothing(market: Market) -> None:
    ok(market.deposit("alice", 1_000))
    ok(market.deposit("reserve", 300))
    ok(market.redeem("wally", 200))
    ok(market.settle({"wally": 120}, {"alice": 600}))
    (event,) = ok(market.claim("wally")).events

    assert (event.fields["amount"], event.fields["covered"]) == (0, 120)
    assert (market.ledger.advance, market.ledger.flow_level) == (80, 0)


def test_a_voucher_is_of_this_ledger_wallet_sum_moment_and_key(market: Market) -> None:
    ok(market.deposit("reserve", 300))
    good = market.voucher("wally", 100, market.now + HOUR)
    for wrong in (
        Before(key("a program"), good.data),
        Before(good.program, good.data, accounts=1),
        Before(good.program, good.data[:-1]),
        Before(good.program, good.data + b"\0"),
        Before(good.program, b"\x02" + good.data[1:]),
        Before(good.program, good.data[:16] + key("other") + good.data[48:]),
        market.voucher("zoe", 100, market.now + HOUR),
        market.voucher("wally", 101, market.now + HOUR),
        market.voucher("wally", 100, market.now + HOUR + 1),
    ):
        no(market.redeem("wally", 100, wrong), "BadVoucher")
    ok(market.by("admin", "void_vouchers", key_epoch=1))
    no(market.redeem("wally", 100, good), "BadVoucher")
    args: dict[str, Argument] = {"cumulative": 100, "expires_at": market.now}
    accounts = market.wallet_accounts("wally")
    fresh = market.voucher("wally", 100, market.now)
    no(market.send("redeem", args, accounts), "BadVoucher")
    elsewhere = {**accounts, "instructions_sysvar": key("sysvar")}
    no(market.send("redeem", args, elsewhere, fresh), "BadVoucher")
    assert elsewhere["instructions_sysvar"] != INSTRUCTIONS_SYSVAR
    ok(market.send("redeem", args, accounts, fresh))
    market.wait(1)
    no(market.send("redeem", args, accounts, fresh), "VoucherExpired")


def test_vouchers_have_a_breaker_of_their_own() -> None:
    market = Market(
        replace(LIMITS, voucher_limit=100_000, advance_cap=1_000_000, wallet_advance_cap=1_000_000)
    )
    ok(market.deposit("reserve", 500_000))
    ok(market.redeem("wally", 150_000))
    no(market.redeem("zoe", 1), "RateLimited")
    market.wait(1)
    ok(market.redeem("zoe", 5_000))

    assert (market.balance("wally"), market.balance("zoe")) == (100_000, 1_000)
    assert (market.ledger.voucher_flow_level, market.ledger.flow_level) == (100_000, 0)
