"""What the program's accounts, events and errors say, decoded."""

from __future__ import annotations

import subprocess
import sys
from base64 import b64encode
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from coordinator.protocol.signing import from_seed
from onchain.address import encode_address
from onchain.anchor import RESERVED
from onchain.calls import create_token_account
from onchain.chain_errors import Fault, TransactionRefused
from onchain.places import TOKEN_2022_PROGRAM
from onchain.program import DEVELOPMENT_ID
from onchain.program.instructions import EVENTS
from onchain.program.layout import ACCOUNTS, CLAIM_RECORD, DEPOSIT_RECORD, LEDGER, STRUCTS, Layout
from onchain.program.refusals import REFUSALS
from onchain.program_events import TYPES, Claimed, LimitsTightened, PausedSet, events_in
from onchain.program_refusals import ProgramRefused, explained, refusal, refusal_in
from onchain.role_calls import activate_root
from onchain.transactions import Recipe
from onchain.views import (
    ClaimRecord,
    DepositRecord,
    Ledger,
    Limits,
    NotOfTheProgram,
    OtherMarket,
    Root,
    decode_claim_record,
    decode_deposit_record,
    decode_ledger,
    decode_market,
)
from tests.ledger_values import LIMITS, MARKET, account, ledger, packed

WALLET = b"W" * 32
U64 = st.integers(0, 2**64 - 1)


@pytest.mark.parametrize(
    ("layout", "view"),
    [
        *zip(ACCOUNTS, (Ledger, ClaimRecord, DepositRecord), strict=True),
        (STRUCTS["Root"], Root),
        (STRUCTS["Limits"], Limits),
    ],
    ids=lambda each: each.__name__ if isinstance(each, type) else each.name,
)
def test_a_view_has_the_declared_fields(layout: Layout, view: type[msgspec.Struct]) -> None:
    declared = [field.name for field in layout.fields if field.name not in RESERVED]

    assert list(view.__struct_fields__) == declared


def test_an_event_has_the_declared_fields() -> None:
    assert {name: list(each.__struct_fields__) for name, each in TYPES.items()} == {
        event.name: [field.name for field in event.fields] for event in EVENTS
    }


# No deadline: whichever comes first loads anchorpy.
@settings(deadline=None)
@given(U64, st.integers(-(2**63), 2**63 - 1), st.binary(min_size=32, max_size=32))
def test_a_ledger_is_decoded_field_by_field(amount: int, time: int, key: bytes) -> None:
    pending = Root(amount, key, key, amount, amount, time, time, amount % 2**32)
    wanted = ledger(
        total_deposited=amount,
        flow_updated_at=time,
        guardian=key,
        pending=pending,
        paused_until=(time, 0, -1, time),
        key_epoch=amount % 2**32,
    )

    assert decode_ledger(account(MARKET.ledger, packed(LEDGER, wanted)), MARKET) == wanted


def test_each_field_of_a_ledger_lies_at_its_own_offset() -> None:
    """Numbers that are all different: two fields that changed places would show."""
    raw = bytearray(packed(LEDGER, ledger()))
    counted = [
        (offset, field) for offset, field in LEDGER.offsets() if field.type in {"u64", "i64"}
    ]
    for number, (offset, _) in enumerate(counted, 1000):
        raw[offset : offset + 8] = number.to_bytes(8, "little")

    decoded = decode_ledger(account(MARKET.ledger, bytes(raw)), MARKET)

    for number, (_, field) in enumerate(counted, 1000):
        assert getattr(decoded, field.name) == number


def test_records_are_decoded() -> None:
    claimed = ClaimRecord(2**64 - 1, 7, 254, 253)
    deposited = DepositRecord(MARKET.ledger, WALLET, 9, 8, 7, -6, 251)
    claim_at, deposit_at = MARKET.claim_record(WALLET), MARKET.deposit_record(WALLET)

    found = decode_claim_record(account(claim_at, packed(CLAIM_RECORD, claimed)), MARKET, WALLET)
    assert found == claimed
    raw = packed(DEPOSIT_RECORD, deposited)
    assert decode_deposit_record(account(deposit_at, raw), MARKET, WALLET) == deposited
    assert claimed.exists
    assert claimed.advance == 2**64 - 8
    assert ClaimRecord(3, 5).advance == 0


