"""Who is who, inside a batch: challenges, tokens, nodes, sessions.

These are rare beside jobs, so they are written at once; only a node's `earned` is added up and
written once a batch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from msgspec.structs import replace

from coordinator.store.interface import StoreError
from coordinator.store.rows import SELECT_NODES, Row, node_of
from coordinator.store.sqlite_connection import Connection
from coordinator.store.sqlite_memory import Memory
from coordinator.store.sqlite_part import Part
from coordinator.store.values import Challenge, Node, NodeDrain, Session, Token

SELECT_NODE_DRAINS = "SELECT node, began_ms, until_ms, count, reason FROM node_drains "
SELECT_SESSIONS = (
    "SELECT s.bearer_hash, s.scope, w.address, ifnull(s.node, 0), s.expires_ms, s.created_ms,"
    " s.used_ms, s.opened_from FROM sessions s CROSS JOIN wallets w ON w.id = s.wallet "
)
SELECT_TOKENS = (
    "SELECT t.nonce, w.address, t.node_key, t.expires_ms, ifnull(t.node, 0), t.is_revoked"
    " FROM tokens t CROSS JOIN wallets w ON w.id = t.wallet "
)


def token_of(row: Row) -> Token:
    return Token(*(*row[:5], bool(row[5])))


def _node_row(node: Node) -> Row:
    return (
        node.node_key or None, node.key_expires_ms, node.hostname, node.gpu, node.os,
        node.created_ms, node.last_heartbeat_ms, node.is_revoked, node.inventory, node.id,
    )  # fmt: skip


class PeoplePart(Part):
    """Challenges, tokens, nodes and sessions of one batch."""

    def __init__(self, connection: Connection, memory: Memory) -> None:
        super().__init__(connection, memory)
        self._nodes: dict[int, Node] = {}
        self._node_earned: dict[int, int] = defaultdict(int)
        #: Ends of attempts by node: paid, and failed.
        self._node_done: dict[int, int] = defaultdict(int)
        self._node_failed: dict[int, int] = defaultdict(int)

    # challenges
    def add_challenge(self, challenge: Challenge, *, keep: int) -> None:
        wallet = self._wallet(challenge.wallet)
        self._run(
            "INSERT INTO challenges (nonce, wallet, scope, node_key, text, sign_by_ms, expires_ms)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                challenge.nonce, wallet, challenge.scope, challenge.node_key, challenge.text,
                challenge.sign_by_ms, challenge.expires_ms,
            ),
        )  # fmt: skip
        self._run(
            "DELETE FROM challenges WHERE wallet = ?1 AND id NOT IN"
            " (SELECT id FROM challenges WHERE wallet = ?1 ORDER BY id DESC LIMIT ?2)",
            (wallet, keep),
        )

    def take_challenge(self, nonce: str) -> Challenge | None:
        row = self._one(
            "SELECT c.nonce, w.address, c.scope, c.node_key, c.text, c.sign_by_ms, c.expires_ms"
            " FROM challenges c CROSS JOIN wallets w ON w.id = c.wallet WHERE c.nonce = ?",
            (nonce,),
        )
        if row is None:
            return None
        self._run("DELETE FROM challenges WHERE nonce = ?", (nonce,))
        return Challenge(*row)

    def drop_challenges(self, wallet: bytes) -> None:
        self._run("DELETE FROM challenges WHERE wallet = ?", (self._known_wallet(wallet),))

    # tokens
    def add_token(self, token: Token) -> None:
        wallet = self._wallet(token.wallet)
        self._run(
            "INSERT INTO tokens VALUES (?, ?, ?, ?, ?, ?)",
            (
                token.nonce, wallet, token.node_key, token.expires_ms, token.node or None,
                token.is_revoked,
            ),
        )  # fmt: skip

    def token(self, nonce: str) -> Token | None:
        row = self._one(SELECT_TOKENS + "WHERE t.nonce = ?", (nonce,))
        return None if row is None else token_of(row)

    def save_token(self, token: Token) -> None:
        changed = self._run(
            "UPDATE tokens SET node_key = ?, expires_ms = ?, node = ?, is_revoked = ?"
            " WHERE nonce = ?",
            (token.node_key, token.expires_ms, token.node or None, token.is_revoked, token.nonce),
        )
        assert changed == 1, "a token is added before it is saved"

    def revoke_tokens(self, wallet: bytes, node_key: bytes | None = None) -> int:
        return self._run(
            "UPDATE tokens SET is_revoked = 1 WHERE wallet = ?1 AND node IS NULL"
            " AND is_revoked = 0 AND (?2 IS NULL OR node_key = ?2)",
            (self._known_wallet(wallet), node_key),
        )

    # nodes
    def next_node_id(self) -> int:
        return self._next_id("nodes")

    def node(self, node: int) -> Node | None:
        found = self._nodes.get(node) or self._memory.nodes.get(node)
        if found is None:
            row = self._one(SELECT_NODES + "WHERE n.id = ?", (node,))
            if row is not None:
                found = node_of(row)
                self._memory.nodes.put(node, found)
        return found

    def node_by_key(self, node_key: bytes) -> Node | None:
        row = self._one("SELECT id FROM nodes WHERE node_key = ?", (node_key,))
        return None if row is None else self.node(row[0])

    def add_node(self, node: Node) -> None:
        wallet = self._wallet(node.wallet)
        self._run(
            "INSERT INTO nodes (node_key, key_expires_ms, hostname, gpu, os, created_ms,"
            " last_heartbeat_ms, is_revoked, inventory, id, wallet, earned)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*_node_row(node), wallet, node.earned),
        )
        self._nodes[node.id] = node

    def save_node(self, node: Node) -> None:
        now = self.node(node.id)
        assert now is not None, "a node is added before it is saved"
        assert now.wallet == node.wallet, "a node never changes hands: jobs are listed by it"
        self._run(
            "UPDATE nodes SET node_key = ?, key_expires_ms = ?, hostname = ?, gpu = ?, os = ?,"
            " created_ms = ?, last_heartbeat_ms = ?, is_revoked = ?, inventory = ? WHERE id = ?",
            _node_row(node),
        )
        self._nodes[node.id] = replace(node, earned=now.earned)

    def live_nodes_of(self, wallet: bytes) -> Sequence[int]:
        rows = self._all(
            "SELECT id FROM nodes WHERE wallet = ? AND node_key IS NOT NULL AND is_revoked = 0",
            (self._known_wallet(wallet),),
        )
        return [row[0] for row in rows]

    def add_earned(self, node: int, amount: int) -> None:
        now = self.node(node)
        assert now is not None, "only a node that exists earns"
        self._nodes[node] = replace(now, earned=now.earned + amount)
        self._node_earned[node] += amount

    def node_drain(self, node: int) -> NodeDrain | None:
        row = self._one(SELECT_NODE_DRAINS + "WHERE node = ?", (node,))
        return None if row is None else NodeDrain(*row)

    def save_node_drain(self, drain: NodeDrain) -> None:
        self._run(
            "INSERT INTO node_drains VALUES (?, ?, ?, ?, ?) ON CONFLICT (node) DO UPDATE SET"
            " began_ms = excluded.began_ms, until_ms = excluded.until_ms, count = excluded.count,"
            " reason = excluded.reason",
            (drain.node, drain.began_ms, drain.until_ms, drain.count, drain.reason),
        )

    # sessions
    def add_session(self, session: Session) -> None:
        wallet = self._wallet(session.wallet)
        self._run(
            "INSERT INTO sessions (bearer_hash, scope, wallet, node, expires_ms, created_ms,"
            " used_ms, opened_from) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                session.bearer_hash, session.scope, wallet, session.node or None,
                session.expires_ms, session.created_ms, session.used_ms, session.opened_from,
            ),
        )  # fmt: skip

    def session(self, bearer_hash: bytes) -> Session | None:
        row = self._one(SELECT_SESSIONS + "WHERE s.bearer_hash = ?", (bearer_hash,))
        return None if row is None else Session(*row)

    def sessions_of(self, wallet: bytes) -> Sequence[Session]:
        sql = SELECT_SESSIONS + "WHERE s.wallet = ? ORDER BY s.expires_ms DESC, s.bearer_hash"
        return [Session(*row) for row in self._all(sql, (self._known_wallet(wallet),))]

    def touch_session(self, bearer_hash: bytes, used_ms: int) -> None:
        self._run(
            "UPDATE sessions SET used_ms = max(used_ms, ?) WHERE bearer_hash = ?",
            (used_ms, bearer_hash),
        )

    def trim_sessions(self, wallet: bytes, keep: int) -> Sequence[bytes]:
        gone = [session.bearer_hash for session in self.sessions_of(wallet)[keep:]]
        for bearer_hash in gone:
            self.drop_session(bearer_hash)
        return gone

    def drop_session(self, bearer_hash: bytes) -> None:
        self._run("DELETE FROM sessions WHERE bearer_hash = ?", (bearer_hash,))

    def drop_expired(self, now_ms: int) -> int:
        return (
            self._run("DELETE FROM challenges WHERE sign_by_ms < ?", (now_ms,))
            + self._run("DELETE FROM sessions WHERE expires_ms < ?", (now_ms,))
            + self._run("DELETE FROM tokens WHERE expires_ms < ? AND node IS NULL", (now_ms,))
        )

    # small facts of the house
    def probe(self) -> None:
        row = self._one("PRAGMA user_version")
        assert row is not None
        # The same number again: SQLite writes its page all the same, and the commit syncs it.
        self._run(f"PRAGMA user_version = {row[0]:d}")

    def secret(self, name: str, fresh: bytes) -> bytes:
        self._run("INSERT INTO secrets VALUES (?, ?) ON CONFLICT DO NOTHING", (name, fresh))
        row = self._one("SELECT value FROM secrets WHERE name = ?", (name,))
        if row is None:
            msg = f"the secret {name} was not kept"
            raise StoreError(msg)
        value: bytes = row[0]
        return value

    def _flush(self) -> None:
        super()._flush()
        rows = [(amount, node) for node, amount in self._node_earned.items()]
        self._run_many("UPDATE nodes SET earned = earned + ? WHERE id = ?", rows)
        self._run_many(
            "INSERT INTO node_work VALUES (?1, ?2, ?3)"
            " ON CONFLICT DO UPDATE SET done = done + ?2, failed = failed + ?3",
            [
                (node, self._node_done[node], self._node_failed[node])
                for node in {*self._node_done, *self._node_failed}
            ],
        )

    def _remember(self) -> None:
        super()._remember()
        self._memory.nodes.put_all(self._nodes)
