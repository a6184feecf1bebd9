"""Who lacks what: refusals of the runtime and of the token program, with names and amounts."""

from __future__ import annotations

import pytest

from hypernode import claims
from hypernode.cli.exit import status_of
from onchain.account_words import described
from onchain.address import encode_address
from onchain.chain import Account
from onchain.chain_errors import Fault, NotEnoughSol, NotEnoughTokens, TransactionRefused
from onchain.fees import Fees
from onchain.places import TOKEN_PROGRAM
from onchain.program_refusals import ProgramRefused
from onchain.reads import read_ledger
from onchain.role_calls import Pause
from onchain.shortages import in_words
from onchain.transactions import Recipe
from onchain.views import NotOfTheProgram, decode_market
from tests.chains import SOL, key, pay
from tests.settlement_chain import Bazaar, open_bazaar

HOST = key("host")


async def deposit(bazaar: Bazaar, amount: int) -> None:
    await claims.deposit(bazaar.chain, bazaar.market, HOST, amount, Fees())


@pytest.mark.parametrize(
    ("lamports", "words"),
    [
        (0, ("has 0 SOL", "0.000005 SOL or more for its fee")),
        (1_000_000, ("has 0.001 SOL", "0.0016704 SOL or more as rent")),
    ],
)
async def test_who_pays_without_sol_is_told_whom_to_fund(
    lamports: int, words: tuple[str, ...]
) -> None:
    bazaar = await open_bazaar()
    bazaar.fund(HOST.address, 5_000_000)
    if lamports:
        bazaar.chain.airdrop(HOST.address, lamports)

    with pytest.raises(NotEnoughSol) as caught:
        await deposit(bazaar, 1_000_000)

    where = encode_address(HOST.address)
    assert [
        word for word in (*words, f"send SOL to {where}") if word not in str(caught.value)
    ] == []
    ending = status_of(caught.value)
    assert ending is not None
    assert (ending.code, ending.log) == ("not_enough_sol", "")
    assert f"airdrop {where}" in ending.hint


async def test_what_would_fall_below_its_rent_is_told_both_sums() -> None:
    bazaar = await open_bazaar()
    recipe = Recipe((pay(HOST, key("payer").address, 500_000),), (HOST,))

    # A development chain does not look at what stays behind; clusters answer this.
    with pytest.raises(NotEnoughSol, match=r"0\.00089088 SOL that must stay in an account"):
        async with in_words(bazaar.chain, recipe, bazaar.market.program):
            raise TransactionRefused(Fault("InsufficientFundsForRent"))


async def test_a_deposit_without_tokens_names_wallet_amounts_and_mint() -> None:
    bazaar = await open_bazaar()
    bazaar.chain.airdrop(HOST.address, SOL)
    with pytest.raises(NotEnoughTokens, match="no token account of its own"):
        await deposit(bazaar, 1_000_000)
    bazaar.fund(HOST.address, 250_000)
    with pytest.raises(NotEnoughTokens) as caught:
        await deposit(bazaar, 1_000_000)

    mint, who = encode_address(bazaar.market.mint), encode_address(HOST.address)
    said = f"{who} has 0.25 HYPER (mint {mint}); this takes 1 HYPER: send tokens to {who}"
    assert str(caught.value) == said
    ending = status_of(caught.value)
    assert ending is not None
    assert (ending.code, ending.sentence) == ("not_enough_tokens", said)


async def test_a_deposit_below_the_minimum_is_told_the_minimum() -> None:
    bazaar = await open_bazaar(min_deposit=2_000_000)
    bazaar.chain.airdrop(HOST.address, SOL)
    bazaar.fund(HOST.address, 5_000_000)

    with pytest.raises(ProgramRefused, match=r"BelowMinimum.*that is 2 HYPER, and this is 1"):
        await deposit(bazaar, 1_000_000)


async def test_a_paused_deposit_says_until_when() -> None:
    bazaar = await open_bazaar()
    await bazaar.pause(Pause.DEPOSIT)

    with pytest.raises(ProgramRefused) as caught:
        await deposit(bazaar, 1_000_000)

    ending = status_of(caught.value)
    assert ending is not None
    assert "until the administrator's proposal" in ending.sentence


async def test_what_no_rule_fits_stays_as_the_chain_told_it() -> None:
    bazaar = await open_bazaar()
    recipe = Recipe((pay(HOST, key("payer").address, 1),), (HOST,))
    told = TransactionRefused(Fault("InstructionError", 0, "Custom", 1), ("Program log: no",))

    with pytest.raises(TransactionRefused) as caught:
        async with in_words(bazaar.chain, recipe, bazaar.market.program):
            raise told
    assert caught.value is told


async def test_a_foreign_account_is_named_for_what_it_is() -> None:
    bazaar = await open_bazaar()
    market, chain = bazaar.market, bazaar.chain
    bazaar.fund(HOST.address, 250_000)
    bazaar.chain.airdrop(HOST.address, SOL)
    places = (market.mint, market.token_account(HOST.address), HOST.address, market.program)
    found = (await chain.accounts([*places, market.ledger])).values

    program = encode_address(market.program)
    mint, host = encode_address(market.mint), encode_address(HOST.address)
    assert [described(each) for each in found] == [
        "a mint of SPL Token",
        f"a token account of {host} (mint {mint}, 0.25 at six decimals)",
        "a wallet with 1 SOL",
        "a program",
        f"a Ledger of the program {program}",
    ]
    with pytest.raises(NotOfTheProgram, match="lies a mint of SPL Token, not a Ledger of the"):
        decode_market(found[0], market.program)
    assert described(Account(b"\1" * 32, 1, TOKEN_PROGRAM, b"\0" * 9, executable=False)) == (
        "an account of 9 bytes of SPL Token"
    )
    assert (await read_ledger(chain, market)).ledger.mint == market.mint
