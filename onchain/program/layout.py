"""What the settlement program stores: three accounts, their fields, and the program's constants.

Every field lies at a fixed offset, little endian, without padding of a compiler's choice: the C
header, both IDLs and the tables of `docs/program.md` are made from these declarations.
Units: amounts in base units of the mint (u64), times in Unix seconds (i64), durations in seconds
(u32), shares of time in slots (u64).
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import Final, NamedTuple

#: Bytes of each primitive. `pubkey` and `hash` are 32 raw bytes.
SIZES: Final = {"u8": 1, "u32": 4, "u64": 8, "i64": 8, "pubkey": 32, "hash": 32}


class Field(NamedTuple):
    """One field: its type is a primitive, a struct's name, or `primitive*count`."""

    name: str
    type: str
    said: str


class Layout(NamedTuple):
    """Fields one after the other; an account's begin after its discriminator of 8 bytes."""

    name: str
    said: str
    fields: tuple[Field, ...]
    #: Seeds of the account's address, as the page names them; empty for a struct inside an account.
    seeds: tuple[str, ...] = ()

    @property
    def start(self) -> int:
        return 8 if self.seeds else 0

    def offsets(self) -> Iterator[tuple[int, Field]]:
        at = self.start
        for field in self.fields:
            yield at, field
            at += size_of(field.type)

    @property
    def size(self) -> int:
        return self.start + sum(size_of(field.type) for field in self.fields)

    @property
    def discriminator(self) -> bytes:
        """Anchor's: the first 8 bytes of `sha256("account:<Name>")`."""
        return sha256(f"account:{self.name}".encode()).digest()[:8]


def size_of(type_: str) -> int:
    """Bytes of a field of that type."""
    name, _, count = type_.partition("*")
    unit = SIZES[name] if name in SIZES else STRUCTS[name].size
    return unit * int(count or 1)


DAY: Final = 86_400

#: Compiled into the program: nobody can configure below or above these.
CONSTANTS: Final[dict[str, tuple[int, str]]] = {
    "MIN_FAST_DELAY": (3_600, "least seconds between the guardian's approval and activation"),
    "MIN_SLOW_DELAY": (DAY, "least seconds until a root activates that nobody approved"),
    "MIN_CONFIG_DELAY": (2 * DAY, "least seconds until a proposal can be applied"),
    "MAX_CONFIG_DELAY": (
        30 * DAY,
        "most seconds of the same: tightening cannot lock all out",
    ),
    "MAX_EPOCH_INTERVAL": (7 * DAY, "most seconds between two roots, for the same reason"),
    "MAX_WINDOW": (30 * DAY, "longest window of the breakers, for the same reason"),
    "GUARDIAN_DELAY": (7 * DAY, "least seconds until a new guardian: the old one cannot cancel it"),
    "PROPOSAL_LIFE": (14 * DAY, "seconds after its moment in which a proposal can be applied"),
    "MAX_EXIT_AFTER": (30 * DAY, "most seconds without a root before depositors may leave"),
    "EXIT_SETTLE": (600, "seconds by which a root must follow a request to exit: beyond finality"),
    "GUARDIAN_PAUSE": (3 * DAY, "seconds after which a pause of the guardian lapses"),
    "GUARDIAN_REST": (7 * DAY, "seconds after that in which the guardian may not pause again"),
    "CLAIM_PAUSE": (14 * DAY, "most seconds that claims are paused, whoever paused them"),
    "MIN_WINDOW_RATE": (1_000, "a window's limit is at least this many base units a second"),
    "CAP_INTERVALS_MAX": (7, "missed intervals for which the cap of an epoch adds up"),
    "SLOTS_PER_SECOND_SLOW": (2, "slots a second that must pass too, unless approved: 0.8 / 0.4 s"),
    "MAX_PROOF": (32, "hashes of a proof: as many as an index of 32 bits needs"),
}

ROOT: Final = Layout(
    "Root",
    "A tree of leaves, and when it was published.",
    (
        Field("epoch", "u64", "number of the epoch; 0: there is none"),
        Field("root", "hash", "root of the tree of leaves"),
        Field("data_hash", "hash", "sha256 of the leaf file"),
        Field("total", "u64", "sum of all lifetime leaves"),
        Field("total_exitable", "u64", "sum of all exit leaves"),
        Field("published_at", "i64", "when it was published"),
        Field("active_at", "i64", "when it became active; of a pending root: when it may"),
        Field("leaf_count", "u32", "leaves of the tree"),
        Field("reserved", "u8*4", "zero"),
    ),
)

LIMITS: Final = Layout(
    "Limits",
    "What the administrator chose, within the program's constants.",
    (
        Field("max_epoch_increase", "u64", "most that the total may rise in one interval"),
        Field("window_limit", "u64", "most that claims and exits take out in a window"),
        Field("advance_cap", "u64", "most that vouchers may pay beyond active roots, in all"),
        Field("wallet_advance_cap", "u64", "the same for one wallet"),
        Field("voucher_limit", "u64", "most that vouchers take out in a window"),
        Field("min_deposit", "u64", "smallest deposit"),
        Field("min_epoch_interval", "u32", "least seconds between two published roots"),
        Field("slow_delay", "u32", "seconds until a root activates that nobody approved"),
        Field("fast_delay", "u32", "seconds from the guardian's approval to activation"),
        Field("window_secs", "u32", "length of the window of both breakers"),
        Field("exit_after", "u32", "seconds after which a door to exit opens"),
        Field("config_delay", "u32", "seconds until a proposal can be applied"),
    ),
)

