"""Nodes that are slow, busy, behind, foreign, broken or lying: what a chain makes of them.

The nodes are dev nodes reached without a socket, so that Trio's mock clock can jump.
"""

from __future__ import annotations

from dataclasses import dataclass

import httpx
import pytest
import trio
from trio.testing import MockClock

from onchain.chain import Commitment
from onchain.chain_errors import (
    ChainBehind,
    ChainDisagrees,
    ChainLied,
    ChainRateLimited,
    ChainRejected,
    ChainUnreachable,
    TransactionRefused,
)
from onchain.devnode import DevNode
from onchain.devnode_http import Answer
from onchain.drafts import Budget
from onchain.endpoints import Node, Nodes
from onchain.machine import Machine
from onchain.solana_chain import SolanaChain
from onchain.transactions import Recipe
from tests.chain_faults import FaultyNode
from tests.chains import SOL, fresh_machine, key, pay

ALICE, BOB = key("alice"), key("bob").address
HERE = "getMultipleAccounts"


class Wire(httpx.AsyncBaseTransport):
    """Puts the bodies of requests to a node in this process."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            reply = await self._answer(await request.aread())
        except trio.BrokenResourceError as error:
            raise httpx.ReadError("gone") from error
        return httpx.Response(
            reply.status, headers=[*reply.headers], stream=httpx.ByteStream(reply.body)
        )


@dataclass
class Net:
    """One chain and the nodes that tell of it."""

    machine: Machine
    faults: list[FaultyNode]
    chain: SolanaChain


def net(count: int = 1, *, machines: tuple[Machine, ...] = (), genesis: str | None = None) -> Net:
    machine = machines[0] if machines else fresh_machine()
    faults, nodes = [], []
    for index in range(count):
        own = machines[index] if index < len(machines) else machine
        fault = FaultyNode()
        answer = fault.around(DevNode(own, slot_s=None).answer)
        nodes.append(Node(f"http://node{index}.test/?key=secret", transport=Wire(answer)))
        faults.append(fault)
    made = Nodes(nodes, genesis=genesis, jitter=lambda: 1.0)
    return Net(machine, faults, SolanaChain(made))


async def test_a_node_that_asks_for_patience_gets_what_it_asks_for(
    autojump_clock: MockClock,
) -> None:
    it = net()
    it.faults[0].plan["getSlot"] = ["429 7", "429"]

    assert await it.chain.slot() == it.machine.slot

    assert 7 <= trio.current_time() <= 9
    assert it.faults[0].calls.count("getSlot") == 3


async def test_patience_has_an_end(autojump_clock: MockClock) -> None:
    it = net()
    it.faults[0].plan["getSlot"] = ["429 99999"] * 3
    with pytest.raises(ChainRateLimited):
        await it.chain.slot()
    assert trio.current_time() < 1  # it waits for nothing that cannot come in time

    it = net()
    it.faults[0].plan["getSlot"] = ["dead"] * 1000
    with pytest.raises(ChainUnreachable):
        await it.chain.slot()
    assert 20 < trio.current_time() <= 31
    assert it.faults[0].calls.count("getSlot") < 20


@pytest.mark.parametrize("how", ["dead", "slow", "500", "garbage", "empty", "429", "huge", "-1"])
async def test_another_node_is_asked_when_one_fails(autojump_clock: MockClock, how: str) -> None:
    it = net(2)
    it.faults[0].plan["getSlot"] = [how] * 100

    assert await it.chain.slot() == it.machine.slot
    begun = trio.current_time()
    assert await it.chain.slot() == it.machine.slot

    assert trio.current_time() == begun  # the one that failed is left alone
    assert it.faults[0].calls.count("getSlot") == 1


async def test_an_answer_without_an_end_is_cut_off(autojump_clock: MockClock) -> None:
    machine = fresh_machine()
    fault = FaultyNode({"getSlot": ["huge"] * 100})
    wire = Wire(fault.around(DevNode(machine, slot_s=None).answer))
    chain = SolanaChain(Nodes([Node("http://n", transport=wire, bytes_max=1000)], patience_s=0))

    with pytest.raises(ChainUnreachable) as told:
        await chain.slot()

    assert "AnswerTooLong" in str(told.value)


async def test_no_text_of_an_error_holds_the_key_of_a_node(autojump_clock: MockClock) -> None:
    for how in ("dead", "slow", "500", "garbage", "empty", "429"):
        it = net()
        it.faults[0].plan["getSlot"] = [how] * 1000
        with pytest.raises((ChainUnreachable, ChainLied)) as told:
            await it.chain.slot()
        assert "secret" not in str(told.value)


async def test_a_node_of_another_cluster_is_never_asked_anything_else(
    autojump_clock: MockClock,
) -> None:
    foreign = Machine(name="foreign")
    it = net(2, machines=(fresh_machine(), foreign))
    it.faults[0].plan["getSlot"] = ["dead"]

    assert await it.chain.slot() == it.machine.slot
    assert await it.chain.slot() == it.machine.slot

    assert it.faults[1].calls == ["getGenesisHash"]


async def test_the_expected_genesis_hash_decides(autojump_clock: MockClock) -> None:
    it = net(genesis="1" * 32)
    with pytest.raises(ChainLied):
        await it.chain.slot()
    with pytest.raises(ChainUnreachable):  # nobody is left
        await it.chain.slot()


async def test_whoever_answers_after_a_failure_is_asked_again_which_cluster_it_is(
    autojump_clock: MockClock,
) -> None:
    it = net()
    await it.chain.slot()
    it.faults[0].plan = {"getSlot": ["dead"], "getGenesisHash": ['"1111"']}

    with pytest.raises(ChainLied):
        await it.chain.slot()


async def test_an_answer_of_the_past_is_not_believed(autojump_clock: MockClock) -> None:
    it = net(2)
    it.machine.advance(100)
    await it.chain.accounts([BOB])
    it.faults[0].plan[HERE] = ["lag 1"]

    found = await it.chain.accounts([BOB])

    assert found.slot == it.machine.slot
    assert it.faults[1].calls[-1] == HERE


async def test_a_node_that_stays_in_the_past_is_named(autojump_clock: MockClock) -> None:
    it = net()
    await it.chain.accounts([BOB])
    it.faults[0].plan[HERE] = ["lag 1"] * 1000

    with pytest.raises(ChainBehind):
        await it.chain.accounts([BOB])


async def test_each_commitment_has_its_own_past(autojump_clock: MockClock) -> None:
    machine = fresh_machine(confirm_slots=1, finalize_slots=31)
    machine.advance(40)
    it = net(machines=(machine,))

    slots = [await it.chain.slot(each) for each in Commitment]

    assert slots == [machine.slot, machine.slot - 1, machine.slot - 31]


async def test_two_nodes_that_agree_are_one_opinion(autojump_clock: MockClock) -> None:
    it = net(3)
    it.machine.airdrop(BOB, SOL)

    found = await it.chain.accounts([BOB], opinions=2)

    assert found.values[0] is not None
    assert found.values[0].lamports == SOL
    assert [HERE in fault.calls for fault in it.faults] == [True, True, False]


async def test_two_nodes_that_differ_are_no_answer(autojump_clock: MockClock) -> None:
    liar = fresh_machine()
    it = net(2, machines=(fresh_machine(), liar))
    it.machine.airdrop(BOB, SOL)
    liar.airdrop(BOB, 99 * SOL)

    with pytest.raises(ChainDisagrees):
        await it.chain.accounts([BOB], opinions=2)
    assert (await it.chain.accounts([BOB])).values[0] is not None


async def test_nodes_that_differ_for_a_moment_are_asked_again(autojump_clock: MockClock) -> None:
    """The second node is a slot ahead, where the account has changed."""
    first, second = fresh_machine(), fresh_machine()
    it = net(2, machines=(first, second))
    for machine in (first, second):
        machine.airdrop(BOB, SOL)
    second.advance()
    second.airdrop(BOB, SOL)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(_catch_up, first)
        found = await it.chain.accounts([BOB], opinions=2)

    assert found.values[0] is not None
    assert found.values[0].lamports == 2 * SOL
    assert found.slot == second.slot


async def _catch_up(machine: Machine) -> None:
    await trio.sleep(0.3)
    machine.advance()
    machine.airdrop(BOB, SOL)


async def test_a_refusal_is_not_put_to_another_node(autojump_clock: MockClock) -> None:
    it = net(2)
    raw = Recipe((pay(ALICE, BOB, SOL),), (ALICE,)).sign(bytes(32), Budget()).raw

    with pytest.raises(TransactionRefused):
        await it.chain.send(raw)

    assert it.faults[1].calls == []


async def test_a_send_asks_each_node_once(autojump_clock: MockClock) -> None:
    it = net(2)
    it.machine.airdrop(ALICE.address, 2 * SOL)
    for fault in it.faults:
        fault.plan["sendTransaction"] = ["dead"] * 9
    blockhash = (await it.chain.latest_blockhash()).blockhash
    signed = Recipe((pay(ALICE, BOB, SOL),), (ALICE,)).sign(blockhash, Budget())

    with pytest.raises(ChainUnreachable):
        await it.chain.send(signed.raw)
    assert [fault.calls.count("sendTransaction") for fault in it.faults] == [1, 1]
    for fault in it.faults:
        fault.plan.clear()
    assert await it.chain.send(signed.raw) == signed.signature


async def test_a_node_that_takes_it_under_another_name_lied(autojump_clock: MockClock) -> None:
    it = net()
    it.machine.airdrop(ALICE.address, 2 * SOL)
    it.faults[0].plan["sendTransaction"] = ['"2222"']
    blockhash = (await it.chain.latest_blockhash()).blockhash

    with pytest.raises(ChainLied):
        await it.chain.send(Recipe((pay(ALICE, BOB, 1),), (ALICE,)).sign(blockhash, Budget()).raw)


CONTEXT = '{"context":{"slot":99},"value":'


@pytest.mark.parametrize(
    ("method", "answers"),
    [
        ("getSlot", ["null", "-1", "true", '"5"', "1.5", "[]", "18446744073709551616"]),
        (
            HERE,
            [
                "null",
                "[]",
                "{}",
                CONTEXT + "[]}",
                CONTEXT + "null}",
                CONTEXT + "[5]}",
                '{"context":{"slot":"9"},"value":[null]}',
                CONTEXT + '[{"lamports":-1,"owner":"1","data":["","base64"],"executable":false}]}',
                CONTEXT
                + '[{"lamports":1,"owner":"11111111111111111111111111111111",'
                + '"data":["%%","base64"],"executable":false}]}',
                CONTEXT
                + '[{"lamports":1,"owner":"11111111111111111111111111111111",'
                + '"data":["","base58"],"executable":false}]}',
            ],
        ),
        ("getLatestBlockhash", [CONTEXT + "null}", CONTEXT + '{"blockhash":"x"}}']),
        ("getSignatureStatuses", [CONTEXT + "[]}", CONTEXT + '[{"slot":1}]}', CONTEXT + "[7]}"]),
        ("getTokenAccountBalance", [CONTEXT + '{"amount":1}}', CONTEXT + '{"amount":"-1"}}']),
        ("getProgramAccounts", ["[]", CONTEXT + "[{}]}"]),
        ("getRecentPrioritizationFees", ["{}", "[1]", '[{"prioritizationFee":-1}]']),
        ("getMinimumBalanceForRentExemption", ['"1"']),
        ("simulateTransaction", [CONTEXT + "[]}", CONTEXT + "{}}"]),
    ],
)
async def test_a_broken_answer_is_a_lie_and_never_another_error(
    autojump_clock: MockClock, method: str, answers: list[str]
) -> None:
    asks = {
        "getSlot": lambda chain: chain.slot(),
        HERE: lambda chain: chain.accounts([BOB]),
        "getLatestBlockhash": lambda chain: chain.latest_blockhash(),
        "getSignatureStatuses": lambda chain: chain.statuses([bytes(64)]),
        "getTokenAccountBalance": lambda chain: chain.token_balance(BOB),
        "getProgramAccounts": lambda chain: chain.program_accounts(BOB),
        "getRecentPrioritizationFees": lambda chain: chain.priority_fees(),
        "getMinimumBalanceForRentExemption": lambda chain: chain.rent_minimum(1),
        "simulateTransaction": lambda chain: chain.simulate(
            Recipe((pay(ALICE, BOB, 1),), (ALICE,)).unsigned(bytes(32), Budget())
        ),
    }
    it = net()
    for told in answers:
        it.faults[0].plan[method] = [told] * 100
        with pytest.raises(ChainLied):
            await asks[method](it.chain)
        await trio.sleep(60)


async def test_a_refused_request_tells_its_number(autojump_clock: MockClock) -> None:
    it = net()
    with pytest.raises(ChainRejected) as refused:
        await it.chain.rent_minimum(2**62)

    assert refused.value.code == -32602


async def test_a_block_that_is_not_there_has_no_time(autojump_clock: MockClock) -> None:
    it = net()
    it.machine.advance(5)

    assert await it.chain.block_time(3) is None
    assert await it.chain.block_time(it.machine.slot) is not None


class Nobody(httpx.AsyncBaseTransport):
    """An address at which nothing listens."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await trio.lowlevel.checkpoint()
        msg = "All connection attempts failed"
        raise httpx.ConnectError(msg)


async def test_where_nothing_listens_is_named_with_its_port() -> None:
    node = Node("http://127.0.0.1:4444/?api-key=secret", transport=Nobody())
    chain = SolanaChain(Nodes([node], patience_s=0))

    with pytest.raises(ChainUnreachable) as told:
        await chain.slot()
    await chain.aclose()

    assert "127.0.0.1:4444 did not answer getGenesisHash: nothing answers at" in str(told.value)
    assert "secret" not in str(told.value)
