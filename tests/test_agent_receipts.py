"""What a node says it has signed: kept with a proof a batch, or refused whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from coordinator import agent_receipts, events as ev
from coordinator.protocol import messages as m
from coordinator.protocol.base64url import encode_base64url
from coordinator.protocol.countersigning import Seen, sign_seen, verify_proof
from coordinator.protocol.errors import Refusal
from coordinator.recent import Recent
from tests.build import COORDINATOR, NODE, Market


@pytest.fixture
def market() -> Iterator[Market]:
    market = Market()
    market.node = market.add_node(node_key=NODE.address)
    for key in "abc":
        market.judge(market.verifying(key=key))
    yield market
    market.close()


def api_of(market: Market, *, is_remembered: bool) -> Any:
    recent = Recent()
    for ready in market.of(ev.ReceiptsReady) if is_remembered else ():
        recent.note_receipts(ready)

    async def read(function: Any) -> Any:
        return function(market.reader)

    operations = SimpleNamespace(recent=recent)
    return SimpleNamespace(coordinator_key=COORDINATOR.address, operations=operations, read=read)


def seen_of(market: Market) -> list[Seen]:
    roots = [ready.root for ready in market.of(ev.ReceiptsReady)]
    return [Seen(root.batch, root.count, root.root) for root in roots]


def signed(seen: Sequence[Seen]) -> m.ReceiptsSigned:
    signature = encode_base64url(sign_seen(NODE, COORDINATOR.address, seen))
    first, *others = [each.batch for each in seen]
    return m.ReceiptsSigned(first, signature, others)


@pytest.mark.parametrize("is_remembered", [True, False], ids=["memory", "store"])
@pytest.mark.parametrize("count", [1, 3])
async def test_one_signature_leaves_a_proof_of_each_batch(
    market: Market, count: int, is_remembered: bool
) -> None:
    seen = seen_of(market)[:count]
    api = api_of(market, is_remembered=is_remembered)

    market.ask(await agent_receipts.check(api, market.node, signed(seen)))

    assert len(market.reader.unsigned_batches(market.node.id, 9)) == 3 - count
    for each in seen:
        (kept,) = market.reader.counter_signatures(each.batch)
        verify_proof(NODE.address, COORDINATOR.address, each, kept.signature)


async def test_a_message_with_a_batch_of_somebody_else_is_refused_whole(market: Market) -> None:
    api, seen = api_of(market, is_remembered=True), seen_of(market)
    with pytest.raises(Refusal, match="not_found"):
        await agent_receipts.check(api, market.node, signed([*seen, seen[0]._replace(batch=99)]))


async def test_a_batch_is_named_once(market: Market) -> None:
    api, seen = api_of(market, is_remembered=True), seen_of(market)
    with pytest.raises(Refusal, match="bad_signature"):
        await agent_receipts.check(api, market.node, signed([*seen, seen[0]]))


async def test_a_signature_of_fewer_batches_is_refused(market: Market) -> None:
    api, seen = api_of(market, is_remembered=True), seen_of(market)
    said = signed(seen[:2])
    more = m.ReceiptsSigned(said.batch, said.signature, [*said.others, seen[2].batch])
    with pytest.raises(Refusal, match="bad_signature"):
        await agent_receipts.check(api, market.node, more)


def test_few_batches_share_a_message(market: Market) -> None:
    api, ready = api_of(market, is_remembered=True), market.of(ev.ReceiptsReady)
    messages = list(agent_receipts.messages_of(api, market.node, ready * 6))

    assert [len(message.batches) for message in messages] == [16, 2]
    assert all(message.together for message in messages)
