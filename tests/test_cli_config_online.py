"""`hypernode config check` of what settles: key files, an owner's file, both against a chain."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hypernode.cli.app import run
from hypernode.cli.exit import Exit
from onchain.address import encode_address
from tests.chain_owner import MINT, Owner, owner, text
from tests.chains import key


@pytest.fixture
def us(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Owner]:
    for name in ("HYPERNODE_RPC", "HYPERNODE_LEDGER", "HYPERNODE_KEYPAIR", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "nothing"))
    with owner(tmp_path, capsys) as one:
        yield one


def checked(us: Owner, *words: object, status: int = Exit.OK) -> str:
    got = run(["config", "check", *map(str, words)])
    shown = us.capsys.readouterr()
    assert got == status, shown
    return shown.out + shown.err


def house(us: Owner, ledger: str, **keys: Path | str) -> Path:
    """A coordinator's file."""
    path = us.folder / "coordinator.toml"
    said = {"ledger": ledger, "db": us.folder / "m.db", **keys}
    lines = "".join(f'{name} = "{value}"\n' for name, value in said.items())
    path.write_text(f'rpc = ["{us.thread.url}"]\n{lines}')
    return path


def test_an_owners_file_is_known_by_its_settings_and_checked(us: Owner) -> None:
    assert "the settings of this market are good" in checked(us, "--config", us.config())
    file = us.config(limits='max_epoch_increase = "1"\nexit_after = "1h"\n')
    said = checked(us, "--config", file, status=Exit.USAGE)
    assert "window_limit" in said
    us.config(f'keypair = "{us.folder / "none.json"}"\n')
    said = checked(us, "--config", file, status=Exit.USAGE)
    assert "keypair" in said
    assert "there is no such wallet" in said


def test_an_owners_file_is_compared_with_the_ledger(us: Owner) -> None:
    us.opened()
    file = us.folder / "settlement.toml"
    assert "are good" in checked(us, "--config", file, "--online")
    stranger, guardian = text("stranger"), text("guardian")
    file.write_text(file.read_text().replace(guardian, stranger))
    more = ("--keypair", us.key_file("publisher"))
    said = checked(us, "--config", file, "--online", *more, status=Exit.USAGE)

    assert f"the file says {stranger}; this ledger's is {guardian}" in said
    assert f"keypair: {text('publisher')} is this ledger's publisher" in said


def test_a_market_that_is_still_to_be_made_needs_its_mint(us: Owner) -> None:
    assert "`hypernode chain init` makes one" in checked(us, "--config", us.config(), "--online")
    us.config()
    wrong = ("--mint", text("nobody"))
    said = checked(us, "--config", us.config(), "--online", *wrong, status=Exit.USAGE)
    assert f"there is no mint at {text('nobody')}" in said


def test_a_coordinators_key_files_are_looked_at(us: Owner) -> None:
    exposed = us.key_file("publisher", lamports=0)
    exposed.chmod(0o640)
    none = us.folder / "none.json"
    file = house(us, text("ledger"), publisher_key=exposed, voucher_key=none)

    said = checked(us, "--config", file, status=Exit.USAGE)
    assert f"{exposed}: Others may read this key file" in said
    assert f"voucher_key ({file}:5): there is no key file {none}" in said


def test_a_coordinators_ledger_and_roles_are_asked_of_the_chain(us: Owner) -> None:
    ledger = us.opened()["ledger"]
    publisher, vouchers = us.key_file("publisher"), us.key_file("voucher_key", lamports=0)
    good = house(us, ledger, publisher_key=publisher, voucher_key=vouchers)
    shown = checked(us, "--config", good, "--online")
    assert "are good" in shown
    assert f"`hypernode deposit AMOUNT --for {ledger}`" in shown

    poor = us.key_file("stranger", lamports=0)
    said = checked(us, "--config", house(us, ledger, publisher_key=poor), "--online", status=2)
    assert f"{poor} is the key {text('stranger')}; this ledger's publisher is" in said
    assert f"{text('stranger')} pays for its transactions and has 0 SOL" in said
    sponsor = house(us, ledger, publisher_key=publisher, sponsor_key=poor)
    shown = checked(us, "--config", sponsor, "--online")
    assert f"sponsor_key: {text('stranger')} has 0 SOL, less than it may spend in a day" in shown
    mint = encode_address(MINT)
    said = checked(us, "--config", house(us, mint), "--online", status=Exit.USAGE)
    assert f"at {mint} lies a mint of SPL Token" in said
    file = house(us, ledger, chain_id="devnet")
    said = checked(us, "--config", file, "--online", status=Exit.USAGE)
    assert "the nodes are of localnet, chain_id says devnet" in said
    assert key("publisher").address.hex() not in said


def test_an_agent_asks_no_chain(us: Owner) -> None:
    assert "an agent asks no chain" in checked(us, "--role", "agent", "--online", status=2)
