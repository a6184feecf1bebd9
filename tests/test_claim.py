"""Money that leaves the market, by the real program on a chain in this process."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest
from solders.instruction import Instruction
from solders.message import to_bytes_versioned
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from coordinator.limits import TRANSACTION_BYTES_MAX
from coordinator.protocol.signing import Keypair, from_seed
from onchain.calls import claim, create_token_account
from onchain.chain_errors import BadDraft, PacketTooLarge, TransactionRefused
from onchain.claim import (
    WALLET_ROOM,
    Elsewhere,
    Plan,
    claim_intent,
    plan_claim,
    plan_claim_to,
    plan_cover,
    plan_exit,
    plan_exit_request,
    plan_redeem,
    plan_redeem_to,
    table_addresses,
    unsigned_transaction,
)
from onchain.cosign import NotAsBuilt, countersign
from onchain.drafts import Budget
from onchain.fees import Fees
from onchain.leaves import LEAVES_MAX, Kind
from onchain.lookup_tables import LookupTable, create_table, extend_table, read_tables
from onchain.outlook import Outlook
from onchain.places import TOKEN_2022_PROGRAM, TOKEN_PROGRAM
from onchain.program_events import Claimed, Redeemed, RootActivated, events_in
from onchain.program_refusals import ProgramRefused
from onchain.reads import read_claim, read_exit
from onchain.role_calls import Pause
from onchain.settlement_tree import Proof
from onchain.sponsor import CLAIM_RECORD_LAMPORTS, TOKEN_ACCOUNT_LAMPORTS, Rents
from onchain.sponsored import make_offer, read_rents
from onchain.views import ClaimRecord
from onchain.vouchers import SignedVoucher, sign_voucher, voucher_for
from tests.chains import SOL, key
from tests.ledger_values import DAY
from tests.settlement_chain import Bazaar, open_bazaar, proof_of

HOST = key("host")
OWNER = key("owner")


def wallets(count: int) -> dict[bytes, int]:
    return {sha256(bytes([number % 256, number // 256])).digest(): 7 for number in range(count)}


async def funded(earned: int = 5_000, more: int = 3) -> tuple[Bazaar, Proof]:
    """A market with one active root in which the host has a leaf."""
    bazaar = await open_bazaar()
    await bazaar.deposit(OWNER.address, 1_000_000)
    await bazaar.deposit(bazaar.market.ledger, 100_000)
    file = await bazaar.settle({**wallets(more), HOST.address: earned}, {OWNER.address: 900})
    return bazaar, proof_of(file, HOST.address)


def voucher(bazaar: Bazaar, cumulative: int, seconds: int = 600) -> SignedVoucher:
    now = bazaar.chain.machine.time_ms // 1000
    said = voucher_for(
        bazaar.market,
        HOST.address,
        cumulative=cumulative,
        expires_at=now + seconds,
        key_epoch=0,
    )
    return sign_voucher(key("voucher"), said)


async def refused(bazaar: Bazaar, plan: Plan) -> str:
    with pytest.raises(TransactionRefused) as caught:
        await bazaar.send(plan.recipe)
    return caught.value.code


async def test_anybody_pays_the_fee_and_the_wallet_gets_the_money() -> None:
    bazaar, proof = await funded()
    state = await read_claim(bazaar.chain, bazaar.market, HOST.address)
    plan = plan_claim(bazaar.market, state, proof, payer=bazaar.payer)
    before = await bazaar.chain.balance(bazaar.payer.address)

    signature = await bazaar.send(plan.recipe)

    assert await bazaar.tokens(HOST.address) == 5_000
    assert (plan.outlook.pay, plan.opens_token_account, plan.opens_record) == (5_000, True, True)
    paid = before - await bazaar.chain.balance(bazaar.payer.address)
    assert paid == plan.sponsor_request(Budget()).lamports
    assert paid == 5_000 + TOKEN_ACCOUNT_LAMPORTS + CLAIM_RECORD_LAMPORTS
    logs = bazaar.chain.machine.landed[signature].outcome.logs
    activated, paid_out = events_in(logs, bazaar.market.program)
    assert isinstance(activated, RootActivated)
    assert paid_out == Claimed(HOST.address, 5_000, 5_000, 5_000, 1)
    assert (await bazaar.ledger()).total_claimed == 5_000


async def test_a_market_of_token_2022_pays_too() -> None:
    bazaar = await open_bazaar(token_program=TOKEN_2022_PROGRAM)
    await bazaar.deposit(OWNER.address, 1_000_000)
    file = await bazaar.settle({HOST.address: 5_000})

    await claimed(bazaar, proof_of(file, HOST.address))

    made = bazaar.chain.machine.newest(bazaar.market.token_account(HOST.address))
    assert made is not None
    assert (bytes(made.owner), len(made.data)) == (TOKEN_2022_PROGRAM, 170)
    assert int.from_bytes(made.data[64:72], "little") == 5_000


async def test_a_later_root_pays_the_difference_and_no_more() -> None:
    bazaar, proof = await funded()
    await claimed(bazaar, proof)
    file = await bazaar.settle({HOST.address: 5_700, **wallets(3)}, {OWNER.address: 900})

    plan = await claimed(bazaar, proof_of(file, HOST.address))

    assert (plan.outlook.pay, plan.opens_token_account, plan.opens_record) == (700, False, False)
    assert await bazaar.tokens(HOST.address) == 5_700
    state = await read_claim(bazaar.chain, bazaar.market, HOST.address)
    assert (state.record.claimed, state.record.covered) == (5_700, 5_700)
    with pytest.raises(ProgramRefused, match="NothingToClaim"):
        plan_claim(bazaar.market, state, proof_of(file, HOST.address), payer=bazaar.payer)


async def claimed(bazaar: Bazaar, proof: Proof) -> Plan:
    state = await read_claim(bazaar.chain, bazaar.market, proof.address)
    plan = plan_claim(bazaar.market, state, proof, payer=bazaar.payer)
    await bazaar.send(plan.recipe)
    return plan


async def test_a_claim_as_a_deed_is_done_once() -> None:
    bazaar, proof = await funded()
    state = await read_claim(bazaar.chain, bazaar.market, HOST.address)
    plan = plan_claim(bazaar.market, state, proof, payer=bazaar.payer)
    intent = claim_intent(bazaar.chain, bazaar.market, HOST.address, state, plan)

    first = await bazaar.sender.send(intent)
    second = await bazaar.sender.send(intent)

    assert first.signature == second.signature is not None
    assert await bazaar.tokens(HOST.address) == 5_000


async def test_the_program_refuses_what_the_outlook_foretold() -> None:
    """Each refusal before signing is the one that the program gives when it is sent anyway."""
    bazaar, proof = await funded()
    market, chain = bazaar.market, bazaar.chain
    state = await read_claim(chain, market, HOST.address)
    forged = replace(proof, amount=proof.amount + 1)
    stale = replace(proof, epoch=7)
    for bad, name, code in ((forged, "InvalidProof", 6036), (stale, "StaleEpoch", 6035)):
        with pytest.raises(ProgramRefused, match=name):
            plan_claim(market, state, bad, payer=bazaar.payer)
        good = plan_claim(market, state, proof, payer=bazaar.payer)
        call = calls_of(bazaar, bad)
        sent = replace(good, recipe=replace(good.recipe, instructions=call))
        assert await refused(bazaar, sent) == f"custom:{code}"

    await bazaar.pause(Pause.CLAIM)
    paused = await read_claim(chain, market, HOST.address)
    with pytest.raises(ProgramRefused, match="Paused") as caught:
        plan_claim(market, paused, proof, payer=bazaar.payer)
    assert caught.value.again_at == paused.ledger.paused_until[1]
    assert await refused(bazaar, plan_claim(market, state, proof, payer=bazaar.payer)) == (
        "custom:6020"
    )


def calls_of(bazaar: Bazaar, proof: Proof) -> tuple[Instruction, ...]:
    payer = bazaar.payer.address
    return (
        create_token_account(bazaar.market, payer=payer, wallet=proof.address),
        claim(bazaar.market, payer=payer, proof=proof),
    )


async def test_the_breaker_pays_in_parts() -> None:
    bazaar = await open_bazaar(window_limit=1_000 * 100, window_secs=100)
    await bazaar.deposit(OWNER.address, 1_000_000)
    file = await bazaar.settle({HOST.address: 250_000})
    proof, paid = proof_of(file, HOST.address), []

    for _ in range(3):
        paid.append((await claimed(bazaar, proof)).outlook.pay)
        state = await read_claim(bazaar.chain, bazaar.market, HOST.address)
        if state.record.claimed < 250_000:
            bazaar.later(100)

    assert paid == [100_000, 100_000, 50_000]
    assert await bazaar.tokens(HOST.address) == 250_000


# ---- to another account, and together with a wallet that is elsewhere ---------------------------


async def test_the_wallet_may_name_another_account() -> None:
    bazaar, proof = await funded()
    bazaar.fund(OWNER.address, 0)
    place = bazaar.market.token_account(OWNER.address)
    state = await read_claim(bazaar.chain, bazaar.market, HOST.address)
    plan = plan_claim_to(
        bazaar.market, state, proof, payer=bazaar.payer, wallet=HOST, destination=place
    )

    await bazaar.send(plan.recipe)

    assert await bazaar.tokens(OWNER.address) == 5_000


async def test_a_sponsor_signs_what_it_built_after_the_wallet_did() -> None:
    bazaar, proof = await funded()
    bazaar.fund(OWNER.address, 0)
    place = bazaar.market.token_account(OWNER.address)
    state = await read_claim(bazaar.chain, bazaar.market, HOST.address)
    plan = plan_claim_to(
        bazaar.market,
        state,
        proof,
        payer=Elsewhere(bazaar.payer.address),
        wallet=Elsewhere(HOST.address),
        destination=place,
    )
    built = await unsigned_transaction(bazaar.chain, plan, bazaar.market, Fees())

    signed = countersign(built, wallet_signs(built, HOST), bazaar.payer)

    await bazaar.chain.send(signed.raw)
    assert await bazaar.tokens(OWNER.address) == 5_000
    for other in (built, wallet_signs(built, OWNER), b"", built + bytes(1300)):
        with pytest.raises(NotAsBuilt):
            countersign(built, other, bazaar.payer)
    with pytest.raises(NotAsBuilt):
        countersign(built, wallet_signs(built, HOST), OWNER)


async def test_a_sponsor_signs_no_other_bytes() -> None:
    """The same claim with another destination, signed by the wallet."""
    bazaar, proof = await funded()
    bazaar.fund(OWNER.address, 0)
    bazaar.fund(HOST.address, 0)
    state = await read_claim(bazaar.chain, bazaar.market, HOST.address)
    built, other = [
        await unsigned_transaction(
            bazaar.chain,
            plan_claim_to(
                bazaar.market,
                state,
                proof,
                payer=Elsewhere(bazaar.payer.address),
                wallet=Elsewhere(HOST.address),
                destination=bazaar.market.token_account(owner),
            ),
            bazaar.market,
            Fees(),
        )
        for owner in (OWNER.address, HOST.address)
    ]

    with pytest.raises(NotAsBuilt):
        countersign(built, wallet_signs(other, HOST), bazaar.payer)


def wallet_signs(raw: bytes, wallet: Keypair) -> bytes:
    """What a wallet returns: the same message with its own signature in its place."""
    transaction = VersionedTransaction.from_bytes(raw)
    signatures = list(transaction.signatures)
    signature = wallet.sign(to_bytes_versioned(transaction.message))
    signatures[-1] = Signature.from_bytes(signature)
    return bytes(VersionedTransaction.populate(transaction.message, signatures))


async def test_an_unsigned_claim_is_what_an_action_answers() -> None:
    """Fee payer: the account that asked; blockhash: the latest; signatures: none."""
    bazaar, proof = await funded()
    bazaar.chain.airdrop(HOST.address, SOL)
    state = await read_claim(bazaar.chain, bazaar.market, HOST.address)
    plan = plan_claim(bazaar.market, state, proof, payer=Elsewhere(HOST.address))

    raw = await unsigned_transaction(bazaar.chain, plan, bazaar.market, Fees())

    transaction = VersionedTransaction.from_bytes(raw)
    latest = await bazaar.chain.latest_blockhash()
    assert bytes(transaction.message.account_keys[0]) == HOST.address
    assert bytes(transaction.message.recent_blockhash) == latest.blockhash
    assert [bytes(each) for each in transaction.signatures] == [bytes(64)]
    assert len(raw) + WALLET_ROOM <= TRANSACTION_BYTES_MAX
    await bazaar.chain.send(wallet_signs(raw, HOST))
    assert await bazaar.tokens(HOST.address) == 5_000
    with pytest.raises(BadDraft, match="is not here"):
        plan.recipe.sign(latest.blockhash, Budget())


async def test_an_unsigned_claim_that_would_fail_is_not_given_out() -> None:
    """The host has no lamports for the rent; and a claim that somebody else was faster with."""
    bazaar, proof = await funded()
    state = await read_claim(bazaar.chain, bazaar.market, HOST.address)
    poor = plan_claim(bazaar.market, state, proof, payer=Elsewhere(HOST.address))
    with pytest.raises(TransactionRefused):
        await unsigned_transaction(bazaar.chain, poor, bazaar.market, Fees())
    await claimed(bazaar, proof)
    late = plan_claim(bazaar.market, state, proof, payer=bazaar.payer)

    with pytest.raises(ProgramRefused, match="NothingToClaim"):
        await unsigned_transaction(bazaar.chain, late, bazaar.market, Fees())


@pytest.mark.parametrize("token_program", [TOKEN_PROGRAM, TOKEN_2022_PROGRAM])
async def test_an_offer_says_to_the_lamport_what_it_costs(token_program: bytes) -> None:
    bazaar = await open_bazaar(token_program=token_program)
    await bazaar.deposit(OWNER.address, 1_000_000)
    proof = proof_of(await bazaar.settle({HOST.address: 5_000}), HOST.address)
    state = await read_claim(bazaar.chain, bazaar.market, HOST.address)
    plan = plan_claim(
        bazaar.market,
        state,
        proof,
        payer=Elsewhere(bazaar.payer.address),
        wallet=Elsewhere(HOST.address),
    )
    rents = await read_rents(bazaar.chain, bazaar.market)
    offer = await make_offer(bazaar.chain, plan, bazaar.market, Fees(), rents)
    before = await bazaar.chain.balance(bazaar.payer.address)

    signed = countersign(offer.raw, wallet_signs(offer.raw, HOST), bazaar.payer)
    await bazaar.chain.send(signed.raw)

    assert await bazaar.tokens(HOST.address) == 5_000
    paid = before - await bazaar.chain.balance(bazaar.payer.address)
    assert paid == offer.request.lamports
    is_first = token_program == TOKEN_PROGRAM
    assert offer.request.opens_token_account
    assert rents.token_account == (TOKEN_ACCOUNT_LAMPORTS if is_first else 2_074_080)


async def test_a_sponsored_claim_is_nothing_without_its_wallet() -> None:
    """The program asks for the payer's signature alone; the transaction for both."""
    bazaar, proof = await funded()
    state = await read_claim(bazaar.chain, bazaar.market, HOST.address)
    payer, wallet = Elsewhere(bazaar.payer.address), Elsewhere(HOST.address)
    plan = plan_claim(bazaar.market, state, proof, payer=payer, wallet=wallet)
    offer = await make_offer(bazaar.chain, plan, bazaar.market, Fees(), Rents())

    for returned in (offer.raw, wallet_signs(offer.raw, OWNER)):
        with pytest.raises(NotAsBuilt):
            countersign(offer.raw, returned, bazaar.payer)


