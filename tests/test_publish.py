"""Roots on a chain in this process: by the real program, signed only after they were checked."""

from __future__ import annotations

import msgspec
import pytest

from onchain.chain_errors import TransactionRefused
from onchain.program_refusals import ProgramRefused
from onchain.publication import (
    EpochOutOfOrder,
    IntervalRunning,
    LeafFell,
    NotSolvent,
    PredecessorMissing,
    RootDiffers,
    RootStillPending,
    prepare,
    promised_part,
)
from onchain.publish import EpochTaken
from onchain.views import Root
from tests.chains import key
from tests.ledger_values import LIMITS
from tests.settlement_chain import Bazaar, open_bazaar

HOST, OWNER = key("host").address, key("owner").address
PUBLISHER, GUARDIAN, ADMIN = key("publisher"), key("guardian"), key("admin")


async def funded() -> Bazaar:
    bazaar = await open_bazaar()
    await bazaar.deposit(OWNER, 100_000)
    return bazaar


async def test_a_root_is_published_approved_and_activated() -> None:
    bazaar = await funded()
    file = bazaar.leaf_file(1, {HOST: 500}, {OWNER: 400})

    await bazaar.roots.publish(file, publisher=PUBLISHER)
    slow = (await bazaar.ledger()).pending
    await bazaar.roots.approve(file, guardian=GUARDIAN)
    fast = (await bazaar.ledger()).pending
    with pytest.raises(ProgramRefused, match="NotDue") as caught:
        await bazaar.roots.activate()
    bazaar.later(LIMITS.fast_delay)
    await bazaar.roots.activate()

    ledger = await bazaar.ledger()
    assert promised_part(slow) == promised_part(ledger.active) == prepare(file).promised
    assert slow.active_at == slow.published_at + LIMITS.slow_delay
    assert caught.value.again_at == fast.active_at < slow.active_at
    assert ledger.pending == Root()


async def test_the_guardian_signs_in_the_same_transaction_if_at_hand() -> None:
    bazaar = await funded()
    before = len(bazaar.chain.machine.landed)

    await bazaar.roots.publish(
        bazaar.leaf_file(1, {HOST: 500}), publisher=PUBLISHER, guardian=GUARDIAN
    )

    assert len(bazaar.chain.machine.landed) == before + 1
    assert (await bazaar.ledger()).approved == 1


async def test_publishing_again_sends_nothing() -> None:
    bazaar = await funded()
    file = bazaar.leaf_file(1, {HOST: 500})
    first = await bazaar.roots.publish(file, publisher=PUBLISHER)
    landed = len(bazaar.chain.machine.landed)

    again = await bazaar.roots.publish(file, publisher=PUBLISHER)

    assert again.signature == first.signature
    assert len(bazaar.chain.machine.landed) == landed


async def test_another_root_under_the_same_number_is_told() -> None:
    bazaar = await funded()
    await bazaar.roots.publish(bazaar.leaf_file(1, {HOST: 500}), publisher=PUBLISHER)

    with pytest.raises(EpochTaken):
        await bazaar.roots.publish(bazaar.leaf_file(1, {HOST: 501}), publisher=PUBLISHER)


async def test_nothing_is_signed_that_the_checks_refuse() -> None:
    bazaar = await funded()
    first = bazaar.leaf_file(1, {HOST: 500})
    with pytest.raises(EpochOutOfOrder):
        await bazaar.roots.publish(bazaar.leaf_file(2, {HOST: 500}), publisher=PUBLISHER)
    with pytest.raises(NotSolvent):
        await bazaar.roots.publish(bazaar.leaf_file(1, {HOST: 100_001}), publisher=PUBLISHER)
    await bazaar.roots.publish(first, publisher=PUBLISHER)
    second = bazaar.leaf_file(2, {HOST: 499})
    with pytest.raises(RootStillPending):
        await bazaar.roots.publish(second, publisher=PUBLISHER)
    landed = len(bazaar.chain.machine.landed)

    bazaar.later(LIMITS.slow_delay)
    for before in (None, second):
        with pytest.raises(PredecessorMissing):
            await bazaar.roots.publish(
                bazaar.leaf_file(2, {HOST: 500, OWNER: 9}), publisher=PUBLISHER, before=before
            )
    with pytest.raises(LeafFell):
        await bazaar.roots.publish(
            bazaar.leaf_file(2, {HOST: 499, OWNER: 9}), publisher=PUBLISHER, before=first
        )

    assert len(bazaar.chain.machine.landed) == landed


