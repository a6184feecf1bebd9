"""One wallet's sums: no difference where there is none, and each one by its name and size."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, strategies as st

from coordinator.protocol.receipts import Receipt
from onchain.audit import Books, Difference, Side, WalletFacts, audit
from onchain.views import ClaimRecord
from onchain.vouchers import voucher_for
from tests.ledger_values import MARKET, NOW

WALLET = b"W" * 32


def receipt(job: int, paid: int, cumulative: int) -> Receipt:
    keys = dict.fromkeys(("coordinator_key", "node_key", "submitter"), bytes(32))
    hashes = dict.fromkeys(("spec_hash", "input_root", "output_root"), bytes(32))
    return Receipt(
        job=job,
        fence=1,
        wallet=WALLET,
        policy="none",
        verdict="unverified",
        paid=paid,
        fee=0,
        cumulative=cumulative,
        time_ms=0,
        **keys,
        **hashes,
    )


def voucher(cumulative: int) -> Any:
    return voucher_for(MARKET, WALLET, cumulative=cumulative, expires_at=NOW, key_epoch=1)


AGREED = WalletFacts(
    books=Books(earned=1_000, withheld=200, taken_back=50, withdrawn=30, lifetime=780),
    receipts=(receipt(5, 300, 700), receipt(9, 300, 1_000)),
    voucher=voucher(760),
    leaves=((1, 0), (2, 400), (3, 700)),
    record=ClaimRecord(750, 400, 255),
)


def test_sides_that_agree_have_no_difference() -> None:
    assert audit(AGREED) == ()
    assert audit(WalletFacts()) == ()
    assert audit(replace(AGREED, leaves=(), books=None)) == ()


@pytest.mark.parametrize(
    ("changes", "more", "less", "by"),
    [
        (
            {"receipts": (receipt(5, 300, 700), receipt(9, 290, 1_000))},
            Side.RECEIPTS,
            Side.RECEIPTS,
            10,
        ),
        ({"receipts": (receipt(9, 300, 1_001),)}, Side.RECEIPTS, Side.BOOKS, 1),
        ({"receipts": (receipt(9, 300, 990),)}, Side.BOOKS, Side.RECEIPTS, 10),
        ({"leaves": ((1, 400), (2, 710), (3, 700))}, Side.LEAVES, Side.LEAVES, 10),
        ({"leaves": ((2, 400), (3, 781))}, Side.LEAVES, Side.BOOKS, 1),
        ({"voucher": voucher(781)}, Side.VOUCHER, Side.BOOKS, 1),
        ({"record": ClaimRecord(761, 700, 1)}, Side.CHAIN, Side.LEAVES, 1),
        ({"record": ClaimRecord(701, 700, 1), "voucher": None}, Side.CHAIN, Side.LEAVES, 1),
        ({"record": ClaimRecord(5, 703, 1)}, Side.CHAIN, Side.LEAVES, 3),
        ({"record": ClaimRecord(5, 401, 1)}, Side.CHAIN, Side.LEAVES, 1),
    ],
    ids=[
        *("receipts with a gap", "receipt above the books", "receipt missing"),
        *("a leaf fell", "leaf above the books", "voucher above the books"),
        *("paid beyond the voucher", "paid beyond the leaf", "covered beyond", "covered unknown"),
    ],
)
def test_a_difference_is_named(changes: dict[str, Any], more: Side, less: Side, by: int) -> None:
    (found,) = audit(replace(AGREED, **changes))

    assert (found.more, found.less, found.by) == (more, less, by)
    assert str(found).startswith(f"{more.value} above {less.value} by {by}: ")


@pytest.mark.parametrize("leaves", [((2, 700),), ((1, 100), (3, 700)), ((4, 50), (9, 700))])
def test_a_covered_leaf_of_an_epoch_that_is_not_at_hand_is_no_difference(
    leaves: tuple[tuple[int, int], ...],
) -> None:
    """Claimed by the first root; of the second only what the coordinator proves is known."""
    facts = replace(AGREED, leaves=leaves, record=ClaimRecord(300, 300, 1))
    assert audit(facts) == ()
    whole = replace(facts, leaves=((1, 100), (2, 200), (3, 700)))
    assert [each.by for each in audit(whole)] == [100]


@pytest.mark.parametrize(("lifetime", "by"), [(781, 1), (770, 10)])
def test_books_that_do_not_add_up_are_told(lifetime: int, by: int) -> None:
    assert AGREED.books is not None
    books = replace(AGREED.books, lifetime=lifetime)

    (found,) = audit(replace(AGREED, books=books))

    assert found == Difference(
        Side.BOOKS, Side.BOOKS, by, "lifetime and the sums that it is made of"
    )


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=20), st.data())
def test_a_forged_receipt_shows_however_many_there_are(
    paid: list[int], data: st.DataObject
) -> None:
    sums = [sum(paid[: at + 1]) for at in range(len(paid))]
    receipts = [
        receipt(at, one, total) for at, (one, total) in enumerate(zip(paid, sums, strict=True))
    ]
    books = Books(earned=sums[-1], lifetime=sums[-1])
    assert audit(WalletFacts(books=books, receipts=receipts)) == ()
    at = data.draw(st.integers(0, len(paid) - 1))
    more = data.draw(st.integers(1, 1000))

    receipts[at] = msgspec.structs.replace(receipts[at], cumulative=receipts[at].cumulative + more)

    found = audit(WalletFacts(books=books, receipts=receipts))
    assert found
    assert {difference.by for difference in found} == {more}
