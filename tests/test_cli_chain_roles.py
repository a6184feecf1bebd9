"""Roles at the command line, against a development chain with the real program."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import pytest
from solders.message import to_bytes_versioned
from solders.transaction import VersionedTransaction

from hypernode.cli.exit import Exit
from onchain.address import decode_address
from onchain.places import Market
from onchain.program import DEVELOPMENT_ID
from tests.chain_owner import MINT, Owner, owner, text
from tests.chains import key, put_tokens

DAY_MS = 86_400_000
HYPER = 1_000_000


@pytest.fixture
def us(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Owner]:
    for name in ("HYPERNODE_RPC", "HYPERNODE_LEDGER", "HYPERNODE_KEYPAIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "nothing"))
    with owner(tmp_path, capsys) as one:
        one.opened()
        yield one


def by(us: Owner, name: str, *words: object) -> tuple[object, ...]:
    """A command line of somebody's."""
    return (*words, "--config", us.folder / "settlement.toml", "-k", us.key_file(name))


def status(us: Owner) -> dict[str, object]:
    told: dict[str, object] = us.told("status", "--config", us.folder / "settlement.toml")
    return told


def wait(us: Owner, days: float) -> None:
    slots = int(days * DAY_MS / 400)
    us.machine.advance(slots)


@pytest.mark.slow
def test_a_publisher_is_replaced_after_the_delay(us: Owner) -> None:
    us.told(*by(us, "admin", "propose", "publisher", text("new publisher")))
    proposed = status(us)["proposal"]
    early = us.told(*by(us, "anybody", "apply"), status=Exit.FAILED)
    wait(us, 2)
    us.told(*by(us, "anybody", "apply"))
    after = status(us)

    assert isinstance(proposed, dict)
    assert (proposed["number"], proposed["kind"]) == (1, "PUBLISHER")
    assert proposed["key"] == text("new publisher")
    assert early["code"] == "NotDue"
    assert "UTC, in 2 d 0 h on the chain's clock" in early["error"]
    assert after["proposal"] is None
    assert after["roles"]["publisher"] == text("new publisher")  # type: ignore[index]


@pytest.mark.slow
def test_a_proposal_is_cancelled_by_the_guardian(us: Owner) -> None:
    us.told(*by(us, "admin", "propose", "voucher", "none"))
    us.told(*by(us, "guardian", "cancel"))

    assert status(us)["proposal"] is None
    assert us.told(*by(us, "guardian", "cancel"), status=Exit.FAILED)["code"] == "NoProposal"


@pytest.mark.slow
def test_a_new_administrator_takes_over(us: Owner) -> None:
    early = us.told(*by(us, "heir", "accept-admin"), status=Exit.FAILED)
    us.told(*by(us, "admin", "propose", "admin", text("heir")))
    wait(us, 2)
    by_others = us.told(*by(us, "anybody", "accept-admin"), status=Exit.FAILED)
    applied = us.told(*by(us, "anybody", "apply"), status=Exit.FAILED)
    us.told(*by(us, "heir", "accept-admin"))

    assert early["code"] == applied["code"] == "NoProposal"
    assert by_others["code"] == "Unauthorized"
    assert status(us)["roles"]["admin"] == text("heir")  # type: ignore[index]


@pytest.mark.slow
def test_pauses_hold_and_are_lifted_by_a_proposal(us: Owner) -> None:
    us.told(*by(us, "admin", "pause", "publish", "redeem"))
    paused = status(us)["paused_until"]
    us.told(*by(us, "admin", "propose", "unpause", "publish", "redeem"))
    wait(us, 2)
    us.told(*by(us, "admin", "apply"))

    assert isinstance(paused, dict)
    assert set(paused) == {"publish", "redeem"}
    assert status(us)["paused_until"] == {}


@pytest.mark.slow
def test_limits_are_tightened_at_once_and_loosened_by_proposal(us: Owner) -> None:
    tight, loose = us.folder / "tight.toml", us.folder / "loose.toml"
    base = (us.folder / "settlement.toml").read_text()
    tight.write_text(base.replace('window_limit = "50000"', 'window_limit = "40000"'))
    loose.write_text(base.replace('window_limit = "50000"', 'window_limit = "60000"'))
    admin = us.key_file("admin")
    us.told("tighten", "--config", tight, "-k", admin)
    tightened = status(us)["limits"]
    refused = us.ask("tighten", "--config", loose, "-k", admin, status=Exit.USAGE)
    us.told("propose", "limits", "--config", loose, "-k", admin)
    wait(us, 2)
    us.told("apply", "--config", loose, "-k", admin)

    assert tightened["window_limit"] == "40000"  # type: ignore[index]
    assert "NotTightening: only stricter limits take effect at once" in refused
    assert "window_limit rises from 40000000000 to 60000000000" in refused
    assert status(us)["limits"]["window_limit"] == "60000"  # type: ignore[index]


