"""Scenes: one ledger in the middle of its life, and one instruction that is about to succeed.

In:   the name of an instruction.
Out:  a `Scene`: every account, argument, flag and neighbour of that instruction, to be changed one
      at a time, then put on a chain.
Rules:
  1. All numbers differ from each other, so that none can stand in for another.
  2. What an account holds goes where its key goes: a changed key is a well-formed look-alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from solders.account import Account
from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from onchain.program.instructions import INSTRUCTIONS, Instruction as Declared
from onchain.program.layout import CLAIM_RECORD, DEPOSIT_RECORD, LEDGER as LEDGER_LAYOUT, Layout
from tests.program_bytes import pack_account
from tests.program_tokens import (
    SPL_TOKEN,
    SYSTEM,
    associated,
    associated_bump,
    held,
    mint_data,
    token_data,
)
from tests.program_trees import EARNINGS, EXIT, Tree
from tests.program_vouchers import (
    INSTRUCTIONS_SYSVAR,
    Check,
    Voucher,
    check_instruction,
    signed_check,
)
from tests.program_world import PROGRAM, RENT, found, instruction_of, key_of

DECLARED: Final = {each.name: each for each in INSTRUCTIONS}
NOW: Final = 1_800_000_000
SLOT: Final = 600_000_000
DAY: Final = 86_400
NOBODY: Final = bytes(32)

PAYER, BASE, MINT = key_of("payer"), key_of("base"), key_of("mint")
ADMIN, PUBLISHER, GUARDIAN = key_of("administrator"), key_of("publisher"), key_of("guardian")
WALLET, OWNER, STRANGER = key_of("wallet"), key_of("owner"), key_of("stranger")
VOUCHER_KEY: Final = Keypair.from_seed(sha256(b"voucher key").digest())
OTHER_KEY: Final = Keypair.from_seed(sha256(b"another key").digest())
CLUSTER_TAG: Final = sha256(b"cluster").digest()
LEDGER, LEDGER_BUMP = found([b"ledger", bytes(BASE)])
#: The base of a ledger that is still to be made.
NEW_BASE: Final = key_of("base of a new ledger")

LIMITS: Final = {
    "max_epoch_increase": 2_000_000,
    "window_limit": 10_000_999,
    "advance_cap": 12_000_000,
    "wallet_advance_cap": 4_000_000,
    "voucher_limit": 6_000_777,
    "min_deposit": 1_000,
    "min_epoch_interval": 3_600,
    "slow_delay": 3 * DAY,
    "fast_delay": 7_200,
    "window_secs": 1_000,
    "exit_after": 10 * DAY,
    "config_delay": 4 * DAY,
}
NO_LIMITS: Final = dict.fromkeys(LIMITS, 0)

#: Lifetime of the wallet's leaf by epoch, and what its owner may take back.
LIFETIME: Final = {6: 8_000_000, 7: 9_000_000, 8: 9_500_000}
EXITABLE: Final = {6: 3_500_000, 7: 4_000_000, 8: 4_200_000}
_OTHERS: Final = tuple(bytes(key_of(f"other {n}")) for n in range(9))


def tree_of(epoch: int, *, lifetime: int | None = None, exitable: int | None = None) -> Tree:
    """The tree of an epoch; what the wallet and the owner have in it can be changed.

    The ledger is a wallet and an owner of it too: a leaf that nobody may be paid by.
    """
    earned = LIFETIME[epoch] if lifetime is None else lifetime
    back = EXITABLE[epoch] if exitable is None else exitable
    leaves = [
        *((EARNINGS, _OTHERS[0], 1_000_000 + epoch), (EARNINGS, bytes(WALLET), earned)),
        *((EXIT, _OTHERS[1], 40_000), (EXIT, bytes(OWNER), back)),
        *((EARNINGS, bytes(LEDGER), 9_000_000), (EXIT, bytes(LEDGER), 4_000_000)),
        *((EARNINGS, each, 700 + at) for at, each in enumerate(_OTHERS[2 : epoch - 3])),
    ]
    return Tree(bytes(LEDGER), tuple(leaves))


def root_values(
    name: str, epoch: int, tree: Tree, *, total: int, exitable: int, published: int, active: int
) -> dict[str, Any]:
    """Flat values of a root; its totals are told, not summed: other wallets fill them up."""
    return {
        f"{name}.epoch": epoch,
        f"{name}.root": tree.root,
        f"{name}.data_hash": tree.data_hash,
        f"{name}.total": total,
        f"{name}.total_exitable": exitable,
        f"{name}.published_at": published,
        f"{name}.active_at": active,
        f"{name}.leaf_count": tree.count,
    }


def no_root(name: str) -> dict[str, Any]:
    """What a root holds where there is none."""
    return {
        **{f"{name}.{each}": 0 for each in ("epoch", "total", "total_exitable", "leaf_count")},
        **{f"{name}.{each}": 0 for each in ("published_at", "active_at")},
        **{f"{name}.{each}": NOBODY for each in ("root", "data_hash")},
    }


#: Published 10,000 seconds ago, not approved, not due.
PENDING: Final = root_values(
    *("pending", 8, tree_of(8)),
    total=42_000_000,
    exitable=9_500_000,
    published=NOW - 10_000,
    active=NOW - 10_000 + LIMITS["slow_delay"],
) | {"pending_min_slot": SLOT + 498_400, "last_epoch": 8}
#: The same, due to the second and the slot.
DUE: Final = PENDING | {"pending.active_at": NOW, "pending_min_slot": SLOT}


def ledger_values(token_program: Pubkey = SPL_TOKEN) -> dict[str, Any]:
    """The ledger: epoch 7 active, 6 before it, nothing pending; every sum in the middle."""
    return {
        "base": BASE,
        "cluster_tag": CLUSTER_TAG,
        "mint": MINT,
        "vault": associated(LEDGER, token_program, MINT),
        "token_program": token_program,
        "admin": ADMIN,
        "publisher": PUBLISHER,
        "guardian": GUARDIAN,
        "voucher_key": VOUCHER_KEY.pubkey(),
        "total_deposited": 100_000_000,
        "total_claimed": 20_000_000,
        "total_exited": 3_000_000,
        "total_withdrawn": 2_000_000,
        "reserve": 30_000_000,
        "advance": 5_000_000,
        "last_epoch": 7,
        **root_values(
            *("active", 7, tree_of(7)),
            total=40_000_000,
            exitable=10_000_000,
            published=NOW - 400_000,
            active=NOW - 100_000,
        ),
        **root_values(
            *("previous", 6, tree_of(6)),
            total=30_000_000,
            exitable=8_000_000,
            published=NOW - 800_000,
            active=NOW - 500_000,
        ),
        **{f"limits.{name}": value for name, value in LIMITS.items()},
        "flow_level": 4_000_000,
        "flow_updated_at": NOW - 100,
        "voucher_flow_level": 3_000_000,
        "voucher_flow_updated_at": NOW - 200,
        "proposal_number": 4,
        "proposal_due_at": NOW - 9_000_000,
        "revocable": 1,
        "bump": LEDGER_BUMP,
        "version": 1,
        "decimals": 6,
        "key_epoch": 3,
    }


Change = Callable[["Scene"], None]


@dataclass
class Scene:
    """Everything that one transaction meets. Changes are made in place before `accounts_put`."""

    declared: Declared
    keys: dict[str, Pubkey]
    args: dict[str, Any]
    #: Flat values; None: there is no such account.
    ledger: dict[str, Any] | None = field(default_factory=ledger_values)
    claim_record: dict[str, Any] | None = None
    deposit_record: dict[str, Any] | None = None
    token_program: Pubkey = SPL_TOKEN
    #: Account → arguments of `token_data`.
    tokens: dict[str, dict[str, Any]] = field(default_factory=dict)
    mint_data: bytes = field(default_factory=mint_data)
    #: Account → what makes another of it, applied to what is put there.
    edits: list[tuple[str, Callable[[Account], Account]]] = field(default_factory=list)
    #: Put after all others.
    extra: dict[Pubkey, Account] = field(default_factory=dict)
    lamports: dict[str, int] = field(default_factory=dict)
    #: Account → (signs, writable).
    flags: dict[str, tuple[bool, bool]] = field(default_factory=dict)
    edit_instruction: list[Callable[[Instruction], Instruction]] = field(default_factory=list)
    before: list[Callable[[Scene], Instruction]] = field(default_factory=list)
    after: list[Callable[[Scene], Instruction]] = field(default_factory=list)
    voucher: Voucher | None = None
    check: Check = field(default_factory=Check)
    signer: Keypair = VOUCHER_KEY
    now: int = NOW
    slot: int = SLOT
    rent: tuple[int, float] = RENT
    tables: list[AddressLookupTableAccount] = field(default_factory=list)

    def instruction(self) -> Instruction:
        made = instruction_of(self.declared, self.keys, self.args, flags=self.flags)
        for edit in self.edit_instruction:
            made = edit(made)
        return made

    def instructions(self) -> list[Instruction]:
        """Those before, the one itself, those after it."""
        return [
            *(each(self) for each in self.before),
            self.instruction(),
            *(each(self) for each in self.after),
        ]

    def accounts_put(self) -> dict[Pubkey, Account]:
        """Key → account of everything that is on the chain before."""
        by_name = self._accounts()
        for name, edit in self.edits:
            by_name[name] = edit(by_name[name])
        made = {self.keys[name]: account for name, account in by_name.items() if name in self.keys}
        return made | self.extra

    def _accounts(self) -> dict[str, Account]:
        made: dict[str, Account] = {}
        for name in ("payer", "authority", "owner", "wallet", "base"):
            if name in self.lamports:
                made[name] = Account(self.lamports[name], b"", SYSTEM)
        made["mint"] = held(self.mint_data, self.token_program)
        for name, details in self.tokens.items():
            values = {"mint": self.keys.get("mint", MINT), **details}
            made[name] = held(token_data(**values), self.token_program)
        for name, layout, held_by in self._records():
            if held_by is not None:
                rent = self.lamports.get(name, rent_of(layout.size, *RENT))
                made[name] = Account(rent, pack_account(layout, held_by), PROGRAM)
            elif name in self.lamports:
                made[name] = Account(self.lamports[name], b"", SYSTEM)
        return made

    def _records(self) -> list[tuple[str, Layout, dict[str, Any] | None]]:
        return [
            ("ledger", LEDGER_LAYOUT, self.ledger),
            ("claim_record", CLAIM_RECORD, self.claim_record),
            ("deposit_record", DEPOSIT_RECORD, self.deposit_record),
        ]


def rent_of(size: int, lamports_per_byte: int, threshold: float) -> int:
    """Lamports that an account of so many bytes must have."""
    return (128 + size) * lamports_per_byte * int(threshold)


def voucher_check(scene: Scene) -> Instruction:
    """The instruction that checks the scene's voucher."""
    assert scene.voucher is not None
    return check_instruction(signed_check(scene.voucher.message(), scene.signer, scene.check))


