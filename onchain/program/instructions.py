"""The settlement program's instructions and events: accounts and arguments, in their order.

An instruction's data is Anchor's: the first 8 bytes of `sha256("global:<name>")`, then the
arguments, little endian, without padding; a proof is a u32 count and its hashes.
Accounts beyond the listed ones are refused nowhere: wallets append their own.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final, NamedTuple

from onchain.program.layout import Field


class Account(NamedTuple):
    """One account that an instruction takes; `address` fixes it in the IDL where it is constant."""

    name: str
    writable: bool = False
    signer: bool = False


class Instruction(NamedTuple):
    """One instruction, by its name in snake case."""

    name: str
    said: str
    accounts: tuple[Account, ...]
    args: tuple[Field, ...] = ()

    @property
    def discriminator(self) -> bytes:
        return sha256(f"global:{self.name}".encode()).digest()[:8]


class Event(NamedTuple):
    """What the program logs: hints for watchers, never a ground to credit anything."""

    name: str
    said: str
    fields: tuple[Field, ...]

    @property
    def discriminator(self) -> bytes:
        return sha256(f"event:{self.name}".encode()).digest()[:8]


PAYER: Final = Account("payer", writable=True, signer=True)
LEDGER: Final = Account("ledger", writable=True)
MINT: Final = Account("mint")
VAULT: Final = Account("vault", writable=True)
TOKEN_PROGRAM: Final = Account("token_program")
SYSTEM_PROGRAM: Final = Account("system_program")
DESTINATION: Final = Account("destination", writable=True)
CLAIM_RECORD: Final = Account("claim_record", writable=True)
DEPOSIT_RECORD: Final = Account("deposit_record", writable=True)
AUTHORITY: Final = Account("authority", signer=True)

_EPOCH: Final = Field("epoch", "u64", "the epoch meant")
_PROOF: Final = Field("proof", "proof", "hashes from the leaf to the root, RFC 9162")
_CLAIM_ARGS: Final = (
    Field("epoch", "u64", "epoch of the root that the proof leads to"),
    Field("index", "u32", "place of the leaf"),
    Field("lifetime", "u64", "the leaf's amount"),
    _PROOF,
)
_VOUCHER_ARGS: Final = (
    Field("cumulative", "u64", "the voucher's amount: all earned so far"),
    Field("expires_at", "i64", "the voucher's end"),
)


def _paying(wallet: Account) -> tuple[Account, ...]:
    return (
        *(PAYER, wallet, LEDGER, CLAIM_RECORD, VAULT, DESTINATION),
        *(MINT, TOKEN_PROGRAM, SYSTEM_PROGRAM),
    )


_INSTRUCTIONS_SYSVAR: Final = Account("instructions_sysvar")
_WALLET: Final = Account("wallet")
_WALLET_SIGNS: Final = Account("wallet", signer=True)
_ROLE_AND_LEDGER: Final = (AUTHORITY, LEDGER)
_PAYOUT: Final = (LEDGER, VAULT, DESTINATION, MINT, TOKEN_PROGRAM)

INSTRUCTIONS: Final = (
    Instruction(
        "initialize",
        "Makes a ledger; whoever holds `base` decides who its roles are.",
        (
            *(PAYER, Account("base", signer=True), LEDGER, MINT, Account("vault")),
            *(TOKEN_PROGRAM, SYSTEM_PROGRAM),
        ),
        (
            Field("cluster_tag", "hash", "genesis hash of the cluster"),
            Field("admin", "pubkey", "see Ledger"),
            Field("publisher", "pubkey", "see Ledger"),
            Field("guardian", "pubkey", "see Ledger"),
            Field("voucher_key", "pubkey", "see Ledger; zero: no vouchers"),
            Field("limits", "Limits", "see Limits"),
        ),
    ),
    Instruction(
        "deposit",
        "Brings tokens in for `owner`; for the ledger itself they are its reserve.",
        (
            *(PAYER, AUTHORITY, Account("owner"), LEDGER, DEPOSIT_RECORD),
            *(Account("source", writable=True), VAULT, MINT, TOKEN_PROGRAM, SYSTEM_PROGRAM),
        ),
        (Field("amount", "u64", "base units"),),
    ),
    Instruction(
        "publish_root",
        "The publisher promises a new root; nothing is paid from it before it is active.",
        (AUTHORITY, LEDGER, Account("vault")),
        (
            Field("epoch", "u64", "last_epoch + 1"),
            Field("root", "hash", "root of the tree"),
            Field("data_hash", "hash", "sha256 of the leaf file"),
            Field("total", "u64", "sum of the lifetime leaves"),
            Field("total_exitable", "u64", "sum of the exit leaves"),
            Field("leaf_count", "u32", "leaves of both kinds"),
        ),
    ),
    Instruction(
        "approve_root",
        "The guardian has recomputed the pending root: it activates after the fast delay.",
        _ROLE_AND_LEDGER,
        (_EPOCH, Field("root", "hash", "the root that was recomputed")),
    ),
    Instruction("activate_root", "Anybody activates a due root.", (LEDGER,)),
    Instruction(
        "cancel_root",
        "Guardian or administrator drops the pending root.",
        _ROLE_AND_LEDGER,
        (_EPOCH,),
    ),
    Instruction(
        "revoke_root",
        "Guardian or administrator takes back the active root and restores the one before.",
        _ROLE_AND_LEDGER,
        (_EPOCH,),
    ),
    Instruction(
        "claim",
        "Pays a wallet what its leaf proves, into its own token account. Anybody may pay the fee.",
        _paying(_WALLET),
        _CLAIM_ARGS,
    ),
    Instruction(
        "claim_to",
        "The same into any token account of the mint: the wallet signs.",
        _paying(_WALLET_SIGNS),
        _CLAIM_ARGS,
    ),
    Instruction(
        "cover",
        "Proves a leaf without paying: what vouchers advanced to the wallet counts as covered.",
        (_WALLET, LEDGER, CLAIM_RECORD),
        _CLAIM_ARGS,
    ),
    Instruction(
        "redeem",
        "Pays a voucher that the instruction before has checked, into the wallet's own account.",
        (*_paying(_WALLET), _INSTRUCTIONS_SYSVAR),
        _VOUCHER_ARGS,
    ),
    Instruction(
        "redeem_to",
        "The same into any token account of the mint: the wallet signs.",
        (*_paying(_WALLET_SIGNS), _INSTRUCTIONS_SYSVAR),
        _VOUCHER_ARGS,
    ),
    Instruction(
        "exit",
        "Pays a depositor's unspent credit back, into its own token account.",
        (
            *(Account("owner"), LEDGER, DEPOSIT_RECORD, VAULT, DESTINATION),
            *(MINT, TOKEN_PROGRAM),
        ),
        (
            Field("epoch", "u64", "the active epoch"),
            Field("index", "u32", "place of the leaf"),
            Field("exitable", "u64", "the leaf's amount"),
            _PROOF,
        ),
    ),
    Instruction(
        "request_exit",
        "A depositor asks to leave: the second door opens after `exit_after`.",
        (Account("owner", signer=True), LEDGER, DEPOSIT_RECORD),
    ),
    Instruction(
        "cancel_exit",
        "A depositor stays after all.",
        (Account("owner", signer=True), LEDGER, DEPOSIT_RECORD),
    ),
    Instruction(
        "set_paused",
        "Adds pauses: the administrator's until lifted, the guardian's for a while.",
        _ROLE_AND_LEDGER,
        (Field("flags", "u8", "1 deposit, 2 claim and exit, 4 publish, 8 redeem"),),
    ),
    Instruction(
        "tighten_limits",
        "The administrator makes limits stricter at once.",
        _ROLE_AND_LEDGER,
        (Field("limits", "Limits", "all of them, none looser"),),
    ),
    Instruction(
        "void_vouchers",
        "The administrator voids every voucher of an older key epoch at once.",
        _ROLE_AND_LEDGER,
        (Field("key_epoch", "u32", "the one before plus one"),),
    ),
    Instruction(
        "propose_config",
        "The administrator proposes what takes effect after a delay.",
        _ROLE_AND_LEDGER,
        (
            Field("kind", "u8", "see Proposals"),
            Field("key", "pubkey", "zero where the kind has none"),
            Field("amount", "u64", "0 where the kind has none"),
            Field("flags", "u8", "0 where the kind has none"),
            Field("limits", "Limits", "all zero where the kind has none"),
        ),
    ),
    Instruction("apply_config", "Anybody applies a due proposal of kinds 1 to 5.", (LEDGER,)),
    Instruction("accept_admin", "The proposed administrator takes over.", _ROLE_AND_LEDGER),
    Instruction(
        "sweep_excess",
        "Pays out what the vault holds above all that it owes, as proposed.",
        _PAYOUT,
    ),
    Instruction(
        "withdraw_reserve",
        "Pays out the part of the reserve that was proposed and backs nothing.",
        _PAYOUT,
    ),
    Instruction(
        "cancel_config",
        "Guardian or administrator drops the proposal; a new guardian only the administrator.",
        _ROLE_AND_LEDGER,
        (Field("number", "u64", "the proposal meant"),),
    ),
)

_ROOT_FIELDS: Final = (Field("epoch", "u64", ""), Field("root", "hash", ""))
_AMOUNTS: Final = (Field("amount", "u64", "base units now"),)
_WALLET_FIELD: Final = Field("wallet", "pubkey", "")

EVENTS: Final = (
    Event(
        "RootPublished",
        "",
        (*_ROOT_FIELDS, Field("total", "u64", ""), Field("activates_at", "i64", "")),
    ),
    Event("RootApproved", "", (*_ROOT_FIELDS, Field("activates_at", "i64", ""))),
    Event("RootActivated", "", (*_ROOT_FIELDS, Field("total", "u64", ""))),
    Event("RootCancelled", "", _ROOT_FIELDS),
    Event("RootRevoked", "", (*_ROOT_FIELDS, Field("restored_epoch", "u64", ""))),
    Event(
        "Deposited",
        "",
        (Field("owner", "pubkey", ""), *_AMOUNTS, Field("deposited", "u64", "all so far")),
    ),
    Event(
        "Claimed",
        "by claim, claim_to and cover",
        (
            *(_WALLET_FIELD, *_AMOUNTS, Field("claimed", "u64", "all so far")),
            *(Field("covered", "u64", ""), Field("epoch", "u64", "")),
        ),
    ),
    Event(
        "Redeemed",
        "by redeem and redeem_to",
        (
            *(_WALLET_FIELD, *_AMOUNTS, Field("claimed", "u64", "all so far")),
            Field("advance", "u64", "of the ledger, after it"),
        ),
    ),
    Event(
        "Exited",
        "",
        (Field("owner", "pubkey", ""), *_AMOUNTS, Field("exited", "u64", "all so far")),
    ),
    Event(
        "ExitAsked",
        "by request_exit and cancel_exit",
        (Field("owner", "pubkey", ""), Field("requested_at", "i64", "0: cancelled")),
    ),
    Event("PausedSet", "", (Field("flags", "u8", "added now"), Field("by", "pubkey", ""))),
    Event("LimitsTightened", "", (Field("limits", "Limits", ""),)),
    Event("VouchersVoided", "", (Field("key_epoch", "u32", ""),)),
    Event(
        "ConfigProposed",
        "",
        (
            *(Field("number", "u64", ""), Field("kind", "u8", "")),
            Field("due_at", "i64", ""),
        ),
    ),
    Event(
        "ConfigApplied",
        "by apply_config, accept_admin, sweep_excess, withdraw_reserve",
        (Field("number", "u64", ""), Field("kind", "u8", "")),
    ),
    Event("ConfigCancelled", "", (Field("number", "u64", ""), Field("kind", "u8", ""))),
)

#: Kinds of proposals: number → (name, what its fields mean).
PROPOSALS: Final = {
    1: ("LIMITS", "limits: the new ones"),
    2: ("PUBLISHER", "key: the new publisher"),
    3: ("GUARDIAN", "key: the new guardian; the guardian cannot cancel it"),
    4: ("VOUCHER", "key: the new voucher key, zero turns vouchers off; raises key_epoch by one"),
    5: ("UNPAUSE", "flags: the pauses to lift"),
    6: ("ADMIN", "key: the new administrator, who accepts"),
    7: ("SWEEP", "amount, key: the wallet that gets it"),
    8: ("RESERVE", "amount, key: the wallet that gets it"),
}
FLAGS: Final = {"DEPOSIT": 1, "CLAIM": 2, "PUBLISH": 4, "REDEEM": 8}
