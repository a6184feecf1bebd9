"""A market in one process for the tests of the coordinator's core: no socket, no thread, no clock.

In:   events. Out: their answers and effects, and the rows that they left in a store in memory.
Rules:
  1. Time stands still until a test moves `now_ms`.
  2. `close` audits the whole store: books, holds, chain and counts must agree after every test.
Not here: sockets and the world (they have their own).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from coordinator import events as ev
from coordinator.chain_place import OnChain
from coordinator.engine import Engine
from coordinator.ledger import credit_of, earned_of, hold_of, withheld_of
from coordinator.pricing import Rules, quote
from coordinator.protocol.commitment import output_root
from coordinator.protocol.errors import Refusal
from coordinator.protocol.receipts import Receipt, SignedRoot, build_batch, verify_receipt
from coordinator.protocol.signin import Realm
from coordinator.protocol.signing import from_seed
from coordinator.protocol.spec import Limits, Resources, Spec, decode_spec, encode_spec, hash_spec
from coordinator.store.interface import Batch, Store
from coordinator.store.sqlite import open_sqlite
from coordinator.store.values import Attempt, Job, Node, Output
from coordinator.work import House
from onchain.amounts import UNITS
from onchain.merkle import path_of

NOW_MS = 1_800_000_000_000
HOUR_MS = 3_600_000
COORDINATOR, ALICE, BOB, OPERATOR, NODE = (from_seed(bytes([i]) * 32) for i in range(1, 6))
REALM = Realm(COORDINATOR.address, "hyper.example", "https://hyper.example", "devnet")
#: Prices of their own: the defaults may change without changing what is shown here.
RULES = Rules(faucet=True, price_per_tflop=100, price_per_gib=50)
#: What a fresh market's submitters have.
CREDIT = 100 * UNITS
T = TypeVar("T")


def command_spec(
    command: str = "sleep 5", *, retries: int = 2, sandbox: int = 1, **limits: int
) -> bytes:
    """The bytes of a job that is paid by time."""
    params = msgspec.Raw(msgspec.json.encode({"command": command}))
    spec = Spec("command", params, Limits(**limits), Resources(sandbox=sandbox), retries=retries)
    return encode_spec(spec)


def montecarlo_spec(
    *, paths: int = 2**30, seed: int = 0, retries: int = 2, **changes: Any
) -> bytes:
    """The bytes of a job with a price: 6601 base units, of which 165 are the fee."""
    params = {
        "spot": 100.0, "strike": 100.0, "rate": 0.05, "volatility": 0.2, "maturity_years": 1.0,
        "option": "call", "paths": paths, "steps": 1024, "seed": seed,
    }  # fmt: skip
    raw = msgspec.Raw(msgspec.json.encode(params))
    return encode_spec(Spec("montecarlo", raw, retries=retries, **changes))


def wish(key: str, spec: bytes, budget: int, rules: Rules = RULES) -> ev.Wish:
    """A submission as the desk hands it to the engine."""
    decoded = decode_spec(spec)
    asked = quote(decoded, rules)
    price = 0 if asked.is_timed else asked.price
    return ev.Wish(key, decoded.kind, spec, hash_spec(spec), budget, price)


class Market:
    """An engine over a store in memory, with a funded submitter and one node."""

    def __init__(
        self,
        rules: Rules = RULES,
        *,
        wrap: Callable[[Store], Store] = lambda store: store,
        on_chain: OnChain | None = None,
    ) -> None:
        self.rules = rules
        self.store = open_sqlite(":memory:")
        self.house = House(rules, COORDINATOR, REALM, frozenset({ALICE.address}), on_chain)
        self.engine = Engine(wrap(self.store), self.house)
        self.now_ms = NOW_MS
        #: Effects of all events so far.
        self.effects: list[ev.Effect] = []
        self.reader = self.store.reader()
        if rules.faucet and on_chain is None:
            self.fund(ALICE.address)
            self.fund(BOB.address)
        self.node = self.add_node()

    def close(self) -> None:
        """End, after an audit of every row."""
        faults = self.store.check()
        self.store.close()
        assert faults == []

    # ---- events --------------------------------------------------------------------------------

    def apply(self, *events: ev.Event) -> list[ev.Outcome]:
        """One batch."""
        outcomes, effects = self.engine.apply(events, self.now_ms)
        self.effects += effects
        return outcomes

    def ask(self, event: ev.Event) -> Any:
        """A batch of one event: its answer, or its refusal raised."""
        (outcome,) = self.apply(event)
        if outcome.refusal is not None:
            raise outcome.refusal
        return outcome.value

    def of(self, kind: type[T]) -> list[T]:
        """The effects of one kind so far."""
        return [effect for effect in self.effects if isinstance(effect, kind)]

    def write(self, change: Callable[[Batch], T]) -> T:
        """Change rows behind the engine's back."""
        with self.store.batch() as batch:
            return change(batch)

    # ---- steps of a job's life -----------------------------------------------------------------

    def fund(self, wallet: bytes, amount: int = CREDIT) -> None:
        self.ask(ev.FaucetAsked(wallet, amount, f"fund {amount}"))

    def add_node(self, wallet: bytes = OPERATOR.address, node_key: bytes = b"") -> Node:
        def add(batch: Batch) -> Node:
            node = Node(
                id=batch.next_node_id(),
                wallet=wallet,
                node_key=node_key,
                key_expires_ms=0,
                hostname="host",
                gpu="",
                os="linux",
                created_ms=self.now_ms,
                last_heartbeat_ms=self.now_ms,
            )
            batch.add_node(node)
            return node

        return self.write(add)

    def submit(self, *wishes: ev.Wish, submitter: bytes = ALICE.address) -> list[Job | Refusal]:
        answers: list[Job | Refusal] = self.ask(ev.JobsSubmitted(submitter, wishes))
        return answers

    def queued(
        self,
        spec: bytes | None = None,
        budget: int = UNITS,
        *,
        key: str = "k",
        submitter: bytes = ALICE.address,
    ) -> Job:
        """A job that waits."""
        wanted = wish(key, montecarlo_spec() if spec is None else spec, budget, self.rules)
        (answer,) = self.submit(wanted, submitter=submitter)
        assert isinstance(answer, Job), answer
        return answer

    def assign(self, job: Job, node: Node | None = None) -> Job:
        assigned = self.ask(ev.JobMatched(job.id, (node or self.node).id))
        assert isinstance(assigned, Job)
        return assigned

    def assigned(self, spec: bytes | None = None, budget: int = UNITS, **how: Any) -> Job:
        """A job that is out."""
        return self.assign(self.queued(spec, budget, **how))

    def verifying(self, **how: Any) -> Job:
        """A job whose result is in."""
        job = self.assigned(**how)
        assert self.ask(answer(job)) == "accepted"
        return self.job(job)

    def judge(self, job: Job, state: str = "accepted", reason: str = "") -> Job:
        self.ask(ev.VerdictReached(job.id, job.fence, state, reason, output_root([b"log"])))
        return self.job(job)

    def in_state(self, state: str, budget: int = 10_000) -> Job:
        """A job in this state, by the shortest way there."""
        if state in {"verifying", "completed"}:
            job = self.verifying(budget=budget)
            return self.judge(job) if state == "completed" else job
        job = self.queued(montecarlo_spec(retries=0), budget)
        if state in {"assigned", "running", "failed"}:
            job = self.assign(job)
        last: dict[str, ev.Event] = {
            "running": ev.AttemptStarted(job.id, job.fence, job.node),
            "failed": failure(job),
            "cancelled": ev.CancelAsked(ALICE.address, job.id),
        }
        if state in last:
            self.ask(last[state])
        return self.job(job)

    # ---- what became of it ---------------------------------------------------------------------

    def job(self, job: Job) -> Job:
        row = self.reader.job(job.id)
        assert row is not None
        return row.job

    def attempts(self, job: Job) -> Sequence[Attempt]:
        row = self.reader.job(job.id)
        assert row is not None
        return row.attempts

    def balance(self, code: str) -> int:
        return self.reader.account(code).balance

    def money(
        self, submitter: bytes = ALICE.address, operator: bytes = OPERATOR.address
    ) -> dict[str, int]:
        """The balances that a job moves, as differences from a fresh market; zeros left out."""
        codes = {
            "credit": credit_of(submitter),
            "hold": hold_of(submitter),
            "withheld": withheld_of(operator),
            "earned": earned_of(operator),
            "fees": "fees",
        }
        start = {"credit": CREDIT if self.rules.faucet else 0}
        found = {name: self.balance(code) - start.get(name, 0) for name, code in codes.items()}
        return {name: amount for name, amount in found.items() if amount}

    def receipts(self) -> list[Receipt]:
        """All receipts so far, each proven against the root that the coordinator signed."""
        proven = []
        for ready in self.of(ev.ReceiptsReady):
            root = ready.root
            assert self.reader.receipt_root(root.batch) == root
            signed = SignedRoot(
                COORDINATOR.address, root.batch, root.count, root.root, root.signature
            )
            _, levels = build_batch([each.data for each in ready.receipts])
            for each in ready.receipts:
                assert self.reader.receipt(each.job) == each
                path = path_of(levels, each.index)
                receipt = verify_receipt(each.data, each.index, path, signed)
                assert (receipt.job, receipt.fence) == (each.job, each.fence)
                assert receipt.wallet == each.wallet
                proven.append(receipt)
        return proven


def answer(job: Job, /, *, log: bytes = b"log", **changes: Any) -> ev.ResultArrived:
    """The result of a job's current attempt: one output that holds `log`."""
    output = Output(job.id, job.fence, 0, "uint8", (len(log),), log, size=len(log))
    given: dict[str, Any] = {
        "job": job.id, "fence": job.fence, "node": job.node, "is_completed": True, "code": "",
        "detail": "", "outputs": (output,), "root": output_root([log]),
    }  # fmt: skip
    return ev.ResultArrived(**(given | changes))


def failure(job: Job, /, code: str = "agent_error", **changes: Any) -> ev.ResultArrived:
    """The news that a job's current attempt came to nothing."""
    empty: dict[str, Any] = {"outputs": (), "root": output_root(())}
    return answer(job, is_completed=False, code=code, detail="it broke", **(empty | changes))
