"""A root before it is signed: each thing that could be wrong with it, from both sides."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from io import BytesIO
from typing import Any

import msgspec
import pytest

from onchain.chain import ChainClock
from onchain.leaf_errors import LeafSumWrong
from onchain.leaves import Kind, LeafFile, leaf_hash, write_leaves
from onchain.merkle import root_of
from onchain.publication import (
    EpochCapExceeded,
    EpochOutOfOrder,
    FileOfAnotherLedger,
    IntervalRunning,
    LeafFell,
    NotSolvent,
    PredecessorMissing,
    PublicationError,
    PublishingPaused,
    RootDiffers,
    RootStillPending,
    TotalFell,
    check_pending,
    check_predecessor,
    check_publication,
    check_successor,
    prepare,
)
from onchain.reads import LedgerNow
from onchain.views import Root
from tests.ledger_values import ACTIVE, DAY, LIMITS, MARKET, NOW, ledger

CLOCK = ChainClock(1_000, 0, NOW)


def address(number: int) -> bytes:
    return number.to_bytes(32, "big")


def file_of(
    earnings: dict[int, int], exits: dict[int, int] | None = None, epoch: int = 4
) -> LeafFile:
    file = BytesIO()
    write_leaves(
        file,
        ledger=MARKET.ledger,
        epoch=epoch,
        earnings=((address(n), amount) for n, amount in sorted(earnings.items())),
        exits=((address(n), amount) for n, amount in sorted((exits or {}).items())),
    )
    return LeafFile(file)


NEXT = file_of({1: 6_000, 2: 5_000}, {3: 400})


def now(vault: int = 98_000, **changes: Any) -> LedgerNow:
    return LedgerNow(1_000, CLOCK, ledger(**changes), vault)


def test_a_root_follows_from_its_file() -> None:
    found = prepare(NEXT).promised

    hashes = [
        leaf_hash(Kind.EARNINGS, MARKET.ledger, address(1), 6_000),
        leaf_hash(Kind.EARNINGS, MARKET.ledger, address(2), 5_000),
        leaf_hash(Kind.EXIT, MARKET.ledger, address(3), 400),
    ]
    raw = NEXT.head.pack() + NEXT.rows(0, 3)
    assert found == Root(4, root_of(hashes), sha256(raw).digest(), 11_000, 400, 0, 0, 3)


def test_a_file_that_does_not_hold_has_no_root() -> None:
    file = BytesIO()
    write_leaves(file, ledger=MARKET.ledger, epoch=4, earnings=[(address(1), 5)])
    file.seek(64)
    file.write(b"\x06")

    with pytest.raises(LeafSumWrong):
        prepare(LeafFile(file))


def test_a_good_root_passes() -> None:
    check_publication(prepare(NEXT), MARKET.ledger, now())


PENDING = Root(3, b"n" * 32, b"d" * 32, 10_500, 400, NOW - DAY, NOW, 2)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"paused_until": (0, 0, NOW + 1, 0)}, PublishingPaused),
        ({"pending": msgspec.structs.replace(PENDING, active_at=NOW + 1)}, RootStillPending),
        ({"last_epoch": 4}, EpochOutOfOrder),
        ({"last_epoch": 2}, EpochOutOfOrder),
        ({"active": msgspec.structs.replace(ACTIVE, published_at=NOW - 3_599)}, IntervalRunning),
        ({"active": msgspec.structs.replace(ACTIVE, total=11_001)}, TotalFell),
        ({"total_exited": 401}, TotalFell),
        (
            {"limits": msgspec.structs.replace(LIMITS, max_epoch_increase=142)},
            EpochCapExceeded,
        ),
        ({"total_deposited": 31_399}, NotSolvent),
        ({"total_deposited": 31_400, "total_withdrawn": 1}, NotSolvent),
        ({"reserve": 88_601}, NotSolvent),
        ({"total_deposited": 100_001}, NotSolvent),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_a_bad_root_is_named(changes: dict[str, Any], error: type[PublicationError]) -> None:
    with pytest.raises(error):
        check_publication(prepare(NEXT), MARKET.ledger, now(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"paused_until": (0, 0, NOW, 0)},
        {"active": msgspec.structs.replace(ACTIVE, published_at=NOW - 3_600)},
        {"active": msgspec.structs.replace(ACTIVE, total=11_000)},
        {"total_exited": 400},
        {"limits": msgspec.structs.replace(LIMITS, max_epoch_increase=143)},
        {"total_deposited": 31_400},
        {"pending": PENDING, "approved": 1},
    ],
    ids=["pause over", "interval", "total", "exited", "cap", "deposits", "due root"],
)
def test_borders_are_on_the_good_side(changes: dict[str, Any]) -> None:
    check_publication(prepare(NEXT), MARKET.ledger, now(**changes))


def test_after_a_promotion_the_cap_is_that_of_one_interval() -> None:
    limits = msgspec.structs.replace(LIMITS, max_epoch_increase=499)

    with pytest.raises(EpochCapExceeded, match="500, the cap is 499"):
        check_publication(
            prepare(NEXT), MARKET.ledger, now(pending=PENDING, approved=1, limits=limits)
        )


def test_a_vault_that_lacks_money_is_told() -> None:
    with pytest.raises(NotSolvent, match="the vault lacks 1 base"):
        check_publication(prepare(NEXT), MARKET.ledger, now(vault=97_999))


def test_a_file_of_another_ledger_is_refused() -> None:
    with pytest.raises(FileOfAnotherLedger):
        check_publication(prepare(NEXT), b"X" * 32, now())


# ---- leaves beside leaves ---------------------------------------------------------------------


def test_leaves_that_rise_pass() -> None:
    check_successor(file_of({2: 5, 9: 7}, epoch=3), file_of({1: 1, 2: 5, 5: 1, 9: 8, 11: 2}))
    check_successor(file_of({}, {1: 1}, epoch=3), file_of({}, {2: 1}))


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ({1: 1, 2: 4, 9: 8}, "is 4, it was 5"),
        ({2: 5}, "is 0, it was 7"),
        ({9: 8}, "is 0, it was 5"),
        ({3: 50, 10: 70}, "is 0, it was 5"),
    ],
)
def test_a_leaf_that_fell_or_vanished_is_found(after: dict[int, int], said: str) -> None:
    with pytest.raises(LeafFell, match=said):
        check_successor(file_of({2: 5, 9: 7}, epoch=3), file_of(after))


def test_the_file_of_the_active_root_is_needed_unless_there_is_none() -> None:
    before, after = file_of({1: 5}, epoch=3), file_of({1: 5})
    active = prepare(before).promised

    check_predecessor(before, after, active)
    check_predecessor(None, after, Root())
    for other in (None, file_of({1: 4}, epoch=3), after):
        with pytest.raises(PredecessorMissing):
            check_predecessor(other, after, active)
    with pytest.raises(LeafFell):
        check_predecessor(before, file_of({1: 4}), active)


def test_a_wallet_whose_address_is_all_ones_is_looked_at_too() -> None:
    last = 2**256 - 1

    with pytest.raises(LeafFell):
        check_successor(file_of({last: 5}, epoch=3), file_of({1: 9}))
    check_successor(file_of({last: 5}, epoch=3), file_of({last: 5}))


# ---- approving --------------------------------------------------------------------------------


def test_the_guardian_approves_what_follows_from_the_file() -> None:
    publication = prepare(NEXT)
    pending = msgspec.structs.replace(publication.promised, published_at=NOW, active_at=NOW + 9)

    check_pending(publication, MARKET.ledger, ledger(pending=pending))


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": 5},
        {"root": b"x" * 32},
        {"data_hash": b"x" * 32},
        {"total": 11_001},
        {"total_exitable": 401},
        {"leaf_count": 4},
    ],
    ids=str,
)
def test_any_other_pending_root_is_refused(change: dict[str, Any]) -> None:
    publication = prepare(NEXT)
    pending = msgspec.structs.replace(publication.promised, **change)

    with pytest.raises(RootDiffers):
        check_pending(publication, MARKET.ledger, ledger(pending=pending))
    with pytest.raises(FileOfAnotherLedger):
        check_pending(replace(publication, ledger=b"X" * 32), MARKET.ledger, ledger())
