"""One changed thing: what the tables of cases are written with.

In:   a scene that would succeed.
Out:  the same scene with one field, key, flag, byte or neighbour changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from solders.account import Account
from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey

from onchain.program.layout import CLAIM_RECORD, DEPOSIT_RECORD
from tests.program_scenes import LEDGER, NO_LIMITS, OWNER, WALLET, Change, Scene, tree_of
from tests.program_tokens import SYSTEM, associated, associated_bump
from tests.program_vouchers import Check
from tests.program_world import FEE_PAYER


class Up(int):
    """So much more than before."""


def _moved(values: dict[str, Any], name: str, value: Any) -> None:
    values[name] = values.get(name, 0) + int(value) if isinstance(value, Up) else value


def ledger(values: Mapping[str, Any] | None = None, **more: Any) -> Change:
    """Other values of the ledger, by flat name; `Up(n)` adds."""

    def change(scene: Scene) -> None:
        assert scene.ledger is not None
        for name, value in {**(values or {}), **more}.items():
            _moved(scene.ledger, name, value)

    return change


def limits(**values: int) -> Change:
    return ledger({f"limits.{name}": value for name, value in values.items()})


def record(**values: Any) -> Change:
    """Other values of the claim or deposit record, whichever the instruction has."""

    def change(scene: Scene) -> None:
        held = scene.claim_record if scene.claim_record is not None else scene.deposit_record
        assert held is not None
        for name, value in values.items():
            _moved(held, name, value)

    return change


def fresh(scene: Scene) -> None:
    """The record does not exist yet."""
    scene.claim_record = scene.deposit_record = None


def args(**values: Any) -> Change:
    """Other arguments; `Up(n)` adds."""

    def change(scene: Scene) -> None:
        for name, value in values.items():
            assert name in scene.args, name
            _moved(scene.args, name, value)

    return change


def limit_args(**values: int) -> Change:
    """Other fields of the argument `limits`; `Up(n)` adds."""

    def change(scene: Scene) -> None:
        chosen = dict(scene.args["limits"])
        for name, value in values.items():
            assert name in NO_LIMITS, name
            _moved(chosen, name, value)
        scene.args["limits"] = chosen

    return change


def account(name: str, key: Pubkey) -> Change:
    """Another account in that place; what it holds is as well-formed as before."""

    def change(scene: Scene) -> None:
        assert name in scene.keys, name
        scene.keys[name] = key

    return change


def raw(name: str, edit: Callable[[Account], Account]) -> Change:
    return lambda scene: scene.edits.append((name, edit))


def data_of(name: str, edit: Callable[[bytes], bytes]) -> Change:
    """Other bytes in that account."""
    return raw(name, lambda old: Account(old.lamports, edit(bytes(old.data)), old.owner))


def owned_by(name: str, program: Pubkey) -> Change:
    return raw(name, lambda old: Account(old.lamports, bytes(old.data), program))


def patched(at: int, new: bytes) -> Callable[[bytes], bytes]:
    """The same bytes with these at that offset."""
    return lambda old: old[:at] + new + old[at + len(new) :]


def token(name: str, **values: Any) -> Change:
    """Other values of a token account: see `token_data`."""
    return lambda scene: scene.tokens[name].update(values)


def unsigned(name: str) -> Change:
    def change(scene: Scene) -> None:
        declared = next(a for a in scene.declared.accounts if a.name == name)
        assert declared.signer, name
        scene.flags[name] = (False, declared.writable)

    return change


def read_only(name: str) -> Change:
    def change(scene: Scene) -> None:
        declared = next(a for a in scene.declared.accounts if a.name == name)
        assert declared.writable, name
        scene.flags[name] = (declared.signer, False)

    return change


def at(now: int, slot: int | None = None) -> Change:
    """Another moment."""

    def change(scene: Scene) -> None:
        scene.now = now
        scene.slot = scene.slot if slot is None else slot

    return change


def rent(lamports_per_byte: int, threshold: float) -> Change:
    def change(scene: Scene) -> None:
        scene.rent = (lamports_per_byte, threshold)

    return change


def lamports(name: str, amount: int) -> Change:
    """Lamports of an account before; of a record that does not exist: sent ahead."""

    def change(scene: Scene) -> None:
        scene.lamports[name] = amount

    return change


def edited(edit: Callable[[Instruction], Instruction]) -> Change:
    return lambda scene: scene.edit_instruction.append(edit)


def data_bytes(edit: Callable[[bytes], bytes]) -> Change:
    """Other bytes of the instruction's data."""
    return edited(lambda old: Instruction(old.program_id, edit(bytes(old.data)), old.accounts))


def accounts_count(count: int) -> Change:
    """So many accounts: the last are left out, or the fee payer is repeated."""

    def edit(old: Instruction) -> Instruction:
        more = [AccountMeta(FEE_PAYER, True, True)] * (count - len(old.accounts))
        return Instruction(old.program_id, bytes(old.data), [*old.accounts, *more][:count])

    return edited(edit)


def leaf(*, lifetime: int | None = None, exitable: int | None = None, epoch: int = 7) -> Change:
    """Another amount in the leaf of the active root, and the same asked for."""

    def change(scene: Scene) -> None:
        assert scene.ledger is not None
        tree = tree_of(epoch, lifetime=lifetime, exitable=exitable)
        scene.ledger["active.root"] = tree.root
        scene.args["proof"] = tree.proof(scene.args["index"])
        asked = "exitable" if "exitable" in scene.args else "lifetime"
        scene.args[asked] = exitable if asked == "exitable" else lifetime

    return change


def voucher(**values: Any) -> Change:
    """Another voucher, properly signed; what the instruction asks for stays."""

    def change(scene: Scene) -> None:
        assert scene.voucher is not None
        scene.voucher = replace(scene.voucher, **values)

    return change


def asked(**values: Any) -> Change:
    """Another voucher, and the same asked for."""

    def change(scene: Scene) -> None:
        voucher(**values)(scene)
        args(**values)(scene)

    return change


def check(**values: int) -> Change:
    """Another header of the instruction that checks the voucher."""

    def change(scene: Scene) -> None:
        scene.check = replace(scene.check, **values)

    return change


def bare_check(count: int) -> Change:
    def change(scene: Scene) -> None:
        scene.check = Check(count=count)

    return change


def under(token_program: Pubkey) -> Change:
    """The same ledger with a mint of another token program."""

    def change(scene: Scene) -> None:
        old = scene.token_program
        scene.token_program = token_program
        mint = scene.keys["mint"]
        for name, key in scene.keys.items():
            for holder in (*scene.keys.values(), WALLET, OWNER, LEDGER):
                if key == associated(holder, old, mint):
                    scene.keys[name] = associated(holder, token_program, mint)
        if scene.claim_record is not None and scene.claim_record.get("ata_bump"):
            bump = associated_bump(scene.keys["wallet"], token_program, mint)
            scene.claim_record["ata_bump"] = bump
        scene.keys["token_program"] = token_program
        if scene.ledger is not None:
            scene.ledger["token_program"] = token_program
            scene.ledger["vault"] = scene.keys["vault"]

    return change


RECORD_SIZES = {"claim_record": CLAIM_RECORD.size, "deposit_record": DEPOSIT_RECORD.size}
EMPTY = Account(0, b"", SYSTEM)
