from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, strategies as st
from msgspec.structs import replace

from coordinator.limits import CHALLENGE_MS, DELEGATION_MS, SESSION_MS, TOKEN_MS
from coordinator.protocol import signin
from coordinator.protocol.errors import HypernodeError, ProtocolError
from coordinator.protocol.signin import Fields, Realm, Scope, build_text, check_fields, parse_text
from coordinator.protocol.signing import from_seed

VECTORS = Path(__file__).parent / "vectors" / "signin_texts.json"
NOW_MS = 1_795_507_200_000
WALLET, COORDINATOR, NODE, OTHER = (from_seed(bytes([i]) * 32).address for i in range(4))
REALM = Realm(COORDINATOR, "hyper.example", "https://hyper.example", "mainnet")


def fields_of(scope: Scope = "token", node_key: bytes = b"", realm: Realm = REALM) -> Fields:
    return signin.fields_for(
        realm, wallet=WALLET, scope=scope, node_key=node_key, nonce="ab" * 16, issued_ms=NOW_MS
    )


def check(fields: Fields, **changes: Any) -> str:
    meant: dict[str, Any] = {
        "wallet": WALLET,
        "scope": "token",
        "node_key": b"",
        "domain": "hyper.example",
        "now_ms": NOW_MS,
    }
    return check_fields(fields, **(meant | changes))


@pytest.mark.parametrize("case", json.loads(VECTORS.read_text())["cases"], ids=lambda c: c["about"])
def test_a_text_has_the_bytes_that_wallets_build(case: dict[str, Any]) -> None:
    fields = msgspec.convert(case["fields"], Fields)

    assert build_text(fields) == case["text"]
    assert msgspec.to_builtins(fields) == case["fields"]


def test_a_token_text_reads_as_it_did_when_it_was_first_signed() -> None:
    assert build_text(fields_of(node_key=NODE)) == (
        "hyper.example wants you to sign in with your Solana account:\n"
        "4zvwRjXUKGfvwnParsHAS3HuSVzV5cA4McphgmoCtajS\n"
        "\n"
        "Let the node key below work and earn for this wallet for 30 days, at this coordinator "
        "only. It cannot move funds.\n"
        "\n"
        "URI: https://hyper.example\n"
        "Version: 1\n"
        "Chain ID: mainnet\n"
        "Nonce: abababababababababababababababab\n"
        "Issued At: 2026-11-24T08:00:00Z\n"
        "Expiration Time: 2026-12-24T08:00:00Z\n"
        "Resources:\n"
        "- urn:hyper:coordinator:AKnL4NNf3DGWZJS6cPknBuEGnVsV4A4m5tgebLHaRSZ9\n"
        "- urn:hyper:node:9hSR6S7WPtxmTojgo6GG3k4yDPecgJY292j7xrsUGWBu\n"
        "- urn:hyper:scope:token"
    )


@pytest.mark.parametrize(
    ("scope", "node_key", "life_ms"),
    [
        ("token", b"", TOKEN_MS),
        ("token", NODE, DELEGATION_MS),
        ("wallet", b"", CHALLENGE_MS),
        ("admin", b"", CHALLENGE_MS),
    ],
)
def test_each_permission_has_its_own_words_and_life(
    scope: Scope, node_key: bytes, life_ms: int
) -> None:
    fields = fields_of(scope, node_key)

    issued, expires = map(signin.milliseconds_of, (fields.issued_at, fields.expiration_time))
    assert (issued, expires - issued) == (NOW_MS, life_ms)
    assert fields.statement == signin.STATEMENTS["delegation" if node_key else scope]
    assert len(set(signin.STATEMENTS.values())) == len(signin.STATEMENTS)
    assert parse_text(build_text(fields)) == fields
    assert signin.coordinator_key_of(fields) == COORDINATOR
    assert signin.node_key_of(fields) == (node_key or None)
    assert fields.resources is not None
    assert fields.resources[-1] == f"urn:hyper:scope:{scope}"


def test_statements_name_the_time_that_the_limits_grant() -> None:
    assert f"{DELEGATION_MS // 86_400_000} days" in signin.STATEMENTS["delegation"]
    assert f"{SESSION_MS // 3_600_000} hours" in signin.STATEMENTS["wallet"]


FIELD_NAMES = [name for name in Fields.__struct_fields__ if name != "resources"]


@pytest.mark.parametrize("name", FIELD_NAMES)
@pytest.mark.parametrize("inserted", ["\n", "\r", "\0", "\x1b", "\x7f", "\x85", "é", "\u202e"])
def test_no_field_takes_a_line_break_or_a_character_that_hides(name: str, inserted: str) -> None:
    fields = replace(fields_of(), **{name: f"abcd{inserted}efgh"})

    with pytest.raises(ProtocolError, match="malformed"):
        build_text(fields)


