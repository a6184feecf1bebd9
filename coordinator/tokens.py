"""Whose machine this is: challenges, tokens and delegations, decided purely.

In:   values of the store, what a peer presented, the time.
Out:  new values to store, the text to hand out; or the first refusal that applies.
Not here: taking a challenge out of the store (once, before anything is decided: the caller's
transaction), limits of rate and number (server, engine), bearers (sessions), the proof of a node
key (protocol.handshake).
Covered:
  - replay: a challenge is taken before it is checked; a token without node key registers once;
  - a text for another wallet, coordinator, domain, chain, scope or node key; a text of the client's
    own making; any changed bit: texts are rebuilt from our own rows and compared byte for byte;
  - keys of small order.
Not covered: an unspent bare token works for whoever stole it, until it expires or is revoked.
Source: SIWS; the rules of `check_signature` and `check_token` stand in the order of refusal.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from coordinator.limits import CHALLENGE_MS, CLOCK_SKEW_MS, DELEGATION_MS
from coordinator.protocol.errors import ProtocolError, Refusal
from coordinator.protocol.signin import (
    Fields,
    Realm,
    Scope,
    build_text,
    coordinator_key_of,
    fields_for,
    life_ms,
    milliseconds_of,
)
from coordinator.protocol.signing import check_point
from coordinator.protocol.token import SignedText, decode_token, encode_token, signed_text
from coordinator.store.values import Challenge, Node, Token
from onchain.address import decode_address
from onchain.errors import BadAddress

#: Random bytes in a nonce; it is written in hexadecimal, so that it has letters and digits only.
NONCE_BYTES: Final = 16


# ---- challenges -------------------------------------------------------------------------------


def new_challenge(
    realm: Realm,
    *,
    wallet: bytes,
    scope: Scope,
    node_key: bytes,
    random: bytes,
    now_ms: int,
) -> tuple[Challenge, Fields]:
    """A text for a wallet to sign, and its fields.

    Args:
        realm: Who we are.
        wallet: Who shall sign, 32 bytes.
        scope: `token`, `wallet` or `admin`.
        node_key: The node key of a delegation (scope `token`), or `b""`.
        random: 16 fresh random bytes.
        now_ms: Unix ms.

    Raises:
        Refusal: `weak_key` for a wallet or node key that is no point of full order; `forbidden`
            for a node key in a session's scope.
    """
    assert len(random) == NONCE_BYTES
    if node_key and scope != "token":
        raise Refusal("forbidden", "only a token names a node key")
    check_point(wallet)
    if node_key:
        check_point(node_key)
    issued_ms = now_ms // 1000 * 1000
    fields = fields_for(
        realm,
        wallet=wallet,
        scope=scope,
        node_key=node_key,
        nonce=random.hex(),
        issued_ms=issued_ms,
    )
    challenge = Challenge(
        nonce=fields.nonce,
        wallet=wallet,
        scope=scope,
        node_key=node_key,
        text=build_text(fields),
        sign_by_ms=issued_ms + CHALLENGE_MS,
        expires_ms=issued_ms + life_ms(scope, has_node_key=bool(node_key)),
    )
    return challenge, fields


def _rebuilt(realm: Realm, scope: Scope, row: Challenge | Token) -> str:
    """The text that we would have handed out for this row, today, as who we are today."""
    life = life_ms(scope, has_node_key=bool(row.node_key))
    fields = fields_for(
        realm,
        wallet=row.wallet,
        scope=scope,
        node_key=row.node_key,
        nonce=row.nonce,
        issued_ms=row.expires_ms - life,
    )
    return build_text(fields)


def check_signature(
    realm: Realm,
    challenge: Challenge | None,
    *,
    scopes: Collection[Scope],
    wallet: bytes,
    signature: bytes,
    now_ms: int,
    transaction: bytes = b"",
) -> SignedText:
    """Check a wallet's answer to a challenge; the first rule that is broken refuses.

    1. The challenge exists, was made for this wallet, and for one of `scopes`: `challenge_unknown`.
    2. Its text is what we would write today (domain, URI, chain, key): `token_wrong_coordinator`.
    3. It is signed in time, on our clock: `challenge_expired`.
    4. The wallet is a point of full order: `weak_key`.
    5. The wallet signed the text, an off-chain envelope of it, or a memo transaction that carries
       it, and nothing else: `bad_signature`, `bad_transaction`.

    Args:
        realm: Who we are.
        challenge: What the store had under the nonce, taken out of it already; `None` for nothing.
        scopes: What the caller hands out here.
        wallet: Who claims to have signed.
        signature: The signature's bytes, of whatever length; `b""` if it is in the transaction.
        now_ms: Unix ms.
        transaction: A hardware wallet's signed memo transaction, or `b""`.

    Returns:
        The signed text, to be given to `issue`.
    """
    if challenge is None or challenge.wallet != wallet or challenge.scope not in scopes:
        raise Refusal("challenge_unknown")
    scope = next(scope for scope in scopes if scope == challenge.scope)
    if _rebuilt(realm, scope, challenge) != challenge.text:
        raise Refusal("token_wrong_coordinator")
    issued_ms = challenge.sign_by_ms - CHALLENGE_MS
    if not issued_ms - CLOCK_SKEW_MS <= now_ms <= challenge.sign_by_ms:
        raise Refusal("challenge_expired")
    check_point(wallet)
    return signed_text(challenge.text, wallet, signature, transaction)


# ---- tokens and node keys ---------------------------------------------------------------------


def issue(challenge: Challenge, signed: SignedText) -> tuple[str, Token]:
    """The token of a signed challenge, and its row."""
    assert challenge.scope == "token"
    assert signed.text == challenge.text
    row = Token(
        nonce=challenge.nonce,
        wallet=challenge.wallet,
        node_key=challenge.node_key,
        expires_ms=challenge.expires_ms,
    )
    return encode_token(signed), row


def check_token(
    realm: Realm, token: str, stored: Token | None, *, presented_node_key: bytes, now_ms: int
) -> bytes:
    """Check a token at registration; the first rule that is broken refuses.

    1. It has a token's form (`token.decode_token`): `token_malformed`.
    2. The wallet that its text names signed that text: `bad_signature`.
    3. It names our key, domain, URI and chain: `token_wrong_coordinator`.
    4. Its time has come and is not over: `token_expired`.
    5. We issued it, and its text is the one that we would write for its row: `token_malformed`.
    6. It names no node key, or the one that was proven: `token_wrong_node`.
    7. Its wallet did not revoke it: `token_revoked`.
    8. It has not registered before, or names the node key that registered: `token_spent`.

    Args:
        realm: Who we are.
        token: What was presented.
        stored: The row under the token's nonce (`token.nonce_of`).
        presented_node_key: The node key that the session proved, or `b""` for a seed client.
        now_ms: Unix ms.

    Returns:
        The wallet that earns. `stored.node` is the node to resume if it is not 0.
    """
    signed, fields = decode_token(token)
    try:
        wallet = decode_address(fields.address)
    except BadAddress as error:
        raise Refusal("token_malformed") from error
    signed.verify(wallet)
    if not _is_for(realm, fields):
        raise Refusal("token_wrong_coordinator")
    _check_time(fields, now_ms)
    if stored is None or _rebuilt(realm, "token", stored) != signed.text:
        raise Refusal("token_malformed")
    if stored.node_key and stored.node_key != presented_node_key:
        raise Refusal("token_wrong_node")
    if stored.is_revoked:
        raise Refusal("token_revoked")
    if stored.node and not stored.node_key:
        raise Refusal("token_spent")
    return wallet


def _is_for(realm: Realm, fields: Fields) -> bool:
    return (
        coordinator_key_of(fields) == realm.coordinator_key
        and fields.domain == realm.domain
        and fields.uri == realm.uri
        and fields.chain_id == realm.chain
    )


def _check_time(fields: Fields, now_ms: int) -> None:
    try:
        from_ms = milliseconds_of(fields.issued_at) - CLOCK_SKEW_MS
        to_ms = milliseconds_of(fields.expiration_time)
    except ProtocolError as error:
        raise Refusal("token_malformed") from error
    if not from_ms <= now_ms <= to_ms:
        raise Refusal("token_expired")


def key_expiry(token: Token, now_ms: int) -> int:
    """Until when the node key that registered with this token may open sessions, Unix ms."""
    return token.expires_ms if token.node_key else now_ms + DELEGATION_MS


def check_node_key(node: Node, now_ms: int) -> bytes:
    """Whether a proven node key may open a session without a token: a resume.

    Args:
        node: The row under that key.
        now_ms: Unix ms.

    Returns:
        The wallet that earns.

    Raises:
        Refusal: `token_revoked` or `token_expired`.
    """
    assert node.node_key
    if node.is_revoked:
        raise Refusal("token_revoked")
    if now_ms > node.key_expires_ms:
        raise Refusal("token_expired")
    return node.wallet
