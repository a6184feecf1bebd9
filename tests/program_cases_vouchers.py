"""Cases of redeem and redeem_to: the check before them, room, breaker, bound."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from tests.program_cases import BASES, RUNTIME, Base, Then, Told, no, ok, table
from tests.program_cases_checks import CUMULATIVE, EXPIRES, checks
from tests.program_cases_claims import ATA_BUMP, pauses
from tests.program_cases_doors import (
    any_destinations,
    doors,
    openings,
    own_destinations,
    records,
    token_programs,
)
from tests.program_cases_roots import MOST
from tests.program_changes import (
    Up,
    asked,
    ledger,
    limits,
    record,
    token,
    voucher,
)
from tests.program_scenes import (
    CLUSTER_TAG,
    LEDGER,
    MINT,
    NOW,
    WALLET,
    Change,
    Scene,
    bare_scene,
    claim_values,
    record_of,
    voucher_check,
)
from tests.program_tokens import SPL_TOKEN, associated_bump
from tests.program_vouchers import (
    Voucher,
)
from tests.program_world import PROGRAM

#: Level of the breaker of vouchers now: 3,000,000 less what 200 seconds let out.
LEVEL: Final = 3_000_000 - (6_000 * 200 + 777 * 200 // 1_000)


def _redeeming(name: str) -> Scene:
    scene = bare_scene(name, {"cumulative": CUMULATIVE, "expires_at": EXPIRES})
    scene.claim_record = claim_values(6_000_000, 7_000_000)
    scene.tokens["destination"] = {"owner": WALLET, "amount": 123}
    scene.voucher = Voucher(
        *(bytes(PROGRAM), bytes(LEDGER), CLUSTER_TAG, bytes(WALLET)), CUMULATIVE, EXPIRES, 3
    )
    scene.before.append(voucher_check)
    return scene


def redeemed(pay: int, *, advance: int, level: int = LEVEL) -> Then:
    """The base outcome of a voucher that pays so much, and the ledger's advance after it."""
    return {
        "ledger.total_claimed": Up(pay),
        "ledger.advance": advance,
        "ledger.voucher_flow_level": level + pay,
        "ledger.voucher_flow_updated_at": NOW,
        "claim_record.claimed": Up(pay),
        "tokens.vault": Up(-pay),
        "tokens.destination": Up(pay),
    }


def _redeem_events(scene: Scene, before: dict[str, Any], after: dict[str, Any]) -> Any:
    claimed = after["claim_record.claimed"]
    told = {
        "wallet": bytes(scene.keys["wallet"]),
        "claimed": claimed,
        "amount": claimed - before.get("claim_record.claimed", 0),
        "advance": after["ledger.advance"],
    }
    return [("Redeemed", told)]


for _name in ("redeem", "redeem_to"):
    BASES[_name] = Base(
        lambda name=_name: _redeeming(name),  # type: ignore[misc]
        redeemed(3_000_000, advance=7_000_000),
        _redeem_events,
    )


def _amounts() -> Iterator[Told]:
    """Room: min(advance_cap, reserve) less the advance is 7,000,000; of the wallet 4,000,000."""
    yield no("NothingToClaim", "all is paid", record(claimed=9_000_000))
    yield no("NothingToClaim", "more is paid", record(claimed=9_000_001))
    yield ok("one unit is missing", record(claimed=8_999_999), then=redeemed(1, advance=5_000_001))
    yield ok(
        "within what is covered",
        record(covered=9_000_000),
        then=redeemed(3_000_000, advance=5_000_000),
    )
    yield ok(
        "a unit beyond what is covered",
        record(covered=8_999_999),
        then=redeemed(3_000_000, advance=5_000_001),
    )
    yield ok(
        "covered beyond it", record(covered=9_500_000), then=redeemed(3_000_000, advance=5_000_000)
    )
    yield ok(
        "covered by so much that the sum with what may be advanced does not fit",
        record(claimed=1_000_000, covered=MOST),
        then=redeemed(4_200_932, advance=5_000_000),
    )
    yield ok(
        "advanced before", record(claimed=8_000_000), then=redeemed(1_000_000, advance=6_000_000)
    )
    exhausted = "AdvanceExhausted"
    most = asked(cumulative=MOST)
    free = ledger(
        {"limits.voucher_limit": MOST, "voucher_flow_level": 0, "active.total": 40_000_000}
    )
    yield ok(
        "up to the cap of the wallet",
        most,
        free,
        then=redeemed(5_000_000, advance=9_000_000, level=0),
    )
    yield ok(
        "the same, a part advanced",
        *(most, free, record(claimed=8_000_000)),
        then=redeemed(3_000_000, advance=8_000_000, level=0),
    )
    yield no(exhausted, "the cap of the wallet is reached", most, free, record(claimed=11_000_000))
    yield no(exhausted, "the cap of the wallet is passed", most, free, record(claimed=11_000_001))
    yield ok(
        "a unit below the cap of the wallet",
        most,
        free,
        record(claimed=10_999_999),
        then=redeemed(1, advance=5_000_001, level=0),
    )
    for advance, pay in ((11_999_999, 1), (10_000_000, 2_000_000)):
        yield ok(
            f"the cap of all where {advance:,} are advanced",
            most,
            free,
            record(claimed=7_000_000),
            ledger(advance=advance, total_claimed=30_000_000),
            then=redeemed(pay, advance=advance + pay, level=0),
        )
    yield no(
        exhausted,
        "the cap of all is reached",
        ledger(advance=12_000_000),
        record(claimed=7_000_000),
    )
    yield no(
        exhausted, "the cap of all is passed", ledger(advance=12_000_001), record(claimed=7_000_000)
    )
    yield ok(
        "the cap of all is reached, but there is what is covered",
        ledger(advance=12_000_000),
        then=redeemed(1_000_000, advance=12_000_000),
    )
    yield ok(
        "the reserve is below the cap",
        ledger(reserve=6_500_000),
        record(claimed=7_000_000),
        then=redeemed(1_500_000, advance=6_500_000),
    )
    yield no(
        exhausted, "the reserve is advanced", ledger(reserve=5_000_000), record(claimed=7_000_000)
    )
    yield ok(
        "the cap is below the reserve",
        limits(advance_cap=6_500_000),
        record(claimed=7_000_000),
        then=redeemed(1_500_000, advance=6_500_000),
    )
    yield ok(
        "no cap for a wallet: what is covered only",
        limits(wallet_advance_cap=0),
        then=redeemed(1_000_000, advance=5_000_000),
    )
    yield ok(
        "caps of 64 bits",
        *(
            ledger(
                {
                    "reserve": MOST - 10**7,
                    "advance": 0,
                    "limits.advance_cap": MOST,
                    "limits.wallet_advance_cap": MOST,
                }
            ),
        ),
        then=redeemed(3_000_000, advance=2_000_000),
    )
    yield no(RUNTIME, "a vault a unit short", token("vault", amount=2_999_999))


