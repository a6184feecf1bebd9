"""What a transaction may cost: the limit from a simulation, the price from blocks, the ceilings."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from onchain.chain import Commitment, Simulation
from onchain.chain_errors import Fault, FeeTooHigh, TransactionRefused
from onchain.drafts import UNITS_MAX, Budget, Signed
from onchain.fees import SPARE_UNITS_MIN, Fees
from onchain.simulated import SimulatedChain


class PricedChain(SimulatedChain):
    """A chain that says what it is told to say about units and fees."""

    def __init__(self, units: int, fees: tuple[int, ...] = (), fault: Fault | None = None) -> None:
        super().__init__()
        self.told = Simulation(units, ("log",), fault, 1)
        self.fees = fees
        self.asked: list[Sequence[bytes]] = []

    async def simulate(
        self, transaction: bytes, commitment: Commitment = Commitment.CONFIRMED
    ) -> Simulation:
        return self.told

    async def priority_fees(self, writable: Sequence[bytes] = ()) -> tuple[int, ...]:
        self.asked.append(writable)
        return self.fees


class TwoSigners:
    signatures = 2

    def unsigned(self, blockhash: bytes, budget: Budget) -> bytes:
        return b""

    def sign(self, blockhash: bytes, budget: Budget) -> Signed:
        raise AssertionError


@pytest.mark.parametrize(
    ("used", "limit"),
    [
        (0, SPARE_UNITS_MIN),
        (450, 450 + SPARE_UNITS_MIN),
        (100_001, 110_002),
        (1_300_000, UNITS_MAX),
    ],
)
async def test_the_limit_is_a_tenth_above_what_a_simulation_used(used: int, limit: int) -> None:
    budget = await Fees().budget(PricedChain(used), TwoSigners(), (), 0)

    assert (budget.units, budget.price) == (limit, 0)


@pytest.mark.parametrize(
    ("recent", "attempt", "price"),
    [
        ((), 0, 0),
        ((0, 0, 0), 0, 0),
        ((0, 5, 9, 100_000), 0, 9),
        ((), 1, 2_000),
        ((0, 600), 2, 4_000),
        ((8_000,), 2, 32_000),
        ((10**9,), 0, 1_000_000),
        ((8_000,), 60, 1_000_000),
    ],
)
async def test_the_price_is_what_recent_blocks_took_doubled_each_time(
    recent: tuple[int, ...], attempt: int, price: int
) -> None:
    chain = PricedChain(10_000, recent)

    budget = await Fees().budget(chain, TwoSigners(), (bytes(32),), attempt)

    assert budget.price == price
    assert chain.asked == [(bytes(32),)]


async def test_a_price_is_lowered_to_the_ceiling_of_lamports() -> None:
    fees = Fees(lamports_max=10_500)

    budget = await fees.budget(PricedChain(100_000, (10**6,)), TwoSigners(), (), 0)

    assert 0 < budget.lamports <= 500
    assert budget.price == 4_545


async def test_a_price_has_a_floor_where_one_is_configured() -> None:
    budget = await Fees(price_min=77).budget(PricedChain(100), TwoSigners(), (), 0)

    assert budget.price == 77


async def test_signatures_alone_may_be_too_dear() -> None:
    assert (await Fees(lamports_max=10_000).budget(PricedChain(1), TwoSigners(), (), 3)).price == 0
    with pytest.raises(FeeTooHigh):
        await Fees(lamports_max=9_999).budget(PricedChain(1), TwoSigners(), (), 0)


async def test_a_draft_that_would_fail_is_refused_with_its_logs() -> None:
    chain = PricedChain(1, (), Fault("InstructionError", 0, "Custom", 6001))

    with pytest.raises(TransactionRefused) as refused:
        await Fees().budget(chain, TwoSigners(), (), 0)

    assert (refused.value.code, refused.value.logs) == ("custom:6001", ("log",))