def test_a_record_that_nobody_opened_is_one_of_zeros() -> None:
    """Also where somebody sent lamports to its address."""
    sent = account(MARKET.claim_record(WALLET), b"", owner=bytes(32))

    assert decode_claim_record(None, MARKET, WALLET) == ClaimRecord()
    assert decode_claim_record(sent, MARKET, WALLET) == ClaimRecord()
    assert not decode_deposit_record(None, MARKET, WALLET).exists


@pytest.mark.parametrize(
    "change",
    [
        {"owner": b"S" * 32},
        {"address": b"S" * 32},
        {"data": packed(LEDGER, ledger())[:-1]},
        {"data": packed(LEDGER, ledger()) + b"\x00"},
        {"data": bytes(8) + packed(LEDGER, ledger())[8:]},
        {"data": packed(CLAIM_RECORD, ClaimRecord(1, 1, 1, 1))},
        {"data": b""},
    ],
    ids=["owner", "address", "short", "long", "discriminator", "record", "empty"],
)
def test_what_is_no_ledger_is_not_believed(change: dict[str, bytes]) -> None:
    good = account(MARKET.ledger, packed(LEDGER, ledger()))

    with pytest.raises(NotOfTheProgram):
        decode_ledger(replace(good, **change), MARKET)  # type: ignore[arg-type]


def test_a_ledger_that_is_not_there_is_told() -> None:
    with pytest.raises(NotOfTheProgram):
        decode_ledger(None, MARKET)
    with pytest.raises(NotOfTheProgram):
        decode_market(None, DEVELOPMENT_ID)


@pytest.mark.parametrize("name", ["mint", "vault", "token_program", "cluster_tag"])
def test_a_ledger_other_than_the_pinned_one_is_refused(name: str) -> None:
    raw = packed(LEDGER, ledger(**{name: b"X" * 32}))

    with pytest.raises(OtherMarket):
        decode_ledger(account(MARKET.ledger, raw), MARKET)


def test_a_market_is_read_from_its_ledger() -> None:
    raw = packed(LEDGER, ledger(token_program=TOKEN_2022_PROGRAM))

    market = decode_market(account(MARKET.ledger, raw), DEVELOPMENT_ID)

    assert market == replace(MARKET, token_program=TOKEN_2022_PROGRAM)


def test_a_deposit_record_of_somebody_else_is_refused() -> None:
    raw = packed(DEPOSIT_RECORD, DepositRecord(MARKET.ledger, b"S" * 32, 1, bump=1))

    with pytest.raises(NotOfTheProgram):
        decode_deposit_record(account(MARKET.deposit_record(WALLET), raw), MARKET, WALLET)


# ---- events -----------------------------------------------------------------------------------

OURS, THEIRS = encode_address(DEVELOPMENT_ID), encode_address(b"T" * 32)
PAUSED = EVENTS[[e.name for e in EVENTS].index("PausedSet")].discriminator + b"\x05" + b"g" * 32


def data_line(raw: bytes) -> str:
    return f"Program data: {b64encode(raw).decode()}"