@pytest.mark.parametrize("nonce", ["short12", "with-dash-in-it", "a" * 65, "blank in it"])
def test_a_nonce_has_8_to_64_letters_and_digits(nonce: str) -> None:
    with pytest.raises(ProtocolError, match="nonce"):
        build_text(replace(fields_of(), nonce=nonce))


@given(st.binary(max_size=400).map(lambda raw: raw.decode("latin-1")))
def test_parsing_any_text_gives_nothing_or_fields_of_that_very_text(text: str) -> None:
    fields = parse_text(text)

    assert fields is None or build_text(fields) == text


@given(st.integers(0, 2000), st.sampled_from("\n -~aZ0:."))
def test_a_changed_text_never_parses_as_another_text(position: int, character: str) -> None:
    text = build_text(fields_of(node_key=NODE))
    index = position % len(text)
    changed = text[:index] + character + text[index + 1 :]

    fields = parse_text(changed)

    assert fields is None or build_text(fields) == changed


@pytest.mark.parametrize(
    "text",
    ["2026-11-24T08:00:00", "2026-11-24T08:00:00.000Z", "2026-11-24T08:00:00+00:00",
     "2026-11-24T08:00:60Z", "2026-02-30T08:00:00Z", "24.11.2026", "", "2026-11-24t08:00:00Z"],
)  # fmt: skip
def test_another_writing_of_a_time_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError, match="malformed"):
        signin.milliseconds_of(text)


@pytest.mark.parametrize("scope", ["token", "wallet", "admin"])
def test_a_signer_signs_the_text_that_it_would_have_written(scope: Scope) -> None:
    fields = fields_of(scope)

    assert check(fields, scope=scope) == build_text(fields)


def resources(*lines: str) -> Callable[[Fields], Fields]:
    return lambda fields: replace(fields, resources=list(lines))


KEY_LINE = "urn:hyper:coordinator:AKnL4NNf3DGWZJS6cPknBuEGnVsV4A4m5tgebLHaRSZ9"
TAMPERED: dict[str, tuple[Callable[[Fields], Fields], str]] = {
    "another domain": (lambda f: replace(f, domain="evil.example"), "token_wrong_coordinator"),
    "another wallet": (lambda f: replace(f, address="1" * 32), "malformed"),
    "another statement": (lambda f: replace(f, statement="Send all my SOL."), "malformed"),
    "no statement": (lambda f: replace(f, statement=""), "malformed"),
    "an open URI": (lambda f: replace(f, uri=""), "malformed"),
    "a broken URI": (lambda f: replace(f, uri="https://x\nNonce: aaaaaaaa"), "malformed"),
    "another version": (lambda f: replace(f, version="2"), "malformed"),
    "an unknown chain": (lambda f: replace(f, chain_id="bitcoin"), "malformed"),
    "a short nonce": (lambda f: replace(f, nonce="a"), "malformed"),
    "yesterday": (lambda f: replace(f, issued_at="2026-11-23T08:00:00Z"), "challenge_expired"),
    "tomorrow": (lambda f: replace(f, issued_at="2026-11-25T08:00:00Z"), "challenge_expired"),
    "a longer life": (lambda f: replace(f, expiration_time="2027-11-24T08:00:00Z"), "malformed"),
    "not before": (lambda f: replace(f, not_before="2026-11-24T08:00:00Z"), "malformed"),
    "a request id": (lambda f: replace(f, request_id="1"), "malformed"),
    "no resources": (lambda f: replace(f, resources=None), "malformed"),
    "no coordinator": (resources("urn:hyper:scope:token"), "malformed"),
    "a bad key": (resources("urn:hyper:coordinator:xyz", "urn:hyper:scope:token"), "malformed"),
    "another scope": (resources(KEY_LINE, "urn:hyper:scope:admin"), "malformed"),
    "a further resource": (
        resources(KEY_LINE, "urn:hyper:scope:token", "urn:hyper:scope:admin"),
        "malformed",
    ),
}


@pytest.mark.parametrize(("tamper", "code"), TAMPERED.values(), ids=TAMPERED)
def test_a_signer_refuses_any_other_text(tamper: Callable[[Fields], Fields], code: str) -> None:
    with pytest.raises(HypernodeError, match=code):
        check(tamper(fields_of()))


@pytest.mark.parametrize(
    "meant",
    [{"node_key": NODE}, {"scope": "wallet"}, {"scope": "admin"}, {"wallet": OTHER}],
    ids=str,
)
def test_a_signer_refuses_a_text_for_another_purpose_than_its_own(meant: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError, match="malformed"):
        check(fields_of(), **meant)


def test_a_signer_refuses_another_node_key_than_its_own() -> None:
    assert check(fields_of(node_key=NODE), node_key=NODE)
    with pytest.raises(ProtocolError, match="malformed"):
        check(fields_of(node_key=OTHER), node_key=NODE)
