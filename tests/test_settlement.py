"""The settler over real books and the real program: deposits, epochs, claims, and bad luck.

Each test ends with an audit of every row of the books.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from coordinator import events as ev
from coordinator.config import ConfigError
from coordinator.protocol.base64url import decode_base64url
from coordinator.protocol.errors import Refusal
from coordinator.store.interface import Reader
from coordinator.store.settlement_values import EpochState as S
from hypernode import claims
from onchain import calls
from onchain.address import encode_address
from onchain.chain import Accounts, ProgramAccounts
from onchain.chain_errors import ChainUnreachable
from onchain.fees import Fees
from onchain.leaves import Kind, LeafFile
from onchain.sender import Pace
from onchain.simulated import SimulatedChain
from onchain.views import Root
from onchain.vouchers import VoucherOutdated, parse_voucher, sign_voucher, voucher_for
from tests.build import ALICE, BOB, CREDIT, OPERATOR, montecarlo_spec, wish
from tests.chain_faults import Crash, FaultyChain
from tests.chain_market import FEE_WALLET
from tests.chains import key
from tests.ledger_values import LIMITS
from tests.settling import House, open_house


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    made = await open_house(tmp_path)
    yield made
    await made.close()


# ---- the story ----------------------------------------------------------------------------------
async def test_deposit_job_epoch_claim_and_the_books_agree(house: House) -> None:
    carol = key("carol").address
    await house.bazaar.deposit(carol, 700)
    house.later()
    assert await house.round() == ""
    assert house.market.balance(f"credit:{encode_address(carol)}") == 700

    earned = house.market.earn()
    epoch = await house.settle()

    ledger = await house.bazaar.ledger()
    assert (epoch.number, epoch.state) == (1, S.ACTIVE)
    assert (ledger.active.root, ledger.active.data_hash) == (epoch.root, epoch.data_hash)
    assert len(epoch.signature) == 64
    assert await house.claim(OPERATOR.address) == earned
    house.later()
    assert await house.round() == ""
    assert house.market.balance(f"earned:{encode_address(OPERATOR.address)}") == 0
    assert house.market.reader.claim(OPERATOR.address).claimed == earned
    assert house.settlement.state.unexplained == 0


async def test_the_leaf_file_is_there_before_its_root_is_sent(house: House) -> None:
    house.market.earn()
    faulty = FaultyChain(house.bazaar.chain)
    faulty.fuse.at = 1  # dies before the first send
    house.chain = faulty
    await house.restart()

    with pytest.raises(Crash):
        await house.round(close_now=True)

    epoch = house.last()
    path = house.settlement.files.path(1, epoch.data_hash)
    with path.open("rb") as opened:
        file = LeafFile(opened)
        assert file.check() == epoch.data_hash
        assert dict(file.leaves(Kind.EARNINGS)).keys() == {OPERATOR.address, FEE_WALLET.address}
    assert (await house.bazaar.ledger()).pending == Root()


async def test_a_deposit_is_booked_once_however_often_it_is_read(house: House) -> None:
    await house.bazaar.deposit(BOB.address, 500)
    house.later()
    for _ in range(3):
        assert await house.round() == ""
        await house.restart()

    assert house.market.balance(f"credit:{encode_address(BOB.address)}") == CREDIT + 500


async def test_an_exit_request_freezes_credit(house: House) -> None:
    call = calls.request_exit(house.bazaar.market, owner=BOB.address)
    await house.bazaar.do(call, signers=(BOB,))
    house.later()
    assert await house.round() == ""

    signed = {"ledger": house.bazaar.market.ledger}
    wish = house.market.wish_to_withdraw(BOB, 100, signed=signed)
    assert house.market.refused(wish) == "exit_pending"


async def test_epochs_follow_each_other_on_schedule(house: House) -> None:
    house.market.earn("a")
    first = await house.settle()
    assert len(house.market.reader.epochs(9)) == 1
    await house.restart(epoch_every_s=3600.0)
    house.market.earn("b")
    house.later(3600)
    for _ in range(2):
        assert await house.round() == ""
        house.later()
    second = house.last()

    assert (first.number, second.number, second.state) == (1, 2, S.PUBLISHED)
    assert second.total > first.total


async def test_a_house_without_a_publisher_reads_and_publishes_nothing(house: House) -> None:
    await house.restart(publisher_key=None)
    house.market.earn()
    assert await house.round(close_now=True) == ""

    assert house.market.reader.epochs(1) == []
    assert house.settlement.state.looked_ms == house.market.now_ms


async def test_a_proposal_that_lets_depositors_leave_sooner_counts_at_once(house: House) -> None:
    async def served_for() -> int:
        """Seconds since the last root after which credit is spent no more."""
        assert await house.round() == ""
        told = house.market.reader.settlement()
        ledger = await house.bazaar.ledger()
        assert told is not None
        return told.spend_until_ms // 1000 - ledger.active.active_at

    limits = (await house.bazaar.ledger()).limits
    sooner = msgspec.structs.replace(limits, exit_after=limits.exit_after - 3 * 3_600)
    before = await served_for()
    await house.bazaar.propose_limits(sooner)
    house.later()

    assert before - await served_for() == 2 * 3_600


async def test_a_second_settler_of_the_same_journal_does_not_begin(house: House) -> None:
    first = house.settlement
    with pytest.raises(ConfigError, match="another process holds the journal"):
        house.start()
    house.settlement = first


async def test_rounds_that_are_asked_for_at_once_follow_each_other(house: House) -> None:
    house.market.earn()
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(house.settlement.round_now)

    assert house.settlement.state.alarm == ""
    assert [epoch.number for epoch in house.market.reader.epochs(9)] == [1]
    assert (await house.bazaar.ledger()).pending.epoch == 1


# ---- death at every moment ----------------------------------------------------------------------
async def lived(folder: Path, at: int | None) -> tuple[House, int]:
    """One epoch, claimed; the process dies at its `at`-th moment. How many moments there were."""
    await trio.Path(folder).mkdir()
    house = await open_house(folder)
    faulty = FaultyChain(house.bazaar.chain, fuse=house.fuse)
    house.chain = faulty
    await house.restart()
    house.market.earn()
    house.fuse.at = at
    try:
        await house.settle()
    except Crash:
        await house.restart()
        await house.round(close_now=not house.market.reader.epochs(1))
        while house.last().state is not S.ACTIVE:
            await house.until_active()
    await house.claim(OPERATOR.address)
    house.later()
    try:
        assert await house.round() == ""
    except Crash:
        await house.restart()
        assert await house.round() == ""
    return house, faulty.signatures


async def test_it_may_die_anywhere_and_everything_happens_once(tmp_path: Path) -> None:
    whole, sent = await lived(tmp_path / "whole", None)
    moments = whole.fuse.burnt
    await whole.close()
    assert moments > 12

    for at in range(1, moments + 1):
        house, signatures = await lived(tmp_path / str(at), at)
        (epoch,) = house.market.reader.epochs(9)
        ledger = await house.bazaar.ledger()
        assert (epoch.number, epoch.state, ledger.last_epoch) == (1, S.ACTIVE, 1), at
        assert ledger.active.root == epoch.root, at
        assert ledger.total_claimed == house.market.reader.claim(OPERATOR.address).claimed, at
        assert signatures == sent, at
        await house.close()


# ---- chains that fail or lie --------------------------------------------------------------------
async def test_a_dead_node_costs_a_round_and_nothing_else(house: House) -> None:
    await house.round()
    before = house.settlement.state.looked_ms
    house.chain = DeadChain()
    await house.restart()

    assert await house.round() == "chain_unreachable"
    assert house.settlement.state.looked_ms != before
    assert house.market.ask(_spend()) is not None


class DeadChain:
    """Nobody answers."""

    def __getattr__(self, name: str) -> object:
        async def fail(*_: object, **__: object) -> None:
            await trio.lowlevel.checkpoint()
            if name != "aclose":
                raise ChainUnreachable(name)

        return fail


def _spend() -> ev.JobsSubmitted:
    return ev.JobsSubmitted(ALICE.address, (wish("more", montecarlo_spec(), 10_000),))


async def test_answers_that_are_lost_publish_one_root(house: House) -> None:
    house.market.earn()
    house.chain = FaultyChain(house.bazaar.chain, sends=["lost"], looks=["dead", "blind"])
    await house.restart()

    await house.settle()

    assert house.last().state is S.ACTIVE
    assert (await house.bazaar.ledger()).last_epoch == 1


async def test_more_deposits_than_the_ledger_counts_are_not_believed(house: House) -> None:
    await house.bazaar.deposit(BOB.address, 500)
    house.later()
    house.chain = LyingChain(house.bazaar.chain, house.bazaar.market.deposit_record(BOB.address))
    await house.restart()

    assert await house.round() == "chain_lied"
    assert house.market.balance(f"credit:{encode_address(BOB.address)}") == CREDIT


class LyingChain:
    """Shows one deposit record with a million base units more than there are."""

    def __init__(self, inner: SimulatedChain, place: bytes) -> None:
        self._inner = inner
        self._place = place

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def _false(self, account: Any) -> Any:
        if account is None or account.address != self._place:
            return account
        deposited = int.from_bytes(account.data[72:80], "little") + 1_000_000
        data = account.data[:72] + deposited.to_bytes(8, "little") + account.data[80:]
        return replace(account, data=data)

    async def accounts(self, *asked: Any, **how: Any) -> Accounts:
        found = await self._inner.accounts(*asked, **how)
        return replace(found, values=tuple(map(self._false, found.values)))

    async def program_accounts(self, *asked: Any, **how: Any) -> ProgramAccounts:
        found = await self._inner.program_accounts(*asked, **how)
        return replace(found, values=tuple(map(self._false, found.values)))


# ---- books and chain that do not belong together ------------------------------------------------
async def test_a_root_that_the_books_do_not_know_stops_the_settler(house: House) -> None:
    await house.bazaar.settle({OPERATOR.address: 50})
    house.later()

    assert await house.round(close_now=True) == "epoch_unknown"
    assert house.settlement.state.is_stopped
    assert house.market.reader.epochs(1) == []


class Less:
    """Books that took what the first wallet earned for the second one's."""

    def __init__(self, inner: Reader) -> None:
        self._inner = inner

    def earnings_leaves(self, number: int) -> Iterator[tuple[bytes, int]]:
        (wallet, amount), (other, more), *rest = self._inner.earnings_leaves(number)
        return iter([(wallet, 1), (other, more + amount - 1), *rest])

    def exit_leaves(self, number: int) -> Iterator[tuple[bytes, int]]:
        return self._inner.exit_leaves(number)


