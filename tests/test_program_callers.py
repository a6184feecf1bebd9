"""Who calls the settlement program, and among what: other programs, wallets' own instructions,
lookup tables, programs that do nothing."""

from __future__ import annotations

import pytest
from solders.account import Account
from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey

from tests.program_cases import BASES, Case, Stage
from tests.program_cases_claims import of_epoch
from tests.program_changes import edited, read_only, unsigned
from tests.program_neighbours import CALLED, GUARD, load_samples, relayed
from tests.program_scenes import DECLARED, Change, Scene
from tests.program_suite import CASES
from tests.program_world import FEE_PAYER, World, key_of, program_file

#: Every instruction: each has cases, and with them a scene.
NAMES = sorted({case.instruction for case in CASES})


@pytest.fixture(scope="module")
def stage() -> Stage:
    world = World(program_file())
    load_samples(world, program_file())
    return Stage(world)


def told(stage: Stage, name: str, *changes: Change, error: str | None = None) -> str | None:
    return stage.told(Case(name, "", changes, error, {}, alone=False))


# ---- calls of other programs --------------------------------------------------------------------
@pytest.mark.parametrize("name", NAMES)
def test_another_program_may_call_each_instruction(stage: Stage, name: str) -> None:
    """With a voucher too: what is read is the transaction's list, where the check stands before."""
    assert told(stage, name, edited(relayed)) is None


@pytest.mark.parametrize(
    ("name", "signer"),
    [(each.name, a.name) for each in DECLARED.values() for a in each.accounts if a.signer],
)
def test_a_caller_signs_for_nobody(stage: Stage, name: str, signer: str) -> None:
    assert told(stage, name, edited(relayed), unsigned(signer), error="MissingSigner") is None


def test_a_caller_makes_nothing_writable(stage: Stage) -> None:
    assert told(stage, "claim", edited(relayed), read_only("vault"), error="(the runtime)") is None


def test_a_voucher_is_not_redeemed_by_a_caller_without_its_check(stage: Stage) -> None:
    alone: Change = lambda scene: scene.before.clear()  # noqa: E731

    assert told(stage, "redeem", edited(relayed), alone, error="BadVoucher") is None


# ---- instructions that wallets add --------------------------------------------------------------
def guard(scene: Scene) -> Instruction:
    """What a wallet adds: it looks at accounts of the transaction."""
    seen = [AccountMeta(key, is_signer=False, is_writable=False) for key in scene.keys.values()]
    return Instruction(GUARD, b"\x06\x00\x01", seen)


def guarded(scene: Scene) -> None:
    scene.before.insert(0, guard)
    scene.after.append(guard)


@pytest.mark.parametrize("name", NAMES)
def test_a_wallet_may_add_instructions_around(stage: Stage, name: str) -> None:
    assert told(stage, name, guarded) is None


def test_between_check_and_redemption_nothing_may_be_added(stage: Stage) -> None:
    between: Change = lambda scene: scene.before.append(guard)  # noqa: E731

    assert told(stage, "redeem", between, error="BadVoucher") is None


# ---- lookup tables ------------------------------------------------------------------------------
def tabled(scene: Scene) -> None:
    """All accounts that sign nothing come out of a lookup table."""
    table = key_of("lookup table")
    addresses = [key for key in scene.keys.values() if key != FEE_PAYER]
    scene.tables.append(AddressLookupTableAccount(table, addresses))
    # Type 1 (a table), never deactivated, extended at slot 0, no authority, then the addresses.
    head = (1).to_bytes(4, "little") + b"\xff" * 8 + bytes(8 + 1 + 1 + 32 + 2)
    owner = Pubkey.from_string("AddressLookupTab1e1111111111111111111111111")
    data = head + b"".join(map(bytes, addresses))
    scene.extra[table] = Account(10**9, data, owner)


@pytest.mark.parametrize("name", NAMES)
def test_accounts_may_come_out_of_a_lookup_table(stage: Stage, name: str) -> None:
    assert told(stage, name, tabled) is None


# ---- programs that are taken for others ---------------------------------------------------------
@pytest.mark.parametrize("case", CALLED, ids=lambda case: case.id)
def test_a_program_that_does_nothing_passes_for_no_other(stage: Stage, case: Case) -> None:
    assert stage.told(case) is None


# ---- many at once -------------------------------------------------------------------------------
def older(_: Scene) -> Instruction:
    """The same wallet's leaf of the epoch before."""
    scene = BASES["claim"].scene()
    of_epoch(6)(scene)
    return scene.instruction()


def test_two_leaves_of_a_wallet_pay_together_what_the_newer_says(stage: Stage) -> None:
    both: Change = lambda scene: scene.before.append(older)  # noqa: E731

    assert told(stage, "claim", both) is None
