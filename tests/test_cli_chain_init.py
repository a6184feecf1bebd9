"""`hypernode chain init` and `chain status`, against a development chain with the real program."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hypernode.cli.chain_status_screen import _line
from hypernode.cli.exit import Exit
from onchain.address import encode_address
from onchain.calls import deposit
from onchain.chain import Commitment
from onchain.drafts import Budget
from onchain.localnet import development_mint
from onchain.places import Market, ledger_place
from onchain.program import DEVELOPMENT_ID
from onchain.transactions import Recipe
from tests.chain_owner import LIMITS, MINT, Owner, owner, text
from tests.chains import SOL, key, put_tokens

HYPER = 1_000_000


@pytest.fixture
def us(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Owner]:
    for name in ("HYPERNODE_RPC", "HYPERNODE_LEDGER", "HYPERNODE_KEYPAIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "nothing"))
    with owner(tmp_path, capsys) as one:
        yield one


def market_of(ledger: bytes) -> Market:
    return Market(DEVELOPMENT_ID, ledger, MINT)


@pytest.mark.slow
def test_a_market_is_opened_and_shown(us: Owner) -> None:
    config = us.config()
    rehearsed = us.told("init", "--config", config, "-k", us.key_file("owner"), "--dry-run")
    assert us.machine.newest(ledger_place(DEVELOPMENT_ID, key("owner").address).address) is None
    opened = us.opened()
    shown = us.told("status", "--config", config, "--records")

    expected = ledger_place(DEVELOPMENT_ID, key("owner").address).address
    assert opened["ledger"] == rehearsed["ledger"] == encode_address(expected)
    assert 0 < rehearsed["units"] < 200_000
    held = sum(us.machine.rent_minimum(size) for size in (1024, 165))
    assert rehearsed["rent_lamports"] == held
    assert shown["ledger"] == opened["ledger"]
    assert shown["roles"] == {r: text(r) for r in ("admin", "publisher", "guardian", "voucher_key")}
    assert shown["limits"]["window_limit"] == "50000"
    assert shown["limits"]["min_deposit"] == "1"
    assert shown["limits"]["exit_after"] == 7 * 86_400
    assert shown["sound"] is True
    assert {each["name"] for each in shown["findings"]} >= {"deposit records sum up"}


def test_no_number_is_cut_on_the_screen() -> None:
    long = "NOT SO: something (18446744073709551615 ≤ 18446744073709551614), and more of the same"
    shown = _line("", long)

    assert max(map(len, shown.split("\n"))) <= 80
    assert " ".join(shown.split()) == long


def test_a_key_makes_one_ledger(us: Owner) -> None:
    ledger = us.opened()["ledger"]

    told = us.told("init", "--config", us.config(), "-k", us.key_file("owner"), status=Exit.FAILED)
    assert told["code"] == "AlreadyInitialized"
    assert f"that ledger exists: {ledger}, made by the key {text('owner')}" in told["error"]


def test_another_base_makes_another(us: Owner) -> None:
    first = us.opened()
    base = us.key_file("another base", lamports=0)
    second = us.told("init", "--config", us.config(), "-k", us.key_file("owner"), "--base", base)

    assert second["ledger"] != first["ledger"]


def test_money_that_came_in_is_shown(us: Owner) -> None:
    ledger = us.opened()["ledger"]
    market = market_of(ledger_place(DEVELOPMENT_ID, key("owner").address).address)
    put_tokens(
        us.machine,
        market.token_account(key("owner").address),
        MINT,
        key("owner").address,
        50 * HYPER,
    )
    payer = key("owner")
    recipe = Recipe(
        (
            deposit(
                market,
                payer=payer.address,
                authority=payer.address,
                owner=payer.address,
                amount=20 * HYPER,
            ),
        ),
        (payer,),
    )
    blockhash, _ = us.machine.latest_blockhash(Commitment.PROCESSED)
    assert us.machine.submit(recipe.sign(blockhash, Budget()).raw).outcome.error is None
    shown = us.told("status", "--config", us.config(), "--ledger", ledger, "--records")

    assert shown["total_deposited"] == shown["vault_balance"] == "20"
    assert shown["sound"] is True


@pytest.mark.slow
def test_a_vault_that_lacks_money_is_status_1(us: Owner) -> None:
    test_money_that_came_in_is_shown(us)
    market = market_of(ledger_place(DEVELOPMENT_ID, key("owner").address).address)
    put_tokens(us.machine, market.vault, MINT, market.ledger, 19 * HYPER)
    arguments = ("status", "--config", us.config(), "--ledger", encode_address(market.ledger))

    assert "NOT SO: the vault holds what is owed" in us.ask(*arguments, status=Exit.FAILED)
    assert us.told(*arguments, status=Exit.FAILED)["sound"] is False


def test_the_screen_fits(us: Owner) -> None:
    ledger = us.opened()["ledger"]
    shown = us.ask("status", "--config", us.config(), "--ledger", ledger).rstrip("\n").split("\n")

    assert max(map(len, shown)) <= 80
    assert len(shown) <= 34
    assert shown[0].split() == ["Ledger", ledger]
    assert any(line.startswith("Sound") and "yes" in line for line in shown)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('exit_after = "7d"', 'exit_after = "1d"', "BadLimits: limits outside what the program"),
        ('exit_after = "7d"', 'exit_after = "1d"', "exit_after is not above slow_delay"),
        ('fast_delay = "1h"', 'fast_delay = "59m"', "fast_delay is below 3600 s"),
        ('window_limit = "50000"', 'window_limit = "1"', "window_limit is below 86400000"),
        ('window_limit = "50000"', "", "window_limit"),
        ('window = "24h"', 'widow = "24h"', "there is no setting 'widow'"),
        ('window = "24h"', 'window = "soon"', "is not a time"),
        ('window = "24h"', "window = 24", "this must be text"),
        ('advance_cap = "1000"', 'advance_cap = "1.0000001"', "finer than a base unit"),
        ('advance_cap = "1000"', 'advance_cap = "1000', "this file cannot be read"),
        ('advance_cap = "1000"', 'advance_cap = "1000"\nsecret_key = "x"', "a key is read from"),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused_before_anything_is_sent(
    us: Owner, before: str, after: str, said: str
) -> None:
    assert before in LIMITS
    config = us.config(limits=LIMITS.replace(before, after))
    told = us.ask("init", "--config", config, "-k", us.key_file("owner"), status=Exit.USAGE)

    assert said in told


def test_two_roles_of_one_key_are_refused(us: Owner) -> None:
    arguments = ("--config", us.config(), "--guardian", text("admin"))
    told = us.ask("init", *arguments, "-k", us.key_file("owner"), status=Exit.USAGE)

    assert "RoleConflict: " in told
    assert "admin and guardian are the same key" in told


def test_a_mint_that_can_be_frozen_is_refused(us: Owner) -> None:
    account = us.machine.newest(MINT)
    assert account is not None
    data = bytearray(account.data)
    data[46:82] = (1).to_bytes(4, "little") + bytes([7]) * 32
    us.machine.set_account(MINT, account.lamports, bytes(data), bytes(account.owner))
    arguments = ("init", "--config", us.config(), "-k", us.key_file("owner"))

    assert us.told(*arguments, status=Exit.FAILED)["code"] == "MintFreezable"


def test_what_is_no_mint_is_refused(us: Owner) -> None:
    arguments = ("init", "--config", us.config(), "-k", us.key_file("owner"))

    told = us.told(*arguments, "--mint", text("admin"), status=Exit.FAILED)
    assert told["code"] == "WrongMint"


def test_who_lacks_lamports_is_told(us: Owner) -> None:
    poor = us.key_file("poor", lamports=0)
    us.machine.airdrop(key("poor").address, 1_000_000)  # less than the ledger's rent
    told = us.told("init", "--config", us.config(), "-k", poor, status=Exit.FAILED)

    assert told["code"] == "not_enough_sol"
    assert f"send SOL to {text('poor')}" in told["error"]
    assert f"`hypernode chain dev airdrop {text('poor')} 1`" in told["hint"]


def test_a_market_before_its_mint_is_told_how_to_make_one(us: Owner) -> None:
    mint = encode_address(development_mint(token_2022=True).new.mint)
    arguments = ("init", "--config", us.config(), "-k", us.key_file("owner"), "--mint")
    told = us.told(*arguments, mint, status=Exit.FAILED)
    other = us.told(*arguments, text("nothing there"), status=Exit.FAILED)

    assert told["code"] == other["code"] == "WrongMint"
    assert f"there is no mint at {mint}" in told["error"]
    assert "`hypernode chain dev mint WALLET 1000 --token-2022`" in told["error"]
    assert "chain dev mint" not in other["error"]


def test_a_key_file_that_others_read_is_refused(us: Owner) -> None:
    path = us.key_file("owner")
    path.chmod(0o644)

    told = us.told("init", "--config", us.config(), "-k", path, status=Exit.FAILED)
    assert told["code"] == "key_file"


def test_no_ledger_is_told(us: Owner) -> None:
    arguments = ("status", "--config", us.config(), "--ledger", text("admin"))

    assert f"nothing lies at {text('admin')}" in us.ask(*arguments, status=Exit.FAILED)
    us.machine.airdrop(key("admin").address, SOL)
    assert "lies a wallet with 1 SOL, not a ledger" in us.ask(*arguments, status=Exit.FAILED)
    assert "pass --ledger" in us.ask("status", "--config", us.config(), status=Exit.USAGE)


def test_another_program_is_no_ledger(us: Owner) -> None:
    ledger = us.opened()["ledger"]
    arguments = ("status", "--config", us.config(), "--ledger", ledger)

    told = us.told(*arguments, "--program", text("admin"), status=Exit.FAILED)
    assert told["code"] == "onchain"


def test_another_genesis_is_refused(us: Owner) -> None:
    arguments = ("status", "--config", us.config(f'genesis = "{text("admin")}"\n'))
    told = us.told(*arguments, "--ledger", text("admin"), status=Exit.FAILED)

    assert "of another cluster" in told["error"]
