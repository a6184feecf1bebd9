"""Settlement over a real port, by a real coordinator over a store in memory; the chain is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from coordinator import chain_events as cev
from coordinator.blobs import BlobFolder
from coordinator.chain_place import check_place
from coordinator.clock import SystemClock
from coordinator.config import ConfigError, load_config, on_chain
from coordinator.http import build_app
from coordinator.main import Coordinator, open_house
from coordinator.protocol.base64url import decode_base64url
from coordinator.protocol.errors import HypernodeError
from coordinator.protocol.signing import Keypair, generate, verify
from coordinator.protocol.withdrawal import withdrawal_text
from coordinator.readiness import Readiness
from coordinator.settlement_views import ProofView
from coordinator.signals import Drain
from coordinator.store.settlement_values import Epoch, EpochState, Settlement
from coordinator.store.sqlite import open_sqlite
from coordinator.watch import Watch
from coordinator.writer import run_inline
from hypernode.settlement_web import SettlementWeb
from onchain.address import encode_address
from onchain.amounts import UNITS
from tests.serving import serving

LEDGER = bytes([77]) * 32


@dataclass
class House:
    """A coordinator that settles, its wallet's client, and a bare one."""

    coordinator: Coordinator
    http: httpx.AsyncClient
    client: SettlementWeb
    wallet: Keypair
    slot: int = 0

    async def tell(self, event: Any) -> Any:
        return await self.coordinator.operations.writer.ask(event)

    async def deposit(self, amount: int = 100 * UNITS) -> None:
        self.slot += 1
        await self.tell(cev.DepositSeen(self.wallet.address, amount, 0, 0, self.slot))

    async def published(self, number: int, data: bytes) -> Epoch:
        """An epoch whose leaf file holds these bytes."""
        epoch: Epoch = await self.tell(cev.EpochClosed(number))
        digest = sha256(data).digest()
        files = self.coordinator.api.leaf_files
        with files.new(number) as (opened, draft):
            opened.write(data)
            files.keep(opened, draft, number, digest)
        await self.tell(
            cev.EpochSealed(number, digest, digest, 1, epoch.total, epoch.total_exitable)
        )
        moved: Epoch = await self.tell(
            cev.EpochMoved(number, EpochState.PUBLISHED, 1_800_000_000, digest, bytes(64))
        )
        return moved


def settings(folder: Path, **more: object) -> Any:
    flags = {"port": 0, "db": str(folder / "m.db"), "ledger": encode_address(LEDGER), **more}
    return load_config(flags, {}, None)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    config = settings(tmp_path)
    store = open_sqlite(":memory:")
    made, ids = open_house(store, config, lambda name: sha256(name.encode()).digest())
    coordinator = Coordinator(
        store, store.reader(), config, house=made, ids=ids, blobs=BlobFolder(tmp_path / "b"),
        clock=SystemClock(), random_bytes=lambda count: generate().address[:count],
        run_store=run_inline, run_thread=run_inline,
    )  # fmt: skip
    drain = Drain()
    readiness = Readiness(drain, coordinator.operations.writer)
    metrics = coordinator.metrics
    app = build_app(coordinator.api, config, metrics=metrics, readiness=readiness)
    wallet = generate()
    async with (
        trio.open_nursery() as nursery,
        serving(app, config=config, metrics=metrics, drain=drain) as served,
        served.client() as http,
    ):
        nursery.start_soon(coordinator.operations.writer.run)
        client = SettlementWeb(served.url, wallet)
        client.domain = config.domain
        async with client:
            found = House(coordinator, http, client, wallet)
            await found.tell(cev.ChainLooked(0, 0, 1_000_000, 0, 0))
            yield found
        nursery.cancel_scope.cancel()
    store.close()


def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


# ---- epochs ---------------------------------------------------------------------------------
async def test_where_it_settles_is_public(house: House) -> None:
    told = (await house.http.get("/api/settlement")).json()

    assert told["ledger"] == encode_address(LEDGER)
    assert told["coordinatorKey"] == encode_address(house.coordinator.api.coordinator_key)
    assert (told["chainId"], told["activeEpoch"], told["stopped"]) == ("localnet", 0, "")


async def test_epochs_are_listed_newest_first(house: House) -> None:
    assert (await house.http.get("/api/epochs")).json() == []
    assert code_of(await house.http.get("/api/epochs/1")) == (404, "not_found")
    await house.deposit()
    await house.published(1, b"leaves")
    await house.tell(
        cev.EpochMoved(1, EpochState.CANCELLED, 1_800_000_100, sha256(b"leaves").digest())
    )
    await house.tell(cev.EpochClosed(2))

    two, one = (await house.http.get("/api/epochs")).json()
    assert (await house.http.get("/api/epochs?before=2")).json() == [one]
    assert (await house.http.get("/api/epochs/1")).json() == one
    assert (two["number"], two["state"], two["root"], two["leaves"]) == (2, "closed", None, None)
    assert (one["state"], one["totalExitable"], one["leaves"]) == ("cancelled", "100", 1)
    assert one["root"] == one["dataHash"] == sha256(b"leaves").hexdigest()
    assert one["publishedAt"] == "2027-01-15T08:00:00.000Z"
    assert one["transaction"] == "1" * 64


