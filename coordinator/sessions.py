"""Who may do what over HTTP, and as a submitter: bearers and their scopes, decided purely.

In:   a challenge that `tokens.check_signature` accepted, or a bearer's row; the time.
Out:  the row to store; or the first refusal that applies.
Not here: which scope a request needs (http, dispatcher), how many sessions a wallet has (engine).
Covered: bearers read from a stolen database (only hashes are kept); removed administrators.
Not covered: a stolen bearer works until it expires, is closed or is revoked.
"""

from __future__ import annotations

from collections.abc import Collection
from hashlib import sha256
from typing import Final

from coordinator.limits import DELEGATION_MS, SESSION_MS
from coordinator.protocol.base64url import decode_base64url, encode_base64url
from coordinator.protocol.errors import Refusal
from coordinator.store.values import Challenge, Node, Session

BEARER_BYTES: Final = 32
#: Base64url of 32 bytes.
BEARER_CHARS: Final = 43
#: What whoever is no administrator is told.
NO_ADMIN: Final = "This is for a wallet of the coordinator's admin_wallets, in an `admin` session."


def new_bearer(random: bytes) -> str:
    """The text of a bearer made of 32 fresh random bytes."""
    assert len(random) == BEARER_BYTES
    return encode_base64url(random)


def hash_bearer(bearer: str) -> bytes:
    """What the store keeps of a bearer, and finds it by.

    Raises:
        Refusal: `unauthenticated` for what no bearer looks like.
    """
    if len(bearer) != BEARER_CHARS:
        raise Refusal("unauthenticated")
    try:
        raw = decode_base64url(bearer, size=BEARER_BYTES)
    except ValueError as error:
        raise Refusal("unauthenticated") from error
    return sha256(b"hyper.bearer.v1" + raw).digest()


def open_session(
    challenge: Challenge,
    *,
    bearer_hash: bytes,
    admin_wallets: Collection[bytes],
    now_ms: int,
    opened_from: str = "",
) -> Session:
    """The session of a wallet that signed.

    Args:
        challenge: One that `tokens.check_signature` accepted, of scope `wallet` or `admin`.
        bearer_hash: `hash_bearer` of a fresh bearer.
        admin_wallets: Who may administer this coordinator.
        now_ms: Unix ms.
        opened_from: The network address that asks.

    Raises:
        Refusal: `forbidden` if an administrator's session is wanted by somebody else.
    """
    assert challenge.scope in {"wallet", "admin"}
    if challenge.scope == "admin" and challenge.wallet not in admin_wallets:
        raise Refusal("forbidden", NO_ADMIN)
    return Session(
        bearer_hash=bearer_hash,
        scope=challenge.scope,
        wallet=challenge.wallet,
        node=0,
        expires_ms=now_ms + SESSION_MS,
        created_ms=now_ms,
        used_ms=now_ms,
        opened_from=opened_from,
    )


def open_node_session(node: Node, *, bearer_hash: bytes, now_ms: int) -> Session:
    """The session whose bearer `registered` hands out: for a node's reports and blobs."""
    return Session(
        bearer_hash=bearer_hash,
        scope="node",
        wallet=node.wallet,
        node=node.id,
        expires_ms=node.key_expires_ms if node.node_key else now_ms + DELEGATION_MS,
    )


def check_session(
    session: Session | None,
    *,
    scopes: Collection[str],
    admin_wallets: Collection[bytes],
    now_ms: int,
) -> Session:
    """Check a bearer's row; the first rule that is broken refuses.

    1. There is one: `unauthenticated`.
    2. Its time is not over: `session_expired`.
    3. It grants one of `scopes`: `forbidden`. `admin` grants what `wallet` does, for its own
       wallet, and nothing more once the wallet is no administrator any longer.
    """
    if session is None:
        raise Refusal("unauthenticated")
    if now_ms > session.expires_ms:
        raise Refusal("session_expired")
    granted = {session.scope}
    if session.scope == "admin":
        granted = {"admin", "wallet"} if session.wallet in admin_wallets else {"wallet"}
    if granted.isdisjoint(scopes):
        raise Refusal("forbidden", NO_ADMIN if set(scopes) == {"admin"} else "")
    return session
