"""Solana Actions: bodies and headers as their specification has them."""

from __future__ import annotations

import msgspec
import pytest

from onchain.actions import (
    BadActionRequest,
    chain_id,
    claim_answer,
    claim_metadata,
    headers,
    parse_post,
    rules,
)
from onchain.address import decode_address, encode_address

ICON = "https://example.org/icon.svg"


def as_json(value: object) -> object:
    return msgspec.json.decode(msgspec.json.encode(value))


def test_metadata_is_what_clients_read() -> None:
    assert as_json(claim_metadata(icon=ICON, market="example.org", payable=1_500_000)) == {
        "type": "action",
        "icon": ICON,
        "title": "Claim 1.5 HYPER earned on example.org",
        "description": (
            "Pays what your GPUs earned to your own token account. "
            "The proof is checked on Solana by the market's settlement program."
        ),
        "label": "Claim 1.5 HYPER",
    }


def test_a_claim_that_pays_nothing_is_disabled_with_the_reason() -> None:
    shown = as_json(claim_metadata(icon=ICON, market="m", refusal="Everything is paid."))

    assert isinstance(shown, dict)
    assert shown["disabled"] is True
    assert shown["error"] == {"message": "Everything is paid."}
    assert shown["label"] == "Claim"


def test_the_answer_of_a_post_is_a_transaction_in_base64() -> None:
    assert as_json(claim_answer(b"\x01\x02\xff", "pays 5 HYPER")) == {
        "type": "transaction",
        "transaction": "AQL/",
        "message": "pays 5 HYPER",
    }


def test_the_rules_map_pages_and_the_action_itself() -> None:
    assert as_json(rules("/api/actions/claim", "/claim")) == {
        "rules": [
            {"pathPattern": "/claim", "apiPath": "/api/actions/claim"},
            {"pathPattern": "/api/actions/claim/**", "apiPath": "/api/actions/claim/**"},
        ]
    }


def test_a_cluster_is_named_by_its_genesis() -> None:
    """CAIP-2's own example."""
    mainnet = decode_address("5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d")

    assert chain_id(mainnet) == "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp"


def test_every_answer_can_be_read_by_other_origins() -> None:
    assert headers("solana:x") == {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Allow-Methods": "GET,POST,PUT,OPTIONS",
        "Access-Control-Allow-Headers": (
            "Content-Type, Authorization, Content-Encoding, Accept-Encoding"
        ),
        "Access-Control-Expose-Headers": "X-Action-Version, X-Blockchain-Ids",
        "X-Action-Version": "2.4",
        "X-Blockchain-Ids": "solana:x",
    }


def test_a_post_names_an_account() -> None:
    account = encode_address(b"\x07" * 32)

    assert parse_post(b'{"account":"%s"}' % account.encode()) == b"\x07" * 32
    assert parse_post(b'{"account":"%s","type":"transaction"}' % account.encode()) == b"\x07" * 32


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[]", b'{"account":5}', b'{"account":"x"}', b'{"account":"\xff"}', b"\xff"],
)
def test_another_post_is_refused(body: bytes) -> None:
    with pytest.raises(BadActionRequest):
        parse_post(body)