@pytest.mark.parametrize("number", ["0", "-1", "x", "99999999999999999999", "10000000001"])
async def test_a_number_out_of_its_range_is_refused(house: House, number: str) -> None:
    answer = await house.http.get(f"/api/epochs/{number}")

    assert code_of(answer) in {(400, "malformed"), (404, "not_found")}


async def test_a_leaf_file_streams_whole_and_in_ranges(house: House) -> None:
    data = bytes(range(256)) * 700
    await house.deposit()
    await house.published(1, data)
    path = "/api/epochs/1/leaves"

    whole = await house.http.get(path)
    assert (whole.status_code, whole.content) == (200, data)
    assert whole.headers["etag"] == f'"{sha256(data).hexdigest()}"'
    part = await house.http.get(path, headers={"range": "bytes=100-299"})
    assert (part.status_code, part.content) == (206, data[100:300])
    assert part.headers["content-range"] == f"bytes 100-299/{len(data)}"
    beyond = await house.http.get(path, headers={"range": f"bytes={len(data)}-"})
    assert code_of(beyond) == (416, "bad_range")


async def test_a_leaf_file_that_is_not_built_is_not_found(house: House) -> None:
    await house.deposit()
    await house.tell(cev.EpochClosed(1))

    assert code_of(await house.http.get("/api/epochs/1/leaves")) == (404, "not_found")
    assert code_of(await house.http.get("/api/epochs/2/leaves")) == (404, "not_found")


async def test_a_draft_that_was_not_kept_leaves_nothing(house: House, tmp_path: Path) -> None:
    files = house.coordinator.api.leaf_files

    def write_half() -> None:
        with files.new(3) as (opened, _draft):
            opened.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        write_half()

    assert list((tmp_path / "leaves").iterdir()) == []
    assert files.size(3, bytes(32)) is None


# ---- proofs -----------------------------------------------------------------------------------
async def test_a_proof_comes_from_who_settles(house: House) -> None:
    address = encode_address(house.wallet.address)
    path = f"/api/earnings/{address}/proof"
    assert code_of(await house.http.get(path)) == (404, "not_found")
    view = ProofView(encode_address(LEDGER), address, 1, "00" * 32, 2, 1, "1.5", ["11" * 32])

    async def find(wallet: bytes) -> ProofView | None:
        await trio.lowlevel.checkpoint()
        return view if wallet == house.wallet.address else None

    house.coordinator.api.find_proof = find
    found = (await house.http.get(path)).json()
    assert (found["lifetime"], found["index"], found["proof"]) == ("1.5", 1, ["11" * 32])
    other = f"/api/earnings/{encode_address(LEDGER)}/proof"
    assert code_of(await house.http.get(other)) == (404, "not_found")
    assert code_of(await house.http.get("/api/earnings/x/proof")) == (400, "bad_address")


# ---- withdrawals --------------------------------------------------------------------------------
async def test_a_client_withdraws_and_anybody_can_check_its_signature(house: House) -> None:
    await house.deposit()
    first = await house.client.withdraw("1.5", "mine")
    again = await house.client.withdraw("1.5", "mine", ledger=encode_address(LEDGER))
    assert (first.amount, first.epoch, again.asked_at) == ("1.5", None, first.asked_at)
    await house.tell(cev.EpochClosed(1))

    (own,) = await house.client.withdrawals()
    assert own.epoch == 1
    page = (await house.http.get("/api/epochs/1/withdrawals")).json()
    assert page["next"] is None
    (public,) = page["withdrawals"]
    told = await house.client.settlement()
    text = withdrawal_text(
        coordinator_key=house.coordinator.api.coordinator_key, chain=told.chain_id, ledger=LEDGER,
        wallet=house.wallet.address, amount=1_500_000, key="mine",
        issued_ms=house.coordinator.reader.withdrawals_of(house.wallet.address, 1)[0].issued_ms,
    )  # fmt: skip
    assert public["form"] == "hy1"
    verify(house.wallet.address, text.encode(), decode_base64url(public["proof"]))


async def test_withdrawals_of_an_epoch_come_in_parts(house: House, monkeypatch: Any) -> None:
    monkeypatch.setattr("coordinator.settlement_desk.WITHDRAWALS_PER_PAGE", 2)
    await house.deposit()
    for name in "abc":
        await house.client.withdraw("1", name)
    await house.tell(cev.EpochClosed(1))

    page = (await house.http.get("/api/epochs/1/withdrawals")).json()
    assert [each["key"] for each in page["withdrawals"]] == ["a", "b"]
    rest = (await house.http.get(f"/api/epochs/1/withdrawals?after={page['next']}")).json()
    assert [each["key"] for each in rest["withdrawals"]] == ["c"]
    assert rest["next"] is None