def record_of(kind: str, whose: Pubkey, ledger: Pubkey = LEDGER) -> tuple[Pubkey, int]:
    """Address and bump of a `claim` or `deposit` record."""
    return found([kind.encode(), bytes(ledger), bytes(whose)])


def claim_values(claimed: int, covered: int) -> dict[str, Any]:
    """The wallet's claim record, its token account's bump known."""
    ata = associated_bump(WALLET, SPL_TOKEN, MINT)
    bump = record_of("claim", WALLET)[1]
    return {"claimed": claimed, "covered": covered, "bump": bump, "ata_bump": ata}


def deposit_values(deposited: int, exited: int, **more: int) -> dict[str, Any]:
    """The owner's deposit record."""
    return {
        "ledger": LEDGER,
        "owner": OWNER,
        "deposited": deposited,
        "exited": exited,
        "last_slot": SLOT - 999,
        "bump": record_of("deposit", OWNER)[1],
        **more,
    }


def _keys(name: str, token_program: Pubkey) -> dict[str, Pubkey]:
    whose = {"wallet": WALLET, "owner": OWNER, "payer": PAYER, "ledger": LEDGER, "mint": MINT}
    fixed = {
        **whose,
        "vault": associated(LEDGER, token_program, MINT),
        "destination": associated(OWNER if name == "exit" else WALLET, token_program, MINT),
        "source": key_of("source of deposits"),
        "base": NEW_BASE,
        "claim_record": record_of("claim", WALLET)[0],
        "deposit_record": record_of("deposit", OWNER)[0],
        "token_program": token_program,
        "system_program": SYSTEM,
        "instructions_sysvar": INSTRUCTIONS_SYSVAR,
        "authority": ADMIN,
    }
    return {account.name: fixed[account.name] for account in DECLARED[name].accounts}


def bare_scene(name: str, args: dict[str, Any], token_program: Pubkey = SPL_TOKEN) -> Scene:
    """The ledger, the vault with all its money, and the accounts that the instruction lists."""
    scene = Scene(DECLARED[name], _keys(name, token_program), args)
    scene.token_program = token_program
    scene.ledger = ledger_values(token_program)
    scene.lamports = {"payer": 10**10}
    scene.tokens = {"vault": {"owner": LEDGER, "amount": 75_000_000}}
    return scene
