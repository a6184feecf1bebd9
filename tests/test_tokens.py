from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace as change
from typing import Any

import pytest
from hypothesis import given, strategies as st
from msgspec.structs import replace

from coordinator import sessions, tokens
from coordinator.limits import (
    CHALLENGE_MS,
    CLOCK_SKEW_MS,
    DELEGATION_MS,
    SESSION_MS,
    TOKEN_MS,
)
from coordinator.protocol.errors import Refusal
from coordinator.protocol.memo import build_memo, parse_memo, with_signature
from coordinator.protocol.signin import Realm, Scope, build_text
from coordinator.protocol.signing import Keypair, from_seed, offchain_envelopes
from coordinator.protocol.token import Form, SignedText, decode_token, encode_token, nonce_of
from coordinator.store.values import Challenge, Node, Session, Token

NOW_MS = 1_795_507_200_123
WALLET, COORDINATOR, NODE, OTHER = (from_seed(bytes([i]) * 32) for i in range(4))
REALM = Realm(COORDINATOR.address, "hyper.example", "https://hyper.example", "mainnet")
REALMS = {
    "key": change(REALM, coordinator_key=OTHER.address),
    "domain": change(REALM, domain="hyper.example:3001"),
    "uri": change(REALM, uri="http://hyper.example"),
    "chain": change(REALM, chain="devnet"),
}
SMALL_ORDER = bytes([1, *bytes(31)])


def challenged(
    scope: Scope = "token", node_key: bytes = b"", wallet: Keypair = WALLET, realm: Realm = REALM
) -> Challenge:
    challenge, fields = tokens.new_challenge(
        realm,
        wallet=wallet.address,
        scope=scope,
        node_key=node_key,
        random=bytes(range(16)),
        now_ms=NOW_MS,
    )
    assert build_text(fields) == challenge.text
    return challenge


def answer(challenge: Challenge | None, **changes: Any) -> SignedText:
    given: dict[str, Any] = {
        "scopes": ("token",),
        "wallet": WALLET.address,
        "signature": WALLET.sign(challenge.text.encode()) if challenge else bytes(64),
        "now_ms": NOW_MS,
    }
    realm = changes.pop("realm", REALM)
    return tokens.check_signature(realm, challenge, **(given | changes))


def issued(node_key: bytes = b"") -> tuple[str, Token]:
    challenge = challenged(node_key=node_key)
    return tokens.issue(challenge, answer(challenge))


def register(token: str, stored: Token | None, **changes: Any) -> bytes:
    given: dict[str, Any] = {"presented_node_key": b"", "now_ms": NOW_MS}
    realm = changes.pop("realm", REALM)
    return tokens.check_token(realm, token, stored, **(given | changes))


# ---- challenges -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "node_key", "life_ms"),
    [
        ("token", b"", TOKEN_MS),
        ("token", NODE.address, DELEGATION_MS),
        ("wallet", b"", CHALLENGE_MS),
        ("admin", b"", CHALLENGE_MS),
    ],
)
def test_a_challenge_may_be_signed_for_ten_minutes_and_lives_as_its_scope_does(
    scope: Scope, node_key: bytes, life_ms: int
) -> None:
    challenge = challenged(scope, node_key)

    assert challenge.sign_by_ms == NOW_MS // 1000 * 1000 + CHALLENGE_MS
    assert challenge.expires_ms == NOW_MS // 1000 * 1000 + life_ms
    assert answer(challenge, scopes=("token", "wallet", "admin")).text == challenge.text


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"wallet": SMALL_ORDER}, "weak_key"),
        ({"wallet": bytes(32)}, "weak_key"),
        ({"node_key": SMALL_ORDER}, "weak_key"),
        ({"scope": "wallet", "node_key": NODE.address}, "forbidden"),
        ({"scope": "admin", "node_key": NODE.address}, "forbidden"),
    ],
    ids=str,
)
def test_no_challenge_is_made_for_a_key_that_cannot_sign(
    changes: dict[str, Any], code: str
) -> None:
    asked: dict[str, Any] = {"wallet": WALLET.address, "scope": "token", "node_key": b""}

    with pytest.raises(Refusal, match=code):
        tokens.new_challenge(REALM, **(asked | changes), random=bytes(16), now_ms=NOW_MS)