STRUCTS: Final = {layout.name: layout for layout in (ROOT, LIMITS)}

LEDGER: Final = Layout(
    "Ledger",
    "One market: its mint, vault, roles, roots, limits, and what has come in and gone out.",
    (
        Field("base", "pubkey", "the key that signed its making; part of its address"),
        Field("cluster_tag", "hash", "genesis hash of the cluster, in each voucher"),
        Field("mint", "pubkey", "the token"),
        Field("vault", "pubkey", "the ledger's associated token account: all money"),
        Field("token_program", "pubkey", "SPL Token or Token-2022"),
        Field("admin", "pubkey", "proposes; tightens; pauses; cancels and revokes roots"),
        Field("publisher", "pubkey", "publishes roots, nothing else"),
        Field("guardian", "pubkey", "approves, cancels, revokes; pauses; cancels proposals"),
        Field("voucher_key", "pubkey", "signs vouchers off the chain; zero: vouchers are off"),
        Field("total_deposited", "u64", "all deposits, the reserve's included; never falls"),
        Field("total_claimed", "u64", "paid by claims and vouchers; never falls"),
        Field("total_exited", "u64", "paid to depositors who left; never falls"),
        Field("total_withdrawn", "u64", "taken back from the reserve; never falls"),
        Field("reserve", "u64", "the operator's money behind vouchers"),
        Field("advance", "u64", "sum over wallets of what was paid beyond its highest leaf"),
        Field("last_epoch", "u64", "highest number published; a cancelled one stays used"),
        Field("active", "Root", "the root that claims are checked against"),
        Field("previous", "Root", "the one before it, still good for claims; epoch 0: none"),
        Field("pending", "Root", "published, not active yet; epoch 0: none"),
        Field("pending_min_slot", "u64", "slot that must be reached too, unless approved"),
        Field("limits", "Limits", "see Limits"),
        Field("flow_level", "u64", "level of the breaker of claims and exits"),
        Field("flow_updated_at", "i64", "when it was computed; never falls"),
        Field("voucher_flow_level", "u64", "level of the breaker of vouchers"),
        Field("voucher_flow_updated_at", "i64", "when it was computed; never falls"),
        Field("paused_until", "i64*4", "deposit, claim, publish, redeem: paused before this"),
        Field("claim_paused_at", "i64", "start of the latest pause of claims; 0: never"),
        Field("guardian_paused_at", "i64", "start of the guardian's latest pause; 0: none counts"),
        Field("proposal_number", "u64", "proposals made so far: the latest one's number"),
        Field("proposal_due_at", "i64", "when the proposal can be applied"),
        Field("proposal_key", "pubkey", "its key, zero where its kind has none"),
        Field("proposal_amount", "u64", "its amount"),
        Field("proposal_limits", "Limits", "its limits"),
        Field("proposal_kind", "u8", "its kind, 0: there is none"),
        Field("proposal_flags", "u8", "its flags of pause to lift"),
        Field("revocable", "u8", "1: the active root can be revoked"),
        Field("approved", "u8", "1: the guardian approved the pending root"),
        Field("bump", "u8", "bump of the ledger's address"),
        Field("version", "u8", "1"),
        Field("decimals", "u8", "decimals of the mint"),
        Field("padding", "u8", "zero"),
        Field("key_epoch", "u32", "vouchers of an older one are void"),
        Field("reserved", "u8*36", "zero"),
    ),
    seeds=('"ledger"', "base"),
)

CLAIM_RECORD: Final = Layout(
    "ClaimRecord",
    "What one wallet was paid, for ever. Never closed: closing it would pay twice.",
    (
        Field("claimed", "u64", "paid so far, by claims and vouchers"),
        Field("covered", "u64", "highest lifetime leaf proven so far"),
        Field("bump", "u8", "bump of the record's address"),
        Field("ata_bump", "u8", "bump of the wallet's token account; 0: not looked for yet"),
        Field("reserved", "u8*6", "zero"),
    ),
    seeds=('"claim"', "ledger", "wallet"),
)

DEPOSIT_RECORD: Final = Layout(
    "DepositRecord",
    "What one owner brought in and took out again. The ledger's own is the reserve's.",
    (
        Field("ledger", "pubkey", "the ledger"),
        Field("owner", "pubkey", "whose credit it is"),
        Field("deposited", "u64", "all deposits; never falls"),
        Field("exited", "u64", "paid back by exits; never falls"),
        Field("last_slot", "u64", "slot of the latest deposit"),
        Field("exit_requested_at", "i64", "when the owner asked to leave; 0: not asked"),
        Field("bump", "u8", "bump of the record's address"),
        Field("reserved", "u8*7", "zero"),
    ),
    seeds=('"deposit"', "ledger", "owner"),
)

ACCOUNTS: Final = (LEDGER, CLAIM_RECORD, DEPOSIT_RECORD)
