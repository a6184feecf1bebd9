"""What an owner is told before anything is sent: limits, roles, mints, whether a ledger is sound.

Limits and roles are compared with the model of the program, which was written from the page alone.
"""

from __future__ import annotations

from struct import pack
from typing import Any

import msgspec
import pytest
from hypothesis import given, strategies as st

from onchain.chain import Account, ChainClock
from onchain.ledger_health import findings
from onchain.limits_rules import limit_problems, loosenings, role_problems
from onchain.mints import parse_mint
from onchain.places import TOKEN_2022_PROGRAM, TOKEN_PROGRAM
from onchain.program_refusals import ProgramRefused
from onchain.reads import LedgerNow
from onchain.role_calls import NO_LIMITS, Roles
from onchain.views import DepositRecord, Ledger, Limits, Root
from tests.settlement_model import making
from tests.settlement_model.state import Limits as ModelLimits
from tests.settlement_model.world import Refusal

DAY = 86_400
GOOD = Limits(
    max_epoch_increase=10**9,
    window_limit=10**9,
    advance_cap=0,
    wallet_advance_cap=0,
    voucher_limit=0,
    min_deposit=1,
    min_epoch_interval=DAY,
    slow_delay=DAY,
    fast_delay=3600,
    window_secs=DAY,
    exit_after=7 * DAY,
    config_delay=2 * DAY,
)
_EDGES = (0, 1, 3599, 3600, 3601, DAY - 1, DAY, DAY + 1, 2 * DAY, 604_800, 604_801, 30 * DAY)
_DURATIONS = st.sampled_from((*_EDGES, 30 * DAY + 1, 2**32 - 1))
_AMOUNTS = st.sampled_from((0, 1, 86_399_999, 86_400_000, 10**9, 2**64 - 1))


@given(
    changes=st.fixed_dictionaries(
        {},
        optional={
            **dict.fromkeys(("window_limit", "voucher_limit", "min_deposit"), _AMOUNTS),
            **dict.fromkeys(("min_epoch_interval", "slow_delay", "fast_delay"), _DURATIONS),
            **dict.fromkeys(("window_secs", "exit_after", "config_delay"), _DURATIONS),
        },
    )
)
def test_limits_are_judged_as_the_program_does(changes: dict[str, int]) -> None:
    limits = msgspec.structs.replace(GOOD, **changes)
    try:
        making.require_limits(ModelLimits(**msgspec.structs.asdict(limits)))
        is_good = True
    except Refusal:
        is_good = False

    assert (not [*limit_problems(limits)]) == is_good


_KEYS = st.sampled_from([bytes(32), b"a" * 32, b"b" * 32, b"c" * 32, b"d" * 32])


@given(admin=_KEYS, publisher=_KEYS, guardian=_KEYS, voucher_key=_KEYS)
def test_roles_are_judged_as_the_program_does(**keys: bytes) -> None:
    try:
        making.require_roles(**keys)
        is_good = True
    except Refusal:
        is_good = False

    assert (not [*role_problems(Roles(**keys))]) == is_good


@pytest.mark.parametrize(
    ("change", "is_loose"),
    [
        ({"window_limit": 10**9 + 1}, True),
        ({"window_limit": 10**9 - 1}, False),
        ({"slow_delay": DAY - 1}, True),
        ({"slow_delay": DAY + 1}, False),
        ({"exit_after": 7 * DAY + 1}, True),
        ({"exit_after": 7 * DAY - 1}, True),
        ({"min_deposit": 2}, True),
        ({"window_secs": DAY - 1}, True),
        ({}, False),
    ],
)
def test_what_is_looser_is_named(change: dict[str, int], is_loose: bool) -> None:
    named = [*loosenings(GOOD, msgspec.structs.replace(GOOD, **change))]

    assert bool(named) == is_loose
    assert all(next(iter(change)) in each for each in named)


# ---- mints ---------------------------------------------------------------------------------------


def mint(
    *extensions: tuple[int, bytes], freeze: int = 0, program: bytes = TOKEN_2022_PROGRAM
) -> Account:
    data = pack("<I32sQBBI32s", 1, b"m" * 32, 5, 6, 1, freeze, b"f" * 32)
    if extensions:
        data = data.ljust(165, b"\0") + b"\1"
        data += b"".join(pack("<HH", kind, len(body)) + body for kind, body in extensions)
    return Account(b"M" * 32, 1, program, data)


