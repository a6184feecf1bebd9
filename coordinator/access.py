"""Who asks: challenges, tokens and sessions, over HTTP and over WebSocket alike.

The half of the API that knows people; `api.Api` adds what they ask for.
Not here: routes (http), the decisions (identity, tokens, sessions).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar, cast

from coordinator import events as ev
from coordinator.clock import iso
from coordinator.desk import parse_wallet
from coordinator.open_links import OpenLinks
from coordinator.operations import Operations
from coordinator.protocol.errors import Refusal
from coordinator.protocol.ids import Ids
from coordinator.protocol.memo import decode_transaction
from coordinator.protocol.signin import Scope
from coordinator.protocol.signing import decode_signature
from coordinator.sessions import check_session, hash_bearer, new_bearer
from coordinator.store.interface import Reader
from coordinator.store.values import Session
from coordinator.tokens import NONCE_BYTES, new_challenge
from coordinator.views import Challenged, IssuedToken, OpenedSession
from coordinator.work import House

T = TypeVar("T")
BEARER_BYTES: Final = 32
SCOPES: Final = frozenset({"token", "wallet", "admin"})


class Access:
    """Who may ask what."""

    def __init__(
        self,
        house: House,
        operations: Operations,
        ids: Ids,
        reader: Reader,
        random_bytes: Callable[[int], bytes],
        run_thread: Callable[[Callable[[], Any]], Awaitable[Any]],
    ) -> None:
        self.house = house
        self.operations = operations
        self.ids = ids
        self.random_bytes = random_bytes
        self._reader = reader
        self._run_thread = run_thread
        #: Bearers of connected nodes: they live as long as their connection.
        self.node_sessions: dict[bytes, Session] = {}
        self.open_links = OpenLinks()

    @property
    def coordinator_key(self) -> bytes:
        return self.house.keypair.address

    async def read(self, function: Callable[[Reader], T]) -> T:
        """Ask the store off Trio's loop."""
        return cast("T", await self._run_thread(lambda: function(self._reader)))

    async def challenge(self, wallet: str, *, scope: str, node: str = "") -> Challenged:
        """A text for a wallet to sign: for a token, or for a session."""
        if scope not in SCOPES:
            raise Refusal("malformed", "a scope is token, wallet or admin")
        challenge, fields = new_challenge(
            self.house.realm,
            wallet=parse_wallet(wallet),
            scope=cast("Scope", scope),
            node_key=parse_wallet(node) if node else b"",
            random=self.random_bytes(NONCE_BYTES),
            now_ms=self.operations.clock.wall_ms(),
        )
        await self.operations.writer.ask(ev.ChallengeMade(challenge))
        return Challenged(challenge.text, fields, challenge.nonce, iso(challenge.sign_by_ms))

    async def issue_token(
        self, wallet: str, nonce: str, signature: str, transaction: str = ""
    ) -> IssuedToken:
        event = ev.TokenAsked(parse_wallet(wallet), nonce, *_proof(signature, transaction))
        text, row = await self.operations.writer.ask(event)
        return IssuedToken(text, iso(row.expires_ms))

    async def open_session(
        self, wallet: str, nonce: str, signature: str, transaction: str = ""
    ) -> OpenedSession:
        bearer = new_bearer(self.random_bytes(BEARER_BYTES))
        signed, raw = _proof(signature, transaction)
        event = ev.SessionAsked(parse_wallet(wallet), nonce, signed, hash_bearer(bearer), raw)
        row: Session = await self.operations.writer.ask(event)
        return OpenedSession(bearer, row.scope, wallet, iso(row.expires_ms))

    async def session(self, bearer: str) -> Session:
        """The session of a bearer; its scope is checked by each question."""
        digest = hash_bearer(bearer)
        found = self.node_sessions.get(digest)
        if found is None:
            found = await self.read(lambda reader: reader.session(digest))
        return self._check(found, "wallet", "admin", "node")

    def check(self, session: Session, *scopes: str) -> None:
        """Refuse a session that has none of these scopes."""
        self._check(session, *scopes)

    def is_admin(self, session: Session) -> bool:
        """Whether it is an administrator's, and its wallet still is one."""
        return session.scope == "admin" and session.wallet in self.house.admins

    def _check(self, session: Session | None, *scopes: str) -> Session:
        return check_session(
            session,
            scopes=scopes,
            admin_wallets=self.house.admins,
            now_ms=self.operations.clock.wall_ms(),
        )

    async def close_session(self, bearer: str) -> None:
        digest = hash_bearer(bearer)
        await self.operations.writer.ask(ev.SessionClosed(digest))
        self.open_links.end(digest)


def _proof(signature: str, transaction: str) -> tuple[bytes, bytes]:
    """A wallet's answer to a challenge: its signature, or a hardware wallet's transaction.

    Raises:
        Refusal: `bad_signature`, `bad_transaction`; `malformed` for both at once.
    """
    if not transaction:
        return decode_signature(signature), b""
    if signature:
        raise Refusal("malformed", "a proof is a signature or a transaction, not both")
    return b"", decode_transaction(transaction)
