"""Who asks: challenges, tokens and sessions, over HTTP and over WebSocket alike.

The half of the API that knows people; `api.Api` adds what they ask for.
Not here: routes (http), the decisions (identity, tokens, sessions).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar, cast

from coordinator import events as ev
from coordinator.clock import iso
from coordinator.desk import node_thing, parse_wallet, session_thing, token_thing
from coordinator.limits import LISTING_ROWS_MAX, SESSION_USED_MS
from coordinator.operations import Operations
from coordinator.protocol.errors import Refusal
from coordinator.protocol.ids import Ids
from coordinator.protocol.memo import decode_transaction
from coordinator.protocol.messages import RevokedItem
from coordinator.protocol.signin import Scope
from coordinator.protocol.signing import decode_signature
from coordinator.revocation import Tally, nonce_in
from coordinator.sessions import check_session, hash_bearer, new_bearer
from coordinator.store.interface import Reader
from coordinator.store.values import Node, Session, Token
from coordinator.tokens import NONCE_BYTES, new_challenge
from coordinator.views import Challenged, IssuedToken, OpenedSession, OpenThing
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
        self, wallet: str, nonce: str, signature: str, transaction: str = "", *, peer: str = ""
    ) -> OpenedSession:
        owner = parse_wallet(wallet)
        bearer = new_bearer(self.random_bytes(BEARER_BYTES))
        signed, raw = _proof(signature, transaction)
        event = ev.SessionAsked(owner, nonce, signed, hash_bearer(bearer), raw, peer)
        row: Session = await self.operations.writer.ask(event)
        return OpenedSession(bearer, row.scope, wallet, iso(row.expires_ms))

    async def session(self, bearer: str) -> Session:
        """The session of a bearer; its scope is checked by each question."""
        digest = hash_bearer(bearer)
        found = self.node_sessions.get(digest)
        if found is None:
            found = await self.read(lambda reader: reader.session(digest))
        elif found.node not in self.operations.agents:
            # Its connection is on its way out.
            found = None
        session = self._check(found, "wallet", "admin", "node")
        if session.scope != "node":
            self._note_use(session)
        return session

    def _note_use(self, session: Session) -> None:
        now_ms = self.operations.clock.wall_ms()
        if now_ms - session.used_ms >= SESSION_USED_MS:
            self.operations.writer.tell(ev.SessionUsed(session.bearer_hash))

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
        await self.operations.writer.ask(ev.SessionClosed(hash_bearer(bearer)))

    # ---- what is open, and its end -------------------------------------------------------------

    async def open_things(self, session: Session, wallet: str = "") -> list[OpenThing]:
        """What a wallet has given that is good now: sessions, tokens, node keys, newest 50 each."""
        owner = self._owner(session, wallet)
        now_ms = self.operations.clock.wall_ms()

        def load(
            reader: Reader,
        ) -> tuple[Sequence[Session], Sequence[Token], Sequence[Node]]:
            return (
                reader.sessions_of(owner, LISTING_ROWS_MAX),
                reader.tokens_of(owner, now_ms, LISTING_ROWS_MAX),
                reader.nodes_of(owner, LISTING_ROWS_MAX),
            )

        sessions, tokens, nodes = await self.read(load)
        return [
            *(session_thing(each, session) for each in sessions if each.expires_ms >= now_ms),
            *map(token_thing, tokens),
            *(
                node_thing(self.operations, self.ids, node)
                for node in nodes
                if node.node_key and not node.is_revoked and node.key_expires_ms >= now_ms
            ),
        ]

    def _owner(self, session: Session, wallet: str) -> bytes:
        """Whose things are meant: the session's own, or anybody's for an administrator."""
        if not wallet:
            self._check(session, "wallet", "admin")
            return session.wallet
        owner = parse_wallet(wallet)
        self._check(session, *(("wallet", "admin") if owner == session.wallet else ("admin",)))
        return owner

    async def revoke(self, session: Session, name: str, wallet: str = "") -> None:
        """Take back one thing, by the name that `open_things` gives it.

        Raises:
            Refusal: `not_found` for anything that is not this wallet's.
        """
        owner = self._owner(session, wallet)
        event: ev.Event
        kind = name.partition("-")[0]
        if kind == "session":
            event = ev.SessionRevoked(owner, name)
        elif kind == "token":
            event = ev.TokenRevoked(owner, nonce_in(name))
        else:
            event = ev.NodeRevoked(*await self._owned_node(session, owner, name))
        await self.operations.writer.ask(event)

    async def _owned_node(self, session: Session, owner: bytes, name: str) -> tuple[bytes, int]:
        number = self.ids.decode("node", name)
        if self.is_admin(session):
            node = await self.read(lambda reader: reader.node(number))
            owner = node.wallet if node is not None else owner
        return owner, number

    async def revoke_each(self, session: Session, names: Sequence[str]) -> list[RevokedItem]:
        """Take back several things: one answer each, in order."""
        answers = []
        for name in names:
            try:
                await self.revoke(session, name)
            except Refusal as refusal:
                answers.append(RevokedItem(name, refusal.code))
            else:
                answers.append(RevokedItem(name))
        return answers

    async def revoke_all(
        self, session: Session, wallet: str = "", *, with_nodes: bool = False
    ) -> Tally:
        """Take back everything; the session that asks ends with the others."""
        event = ev.AllRevoked(self._owner(session, wallet), with_nodes)
        tally: Tally = await self.operations.writer.ask(event)
        return tally


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
