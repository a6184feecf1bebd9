"""The guardian over the real program and the settler's own files: what passes, and what not."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from random import Random  # noqa: TID251 (seeded)
from typing import Any

import httpx
import msgspec
import pytest
import trio

from agent.disk import FolderDisk, inline
from agent.guardians import Delivery, HttpPoster
from agent.state import State
from coordinator import events as ev
from coordinator.protocol.base64url import encode_base64url
from coordinator.protocol.countersigning import Seen, sign_seen
from coordinator.protocol.messages import ReceiptsSigned
from coordinator.protocol.receipts import SignedRoot, batch_message
from coordinator.protocol.withdrawal import withdrawal_text
from coordinator.store.settlement_values import EpochState
from coordinator.writer import run_inline
from hypernode.guardian.fetching import Coordinator, NotFetched
from hypernode.guardian.judgement import Bounds
from hypernode.guardian.port import ReceiptPort
from hypernode.guardian.watching import ForeignFolder, Guardian, Report, page_of
from onchain.address import encode_address
from onchain.chain_errors import ChainUnreachable
from onchain.claim import claim_intent, plan_claim
from onchain.leaves import Kind
from onchain.publish import Roots
from onchain.reads import read_claim
from onchain.role_keys import WrongKey
from onchain.sender import Pace, Sender
from onchain.views import Root
from tests.build import ALICE, BOB, COORDINATOR, NODE, OPERATOR
from tests.chain_market import FEE_WALLET, TREASURY_WALLET
from tests.chains import SOL, key
from tests.ledger_values import LIMITS
from tests.settlement_chain import proof_of
from tests.settling import House, open_house

GUARDIAN = key("guardian")


class Pages:
    """What a coordinator shows, without a network; a test may withhold files."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.withheld = False
        self.withdrawn: Counter[bytes] = Counter()

    async def identity(self) -> tuple[bytes, bytes, str]:
        await trio.lowlevel.checkpoint()
        return self.house.bazaar.market.ledger, COORDINATOR.address, "devnet"

    async def leaf_file(self, root: Root, folder: Path) -> Path:
        await trio.lowlevel.checkpoint()
        path = self.house.settlement.files.path(root.epoch, root.data_hash)
        if self.withheld or not path.exists():
            raise NotFetched("HTTP 404")
        target = folder / f"epoch-{root.epoch:06}.leaves"
        target.write_bytes(path.read_bytes())
        return target

    async def withdrawals(self, epoch: int, **_: Any) -> Counter[bytes]:
        await trio.lowlevel.checkpoint()
        return self.withdrawn if epoch == 1 else Counter()


class Ward(Guardian):
    """A guardian beside a house."""

    house: House
    pages: Pages

    @property
    def receipts(self) -> Path:
        return self.folder / "receipts" / "host.jsonl"

    async def look(self) -> Report:
        self.house.later()
        await self.house.round()
        return await self.round()

    async def look_at_last(self) -> Report:
        """What it does once nothing can be waited for any more; until then it waits."""
        waits = await self.look()
        assert (waits.did, bool(waits.findings)) == ("waiting", True)
        self.house.later(LIMITS.slow_delay - 3600)
        return await self.round()


def ward(house: House, folder: Path, **bounds: Any) -> Ward:
    house.bazaar.chain.airdrop(GUARDIAN.address, SOL)
    (folder / "receipts").mkdir(parents=True)
    pages = Pages(house)
    made = Ward(
        chain=house.bazaar.chain, market=house.bazaar.market,
        sender=Sender(house.bazaar.chain, house.bazaar.journal, pace=Pace(poll_s=0.001)),
        key=GUARDIAN, coordinator=pages, folder=folder,  # type: ignore[arg-type]
        bounds=Bounds(
            fee_wallet=FEE_WALLET.address, treasury_wallet=TREASURY_WALLET.address, **bounds
        ),
        cancel_before_s=3600, run_thread=run_inline, unix_s=lambda: house.market.now_ms / 1000,
    )  # fmt: skip
    made.house, made.pages = house, pages
    return made


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    made = await open_house(tmp_path)
    made.market.node = made.market.add_node(node_key=NODE.address)
    yield made
    await made.close()


@pytest.fixture
def guardian(house: House, tmp_path: Path) -> Ward:
    return ward(house, tmp_path / "guardian")