async def test_a_leaf_below_the_last_published_one_stops_the_settler(house: House) -> None:
    house.market.earn("a")
    await house.settle()
    house.market.earn("b")
    house.later(3600)
    await house.restart(reader=Less)

    assert await house.round(close_now=True) == "leaf_below"
    await house.restart(reader=Less)
    assert await house.round() == "leaf_below"
    assert house.settlement.state.is_stopped
    assert (await house.bazaar.ledger()).last_epoch == 1
    told = house.metrics.exposition().decode()
    assert "hypernode_settlement_stopped 1.0" in told
    assert "hypernode_settlement_failing 1.0" in told
    assert "hypernode_settlement_epoch 1.0" in told
    assert "hypernode_settlement_look_age_seconds 0.0" in told


async def test_a_cancelled_epoch_is_followed_and_the_next_one_counts_everything(
    house: House,
) -> None:
    house.market.earn()
    await house.round(close_now=True)
    house.later()
    await house.round()
    await house.bazaar.roots.cancel(1, role=key("guardian"))
    house.later()
    assert await house.round() == ""
    assert house.last().state is S.CANCELLED

    house.later(3600)
    second = await house.settle()

    assert (second.number, second.state) == (2, S.ACTIVE)


async def test_a_revoked_root_brings_the_one_before_back(house: House) -> None:
    house.market.earn("a")
    first = await house.settle()
    house.market.earn("b")
    house.later(3600)
    await house.settle()
    await house.bazaar.roots.revoke(2, role=key("guardian"))
    house.later()

    assert await house.round() == ""
    active = house.market.reader.active_epoch()
    assert active is not None
    assert (active.number, active.root) == (1, first.root)
    assert house.last().state is S.REVOKED


