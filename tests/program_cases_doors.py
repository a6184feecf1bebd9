"""Rows that many instructions share: what is refused at the door, records, where money goes.

In:   an instruction's name, and whose money or record it is.
Out:  rows for `program_cases.table`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from solders.pubkey import Pubkey

from onchain.program.layout import CLAIM_RECORD, DEPOSIT_RECORD, LEDGER as LEDGER_LAYOUT
from tests.program_cases import BASES, RUNTIME, Then, Told, no, ok
from tests.program_changes import (
    Up,
    account,
    accounts_count,
    args,
    data_bytes,
    data_of,
    fresh,
    lamports,
    owned_by,
    patched,
    read_only,
    record,
    rent,
    token,
    under,
    unsigned,
)
from tests.program_scenes import (
    DECLARED,
    LEDGER,
    MINT,
    STRANGER,
    Change,
    Scene,
    record_of,
    rent_of,
    tree_of,
)
from tests.program_tokens import (
    FROZEN,
    IS_MINT,
    SPL_TOKEN,
    SYSTEM,
    TOKEN_2022,
    UNINITIALIZED,
    associated_bump,
    immutable_owner,
)
from tests.program_world import PROGRAM, RENT, found, key_of

_SIZES = {"claim_record": CLAIM_RECORD.size, "deposit_record": DEPOSIT_RECORD.size}


def doors(name: str) -> Iterator[Told]:
    """Counts of accounts, bytes of data, signers, the ledger, accounts that are read-only."""
    declared = DECLARED[name]
    count = len(declared.accounts)
    yield ok("as it should be")
    yield ok("24 accounts", accounts_count(24))
    yield no("AccountCount", "25 accounts", accounts_count(25))
    yield no("AccountCount", "one account too few", accounts_count(count - 1))
    yield no("AccountCount", "no account", accounts_count(0))
    yield no("BadArgs", "no data", data_bytes(lambda _: b""))
    yield no("BadArgs", "7 bytes of data", data_bytes(lambda old: old[:7]))
    flipped = data_bytes(lambda old: old[:7] + bytes([old[7] ^ 1]) + old[8:])
    yield no("UnknownInstruction", "another last byte of its name", flipped)
    yield no("UnknownInstruction", "zeros for a name", data_bytes(lambda old: bytes(8) + old[8:]))
    yield no("BadArgs", "a byte behind the arguments", data_bytes(lambda old: old + b"\0"))
    if declared.args:
        yield no("BadArgs", "the last byte is missing", data_bytes(lambda old: old[:-1]))
        yield no("BadArgs", "no arguments", data_bytes(lambda old: old[:8]))
    for each in declared.accounts:
        if each.signer:
            yield no("MissingSigner", f"{each.name} does not sign", unsigned(each.name))
    yield from _read_only(name)
    if name != "initialize":
        yield from _ledgers()


def _read_only(name: str) -> Iterator[Told]:
    changed = {field.split(".")[0] for field in BASES[name].then if not field.startswith("tokens")}
    changed |= {field.split(".")[1] for field in BASES[name].then if field.startswith("tokens")}
    for each in DECLARED[name].accounts:
        if each.writable and each.name in changed:
            yield no(RUNTIME, f"{each.name} is read-only", read_only(each.name))


def _ledgers() -> Iterator[Told]:
    yield no("InvalidLedger", "a ledger of another program", owned_by("ledger", STRANGER))
    yield no("InvalidLedger", "a ledger of the system program", owned_by("ledger", SYSTEM))
    shorter, longer = (lambda old: old[:-1]), (lambda old: old + b"\0")
    yield no("InvalidLedger", "a ledger of 1,023 bytes", data_of("ledger", shorter))
    yield no("InvalidLedger", "a ledger of 1,025 bytes", data_of("ledger", longer))
    yield no("InvalidLedger", "an empty ledger", data_of("ledger", lambda _: b""))
    tags = {
        "zeros": bytes(8),
        "a claim record's": CLAIM_RECORD.discriminator,
        "its own but the last byte": LEDGER_LAYOUT.discriminator[:7] + b"\0",
        "its own but the first byte": b"\0" + LEDGER_LAYOUT.discriminator[1:],
    }
    for said, tag in tags.items():
        edit = data_of("ledger", patched(0, tag))
        yield no("InvalidLedger", f"a ledger with the discriminator {said}", edit)


def token_programs() -> Iterator[Told]:
    """Vault, mint and token program are the ledger's."""
    yield no(
        "WrongVault",
        "another token account of the ledger",
        account("vault", key_of("second vault")),
    )
    yield no("WrongMint", "a look-alike mint", account("mint", key_of("look-alike mint")))
    for said, program in (("Token-2022", TOKEN_2022), ("our own", PROGRAM), ("no", SYSTEM)):
        yield no(
            "WrongTokenProgram", f"{said} program for tokens", account("token_program", program)
        )


