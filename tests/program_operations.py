"""Random operations on a twin market: deposits, roots honest and false, claims, vouchers, exits,
proposals, pauses, clocks, and calls that are a little wrong.

In:   a seeded generator, a twin.
Out:  one operation after the other, each sent to both sides, and the truth kept (`Life`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tests.program_life import (
    AMOUNTS,
    FROZEN,
    OWNERS,
    PEOPLE,
    ROLES,
    THIEF,
    VOUCHER_NAMES,
    WAITS,
    WALLETS,
    Life,
)
from tests.program_twin import Twin, kind_of, voucher_pair
from tests.settlement_model import Applied, Before, Call, Meta
from tests.settlement_model.addresses import TOKEN_2022, ZERO
from tests.settlement_model.calls import Argument
from tests.settlement_model.setting import DAY, HOUR, MINT, key
from tests.settlement_model.state import I64_MAX, U64_MAX, Limits
from tests.settlement_model.tokens import INITIALIZED, TokenAccount, mint_bytes
from tests.settlement_model.world import Account


class Operations(Life):
    """Draws and sends operations; one generator, so that a seed tells a whole life."""

    def __init__(self, twin: Twin, seed: int) -> None:
        super().__init__(twin, seed)
        self._bases = 0
        self._draws: list[tuple[int, Callable[[], None]]] = [
            *((14, self._deposit), (16, self._earn), (12, self._publish), (10, self._approve)),
            *((8, self._activate), (3, self._cancel), (2, self._revoke), (22, self._claim)),
            *((14, self._redeem), (8, self._exit), (4, self._ask), (2, self._pause)),
            *((1, self._tighten), (2, self._void), (6, self._propose), (7, self._apply)),
            *((2, self._cancel_config), (2, self._donate), (16, self._wait), (2, self._disturb)),
            *((2, self._initialize), (2, self._garble), (8, self._mend)),
        ]

    def step(self) -> None:
        """One operation."""
        weights, draws = zip(*self._draws, strict=True)
        self.chance.choices(draws, weights)[0]()

    # ---- money in, earnings ---------------------------------------------------------------------
    def _deposit(self) -> None:
        who = self.pick((*OWNERS, "reserve"))
        amount = self.chance.choice(AMOUNTS)
        before = self.twin.ledger.total_deposited
        self.twin.account(who).amount += amount
        self.send("deposit", {"amount": amount}, self.deposit_accounts(who))
        came = self.twin.ledger.total_deposited - before
        if who != "reserve":
            self.credit[who] += came

    def _earn(self) -> None:
        """A job is paid for: an owner's credit becomes a wallet's earnings."""
        owner, wallet = self.pick(OWNERS), self.pick(WALLETS)
        amount = min(self.chance.choice(AMOUNTS), self.free(owner))
        self.credit[owner] -= amount
        self.earned[wallet] += amount

    def _donate(self) -> None:
        amount = self.chance.choice(AMOUNTS)
        self.twin.donate(amount)
        self.donations += amount

    # ---- roots ----------------------------------------------------------------------------------
    def _publish(self) -> None:
        earnings, exits = self.true_leaves()
        is_true = not self.is_odd(0.25)
        if not is_true:
            self._falsify(earnings, exits)
        args = self.root_args(earnings, exits)
        if is_true and self.is_odd(0.7):
            self.make_good(args)
        self.by("publisher", "publish_root", **(self._root_args() if self.is_odd(0.1) else args))

    def _falsify(self, earnings: dict[str, int], exits: dict[str, int]) -> None:
        """Somebody gets a leaf of what it has not earned, mostly out of depositors' credit."""
        false = self.chance.choice([*AMOUNTS, 10**6, 10**9])
        if self.is_odd(0.6):
            exits |= {name: self.exited(name) for name in OWNERS}
            false = sum(self.credit.values())
        earnings[self.pick((THIEF, THIEF, *WALLETS))] = false

    def _root_args(self) -> dict[str, Argument]:
        ledger = self.twin.ledger
        return {
            "epoch": ledger.last_epoch + self.chance.choice([0, 1, 1, 1, 2]),
            "root": self.chance.choice([ZERO, key("a root")]),
            "data_hash": key("data"),
            "total": self.chance.choice([0, ledger.active.total, U64_MAX, 10**7]),
            "total_exitable": self.chance.choice([0, ledger.total_exited, U64_MAX]),
            "leaf_count": self.chance.choice([0, 1, 5, 2**32 - 1]),
        }

    def _approve(self) -> None:
        pending = self.twin.ledger.pending
        root = key("other") if self.is_odd(0.1) else pending.root
        self.by("guardian", "approve_root", epoch=pending.epoch, root=root)

    def _activate(self) -> None:
        self.send("activate_root")

    def _epoch_near(self, epoch: int) -> int:
        return epoch + (self.chance.choice([-1, 1]) if self.is_odd() and epoch else 0)

    def _cancel(self) -> None:
        role = self.pick(("guardian", "admin"))
        epoch = self._epoch_near(self.twin.ledger.pending.epoch)
        self.by(role, "cancel_root", epoch=epoch)

    def _revoke(self) -> None:
        role = self.pick(("guardian", "admin"))
        self.by(role, "revoke_root", epoch=self._epoch_near(self.twin.ledger.active.epoch))

    # ---- money out ------------------------------------------------------------------------------
    def _epoch_to_use(self) -> int | None:
        """Mostly the active epoch; one whose tree is known."""
        ledger = self.twin.ledger
        wanted = [ledger.active.epoch] * 6 + [ledger.previous.epoch, ledger.pending.epoch]
        epoch = self.chance.choice([*wanted, *list(self.twin.trees)[-3:]])
        return epoch if epoch in self.twin.trees else None

    def _claim(self) -> None:
        epoch = self._epoch_to_use()
        if epoch is None:
            return
        tree = self.twin.trees[epoch]
        if not tree.earnings:
            return
        is_robbed = THIEF in tree.earnings and self.is_odd(0.4)
        who = THIEF if is_robbed else self.chance.choice(list(tree.earnings))
        args: dict[str, Argument] = {"epoch": epoch, **tree.earned(who)}
        name = self.chance.choice(["claim"] * 5 + ["claim_to", "cover"])
        accounts = self.twin.wallet_accounts(who)
        if name == "claim_to" and self.is_odd(0.5):
            accounts["destination"] = self.twin.token_account_of(key(self.pick(PEOPLE)))
        if name != "cover" and self.is_odd(0.05):
            accounts["destination"] = self._other_account(who)
        self.send(name, self._wrong_leaf(args, "lifetime"), accounts)

    def _other_account(self, who: str) -> bytes:
        """A second token account of that name, or the vault."""
        second = key(f"second account of {who}")
        held = Account(self.twin.token_program, TokenAccount(MINT, key(who)))
        self.twin.model.world.accounts.setdefault(second, held)
        return self.chance.choice([second, self.twin.vault])

    def _wrong_leaf(self, args: dict[str, Argument], amount: str) -> dict[str, Argument]:
        if not self.is_odd(0.1):
            return args
        proof, index, value = args["proof"], args["index"], args[amount]
        assert isinstance(proof, list)
        assert isinstance(index, int)
        assert isinstance(value, int)
        changes: list[dict[str, Argument]] = [
            {"proof": proof[:-1]},
            {"proof": [*proof, key("more")]},
            {"proof": [key("more")] * 33},
            {"index": index + 1},
            {"index": 2**32 - 1},
            {amount: value + 1},
        ]
        return {**args, **self.chance.choice(changes)}

    def _redeem(self) -> None:
        who = self.pick(WALLETS)
        more = self.chance.choice([0, 0, 5, 300, 10**6]) if self.is_odd(0.5) else 0
        cumulative = self.earned[who] + more
        expires = self.twin.now + self.chance.choice([HOUR, HOUR, HOUR, 0, -1, I64_MAX // 4])
        signer = self.pick(VOUCHER_NAMES) if self.is_odd(0.3) else self._voucher_signer()
        shown = self.twin.signed_voucher(who, cumulative, expires, signer)
        before: Before | None = None if self.is_odd(0.03) else shown
        args: dict[str, Argument] = {"cumulative": cumulative, "expires_at": expires}
        if self.is_odd(0.05):
            args["cumulative"] = cumulative + 1
        name = self.chance.choice(["redeem", "redeem", "redeem_to"])
        self.send(name, args, self.twin.wallet_accounts(who), before)

    def _voucher_signer(self) -> str:
        held = self.twin.ledger.voucher_key
        known = {bytes(voucher_pair(name).pubkey()): name for name in VOUCHER_NAMES}
        return known.get(held, VOUCHER_NAMES[0])

    def _exit(self) -> None:
        epoch = self._epoch_to_use()
        if epoch is None:
            return
        tree = self.twin.trees[epoch]
        who = self.chance.choice(list(tree.exits))
        self.twin.account(who)
        accounts = {
            "owner": key(who),
            "deposit_record": self.twin.deposit_record_of(who),
            "destination": self.twin.token_account_of(key(who)),
        }
        args: dict[str, Argument] = {"epoch": epoch, **tree.exitable(who)}
        self.send("exit", self._wrong_leaf(args, "exitable"), accounts)

    def _ask(self) -> None:
        who = self.pick(OWNERS)
        accounts = {"owner": key(who), "deposit_record": self.twin.deposit_record_of(who)}
        self.send(self.pick(("request_exit", "request_exit", "cancel_exit")), None, accounts)

    # ---- rules ----------------------------------------------------------------------------------
    def _pause(self) -> None:
        flags = self.chance.choice([0, 1, 2, 4, 8, 15, 16])
        role = self.pick(("admin", *["guardian"] * 4))
        self.by(role, "set_paused", flags=flags)

    def _mend(self) -> None:
        """What is paused for long is lifted, limits that are too tight are loosened."""
        ledger = self.twin.ledger
        if ledger.proposal_kind:
            self.twin.model.world.now = max(self.twin.now, ledger.proposal_due_at)
            self._apply()
        elif max(ledger.paused_until) > self.twin.now + 20 * DAY:
            self._propose_this(kind=kind_of("UNPAUSE"), flags=15)
        elif ledger.limits.max_epoch_increase < 10**5 or ledger.limits.exit_after > 20 * DAY:
            self._propose_this(kind=kind_of("LIMITS"), limits=replace(self.twin.limits))

    def _propose_this(self, **given: Argument) -> None:
        nothing: dict[str, Argument] = {"key": ZERO, "amount": 0, "flags": 0, "limits": Limits()}
        self.by("admin", "propose_config", **{**nothing, **given})

    def _limits(self) -> Limits:
        """The usual limits, some fields a little otherwise, seldom out of range."""
        chosen = replace(self.twin.limits)
        for _ in range(self.chance.choice([0, 1, 1, 2])):
            name = self.chance.choice(list(Limits.__slots__))
            now = getattr(chosen, name)
            setattr(chosen, name, max(0, now + self.chance.choice([-1, 1, now, -now // 2])))
        return chosen

    def _tighten(self) -> None:
        now = self.twin.ledger.limits
        chosen = self._limits() if self.is_odd(0.3) else replace(now)
        name = self.chance.choice(list(Limits.__slots__))
        value = getattr(chosen, name) + self.chance.choice([-1, 0, 1, 100])
        setattr(chosen, name, max(0, value))
        self.by("admin", "tighten_limits", limits=chosen)

    def _void(self) -> None:
        key_epoch = self.twin.ledger.key_epoch + self.chance.choice([0, 1, 1, 2])
        self.by("admin", "void_vouchers", key_epoch=key_epoch)

    def _propose(self) -> None:
        kind = self.chance.choice([1, 2, 3, 4, 5, 5, 6, 7, 8, 0, 9])
        args: dict[str, Argument] = {
            "kind": kind,
            "key": ZERO,
            "amount": 0,
            "flags": 0,
            "limits": Limits(),
        }
        if kind == 1:
            args["limits"] = self._limits()
        elif kind in {2, 3, 6}:
            args["key"] = key(self.pick(ROLES))
        elif kind == 4:
            pair = voucher_pair(self.pick(VOUCHER_NAMES))
            args["key"] = ZERO if self.is_odd() else bytes(pair.pubkey())
        elif kind == 5:
            args["flags"] = self.chance.choice([1, 2, 4, 8, 15, 0, 16])
        else:
            args |= {"key": key(self.pick(OWNERS)), "amount": self.chance.choice(AMOUNTS)}
        if self.is_odd(0.08):
            args["amount"] = 3
        self.by("admin", "propose_config", **args)

    def _apply(self) -> None:
        """Mostly the instruction that fits the proposal."""
        ledger = self.twin.ledger
        names = {6: "accept_admin", 7: "sweep_excess", 8: "withdraw_reserve"}
        fits = names.get(ledger.proposal_kind, "apply_config")
        name = self.pick(("apply_config", *names.values())) if self.is_odd(0.1) else fits
        accounts: dict[str, bytes] = {}
        if name == "accept_admin":
            known = [who for who in ROLES if key(who) == ledger.proposal_key]
            accounts["authority"] = key(known[0] if known else THIEF)
        elif name != "apply_config":
            who = [each for each in OWNERS if key(each) == ledger.proposal_key] or [OWNERS[0]]
            self.twin.account(who[0])
            accounts["destination"] = self.twin.token_account_of(key(who[0]))
        amount = ledger.proposal_amount
        if isinstance(self.send(name, None, accounts), Applied) and name == "sweep_excess":
            self.donations -= amount

    def _cancel_config(self) -> None:
        number = self._epoch_near(self.twin.ledger.proposal_number)
        self.by(self.pick(("admin", "guardian")), "cancel_config", number=number)

    # ---- the world around -----------------------------------------------------------------------
    def _wait(self) -> None:
        world = self.twin.model.world
        seconds = self.chance.choice(WAITS)
        if self.is_odd(0.1):
            world.now -= self.chance.choice([1, 50, HOUR])
        elif self.is_odd(0.1):
            world.now += seconds  # the cluster stands still: time goes on, slots do not
        else:
            self.twin.wait(seconds)
        world.rent_threshold = self.chance.choice([2.0] * 20 + [1.0, 1.5])

    def _disturb(self) -> None:
        """Somebody's token account changes hands, freezes, or thaws."""
        account = self.twin.account(self.pick(PEOPLE))
        if self.is_odd(0.5):
            self.calm()
        elif self.is_odd(0.5):
            account.state = FROZEN
        else:
            account.owner = key(THIEF)

    def _initialize(self) -> None:
        """Another ledger of another mint, mostly one that is refused."""
        twin, world = self.twin, self.twin.model.world
        if self.is_odd(0.2):
            twin.both(self._initializing("base", MINT, twin.token_program))
            return
        self._bases += 1
        program = self.chance.choice([twin.token_program, TOKEN_2022])
        mint = key(f"mint {self._bases}")
        extensions = self.chance.choice([(), (), ((18, bytes(64)),), ((1, bytes(108)),)])
        freezer = key("freezer") if self.is_odd(0.1) else None
        data = mint_bytes(6, freeze_authority=freezer, extensions=extensions)
        world.accounts[mint] = Account(program, data)
        twin.both(self._initializing(f"base {self._bases}", mint, program))

    def _initializing(self, base: str, mint: bytes, program: bytes) -> Call:
        from tests.settlement_model.addresses import derived, token_address  # noqa: PLC0415

        twin, world = self.twin, self.twin.model.world
        ledger = derived(twin.model.program, b"ledger", key(base))[0]
        vault = token_address(ledger, program, mint)[0]
        if base != "base":
            state = self.chance.choice([INITIALIZED] * 9 + [FROZEN])
            world.accounts[vault] = Account(program, TokenAccount(mint, ledger, state=state))
        names = self.chance.sample(ROLES, 3)
        if self.is_odd(0.2):
            names[0] = names[1]
        roles = zip(("admin", "publisher", "guardian"), map(key, names), strict=True)
        args: dict[str, Argument] = {
            "cluster_tag": key("cluster"),
            "voucher_key": ZERO,
            "limits": self._limits(),
            **dict(roles),
        }
        accounts = {"base": key(base), "ledger": ledger, "mint": mint, "vault": vault}
        return twin.call("initialize", args, {**accounts, "token_program": program})

    def _garble(self) -> None:
        """Bytes that are no instruction."""
        data = self.chance.randbytes(self.chance.choice([0, 7, 8, 40]))
        self.twin.both(Call(data, (Meta(self.twin.ledger_key),)))
