"""A store beside a plain dictionary, through any order of batches, failures and reopenings.

Invariants:
  1. Inside a batch the store answers what the dictionary holds, this batch's writes included.
  2. After a batch that failed, and after a reopening, it answers what was committed.
  3. A save succeeds exactly if state and fence are those of the row as of this batch.
  4. Whatever happened, the store's own audit finds nothing.
Source: TigerBeetle's auditor.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field, replace as copy
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from msgspec.structs import replace

from coordinator.store.interface import Batch, Store
from coordinator.store.rows import FINAL
from coordinator.store.values import (
    Account,
    Attempt,
    AttemptState,
    Job,
    JobState,
    Token,
    Transfer,
    TransferKind,
)
from onchain.address import encode_address
from tests.store_values import (
    ALICE,
    BOB,
    NOW_MS,
    OPERATOR,
    a_job,
    added_node,
    hold_account,
    post,
)

WALLETS = st.sampled_from((ALICE, BOB, OPERATOR))
STATES = st.sampled_from([*JobState])
#: Which of the rows at hand; taken modulo their number.
PICK = st.integers(0, 99)


@dataclass
class Oracle:
    """What the store should hold."""

    jobs: dict[int, Job] = field(default_factory=dict)
    attempts: dict[tuple[int, int], Attempt] = field(default_factory=dict)
    accounts: dict[str, Account] = field(default_factory=dict)
    transfers: list[Transfer] = field(default_factory=list)
    tokens: dict[str, Token] = field(default_factory=dict)

    def fork(self) -> Oracle:
        """A copy that changes apart: the values themselves never change."""
        return copy(
            self,
            jobs=dict(self.jobs),
            attempts=dict(self.attempts),
            accounts=dict(self.accounts),
            transfers=list(self.transfers),
            tokens=dict(self.tokens),
        )

    def post(self, transfers: list[Transfer]) -> None:
        for each in transfers:
            debit = self.accounts.get(each.debit, Account(each.debit))
            self.accounts[each.debit] = replace(debit, debits=debit.debits + each.amount)
            credit = self.accounts.get(each.credit, Account(each.credit))
            self.accounts[each.credit] = replace(credit, credits=credit.credits + each.amount)
        self.transfers += transfers


class StoreMachine(RuleBasedStateMachine):
    """A subclass says how a store is opened in a folder, again and again."""

    @staticmethod
    def open_store(folder: Path) -> Store:
        pytest.fail(f"a subclass opens its store in {folder}")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = self.open_store(Path(self.folder.name))
        self.batch: Batch | None = None
        self.committed = Oracle()
        self.now = self.committed

    @initialize()
    def two_nodes(self) -> None:
        for wallet in (OPERATOR, BOB):
            added_node(self.store, wallet)

    # the edges of batches
    def opened(self) -> Batch:
        """The batch that is open; a new one if there is none."""
        if self.batch is None:
            self.batch = self.store.batch()
            self.batch.__enter__()
            self.now = self.committed.fork()
        return self.batch

    @precondition(lambda self: self.batch is not None)
    @rule()
    def commit(self) -> None:
        self.end(None)
        self.committed = self.now

    @precondition(lambda self: self.batch is not None)
    @rule()
    def fail(self) -> None:
        self.end(KeyError())
        self.now = self.committed

    @precondition(lambda self: self.batch is None)
    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = self.open_store(Path(self.folder.name))

    def end(self, error: Exception | None) -> None:
        assert self.batch is not None
        self.batch.__exit__(type(error) if error else None, error, None)
        self.batch = None

    # what happens in one
    @rule(wallet=WALLETS, budget=st.integers(1, 10**12))
    def submit(self, wallet: bytes, budget: int) -> None:
        batch = self.opened()
        job = a_job(batch.next_job_id(), wallet, budget=budget)
        assert job.id not in self.now.jobs
        source, target = f"credit:{encode_address(wallet)}", hold_account(wallet)
        transfers = [Transfer(TransferKind.HOLD, job.id, source, target, budget)]
        assert batch.jobs_by_key(wallet, [job.key]) == {}
        batch.add_job(job)
        post(batch, transfers)
        self.now.jobs[job.id] = job
        self.now.post(transfers)

    @precondition(lambda self: self.now.jobs)
    @rule(pick=PICK, state=STATES, node=st.integers(0, 2), is_next=st.booleans())
    def move(self, pick: int, state: JobState, node: int, is_next: bool) -> None:
        batch = self.opened()
        job = self.picked(pick)
        if job.state in FINAL:
            return
        fence = job.fence + is_next
        # Often a job tells of its attempt, often it does not.
        assigned_ms = NOW_MS - pick % 2
        moved = replace(job, state=state, node=node, fence=fence, assigned_ms=assigned_ms, code="x")
        assert batch.save_job(moved, was=job)
        self.now.jobs[job.id] = moved
        if is_next:
            attempt = Attempt(job.id, fence, node or 1, AttemptState.OPEN, NOW_MS)
            batch.add_attempt(attempt)
            self.now.attempts[job.id, fence] = attempt
        if state in FINAL:
            self.resolve(job)

    def resolve(self, job: Job) -> None:
        batch = self.opened()
        source = hold_account(job.submitter)
        transfers = [Transfer(TransferKind.FEE, job.id, source, "fees", job.budget)]
        post(batch, transfers)
        self.now.post(transfers)

    @precondition(lambda self: self.now.jobs)
    @rule(pick=PICK, state=STATES, ahead=st.integers(0, 1))
    def save_on_a_guess(self, pick: int, state: JobState, ahead: int) -> None:
        batch = self.opened()
        job = self.picked(pick)
        was = replace(job, state=state, fence=job.fence + ahead)
        moved = replace(job, detail="guessed")
        is_right = (was.state, was.fence) == (job.state, job.fence)
        assert batch.save_job(moved, was=was) == is_right
        if is_right:
            self.now.jobs[job.id] = moved

    @precondition(lambda self: self.now.attempts)
    @rule(pick=PICK, state=st.sampled_from([*AttemptState]))
    def end_attempt(self, pick: int, state: AttemptState) -> None:
        batch = self.opened()
        attempts = [*self.now.attempts.values()]
        ended_ms = 0 if state is AttemptState.OPEN else NOW_MS * (pick % 2)
        ended = replace(attempts[pick % len(attempts)], state=state, ended_ms=ended_ms)
        batch.save_attempt(ended)
        self.now.attempts[ended.job, ended.fence] = ended

    @rule(number=st.integers(0, 3), node=st.integers(0, 2), is_revoked=st.booleans())
    def use_token(self, number: int, node: int, is_revoked: bool) -> None:
        batch = self.opened()
        nonce = f"n{number}"
        assert batch.token(nonce) == self.now.tokens.get(nonce)
        token = Token(nonce, ALICE, b"", NOW_MS, node, is_revoked)
        if nonce in self.now.tokens:
            batch.save_token(token)
        else:
            batch.add_token(token)
        self.now.tokens[nonce] = token

    def picked(self, pick: int) -> Job:
        jobs = [*self.now.jobs.values()]
        return jobs[pick % len(jobs)]

    # what must hold
    @invariant()
    def a_batch_sees_what_it_did(self) -> None:
        if self.batch is None:
            return
        assert self.batch.jobs(range(1, 99)) == self.now.jobs
        for wallet in (ALICE, BOB):
            jobs = [job for job in self.now.jobs.values() if job.submitter == wallet]
            is_open = [job for job in jobs if job.state not in FINAL]
            assert self.batch.open_jobs_of(wallet) == len(is_open)
            found = self.batch.jobs_by_key(wallet, [job.key for job in jobs])
            assert found == {job.key: job for job in jobs}
        for key, attempt in self.now.attempts.items():
            assert self.batch.attempt(*key) == attempt
        for code, account in self.now.accounts.items():
            assert self.batch.account(code) == account
        assert all(map(self.batch.has_transfer, self.now.transfers))

    @invariant()
    def a_reader_sees_what_was_committed(self) -> None:
        if self.batch is not None:
            return
        reader = self.store.reader()
        try:
            assert {job.id: job for job in reader.all_jobs(99)} == self.committed.jobs
            is_open = [job for job in self.committed.jobs.values() if job.state not in FINAL]
            assert [*reader.open_jobs()] == is_open
            assert {each.code: each for each in reader.accounts()} == self.committed.accounts
            assert [*reader.transfers()] == self.committed.transfers
        finally:
            reader.close()

    def teardown(self) -> None:
        if self.batch is not None:
            self.end(KeyError())
        faults = self.store.check()
        self.store.close()
        self.folder.cleanup()
        assert faults == []
