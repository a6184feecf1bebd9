"""Who is who: challenges, tokens, sessions and nodes, each event within its transaction.

In:   one batch at work (`Work`) and one event.
Out:  the event's answer, or the first refusal that applies and nothing done.
Not here: the decisions themselves (tokens, sessions), the proof of a node key (protocol.handshake).
Rules:
  1. A challenge is taken out of the store before anything is decided about it.
  2. A token without node key registers once; the node key that came with it is bound to its wallet.
  3. A node key belongs to one wallet.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from coordinator import events as ev, sessions, tokens
from coordinator.limits import (
    BLOB_QUOTA_BYTES,
    BLOBS_DROPPED_MAX,
    CHALLENGES_OPEN_PER_WALLET_MAX,
    NAME_CHARS_MAX,
    SESSIONS_PER_WALLET_MAX,
)
from coordinator.protocol.errors import Refusal
from coordinator.protocol.messages import HostInfo
from coordinator.protocol.signin import Scope
from coordinator.protocol.token import nonce_of
from coordinator.store.values import Blob, Node, Session, Token
from coordinator.work import Work

TOKEN_SCOPES: Final[tuple[Scope, ...]] = ("token",)
SESSION_SCOPES: Final[tuple[Scope, ...]] = ("wallet", "admin")


def keep_challenge(work: Work, event: ev.ChallengeMade) -> None:
    work.batch.add_challenge(event.challenge, keep=CHALLENGES_OPEN_PER_WALLET_MAX)


def issue_token(work: Work, event: ev.TokenAsked) -> tuple[str, Token]:
    """A token for a signed challenge."""
    challenge = work.batch.take_challenge(event.nonce)
    signed = tokens.check_signature(
        work.house.realm,
        challenge,
        scopes=TOKEN_SCOPES,
        wallet=event.wallet,
        signature=event.signature,
        transaction=event.transaction,
        now_ms=work.now_ms,
    )
    assert challenge is not None, "check_signature refuses an unknown challenge"
    text, row = tokens.issue(challenge, signed)
    work.batch.add_token(row)
    return text, row


def open_session(work: Work, event: ev.SessionAsked) -> Session:
    """A bearer's row for a signed challenge; the bearer itself never reaches the store."""
    challenge = work.batch.take_challenge(event.nonce)
    tokens.check_signature(
        work.house.realm,
        challenge,
        scopes=SESSION_SCOPES,
        wallet=event.wallet,
        signature=event.signature,
        transaction=event.transaction,
        now_ms=work.now_ms,
    )
    assert challenge is not None, "check_signature refuses an unknown challenge"
    row = sessions.open_session(
        challenge,
        bearer_hash=event.bearer_hash,
        admin_wallets=work.house.admins,
        now_ms=work.now_ms,
        opened_from=event.opened_from,
    )
    work.batch.add_session(row)
    # The wallet has just signed: what it forgot to close makes room for what it opens.
    gone = work.batch.trim_sessions(event.wallet, SESSIONS_PER_WALLET_MAX)
    if gone:
        work.order(ev.AccessEnded(sessions=tuple(gone)))
    return row


def close_session(work: Work, event: ev.SessionClosed) -> None:
    work.batch.drop_session(event.bearer_hash)
    work.order(ev.AccessEnded(sessions=(event.bearer_hash,)))


def note_use(work: Work, event: ev.SessionUsed) -> None:
    work.batch.touch_session(event.bearer_hash, work.now_ms)


def register_node(work: Work, event: ev.NodeRegistered) -> Node:
    """The node of a registration: a new one, or the one that the node key is bound to."""
    bound = work.batch.node_by_key(event.node_key) if event.node_key else None
    if not event.token:
        if bound is None:
            raise Refusal("unauthenticated", "this node key is not known here: give a token once")
        return _resume(work, bound, event.host)
    stored = work.batch.token(nonce_of(event.token))
    if bound is not None and stored is not None and stored.node == bound.id:
        # A spent token with its bound key: an agent that was started again by the same command.
        return _resume(work, bound, event.host)
    wallet = tokens.check_token(
        work.house.realm,
        event.token,
        stored,
        presented_node_key=event.node_key,
        now_ms=work.now_ms,
    )
    assert stored is not None, "check_token refuses an unknown token"
    if bound is not None and bound.wallet != wallet:
        raise Refusal("node_key_taken")
    node = bound or _new_node(work, wallet, event)
    if event.node_key:
        expiry_ms = tokens.key_expiry(stored, work.now_ms)
        node = replace(node, key_expires_ms=expiry_ms, is_revoked=False)
    work.batch.save_token(replace(stored, node=node.id))
    return _seen_again(work, node, event.host)


def _resume(work: Work, node: Node, host: HostInfo) -> Node:
    tokens.check_node_key(node, work.now_ms)
    return _seen_again(work, node, host)


def _new_node(work: Work, wallet: bytes, event: ev.NodeRegistered) -> Node:
    node = Node(
        id=work.batch.next_node_id(),
        wallet=wallet,
        node_key=event.node_key,
        key_expires_ms=0,
        hostname=event.host.hostname,
        gpu="",
        os=event.host.os,
        created_ms=work.now_ms,
        last_heartbeat_ms=work.now_ms,
    )
    work.batch.add_node(node)
    return node


def _seen_again(work: Work, node: Node, host: HostInfo) -> Node:
    gpu = ", ".join(gpu.name for gpu in host.gpus) or node.gpu
    after = replace(
        node,
        hostname=host.hostname or node.hostname,
        gpu=gpu[:NAME_CHARS_MAX],
        os=host.os or node.os,
        last_heartbeat_ms=work.now_ms,
    )
    work.batch.save_node(after)
    return after


def note_inventory(work: Work, event: ev.InventoryReceived) -> None:
    node = work.batch.node(event.node)
    assert node is not None, "a session has its node"
    gpu = event.gpu[:NAME_CHARS_MAX] or node.gpu
    work.batch.save_node(replace(node, gpu=gpu, inventory=event.inventory))


def note_heartbeats(work: Work, event: ev.NodesSeen) -> None:
    for number, seen_ms in event.seen:
        node = work.batch.node(number)
        if node is not None and seen_ms > node.last_heartbeat_ms:
            work.batch.save_node(replace(node, last_heartbeat_ms=seen_ms))


def note_blob(work: Work, event: ev.BlobStored) -> None:
    """Note a blob that is on disk, against the quota of who brought it.

    Raises:
        Refusal: `quota`.
    """
    is_new = work.batch.blob_size(event.sha256, event.wallet) is None
    if is_new and work.batch.blob_bytes_of(event.wallet) + event.size > BLOB_QUOTA_BYTES:
        raise Refusal("quota")
    work.batch.add_blob(Blob(event.sha256, event.size, event.wallet, work.now_ms))


def use_blob(work: Work, event: ev.BlobUsed) -> bool:
    return work.batch.touch_blob(event.sha256, event.wallet, work.now_ms)


def forget_blobs(work: Work, event: ev.BlobsDue) -> tuple[bytes, ...]:
    """Rows go first, files after them: what is named or noted meanwhile keeps its row."""
    return tuple(work.batch.drop_old_blobs(event.before_ms, BLOBS_DROPPED_MAX))


def note_files_gone(work: Work, event: ev.BlobsGone) -> None:
    work.batch.forget_dropped_blobs(event.digests)


def forget_expired(work: Work, _event: ev.ExpiryDue) -> int:
    return work.batch.drop_expired(work.now_ms)
