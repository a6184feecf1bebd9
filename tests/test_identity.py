"""Who is who: challenges, tokens, sessions and nodes, each used as often as it may be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from coordinator import events as ev, tokens
from coordinator.identity import TOKEN_SCOPES
from coordinator.limits import (
    BLOB_QUOTA_BYTES,
    CHALLENGE_MS,
    CHALLENGES_OPEN_PER_WALLET_MAX,
    DELEGATION_MS,
    NAME_CHARS_MAX,
    SESSION_MS,
    SESSIONS_PER_WALLET_MAX,
    TOKEN_MS,
)
from coordinator.protocol.errors import Refusal
from coordinator.protocol.messages import GpuInfo, HostInfo
from coordinator.protocol.signin import Scope
from coordinator.protocol.signing import Keypair, from_seed
from coordinator.store.values import Challenge, Node, Session, Token
from tests.build import ALICE, BOB, NODE, NOW_MS, OPERATOR, REALM, Market

HOST = HostInfo("tower", [GpuInfo("RTX 4090", "24 GB"), GpuInfo("RTX 3090", "24 GB")], "linux")
OTHER_NODE = from_seed(bytes([9]) * 32)


@pytest.fixture
def market() -> Iterator[Market]:
    made = Market()
    yield made
    made.close()


class Wallet:
    """A wallet that signs what it is asked to."""

    def __init__(self, market: Market, keypair: Keypair = OPERATOR) -> None:
        self.market = market
        self.keypair = keypair
        self._made = 0

    def challenge(self, scope: Scope = "token", node_key: bytes = b"") -> Challenge:
        self._made += 1
        made, _ = tokens.new_challenge(
            REALM,
            wallet=self.keypair.address,
            scope=scope,
            node_key=node_key,
            random=self.keypair.address[:14] + self._made.to_bytes(2, "big"),
            now_ms=self.market.now_ms,
        )
        self.market.ask(ev.ChallengeMade(made))
        return made

    def asks(self, challenge: Challenge, **changes: Any) -> ev.TokenAsked:
        signature = self.keypair.sign(challenge.text.encode())
        event = ev.TokenAsked(self.keypair.address, challenge.nonce, signature)
        return replace(event, **changes)

    def token(self, node_key: bytes = b"") -> str:
        text: str
        text, _ = self.market.ask(self.asks(self.challenge(node_key=node_key)))
        return text

    def opens(self, scope: Scope = "wallet", bearer: int = 1, **changes: Any) -> ev.SessionAsked:
        challenge = self.challenge(scope)
        signature = self.keypair.sign(challenge.text.encode())
        event = ev.SessionAsked(
            self.keypair.address, challenge.nonce, signature, bearer.to_bytes(32, "big")
        )
        return replace(event, **changes)


@pytest.fixture
def operator(market: Market) -> Wallet:
    return Wallet(market)


def register(market: Market, token: str = "", node_key: bytes = b"", host: HostInfo = HOST) -> Node:
    node: Node = market.ask(ev.NodeRegistered(token, node_key, host))
    assert market.reader.node(node.id) == node
    return node


def refused(market: Market, event: ev.Event) -> str:
    with pytest.raises(Refusal) as caught:
        market.ask(event)
    return caught.value.code


def not_registered(market: Market, token: str = "", node_key: bytes = b"") -> str:
    return refused(market, ev.NodeRegistered(token, node_key, HOST))


# ---- challenges -------------------------------------------------------------------------------


def test_a_challenge_is_used_once(market: Market, operator: Wallet) -> None:
    event = operator.asks(operator.challenge())

    token, row = market.ask(event)

    assert row == Token(event.nonce, OPERATOR.address, b"", NOW_MS + TOKEN_MS)
    assert tokens.check_token(REALM, token, row, presented_node_key=b"", now_ms=NOW_MS)
    assert refused(market, event) == "challenge_unknown"


def test_a_wrong_answer_uses_it_up_too(market: Market, operator: Wallet) -> None:
    event = operator.asks(operator.challenge())

    assert refused(market, replace(event, signature=bytes(64))) == "bad_signature"
    assert refused(market, event) == "challenge_unknown"


def test_two_answers_in_one_batch_get_one_token(market: Market, operator: Wallet) -> None:
    event = operator.asks(operator.challenge())
    first, second = market.apply(event, event)

    assert first.refusal is None
    assert second.refusal is not None
    assert second.refusal.code == "challenge_unknown"


def test_a_challenge_serves_its_scope_and_wallet_only(market: Market, operator: Wallet) -> None:
    scopes: tuple[Scope, ...] = ("wallet", "admin")
    for scope in scopes:
        assert refused(market, operator.asks(operator.challenge(scope))) == "challenge_unknown"
    for_token = operator.challenge()
    event = ev.SessionAsked(
        OPERATOR.address, for_token.nonce, OPERATOR.sign(for_token.text.encode()), bytes(32)
    )
    assert refused(market, event) == "challenge_unknown"
    challenge = operator.challenge()
    assert refused(market, operator.asks(challenge, wallet=ALICE.address)) == "challenge_unknown"
    assert refused(market, operator.asks(challenge, nonce="0" * 32)) == "challenge_unknown"


def test_a_challenge_is_signed_in_time(market: Market, operator: Wallet) -> None:
    in_time, late = operator.asks(operator.challenge()), operator.asks(operator.challenge())
    market.now_ms += CHALLENGE_MS

    market.ask(in_time)
    market.now_ms += 1
    assert refused(market, late) == "challenge_expired"


def test_of_a_wallets_open_challenges_the_oldest_gives_way(
    market: Market, operator: Wallet
) -> None:
    made = [operator.challenge() for _ in range(CHALLENGES_OPEN_PER_WALLET_MAX + 1)]
    theirs = Wallet(market, ALICE)
    other = theirs.challenge()

    assert refused(market, operator.asks(made[0])) == "challenge_unknown"
    market.ask(operator.asks(made[1]))
    market.ask(theirs.asks(other))


# ---- tokens without a node key: the seed's ----------------------------------------------------


def test_a_token_registers_a_new_node_once(market: Market, operator: Wallet) -> None:
    token = operator.token()

    node = register(market, token)

    assert node == Node(
        id=node.id, wallet=OPERATOR.address, node_key=b"", key_expires_ms=0, hostname="tower",
        gpu="RTX 4090, RTX 3090", os="linux", created_ms=NOW_MS, last_heartbeat_ms=NOW_MS,
    )  # fmt: skip
    assert not_registered(market, token) == "token_spent"
    assert not_registered(market, token, NODE.address) == "token_spent"


def test_each_token_is_a_node_of_its_own(market: Market, operator: Wallet) -> None:
    nodes = [register(market, operator.token()) for _ in range(3)]

    assert len({node.id for node in nodes}) == 3


def test_a_token_twice_in_one_batch_registers_once(market: Market, operator: Wallet) -> None:
    event = ev.NodeRegistered(operator.token(), b"", HOST)
    first, second = market.apply(event, event)

    assert first.refusal is None
    assert second.refusal is not None
    assert second.refusal.code == "token_spent"


@pytest.mark.parametrize("token", ["", "hy1", "hy1.a.b", "x" * 5_000])
def test_what_is_no_token_registers_nothing(market: Market, token: str) -> None:
    code = not_registered(market, token)

    assert code == ("token_malformed" if token else "unauthenticated")


def test_a_token_that_we_did_not_issue_registers_nothing(market: Market, operator: Wallet) -> None:
    """Rightly signed, but its challenge was never handed in: nobody spends what is not there."""
    challenge = operator.challenge()
    signed = tokens.check_signature(
        REALM,
        challenge,
        scopes=TOKEN_SCOPES,
        wallet=OPERATOR.address,
        signature=OPERATOR.sign(challenge.text.encode()),
        now_ms=NOW_MS,
    )
    token, _ = tokens.issue(challenge, signed)

    assert not_registered(market, token) == "token_malformed"


def test_a_token_expires(market: Market, operator: Wallet) -> None:
    token = operator.token()
    market.now_ms += TOKEN_MS + 1

    assert not_registered(market, token) == "token_expired"
    assert not_registered(market, token, NODE.address) == "token_expired"


# ---- a token and a node key: ours -------------------------------------------------------------


def test_the_node_key_that_came_with_a_token_is_bound_to_its_wallet(
    market: Market, operator: Wallet
) -> None:
    node = register(market, operator.token(), NODE.address)

    assert (node.node_key, node.wallet) == (NODE.address, OPERATOR.address)
    assert node.key_expires_ms == NOW_MS + DELEGATION_MS
    # From then on the key alone is enough.
    assert register(market, "", NODE.address).id == node.id


def test_a_spent_token_with_its_bound_key_is_a_resumption(market: Market, operator: Wallet) -> None:
    token = operator.token()
    node = register(market, token, NODE.address)
    market.now_ms += TOKEN_MS + 1

    again = register(market, token, NODE.address, HostInfo("tower2"))

    assert (again.id, again.hostname) == (node.id, "tower2")
    assert (again.gpu, again.last_heartbeat_ms) == (node.gpu, market.now_ms)
    # It does not live longer for it.
    assert again.key_expires_ms == node.key_expires_ms


def test_a_spent_token_is_of_no_use_to_another_key(market: Market, operator: Wallet) -> None:
    token = operator.token()
    register(market, token, NODE.address)
    register(market, operator.token(), OTHER_NODE.address)

    assert not_registered(market, token) == "token_spent"
    assert not_registered(market, token, OTHER_NODE.address) == "token_spent"
    assert not_registered(market, token, ALICE.address) == "token_spent"


def test_a_bound_key_expires_and_a_new_token_binds_it_anew(
    market: Market, operator: Wallet
) -> None:
    token = operator.token()
    node = register(market, token, NODE.address)
    market.now_ms += DELEGATION_MS + 1

    assert not_registered(market, "", NODE.address) == "token_expired"
    assert not_registered(market, token, NODE.address) == "token_expired"
    again = register(market, operator.token(), NODE.address)
    assert (again.id, again.key_expires_ms) == (node.id, market.now_ms + DELEGATION_MS)


def test_a_revoked_key_opens_nothing_until_its_wallet_signs_again(
    market: Market, operator: Wallet
) -> None:
    token = operator.token()
    node = register(market, token, NODE.address)
    market.write(lambda batch: batch.save_node(replace(node, is_revoked=True)))

    assert not_registered(market, "", NODE.address) == "token_revoked"
    assert not_registered(market, token, NODE.address) == "token_revoked"
    assert not register(market, operator.token(), NODE.address).is_revoked


def test_a_node_key_belongs_to_one_wallet(market: Market, operator: Wallet) -> None:
    node = register(market, operator.token(), NODE.address)
    thief = Wallet(market, BOB)
    token = thief.token()

    assert not_registered(market, token, NODE.address) == "node_key_taken"
    assert market.reader.node(node.id) == node
    # The refused token is unspent.
    assert register(market, token, OTHER_NODE.address).wallet == BOB.address


def test_an_unknown_key_gives_a_token_once(market: Market) -> None:
    assert not_registered(market, "", NODE.address) == "unauthenticated"


# ---- delegations ------------------------------------------------------------------------------


def test_a_delegation_serves_the_key_that_it_names_and_as_often_as_it_likes(
    market: Market, operator: Wallet
) -> None:
    token = operator.token(NODE.address)

    assert not_registered(market, token) == "token_wrong_node"
    assert not_registered(market, token, OTHER_NODE.address) == "token_wrong_node"
    node = register(market, token, NODE.address)
    assert node.key_expires_ms == NOW_MS + DELEGATION_MS
    assert register(market, token, NODE.address).id == node.id
    market.now_ms += DELEGATION_MS + 1
    assert not_registered(market, token, NODE.address) == "token_expired"


def test_a_revoked_delegation_registers_nothing(market: Market, operator: Wallet) -> None:
    challenge = operator.challenge(node_key=NODE.address)
    token, row = market.ask(operator.asks(challenge))
    market.write(lambda batch: batch.save_token(replace(row, is_revoked=True)))

    assert not_registered(market, token, NODE.address) == "token_revoked"


# ---- what a node says of itself ---------------------------------------------------------------


def test_a_nodes_names_are_bounded(market: Market, operator: Wallet) -> None:
    host = HostInfo(gpus=[GpuInfo("g" * NAME_CHARS_MAX)] * 16)
    node = register(market, operator.token(), NODE.address, host)

    assert len(node.gpu) == NAME_CHARS_MAX
    market.ask(ev.InventoryReceived(node.id, "h" * 999, b'{"kinds":[]}'))
    after = market.reader.node(node.id)
    assert after is not None
    assert (after.gpu, after.inventory) == ("h" * NAME_CHARS_MAX, b'{"kinds":[]}')
    market.ask(ev.InventoryReceived(node.id, "", b"{}"))
    after = market.reader.node(node.id)
    assert after is not None
    assert after.gpu == "h" * NAME_CHARS_MAX


def test_heartbeats_are_noted_forwards_only_and_for_nodes_that_exist(market: Market) -> None:
    market.ask(ev.NodesSeen(((market.node.id, NOW_MS + 5), (999, NOW_MS + 5))))
    market.ask(ev.NodesSeen(((market.node.id, NOW_MS + 3),)))

    node = market.reader.node(market.node.id)
    assert node is not None
    assert node.last_heartbeat_ms == NOW_MS + 5


def test_what_a_node_says_does_not_change_what_it_earned(market: Market) -> None:
    job = market.judge(market.verifying())
    market.ask(ev.InventoryReceived(market.node.id, "x", b"{}"))

    node = market.reader.node(market.node.id)
    assert node is not None
    assert node.earned == job.paid - job.fee > 0


# ---- sessions ---------------------------------------------------------------------------------


def test_a_session_lasts_twelve_hours_and_is_closed_by_its_bearer(
    market: Market, operator: Wallet
) -> None:
    row = market.ask(operator.opens(bearer=7))

    assert row == Session(
        (7).to_bytes(32, "big"), "wallet", OPERATOR.address, 0, NOW_MS + SESSION_MS, NOW_MS, NOW_MS
    )
    assert market.reader.session(row.bearer_hash) == row
    for _ in range(2):
        market.ask(ev.SessionClosed(row.bearer_hash))
    assert market.reader.session(row.bearer_hash) is None


def test_an_administrators_session_is_for_administrators(market: Market) -> None:
    assert refused(market, Wallet(market, BOB).opens("admin")) == "forbidden"
    # Alice is on the list (see `tests.build`).
    assert market.ask(Wallet(market, ALICE).opens("admin")).scope == "admin"


def test_a_new_session_makes_a_wallet_forget_its_oldest(market: Market, operator: Wallet) -> None:
    rows = []
    for number in range(SESSIONS_PER_WALLET_MAX):
        rows.append(market.ask(operator.opens(bearer=number)))
        market.now_ms += 1
    other = market.ask(Wallet(market, ALICE).opens(bearer=100))
    latest = market.ask(operator.opens(bearer=101))

    assert market.reader.session(rows[0].bearer_hash) is None
    kept = [row for row in [*rows[1:], other, latest] if market.reader.session(row.bearer_hash)]
    assert len(kept) == SESSIONS_PER_WALLET_MAX + 1


def test_what_has_expired_is_forgotten_and_what_was_spent_is_not(
    market: Market, operator: Wallet
) -> None:
    spent = operator.token()
    register(market, spent, NODE.address)
    operator.token()
    operator.challenge()
    market.ask(operator.opens())
    assert market.ask(ev.ExpiryDue()) == 0

    market.now_ms += TOKEN_MS + 1
    assert market.ask(ev.ExpiryDue()) == 3
    assert market.ask(ev.ExpiryDue()) == 0
    assert register(market, spent, NODE.address).node_key == NODE.address


# ---- blobs ------------------------------------------------------------------------------------


def blob(number: int, size: int, wallet: bytes = OPERATOR.address) -> ev.BlobStored:
    return ev.BlobStored(number.to_bytes(32, "big"), size, wallet)


def test_blobs_count_against_each_wallet_that_brought_them(market: Market) -> None:
    market.ask(blob(1, BLOB_QUOTA_BYTES - 10))
    market.ask(blob(2, 10))

    assert refused(market, blob(3, 1)) == "quota"
    # One that a wallet has already costs it nothing more.
    market.ask(blob(2, 10))
    market.ask(blob(1, BLOB_QUOTA_BYTES - 10, BOB.address))
    assert refused(market, blob(3, 11, BOB.address)) == "quota"


def test_a_blob_that_is_brought_again_is_used_only_by_who_has_it(market: Market) -> None:
    market.ask(blob(1, 10))
    digest = (1).to_bytes(32, "big")

    assert market.ask(ev.BlobUsed(digest, OPERATOR.address)) is True
    assert market.ask(ev.BlobUsed(digest, BOB.address)) is False


def test_two_blobs_of_one_batch_share_one_quota(market: Market) -> None:
    outcomes = market.apply(blob(1, BLOB_QUOTA_BYTES), blob(2, 1))

    assert [each.refusal.code if each.refusal else "" for each in outcomes] == ["", "quota"]


def test_a_forgotten_blob_no_longer_counts_and_its_file_may_go(market: Market) -> None:
    market.ask(blob(1, BLOB_QUOTA_BYTES))
    digest = (1).to_bytes(32, "big")

    assert market.ask(ev.BlobsDue(market.now_ms)) == ()
    assert market.ask(ev.BlobsDue(market.now_ms + 1)) == (digest,)
    # Until the file is said to be gone it is told again.
    assert market.ask(ev.BlobsDue(market.now_ms + 1)) == (digest,)
    market.ask(ev.BlobsGone((digest,)))
    assert market.ask(ev.BlobsDue(market.now_ms + 1)) == ()

    market.ask(blob(3, BLOB_QUOTA_BYTES))
    assert market.reader.blob(digest, OPERATOR.address) is None
