"""A market on a chain in process: one ledger, made by the program itself, and everybody around it.

In:   a chain, a token program.
Out:  `Market.run` builds an instruction from its declaration, with this market's accounts.
Rules:
  1. Nothing is put into the program's accounts: what stands there, its instructions wrote.
  2. Token accounts are put there with what they hold at the beginning.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from onchain.program.instructions import INSTRUCTIONS
from onchain.program.layout import CLAIM_RECORD, DEPOSIT_RECORD, LEDGER
from tests.program_bytes import unpack_account
from tests.program_tokens import (
    METADATA_POINTER,
    SPL_TOKEN,
    SYSTEM,
    TOKEN_2022,
    TOKEN_METADATA,
    amount_of,
    associated,
    extended_mint,
    extension,
    held,
    immutable_owner,
    mint_data,
    token_data,
)
from tests.program_trees import EARNINGS, EXIT, Tree
from tests.program_vouchers import INSTRUCTIONS_SYSVAR, Voucher, check_instruction, signed_check
from tests.program_world import (
    PROGRAM,
    Outcome,
    World,
    found,
    instruction_of,
    key_of,
    program_file,
)

DECLARED: Final = {each.name: each for each in INSTRUCTIONS}
DAY: Final = 86_400
NOW: Final = 1_800_000_000
SLOTS_PER_SECOND: Final = 2.5
CLUSTER: Final = sha256(b"cluster").digest()
NO_KEY: Final = bytes(32)

PAYER, BASE, MINT = key_of("payer"), key_of("base"), key_of("mint")
ADMIN, PUBLISHER, GUARDIAN = key_of("admin"), key_of("publisher"), key_of("guardian")
HOST, BUYER, STRANGER = key_of("host"), key_of("buyer"), key_of("stranger")
VOUCHERS: Final = Keypair.from_seed(sha256(b"voucher key").digest())

LIMITS: Final = {
    "max_epoch_increase": 5_000_000,
    "window_limit": 100_000_000,
    "advance_cap": 1_500_000,
    "wallet_advance_cap": 1_000_000,
    "voucher_limit": 100_000_000,
    "min_deposit": 1_000,
    "min_epoch_interval": 3_600,
    "slow_delay": 3 * DAY,
    "fast_delay": 3_600,
    "window_secs": DAY,
    "exit_after": 10 * DAY,
    "config_delay": 2 * DAY,
}
NO_LIMITS: Final = dict.fromkeys(LIMITS, 0)

#: Wallet or owner → amount.
Amounts = dict[Pubkey, int]


@dataclass
class Market:
    """One ledger and its people. Times move only by `wait`."""

    world: World
    token_program: Pubkey = SPL_TOKEN
    now: int = NOW
    slot: int = 500_000_000
    ledger: Pubkey = field(default_factory=lambda: found([b"ledger", bytes(BASE)])[0])
    trees: dict[int, Tree] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.wait(0)
        self.world.put(PAYER, held(b"", SYSTEM, 10**12))
        self.world.put(MINT, held(self._mint(), self.token_program))
        for owner, amount in ((self.ledger, 0), (HOST, 0), (BUYER, 50_000_000), (STRANGER, 0)):
            self.world.put(self.account_of(owner), self.tokens(owner, amount))

    def _mint(self) -> bytes:
        if self.token_program == SPL_TOKEN:
            return mint_data()
        pointer = extension(METADATA_POINTER, bytes(64))
        return extended_mint(mint_data(), [pointer, extension(TOKEN_METADATA, b"HYPER".ljust(80))])

    def tokens(self, owner: Pubkey, amount: int) -> Any:
        """A token account with so much, as this market's token program keeps them."""
        data = token_data(MINT, owner, amount)
        extended = self.token_program == TOKEN_2022
        return held(immutable_owner(data) if extended else data, self.token_program)

    def account_of(self, owner: Pubkey) -> Pubkey:
        return associated(owner, self.token_program, MINT)

    @property
    def vault(self) -> Pubkey:
        return self.account_of(self.ledger)

    def wait(self, seconds: int) -> None:
        self.now += seconds
        self.slot += int(seconds * SLOTS_PER_SECOND)
        self.world.set_clock(self.now, self.slot)

    # ---- What stands on the chain.

    def balance(self, account: Pubkey) -> int:
        found_there = self.world.account(account)
        assert found_there is not None
        return amount_of(found_there.data)

    def state(self) -> dict[str, Any]:
        """The ledger's values by flat name."""
        account = self.world.account(self.ledger)
        assert account is not None
        return unpack_account(LEDGER, account.data)

    def record(self, kind: str, whose: Pubkey) -> dict[str, Any]:
        """A `claim` or `deposit` record's values."""
        account = self.world.account(self.record_key(kind, whose))
        assert account is not None
        return unpack_account(CLAIM_RECORD if kind == "claim" else DEPOSIT_RECORD, account.data)

    def record_key(self, kind: str, whose: Pubkey) -> Pubkey:
        return found([kind.encode(), bytes(self.ledger), bytes(whose)])[0]

    # ---- Instructions.

    def instruction(
        self,
        name: str,
        args: dict[str, Any],
        keys: dict[str, Pubkey],
        flags: dict[str, tuple[bool, bool]] | None = None,
    ) -> Instruction:
        """As declared; `keys` names whoever is not this market's only one."""
        wallet = keys.get("wallet", HOST)
        owner = keys.get("owner", BUYER)
        receiver = owner if name == "exit" else wallet
        every = {
            "payer": PAYER,
            "base": BASE,
            "ledger": self.ledger,
            "mint": MINT,
            "vault": self.vault,
            "token_program": self.token_program,
            "system_program": SYSTEM,
            "instructions_sysvar": INSTRUCTIONS_SYSVAR,
            "wallet": wallet,
            "owner": owner,
            "authority": ADMIN,
            "source": self.account_of(BUYER),
            "destination": self.account_of(receiver),
            "claim_record": self.record_key("claim", wallet),
            "deposit_record": self.record_key("deposit", owner),
            **keys,
        }
        return instruction_of(DECLARED[name], every, args, flags=flags)

    def run(self, name: str, args: dict[str, Any] | None = None, **keys: Pubkey) -> Outcome:
        """One instruction, alone in a transaction."""
        return self.world.send([self.instruction(name, args or {}, keys)])

    def initialize(self, **changed: Any) -> Outcome:
        roles = {"admin": ADMIN, "publisher": PUBLISHER, "guardian": GUARDIAN}
        args = {"cluster_tag": CLUSTER, **roles, "voucher_key": VOUCHERS.pubkey(), "limits": LIMITS}
        return self.run("initialize", args | changed)

    def deposit(self, amount: int, owner: Pubkey = BUYER) -> Outcome:
        return self.run("deposit", {"amount": amount}, authority=BUYER, owner=owner)

    def publish(self, earned: Amounts, exitable: Amounts | None = None) -> Outcome:
        """A root of these leaves, as the next epoch."""
        leaves = [(EARNINGS, bytes(who), amount) for who, amount in earned.items()]
        leaves += [(EXIT, bytes(who), amount) for who, amount in (exitable or {}).items()]
        tree = Tree(bytes(self.ledger), tuple(leaves))
        epoch = self.state()["last_epoch"] + 1
        self.trees[epoch] = tree
        args = {
            "epoch": epoch,
            "root": tree.root,
            "data_hash": tree.data_hash,
            "total": tree.total(EARNINGS),
            "total_exitable": tree.total(EXIT),
            "leaf_count": tree.count,
        }
        return self.run("publish_root", args, authority=PUBLISHER)

    def approve(self, authority: Pubkey = GUARDIAN) -> Outcome:
        epoch = self.state()["last_epoch"]
        args = {"epoch": epoch, "root": self.trees[epoch].root}
        return self.run("approve_root", args, authority=authority)

    def root(self, earned: Amounts, exitable: Amounts | None = None) -> int:
        """Publish, approve, wait, activate; returns the epoch."""
        done = [self.publish(earned, exitable), self.approve()]
        self.wait(LIMITS["fast_delay"])
        done.append(self.run("activate_root"))
        assert [each.error for each in done] == [None, None, None]
        return int(self.state()["active.epoch"])

    def leaf(self, epoch: int, kind: int, whose: Pubkey) -> dict[str, Any]:
        """The arguments that bring a leaf."""
        tree = self.trees[epoch]
        index = tree.index(kind, bytes(whose))
        amount = "exitable" if kind == EXIT else "lifetime"
        proof = tree.proof(index)
        return {"epoch": epoch, "index": index, amount: tree.leaves[index][2], "proof": proof}

    def claim(
        self, epoch: int, wallet: Pubkey = HOST, name: str = "claim", **keys: Pubkey
    ) -> Outcome:
        return self.run(name, self.leaf(epoch, EARNINGS, wallet), wallet=wallet, **keys)

    def exit(self, epoch: int, owner: Pubkey = BUYER) -> Outcome:
        return self.run("exit", self.leaf(epoch, EXIT, owner), owner=owner)

    def voucher(
        self, cumulative: int, *, name: str = "redeem", says: int | None = None, **keys: Pubkey
    ) -> list[Instruction]:
        """A voucher's check and its use; `says`: what the arguments claim that it is worth."""
        expires_at = self.now + DAY
        wallet = keys.setdefault("wallet", HOST)
        key_epoch = self.state()["key_epoch"]
        voucher = Voucher(
            *(bytes(PROGRAM), bytes(self.ledger), CLUSTER, bytes(wallet)),
            *(cumulative, expires_at, key_epoch),
        )
        args = {"cumulative": says or cumulative, "expires_at": expires_at}
        check = check_instruction(signed_check(voucher.message(), VOUCHERS))
        return [check, self.instruction(name, args, keys)]

    def redeem(
        self, cumulative: int, *, name: str = "redeem", says: int | None = None, **keys: Pubkey
    ) -> Outcome:
        """A voucher, in one transaction with its check."""
        return self.world.send(self.voucher(cumulative, name=name, says=says, **keys))

    def propose(self, kind: int, **given: Any) -> Outcome:
        args = {"key": NO_KEY, "amount": 0, "flags": 0, "limits": NO_LIMITS} | given
        return self.run("propose_config", {"kind": kind, **args})


def opened() -> Market:
    """A ledger with 10 tokens of a buyer and a reserve of 2 in its vault."""
    market = Market(World(program_file()))
    done = [market.initialize(), market.deposit(10_000_000)]
    done.append(market.deposit(2_000_000, market.ledger))
    assert [each.error for each in done] == [None, None, None]
    return market


def event(outcome: Outcome) -> tuple[str, dict[str, Any]]:
    """The last event of a transaction that succeeded."""
    assert outcome.error is None, outcome
    return outcome.events[-1]
