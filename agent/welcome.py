"""Why a coordinator does not want an agent, and what a person can do about it.

In:   the code of a refusal; or a token, before it has travelled.
Out:  `Unwelcome` with the fix, or None: then waiting may help, and the agent tries again.
Not covered: what only the coordinator knows of a token: its signature, whether it is spent.
"""

from __future__ import annotations

from typing import Final

from coordinator.limits import CLOCK_SKEW_MS
from coordinator.protocol.errors import CODES, HypernodeError, ProtocolError, Refusal
from coordinator.protocol.signin import coordinator_key_of, milliseconds_of, node_key_of
from coordinator.protocol.token import decode_token

_SIGN_ANEW: Final = "sign a new token (`hypernode token`) and pass it by --token-file"

#: What to do about each refusal that time does not heal.
FIXES: Final[dict[str, str]] = {
    "unauthenticated": _SIGN_ANEW,
    "challenge_required": _SIGN_ANEW,
    "session_expired": _SIGN_ANEW,
    "forbidden": "sign a new token with a wallet that this coordinator accepts",
    "bad_signature": "sign a new token; if that fails too, the node key file is damaged",
    "weak_key": "remove the node key file: a new one is made at the next start",
    "token_malformed": "copy the whole token, from `hy1` to its end; or ask for a new one",
    "token_expired": _SIGN_ANEW,
    "token_spent": f"it registered another node key; {_SIGN_ANEW}",
    "token_revoked": f"its wallet withdrew it; {_SIGN_ANEW}",
    "token_wrong_coordinator": (
        "the key of this coordinator is not the one that was pinned or that the token names: check "
        "the address; if the coordinator was really replaced, remove coordinator.json from the "
        "state directory and sign a new token"
    ),
    "token_wrong_node": "sign the token for this node key, or without one",
    "superseded": (
        "another agent runs with this node key: stop it, or give each machine a state directory "
        "of its own (never copy one: --state-dir)"
    ),
    "node_key_taken": (
        "this node key earns for another wallet: sign with that wallet, or remove the node key "
        "file (a new key is made at the next start)"
    ),
}
#: Codes that a token may heal: the coordinator does not know the node key (any more).
HEALED_BY_TOKEN: Final = frozenset(
    {
        "unauthenticated", "challenge_required", "session_expired", "forbidden",
        "token_malformed", "token_expired", "token_spent", "token_revoked",
    }
)  # fmt: skip


class Unwelcome(HypernodeError):
    """The coordinator refuses this agent for good; `fix` says what to do."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(code, as_sentence(detail or CODES[code][0]))
        self.fix = FIXES[code]

    def __str__(self) -> str:
        return f"{self.code}: {self.sentence} Fix: {self.fix}."


def as_sentence(text: str) -> str:
    """Text that stands as a sentence of its own beside others."""
    text = text.strip()
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."


def unwelcome(code: str, detail: str = "") -> Unwelcome | None:
    """The error of a refusal that time does not heal."""
    return Unwelcome(code, detail) if code in FIXES else None


def check_token(token: str, *, pinned: bytes | None, node_key: bytes, now_ms: int) -> str:
    """Judge a token by what it says itself, so that nobody waits for a coordinator to say it.

    Args:
        token: As given.
        pinned: The coordinator's key of earlier sessions, if there were any.
        node_key: Our own.
        now_ms: Our clock; it may be wrong by `CLOCK_SKEW_MS`.

    Returns:
        The wallet that signed it, base58.

    Raises:
        Unwelcome: it cannot register this node key.
    """
    try:
        _signed, fields = decode_token(token)
        expires_ms = milliseconds_of(fields.expiration_time)
    except (Refusal, ProtocolError) as error:
        raise Unwelcome("token_malformed", _sentence_of(error)) from error
    if expires_ms + CLOCK_SKEW_MS < now_ms:
        detail = f"This token expired at {fields.expiration_time} (by this machine's clock)."
        raise Unwelcome("token_expired", detail)
    if pinned not in {None, coordinator_key_of(fields)}:
        raise Unwelcome("token_wrong_coordinator")
    if node_key_of(fields) not in {None, node_key}:
        raise Unwelcome("token_wrong_node")
    return fields.address


def _sentence_of(error: HypernodeError) -> str:
    return error.sentence if error.code == "token_malformed" else ""