# ---- vouchers -----------------------------------------------------------------------------------
async def vouched(house: House) -> bytes:
    view = await house.settlement.voucher(OPERATOR.address)
    assert view.wallet == encode_address(OPERATOR.address)
    return decode_base64url(view.voucher)


async def test_a_voucher_is_redeemed_with_the_coordinator_gone_and_booked_when_it_is_back(
    house: House, tmp_path: Path
) -> None:
    bazaar = house.bazaar
    await bazaar.deposit(bazaar.market.ledger, 20_000)
    bazaar.chain.airdrop(OPERATOR.address, 10**9)
    earned = house.market.earn()
    house.later()
    assert await house.round() == ""
    file = tmp_path / "host.voucher"
    raw = await vouched(house)
    kept = await claims.keep_voucher(bazaar.chain, bazaar.market, OPERATOR.address, raw, file)
    assert kept == earned
    await house.settlement.aclose()

    paid = await claims.redeem(
        bazaar.chain, bazaar.market, OPERATOR, await trio.Path(file).read_bytes(), Fees(),
        Pace(poll_s=0.001),
    )  # fmt: skip
    assert paid.after - paid.before == LIMITS.wallet_advance_cap < earned

    house.start()
    house.later()
    assert await house.round() == ""
    assert house.market.reader.claim(OPERATOR.address).claimed == LIMITS.wallet_advance_cap
    await house.settle()
    assert await house.claim(OPERATOR.address) == earned - LIMITS.wallet_advance_cap
    house.later()
    assert await house.round() == ""
    assert house.market.balance(f"earned:{encode_address(OPERATOR.address)}") == 0
    assert (await bazaar.ledger()).advance == 0


