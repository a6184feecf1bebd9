"""A market's people, keys and truth: what an honest operator knows, whatever roots say.

In:   a twin, a seeded generator.
Out:  who holds which role, true leaves, calls that are seldom a little wrong.
Rules:
  1. The truth (`earned`, `credit`) is kept apart from the roots: false ones change no truth.
  2. About one call in eight has one thing wrong: an account, a signature, a byte, a length.
"""

from __future__ import annotations

import random  # noqa: TID251  # seeded: the same operations in every run
from typing import Final

from tests.program_twin import Twin
from tests.settlement_model import Before, Call, Meta
from tests.settlement_model.addresses import SYSTEM_PROGRAM
from tests.settlement_model.calls import Argument
from tests.settlement_model.setting import DAY, HOUR, MINT, Tree, key
from tests.settlement_model.tokens import INITIALIZED
from tests.settlement_model.tree import root_of

WALLETS: Final = tuple(f"wallet {n}" for n in range(6))
OWNERS: Final = tuple(f"owner {n}" for n in range(4))
#: Who is in a false root, and in no true one.
THIEF: Final = "thief"
#: Who makes losses good.
OPERATOR: Final = "operator"
PEOPLE: Final = (*WALLETS, *OWNERS, THIEF, OPERATOR)
FROZEN: Final = 2
#: Names whose keys may hold a role.
ROLES: Final = ("admin", "publisher", "guardian", *(f"new role {n}" for n in range(4)))
VOUCHER_NAMES: Final = ("voucher key", "second voucher key")
AMOUNTS: Final = (1, 9, 10, 11, 100, 500, 7_000, 250_000)
WAITS: Final = (0, 1, 7, 50, 99, 100, HOUR, 2 * HOUR, DAY, 2 * DAY, 4 * DAY, 8 * DAY, 15 * DAY)


class Life:
    """One market and one generator, so that a seed tells a whole life."""

    def __init__(self, twin: Twin, seed: int) -> None:
        self.twin = twin
        self.chance = random.Random(seed)  # a test's
        self.earned = dict.fromkeys(WALLETS, 0)
        self.credit = dict.fromkeys(OWNERS, 0)
        self.donations = 0

    def is_odd(self, share: float = 0.2) -> bool:
        return self.chance.random() < share

    def pick(self, names: tuple[str, ...]) -> str:
        return self.chance.choice(names)

    def holder(self, role: str) -> str:
        """The name whose key has that role now, seldom another's."""
        if self.is_odd(0.06):
            return self.pick((*ROLES, THIEF))
        held = getattr(self.twin.ledger, role)
        return next(name for name in ROLES if key(name) == held)

    def by(self, role: str, name: str, **args: Argument) -> None:
        self.send(name, args, {"authority": key(self.holder(role))})

    def send(
        self,
        name: str,
        args: dict[str, Argument] | None = None,
        accounts: dict[str, bytes] | None = None,
        before: Before | None = None,
    ) -> object:
        """Send a call, one in five with something wrong about it."""
        call = self.twin.call(name, args, accounts, before)
        return self.twin.both(self._spoiled(call) if self.is_odd(0.12) else call)

    def _spoiled(self, call: Call) -> Call:
        """The same call with one account, signature or byte of its data otherwise."""
        metas, data = list(call.accounts), call.data
        # Who pays for a record, and which program makes it, is the runtime's to refuse.
        known = {key("payer"), SYSTEM_PROGRAM}
        others = [at for at, meta in enumerate(metas) if meta.address not in known]
        at = self.chance.choice(others)
        how = self.chance.randrange(6)
        if how == 0:
            metas[at] = Meta(metas[at].address, signer=not metas[at].signer)
        elif how == 1:
            other = self.chance.choice([key(self.pick(PEOPLE)), metas[-1].address, MINT])
            metas[at] = Meta(other, metas[at].signer)
        elif how == 2:
            metas = metas[: self.chance.randrange(len(metas) + 1)]
        elif how == 3:
            metas += [Meta(key("more"))] * self.chance.choice([1, 15, 30])
        elif how == 4:
            data = data[: self.chance.choice([0, 7, 8, len(data) - 1])]
        else:
            data += bytes(self.chance.choice([1, 32]))
        return Call(data, _payer_can_sign(metas), call.before)

    def deposit_accounts(self, who: str) -> dict[str, bytes]:
        twin = self.twin
        return {
            "authority": key(who),
            "owner": twin.owner(who),
            "deposit_record": twin.deposit_record_of(who),
            "source": twin.token_account_of(key(who)),
        }

    def free(self, owner: str) -> int:
        """Credit of an owner that has neither been spent nor taken back."""
        return max(0, self.credit[owner] - self.exited(owner))

    def true_leaves(self) -> tuple[dict[str, int], dict[str, int]]:
        """What everybody earned and may take back; whoever was paid more keeps a leaf of that.

        Else a wallet that a false root paid could never be covered: the operator bears the loss.
        """
        claimed = {name: self.claimed(name) for name in (*WALLETS, THIEF)}
        earnings = {name: max(self.earned.get(name, 0), claimed[name]) for name in claimed}
        exits = {name: max(self.credit[name], self.exited(name)) for name in OWNERS}
        return {name: n for name, n in earnings.items() if n}, exits

    def claimed(self, name: str) -> int:
        there = self.twin.claim_record_of(name) in self.twin.model.world.accounts
        return self.twin.claim_record(name).claimed if there else 0

    def exited(self, name: str) -> int:
        there = self.twin.deposit_record_of(name) in self.twin.model.world.accounts
        return self.twin.deposit_record(name).exited if there else 0

    def root_args(self, earnings: dict[str, int], exits: dict[str, int]) -> dict[str, Argument]:
        """Arguments of the next root with these leaves; a total never falls."""
        ledger = self.twin.ledger
        tree = Tree(self.twin.ledger_key, earnings, exits)
        epoch = ledger.last_epoch + 1
        self.twin.trees[epoch] = tree
        return {
            "epoch": epoch,
            "root": root_of(tree.leaves),
            "data_hash": key("data"),
            "total": max(sum(earnings.values()), ledger.active.total),
            "total_exitable": max(sum(exits.values()), ledger.total_exited),
            "leaf_count": len(tree.leaves),
        }

    def shortage(self, args: dict[str, Argument]) -> int:
        """What has to be deposited before that root may be promised."""
        ledger = self.twin.ledger
        total, exitable = args["total"], args["total_exitable"]
        assert isinstance(total, int)
        assert isinstance(exitable, int)
        promised = total + exitable + ledger.reserve + ledger.total_withdrawn
        return max(0, promised - ledger.total_deposited)

    def make_good(self, args: dict[str, Argument]) -> None:
        """The operator deposits what is short: credit of its own, in no leaf."""
        short = self.shortage(args)
        if short:
            amount = max(short, self.twin.ledger.limits.min_deposit)
            self.twin.account(OPERATOR).amount += amount
            self.twin.send("deposit", {"amount": amount}, self.deposit_accounts(OPERATOR))

    def calm(self) -> None:
        """Everybody's token account is as it was made."""
        for name in PEOPLE:
            account = self.twin.account(name)
            account.state, account.owner = INITIALIZED, key(name)


def _payer_can_sign(metas: list[Meta]) -> tuple[Meta, ...]:
    """At most as many signers as fit into a message's header; addresses of one stay one."""
    signing = {meta.address for meta in metas if meta.signer}
    return tuple(Meta(meta.address, meta.address in signing) for meta in metas)