def send_receipts(guardian: Ward, *, is_signed: bool = True) -> None:
    """What the host keeps: its receipts, and its own signature of their batches."""
    lines = []
    for ready in guardian.house.market.of(ev.ReceiptsReady):
        root = ready.root
        signed = SignedRoot(COORDINATOR.address, root.batch, root.count, root.root, root.signature)
        items = [ready.item(each.index) for each in ready.receipts]
        lines.append(msgspec.json.encode(batch_message(signed, items)))
        if is_signed:
            seen = [Seen(root.batch, root.count, root.root)]
            signature = encode_base64url(sign_seen(NODE, COORDINATOR.address, seen))
            lines.append(msgspec.json.encode(ReceiptsSigned(root.batch, signature)))
    guardian.receipts.write_bytes(b"\n".join(lines) + b"\n")


async def published(guardian: Ward, **how: Any) -> Root:
    """A job is paid, its epoch closed and published; the receipts come here too."""
    guardian.house.market.earn()
    send_receipts(guardian, **how)
    await guardian.house.round(close_now=True)
    return (await guardian.house.bazaar.ledger()).pending


def codes(report: Report) -> set[str]:
    return {each.code for each in report.findings}


# ---- who it is ----------------------------------------------------------------------------------
async def test_a_key_that_is_not_the_ledgers_guardian_is_named(guardian: Ward) -> None:
    guardian.key, guardian.key_where = key("stranger"), "keypair: stranger.json"
    stranger, holder = (encode_address(key(name).address) for name in ("stranger", "guardian"))

    with pytest.raises(WrongKey) as caught:
        await guardian.look()
    assert str(caught.value) == (
        f"keypair: stranger.json is the key {stranger}; this ledger's guardian is {holder}"
    )


# ---- what passes --------------------------------------------------------------------------------
async def test_a_right_root_is_approved_and_activates_after_the_fast_delay(guardian: Ward) -> None:
    pending = await published(guardian)

    assert (await guardian.look()).did == "approved"
    assert (await guardian.look()).did == "watching"

    house = guardian.house
    house.later(LIMITS.fast_delay)
    await house.round()
    house.later()
    await house.round()
    assert (house.last().state, house.last().root) == (EpochState.ACTIVE, pending.root)
    assert await house.claim(OPERATOR.address) > 0
    assert (await guardian.look()).paused_for == ()
    assert b"hypernode_guardian_approved_total 1\n" in page_of(guardian.tally)


async def test_a_second_epoch_is_judged_by_its_rises(guardian: Ward) -> None:
    house = guardian.house
    await published(guardian)
    assert (await guardian.look()).did == "approved"
    house.later(LIMITS.fast_delay)
    await house.round()
    house.later(3600)
    house.market.earn("second")
    send_receipts(guardian)
    await house.round(close_now=True)

    assert (await guardian.look()).did == "approved"
    assert (await house.bazaar.ledger()).pending.epoch == 2


async def test_receipts_that_come_late_are_waited_for(guardian: Ward) -> None:
    await published(guardian)
    guardian.receipts.write_bytes(b"")
    assert (await guardian.look()).did == "waiting"
    send_receipts(guardian)

    assert (await guardian.look()).did == "approved"


async def test_a_file_that_is_none_is_cancelled_at_once(guardian: Ward) -> None:
    house = guardian.house
    # More than its owner ever deposited, though the sum of all deposits covers it.
    file = house.bazaar.leaf_file(1, {}, {ALICE.address: 150_000_000})
    await house.bazaar.roots.publish(file, publisher=key("publisher"))
    pending = (await house.bazaar.ledger()).pending
    path = house.settlement.files.path(1, pending.data_hash)
    await trio.Path(path.parent).mkdir()
    await trio.Path(path).write_bytes(file.head.pack() + file.rows(0, file.head.leaf_count))

    report = await guardian.look()

    assert (report.did, codes(report)) == ("cancelled", {"exit_above_deposits"})


