"""One wallet's money, gathered from real books, receipts, files and a real program, compared."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from coordinator import events as ev
from coordinator.protocol.errors import ProtocolError, Refusal
from coordinator.protocol.receipts import SignedRoot, batch_message
from hypernode.answers import Account, ProofInfo, SettlementInfo, Withdrawn
from hypernode.auditing import audit_wallet, books_of, receipts_in
from hypernode.claims import ForeignProof
from hypernode.cli.auditing import _show as show
from hypernode.errors import NotFound, error_of
from onchain.address import encode_address
from onchain.amounts import format_hyper
from onchain.audit import Books, Side, WalletFacts
from onchain.views import ClaimRecord
from tests.build import COORDINATOR, OPERATOR
from tests.settling import House, open_house


class Pages:
    """The house's own counter, without HTTP."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.more = 0
        self.false_proof = False

    async def account(self) -> Account:
        await trio.lowlevel.checkpoint()
        found = self.house.market.reader.earnings_of(OPERATOR.address, self.house.market.now_ms)
        return Account(
            wallet=encode_address(OPERATOR.address), credit="0", held="0",
            earned_total=format_hyper(found.total), withheld=format_hyper(found.withheld),
            earned=format_hyper(found.earned + self.more),
        )  # fmt: skip

    async def settlement(self) -> SettlementInfo:
        await trio.lowlevel.checkpoint()
        address = encode_address(self.house.bazaar.market.ledger)
        return SettlementInfo("devnet", address, encode_address(COORDINATOR.address))

    async def withdrawals(self) -> list[Withdrawn]:
        await trio.lowlevel.checkpoint()
        return []

    async def proof(self, wallet: str) -> ProofInfo:
        view = await self.house.settlement.proof(OPERATOR.address)
        if view is None:
            raise error_of("not_found", "no leaf")
        found = msgspec.convert(msgspec.to_builtins(view), ProofInfo)
        assert found.wallet == wallet
        more = msgspec.structs.replace(found, lifetime="1")
        return more if self.false_proof else found


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    made = await open_house(tmp_path)
    yield made
    await made.close()


def receipts_of(house: House, path: Path) -> Path:
    lines = []
    for ready in house.market.of(ev.ReceiptsReady):
        root = ready.root
        signed = SignedRoot(COORDINATOR.address, root.batch, root.count, root.root, root.signature)
        items = [ready.item(each.index) for each in ready.receipts]
        lines.append(msgspec.json.encode(batch_message(signed, items)) + b"\n")
    path.write_bytes(b"".join(lines))
    return path


async def audited(house: House, pages: Pages | None = None, **files: Any) -> Any:
    return await audit_wallet(
        pages or Pages(house), house.bazaar.chain, house.bazaar.market, OPERATOR.address, **files
    )


async def test_all_sides_agree_after_a_claim(house: House, tmp_path: Path) -> None:
    earned = house.market.earn()
    epoch = await house.settle()
    await house.claim(OPERATOR.address)
    kept = house.settlement.files.path(1, epoch.data_hash)

    facts, differences = await audited(
        house, receipts=[receipts_of(house, tmp_path / "r.jsonl")], leaves=[kept]
    )

    assert differences == ()
    assert (facts.books.lifetime, facts.record.claimed) == (earned, earned)
    assert list(facts.leaves) == [(1, earned)]
    assert [receipt.paid for receipt in facts.receipts] == [earned]


async def test_books_that_say_more_or_less_are_named(house: House, tmp_path: Path) -> None:
    house.market.earn()
    await house.settle()
    path = receipts_of(house, tmp_path / "r.jsonl")
    pages = Pages(house)
    pages.more = 5
    _, (difference,) = await audited(house, pages, receipts=[path])
    assert (difference.more, difference.less, difference.by) == (Side.BOOKS, Side.BOOKS, 5)
    pages.more = -7
    _, (difference,) = await audited(house, pages, receipts=[path])
    assert (difference.more, difference.less, difference.by) == (Side.LEAVES, Side.BOOKS, 7)


async def test_a_proof_that_leads_nowhere_is_said_aloud(house: House) -> None:
    house.market.earn()
    await house.settle()
    pages = Pages(house)
    pages.false_proof = True

    with pytest.raises(ForeignProof, match="does not lead"):
        await audited(house, pages)


async def test_without_a_root_there_is_nothing_to_prove(house: House) -> None:
    house.market.earn()
    await house.round()

    facts, differences = await audited(house)

    assert (list(facts.leaves), differences) == ([], ())
    with pytest.raises(NotFound):
        await Pages(house).proof(encode_address(OPERATOR.address))


async def test_receipts_of_another_coordinator_are_refused(house: House, tmp_path: Path) -> None:
    house.market.earn()
    path = receipts_of(house, tmp_path / "r.jsonl")

    with pytest.raises(Refusal, match="bad_signature"):
        receipts_in([path], OPERATOR.address, OPERATOR.address)
    whole = await trio.Path(path).read_bytes()
    await trio.Path(path).write_bytes(whole + whole[:40])
    assert len(receipts_in([path], COORDINATOR.address, OPERATOR.address)) == 1
    await trio.Path(path).write_bytes(b"{}\n")
    with pytest.raises(ProtocolError):
        receipts_in([path], COORDINATOR.address, OPERATOR.address)


def test_what_the_books_own_sums_lack_was_taken_back() -> None:
    account = Account(wallet="w", credit="0", held="0", earned_total="10", withheld="2", earned="5")

    books = books_of(account, [])

    assert (books.taken_back, books.withdrawn, books.lifetime) == (3_000_000, 0, 5_000_000)


def test_what_was_not_looked_at_is_said_so(capsys: pytest.CaptureFixture[str]) -> None:
    facts = WalletFacts(books=Books(earned=5, lifetime=5), record=ClaimRecord())
    show(facts, (), as_json=False)

    shown = capsys.readouterr().out
    assert "voucher\tnot looked at: no --voucher FILE was given\n" in shown
    assert "leaf\tnot looked at: no --leaves FILE was given\n" in shown
    assert "receipts\tnone of this wallet's in a --receipts FILE\n" in shown
