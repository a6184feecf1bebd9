"""Taking back what a wallet has given: sessions, tokens, node keys; each event in its transaction.

In:   one batch at work (`Work`) and one event.
Out:  rows that open nothing any longer, and effects that end what is open; or `not_found`.
Rules:
  1. What is revoked opens nothing from this transaction on, on this and on every later start.
  2. What was earned stays, and what was accepted is paid. Jobs that a revoked node still holds go
     to others; its later results are stale.
  3. A node's key is revoked together with the unspent tokens that name it: none brings it back.
     Only a new signature of the wallet does.
  4. A wallet revokes its own things only; a thing of somebody else's is `not_found`.
Not covered: a stolen wallet key signs anew whatever is revoked; nothing here takes it back.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec.structs import replace

from coordinator import events as ev
from coordinator.protocol.errors import Refusal
from coordinator.store.values import Node
from coordinator.work import Work

#: Bytes of a bearer's hash that name its session: enough among fifty, and no secret.
_NAME_BYTES: Final = 8


class Tally(msgspec.Struct, frozen=True):
    """How much was revoked at once."""

    sessions: int
    tokens: int
    nodes: int


def session_name(bearer_hash: bytes) -> str:
    """What a listing calls a session: it is made of the hash and opens nothing."""
    return f"session-{bearer_hash[:_NAME_BYTES].hex()}"


def token_name(nonce: str) -> str:
    """What a listing calls a token: the nonce stands in its text, the signature is what counts."""
    return f"token-{nonce}"


def nonce_in(name: str) -> str:
    """The nonce in a token's name."""
    return name.removeprefix("token-")


def revoke_session(work: Work, event: ev.SessionRevoked) -> None:
    named = [
        session.bearer_hash
        for session in work.batch.sessions_of(event.wallet)
        if session_name(session.bearer_hash) == event.name
    ]
    if not named:
        raise Refusal("not_found", "this wallet has no such session open")
    for bearer_hash in named:
        work.batch.drop_session(bearer_hash)
    work.order(ev.AccessEnded(sessions=tuple(named)))


def revoke_token(work: Work, event: ev.TokenRevoked) -> None:
    token = work.batch.token(event.nonce)
    if token is None or token.wallet != event.wallet:
        raise Refusal("not_found", "this wallet has no such token")
    work.batch.save_token(replace(token, is_revoked=True))
    node = work.batch.node(token.node) if token.node else None
    if node is not None:
        _revoke(work, node)


def revoke_node(work: Work, event: ev.NodeRevoked) -> None:
    node = work.batch.node(event.node)
    if node is None or node.wallet != event.wallet:
        raise Refusal("not_found", "this wallet has no such node")
    _revoke(work, node)


def _revoke(work: Work, node: Node) -> None:
    work.batch.save_node(replace(node, is_revoked=True))
    if node.node_key:
        work.batch.revoke_tokens(node.wallet, node.node_key)
    work.order(ev.AccessEnded(nodes=(node.id,)))


def revoke_all(work: Work, event: ev.AllRevoked) -> Tally:
    sessions = [session.bearer_hash for session in work.batch.sessions_of(event.wallet)]
    for bearer_hash in sessions:
        work.batch.drop_session(bearer_hash)
    # Whoever holds a signature that was not posted yet has nothing with it.
    work.batch.drop_challenges(event.wallet)
    tokens = work.batch.revoke_tokens(event.wallet)
    nodes = work.batch.live_nodes_of(event.wallet) if event.with_nodes else ()
    for number in nodes:
        node = work.batch.node(number)
        assert node is not None, "it was listed a moment ago"
        work.batch.save_node(replace(node, is_revoked=True))
    wallet = event.wallet if event.with_nodes else b""
    work.order(ev.AccessEnded(tuple(sessions), tuple(nodes), wallet))
    return Tally(len(sessions), tokens, len(nodes))
