"""Solana Actions: bodies and headers as their specification has them."""

from __future__ import annotations

import msgspec
import pytest

from onchain.actions import (
    chain_id,
    claim_answer,
    claim_metadata,
    headers,
    is_action,
    rules,
)
from onchain.address import decode_address

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
            "Content-Type, Authorization, Content-Encoding, Accept-Encoding, "
            "X-Accept-Action-Version, X-Accept-Blockchain-Ids"
        ),
        "Access-Control-Expose-Headers": "X-Action-Version, X-Blockchain-Ids",
        "X-Action-Version": "2.4",
        "X-Blockchain-Ids": "solana:x",
    }


def test_no_chain_is_named_before_one_is_known() -> None:
    assert "X-Blockchain-Ids" not in headers("")


@pytest.mark.parametrize(
    ("path", "is_one"),
    [
        ("/actions.json", True),
        ("/api/actions/claim", True),
        ("/api/actions/claim/", True),
        ("/api/actions/claim/7tB3", True),
        ("/api/actions/claim/7tB3/x", False),
        ("/api/actions/claims", False),
        ("/api/actions/icon.svg", False),
        ("/x/actions.json", False),
        ("/api/claims", False),
        ("/", False),
        ("", False),
    ],
)
def test_few_paths_are_actions(path: str, *, is_one: bool) -> None:
    assert is_action(path) is is_one
