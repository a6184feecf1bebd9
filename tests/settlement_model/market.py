"""One ledger with its people, so that a story about it reads as one: names, amounts, days.

Whatever a method sends is well formed and signed by who ought to; it answers what the model does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tests.settlement_model.addresses import (
    ED25519_PROGRAM,
    INSTRUCTIONS_SYSVAR,
    SYSTEM_PROGRAM,
    TOKEN_PROGRAM,
    ZERO,
    claim_record_address,
    deposit_record_address,
    derived,
    token_address,
)
from tests.settlement_model.calls import Argument, Before, Call, call
from tests.settlement_model.invariants import Books, books_of
from tests.settlement_model.model import Applied, Model, Refused
from tests.settlement_model.paying import voucher_check, voucher_message
from tests.settlement_model.setting import (
    DECIMALS,
    HOUR,
    LIMITS,
    MINT,
    PROGRAM,
    ROLE_NAMES,
    SLOTS_PER_SECOND,
    START,
    Tree,
    key,
)
from tests.settlement_model.state import ClaimRecord, DepositRecord, Ledger, Limits
from tests.settlement_model.tokens import TokenAccount, mint_bytes
from tests.settlement_model.tree import root_of
from tests.settlement_model.world import Account, World

Answer = Applied | Refused


def ok(answer: Answer) -> Applied:
    assert isinstance(answer, Applied), answer
    return answer


def no(answer: Answer, error: str) -> None:
    assert answer == Refused(error)


@dataclass
class Market:
    limits: Limits = field(default_factory=lambda: replace(LIMITS))
    token_program: bytes = TOKEN_PROGRAM
    model: Model = field(init=False)
    trees: dict[int, Tree] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.model = Model(PROGRAM, World(START, 1_000))
        self.ledger_key = derived(PROGRAM, b"ledger", key("base"))[0]
        self.vault = self.token_account_of(self.ledger_key)
        accounts = self.model.world.accounts
        accounts[MINT] = Account(self.token_program, mint_bytes(DECIMALS))
        accounts[self.vault] = Account(self.token_program, TokenAccount(MINT, self.ledger_key))
        roles = {name: key(name) for name in ROLE_NAMES}
        args: dict[str, Argument] = {"cluster_tag": key("cluster"), "limits": self.limits, **roles}
        answer = self.send("initialize", args, {"base": key("base")})
        assert isinstance(answer, Applied), answer

    @property
    def ledger(self) -> Ledger:
        return self.model.world.ledger(self.ledger_key)

    @property
    def now(self) -> int:
        return self.model.world.now

    def wait(self, seconds: int) -> None:
        self.model.world.now += seconds
        self.model.world.slot += int(seconds * SLOTS_PER_SECOND)

    # People and their tokens

    def token_account_of(self, wallet: bytes) -> bytes:
        return token_address(wallet, self.token_program, MINT)[0]

    def account(self, who: str) -> TokenAccount:
        """The associated token account of that name; made where it is not there yet."""
        address = self.token_account_of(key(who))
        accounts = self.model.world.accounts
        if address not in accounts:
            accounts[address] = Account(self.token_program, TokenAccount(MINT, key(who)))
        return self.model.world.tokens(address)

    def balance(self, who: str) -> int:
        return self.account(who).amount

    @property
    def vault_balance(self) -> int:
        return self.model.world.tokens(self.vault).amount

    def donate(self, amount: int) -> None:
        """Tokens sent to the vault past the program."""
        self.model.world.tokens(self.vault).amount += amount

    def claim_record_of(self, who: str) -> bytes:
        return claim_record_address(PROGRAM, self.ledger_key, key(who))

    def deposit_record_of(self, who: str) -> bytes:
        return deposit_record_address(PROGRAM, self.ledger_key, self.owner(who))

    def owner(self, who: str) -> bytes:
        """Whose credit a deposit of that name is: "reserve" is the ledger itself."""
        return self.ledger_key if who == "reserve" else key(who)

    def claim_record(self, who: str) -> ClaimRecord:
        data = self.model.world.accounts[self.claim_record_of(who)].data
        assert isinstance(data, ClaimRecord)
        return data

    def deposit_record(self, who: str) -> DepositRecord:
        data = self.model.world.accounts[self.deposit_record_of(who)].data
        assert isinstance(data, DepositRecord)
        return data

    def books(self) -> Books:
        return books_of(self.model.world, PROGRAM, self.ledger_key)

    # Sending

    def call(
        self,
        name: str,
        args: Mapping[str, Argument] | None = None,
        accounts: Mapping[str, bytes] | None = None,
        before: Before | None = None,
    ) -> Call:
        """A call of that name; accounts that are the same in every call are filled in."""
        known = {
            "payer": key("payer"),
            "ledger": self.ledger_key,
            "mint": MINT,
            "vault": self.vault,
            "token_program": self.token_program,
            "system_program": SYSTEM_PROGRAM,
            "instructions_sysvar": INSTRUCTIONS_SYSVAR,
        }
        return call(name, {**known, **(accounts or {})}, args, before=before)

    def send(
        self,
        name: str,
        args: Mapping[str, Argument] | None = None,
        accounts: Mapping[str, bytes] | None = None,
        before: Before | None = None,
    ) -> Answer:
        return self.model.apply(self.call(name, args, accounts, before))

    def holder(self, role: str) -> bytes:
        held: bytes = getattr(self.ledger, role)
        return held

    def by(self, role: str, name: str, **args: Argument) -> Answer:
        """An instruction of a role: who holds it now signs."""
        return self.send(name, args, {"authority": self.holder(role)})

    def deposit(self, who: str, amount: int) -> Answer:
        """Gives the tokens to that name, and brings them in."""
        self.account(who).amount += amount
        return self.send(
            "deposit",
            {"amount": amount},
            {
                "authority": key(who),
                "owner": self.owner(who),
                "deposit_record": self.deposit_record_of(who),
                "source": self.token_account_of(key(who)),
            },
        )

    def publish(self, earnings: Mapping[str, int], exits: Mapping[str, int]) -> Answer:
        """The next root, with totals that are the sums of its leaves."""
        tree = Tree(self.ledger_key, dict(earnings), dict(exits))
        epoch = self.ledger.last_epoch + 1
        answer = self.by(
            "publisher",
            "publish_root",
            epoch=epoch,
            root=root_of(tree.leaves),
            data_hash=key("data"),
            total=sum(earnings.values()),
            total_exitable=sum(exits.values()),
            leaf_count=len(tree.leaves),
        )
        if isinstance(answer, Applied):
            self.trees[epoch] = tree
        return answer

    def approve(self) -> Answer:
        pending = self.ledger.pending
        return self.by("guardian", "approve_root", epoch=pending.epoch, root=pending.root)

    def activate(self) -> Answer:
        return self.send("activate_root")

    def settle(self, earnings: Mapping[str, int], exits: Mapping[str, int]) -> Answer:
        """A root in the ordinary way: published, approved, active after the fast delay."""
        for answer in (self.publish(earnings, exits), self.approve()):
            assert isinstance(answer, Applied), answer
        self.wait(self.ledger.limits.fast_delay)
        return self.activate()

    def wallet_accounts(self, who: str) -> dict[str, bytes]:
        self.account(who)
        return {
            "wallet": key(who),
            "claim_record": self.claim_record_of(who),
            "destination": self.token_account_of(key(who)),
        }

    def claim(self, who: str, epoch: int | None = None, name: str = "claim") -> Answer:
        """claim, claim_to or cover of that name's leaf in the active root, or the one given."""
        epoch = self.ledger.active.epoch if epoch is None else epoch
        args: dict[str, Argument] = {"epoch": epoch, **self.trees[epoch].earned(who)}
        return self.send(name, args, self.wallet_accounts(who))

    def voucher(self, who: str, cumulative: int, expires_at: int) -> Before:
        ledger = self.ledger
        message = voucher_message(
            PROGRAM,
            self.ledger_key,
            ledger.cluster_tag,
            key(who),
            cumulative,
            expires_at,
            ledger.key_epoch,
        )
        return Before(ED25519_PROGRAM, voucher_check(ledger.voucher_key, bytes(64), message))

    def redeem(self, who: str, cumulative: int, before: Before | None = None) -> Answer:
        """A voucher of an hour; signed now, or the one given."""
        expires_at = self.now + HOUR
        before = before or self.voucher(who, cumulative, expires_at)
        args: dict[str, Argument] = {"cumulative": cumulative, "expires_at": expires_at}
        return self.send("redeem", args, self.wallet_accounts(who), before)

    def leave(self, who: str) -> Answer:
        """exit, by the active root."""
        self.account(who)
        epoch = self.ledger.active.epoch
        return self.send(
            "exit",
            {"epoch": epoch, **self.trees[epoch].exitable(who)},
            {
                "owner": key(who),
                "deposit_record": self.deposit_record_of(who),
                "destination": self.token_account_of(key(who)),
            },
        )

    def ask(self, who: str, name: str = "request_exit") -> Answer:
        return self.send(
            name, None, {"owner": key(who), "deposit_record": self.deposit_record_of(who)}
        )

    def propose(
        self,
        kind: int,
        key: bytes = ZERO,
        amount: int = 0,
        flags: int = 0,
        limits: Limits | None = None,
    ) -> Answer:
        return self.by(
            "admin",
            "propose_config",
            kind=kind,
            key=key,
            amount=amount,
            flags=flags,
            limits=limits or Limits(),
        )

    def pay_proposed(self, name: str, who: str) -> Answer:
        """sweep_excess or withdraw_reserve to that name."""
        self.account(who)
        return self.send(name, None, {"destination": self.token_account_of(key(who))})