def _bounds(name: str) -> Iterator[Told]:
    yield ok("to the unit of the total", ledger(total_claimed=44_000_000))
    yield no("ExceedsTotal", "a unit beyond the total", ledger(total_claimed=44_000_001))
    yield no("ExceedsTotal", "a sum beyond 64 bits", ledger(total_claimed=MOST))

    def level(amount: int, seconds: int = 0) -> Change:
        return ledger(voucher_flow_level=amount, voucher_flow_updated_at=NOW - seconds)

    yield no("RateLimited", "a full breaker", level(6_000_777))
    yield no("RateLimited", "a limit of nothing", limits(voucher_limit=0))
    yield ok(
        "room for one unit", level(6_000_776), then=redeemed(1, advance=5_000_000, level=6_000_776)
    )
    yield ok(
        "room for all but a unit",
        level(3_000_778),
        then=redeemed(2_999_999, advance=6_999_999, level=3_000_778),
    )
    yield ok(
        "room for exactly all",
        level(3_000_777),
        then=redeemed(3_000_000, advance=7_000_000, level=3_000_777),
    )
    yield ok(
        "a window ago", level(MOST, 1_000), then=redeemed(3_000_000, advance=7_000_000, level=0)
    )
    yield no("RateLimited", "a second less than a window", level(MOST, 999))
    ahead = {
        **redeemed(3_000_000, advance=7_000_000, level=3_000_000),
        "ledger.voucher_flow_updated_at": NOW + 5,
    }
    yield ok("where the clock went back", level(3_000_000, -5), then=ahead)
    yield ok("the breaker of claims is full", ledger(flow_level=MOST, flow_updated_at=NOW))
    found_bump = {"claim_record.ata_bump": ATA_BUMP} if name == "redeem" else {}
    yield ok("the bump of the account is not known yet", record(ata_bump=0), then=found_bump)
    yield ok(
        "while a due root waits",
        ledger({"pending.epoch": 8, "pending.active_at": NOW, "last_epoch": 8}),
    )


def _for_ledger(scene: Scene) -> None:
    scene.keys["wallet"] = LEDGER
    key, bump = record_of("claim", LEDGER)
    scene.keys["claim_record"] = key
    record(bump=bump, ata_bump=associated_bump(LEDGER, SPL_TOKEN, MINT))(scene)
    voucher(wallet=bytes(LEDGER))(scene)


def _redemptions(name: str) -> Iterator[Told]:
    yield from pauses(3)
    yield from token_programs()
    yield from checks()
    yield from _amounts()
    yield from _bounds(name)
    yield from records("claim_record", "claim", WALLET)
    made = {
        **redeemed(4_000_000, advance=9_000_000),
        "claim_record.covered": 0,
        "claim_record.bump": record_of("claim", WALLET)[1],
        "claim_record.reserved": (0,) * 6,
        "claim_record.ata_bump": ATA_BUMP if name == "redeem" else 0,
    }
    yield from openings("claim_record", "claim", WALLET, made)
    yield from own_destinations(_for_ledger) if name == "redeem" else any_destinations()


VOUCHERS: Final = [
    *table("redeem", doors("redeem"), _redemptions("redeem")),
    *table("redeem_to", doors("redeem_to"), _redemptions("redeem_to")),
]