def transaction_of(text: str, signer: Keypair = WALLET) -> bytes:
    """A memo transaction that this wallet has signed."""
    unsigned = build_memo(signer.address, text)
    return with_signature(unsigned, signer.sign(parse_memo(unsigned).message))


def test_a_wallet_may_sign_the_text_or_an_envelope_of_it_or_a_memo_transaction() -> None:
    challenge = challenged()
    text = challenge.text.encode()

    answers = [
        answer(challenge),
        *(
            answer(challenge, signature=WALLET.sign(envelope))
            for envelope in offchain_envelopes(text, WALLET.address)
        ),
        answer(challenge, signature=b"", transaction=transaction_of(challenge.text)),
    ]

    forms = [Form.TEXT, Form.ENVELOPE, Form.ENVELOPE, Form.ENVELOPE, Form.TRANSACTION]
    assert [signed.form for signed in answers] == forms
    for signed in answers:
        token, row = tokens.issue(challenge, signed)
        assert token.startswith(f"{signed.form}.")
        assert register(token, row) == WALLET.address


def test_an_envelope_for_another_signer_is_not_ours() -> None:
    challenge = challenged()
    for envelope in offchain_envelopes(challenge.text.encode(), OTHER.address)[1:]:
        with pytest.raises(Refusal, match="bad_signature"):
            answer(challenge, signature=WALLET.sign(envelope))


# In the order in which the rules refuse: each case breaks its rule and every later one.
WRONG_WALLET = {"wallet": OTHER.address}
WRONG_SCOPE = {"scopes": ("wallet", "admin")}
TOO_LATE = {"now_ms": NOW_MS + CHALLENGE_MS + 1}
TOO_EARLY = {"now_ms": NOW_MS - CLOCK_SKEW_MS - 1000}
NO_SIGNATURE = {"signature": bytes(64)}
ANSWERS: dict[str, tuple[dict[str, Any], str]] = {
    "another wallet": (
        {**WRONG_WALLET, "realm": REALMS["key"], **TOO_LATE, **NO_SIGNATURE},
        "challenge_unknown",
    ),
    "another scope": ({**WRONG_SCOPE, **TOO_LATE, **NO_SIGNATURE}, "challenge_unknown"),
    **{
        f"another {part}": ({"realm": realm, **TOO_LATE, **NO_SIGNATURE}, "token_wrong_coordinator")
        for part, realm in REALMS.items()
    },
    "too late": ({**TOO_LATE, **NO_SIGNATURE}, "challenge_expired"),
    "too early": ({**TOO_EARLY, **NO_SIGNATURE}, "challenge_expired"),
    "no signature": (NO_SIGNATURE, "bad_signature"),
    "an empty signature": ({"signature": b""}, "bad_signature"),
    "63 bytes": ({"signature": bytes(63)}, "bad_signature"),
    "65 bytes": ({"signature": bytes(65)}, "bad_signature"),
    "another key's": ({"signature": OTHER.sign(challenged().text.encode())}, "bad_signature"),
    "over other bytes": ({"signature": WALLET.sign(b"a transaction")}, "bad_signature"),
    "another text's transaction": (
        {"transaction": transaction_of(challenged("wallet").text)},
        "bad_transaction",
    ),
    "another wallet's transaction": (
        {"transaction": transaction_of(challenged().text, OTHER)},
        "bad_transaction",
    ),
    "an unsigned transaction": (
        {"transaction": build_memo(WALLET.address, challenged().text)},
        "bad_signature",
    ),
    "over a line more": (
        {"signature": WALLET.sign(challenged().text.encode() + b"\n")},
        "bad_signature",
    ),
}