async def test_an_approval_that_was_broken_off_is_made_again(
    guardian: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = guardian.house
    event = house.market.wish_to_withdraw(BOB, 700, signed={"ledger": house.bazaar.market.ledger})
    house.market.ask(event)
    guardian.pages.withdrawn[BOB.address] = 700
    await published(guardian)

    async def die(*_: object, **__: object) -> None:
        await trio.lowlevel.checkpoint()
        raise ChainUnreachable("no way to the node")

    with monkeypatch.context() as broken:
        broken.setattr(Roots, "approve", die)
        with pytest.raises(ChainUnreachable):
            await guardian.look()

    assert (await guardian.look()).did == "approved"
    memory = msgspec.json.decode(await trio.Path(guardian.folder / "guardian.json").read_bytes())
    assert memory["withdrawn"] == {"1": {BOB.address.hex(): 700}}


async def test_one_sided_receipts_count_up_to_their_cap(house: House, tmp_path: Path) -> None:
    lenient = ward(house, tmp_path / "lenient", one_sided_max=10_000)
    await published(lenient, is_signed=False)

    assert (await lenient.look()).did == "approved"


async def test_a_withdrawal_counts_as_its_owner_signed_it(guardian: Ward) -> None:
    house = guardian.house
    event = house.market.wish_to_withdraw(BOB, 700, signed={"ledger": house.bazaar.market.ledger})
    house.market.ask(event)
    guardian.pages.withdrawn[BOB.address] = 700
    await published(guardian)

    assert (await guardian.look()).did == "approved"


async def test_receipts_that_agents_send_need_nobody_who_copies_files(
    guardian: Ward, tmp_path: Path
) -> None:
    """From the agent's own file, through its sending and the guardian's port, to an approval."""
    house = guardian.house
    house.market.earn()
    await house.round(close_now=True)
    assert codes(await guardian.look()) == {"rise_unproven", "fee_leaf"}
    disk = FolderDisk(tmp_path / "agent")
    for ready in house.market.of(ev.ReceiptsReady):
        root = ready.root
        signed = SignedRoot(COORDINATOR.address, root.batch, root.count, root.root, root.signature)
        batch = batch_message(signed, [ready.item(each.index) for each in ready.receipts])
        seen = [Seen(root.batch, root.count, root.root)]
        mine = ReceiptsSigned(
            root.batch, encode_base64url(sign_seen(NODE, COORDINATOR.address, seen))
        )
        await (await State.load(disk, inline)).keep_receipts([batch], [mine])

    port = ReceiptPort(guardian.receipt_store, run_thread=run_inline, network_of=str)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    number = listeners[0].socket.getsockname()[1]
    poster = HttpPoster(f"http://127.0.0.1:{number}", encode_address(NODE.address))
    delivery = Delivery("http://here", poster, disk=disk, hop=inline, rng=Random(1))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(port.serve, listeners)
        await delivery.step()
        await poster.aclose()
        nursery.cancel_scope.cancel()

    assert (delivery.status.trouble, delivery.status.kept) == ("", port.kept)
    assert guardian.bounds.one_sided_max == guardian.bounds.unproven_max == 0
    assert (await guardian.look()).did == "approved"


# ---- what does not ------------------------------------------------------------------------------
async def test_a_rise_without_receipts_is_cancelled_and_why_is_said(guardian: Ward) -> None:
    await published(guardian)
    guardian.receipts.write_bytes(b"")

    report = await guardian.look_at_last()

    assert (report.did, codes(report)) == ("cancelled", {"rise_unproven", "fee_leaf"})
    assert (await guardian.house.bazaar.ledger()).pending == Root()
    house = guardian.house
    house.later()
    assert await house.round() == ""
    assert house.last().state is EpochState.CANCELLED


async def test_the_coordinators_word_alone_is_not_enough(guardian: Ward) -> None:
    await published(guardian, is_signed=False)

    assert codes(await guardian.look_at_last()) == {"one_sided"}


async def test_a_self_consistent_false_file_is_cancelled(guardian: Ward) -> None:
    """A stolen publisher: file, root, sums and hash agree with each other, nothing else does."""
    house, thief = guardian.house, key("thief").address
    guardian.house.market.earn()
    send_receipts(guardian)
    file = house.bazaar.leaf_file(1, {thief: 50_000}, {ALICE.address: 1})
    await house.bazaar.roots.publish(file, publisher=key("publisher"))
    pending = (await house.bazaar.ledger()).pending
    path = house.settlement.files.path(1, pending.data_hash)
    await trio.Path(path.parent).mkdir()
    raw = file.head.pack() + file.rows(0, file.head.leaf_count)
    await trio.Path(path).write_bytes(raw)

    report = await guardian.look_at_last()

    assert (report.did, codes(report)) == ("cancelled", {"rise_unproven"})
    assert encode_address(thief) in str(report.findings[0])


async def test_a_fee_leaf_above_the_receipts_fees_is_cancelled(guardian: Ward) -> None:
    house = guardian.house
    earned = house.market.earn()
    send_receipts(guardian)
    leaves = {OPERATOR.address: earned, FEE_WALLET.address: 166}
    file = house.bazaar.leaf_file(1, leaves, {})
    await house.bazaar.roots.publish(file, publisher=key("publisher"))
    pending = (await house.bazaar.ledger()).pending
    path = house.settlement.files.path(1, pending.data_hash)
    await trio.Path(path.parent).mkdir()
    await trio.Path(path).write_bytes(file.head.pack() + file.rows(0, file.head.leaf_count))

    assert codes(await guardian.look_at_last()) == {"fee_leaf", "rise_unproven"}
    assert file.find(Kind.EARNINGS, FEE_WALLET.address) is not None


async def test_a_withheld_file_is_waited_for_and_then_cancelled(guardian: Ward) -> None:
    pending = await published(guardian)
    guardian.pages.withheld = True

    report = await guardian.look_at_last()

    assert (report.did, codes(report)) == ("cancelled", {"withheld"})
    assert (await guardian.house.bazaar.ledger()).last_epoch == pending.epoch


async def test_who_was_paid_beyond_its_lifetime_shuts_the_doors(guardian: Ward) -> None:
    """A thief's root slipped through while the guardian was away."""
    house = guardian.house
    await guardian.look()
    send_receipts(guardian)
    bazaar = house.bazaar
    bazaar.later(3600)
    file = await bazaar.settle({OPERATOR.address: 40_000})
    state = await read_claim(bazaar.chain, bazaar.market, OPERATOR.address)
    proof = proof_of(file, OPERATOR.address)
    plan = plan_claim(bazaar.market, state, proof, payer=bazaar.payer)
    house.market.earn()
    send_receipts(guardian)
    await bazaar.deed(claim_intent(bazaar.chain, bazaar.market, OPERATOR.address, state, plan))

    house.later()
    report = await guardian.round()

    assert report.paused_for == (encode_address(OPERATOR.address),)
    ledger = await bazaar.ledger()
    now = (await bazaar.chain.clock()).unix_s
    assert [now < until for until in ledger.paused_until] == [False, True, False, True]
    assert (await guardian.round()).paused_for
    assert guardian.tally.pauses == 1


async def test_a_folder_belongs_to_one_ledger(guardian: Ward) -> None:
    await guardian.look()
    state = guardian.folder / "guardian.json"
    ledger = guardian.market.ledger.hex()
    state.write_text(state.read_text().replace(ledger, "00" * 32))

    with pytest.raises(ForeignFolder):
        await guardian.round()


# ---- over HTTP ----------------------------------------------------------------------------------
def coordinator_that(answers: dict[str, bytes]) -> Coordinator:
    def answer(request: httpx.Request) -> httpx.Response:
        body = answers.get(request.url.path)
        return httpx.Response(404) if body is None else httpx.Response(200, content=body)

    return Coordinator("http://c", transport=httpx.MockTransport(answer))


@pytest.mark.parametrize(
    ("served", "said"),
    [
        (b"x" * 120, None),
        (b"y" * 120, "hash"),
        (b"x" * 121, "more than 120 bytes"),
        (None, "HTTP 404"),
    ],
)
async def test_a_file_is_kept_only_with_the_chains_hash(
    tmp_path: Path, served: bytes | None, said: str | None
) -> None:
    root = Root(epoch=3, leaf_count=1, data_hash=sha256(b"x" * 120).digest())
    pages = {} if served is None else {"/api/epochs/3/leaves": served}
    async with coordinator_that(pages) as coordinator:
        if said is None:
            path = await coordinator.leaf_file(root, tmp_path)
            assert path.read_bytes() == served
            return
        with pytest.raises(NotFetched, match=said):
            await coordinator.leaf_file(root, tmp_path)
    assert not [*await trio.Path(tmp_path).iterdir()]


async def test_a_withdrawal_that_its_wallet_did_not_sign_counts_for_nobody() -> None:
    ledger = key("ledger").address
    text = withdrawal_text(
        coordinator_key=COORDINATOR.address, chain="devnet", ledger=ledger, wallet=BOB.address,
        amount=1_500_000, key="w", issued_ms=1_800_000_000_000,
    )  # fmt: skip
    row = {
        "wallet": encode_address(BOB.address), "amount": "1.5", "key": "w",
        "issuedAt": "2027-01-15T08:00:00.000Z", "askedAt": "x", "form": "hy1",
        "proof": encode_base64url(BOB.sign(text.encode())),
    }  # fmt: skip
    about: dict[str, Any] = {
        "ledger": ledger, "coordinator_key": COORDINATOR.address, "chain": "devnet",
    }  # fmt: skip

    def pages(**change: str) -> dict[str, bytes]:
        document = {"withdrawals": [row | change], "next": None}
        return {"/api/epochs/1/withdrawals": msgspec.json.encode(document)}

    async with coordinator_that(pages()) as coordinator:
        assert await coordinator.withdrawals(1, **about) == {BOB.address: 1_500_000}
    for change in ({"amount": "2"}, {"key": "other"}, {"wallet": encode_address(ALICE.address)}):
        async with coordinator_that(pages(**change)) as coordinator:
            with pytest.raises(NotFetched):
                await coordinator.withdrawals(1, **about)