def test_vouchers_are_voided(us: Owner) -> None:
    us.told(*by(us, "admin", "void-vouchers"))

    assert status(us)["key_epoch"] == 1


@pytest.mark.slow
def test_what_lies_in_excess_is_swept(us: Owner) -> None:
    ledger = decode_address(str(status(us)["ledger"]))
    market = Market(DEVELOPMENT_ID, ledger, MINT)
    put_tokens(us.machine, market.vault, MINT, ledger, 30 * HYPER)  # a gift
    us.told(*by(us, "admin", "propose", "sweep", "30", text("treasury")))
    wait(us, 2)
    us.told(*by(us, "anybody", "apply"))
    account = us.machine.newest(market.token_account(key("treasury").address))

    assert account is not None
    assert int.from_bytes(bytes(account.data)[64:72], "little") == 30 * HYPER
    assert status(us)["vault_balance"] == "0"


@pytest.mark.parametrize("words", [("void-vouchers",), ("pause", "claim"), ("cancel",)])
def test_a_stranger_is_refused(us: Owner, words: tuple[str, ...]) -> None:
    us.told(*by(us, "admin", "propose", "voucher", "none"))

    told = us.told(*by(us, "stranger", *words), status=Exit.FAILED)
    assert told["code"] == "Unauthorized"
    assert f"signed by {text('stranger')}; the admin is {text('admin')}" in told["error"]


@pytest.mark.slow
def test_a_dry_run_changes_nothing_and_needs_no_key(us: Owner) -> None:
    us.key_file("admin")  # has lamports
    config = us.folder / "settlement.toml"
    told = us.told("pause", "claim", "--config", config, "--dry-run")
    refused = us.told(
        "pause", "claim", "--config", config, "--dry-run", "--authority", text("owner"),
        status=Exit.FAILED,
    )  # fmt: skip

    assert told["units"] > 0
    assert told["lamports"] == 5000
    assert refused["code"] == "Unauthorized"
    assert status(us)["paused_until"] == {}


def test_an_unsigned_transaction_is_for_its_signer_and_works_once_signed(us: Owner) -> None:
    us.key_file("guardian")
    printed = us.ask(
        "pause", "claim", "--config", us.folder / "settlement.toml", "--unsigned",
        "--authority", text("guardian"),
    )  # fmt: skip
    transaction = VersionedTransaction.from_bytes(b64decode(printed, validate=False))
    assert bytes(transaction.message.account_keys[0]) == key("guardian").address
    assert not any(map(any, map(bytes, transaction.signatures)))
    body = to_bytes_versioned(transaction.message)
    raw = b"\x01" + key("guardian").sign(body) + body

    assert us.machine.submit(raw).outcome.error is None
    assert set(status(us)["paused_until"]) == {"claim"}  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("propose", "publisher"), "propose publisher takes ADDRESS"),
        (("propose", "limits", "1"), "propose limits takes nothing more"),
        (("propose", "sweep", "1"), "propose sweep takes AMOUNT WALLET"),
        (("propose", "sweep", "x", text("admin")), "not an amount of HYPER"),
        (("propose", "guardian", "nobody"), "ADDRESS: "),
        (("propose", "unpause", "all"), "'all' is none of deposit, claim, publish, redeem"),
        (("pause", "all"), "is not one of"),
        (("propose", "publisher", text("admin")), "RoleConflict"),
    ],
)
def test_a_slip_is_told(us: Owner, words: tuple[str, ...], said: str) -> None:
    wanted = Exit.FAILED if said == "RoleConflict" else Exit.USAGE
    assert said in us.ask(*by(us, "admin", *words), status=wanted)


def test_a_root_that_is_not_there_is_neither_cancelled_nor_revoked(us: Owner) -> None:
    cancelled = us.told(*by(us, "guardian", "cancel-root", "3"), status=Exit.FAILED)
    revoked = us.told(*by(us, "admin", "revoke-root", "3"), status=Exit.FAILED)

    assert (cancelled["code"], revoked["code"]) == ("NoPendingRoot", "NotRevocable")
    assert "none is pending" in cancelled["error"]
    assert "none is active" in revoked["error"]