@pytest.mark.parametrize(("changes", "code"), ANSWERS.values(), ids=ANSWERS)
def test_an_answer_that_breaks_a_rule_is_refused_by_the_first_one(
    changes: dict[str, Any], code: str
) -> None:
    with pytest.raises(Refusal, match=code):
        answer(challenged(), **changes)


def test_a_challenge_that_was_taken_answers_nobody() -> None:
    with pytest.raises(Refusal, match="challenge_unknown"):
        answer(None)


def test_a_challenge_is_good_to_its_last_moment() -> None:
    challenge = challenged()

    assert answer(challenge, now_ms=challenge.sign_by_ms).text == challenge.text
    assert answer(challenge, now_ms=NOW_MS - CLOCK_SKEW_MS).text == challenge.text
    with pytest.raises(Refusal, match="challenge_expired"):
        answer(challenge, now_ms=challenge.sign_by_ms + 1)


def test_a_stored_weak_wallet_is_refused_before_its_signature_counts() -> None:
    challenge = replace(challenged(), wallet=SMALL_ORDER)
    challenge = replace(challenge, text=tokens._rebuilt(REALM, "token", challenge))

    with pytest.raises(Refusal, match="weak_key"):
        answer(challenge, wallet=SMALL_ORDER, signature=SMALL_ORDER + bytes(32))


# ---- tokens -----------------------------------------------------------------------------------


def test_a_bare_token_registers_once() -> None:
    token, row = issued()

    assert register(token, row) == WALLET.address
    assert register(token, row, presented_node_key=NODE.address) == WALLET.address
    with pytest.raises(Refusal, match="token_spent"):
        register(token, replace(row, node=7))
    with pytest.raises(Refusal, match="token_spent"):
        register(token, replace(row, node=7), presented_node_key=NODE.address)


def test_a_delegation_registers_its_node_key_again_and_again_and_no_other() -> None:
    token, row = issued(NODE.address)

    for stored in (row, replace(row, node=7)):
        assert register(token, stored, presented_node_key=NODE.address) == WALLET.address
        for other in (b"", OTHER.address):
            with pytest.raises(Refusal, match="token_wrong_node"):
                register(token, stored, presented_node_key=other)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        *(
            ({"realm": realm, "now_ms": NOW_MS + 2 * DELEGATION_MS}, "token_wrong_coordinator")
            for realm in REALMS.values()
        ),
        ({"now_ms": NOW_MS + DELEGATION_MS, "presented_node_key": b""}, "token_expired"),
        ({"now_ms": NOW_MS - CLOCK_SKEW_MS - 1000}, "token_expired"),
        ({"presented_node_key": b""}, "token_wrong_node"),
        ({"presented_node_key": OTHER.address}, "token_wrong_node"),
        ({}, "token_revoked"),
    ],
)
def test_a_token_that_breaks_a_rule_is_refused_by_the_first_one(
    changes: dict[str, Any], code: str
) -> None:
    token, row = issued(NODE.address)
    revoked = replace(row, is_revoked=True, node=7)

    with pytest.raises(Refusal, match=code):
        register(token, revoked, **({"presented_node_key": NODE.address} | changes))


def test_a_revoked_token_is_called_revoked_even_if_it_is_spent() -> None:
    token, row = issued()

    with pytest.raises(Refusal, match="token_revoked"):
        register(token, replace(row, is_revoked=True, node=7))


def test_a_token_lives_to_its_last_moment() -> None:
    token, row = issued()

    assert register(token, row, now_ms=row.expires_ms)
    with pytest.raises(Refusal, match="token_expired"):
        register(token, row, now_ms=row.expires_ms + 1)