def _broken_accounts() -> Iterator[Told]:
    error, name = "InvalidTokenAccount", "destination"
    yield no(error, "uninitialized destination", token(name, state=UNINITIALIZED))
    yield no(error, "frozen destination", token(name, state=FROZEN))
    for said, program in (("a stranger", STRANGER), ("Token-2022", TOKEN_2022), ("us", PROGRAM)):
        yield no(error, f"destination that belongs to {said}", owned_by(name, program))
    for size in (0, 108, 164):
        yield no(error, f"destination of {size} bytes", data_of(name, _cut(size)))
    for size in (166, 169, 171, 355):
        edit = data_of(name, _stretched(size))
        yield no(error, f"destination of {size} bytes", edit)
    for kind in (0, IS_MINT, 3):
        edit = data_of(name, _kinded(kind))
        yield no(error, f"destination of 170 bytes of kind {kind}", edit)
    yield no("WrongMint", "destination of another mint", token(name, mint=key_of("other mint")))


def _cut(size: int) -> Callable[[bytes], bytes]:
    return lambda old: old[:size]


def _stretched(size: int) -> Callable[[bytes], bytes]:
    return lambda old: immutable_owner(old).ljust(size, b"\0")[:size]


def _kinded(kind: int) -> Callable[[bytes], bytes]:
    return lambda old: immutable_owner(old)[:165] + bytes([kind]) + immutable_owner(old)[166:]


def into_vault(scene: Scene) -> None:
    """The vault for a destination."""
    scene.keys["destination"] = scene.keys["vault"]
    del scene.tokens["destination"]


def own_destinations(*ledger_paid: Change) -> Iterator[Told]:
    """Money goes to one token account only; `ledger_paid`: makes the ledger whom it goes to."""
    yield from _broken_accounts()
    yield no("WrongTokenOwner", "destination of a stranger", token("destination", owner=STRANGER))
    second = account("destination", key_of("second account"))
    yield no("WrongDestination", "a second account of the same owner", second)
    yield no("WrongTokenOwner", "the vault for a destination", into_vault)
    yield no("WrongDestination", "the ledger paid into its vault", *ledger_paid, into_vault)
    yield ok("under Token-2022", under(TOKEN_2022))
    extended = data_of("destination", immutable_owner)
    yield ok("under Token-2022, destination of 170 bytes", under(TOKEN_2022), extended)
    both = (extended, data_of("vault", immutable_owner))
    yield ok("under Token-2022, both of 170 bytes", under(TOKEN_2022), *both)
    yield no(
        "InvalidTokenAccount",
        "under Token-2022, destination of SPL Token",
        under(TOKEN_2022),
        owned_by("destination", SPL_TOKEN),
    )


def any_destinations() -> Iterator[Told]:
    """The wallet signs: money goes wherever it says, the vault excepted."""
    yield from _broken_accounts()
    yield ok("destination of a stranger", token("destination", owner=STRANGER))
    yield ok("a second account of the same owner", account("destination", key_of("second account")))
    yield no("WrongDestination", "the vault for a destination", into_vault)
    extended = data_of("destination", immutable_owner)
    yield ok("under Token-2022, destination of 170 bytes", under(TOKEN_2022), extended)


