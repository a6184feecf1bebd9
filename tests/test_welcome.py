"""What a token itself tells, and what a refusal says to a person."""

from __future__ import annotations

import pytest

from agent.welcome import FIXES, Unwelcome, as_sentence, check_token
from coordinator.limits import CLOCK_SKEW_MS, DELEGATION_MS, TOKEN_MS
from coordinator.protocol.errors import CODES
from coordinator.protocol.signin import Realm, build_text, fields_for
from coordinator.protocol.token import SignedText, encode_token
from tests.fakes.scripted_coordinator import HOUSE, NODE, STRANGER, WALLET

ISSUED_MS = 1_795_507_200_000


def token(*, node_key: bytes = b"") -> str:
    realm = Realm(HOUSE.address, "hyper.example", "https://hyper.example", "mainnet")
    fields = fields_for(
        realm,
        wallet=WALLET.address,
        scope="token",
        node_key=node_key,
        nonce="ab" * 16,
        issued_ms=ISSUED_MS,
    )
    text = build_text(fields)
    return encode_token(SignedText(text, WALLET.sign(text.encode())))


def check(given: str, *, pinned: bytes | None = None, after_ms: int = 0) -> str:
    """The code of the refusal; empty if there is none."""
    try:
        check_token(given, pinned=pinned, node_key=NODE.address, now_ms=ISSUED_MS + after_ms)
    except Unwelcome as error:
        return error.code
    return ""


@pytest.mark.parametrize(
    ("given", "pinned", "after_ms", "code"),
    [
        (token(), None, 0, ""),
        (token(), HOUSE.address, 0, ""),
        (token(node_key=NODE.address), None, TOKEN_MS + CLOCK_SKEW_MS + 1, ""),
        (token(), None, TOKEN_MS + CLOCK_SKEW_MS, ""),
        (token(), None, TOKEN_MS + CLOCK_SKEW_MS + 1, "token_expired"),
        (token(node_key=NODE.address), None, DELEGATION_MS + CLOCK_SKEW_MS + 1, "token_expired"),
        (token(), STRANGER.address, 0, "token_wrong_coordinator"),
        (token(node_key=STRANGER.address), None, 0, "token_wrong_node"),
        ("", None, 0, "token_malformed"),
        ("garbage", None, 0, "token_malformed"),
        (token()[:-1], None, 0, "token_malformed"),
        (token() + "A", None, 0, "token_malformed"),
        ("hy1t.AAAA", None, 0, "token_malformed"),
    ],
    ids=[
        "good", "pinned", "delegation", "clocks differ", "expired", "delegation expired",
        "another coordinator", "another node", "none", "garbage", "cut", "long", "hardware",
    ],
)  # fmt: skip
def test_a_token_is_judged_by_what_it_says_before_anybody_is_asked(
    given: str, pinned: bytes | None, after_ms: int, code: str
) -> None:
    assert check(given, pinned=pinned, after_ms=after_ms) == code


@pytest.mark.parametrize("code", sorted(FIXES))
@pytest.mark.parametrize("detail", ["", "give a token once", "It is over."])
def test_a_refusal_is_a_sentence_and_its_fix_another(code: str, detail: str) -> None:
    text = str(Unwelcome(code, detail))

    assert f". Fix: {FIXES[code]}." in text
    assert code in CODES
    assert ".." not in text


def test_nobody_is_sent_to_a_page_that_there_is_not() -> None:
    assert not [fix for fix in FIXES.values() if "/app" in fix]


def test_remarks_stand_as_sentences_beside_each_other() -> None:
    assert as_sentence(" no GPU: NVML says so\n") == "No GPU: NVML says so."
    assert as_sentence("It works.") == "It works."