# ---- size ---------------------------------------------------------------------------------------


def deep(proof: Proof, depth: int) -> Proof:
    return replace(proof, path=tuple(bytes([n]) * 32 for n in range(depth)))


ELSEWHERE = Elsewhere(HOST.address)
SPONSOR = key("sponsor")


async def first_claim(
    depth: int, payer: Keypair | Elsewhere, monkeypatch: pytest.MonkeyPatch, *, table: bool = True
) -> Plan:
    """A first claim's plan at a depth, whatever the program would say to such a proof."""
    bazaar, proof = await funded()
    tables = (LookupTable(b"T" * 32, table_addresses(bazaar.market)),) if table else ()
    state = await read_claim(bazaar.chain, bazaar.market, HOST.address)
    monkeypatch.setattr("onchain.claim.claim_outlook", lambda *_: Outlook(pay=1))
    return plan_claim(bazaar.market, state, deep(proof, depth), payer=payer, tables=tables)


@pytest.mark.parametrize(
    ("depth", "payer", "needs_table", "room"),
    [
        (17, SPONSOR, False, 0),
        (20, SPONSOR, False, 0),
        (21, SPONSOR, True, 0),
        (24, SPONSOR, True, 0),
        (18, ELSEWHERE, False, WALLET_ROOM),
        (19, ELSEWHERE, True, WALLET_ROOM),
        (22, ELSEWHERE, True, WALLET_ROOM),
        (24, ELSEWHERE, True, 0),
    ],
)
async def test_a_deep_proof_takes_a_lookup_table(
    depth: int,
    payer: Keypair | Elsewhere,
    needs_table: bool,
    room: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And where a wallet signs, its own instructions fit in beside proofs of a million leaves."""
    plan = await first_claim(depth, payer, monkeypatch)

    size = len(plan.recipe.unsigned(bytes(32), Budget(10_000, 1)))
    assert bool(plan.recipe.tables) is needs_table
    assert size + plan.room == TRANSACTION_BYTES_MAX
    assert plan.room >= room


@pytest.mark.parametrize(("depth", "table"), [(21, False), (25, True)])
async def test_what_does_not_fit_is_refused(
    depth: int, table: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deepest tree of a leaf file still fits: with 24 hashes, see above."""
    assert LEAVES_MAX == 2**24
    with pytest.raises(PacketTooLarge):
        await first_claim(depth, SPONSOR, monkeypatch, table=table)


@pytest.mark.parametrize(
    ("depth", "needs_table"), [(15, False), (19, True), (22, True), (23, True)]
)
async def test_a_second_signature_leaves_room_for_four_million_leaves(
    depth: int, needs_table: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    bazaar, proof = await funded()
    tables = (LookupTable(b"T" * 32, table_addresses(bazaar.market)),)
    state = await read_claim(bazaar.chain, bazaar.market, HOST.address)
    monkeypatch.setattr("onchain.claim.claim_outlook", lambda *_: Outlook(pay=1))

    def planned() -> Plan:
        return plan_claim(
            bazaar.market,
            state,
            deep(proof, depth),
            payer=Elsewhere(SPONSOR.address),
            wallet=ELSEWHERE,
            tables=tables,
        )

    if depth > 22:
        with pytest.raises(PacketTooLarge):
            planned()
        return
    assert bool(planned().recipe.tables) is needs_table
    assert planned().room >= 0


async def test_a_claim_by_a_lookup_table_runs() -> None:
    bazaar, proof = await funded()
    payer = bazaar.payer
    address, create = create_table(payer.address, payer.address, await bazaar.chain.slot() - 1)
    fill = extend_table(address, payer.address, payer.address, table_addresses(bazaar.market))
    await bazaar.do(create, fill)
    tables = await read_tables(bazaar.chain, [address])
    state = await read_claim(bazaar.chain, bazaar.market, HOST.address)
    plan = plan_claim(bazaar.market, state, proof, payer=payer)

    await bazaar.send(replace(plan.recipe, tables=tables))

    assert await bazaar.tokens(HOST.address) == 5_000


# ---- vouchers -----------------------------------------------------------------------------------


async def test_a_voucher_pays_before_any_root_does_and_a_leaf_covers_it() -> None:
    bazaar = await open_bazaar()
    await bazaar.deposit(OWNER.address, 1_000_000)
    await bazaar.deposit(bazaar.market.ledger, 100_000)
    chain, market = bazaar.chain, bazaar.market
    state = await read_claim(chain, market, HOST.address)

    plan = plan_redeem(market, state, voucher(bazaar, 800), payer=bazaar.payer)
    signature = await bazaar.send(plan.recipe)

    assert await bazaar.tokens(HOST.address) == plan.outlook.pay == 800
    logs = chain.machine.landed[signature].outcome.logs
    assert list(events_in(logs, market.program)) == [Redeemed(HOST.address, 800, 800, 800)]
    file = await bazaar.settle({HOST.address: 800})
    state = await read_claim(chain, market, HOST.address)
    assert (state.ledger.advance, state.record) == (800, replaced(state.record, 800, 0))
    cover = plan_cover(market, state, proof_of(file, HOST.address), payer=bazaar.payer)
    await bazaar.send(cover.recipe)
    after = await read_claim(chain, market, HOST.address)
    assert (after.ledger.advance, after.record.covered, after.record.claimed) == (0, 800, 800)


def replaced(record: ClaimRecord, claimed_: int, covered: int) -> ClaimRecord:
    return ClaimRecord(claimed_, covered, record.bump, record.ata_bump)


async def test_a_voucher_beyond_the_wallets_cap_pays_up_to_it() -> None:
    bazaar = await open_bazaar()
    await bazaar.deposit(bazaar.market.ledger, 100_000)
    state = await read_claim(bazaar.chain, bazaar.market, HOST.address)
    plan = plan_redeem(bazaar.market, state, voucher(bazaar, 1_500), payer=bazaar.payer)

    await bazaar.send(plan.recipe)

    assert await bazaar.tokens(HOST.address) == plan.outlook.pay == 1_000
    full = await read_claim(bazaar.chain, bazaar.market, HOST.address)
    with pytest.raises(ProgramRefused, match="AdvanceExhausted"):
        plan_redeem(bazaar.market, full, voucher(bazaar, 1_500), payer=bazaar.payer)


async def test_a_voucher_goes_to_another_account_if_the_wallet_signs() -> None:
    bazaar = await open_bazaar()
    await bazaar.deposit(bazaar.market.ledger, 100_000)
    bazaar.fund(OWNER.address, 0)
    state = await read_claim(bazaar.chain, bazaar.market, HOST.address)
    plan = plan_redeem_to(
        bazaar.market,
        state,
        voucher(bazaar, 300),
        payer=bazaar.payer,
        wallet=HOST,
        destination=bazaar.market.token_account(OWNER.address),
    )

    await bazaar.send(plan.recipe)

    assert await bazaar.tokens(OWNER.address) == 300


async def test_a_forged_voucher_is_refused_by_the_chain() -> None:
    """By a stranger's key: the check passes, the program does not take it."""
    bazaar = await open_bazaar()
    await bazaar.deposit(bazaar.market.ledger, 100_000)
    state = await read_claim(bazaar.chain, bazaar.market, HOST.address)
    forged = sign_voucher(from_seed(b"x" * 32), voucher(bazaar, 300).voucher)

    plan = plan_redeem(bazaar.market, state, forged, payer=bazaar.payer)

    assert await refused(bazaar, plan) == "custom:6042"


# ---- exits --------------------------------------------------------------------------------------


async def test_a_depositor_leaves_when_roots_stop() -> None:
    bazaar, _ = await funded()
    file = await bazaar.settle({HOST.address: 5_000, **wallets(3)}, {OWNER.address: 900})
    proof = proof_of(file, OWNER.address, Kind.EXIT)
    await bazaar.roots.activate()
    early = await read_exit(bazaar.chain, bazaar.market, OWNER.address)
    with pytest.raises(ProgramRefused, match="ExitClosed") as caught:
        plan_exit(bazaar.market, early, proof, payer=bazaar.payer)
    assert caught.value.again_at is not None
    bazaar.later(caught.value.again_at - early.clock.unix_s)

    state = await read_exit(bazaar.chain, bazaar.market, OWNER.address)
    plan = plan_exit(bazaar.market, state, proof, payer=bazaar.payer)
    await bazaar.send(plan.recipe)

    assert await bazaar.tokens(OWNER.address) == plan.outlook.pay == 900
    gone = await read_exit(bazaar.chain, bazaar.market, OWNER.address)
    with pytest.raises(ProgramRefused, match="NothingToExit"):
        plan_exit(bazaar.market, gone, proof, payer=bazaar.payer)


async def test_a_request_opens_the_second_door() -> None:
    bazaar, _ = await funded()
    chain, market = bazaar.chain, bazaar.market
    state = await read_exit(chain, market, OWNER.address)
    request = plan_exit_request(market, state, owner=OWNER, payer=bazaar.payer)
    await bazaar.send(request.recipe)
    asked = await read_exit(chain, market, OWNER.address)
    with pytest.raises(ProgramRefused, match="ExitRequested"):
        plan_exit_request(market, asked, owner=OWNER, payer=bazaar.payer)
    bazaar.later(10 * DAY - 7_200)
    file = await bazaar.settle({HOST.address: 5_000, **wallets(3)}, {OWNER.address: 900})
    await bazaar.roots.activate()
    bazaar.later(7_200)

    late = await read_exit(chain, market, OWNER.address)
    proof = proof_of(file, OWNER.address, Kind.EXIT)
    await bazaar.send(plan_exit(market, late, proof, payer=bazaar.payer).recipe)

    assert await bazaar.tokens(OWNER.address) == 900


async def test_a_request_can_be_taken_back() -> None:
    bazaar, _ = await funded()
    chain, market = bazaar.chain, bazaar.market
    state = await read_exit(chain, market, OWNER.address)
    with pytest.raises(ProgramRefused, match="NoExitRequest"):
        plan_exit_request(market, state, owner=OWNER, payer=bazaar.payer, cancel=True)
    ask = plan_exit_request(market, state, owner=OWNER, payer=bazaar.payer)
    await bazaar.send(ask.recipe)
    asked = await read_exit(chain, market, OWNER.address)

    back = plan_exit_request(market, asked, owner=OWNER, payer=bazaar.payer, cancel=True)
    await bazaar.send(back.recipe)

    assert (await read_exit(chain, market, OWNER.address)).record.exit_requested_at == 0
    stranger = await read_exit(chain, market, HOST.address)
    with pytest.raises(ProgramRefused, match="InvalidRecord"):
        plan_exit_request(market, stranger, owner=HOST, payer=bazaar.payer)