async def test_the_interval_is_waited_for() -> None:
    bazaar = await open_bazaar(fast_delay=3_600, min_epoch_interval=7_200)
    await bazaar.deposit(OWNER, 100_000)
    await bazaar.settle({HOST: 500})
    await bazaar.roots.activate()

    with pytest.raises(IntervalRunning):
        await bazaar.roots.publish(bazaar.leaf_file(2, {HOST: 501}), publisher=PUBLISHER)
    bazaar.later(3_600)
    await bazaar.publish(bazaar.leaf_file(2, {HOST: 501}))


async def test_the_guardian_approves_its_own_root_only() -> None:
    bazaar = await funded()
    await bazaar.roots.publish(bazaar.leaf_file(1, {HOST: 500}), publisher=PUBLISHER)

    with pytest.raises(RootDiffers):
        await bazaar.roots.approve(bazaar.leaf_file(1, {HOST: 499}), guardian=GUARDIAN)

    assert (await bazaar.ledger()).approved == 0


async def test_a_stranger_publishes_nothing() -> None:
    bazaar = await funded()

    with pytest.raises(ProgramRefused, match="Unauthorized"):
        await bazaar.roots.publish(bazaar.leaf_file(1, {HOST: 500}), publisher=key("stranger"))


@pytest.mark.parametrize("role", [GUARDIAN, ADMIN], ids=["guardian", "administrator"])
async def test_a_pending_root_is_cancelled_and_its_number_spent(role: object) -> None:
    bazaar = await funded()
    file = bazaar.leaf_file(1, {HOST: 500})
    await bazaar.roots.publish(file, publisher=PUBLISHER)
    signer = GUARDIAN if role is GUARDIAN else ADMIN
    with pytest.raises(ProgramRefused, match="NoPendingRoot"):
        await bazaar.roots.cancel(2, role=signer)

    await bazaar.roots.cancel(1, role=signer)

    assert (await bazaar.ledger()).pending == Root()
    with pytest.raises(ProgramRefused, match="NoPendingRoot"):
        await bazaar.roots.activate()
    await bazaar.roots.publish(bazaar.leaf_file(2, {HOST: 500}), publisher=PUBLISHER)
    assert (await bazaar.ledger()).pending.epoch == 2


async def test_a_wrong_active_root_is_taken_back() -> None:
    bazaar = await funded()
    await bazaar.settle({HOST: 500})
    await bazaar.settle({HOST: 90_000})
    await bazaar.roots.activate()
    before = (await bazaar.ledger()).previous

    await bazaar.roots.revoke(2, role=GUARDIAN)

    ledger = await bazaar.ledger()
    assert msgspec.structs.replace(ledger.active, active_at=0) == msgspec.structs.replace(
        before, active_at=0
    )
    for epoch in (1, 2):
        with pytest.raises(ProgramRefused, match="NotRevocable"):
            await bazaar.roots.revoke(epoch, role=GUARDIAN)


async def test_an_empty_vault_stops_publication() -> None:
    """The vault is not the program's own account here: somebody emptied it from outside."""
    bazaar = await funded()
    bazaar.fund(bazaar.market.ledger, 99_999)

    with pytest.raises(NotSolvent, match="lacks 1 base"):
        await bazaar.roots.publish(bazaar.leaf_file(1, {HOST: 500}), publisher=PUBLISHER)


async def test_a_payer_without_lamports_is_the_chains_refusal() -> None:
    bazaar = await funded()
    bazaar.payer = key("pauper")

    with pytest.raises(TransactionRefused):
        await bazaar.roots.publish(bazaar.leaf_file(1, {HOST: 500}), publisher=PUBLISHER)
