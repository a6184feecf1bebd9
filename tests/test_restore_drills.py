"""Drills: the coordinator's database is lost, and an older backup is put back. What stops, what the
owner does, what is lost and when all is well again.

Real backups and restores of a real file, the real settler, the real program on a chain in process.
Leaf files lie beside the database and are still there, or come from whoever fetched them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from coordinator.backup import make_backup
from coordinator.engine import Engine
from coordinator.protocol.errors import Refusal
from coordinator.restore import restore_backup
from coordinator.settlement.taking import Taken
from coordinator.store.settlement_values import EpochState as S
from coordinator.store.sqlite import open_sqlite
from hypernode.cli.app import run
from onchain.address import encode_address
from onchain.amounts import format_hyper
from onchain.devnode import DevNode
from onchain.leaf_errors import LeafFileError
from tests import build
from tests.build import ALICE, BOB, CREDIT, OPERATOR
from tests.chain_faults import Crash
from tests.chain_market import FEE_WALLET, TREASURY_WALLET
from tests.chains import key
from tests.ledger_values import LIMITS
from tests.node_thread import node_thread
from tests.settling import FINAL_S, House, open_house


@dataclass
class Drill:
    house: House
    folder: Path

    @property
    def db(self) -> Path:
        return self.folder / "market.db"

    def back_up(self) -> None:
        target = self.folder / "backup"
        make_backup(self.db, target, now_ms=self.house.market.now_ms, program="test")

    async def put_back(self) -> None:
        """The machine is lost; the backup is restored, and the house starts again."""
        await self.house.settlement.aclose()
        market = self.house.market
        market.close()
        restore_backup(self.folder / "backup", self.db, self.folder / "blobs")
        market.store = open_sqlite(self.db)
        market.engine = Engine(market.store, market.house)
        market.reader = market.store.reader()
        self.house.start()

    def is_stopped(self) -> bool:
        return self.house.settlement.state.is_stopped

    def leaves(self, number: int) -> Path:
        """The file of an epoch, as it lies in the folder."""
        (found,) = (self.folder / "leaves").glob(f"epoch-{number:06}-*.leaves")
        return found

    async def take(self, path: Path) -> Taken:
        taken = await self.house.settlement.take_over(path)
        await self.house.restart()
        return taken

    def balance(self, name: str) -> int:
        return self.house.market.balance(name)

    def credit(self, owner: bytes) -> int:
        return self.balance(f"credit:{encode_address(owner)}")

    async def make_good(self, amount: int) -> None:
        """The owner deposits for the treasury."""
        await self.house.bazaar.deposit(TREASURY_WALLET.address, amount)
        self.house.later()
        assert await self.house.round() == ""
        assert self.balance("loss") == 0


async def opened(folder: Path) -> Drill:
    """A house whose books are a file."""
    made = Drill(await open_house(folder), folder)
    # The audit before a restore looks at what the house signed.
    made.house.market.write(lambda batch: batch.secret("coordinator_key", bytes([1]) * 32))
    return made


@pytest.fixture
async def drill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Drill]:
    monkeypatch.setattr(build, "open_sqlite", lambda _: open_sqlite(tmp_path / "market.db"))
    made = await opened(tmp_path)
    yield made
    await made.house.close()


async def lost_epoch(drill: Drill) -> int:
    """A backup, and an epoch that is active after it; what was earned in between, fees included."""
    house = drill.house
    house.market.earn("a")
    first = await house.settle()
    drill.back_up()
    house.market.earn("b")
    house.later(LIMITS.min_epoch_interval)
    second = await house.settle()
    assert (second.number, second.state) == (2, S.ACTIVE)
    return second.total - first.total


# ---- before the last published epoch ------------------------------------------------------------
async def test_a_forgotten_root_is_taken_over_and_costs_what_was_spent_since_the_backup(
    drill: Drill,
) -> None:
    house = drill.house
    forgotten = await lost_epoch(drill)
    await drill.put_back()
    assert await house.round(close_now=True) == "epoch_unknown"
    assert drill.is_stopped()
    started_ms = house.market.now_ms

    taken = await drill.take(drill.leaves(2))

    assert (taken.epoch.number, taken.epoch.state, taken.lacked) == (2, S.ACTIVE, forgotten)
    assert taken.loss == forgotten
    # What was spent is ALICE's again: until the loss is made good, more is promised than there is.
    assert await house.round() == "insolvent"
    assert not drill.is_stopped()
    lifetime = house.market.reader.account(f"earned:{encode_address(OPERATOR.address)}").credits
    assert await house.claim(OPERATOR.address) == lifetime
    await drill.make_good(taken.loss)
    third = await house.settle()

    assert (third.number, third.state) == (3, S.ACTIVE)
    assert third.total >= taken.epoch.total
    assert drill.balance("loss") == 0
    waits = LIMITS.min_epoch_interval + LIMITS.slow_delay + 4 * FINAL_S
    assert house.market.now_ms - started_ms <= 1000 * waits


async def test_a_root_that_waits_is_taken_over_and_becomes_active_by_itself(drill: Drill) -> None:
    house = drill.house
    drill.back_up()
    house.market.earn("a")
    await house.round(close_now=True)
    house.later()
    assert await house.round() == ""
    await drill.put_back()
    assert await house.round() == "epoch_unknown"

    taken = await drill.take(drill.leaves(1))
    assert taken.epoch.state is S.PUBLISHED
    await house.until_active()

    assert house.last().state is S.ACTIVE
    assert await house.claim(OPERATOR.address) > 0


async def test_of_two_forgotten_roots_the_active_one_is_taken_first(drill: Drill) -> None:
    house = drill.house
    drill.back_up()
    house.market.earn("a")
    await house.settle()
    house.market.earn("b")
    house.later(LIMITS.min_epoch_interval)
    await house.round(close_now=True)
    house.later()
    assert await house.round() == ""
    await drill.put_back()

    with pytest.raises(Refusal, match="epoch_unknown"):
        await drill.take(drill.leaves(2))
    await drill.take(drill.leaves(1))
    taken = await drill.take(drill.leaves(2))

    assert (taken.epoch.number, taken.epoch.state) == (2, S.PUBLISHED)
    assert await house.round() == ""
    assert [each.number for each in house.market.reader.epochs(9)] == [2, 1]


async def test_without_its_own_leaf_file_the_house_takes_the_one_that_a_guardian_kept(
    drill: Drill, tmp_path: Path
) -> None:
    house = drill.house
    await lost_epoch(drill)
    elsewhere = tmp_path / "guardian.leaves"
    shutil.copy(drill.leaves(2), elsewhere)
    shutil.rmtree(tmp_path / "leaves")
    await drill.put_back()

    await drill.take(elsewhere)

    assert await house.round() == "insolvent"
    assert await house.claim(OPERATOR.address) > 0
    assert drill.leaves(2).read_bytes() == elsewhere.read_bytes()


async def test_no_file_is_believed_that_is_not_the_chains_root(
    drill: Drill, tmp_path: Path
) -> None:
    """An older epoch's, a thief's, a torn one: nothing of them is in the books afterwards."""
    house = drill.house
    await lost_epoch(drill)
    older, newer = drill.leaves(1), drill.leaves(2)
    torn = tmp_path / "torn"
    torn.write_bytes(newer.read_bytes()[:-40])
    forged = tmp_path / "forged"
    theirs = house.bazaar.leaf_file(2, {key("thief").address: 10**6})
    theirs._file.seek(0)
    forged.write_bytes(theirs._file.read())
    await drill.put_back()

    for path in (older, forged):
        with pytest.raises(Refusal, match="leaves_differ"):
            await house.settlement.take_over(path)
    with pytest.raises(LeafFileError):
        await house.settlement.take_over(torn)

    assert drill.balance("loss") == 0
    assert house.last().number == 1
    await house.restart()
    assert await house.round() == "epoch_unknown"


async def test_a_takeover_may_die_anywhere_and_is_said_again(drill: Drill) -> None:
    house = drill.house
    forgotten = await lost_epoch(drill)
    await drill.put_back()
    house.fuse.at = house.fuse.burnt + 1
    deaths, taken = 0, None
    while taken is None:
        try:
            taken = await house.settlement.take_over(drill.leaves(2))
        except Crash:
            deaths += 1
            await house.restart()
            # Each time one moment later than the last one came.
            house.fuse.at = house.fuse.burnt + 1 + deaths
    assert deaths > 3
    house.fuse.at = None
    await house.restart()

    assert taken.loss == forgotten
    await drill.make_good(forgotten)
    assert [each.number for each in house.market.reader.epochs(9)] == [3, 2, 1]


# ---- before other things ------------------------------------------------------------------------
async def test_a_deposit_after_the_backup_is_booked_at_the_first_look(drill: Drill) -> None:
    drill.back_up()
    await drill.house.bazaar.deposit(BOB.address, 700)
    drill.house.later()
    assert await drill.house.round() == ""
    await drill.put_back()
    assert drill.credit(BOB.address) == CREDIT

    assert await drill.house.round() == ""
    assert drill.credit(BOB.address) == CREDIT + 700


async def test_a_claim_after_the_backup_is_booked_at_the_first_look_and_paid_once(
    drill: Drill,
) -> None:
    house = drill.house
    earned = house.market.earn()
    await house.settle()
    drill.back_up()
    assert await house.claim(OPERATOR.address) == earned
    house.later()
    assert await house.round() == ""
    await drill.put_back()

    assert await house.round() == ""
    assert house.market.reader.claim(OPERATOR.address).claimed == earned
    assert (drill.balance("loss"), house.settlement.state.unexplained) == (0, 0)
    assert drill.balance(f"earned:{encode_address(OPERATOR.address)}") == 0


async def test_a_withdrawal_after_the_backup_is_paid_once_by_the_root_and_its_credit_is_the_loss(
    drill: Drill,
) -> None:
    """ALICE withdrew 400: her leaf has them. The books have given her the credit back as well."""
    house = drill.house
    drill.back_up()
    signed = {"ledger": house.bazaar.market.ledger}
    house.market.ask(house.market.wish_to_withdraw(ALICE, 400, signed=signed))
    await house.settle()
    await drill.put_back()
    assert drill.credit(ALICE.address) == CREDIT

    taken = await drill.take(drill.leaves(1))
    assert await house.round() == "insolvent"
    assert (taken.lacked, taken.loss) == (400, 400)
    assert await house.claim(ALICE.address) == 400
    await drill.make_good(400)
    house.market.earn()
    house.later(LIMITS.min_epoch_interval)
    second = await house.settle()

    assert (second.number, second.state, drill.balance("loss")) == (2, S.ACTIVE, 0)


# ---- as the owner types it ----------------------------------------------------------------------
def test_the_owner_takes_a_root_over_by_one_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(build, "open_sqlite", lambda _: open_sqlite(tmp_path / "market.db"))

    async def live() -> tuple[Drill, int]:
        made = await opened(tmp_path)
        forgotten = await lost_epoch(made)
        await made.put_back()
        await made.house.settlement.aclose()
        return made, forgotten

    drill, forgotten = trio.run(live)
    config = tmp_path / "c.toml"
    words = ["coordinator", "take-over", str(drill.leaves(2)), "--db", str(drill.db)]
    machine = drill.house.bazaar.chain.machine
    with node_thread(DevNode(machine, slot_s=None)) as node:
        settings = {
            "ledger": encode_address(drill.house.bazaar.market.ledger),
            "treasury_wallet": encode_address(TREASURY_WALLET.address),
            "fee_wallet": encode_address(FEE_WALLET.address),
            "publisher_key": str(tmp_path / "publisher.json"),
        }
        lines = [f'{name} = "{value}"' for name, value in settings.items()]
        config.write_text("\n".join([f'rpc = ["{node.url}"]', *lines]) + "\n")
        assert run([*words, "--config", str(config)]) == 1  # the coordinator has the database
        assert "another" in capsys.readouterr().err
        drill.house.market.close()
        assert run([*words, "--config", str(config)]) == 0
        said = capsys.readouterr().out
        assert run([*words, "--config", str(config), "--json"]) == 0
        again = json.loads(capsys.readouterr().out)

    amount = format_hyper(forgotten)
    assert f"epoch\t2\nstate\tactive\nlacked\t{amount}\nloss\t{amount}\n" in said
    assert f"deposit {amount} HYPER for {encode_address(TREASURY_WALLET.address)}" in said
    assert again == {"epoch": "2", "state": "active", "lacked": "0", "loss": amount}
