"""Programs around the settlement program: one that calls it, one that does nothing; their cases.

In:   a world.
Out:  the same with the programs of `program_samples` in it; cases that need them (`CALLED`).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

from solders.instruction import AccountMeta, Instruction

from onchain.program.build.construct import build
from onchain.program.build.image import Version
from tests.program_cases import Case
from tests.program_changes import account, ledger
from tests.program_scenes import VOUCHER_KEY, Change, Scene
from tests.program_vouchers import Check
from tests.program_world import PROGRAM, World, key_of
from tests.tree import ROOT

RELAY, IDLE, GUARD = key_of("relay"), key_of("idle"), key_of("a wallet's guard")


@cache
def _built(name: str, version: Version) -> bytes:
    return build(ROOT / "tests" / "program_samples" / name).files[version]


def load_samples(world: World, program: Path | None = None) -> None:
    """Put them there, in the version of the file under test."""
    is_new = program is not None and ".v3." in program.name
    version = Version.V3 if is_new else Version.V0
    for key, name in ((RELAY, "relay"), (IDLE, "idle"), (GUARD, "idle")):
        world.load(_built(name, version), at=key)


def relayed(made: Instruction) -> Instruction:
    """The same instruction by way of another program."""
    first = AccountMeta(PROGRAM, is_signer=False, is_writable=False)
    return Instruction(RELAY, bytes(made.data), [first, *made.accounts])


def idle_tokens(scene: Scene) -> None:
    """The ledger's token program is one that moves nothing, and so is what is given."""
    account("token_program", IDLE)(scene)
    ledger(token_program=IDLE)(scene)


def checked_elsewhere(scene: Scene) -> None:
    """The bytes of a check, never checked: another program has taken them."""

    def make(_: Scene) -> Instruction:
        assert scene.voucher is not None
        header, key = Check().header(), bytes(VOUCHER_KEY.pubkey())
        return Instruction(IDLE, header + key + bytes(64) + scene.voucher.message(), [])

    scene.before[:] = [make]


def listed(size: int) -> Change:
    """Instructions of another program first, so that the whole list has so many bytes.

    Source: Agave's Instructions sysvar: a count, offsets, each (2, 33 an account, 32, 2, data), 2.
    """

    def change(scene: Scene) -> None:
        ours = scene.instructions()
        fillers = [Instruction(IDLE, b"", [NOBODY] * 200) for _ in range(9)]
        made = sum(38 + 33 * len(each.accounts) + len(each.data) for each in [*ours, *fillers])
        filler = Instruction(IDLE, bytes(size - 4 - made - 38), [])
        scene.before[:0] = [lambda _, one=one: one for one in [*fillers, filler]]  # type: ignore[misc]

    return change


NOBODY: Final = AccountMeta(IDLE, is_signer=False, is_writable=False)


def _called(instruction: str, name: str, change: Change, error: str | None) -> Case:
    return Case(instruction, name, (change,), error, {}, alone=False)


CALLED: Final = [
    _called("deposit", "a transfer that moves nothing", idle_tokens, "TransferMismatch"),
    _called("redeem", "a check by another program", checked_elsewhere, "BadVoucher"),
    _called("redeem", "a list of 65,535 bytes", listed(65_535), None),
    _called("redeem", "a list of 65,536 bytes", listed(65_536), "BadVoucher"),
]
