"""What a round of settlement says that it did, and what it waits for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from coordinator.settlement_state import SettlementState
from hypernode.answers import SettlementInfo
from hypernode.cli.settle import _print as show
from onchain.address import encode_address
from onchain.program_refusals import refusal_named
from onchain.publish import Roots
from tests.chains import key
from tests.ledger_values import DAY, LIMITS
from tests.settling import House, open_house


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    made = await open_house(tmp_path)
    yield made
    await made.close()


def away(state: SettlementState) -> int:
    """Seconds until the wait ends, on the chain's clock."""
    return state.waits_until_s - state.clock_s


async def test_from_an_earning_to_a_claimable_root_each_round_says_what_it_did(
    house: House,
) -> None:
    house.market.earn()
    first = await house.settlement.round_now()

    assert [said.partition(":")[0] for said in first.did] == [
        "epoch 1 closed",
        "epoch 1",
        "root of epoch 1 published",
    ]
    assert f"root {house.last().root.hex()}" in first.did[1]
    assert "transaction " in first.did[2]
    assert "to be final on the chain" in first.waits

    house.later()
    second = await house.settlement.round_now()
    assert second.did == ("epoch 1 is published",)
    assert second.waits.startswith("the guardian's approval of the root of epoch 1")
    assert 0 < away(second) < LIMITS.slow_delay

    house.later(LIMITS.slow_delay)
    third = await house.settlement.round_now()
    assert third.did[0].startswith("root of epoch 1 activated: transaction ")

    house.later()
    await house.round()
    fourth = house.settlement.state
    assert fourth.did == ("epoch 1 is active",)
    assert fourth.waits == "the time to close the next epoch"
    assert 5 * DAY < away(fourth) < 7 * DAY, "the schedule is a week"


async def test_who_activates_a_root_before_us_is_no_trouble(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def gone(_roots: Roots) -> None:
        """Somebody was quicker: confirmed, and not final yet."""
        await trio.lowlevel.checkpoint()
        raise refusal_named("NoPendingRoot")

    house.market.earn()
    await house.round(close_now=True)
    house.later()
    await house.round()
    house.later(LIMITS.slow_delay)
    monkeypatch.setattr(Roots, "activate", gone)
    assert await house.round() == ""
    assert house.settlement.state.did == ()
    assert "the activation of epoch 1 to be final" in house.settlement.state.waits


async def test_a_house_without_a_publisher_says_what_it_lacks(house: House) -> None:
    await house.restart(publisher_key=None)
    state = await house.settlement.round_now()

    assert state.did == ()
    assert "publisher_key is not set" in state.waits


async def test_a_root_that_comes_too_soon_waits_for_a_named_moment(tmp_path: Path) -> None:
    house = await open_house(tmp_path, min_epoch_interval=2 * DAY)
    house.market.earn("a")
    await house.settle()
    house.market.earn("b")
    house.later(1)
    state = await house.settlement.round_now()

    assert state.did[0].startswith("epoch 2 closed")
    assert "s of the interval between two roots are left" in state.waits
    assert DAY // 2 < away(state) < DAY
    await house.close()


async def test_what_was_booked_is_counted(house: House) -> None:
    await house.bazaar.deposit(key("carol").address, 700)
    house.later()
    await house.round()

    assert house.settlement.state.did[0] == "booked 1 deposits, exits or claims"
    assert house.market.balance(f"credit:{encode_address(key('carol').address)}") == 700


def test_a_round_is_shown_line_by_line_with_its_moments(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = SettlementInfo(
        "localnet", "LEDGER", "KEY", pending_epoch=2, pending_at="2026-11-26T10:00:00Z",
        publishes=True, did=("epoch 2 closed", "root of epoch 2 published"), waits="the guardian",
        waits_until="2026-11-26T10:00:00Z", clock="2026-11-25T07:00:00Z", alarm="wrong_key",
        said="a.json is the key A",
    )  # fmt: skip
    show(told, is_round=True)
    shown = capsys.readouterr().out

    moment = "2026-11-26 10:00:00 UTC, in 27 h 0 min on the chain's clock"
    assert f"pending epoch\t2, active from {moment}\n" in shown
    assert "did\tepoch 2 closed\ndid 2\troot of epoch 2 published\n" in shown
    assert f"waits for\tthe guardian, at {moment}\n" in shown
    assert "state\twrong_key: a.json is the key A\n" in shown
    show(SettlementInfo("localnet", "LEDGER", "KEY"), is_round=True)
    assert "did\tnothing\n" in capsys.readouterr().out