@pytest.mark.parametrize(
    ("amount", "key", "ledger", "code"),
    [
        ("100.000001", "k", "", "insufficient_credit"),
        ("1", "k", "elsewhere", "no_chain"),
        ("2", "taken", "", "key_conflict"),
    ],
)
async def test_a_withdrawal_is_refused_by_name(
    house: House, amount: str, key: str, ledger: str, code: str
) -> None:
    await house.deposit()
    await house.client.withdraw("1", "taken")

    with pytest.raises(HypernodeError) as caught:
        await house.client.withdraw(amount, key, ledger)
    assert caught.value.code == code


async def test_a_withdrawal_without_a_signature_of_its_text_is_refused(house: House) -> None:
    await house.deposit()
    bearer = {"Authorization": f"Bearer {await house.client.bearer()}"}
    body = {"amount": "1", "key": "k", "issuedAt": "2027-01-15T08:00:00Z"}

    for wrong, code in (
        ({}, "withdrawal_expired"),
        ({"issuedAt": "2027-01-15 08:00:00Z"}, "malformed"),
        ({"key": "a b"}, "withdrawal_expired"),
        ({"amount": "1.0000001"}, "bad_amount"),
        ({"amount": "1", "signature": "x"}, "bad_signature"),
        ({"more": 1, "key": ""}, "malformed"),
    ):
        answer = await house.http.post("/api/withdrawals", json={**body, **wrong}, headers=bearer)
        assert answer.json()["code"] == code, wrong


# ---- what is measured -------------------------------------------------------------------------
async def test_the_gauges_say_how_settlement_stands(house: House, tmp_path: Path) -> None:
    coordinator = house.coordinator
    metrics = coordinator.metrics
    readiness = Readiness(Drain(), coordinator.operations.writer)
    watch = Watch(
        coordinator.api, coordinator.store.reader(), metrics, readiness, tmp_path / "m.db"
    )

    def gauge(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(f"hypernode_{name}", labels)

    assert gauge("root_age_seconds") == 0
    await house.deposit()
    await house.tell(cev.DepositSeen(LEDGER, 900, 0, 0, 5))
    await house.tell(cev.ClaimSeen(bytes(32), 40, 5))
    now_s = int(SystemClock().wall_ms() / 1000)
    await house.tell(cev.ChainLooked(now_s, now_s - 50, 100, 7, 5))
    await watch.look_at_settlement()

    assert (gauge("reserve_units"), gauge("loss_units"), gauge("backed_units")) == (900, 40, 5)
    assert gauge("unrooted_units") == 40, "what was stolen is owed no less"
    assert 50 <= (gauge("root_age_seconds") or 0) < 120
    assert gauge("spending_stopped", reason="reserve_exceeded") == 1
    assert gauge("spending_stopped", reason="settlement_late") == 0
    assert gauge("epochs", state="closed") == 0
    await house.tell(cev.DepositSeen(bytes([5]) * 32, 40, 0, 0, 6))
    metrics.chain_disagreed("root_mismatch")
    metrics.chain_disagreed("busy")
    assert gauge("chain_disagreements_total", code="root_mismatch") == 1
    assert gauge("chain_disagreements_total", code="busy") is None


# ---- the place where it settles ---------------------------------------------------------------
def test_books_belong_to_one_ledger(tmp_path: Path) -> None:
    store = open_sqlite(tmp_path / "m.db")
    with store.batch() as batch:
        check_place(batch, on_chain(settings(tmp_path)))
        assert batch.settlement() is None, "a slip in the address costs no database"
        batch.save_settlement(Settlement(LEDGER))
    other = on_chain(settings(tmp_path, ledger=encode_address(bytes(32))))
    for place in (None, other):
        with pytest.raises(ConfigError, match="settle on 6Ckm2B"), store.batch() as batch:
            check_place(batch, place)
    store.close()


def test_books_with_the_faucets_money_settle_nowhere(tmp_path: Path) -> None:
    store = open_sqlite(tmp_path / "m.db")
    with store.batch() as batch:
        faucet = batch.account("faucet")
        batch.save_account(type(faucet)("faucet", 5, 0))
        batch.save_account(type(faucet)("credit:x", 0, 5))
    with pytest.raises(ConfigError, match="money of the faucet"), store.batch() as batch:
        check_place(batch, on_chain(settings(tmp_path)))
    store.close()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"faucet": True}, "no faucet beside a ledger"),
        ({"fee_wallet": encode_address(LEDGER)}, "the ledger is no wallet"),
        ({"fee_wallet": "nobody"}, "an address is 32 to 44"),
        ({"ledger": "nobody"}, "an address is 32 to 44"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    tmp_path: Path, flags: dict[str, object], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        settings(tmp_path, **flags)
