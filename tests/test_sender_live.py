"""The sender over sockets: a dev node that fails, restarts with its state, and slots that move."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from onchain.devnode import DevNode, Ports
from onchain.endpoints import Node, Nodes
from onchain.journal import FileJournal
from onchain.sender import Intent, Pace, Sender
from onchain.solana_chain import SolanaChain
from onchain.transactions import Recipe
from tests.chain_faults import FaultyNode
from tests.chains import SOL, fresh_machine, key, pay

ALICE, BOB = key("alice"), key("bob").address
FAST = Pace(poll_s=0.02, resend_s=0.04)


async def never() -> bool:
    await trio.lowlevel.checkpoint()
    return False


def payment() -> Intent:
    return Intent("pay", Recipe((pay(ALICE, BOB, SOL),), (ALICE,)), never)


def node_of(folder: Path, faults: FaultyNode) -> DevNode:
    machine = fresh_machine(confirm_slots=1, finalize_slots=3)
    return DevNode(machine, folder=folder, slot_s=0.005, around=faults.around)


async def _serve(node: DevNode, ports: Ports | None, nursery: trio.Nursery) -> Ports:
    told: Ports = await nursery.start(
        node.serve,
        "127.0.0.1",
        ports.http if ports else 0,
        ports.websocket if ports else None,
    )
    return told


@pytest.mark.slow
async def test_a_node_and_a_sender_that_both_start_again_pay_once(tmp_path: Path) -> None:
    """The first sends are lost, the node goes down and comes back, the sender dies meanwhile."""
    faults = FaultyNode({"sendTransaction": ['"1"', "dead", "429", "500"]})
    with trio.fail_after(10):
        async with trio.open_nursery() as house:
            first = node_of(tmp_path, faults)
            first.machine.airdrop(ALICE.address, 3 * SOL)
            async with trio.open_nursery() as nursery:
                ports = await _serve(first, None, nursery)
                chain = SolanaChain(Nodes([Node(f"http://127.0.0.1:{ports.http}")]))
                journal = FileJournal(tmp_path / "journal")
                with trio.move_on_after(0.1):
                    await Sender(chain, journal, pace=FAST).send(payment())
                journal.release()
                nursery.cancel_scope.cancel()

            again = FileJournal(tmp_path / "journal")
            assert await again.open_intents() == ("pay",)
            house.start_soon(Sender(chain, again, pace=FAST).send, payment())
            await trio.sleep(0.1)  # nobody is there to answer
            second = node_of(tmp_path, faults)
            async with trio.open_nursery() as nursery:
                await _serve(second, ports, nursery)
                while await again.landed("pay") is None:  # noqa: ASYNC110 (a file has no event)
                    await trio.sleep(0.02)
                nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await chain.aclose()
        again.release()

    account = second.machine.newest(BOB)
    assert account is not None
    assert account.lamports == SOL
    assert len(second.machine.landed) == 2  # the airdrop and the payment
