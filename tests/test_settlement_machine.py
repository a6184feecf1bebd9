"""The settlement model through any order of operations, honest and not: invariants, and liveness.

Rules are what owners, wallets, roles, thieves with a role's key and strangers can do. After each
instruction the invariants of docs/program.md are checked; at the end of each run an honest operator
takes over, waits and operates as intended, and everybody must be paid all that it earned and all of
its unspent credit, without a unit from the operator where nobody cheated.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.settlement_model import Meta, Refused
from tests.settlement_model.calls import Call
from tests.settlement_model.governing import MAY_FALL, MAY_RISE
from tests.settlement_model.market import Market
from tests.settlement_model.operator import Operator
from tests.settlement_model.proposals import Kind
from tests.settlement_model.setting import DAY, HOUR, LIMITS, PROGRAM, Tree, key
from tests.settlement_model.watched import Watched

OWNERS = ("alice", "bob", "mallory")
WALLETS = ("wally", "zoe", "thief")
OWNER = st.sampled_from(OWNERS)
WALLET = st.sampled_from(WALLETS)
AMOUNT = st.integers(1, 300_000)
#: A window of a hundred seconds lets 100,000 out: breakers fill in a few steps.
NARROW = replace(
    LIMITS,
    window_limit=100_000,
    voucher_limit=100_000,
    advance_cap=150_000,
    wallet_advance_cap=80_000,
    exit_after=3 * DAY,
)
ROLE = st.sampled_from(("guardian", "admin"))


class Settlement(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.market = Market(NARROW)
        self.watched = Watched(PROGRAM, self.market.model.world, self.market.ledger_key)
        self.market.model = self.watched
        self.operator = Operator(self.market, OWNERS, WALLETS)
        self.cheated = False

    @initialize(amounts=st.lists(AMOUNT, min_size=4, max_size=4))
    def begin(self, amounts: list[int]) -> None:
        for who, amount in zip((*OWNERS, "reserve"), amounts, strict=True):
            self.market.deposit(who, amount)

    # Owners, wallets, and the operator's day

    @rule(owner=st.sampled_from((*OWNERS, "reserve")), amount=AMOUNT)
    def deposit(self, owner: str, amount: int) -> None:
        self.market.deposit(owner, amount)

    @rule(owner=OWNER, wallet=WALLET, price=AMOUNT)
    def work(self, owner: str, wallet: str, price: int) -> None:
        self.operator.work(owner, wallet, price)

    @rule(seconds=st.sampled_from((1, 7, 60, HOUR, 6 * HOUR, DAY, 3 * DAY, 10 * DAY)))
    def wait(self, seconds: int) -> None:
        self.market.wait(seconds)

    @rule(owner=OWNER, wallet=WALLET, price=AMOUNT, claims=st.booleans())
    def day(self, owner: str, wallet: str, price: int, claims: bool) -> None:
        """As a day ought to be; whatever does not go today goes another day."""
        self.operator.work(owner, wallet, price)
        self.market.wait(HOUR)
        self.operator.publish()
        self.market.approve()
        self.market.wait(HOUR)
        self.market.activate()
        if claims:
            for one in WALLETS:
                self.claim(one, "claim", old=False)

    @rule(approved=st.booleans())
    def publish(self, approved: bool) -> None:
        self.operator.publish()
        if approved:
            self.market.approve()

    @rule()
    def activate(self) -> None:
        self.market.activate()

    @rule(wallet=WALLET, name=st.sampled_from(("claim", "claim_to", "cover")), old=st.booleans())
    def claim(self, wallet: str, name: str, old: bool) -> None:
        ledger = self.market.ledger
        epoch = ledger.previous.epoch if old else ledger.active.epoch
        if epoch in self.market.trees:
            self.market.claim(wallet, epoch, name)

    @rule(wallet=WALLET)
    def redeem(self, wallet: str) -> None:
        self.market.redeem(wallet, self.operator.earned[wallet])

    @rule(owner=OWNER)
    def ask(self, owner: str) -> None:
        asked = self.operator.deposited(owner).exit_requested_at
        self.market.ask(owner, "cancel_exit" if asked else "request_exit")

    @rule(owner=OWNER, when=st.sampled_from(("now", "when open", "beside a pending root")))
    def leave(self, owner: str, when: str) -> None:
        ledger = self.market.ledger
        opens_in = max(0, ledger.active.active_at + ledger.limits.exit_after - self.market.now)
        if when == "beside a pending root":
            self.market.wait(max(0, opens_in - HOUR))
            for one in OWNERS:
                self.operator.work(one, "wally", 10**6)
            self.operator.publish()
            self.market.wait(min(HOUR, opens_in))
        elif when == "when open":
            self.market.wait(opens_in)
        if self.market.ledger.active.epoch in self.market.trees:
            self.market.leave(owner)
            record = self.operator.deposited(owner)
            # By an old leaf, through the first door: what it spent since then is missing.
            self.cheated |= record.exited > record.deposited - self.operator.spent[owner]

    # Roles, theirs or stolen

    @rule(by=ROLE, what=st.sampled_from(("cancel_root", "revoke_root", "cancel_config")))
    def stop(self, by: str, what: str) -> None:
        ledger = self.market.ledger
        if what == "cancel_config":
            self.market.by(by, what, number=ledger.proposal_number)
        else:
            root = ledger.pending if what == "cancel_root" else ledger.active
            self.market.by(by, what, epoch=root.epoch)

    @rule(by=ROLE, flags=st.sampled_from((1, 2, 4, 8, 10, 15)))
    def set_paused(self, by: str, flags: int) -> None:
        self.market.by(by, "set_paused", flags=flags)

    @rule()
    def calm_down(self) -> None:
        """Every pause is lifted, the guardian's rest too."""
        self.operator.drop_what_is_pending()
        self.operator.carry_out(Kind.UNPAUSE, flags=15)
        self.market.by("admin", "set_paused", flags=0)

    @rule(
        name=st.sampled_from((*MAY_FALL, *MAY_RISE, "key_epoch")),
        percent=st.sampled_from((0, 1, 50, 99)),
    )
    def tighten(self, name: str, percent: int) -> None:
        limits = self.market.ledger.limits
        if name == "key_epoch":
            self.market.by("admin", "void_vouchers", key_epoch=self.market.ledger.key_epoch + 1)
            return
        old: int = getattr(limits, name)
        new = old * percent // 100 if name in MAY_FALL else old + old * percent // 100
        self.market.by("admin", "tighten_limits", limits=replace(limits, **{name: new}))

    @rule(
        kind=st.sampled_from(Kind),
        amount=AMOUNT,
        flags=st.integers(1, 15),
        window=st.integers(50, 200),
        patient=st.booleans(),
    )
    def propose(self, kind: Kind, amount: int, flags: int, window: int, patient: bool) -> None:
        key_of = key(f"key {self.market.ledger.proposal_number}")
        pays = kind in {Kind.SWEEP, Kind.RESERVE}
        limits = replace(NARROW, window_secs=window, window_limit=window * 2_000)
        self.market.propose(
            kind,
            bytes(32) if kind in {Kind.LIMITS, Kind.UNPAUSE} else key_of,
            amount if pays else 0,
            flags if kind is Kind.UNPAUSE else 0,
            limits if kind is Kind.LIMITS else None,
        )
        if patient:
            self.market.wait(max(0, self.market.ledger.proposal_due_at - self.market.now))
            self.apply_proposal()

    @rule()
    def apply_proposal(self) -> None:
        name = f"key {self.market.ledger.proposal_number - 1}"
        self.market.account(name)
        self.market.send("apply_config")
        self.market.send("accept_admin", None, {"authority": self.market.ledger.proposal_key})
        self.market.pay_proposed("sweep_excess", name)
        self.market.pay_proposed("withdraw_reserve", name)

    @rule(
        earned=st.lists(AMOUNT, min_size=3, max_size=3),
        left=st.lists(AMOUNT, min_size=3, max_size=3),
        more=st.sampled_from((0, 1, 100_000)),
        goes_through=st.booleans(),
    )
    def publish_a_lie(
        self, earned: list[int], left: list[int], more: int, goes_through: bool
    ) -> None:
        """Leaves as a thief with the publisher's key likes them, a total as he likes it."""
        earnings, exits = (
            dict(zip(WALLETS, earned, strict=True)),
            dict(zip(OWNERS, left, strict=True)),
        )
        lie = Tree(self.market.ledger_key, earnings, exits)
        answer = self.operator.publish(lie, total=sum(earned) + more)
        self.cheated |= not isinstance(answer, Refused)
        if goes_through:
            self.market.approve()
            self.market.wait(HOUR)
            self.market.activate()
            self.claim("thief", "claim", old=False)
            self.stop("guardian", "revoke_root")

    @rule(wallet=WALLET, amount=AMOUNT)
    def redeem_a_lie(self, wallet: str, amount: int) -> None:
        """A voucher by a thief who has the voucher key; the reserve is the operator's."""
        self.market.redeem(wallet, self.operator.earned[wallet] + amount)

    # Strangers

    @rule(amount=AMOUNT)
    def donate(self, amount: int) -> None:
        self.watched.donations += amount
        self.market.donate(amount)

    @rule(first=st.integers(0, 9), second=st.integers(0, 9), signs=st.booleans())
    def send_again_otherwise(self, first: int, second: int, signs: bool) -> None:
        """The last call once more: two accounts changed places, somebody did not sign."""
        call = self.watched.last
        if call is not None:
            metas = list(call.accounts)
            first, second = first % len(metas), second % len(metas)
            metas[first], metas[second] = metas[second], metas[first]
            metas[first] = Meta(metas[first].address, metas[first].signer and signs)
            self._send_tampered(replace(call, accounts=tuple(metas)))

    @rule(at=st.integers(8, 300), byte=st.integers(0, 255))
    def send_again_with_another_byte(self, at: int, byte: int) -> None:
        call = self.watched.last
        if call is not None and call.name not in TRUSTED:
            at = min(at, len(call.data) - 1)
            data = call.data[:at] + bytes([byte]) + call.data[at + 1 :]
            self._send_tampered(replace(call, data=data))

    def _send_tampered(self, call: Call) -> None:
        self.market.model.apply(call)

    # The end

    def teardown(self) -> None:
        self.operator.pay_everybody()
        assert self.cheated or self.operator.topped_up == 0, self.operator.topped_up


#: With another byte these promise what the operator does not know of: a root, a role, a limit.
TRUSTED = {"publish_root", "propose_config", "tighten_limits"}

TestSettlement = Settlement.TestCase
TestSettlement.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