CLAIMS: dict[str, tuple[Callable[[str], str], str]] = {
    "wallet": (lambda t: t.replace("4zvw", "4zvx", 1), "bad_signature|token_malformed"),
    "domain": (lambda t: t.replace("hyper.example", "evil.example", 1), "token_wrong_coordinator"),
    "uri": (lambda t: t.replace("https://", "http://"), "token_wrong_coordinator"),
    "chain": (lambda t: t.replace("mainnet", "devnet"), "token_wrong_coordinator"),
    "key": (lambda t: t.replace(":coordinator:AK", ":coordinator:AJ"), "token_wrong_coordinator"),
    "statement": (lambda t: t.replace("one machine", "ten machines"), "token_malformed"),
    "nonce": (lambda t: t.replace("Nonce: 0", "Nonce: 1"), "token_malformed"),
    "issued": (lambda t: t.replace("11-24T08:00:00", "11-24T07:59:59", 1), "token_malformed"),
    "expiry": (lambda t: t.replace("11-25T", "12-25T"), "token_malformed"),
    "no date": (lambda t: t.replace("11-25T", "13-25T"), "token_malformed"),
    "scope": (lambda t: t.replace("scope:token", "scope:admin"), "token_malformed"),
    "node": (
        lambda t: t.replace("- urn:hyper:s", f"- urn:hyper:node:{'1' * 32}\n- urn:hyper:s"),
        "token_malformed",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("mutate", "code"), CLAIMS.values(), ids=CLAIMS)
def test_a_changed_claim_is_refused_even_if_the_wallet_signs_it(
    mutate: Callable[[str], str], code: str
) -> None:
    token, row = issued()
    text = decode_token(token)[0].text
    changed = mutate(text)
    assert changed != text

    stale = encode_token(change(decode_token(token)[0], text=changed))
    signed = encode_token(SignedText(changed, WALLET.sign(changed.encode())))

    with pytest.raises(Refusal, match=r"bad_signature|token_malformed"):
        register(stale, row)
    with pytest.raises(Refusal, match=code):
        register(signed, row)


def test_a_text_that_we_never_issued_is_no_token_of_ours() -> None:
    token, _row = issued()

    with pytest.raises(Refusal, match="token_malformed"):
        register(token, None)


def test_a_token_does_not_stand_for_another_row() -> None:
    token, row = issued()

    for other in (
        replace(row, wallet=OTHER.address),
        replace(row, nonce="ff" * 16),
        replace(row, expires_ms=row.expires_ms + 1000),
        replace(row, node_key=NODE.address, expires_ms=row.expires_ms - TOKEN_MS + DELEGATION_MS),
    ):
        with pytest.raises(Refusal, match="token_malformed"):
            register(token, other, presented_node_key=NODE.address)


def test_a_sessions_challenge_buys_no_token_and_a_tokens_challenge_no_session() -> None:
    for scope, scopes in (("wallet", ("token",)), ("admin", ("token",)), ("token", ("wallet",))):
        with pytest.raises(Refusal, match="challenge_unknown"):
            answer(challenged(scope), scopes=scopes)  # type: ignore[arg-type]


TOKEN, ROW = issued()


@given(st.integers(0, len(TOKEN) * 8 - 1))
def test_no_token_with_a_flipped_bit_registers(bit: int) -> None:
    raw = bytearray(TOKEN.encode())
    raw[bit // 8] ^= 1 << bit % 8

    with pytest.raises(Refusal, match=r"token_malformed|bad_signature"):
        register(raw.decode("latin-1"), ROW)


@given(st.integers(0, 511))
def test_no_signature_with_a_flipped_bit_buys_a_token(bit: int) -> None:
    challenge = challenged()
    signature = bytearray(WALLET.sign(challenge.text.encode()))
    signature[bit // 8] ^= 1 << bit % 8

    with pytest.raises(Refusal, match="bad_signature"):
        answer(challenge, signature=bytes(signature))


def test_the_nonce_finds_the_row() -> None:
    assert nonce_of(TOKEN) == ROW.nonce == bytes(range(16)).hex()


# ---- node keys --------------------------------------------------------------------------------


def node_of(**changes: Any) -> Node:
    node = Node(
        id=7, wallet=WALLET.address, node_key=NODE.address, key_expires_ms=NOW_MS + 1000,
        hostname="", gpu="", os="", created_ms=NOW_MS, last_heartbeat_ms=NOW_MS,
    )  # fmt: skip
    return replace(node, **changes)


def test_a_bound_node_key_resumes_until_it_expires_or_is_revoked() -> None:
    assert tokens.check_node_key(node_of(), NOW_MS + 1000) == WALLET.address
    with pytest.raises(Refusal, match="token_expired"):
        tokens.check_node_key(node_of(), NOW_MS + 1001)
    with pytest.raises(Refusal, match="token_revoked"):
        tokens.check_node_key(node_of(is_revoked=True), NOW_MS + 1001)


def test_a_node_key_is_bound_for_thirty_days_or_as_long_as_its_delegation() -> None:
    _token, bare = issued()
    _token, delegation = issued(NODE.address)

    assert tokens.key_expiry(bare, NOW_MS) == NOW_MS + DELEGATION_MS
    assert tokens.key_expiry(delegation, NOW_MS + 5) == delegation.expires_ms


# ---- sessions ---------------------------------------------------------------------------------

BEARER = sessions.new_bearer(bytes(range(32)))
ADMINS = frozenset({OTHER.address})


def opened(scope: Scope, wallet: Keypair = WALLET) -> Session:
    return sessions.open_session(
        challenged(scope, wallet=wallet),
        bearer_hash=sessions.hash_bearer(BEARER),
        admin_wallets=ADMINS,
        now_ms=NOW_MS,
    )


def test_a_bearer_is_kept_as_its_hash_only() -> None:
    session = opened("wallet")

    assert BEARER.encode() not in session.bearer_hash
    assert bytes(range(32)) != session.bearer_hash
    assert session == Session(
        sessions.hash_bearer(BEARER),
        "wallet",
        WALLET.address,
        0,
        NOW_MS + SESSION_MS,
        NOW_MS,
        NOW_MS,
    )


@pytest.mark.parametrize(
    "bearer", ["", "A" * 42, "A" * 44, "A" * 42 + "B", "=" * 43, "é" * 43, TOKEN, "A" * 100_000]
)
def test_what_is_no_bearer_is_unauthenticated(bearer: str) -> None:
    with pytest.raises(Refusal, match="unauthenticated"):
        sessions.hash_bearer(bearer)


def test_only_an_administrator_opens_an_administrators_session() -> None:
    assert opened("admin", OTHER).scope == "admin"
    with pytest.raises(Refusal, match="forbidden"):
        opened("admin")


def check(session: Session | None, *scopes: str, **changes: Any) -> Session:
    given: dict[str, Any] = {"admin_wallets": ADMINS, "now_ms": NOW_MS + SESSION_MS}
    return sessions.check_session(session, scopes=scopes, **(given | changes))


def test_a_session_grants_its_scope_until_it_expires() -> None:
    session = opened("wallet")

    assert check(session, "wallet") is session
    assert check(session, "node", "wallet") is session
    for scope in ("admin", "node"):
        with pytest.raises(Refusal, match="forbidden"):
            check(session, scope)
    with pytest.raises(Refusal, match="session_expired"):
        check(session, "admin", now_ms=NOW_MS + SESSION_MS + 1)
    with pytest.raises(Refusal, match="unauthenticated"):
        check(None, "wallet")


def test_an_administrator_who_was_removed_is_a_wallet_like_any_other() -> None:
    session = opened("admin", OTHER)

    assert check(session, "admin") is session
    assert check(session, "wallet", admin_wallets=()) is session
    with pytest.raises(Refusal, match="forbidden"):
        check(session, "admin", admin_wallets=())


def test_a_nodes_session_reports_for_that_node_while_its_key_lives() -> None:
    bound = sessions.open_node_session(node_of(), bearer_hash=bytes(32), now_ms=NOW_MS)
    seed = sessions.open_node_session(node_of(node_key=b""), bearer_hash=bytes(32), now_ms=NOW_MS)

    assert (bound.scope, bound.node, bound.expires_ms) == ("node", 7, NOW_MS + 1000)
    assert seed.expires_ms == NOW_MS + DELEGATION_MS
    with pytest.raises(Refusal, match="forbidden"):
        check(seed, "wallet", "admin")
