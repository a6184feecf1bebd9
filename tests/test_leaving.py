"""A depositor's way out by the command line's own client, on a chain in this process."""

from __future__ import annotations

from pathlib import Path

import pytest

from hypernode import claims, leaving
from hypernode.claims import PaysNothing
from onchain.address import encode_address
from onchain.fees import Fees
from onchain.leaf_errors import LeafFileError
from onchain.leaves import Kind, write_leaves
from onchain.program_refusals import ProgramRefused
from onchain.sender import Pace
from onchain.vouchers import sign_voucher, voucher_for
from tests.chains import SOL, key
from tests.ledger_values import DAY
from tests.settlement_chain import Bazaar, open_bazaar, proof_of

HOST, OWNER = key("host"), key("owner")
PACE = Pace(poll_s=0.001)


async def funded() -> Bazaar:
    bazaar = await open_bazaar()
    for each in (HOST, OWNER):
        bazaar.chain.airdrop(each.address, SOL)
    await bazaar.deposit(OWNER.address, 1_000_000)
    await bazaar.deposit(bazaar.market.ledger, 100_000)
    return bazaar


async def test_a_due_root_that_nobody_activated_is_activated_first() -> None:
    bazaar = await funded()
    chain, market = bazaar.chain, bazaar.market
    file = await bazaar.settle({HOST.address: 5_000}, {OWNER.address: 900})
    proof = proof_of(file, OWNER.address, Kind.EXIT)
    bazaar.later(11 * DAY)  # beyond exit_after: but for the due root the door would be open
    assert (await bazaar.ledger()).active.epoch == 0

    with pytest.raises(ProgramRefused, match=r"ExitClosed.*epoch 1 was due.*begins") as caught:
        await leaving.leave(chain, market, OWNER, proof, Fees())

    ledger = await bazaar.ledger()
    assert (ledger.active.epoch, ledger.pending.epoch) == (1, 0)
    assert caught.value.again_at == ledger.active.active_at + ledger.limits.exit_after
    bazaar.later(caught.value.again_at - ledger.active.active_at)
    paid = await leaving.leave(chain, market, OWNER, proof, Fees())
    assert (paid.before, paid.after) == (0, 900)


async def test_a_shut_door_without_a_due_root_sends_nothing() -> None:
    bazaar = await funded()
    file = await bazaar.settle({HOST.address: 5_000}, {OWNER.address: 900})
    await bazaar.roots.activate()
    before = await bazaar.chain.balance(OWNER.address)
    proof = proof_of(file, OWNER.address, Kind.EXIT)

    with pytest.raises(ProgramRefused, match="ExitClosed") as caught:
        await leaving.leave(bazaar.chain, bazaar.market, OWNER, proof, Fees())

    assert "was due" not in caught.value.sentence
    assert await bazaar.chain.balance(OWNER.address) == before


async def test_a_claim_that_pays_nothing_is_told_before_its_fee() -> None:
    bazaar = await funded()
    chain, market = bazaar.chain, bazaar.market
    expires_at = chain.machine.time_ms // 1000 + 600
    said = voucher_for(market, HOST.address, cumulative=700, expires_at=expires_at, key_epoch=0)
    raw = sign_voucher(key("voucher"), said).pack()
    await claims.redeem(chain, market, HOST, raw, Fees(), PACE)
    file = await bazaar.settle({HOST.address: 700})
    proof = proof_of(file, HOST.address)
    lamports = await chain.balance(HOST.address)

    with pytest.raises(PaysNothing, match=r"vouchers paid 0\.0007 HYPER before"):
        await claims.claim(chain, market, HOST, proof, Fees(), PACE)
    assert await chain.balance(HOST.address) == lamports

    paid = await claims.claim(chain, market, HOST, proof, Fees(), PACE, may_pay_nothing=True)
    assert paid.before == paid.after == 700
    assert (await bazaar.ledger()).advance == 0, "what it was good for"


async def test_a_proof_of_another_epoch_names_both() -> None:
    bazaar = await funded()
    old = await bazaar.settle({HOST.address: 700})
    for earned in (800, 900):
        await bazaar.roots.activate()
        bazaar.later(3_600)
        await bazaar.settle({HOST.address: earned})

    proof = proof_of(old, HOST.address)
    with pytest.raises(ProgramRefused, match="this proof is of epoch 1, the active one is of "):
        await claims.claim(bazaar.chain, bazaar.market, HOST, proof, Fees(), PACE)


def test_a_bad_leaf_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "epoch-1.leaves"
    path.write_bytes(b"no leaf file")
    with pytest.raises(LeafFileError, match=f"{path}: A leaf file has a head of 80 bytes"):
        claims.proof_in(path, Kind.EARNINGS, HOST.address)


def test_a_missing_leaf_is_named_with_its_wallet(tmp_path: Path) -> None:
    path = tmp_path / "epoch-1.leaves"
    with path.open("w+b") as file:
        write_leaves(file, ledger=b"L" * 32, epoch=1, earnings=[(OWNER.address, 5)])
    said = f"{path}: There is no leaf of this wallet. .{encode_address(HOST.address)}."
    with pytest.raises(LeafFileError, match=said):
        claims.proof_in(path, Kind.EARNINGS, HOST.address)
