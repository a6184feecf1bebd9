"""The settlement model's ground: making a ledger, what calls look like, bytes, addresses, trees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from hashlib import sha256

import pytest
from hypothesis import given, strategies as st

from onchain import merkle
from onchain.program.instructions import INSTRUCTIONS
from onchain.program.refusals import CODES
from tests.settlement_model import Account, Meta, Refused
from tests.settlement_model.addresses import (
    SYSTEM_PROGRAM,
    TOKEN_2022,
    TOKEN_PROGRAM,
    derived,
    derived_with,
    token_address,
)
from tests.settlement_model.calls import Argument
from tests.settlement_model.market import Answer, Market, no, ok
from tests.settlement_model.model import RULES
from tests.settlement_model.setting import LIMITS, MINT, PROGRAM, ROLE_NAMES, START, key
from tests.settlement_model.state import (
    LAYOUTS,
    UNUSED,
    ClaimRecord,
    DepositRecord,
    Ledger,
    Limits,
    Root,
    decode,
)
from tests.settlement_model.tokens import TokenAccount, mint_bytes
from tests.settlement_model.tree import leads_to, proof_of, root_of


@pytest.fixture
def market() -> Market:
    return Market()


# Making a ledger


def make(
    market: Market,
    token_program: bytes = TOKEN_PROGRAM,
    mint: bytes = MINT,
    args: Mapping[str, Argument] | None = None,
    held: TokenAccount | None = None,
    **accounts: bytes,
) -> Answer:
    """A second ledger of the same market, of `base 2`."""
    ledger = derived(PROGRAM, b"ledger", key("base 2"))[0]
    address = token_address(ledger, token_program, mint)[0]
    state = held or TokenAccount(mint, ledger)
    market.model.world.accounts[address] = Account(token_program, state)
    good = {"base": key("base 2"), "ledger": ledger, "mint": mint, "vault": address}
    roles = {name: key(name) for name in ROLE_NAMES}
    all_args = {"cluster_tag": key("cluster"), "limits": LIMITS, **roles, **(args or {})}
    named = {**good, "token_program": token_program, **accounts}
    return market.send("initialize", all_args, named)


def test_a_ledger_begins_empty_with_what_it_was_given(market: Market) -> None:
    assert ok(make(market)).events == ()
    ledger = market.model.world.ledger(derived(PROGRAM, b"ledger", key("base 2"))[0])
    no(make(market), "AlreadyInitialized")

    assert ledger.admin == key("admin")
    assert ledger.active == Root(active_at=START)
    assert (ledger.version, ledger.decimals, ledger.limits) == (1, 6, LIMITS)
    assert (ledger.flow_updated_at, ledger.voucher_flow_updated_at) == (START, START)
    assert derived_with(PROGRAM, ledger.bump, b"ledger", key("base 2")) is not None


@pytest.mark.parametrize(
    ("program", "raw", "error"),
    [
        (TOKEN_PROGRAM, mint_bytes(6)[:-1], "WrongMint"),
        (TOKEN_PROGRAM, mint_bytes(6) + b"\0", "WrongMint"),
        (TOKEN_PROGRAM, mint_bytes(6, initialized=0), "WrongMint"),
        (TOKEN_PROGRAM, mint_bytes(6, freeze_authority=key("f")), "MintFreezable"),
        (TOKEN_2022, mint_bytes(6).ljust(165, b"\0"), "WrongMint"),
        (TOKEN_2022, mint_bytes(6).ljust(165, b"\0") + b"\x02", "WrongMint"),
        (TOKEN_2022, mint_bytes(6, extensions=((1, bytes(108)),)), "MintExtension"),
        (TOKEN_2022, mint_bytes(6, extensions=((18, bytes(64)), (3, bytes(32)))), "MintExtension"),
        (TOKEN_2022, mint_bytes(6, extensions=((18, bytes(64)),))[:-1], "MintExtension"),
        (TOKEN_2022, mint_bytes(6, extensions=((18, b""),)) + b"\x13", "MintExtension"),
        (TOKEN_2022, mint_bytes(6, extensions=((18, b""),)) + b"\x13\0\0", "MintExtension"),
    ],
)
def test_a_mint_that_could_take_money_away_is_refused(
    market: Market, program: bytes, raw: bytes, error: str
) -> None:
    market.model.world.accounts[key("mint 2")] = Account(program, raw)

    no(make(market, program, key("mint 2")), error)


@pytest.mark.parametrize(
    "raw",
    [
        mint_bytes(9),
        mint_bytes(9).ljust(165, b"\0") + b"\x01",
        mint_bytes(9, extensions=((18, bytes(64)), (19, bytes(133)))),
        mint_bytes(9, extensions=((18, bytes(64)),)) + bytes(2),
        mint_bytes(9, extensions=((18, bytes(64)),)) + bytes(2) + b"\x03\0\x01",
    ],
)
def test_a_mint_with_metadata_is_taken(market: Market, raw: bytes) -> None:
    market.model.world.accounts[key("mint 2")] = Account(TOKEN_2022, raw)

    ok(make(market, TOKEN_2022, key("mint 2")))


def test_a_ledger_is_made_with_its_own_vault_roles_and_limits(market: Market) -> None:
    ledger = derived(PROGRAM, b"ledger", key("base 2"))[0]
    stranger = key("stranger")
    no(make(market, token_program=stranger), "WrongTokenProgram")
    no(make(market, args={"admin": key("guardian")}), "RoleConflict")
    no(make(market, args={"limits": Limits(), "voucher_key": key("admin")}), "RoleConflict")
    no(make(market, args={"limits": Limits()}), "BadLimits")
    no(make(market, ledger=market.ledger_key), "InvalidLedger")
    no(make(market, held=TokenAccount(MINT, ledger, delegate=stranger)), "InvalidTokenAccount")
    no(
        make(market, held=TokenAccount(MINT, ledger, close_authority=stranger)),
        "InvalidTokenAccount",
    )
    for held, error in (
        (TokenAccount(MINT, ledger, state=0), "InvalidTokenAccount"),
        (TokenAccount(MINT, ledger, state=2), "InvalidTokenAccount"),
        (TokenAccount(MINT, ledger, length=171), "InvalidTokenAccount"),
        (TokenAccount(MINT, ledger, length=170, type_byte=1), "InvalidTokenAccount"),
        (TokenAccount(key("mint 2"), ledger), "WrongMint"),
        (TokenAccount(MINT, stranger), "WrongTokenOwner"),
    ):
        no(make(market, held=held), error)
    no(make(market, vault=market.vault), "WrongVault")
    market.model.world.rent_threshold = 3.0
    no(make(market), "UnsupportedRent")
    market.model.world.rent_threshold = 1.0
    ok(make(market, args={"voucher_key": bytes(32)}, held=TokenAccount(MINT, ledger, length=170)))


# Calls


def test_every_declared_instruction_has_a_rule_and_every_refusal_a_number() -> None:
    assert set(RULES) == {one.name for one in INSTRUCTIONS}
    assert "UnknownInstruction" in CODES


def test_a_call_is_measured_before_it_is_read(market: Market) -> None:
    good = market.call("set_paused", {"flags": 1}, {"authority": key("admin")})
    for wrong, error in (
        (replace(good, accounts=good.accounts + (Meta(key("a")),) * 23), "AccountCount"),
        (replace(good, data=good.data[:7]), "BadArgs"),
        (replace(good, data=bytes(9)), "UnknownInstruction"),
        (replace(good, data=bytes(9), accounts=()), "UnknownInstruction"),
        (replace(good, accounts=good.accounts[:1]), "AccountCount"),
        (replace(good, data=good.data + b"\0"), "BadArgs"),
        (replace(good, data=good.data[:-1]), "BadArgs"),
        (replace(good, accounts=good.accounts[::-1]), "InvalidLedger"),
    ):
        assert market.model.apply(wrong) == Refused(error)
    ok(market.model.apply(replace(good, accounts=good.accounts + (Meta(key("a")),) * 22)))


def test_a_proof_has_its_count_and_no_more_hashes_than_an_index_needs(market: Market) -> None:
    accounts = market.wallet_accounts("wally")
    args: dict[str, Argument] = {"epoch": 1, "index": 0, "lifetime": 1}
    deep = market.call("cover", {**args, "proof": [bytes(32)] * 33}, accounts)
    full = market.call("cover", {**args, "proof": [bytes(32)] * 32}, accounts)

    no(market.model.apply(deep), "BadArgs")
    no(market.model.apply(replace(full, data=full.data + b"\0")), "BadArgs")
    no(market.model.apply(replace(full, data=full.data[:-32])), "BadArgs")
    no(market.model.apply(full), "StaleEpoch")


@pytest.mark.parametrize("name", sorted(RULES))
def test_who_must_sign_and_does_not_is_missed(market: Market, name: str) -> None:
    ok(market.deposit("alice", 1_000))
    ok(market.settle({"wally": 100}, {"alice": 900}))
    declared = next(one for one in INSTRUCTIONS if one.name == name)
    before = market.voucher("wally", 5, START + 10**6)
    args: dict[str, Argument] = {
        **{name: key(name) for name in (*ROLE_NAMES, "cluster_tag", "root", "data_hash", "key")},
        "epoch": 1,
        "amount": 10,
        "flags": 1,
        "key_epoch": 1,
        "number": 0,
        "kind": 6,
        "total": 1,
        "total_exitable": 1,
        "leaf_count": 1,
        "limits": LIMITS,
        "cumulative": 5,
        "expires_at": START + 10**6,
        **market.trees[1].earned("wally"),
        "exitable": 900,
    }
    accounts = {
        **market.wallet_accounts("wally"),
        "authority": key("admin"),
        "base": key("base"),
        "owner": key("alice"),
        "deposit_record": market.deposit_record_of("alice"),
        "source": market.token_account_of(key("alice")),
    }
    if name == "accept_admin":
        ok(market.propose(6, key("admin 2")))
    call = market.call(name, args, accounts, before)
    for at, account in enumerate(declared.accounts):
        metas = list(call.accounts)
        metas[at] = replace(metas[at], signer=False)
        answer = market.model.apply(replace(call, accounts=tuple(metas)))
        if account.signer:
            no(answer, "MissingSigner")


# Bytes


@pytest.mark.parametrize("kind", [*LAYOUTS])
def test_values_have_the_fields_of_their_layouts(kind: type[Ledger]) -> None:
    declared = [one.name for one in LAYOUTS[kind].fields if one.name not in UNUSED]

    assert [one.name for one in fields(kind)] == declared


def test_a_market_that_has_seen_much_is_written_and_read_back(market: Market) -> None:
    ok(market.deposit("alice", 1_000))
    ok(market.deposit("reserve", 100))
    ok(market.settle({"wally": 300}, {"alice": 600}))
    ok(market.publish({"wally": 310}, {"alice": 600}))
    ok(market.claim("wally"))
    ok(market.redeem("wally", 350))
    ok(market.propose(1, limits=replace(LIMITS, min_deposit=11)))
    raw = market.model.world.bytes_of(market.ledger_key)

    assert len(raw) == 1024
    assert raw[:8] == sha256(b"account:Ledger").digest()[:8]
    assert raw[296:304] == (1_100).to_bytes(8, "little")
    assert raw[352:360] == (1).to_bytes(8, "little")
    assert raw[908 - 4 : 912] == (1_000_000).to_bytes(8, "little")
    assert decode(Ledger, raw) == market.ledger
    record = market.model.world.bytes_of(market.claim_record_of("wally"))
    assert record[8:24] == (350).to_bytes(8, "little") + (300).to_bytes(8, "little")
    assert decode(ClaimRecord, record) == market.claim_record("wally")
    deposit = market.model.world.bytes_of(market.deposit_record_of("reserve"))
    assert decode(DepositRecord, deposit).owner == market.ledger_key
    assert market.model.world.bytes_of(key("nobody")) == b""


def test_bytes_that_are_no_record_are_named(market: Market) -> None:
    raw = market.model.world.bytes_of(market.ledger_key)
    for wrong in (raw[:-1], b"\0" + raw[1:], raw[:-1] + b"\x01"):
        with pytest.raises(ValueError, match=r"not a Ledger|reserved is not zero"):
            decode(Ledger, wrong)


def test_a_token_account_lies_where_the_token_program_puts_it() -> None:
    account = TokenAccount(key("m"), key("o"), 7, delegate=key("d"), delegated_amount=9)
    raw = account.encode()

    assert (len(raw), raw[:32], raw[32:64], raw[64]) == (165, key("m"), key("o"), 7)
    assert (raw[72], raw[76:108], raw[108], raw[121], raw[129]) == (1, key("d"), 1, 9, 0)
    assert replace(account, length=170).encode()[165:] == b"\x02\x07\0\0\0"


def test_a_refused_call_leaves_no_trace(market: Market) -> None:
    ok(market.deposit("alice", 1_000))
    ok(market.publish({"wally": 100}, {"alice": 900}))
    ok(market.approve())
    market.wait(3_600)
    before = {a: market.model.world.bytes_of(a) for a in market.model.world.accounts}
    market.account("wally").state = 2
    before[market.token_account_of(key("wally"))] = market.account("wally").encode()
    # Promotes, opens a record, and finds at its end that the destination is frozen.
    no(market.claim("wally", epoch=1), "InvalidTokenAccount")

    assert before == {a: market.model.world.bytes_of(a) for a in market.model.world.accounts}


def test_a_record_of_another_program_or_place_is_refused(market: Market) -> None:
    ok(market.deposit("alice", 1_000))
    ok(market.settle({"wally": 300}, {"alice": 600}))
    args: dict[str, Argument] = {"epoch": 1, **market.trees[1].earned("wally")}
    accounts = market.wallet_accounts("wally")
    no(market.send("cover", args, accounts), "InvalidRecord")
    for record in (key("elsewhere"), market.deposit_record_of("alice"), market.ledger_key):
        no(market.send("claim", args, {**accounts, "claim_record": record}), "InvalidRecord")
    market.model.world.rent_threshold = 0.5
    no(market.send("claim", args, accounts), "UnsupportedRent")
    market.model.world.accounts[accounts["claim_record"]] = Account(key("program 2"))
    no(market.send("claim", args, accounts), "InvalidRecord")
    assert bytes(32) == SYSTEM_PROGRAM


# Addresses and trees


@given(st.binary(min_size=32, max_size=32))
def test_an_address_is_the_first_off_the_curve(wallet: bytes) -> None:
    address, bump = derived(PROGRAM, b"claim", wallet)

    assert derived_with(PROGRAM, bump, b"claim", wallet) == address
    higher = range(bump + 1, 256)
    assert all(derived_with(PROGRAM, one, b"claim", wallet) is None for one in higher)


@given(st.integers(1, 70), st.data())
def test_trees_and_proofs_are_those_of_the_product(count: int, data: st.DataObject) -> None:
    leaves = [merkle.hash_leaf(bytes([at])) for at in range(count)]
    levels = merkle.levels_of(leaves)
    index = data.draw(st.integers(0, count - 1))
    proof = proof_of(leaves, index)

    assert root_of(leaves) == merkle.root_at(levels)
    assert proof == merkle.path_of(levels, index)
    assert leads_to(root_of(leaves), leaves[index], index, count, proof)


@given(st.integers(1, 40), st.integers(0, 45), st.integers(0, 45), st.data())
def test_no_other_place_count_or_proof_leads_to_the_root(
    count: int, index: int, claimed_count: int, data: st.DataObject
) -> None:
    leaves = [merkle.hash_leaf(bytes([at])) for at in range(count)]
    true_index = data.draw(st.integers(0, count - 1))
    proof = proof_of(leaves, true_index)
    found = leads_to(root_of(leaves), leaves[true_index], index, claimed_count, proof)

    assert found == merkle.is_included(
        leaves[true_index], index, claimed_count, proof, root_of(leaves)
    )
    if claimed_count == count:
        assert found == (index == true_index)