def records(name: str, kind: str, whose: Pubkey) -> Iterator[Told]:
    """The record that exists is the one of these seeds, or it is refused."""
    stranger, bump = record_of(kind, STRANGER)
    error = "InvalidRecord"
    yield no(error, "the record of a stranger", account(name, stranger), record(bump=bump))
    yield no(error, "a record at no address of ours", account(name, key_of("no record")))
    other_kind = {"claim": "deposit", "deposit": "claim"}[kind]
    confused, confused_bump = record_of(other_kind, whose)
    yield no(
        error,
        "a record at the address of the other kind",
        account(name, confused),
        record(bump=confused_bump),
    )
    elsewhere, elsewhere_bump = record_of(kind, whose, key_of("another ledger"))
    yield no(
        error,
        "the record under another ledger",
        account(name, elsewhere),
        record(bump=elsewhere_bump),
    )
    yield no(error, "a record with another bump", record(bump=Up(-1)))
    yield no(error, "a record with bump 0", record(bump=0))
    yield no(error, "a record of another program", owned_by(name, STRANGER))
    yield no(error, "a record of the token program", owned_by(name, SPL_TOKEN))
    yield no(error, "a record a byte shorter", data_of(name, lambda old: old[:-1]))
    yield no(error, "a record a byte longer", data_of(name, lambda old: old + b"\0"))
    yield no(error, "an empty record", data_of(name, lambda _: b""))
    layout = CLAIM_RECORD if kind == "deposit" else DEPOSIT_RECORD
    tag = layout.discriminator
    yield no(error, "a record with the tag of the other kind", data_of(name, patched(0, tag)))
    yield no(error, "a record with a tag of zeros", data_of(name, patched(0, bytes(8))))
    other = bytes(layout.size - 8)
    yield no(error, "a record of the other kind", data_of(name, lambda _: tag + other))


def low_bump(*seeds: bytes) -> Pubkey:
    """An address of these seeds with a bump that is not the canonical one."""
    for lower in range(found(seeds)[1] - 1, -1, -1):
        try:
            return Pubkey.create_program_address([*seeds, bytes([lower])], PROGRAM)
        except Exception as error:
            if type(error).__name__ != "PubkeyError":
                raise
    raise AssertionError(seeds)


def created(name: str, rent_lamports: int, *, ahead: int = 0) -> Then:
    """A record came to be, by the payer's lamports."""
    paid = max(0, rent_lamports - ahead)
    # What is ahead of the rent stays where it was sent.
    return {f"lamports.{name}": max(rent_lamports, ahead), "lamports.payer": Up(-paid)}


def openings(name: str, kind: str, whose: Pubkey, made: Then) -> Iterator[Told]:
    """The record does not exist: it is made. `made`: what it holds, and what else is otherwise."""
    size = _SIZES[name]
    usual = rent_of(size, *RENT)
    yield ok("a new record", fresh, then={**made, **created(name, usual)})
    for ahead in (1, usual - 1, usual, usual + 1):
        yield ok(
            f"a new record, {ahead} lamports sent ahead",
            *(fresh, lamports(name, ahead)),
            then={**made, **created(name, usual, ahead=ahead)},
        )
    for per_byte, threshold in ((6_960, 1.0), (3_481, 2.0)):
        there = rent_of(size, per_byte, threshold)
        yield ok(
            f"a new record where a byte costs {per_byte} times {threshold}",
            *(fresh, rent(per_byte, threshold)),
            then={**made, **created(name, there)},
        )
    for threshold in (0.0, 0.5, 1.5, 2.5, 3.0):
        unknown = rent(3_480, threshold)
        yield no("UnsupportedRent", f"a new record where rent has {threshold}", fresh, unknown)
    lower = account(name, low_bump(kind.encode(), bytes(LEDGER), bytes(whose)))
    yield no("InvalidRecord", "a new record with a lower bump", fresh, lower)
    other = account(name, record_of(kind, STRANGER)[0])
    yield no("InvalidRecord", "a new record of a stranger", fresh, other)
    nowhere = account(name, key_of("no record"))
    yield no("InvalidRecord", "a new record at no address of ours", fresh, nowhere)
    yield no(RUNTIME, "a new record without money for it", fresh, lamports("payer", usual - 1))
    yield no(RUNTIME, "a new record, payer is read-only", fresh, read_only("payer"))
    yield no(RUNTIME, "a new record, read-only", fresh, read_only(name))


def missing(name: str) -> Iterator[Told]:
    """The record has to exist."""
    yield no("InvalidRecord", "no record yet", fresh)
    yield no("InvalidRecord", "no record yet, lamports sent ahead", fresh, lamports(name, 10**7))


def for_ledger(kind: str, index: int) -> Change:
    """The ledger itself is the wallet or owner of the leaf."""

    def change(scene: Scene) -> None:
        whose = "wallet" if kind == "claim" else "owner"
        scene.keys[whose] = LEDGER
        key, bump = record_of(kind, LEDGER)
        scene.keys[f"{kind}_record"] = key
        record(bump=bump)(scene)
        if kind == "claim":
            record(ata_bump=associated_bump(LEDGER, SPL_TOKEN, MINT))(scene)
        args(index=index, proof=tree_of(7).proof(index))(scene)

    return change