def test_events_of_the_program_are_read_from_logs() -> None:
    discriminators = {event.name: event.discriminator for event in EVENTS}
    numbers = b"".join(number.to_bytes(8, "little") for number in (1, 2, 3, 4))
    tightened = b"".join(
        value.to_bytes(8 if at < 6 else 4, "little")
        for at, value in enumerate(msgspec.structs.astuple(LIMITS))
    )
    logs = [
        f"Program {OURS} invoke [1]",
        "Program log: hello",
        f"Program {THEIRS} invoke [2]",
        f"Program {THEIRS} consumed 100 of 2000 compute units",
        f"Program {THEIRS} success",
        data_line(discriminators["Claimed"] + WALLET + numbers),
        data_line(discriminators["LimitsTightened"] + tightened),
        f"Program {OURS} success",
        f"Program {OURS} invoke [1]",
        data_line(PAUSED),
        f"Program {OURS} failed: custom program error: 0x1770",
    ]

    assert list(events_in(logs, DEVELOPMENT_ID)) == [
        Claimed(WALLET, 1, 2, 3, 4),
        LimitsTightened(LIMITS),
        PausedSet(5, b"g" * 32),
    ]


@pytest.mark.parametrize(
    "logs",
    [
        [f"Program {THEIRS} invoke [1]", data_line(PAUSED)],
        [f"Program {OURS} invoke [1]", f"Program {THEIRS} invoke [2]", data_line(PAUSED)],
        [f"Program {OURS} invoke [1]", f"Program {OURS} success", data_line(PAUSED)],
        [f"Program log: Program {OURS} invoke [1]", data_line(PAUSED)],
        [f"Program {OURS} invoke [1]", data_line(PAUSED[:-1])],
        [f"Program {OURS} invoke [1]", data_line(PAUSED + b"\x00")],
        [f"Program {OURS} invoke [1]", data_line(bytes(8) + PAUSED[8:])],
        [f"Program {OURS} invoke [1]", "Program data: ***"],
        [f"Program {OURS} success", "Log truncated", ""],
    ],
    ids=[
        *("another program", "called by ours", "after its end", "a log that looks so"),
        *("short", "long", "unknown", "no base64", "cut short"),
    ],
)
def test_what_the_program_did_not_log_is_no_event(logs: list[str]) -> None:
    assert list(events_in(logs, DEVELOPMENT_ID)) == []


# ---- errors -----------------------------------------------------------------------------------


def test_each_number_has_the_name_and_the_sentence_of_the_page() -> None:
    for number, declared in enumerate(REFUSALS, 6000):
        found = refusal(number)
        assert found is not None
        assert (found.name, found.sentence, found.number) == (*declared, number)
    assert refusal(5999) is None
    assert refusal(6000 + len(REFUSALS)) is None


def of(instruction: int | None, custom: int | None = 6035) -> Fault:
    return Fault("InstructionError", instruction, "Custom", custom)


def test_a_number_counts_only_in_a_call_of_ours() -> None:
    """Behind the instruction that makes a token account, and one or two that set the budget."""
    payer = from_seed(bytes(32))
    recipe = Recipe(
        (
            create_token_account(MARKET, payer=payer.address, wallet=WALLET),
            activate_root(MARKET),
        ),
        (payer,),
    )

    found = refusal_in(of(2), recipe, MARKET.program)

    assert found is not None
    assert str(found).startswith("StaleEpoch: that root is not active")
    assert refusal_in(of(3), recipe, MARKET.program) is not None
    for other in (of(0), of(1), of(4), of(None), of(2, None), of(2, 5999), None):
        assert refusal_in(other, recipe, MARKET.program) is None
    assert refusal_in(of(2), recipe, b"X" * 32) is None
    with pytest.raises(ProgramRefused), explained(recipe, MARKET.program):
        raise TransactionRefused(of(2))
    with pytest.raises(TransactionRefused), explained(recipe, MARKET.program):
        raise TransactionRefused(of(2, 1))


def test_values_are_read_without_a_chain_library() -> None:
    """The coordinator's books import these; anchorpy alone takes a third of a second."""
    names = [
        *("leaves", "settlement_tree", "places", "vouchers", "views", "outlook", "publication"),
        *("audit", "actions", "sponsor", "program_events", "program_refusals", "reads"),
    ]
    script = "\n".join(
        [
            "import sys",
            *(f"import onchain.{name}" for name in names),
            "print([m for m in ('anchorpy', 'solana', 'solders') if m in sys.modules])",
        ]
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"