async def test_no_voucher_is_given_where_nothing_is_promised(house: House) -> None:
    house.market.earn()
    assert await house.round() == ""
    with pytest.raises(Refusal, match="not_found"):
        await house.settlement.voucher(OPERATOR.address)
    await house.bazaar.deposit(house.bazaar.market.ledger, 20_000)
    house.later()
    assert await house.round() == ""
    with pytest.raises(Refusal, match="not_found"):
        await house.settlement.voucher(BOB.address)
    first = await vouched(house)
    assert await vouched(house) == first
    await house.restart(voucher_key=None)
    await house.round()
    with pytest.raises(Refusal, match="not_found"):
        await house.settlement.voucher(OPERATOR.address)


async def test_a_voucher_that_is_less_than_the_kept_one_is_not_kept(
    house: House, tmp_path: Path
) -> None:
    bazaar, file = house.bazaar, tmp_path / "kept"
    await bazaar.deposit(bazaar.market.ledger, 20_000)
    for cumulative, fits in ((500, True), (600, True), (550, False)):
        said = voucher_for(
            bazaar.market, OPERATOR.address, cumulative=cumulative, expires_at=2**40, key_epoch=0
        )
        raw = sign_voucher(key("voucher"), said).pack()
        keeping = claims.keep_voucher(bazaar.chain, bazaar.market, OPERATOR.address, raw, file)
        if fits:
            assert await keeping == cumulative
        else:
            with pytest.raises(VoucherOutdated):
                await keeping
    assert parse_voucher(await trio.Path(file).read_bytes()).voucher.cumulative == 600
