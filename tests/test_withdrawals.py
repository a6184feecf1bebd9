"""Withdrawals: a wallet's own wish, once, for this ledger, now; anything else moves nothing.

Each test ends with an audit of the whole store.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, strategies as st
from msgspec.structs import replace

from coordinator import chain_events as cev
from coordinator.ledger import credit_of, earned_of
from coordinator.limits import CLOCK_SKEW_MS, WITHDRAWAL_MS, WITHDRAWALS_OPEN_MAX
from coordinator.protocol.errors import Refusal
from coordinator.protocol.memo import build_memo, parse_memo, with_signature
from coordinator.protocol.signing import wrap_offchain
from coordinator.protocol.withdrawal import withdrawal_text
from onchain.amounts import AMOUNT_MAX, UNITS
from tests.build import ALICE, BOB, COORDINATOR, CREDIT, REALM
from tests.chain_market import LEDGER, ChainMarket

TEXT = """\
HYPERNODE withdrawal

Make this much of my unspent credit my earnings. It is paid to my own wallet, after the next root.

Coordinator: AKnL4NNf3DGWZJS6cPknBuEGnVsV4A4m5tgebLHaRSZ9
Chain ID: devnet
Ledger: 6Ckm2BrnXxsSjyG5b17kQQRjoECVrts92RKXVGT8XeqS
Wallet: 9hSR6S7WPtxmTojgo6GG3k4yDPecgJY292j7xrsUGWBu
Amount: 1.5 HYPER
Key: first-1
Issued At: 2027-01-15T08:00:00Z"""


@pytest.fixture
def market() -> Iterator[ChainMarket]:
    made = ChainMarket()
    yield made
    made.close()


def test_the_text_is_the_same_byte_for_byte_for_ever() -> None:
    text = withdrawal_text(
        coordinator_key=COORDINATOR.address, chain="devnet", ledger=LEDGER, wallet=ALICE.address,
        amount=3 * UNITS // 2, key="first-1", issued_ms=1_800_000_000_999,
    )  # fmt: skip

    assert text == TEXT


@given(st.integers(1, AMOUNT_MAX), st.integers(1, AMOUNT_MAX))
def test_no_two_amounts_share_a_text(one: int, other: int) -> None:
    def text(amount: int) -> str:
        return withdrawal_text(
            coordinator_key=COORDINATOR.address, chain="devnet", ledger=LEDGER,
            wallet=ALICE.address, amount=amount, key="k", issued_ms=0,
        )  # fmt: skip

    assert (text(one) == text(other)) == (one == other)


def test_a_withdrawal_makes_credit_earnings_once(market: ChainMarket) -> None:
    first = market.withdraw(ALICE, UNITS)
    market.now_ms += 2 * WITHDRAWAL_MS
    again = market.ask(cev.WithdrawAsked(ALICE.address, UNITS, "w", 5, b"whatever"))

    assert again == first
    assert market.balance(credit_of(ALICE.address)) == CREDIT - UNITS
    assert market.balance(earned_of(ALICE.address)) == UNITS
    assert (first.form, len(first.proof), first.epoch) == ("hy1", 64, 0)


def test_the_same_wish_twice_in_one_batch_counts_once(market: ChainMarket) -> None:
    wish = market.wish_to_withdraw(ALICE, 7)
    one, two = market.apply(wish, wish)

    assert one.value == two.value
    assert market.balance(earned_of(ALICE.address)) == 7


def test_a_key_of_another_amount_is_a_conflict_and_of_another_wallet_is_not(
    market: ChainMarket,
) -> None:
    market.withdraw(ALICE, 7)

    assert market.refused(market.wish_to_withdraw(ALICE, 8)) == "key_conflict"
    market.withdraw(BOB, 8)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"coordinator_key": ALICE.address}, "bad_signature"),
        ({"chain": "mainnet"}, "bad_signature"),
        ({"ledger": bytes(32)}, "bad_signature"),
        ({"wallet": BOB.address}, "bad_signature"),
        ({"amount": 8}, "bad_signature"),
        ({"key": "x"}, "bad_signature"),
        ({"issued_ms": 5_000}, "bad_signature"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else value,
)
def test_a_signature_for_anything_else_moves_nothing(
    market: ChainMarket, changes: dict[str, object], code: str
) -> None:
    assert market.refused(market.wish_to_withdraw(ALICE, 7, "w", changes)) == code


@pytest.mark.parametrize(
    ("later_ms", "code"),
    [
        (-CLOCK_SKEW_MS - 1, "withdrawal_expired"),
        (-CLOCK_SKEW_MS, ""),
        (WITHDRAWAL_MS, ""),
        (WITHDRAWAL_MS + 1, "withdrawal_expired"),
    ],
)
def test_a_wish_is_taken_in_its_time_only(market: ChainMarket, later_ms: int, code: str) -> None:
    wish = market.wish_to_withdraw(ALICE, 7)
    market.now_ms += later_ms

    if code:
        assert market.refused(wish) == code
    else:
        assert market.ask(wish).amount == 7


def test_an_envelope_and_a_memo_transaction_mean_the_same_text(market: ChainMarket) -> None:
    def text(key: str) -> str:
        return withdrawal_text(
            coordinator_key=REALM.coordinator_key, chain=REALM.chain, ledger=LEDGER,
            wallet=ALICE.address, amount=7, key=key, issued_ms=market.now_ms,
        )  # fmt: skip

    envelope = ALICE.sign(wrap_offchain(text("e").encode()))
    one = market.ask(cev.WithdrawAsked(ALICE.address, 7, "e", market.now_ms, envelope))
    unsigned = build_memo(ALICE.address, text("t"))
    signed = with_signature(unsigned, ALICE.sign(parse_memo(unsigned).message))
    two = market.ask(cev.WithdrawAsked(ALICE.address, 7, "t", market.now_ms, b"", signed))

    assert (one.form, one.proof) == ("hy1e", envelope)
    assert (two.form, two.proof) == ("hy1t", signed)


@pytest.mark.parametrize("key", ["", "a b", "ä", "x" * 65, "a\n"])
def test_a_key_has_letters_digits_and_little_else(market: ChainMarket, key: str) -> None:
    wish = replace(market.wish_to_withdraw(ALICE, 7), key=key)

    assert market.refused(wish) == "malformed"


@pytest.mark.parametrize(
    ("amount", "code"),
    [(0, "bad_amount"), (-1, "bad_amount"), (CREDIT + 1, "insufficient_credit")],
)
def test_no_more_is_withdrawn_than_is_there(market: ChainMarket, amount: int, code: str) -> None:
    if amount > 0:
        assert market.refused(market.wish_to_withdraw(ALICE, amount)) == code
    else:
        wish = replace(market.wish_to_withdraw(ALICE, 7), amount=amount)
        assert market.refused(wish) == code


def test_a_wallet_has_so_many_withdrawals_before_a_root(market: ChainMarket) -> None:
    for number in range(WITHDRAWALS_OPEN_MAX):
        market.withdraw(ALICE, 1, f"{number}")
    assert market.refused(market.wish_to_withdraw(ALICE, 1)) == "too_many_withdrawals"

    market.close_epoch()
    market.withdraw(ALICE, 1)


def test_a_wallet_of_small_order_withdraws_nothing(market: ChainMarket) -> None:
    weak = bytes([1]) + bytes(31)
    market.deposit(weak, 50)
    with pytest.raises(Refusal) as caught:
        market.ask(cev.WithdrawAsked(weak, 5, "k", market.now_ms, bytes(64)))

    assert caught.value.code == "weak_key"
