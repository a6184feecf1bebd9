"""Solana Actions: a claim as a link that wallets, pages and chat programs understand.

In:   what is claimable, texts, a transaction that `claim` built.
Out:  the bodies of GET and POST, the rules file, headers, which paths they are for: no HTTP.
Rules:
  1. Every answer carries `headers`, errors and OPTIONS too: browsers of other origins read them.
  2. A wallet trusts nothing in here: it simulates the transaction and shows what it would do.
  3. Whoever signs a transaction without any signature pays for it: a client puts its own account
     and the latest blockhash in. A sponsor's are therefore no Actions (`coordinator.claims_desk`).
Not covered: chained actions (`links.next`), parameters, identity in a memo.
Source: the Solana Actions specification (version 2.4), solana.com/docs/advanced/actions, and the
headers of solana-developers/solana-actions; names of clusters: CAIP-2 and its namespace `solana`.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Final

import msgspec

from onchain.address import encode_address
from onchain.amounts import format_hyper

#: Version of the specification.
VERSION: Final = "2.4"
#: Where the rules lie, at the root of the domain.
RULES_PATH: Final = "/actions.json"
#: Where a claim is; a wallet may follow it.
CLAIM_PATH: Final = "/api/actions/claim"
METHODS: Final = "GET,POST,PUT,OPTIONS"
#: A title is one line in every client.
_TEXT_CHARS_MAX: Final = 200


class ActionError(msgspec.Struct, frozen=True):
    """What is wrong, in one sentence for people."""

    message: str


class ActionMetadata(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    tag_field="type",
    tag="action",
):
    """Answer of GET: what a client shows."""

    icon: str
    title: str
    description: str
    label: str
    disabled: bool = False
    error: ActionError | None = None


class ActionTransaction(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    tag_field="type",
    tag="transaction",
):
    """Answer of POST: what a wallet is asked to sign."""

    transaction: str
    message: str = ""


class ActionRule(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Which pages of a domain are actions, and where these are."""

    path_pattern: str
    api_path: str


class ActionRules(msgspec.Struct, frozen=True):
    """The rules file."""

    rules: tuple[ActionRule, ...]


class ActionPost(msgspec.Struct, frozen=True):
    """Body of POST: the account that would sign. Other fields that clients send mean nothing."""

    account: str


def is_action(path: str) -> bool:
    """Whether a path's answers are for pages of every origin."""
    if path in {RULES_PATH, CLAIM_PATH}:
        return True
    rest = path.removeprefix(f"{CLAIM_PATH}/")
    return rest != path and "/" not in rest


def chain_id(genesis_hash: bytes) -> str:
    """CAIP-2 name of a cluster: the first 32 characters of its genesis hash in base58."""
    return f"solana:{encode_address(genesis_hash)[:32]}"


def headers(chain_id: str) -> dict[str, str]:
    """Headers of every answer, for a cluster by its CAIP-2 name; "" where none is known yet."""
    named = {"X-Blockchain-Ids": chain_id} if chain_id else {}
    return {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Allow-Methods": METHODS,
        "Access-Control-Allow-Headers": (
            "Content-Type, Authorization, Content-Encoding, Accept-Encoding, "
            "X-Accept-Action-Version, X-Accept-Blockchain-Ids"
        ),
        "Access-Control-Expose-Headers": "X-Action-Version, X-Blockchain-Ids",
        "X-Action-Version": VERSION,
        **named,
    }


def claim_metadata(
    *, icon: str, market: str, payable: int | None = None, refusal: str = ""
) -> ActionMetadata:
    """What a claim's GET answers.

    Args:
        icon: Absolute https address of an image.
        market: The market's name for people.
        payable: Base units that a claim would pay now; None where the wallet is not known yet.
        refusal: Why it would pay nothing, one sentence; "" where it would.
    """
    assert icon.startswith("https://")
    assert len(market) <= _TEXT_CHARS_MAX
    amount = "" if payable is None else f" {format_hyper(payable)} HYPER"
    return ActionMetadata(
        icon=icon,
        title=f"Claim{amount} earned on {market}",
        description=(
            "Pays what your GPUs earned to your own token account. "
            "The proof is checked on Solana by the market's settlement program."
        ),
        label=f"Claim{amount}",
        disabled=bool(refusal),
        error=ActionError(refusal) if refusal else None,
    )


def claim_answer(transaction: bytes, message: str = "") -> ActionTransaction:
    """What a claim's POST answers: the transaction, unsigned or signed by a sponsor only."""
    return ActionTransaction(
        transaction=b64encode(transaction).decode(), message=message[:_TEXT_CHARS_MAX]
    )


def rules(api_path: str, *patterns: str) -> ActionRules:
    """The rules file: pages of ours that are actions, and the action itself."""
    itself = ActionRule(path_pattern=f"{api_path}/**", api_path=f"{api_path}/**")
    pages = (ActionRule(path_pattern=each, api_path=api_path) for each in patterns)
    return ActionRules((*pages, itself))