def test_a_mint_with_metadata_is_taken() -> None:
    found = parse_mint(mint((18, bytes(64)), (19, bytes(90))))

    assert (found.supply, found.decimals, found.mint_authority) == (5, 6, b"m" * 32)
    assert found.extensions == ("MetadataPointer", "TokenMetadata")
    assert found.refused_for() is None


@pytest.mark.parametrize(
    ("account", "name"),
    [
        (mint(freeze=1), "MintFreezable"),
        (mint((18, bytes(64)), (12, bytes(32))), "MintExtension"),
        (mint((99, b"")), "MintExtension"),
    ],
)
def test_a_mint_that_no_ledger_can_have(account: Account, name: str) -> None:
    refused = parse_mint(account).refused_for()

    assert refused is not None
    assert refused.name == name


@pytest.mark.parametrize(
    ("account", "name"),
    [
        (None, "WrongMint"),
        (mint(program=bytes(32)), "WrongTokenProgram"),
        (mint((18, b""), program=TOKEN_PROGRAM), "WrongMint"),
        (Account(b"M" * 32, 1, TOKEN_PROGRAM, bytes(82)), "WrongMint"),
        (Account(b"M" * 32, 1, TOKEN_2022_PROGRAM, mint().data + bytes(83)), "WrongMint"),
        (
            Account(b"M" * 32, 1, TOKEN_2022_PROGRAM, mint((18, bytes(64))).data[:-1]),
            "MintExtension",
        ),
    ],
)
def test_what_is_no_mint(account: Account | None, name: str) -> None:
    with pytest.raises(ProgramRefused) as caught:
        parse_mint(account)

    assert caught.value.name == name


# ---- ledgers -------------------------------------------------------------------------------------


def ledger(**changes: Any) -> Ledger:
    """Deposited 1000, of which 600 are promised, 100 exitable, 200 the reserve."""
    zeros: dict[str, Any] = dict.fromkeys(Ledger.__struct_fields__, 0)
    keys = ("base", "cluster_tag", "mint", "vault", "token_program", "admin", "publisher")
    zeros |= dict.fromkeys((*keys, "guardian", "voucher_key", "proposal_key"), bytes(32))
    zeros |= {"limits": GOOD, "proposal_limits": NO_LIMITS, "paused_until": (0, 0, 0, 0)}
    zeros |= {"previous": Root(), "pending": Root(), "total_deposited": 1000, "reserve": 200}
    zeros |= {"active": Root(epoch=1, total=600, total_exitable=100), "total_claimed": 300}
    return Ledger(**zeros | changes)


def broken(one: Ledger, vault: int = 700, deposits: list[DepositRecord] | None = None) -> set[str]:
    now = LedgerNow(1, ChainClock(1, 0, 0), one, vault)
    return {each.name for each in findings(now, deposits) if not each.holds}


def test_a_sound_ledger_has_nothing_broken() -> None:
    assert (
        broken(ledger(), deposits=[DepositRecord(deposited=900), DepositRecord(deposited=100)])
        == set()
    )


@pytest.mark.parametrize(
    ("changes", "vault", "name"),
    [
        ({}, 699, "the vault holds what is owed"),
        ({"total_claimed": 601}, 700, "claims are within the active root"),
        ({"total_exited": 101}, 700, "exits are within the active root"),
        ({"advance": 201}, 700, "the reserve backs the advance"),
        ({"reserve": 301}, 700, "the active root promises what came in"),
        ({"pending": Root(epoch=2, total=801)}, 700, "the pending root promises what came in"),
        ({"pending": Root(epoch=2, total=599)}, 700, "the pending total does not fall"),
        (
            {"pending": Root(epoch=2, total=600, total_exitable=9), "total_exited": 10},
            700,
            "the pending root lets exits stand",
        ),
    ],
)
def test_what_is_broken_is_named(changes: dict[str, Any], vault: int, name: str) -> None:
    assert name in broken(ledger(**changes), vault)


def test_records_that_do_not_sum_up_are_named() -> None:
    assert broken(ledger(), deposits=[DepositRecord(deposited=999, exited=1)]) == {
        "deposit records sum up",
        "exits of the records sum up",
    }
