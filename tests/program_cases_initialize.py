"""Cases of initialize: mint, vault, roles, limits, the address of the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from solders.account import Account
from solders.pubkey import Pubkey

from onchain.program.layout import LEDGER as LAYOUT
from tests.program_bytes import pack_account, unpack_account
from tests.program_cases import BASES, RUNTIME, Base, Told, no, ok, table
from tests.program_cases_doors import doors, low_bump
from tests.program_changes import (
    Up,
    account,
    args,
    data_of,
    lamports,
    limit_args,
    owned_by,
    patched,
    rent,
    token,
    under,
)
from tests.program_scenes import (
    ADMIN,
    CLUSTER_TAG,
    DAY,
    GUARDIAN,
    LIMITS,
    MINT,
    NEW_BASE,
    NOBODY,
    NOW,
    PUBLISHER,
    STRANGER,
    VOUCHER_KEY,
    Change,
    Scene,
    bare_scene,
    rent_of,
)
from tests.program_tokens import (
    IS_ACCOUNT,
    METADATA_POINTER,
    MINT_EXTENSIONS,
    SPL_TOKEN,
    SYSTEM,
    TOKEN_2022,
    TOKEN_METADATA,
    associated,
    extended_mint,
    extension,
    immutable_owner,
    mint_data,
)
from tests.program_world import PROGRAM, RENT, found, key_of

NEW_LEDGER, NEW_BUMP = found([b"ledger", bytes(NEW_BASE)])
_USUAL: Final = rent_of(LAYOUT.size, *RENT)


def _making() -> Scene:
    roles = {"admin": ADMIN, "publisher": PUBLISHER, "guardian": GUARDIAN}
    chosen = {"cluster_tag": CLUSTER_TAG, "voucher_key": VOUCHER_KEY.pubkey(), "limits": LIMITS}
    scene = bare_scene("initialize", {**chosen, **roles})
    scene.ledger = None
    scene.keys["ledger"] = NEW_LEDGER
    scene.keys["vault"] = associated(NEW_LEDGER, SPL_TOKEN, MINT)
    scene.tokens["vault"] = {"owner": NEW_LEDGER, "amount": 17}
    return scene


def _made(**more: Any) -> dict[str, Any]:
    """Every field of the new ledger."""
    values = {
        "base": NEW_BASE,
        "cluster_tag": CLUSTER_TAG,
        "mint": MINT,
        "vault": associated(NEW_LEDGER, SPL_TOKEN, MINT),
        "token_program": SPL_TOKEN,
        "admin": ADMIN,
        "publisher": PUBLISHER,
        "guardian": GUARDIAN,
        "voucher_key": VOUCHER_KEY.pubkey(),
        **{f"limits.{name}": value for name, value in LIMITS.items()},
        "bump": NEW_BUMP,
        "version": 1,
        "decimals": 6,
        "active.active_at": NOW,
        "flow_updated_at": NOW,
        "voucher_flow_updated_at": NOW,
        **more,
    }
    packed = unpack_account(LAYOUT, pack_account(LAYOUT, values))
    return {f"ledger.{name}": value for name, value in packed.items()}


def _paid(there: int, ahead: int = 0) -> dict[str, Any]:
    return {"lamports.ledger": max(there, ahead), "lamports.payer": Up(-max(0, there - ahead))}


BASES["initialize"] = Base(_making, {**_made(), **_paid(_USUAL)}, lambda *_: [])


def _mints() -> Iterator[Told]:
    def mint(data: bytes) -> Change:
        return data_of("mint", lambda _: data)

    usual = mint_data()
    for said, program in (("no", SYSTEM), ("our own", PROGRAM), ("an unknown", STRANGER)):
        yield no(
            "WrongTokenProgram", f"{said} program for tokens", account("token_program", program)
        )
    yield no("WrongMint", "a mint of another program", owned_by("mint", STRANGER))
    yield no("WrongMint", "a mint of the other token program", owned_by("mint", TOKEN_2022))
    yield no(
        "WrongMint",
        "a mint of SPL Token, said to be of Token-2022",
        account("token_program", TOKEN_2022),
    )
    for size in (0, 46, 81):
        yield no("WrongMint", f"a mint of {size} bytes", mint(usual[:size]))
        yield no(
            "WrongMint",
            f"under Token-2022, a mint of {size} bytes",
            under(TOKEN_2022),
            mint(usual[:size]),
        )
    for size in (83, 165, 170):
        yield no(
            "WrongMint", f"a mint of {size} bytes of SPL Token", mint(usual.ljust(size, b"\0"))
        )
    yield no("WrongMint", "metadata in a mint of SPL Token", mint(extended_mint(usual, [])))
    yield no("WrongMint", "a mint that is not initialized", mint(mint_data(initialized=0)))
    yield no("WrongMint", "a token account for a mint", data_of("mint", lambda _: bytes(165)))
    yield no("MintFreezable", "a mint with a freeze authority", mint(mint_data(freeze=STRANGER)))
    odd = patched(46, b"\0\0\0\1")
    yield no("MintFreezable", "a mint with an odd freeze option", data_of("mint", odd))
    yield ok("a mint of 9 decimals", mint(mint_data(decimals=9)), then={"ledger.decimals": 9})
    yield ok("a mint of no decimals", mint(mint_data(decimals=0)), then={"ledger.decimals": 0})
    yield from _extensions()


def _extensions() -> Iterator[Told]:
    """Only metadata may be in a mint of Token-2022."""
    base = mint_data()

    def with_(
        *parts: bytes, kind: int = 1, cut: int | None = None, base: bytes = base
    ) -> tuple[Change, Change]:
        data = extended_mint(base, parts, kind=kind)[:cut]
        return under(TOKEN_2022), data_of("mint", lambda _: data)

    pointer = extension(METADATA_POINTER, bytes(64))
    metadata = extension(TOKEN_METADATA, bytes(80))
    vault = {
        "ledger.token_program": TOKEN_2022,
        "ledger.vault": associated(NEW_LEDGER, TOKEN_2022, MINT),
    }
    yield ok("under Token-2022, no extension", under(TOKEN_2022), then=vault)
    yield ok(
        "under Token-2022, a vault of 170 bytes",
        under(TOKEN_2022),
        data_of("vault", immutable_owner),
        then=vault,
    )
    for said, parts in {
        "nothing in it": (),
        "a pointer to metadata": (pointer,),
        "metadata": (metadata,),
        "both": (pointer, metadata),
        "an end": (pointer, bytes(2)),
        "an end before anything": (bytes(4), extension(1, bytes(108))),
        "three bytes left over, zeros": (pointer, bytes(3)),
        "metadata of no bytes": (extension(TOKEN_METADATA, b""),),
    }.items():
        yield ok(f"under Token-2022, {said}", *with_(*parts), then=vault)
    for number, (name, size) in MINT_EXTENSIONS.items():
        each = extension(number, bytes(size))
        yield no("MintExtension", f"a mint with {name}", *with_(each))
        yield no("MintExtension", f"a mint with {name} after metadata", *with_(pointer, each))
    for number in (2, 5, 7, 8, 11, 13, 15, 17, 24, 27, 29, 274, 275, 0x1200, 0x1300):
        each = extension(number, bytes(8))
        yield no("MintExtension", f"a mint with extension {number:#x}", *with_(each))
    short = (pointer, metadata)
    yield no("MintExtension", "metadata that is cut off", *with_(*short, cut=-1))
    yield no(
        "MintExtension",
        "metadata longer than the mint",
        *with_(extension(TOKEN_METADATA, bytes(80))[:60]),
    )
    yield no("MintExtension", "a byte left over", *with_(pointer, b"\0"))
    yield no("MintExtension", "a length of 65,535", *with_(b"\x13\0\xff\xff"))
    yield no("MintExtension", "a type without a length", *with_(pointer, b"\x13\0"))
    for kind in (0, IS_ACCOUNT, 3):
        yield no("WrongMint", f"a mint of kind {kind}", *with_(pointer, kind=kind))
    for size in (83, 165):
        yield no("WrongMint", f"under Token-2022, a mint of {size} bytes", *with_(cut=size))
    yield no(
        "MintFreezable",
        "metadata, a freeze authority",
        *with_(pointer, base=mint_data(freeze=STRANGER)),
    )
    yield no(
        "WrongMint", "metadata, not initialized", *with_(pointer, base=mint_data(initialized=0))
    )


def _roles() -> Iterator[Told]:
    names = ("admin", "publisher", "guardian", "voucher_key")
    for name in names[:3]:
        yield no("RoleConflict", f"no {name}", args(**{name: NOBODY}))
    yield ok("no voucher key", args(voucher_key=NOBODY), then={"ledger.voucher_key": NOBODY})
    for at, one in enumerate(names):
        for two in names[at + 1 :]:
            both = args(**{one: STRANGER, two: STRANGER})
            yield no("RoleConflict", f"{one} and {two} are the same", both)
    tag = bytes(range(32))
    yield ok("another cluster", args(cluster_tag=tag), then={"ledger.cluster_tag": tag})


def bad_limits() -> Iterator[tuple[str, dict[str, int]]]:
    """What no ledger may have, each by one field."""
    yield "no interval between roots", {"min_epoch_interval": 0}
    yield (
        "an interval of more than 7 days",
        {"min_epoch_interval": 7 * DAY + 1, "exit_after": 11 * DAY},
    )
    yield "no window", {"window_secs": 0}
    yield (
        "a window of more than 30 days",
        {"window_secs": 30 * DAY + 1, "window_limit": 2**40, "voucher_limit": 0},
    )
    yield "a window's limit a unit short", {"window_limit": 999_999}
    yield "a limit of vouchers a unit short", {"voucher_limit": 999_999}
    yield "a limit of one unit for vouchers", {"voucher_limit": 1}
    yield "a fast delay of less than an hour", {"fast_delay": 3_599}
    yield "a fast delay beyond the slow one", {"fast_delay": 3 * DAY + 1}
    yield "a slow delay of less than a day", {"slow_delay": DAY - 1}
    yield "an exit as soon as a root may be active", {"exit_after": 3 * DAY + 3_600}
    yield "a slow delay that wraps in 32 bits", {"slow_delay": 2**32 - 1}
    yield "an exit after more than 30 days", {"exit_after": 30 * DAY + 1}
    yield "a delay of proposals of less than two days", {"config_delay": 2 * DAY - 1}
    yield "a delay of proposals of more than 30 days", {"config_delay": 30 * DAY + 1}
    yield "no smallest deposit", {"min_deposit": 0}


def good_limits() -> Iterator[tuple[str, dict[str, int]]]:
    """What is just allowed, each by one field."""
    yield "an interval of a second", {"min_epoch_interval": 1}
    yield "an interval of 7 days", {"min_epoch_interval": 7 * DAY, "exit_after": 10 * DAY + 1}
    yield "a window of a second", {"window_secs": 1}
    yield (
        "a window of 30 days",
        {"window_secs": 30 * DAY, "window_limit": 1_000 * 30 * DAY, "voucher_limit": 0},
    )
    yield "the smallest limit of a window", {"window_limit": 1_000_000}
    yield "the smallest limit of vouchers", {"voucher_limit": 1_000_000}
    yield "no vouchers in a window", {"voucher_limit": 0}
    yield "a fast delay of an hour", {"fast_delay": 3_600}
    yield "a fast delay as the slow one", {"fast_delay": 3 * DAY}
    yield "a slow delay of a day", {"slow_delay": DAY}
    yield "an exit a second after a root may be active", {"exit_after": 3 * DAY + 3_601}
    yield "an exit after 30 days", {"exit_after": 30 * DAY}
    yield "a delay of proposals of two days", {"config_delay": 2 * DAY}
    yield "a delay of proposals of 30 days", {"config_delay": 30 * DAY}
    yield "a smallest deposit of a unit", {"min_deposit": 1}
    yield (
        "no rise of totals, no advance",
        {"max_epoch_increase": 0, "advance_cap": 0, "wallet_advance_cap": 0},
    )


def _addresses() -> Iterator[Told]:
    yield no("InvalidLedger", "the ledger of another base", account("base", STRANGER))
    yield no(
        "InvalidLedger", "a ledger at no address of ours", account("ledger", key_of("no ledger"))
    )
    yield no(
        "InvalidLedger",
        "a ledger with a lower bump",
        account("ledger", low_bump(b"ledger", bytes(NEW_BASE))),
    )
    yield no("AlreadyInitialized", "a second time", _there(PROGRAM, LAYOUT.size))
    yield no("AlreadyInitialized", "an account of another program is there", _there(STRANGER, 8))
    for ahead in (1, _USUAL - 1, _USUAL, _USUAL + 1):
        yield ok(
            f"{ahead} lamports sent ahead", lamports("ledger", ahead), then=_paid(_USUAL, ahead)
        )
    costs = rent(6_960, 1.0)
    yield ok("where a byte costs 6960 once", costs, then=_paid(rent_of(LAYOUT.size, 6_960, 1.0)))
    yield no("UnsupportedRent", "where rent has 3.0", rent(3_480, 3.0))
    yield no("UnsupportedRent", "where rent has 1.5", rent(3_480, 1.5))
    yield no(RUNTIME, "without money for it", lamports("payer", _USUAL - 1))
    yield ok("the vault is empty", token("vault", amount=0), then={"tokens.vault": 0})


def _there(program: Pubkey, size: int) -> Change:
    def change(scene: Scene) -> None:
        scene.extra[scene.keys["ledger"]] = Account(_USUAL, bytes(size), program)

    return change


def _vaults() -> Iterator[Told]:
    yield no(
        "WrongVault", "another account of the ledger", account("vault", key_of("second vault"))
    )
    yield no("WrongTokenOwner", "a vault of a stranger", token("vault", owner=STRANGER))
    yield no("WrongMint", "a vault of another mint", token("vault", mint=key_of("other mint")))
    error = "InvalidTokenAccount"
    yield no(error, "a vault of another program", owned_by("vault", STRANGER))
    yield no(error, "a vault of our program", owned_by("vault", PROGRAM))
    yield no(error, "no vault", data_of("vault", lambda _: b""))
    yield no(error, "a vault of 355 bytes", data_of("vault", lambda old: old.ljust(355, b"\2")))
    yield no(error, "an uninitialized vault", token("vault", state=0))
    yield no(error, "a frozen vault", token("vault", state=2))
    yield no(error, "a vault with a delegate", token("vault", delegate=STRANGER))
    yield no(error, "a vault with a close authority", token("vault", close=STRANGER))
    yield no(error, "a vault with an odd delegate", data_of("vault", patched(72, b"\0\0\0\1")))
    yield no(
        error, "a vault with an odd close authority", data_of("vault", patched(129, b"\0\0\0\1"))
    )


def _initializations() -> Iterator[Told]:
    yield from _mints()
    yield from _roles()
    for said, values in bad_limits():
        yield no("BadLimits", said, limit_args(**values))
    for said, values in good_limits():
        then = {f"ledger.limits.{name}": value for name, value in values.items()}
        yield ok(said, limit_args(**values), then=then)
    yield no(
        "RoleConflict",
        "roles are looked at before limits",
        args(admin=NOBODY),
        limit_args(window_secs=0),
    )
    yield from _addresses()
    yield from _vaults()


INITIALIZE: Final = table("initialize", doors("initialize"), _initializations())
