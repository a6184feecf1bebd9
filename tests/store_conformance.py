"""What every store must do, whichever engine is below it.

In:   a `House`, which opens one empty store and can close and reopen it. Each engine's test file
subclasses `StoreConformance`, gives the fixture `house`, and runs a subclass of
`store_machine.StoreMachine`.
Not here: what only one engine has (locks, files, plans): its own test file.
Source: River's `riverdrivertest`, one suite for every driver.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from coordinator.store.interface import Store, StoreConflict
from coordinator.store.values import (
    Account,
    Attempt,
    AttemptState,
    Blob,
    Bucket,
    CounterSignature,
    Job,
    JobState,
    NodeDrain,
    NodeWork,
    Output,
    Receipt,
    ReceiptRoot,
    Session,
    Token,
    Transfer,
    TransferKind,
)
from onchain.address import encode_address
from tests.store_settlement import SettlementConformance
from tests.store_values import (
    ALICE,
    BOB,
    DAY_MS,
    NOW_MS,
    OPERATOR,
    House,
    a_challenge,
    a_job,
    a_node,
    added_node,
    assigned,
    hold_account,
    live,
    post,
    submit,
    submitted,
)


class StoreConformance(SettlementConformance):
    """The suite; a subclass gives `house`."""

    @pytest.fixture
    def house(self) -> Iterator[House]:
        pytest.fail("a subclass says which store is meant")

    @pytest.fixture
    def store(self, house: House) -> Iterator[Store]:
        yield house.store
        assert house.store.check() == [], "every test must leave sound books"

    # transactions
    def test_what_a_batch_did_is_seen_after_it(self, store: Store) -> None:
        (job,) = submitted(store)

        reader = store.reader()
        row = reader.job(job.id)
        assert row is not None
        assert row.job == job
        assert row.attempts == ()
        assert [*reader.open_jobs()] == [job]
        assert reader.account(hold_account(ALICE)) == Account(hold_account(ALICE), 0, 1_000)

    def test_what_a_failed_batch_did_leaves_no_trace(self, store: Store) -> None:
        (job,) = submitted(store)
        before = [*store.reader().accounts()]

        def fail_after_everything() -> None:
            with store.batch() as batch:
                node = a_node(batch.next_node_id())
                batch.add_node(node)
                assert batch.save_job(assigned(job, node.id), was=job)
                batch.add_attempt(Attempt(job.id, 1, node.id, AttemptState.OPEN, NOW_MS))
                _, transfer = submit(batch, BOB)
                post(batch, [transfer])
                batch.add_cumulative(BOB, 5)
                batch.secret("salt", b"lost")
                raise KeyError

        with pytest.raises(KeyError):
            fail_after_everything()

        with store.batch() as batch:
            assert batch.jobs([job.id, job.id + 1]) == {job.id: job}
            assert batch.attempt(job.id, 1) is None
            assert batch.open_jobs_of(BOB) == 0
            assert batch.cumulative_of(BOB) == 0
            assert batch.node(1) is None
            assert batch.account(hold_account(BOB)) == Account(hold_account(BOB))
            assert batch.secret("salt", b"kept") == b"kept"
            last = batch.last_ledger_batch()
        assert last is not None
        assert last.number == 1
        assert [*store.reader().accounts()] == before

    def test_an_id_of_a_failed_batch_may_be_given_again(self, store: Store) -> None:
        lost: list[int] = []

        def fail() -> None:
            with store.batch() as batch:
                lost.append(batch.next_job_id())
                raise KeyError

        with pytest.raises(KeyError):
            fail()
        with store.batch() as batch:
            assert [batch.next_job_id()] == lost

    def test_ids_grow_within_and_across_batches(self, store: Store) -> None:
        first = submitted(store, 3)
        second = submitted(store, 2)

        ids = [job.id for job in first + second]
        assert ids == sorted(set(ids))

    def test_everything_is_there_after_a_reopening(self, house: House) -> None:
        if not house.can_reopen:
            pytest.skip("this store lives in memory")
        node = added_node(house.store)
        jobs = submitted(house.store, 3)
        done = live(house.store, jobs[0], node)

        store = house.reopen()

        reader = store.reader()
        assert [*reader.open_jobs()] == jobs[1:]
        row = reader.job(done.id)
        assert row is not None
        assert row.job == done
        with store.batch() as batch:
            assert batch.next_job_id() == jobs[-1].id + 1
            assert batch.next_node_id() == node.id + 1
            assert batch.open_jobs_of(ALICE) == 2
            assert batch.cumulative_of(OPERATOR) == 878
            assert batch.next_receipt_batch() == 2
        assert store.check() == []

    # jobs
    def test_a_batch_sees_its_own_jobs(self, store: Store) -> None:
        with store.batch() as batch:
            job, transfer = submit(batch)
            post(batch, [transfer])
            assert batch.jobs([job.id]) == {job.id: job}
            assert batch.jobs_by_key(ALICE, [job.key, "other"]) == {job.key: job}
            assert batch.jobs_by_key(BOB, [job.key]) == {}
            assert batch.open_jobs_of(ALICE) == 1

    def test_a_job_is_found_by_its_submitters_key(self, store: Store) -> None:
        jobs = submitted(store, 3)
        submitted(store, 1, BOB)

        with store.batch() as batch:
            keys = [jobs[2].key, jobs[0].key, "never used"]
            assert batch.jobs_by_key(ALICE, keys) == {jobs[0].key: jobs[0], jobs[2].key: jobs[2]}

    def test_a_key_is_used_once_by_a_submitter(self, store: Store) -> None:
        submitted(store, 1)
        submitted(store, 1, BOB)

        with pytest.raises(StoreConflict), store.batch() as batch:
            submit(batch, ALICE, key="key-1")
        with store.batch() as batch:
            assert batch.open_jobs_of(ALICE) == 1

    def test_a_job_is_saved_only_on_the_state_and_fence_it_was_decided_on(
        self, store: Store
    ) -> None:
        node = added_node(store)
        (job,) = submitted(store)
        out = assigned(job, node.id)

        with store.batch() as batch:
            assert batch.save_job(out, was=job)
            assert not batch.save_job(assigned(job, node.id, fence=2), was=job), "state differs"
            other = replace(out, fence=7)
            assert not batch.save_job(replace(out, state=JobState.RUNNING), was=other)
            assert batch.save_job(replace(out, state=JobState.RUNNING), was=out)
        with store.batch() as batch:
            assert not batch.save_job(replace(out, state=JobState.VERIFYING), was=out)
            assert not batch.save_job(a_job(99), was=a_job(99)), "there is no such job"

        row = store.reader().job(job.id)
        assert row is not None
        assert row.job == replace(out, state=JobState.RUNNING)

    def test_a_job_may_be_added_and_saved_in_one_batch(self, store: Store) -> None:
        node = added_node(store)
        with store.batch() as batch:
            job, transfer = submit(batch)
            post(batch, [transfer])
            assert batch.save_job(assigned(job, node.id), was=job)

        row = store.reader().job(job.id)
        assert row is not None
        assert row.job == assigned(job, node.id)
        assert store.reader().jobs_of_operator(OPERATOR, 5) == [row.job]

    def test_attempts_are_listed_with_their_job_in_order(self, store: Store) -> None:
        node = added_node(store)
        jobs = submitted(store, 2)
        with store.batch() as batch:
            for fence in (1, 2, 10):
                batch.add_attempt(Attempt(jobs[0].id, fence, node.id, AttemptState.OPEN, NOW_MS))
            batch.add_attempt(Attempt(jobs[1].id, 1, node.id, AttemptState.OPEN, NOW_MS))
            lost = Attempt(jobs[0].id, 1, node.id, AttemptState.LOST, NOW_MS, NOW_MS + 1, "lost")
            batch.save_attempt(lost)
            assert batch.attempt(jobs[0].id, 1) == lost
        failed = Attempt(jobs[0].id, 2, node.id, AttemptState.FAILED, NOW_MS, NOW_MS + 2, "x")
        with store.batch() as batch:
            batch.save_attempt(failed)
            assert batch.attempt(jobs[0].id, 3) is None

        row = store.reader().job(jobs[0].id)
        assert row is not None
        assert [attempt.fence for attempt in row.attempts] == [1, 2, 10]
        assert row.attempts[:2] == (lost, failed)

    def test_the_counts_of_open_jobs_follow_every_transition(self, store: Store) -> None:
        node = added_node(store)
        jobs = submitted(store, 3)
        live(store, jobs[1], node)

        with store.batch() as batch:
            assert batch.open_jobs_of(ALICE) == 2
            assert batch.open_jobs_of(BOB) == 0
        counts = store.reader().jobs_by_state()
        assert counts[JobState.QUEUED] == 2
        assert counts[JobState.COMPLETED] == 1
        assert sum(counts.values()) == 3

    def test_a_large_specification_survives_every_transition(self, store: Store) -> None:
        node = added_node(store)
        spec = bytes(range(256)) * 256
        with store.batch() as batch:
            job, transfer = submit(batch, spec=spec)
            post(batch, [transfer])
        done = live(store, job, node)

        row = store.reader().job(job.id)
        assert row is not None
        assert row.job == done
        assert row.job.spec == spec

    def test_listings_are_newest_first_and_end_at_their_limit(self, store: Store) -> None:
        node = added_node(store)
        jobs = submitted(store, 4)
        other = submitted(store, 1, BOB)[0]
        done = [live(store, job, node) for job in jobs[:3]]

        reader = store.reader()
        assert [job.id for job in reader.jobs_of_submitter(ALICE, 2)] == [jobs[3].id, jobs[2].id]
        before = jobs[2].id
        assert [job.id for job in reader.jobs_of_submitter(ALICE, 9, before=before)] == [
            jobs[1].id,
            jobs[0].id,
        ]
        assert reader.jobs_of_submitter(OPERATOR, 9) == []
        assert reader.jobs_of_operator(OPERATOR, 2) == [done[2], done[1]]
        assert reader.jobs_of_operator(ALICE, 9) == []
        assert reader.all_jobs(2) == [other, jobs[3]]

    def test_a_job_that_moves_to_another_operator_is_listed_there(self, store: Store) -> None:
        first, second = added_node(store), added_node(store, BOB)
        (job,) = submitted(store)
        with store.batch() as batch:
            assert batch.save_job(assigned(job, first.id), was=job)
        with store.batch() as batch:
            moved = assigned(job, second.id, fence=2)
            assert batch.save_job(moved, was=assigned(job, first.id))

        assert store.reader().jobs_of_operator(OPERATOR, 5) == []
        assert store.reader().jobs_of_operator(BOB, 5) == [moved]

    # outputs and blobs
    def test_outputs_keep_their_order_shape_and_data(self, store: Store) -> None:
        node = added_node(store)
        (job,) = submitted(store)
        outputs = [
            Output(job.id, 1, 1, "<i8", (), bytes(8), b"", 8),
            Output(job.id, 1, 0, "<f4", (2, 0, 3), b"", b"", 0),
            Output(job.id, 1, 2, "|u1", (5000,), b"", bytes([7]) * 32, 5000),
        ]
        with store.batch() as batch:
            batch.add_attempt(Attempt(job.id, 1, node.id, AttemptState.OPEN, NOW_MS))
            batch.add_outputs(outputs[:2])
            batch.add_outputs(outputs[2:])
            assert [each.index for each in batch.outputs(job.id, 1)] == [0, 1, 2]

        expected = sorted(outputs, key=lambda output: output.index)
        assert store.reader().outputs(job.id, 1) == expected
        assert store.reader().outputs(job.id, 2) == []
        with store.batch() as batch:
            assert batch.outputs(job.id, 1) == expected

    def test_dropped_outputs_are_gone_and_may_be_added_again(self, store: Store) -> None:
        node = added_node(store)
        (job,) = submitted(store)
        output = Output(job.id, 1, 0, "<f4", (1,), bytes(4), b"", 4)
        with store.batch() as batch:
            batch.add_attempt(Attempt(job.id, 1, node.id, AttemptState.OPEN, NOW_MS))
            batch.add_outputs([output])
        with store.batch() as batch:
            batch.drop_outputs(job.id, 1)
            assert batch.outputs(job.id, 1) == []
            batch.add_outputs([output])
            batch.drop_outputs(job.id, 1)
        assert store.reader().outputs(job.id, 1) == []
        with store.batch() as batch:
            batch.add_outputs([output])
        assert store.reader().outputs(job.id, 1) == [output]

    def test_an_old_blob_is_dropped_and_a_young_one_stays(self, store: Store) -> None:
        old, young, renewed = bytes([1] * 32), bytes([2] * 32), bytes([3] * 32)
        with store.batch() as batch:
            batch.add_blob(Blob(old, 100, OPERATOR, NOW_MS))
            batch.add_blob(Blob(young, 20, OPERATOR, NOW_MS + 1000))
            batch.add_blob(Blob(renewed, 3, OPERATOR, NOW_MS))
            batch.add_blob(Blob(renewed, 3, OPERATOR, NOW_MS + 1000))
        with store.batch() as batch:
            assert list(batch.drop_old_blobs(NOW_MS + 1, 10)) == [old]
            assert batch.blob_bytes_of(OPERATOR) == 23
            assert batch.blob_size(old, OPERATOR) is None

        assert store.reader().blob(old, OPERATOR) is None
        assert not store.reader().has_blob(old)
        assert store.reader().blob_hashes(bytes(32), 10) == [young, renewed]
        assert store.check() == []

    def test_the_file_of_a_dropped_blob_is_told_until_it_is_gone(self, store: Store) -> None:
        first, again = bytes([1] * 32), bytes([2] * 32)
        with store.batch() as batch:
            for digest in (first, again):
                batch.add_blob(Blob(digest, 1, OPERATOR, NOW_MS))
            assert sorted(batch.drop_old_blobs(NOW_MS + 1, 10)) == [first, again]
        with store.batch() as batch:
            batch.add_blob(Blob(again, 1, BOB, NOW_MS + 5))
            assert list(batch.drop_old_blobs(NOW_MS + 1, 10)) == [first]
            batch.forget_dropped_blobs([first, bytes([9] * 32)])
        with store.batch() as batch:
            assert list(batch.drop_old_blobs(NOW_MS + 1, 10)) == []

    def test_a_blob_of_two_wallets_goes_with_the_last_one(self, store: Store) -> None:
        digest = bytes([1] * 32)
        with store.batch() as batch:
            batch.add_blob(Blob(digest, 10, ALICE, NOW_MS))
            batch.add_blob(Blob(digest, 10, BOB, NOW_MS + 5))
            assert (batch.blob_bytes_of(ALICE), batch.blob_bytes_of(BOB)) == (10, 10)
        with store.batch() as batch:
            assert list(batch.drop_old_blobs(NOW_MS + 1, 10)) == []
        assert store.reader().blob(digest, ALICE) is None
        assert store.reader().blob(digest, BOB) == Blob(digest, 10, BOB, NOW_MS + 5)
        with store.batch() as batch:
            assert list(batch.drop_old_blobs(NOW_MS + 6, 10)) == [digest]
            assert (batch.blob_bytes_of(ALICE), batch.blob_bytes_of(BOB)) == (0, 0)
        assert store.check() == []

    def test_a_blob_that_open_jobs_name_stays_whatever_its_age(self, store: Store) -> None:
        digest = bytes([1] * 32)
        spec = b'{"kind":"x","inputs":{"a":{"sha256":"%s"}}}' % digest.hex().encode()
        with store.batch() as batch:
            batch.add_blob(Blob(digest, 10, ALICE, NOW_MS))
            assert batch.touch_blob(digest, ALICE, NOW_MS)
            assert not batch.touch_blob(digest, BOB, NOW_MS)
            assert batch.blob_size(digest, ALICE) == 10
            assert batch.blob_size(digest, BOB) is None
            _, transfer = submit(batch, spec=spec)
            post(batch, [transfer])
            batch.name_blobs(ALICE, [digest], NOW_MS + 7, 1)
        assert store.reader().blob(digest, ALICE) == Blob(digest, 10, ALICE, NOW_MS + 7, 1)
        assert store.check() == []
        with store.batch() as batch:
            assert list(batch.drop_old_blobs(NOW_MS + 100, 10)) == []
            batch.name_blobs(ALICE, [digest], NOW_MS + 9, 1)
        assert "a blob's count" in store.check()[0]
        with store.batch() as batch:
            batch.name_blobs(ALICE, [digest], NOW_MS + 9, -1)
        assert store.check() == []

    def test_a_blob_is_read_by_those_concerned(self, store: Store) -> None:
        node = added_node(store)
        (job,) = submitted(store)
        digest = bytes([7]) * 32
        with store.batch() as batch:
            batch.add_blob(Blob(digest, 5000, OPERATOR, NOW_MS))
            batch.add_attempt(Attempt(job.id, 1, node.id, AttemptState.OPEN, NOW_MS))
            batch.add_outputs([Output(job.id, 1, 0, "|u1", (5000,), b"", digest, 5000)])

        reader = store.reader()
        assert reader.may_read_blob(digest, submitter=ALICE)
        assert reader.may_read_blob(digest, node=node.id)
        assert reader.may_read_blob(digest, submitter=OPERATOR), "it has brought the bytes"
        assert not reader.may_read_blob(digest, submitter=BOB)
        assert not reader.may_read_blob(digest, node=node.id + 1)
        assert not reader.may_read_blob(digest)
        with store.batch() as batch:
            batch.save_attempt(Attempt(job.id, 1, node.id, AttemptState.LOST, NOW_MS, NOW_MS))
        assert not reader.may_read_blob(digest, node=node.id), "its lease is over"

    def test_a_lease_reads_its_blobs_and_no_other_attempt_of_its_job(self, store: Store) -> None:
        node, other = added_node(store), added_node(store, BOB)
        (job,) = submitted(store)
        out = assigned(job, node.id)
        with store.batch() as batch:
            assert batch.save_job(out, was=job)
            batch.add_attempt(Attempt(job.id, 1, node.id, AttemptState.OPEN, NOW_MS))
            batch.add_outputs([Output(job.id, 1, 0, "|u1", (5000,), b"", bytes(32), 5000)])
        reader = store.reader()
        assert reader.may_read_blob(bytes(32), node=node.id)
        assert not reader.may_read_blob(bytes(32), node=other.id)

        queued = replace(out, state=JobState.QUEUED)
        lost = Attempt(job.id, 1, node.id, AttemptState.LOST, NOW_MS, NOW_MS, "lost")
        with store.batch() as batch:
            assert batch.save_job(queued, was=out)
            batch.save_attempt(lost)
            again = assigned(queued, other.id, fence=2)
            assert batch.save_job(again, was=queued)
            batch.add_attempt(Attempt(job.id, 2, other.id, AttemptState.OPEN, NOW_MS))
        assert not reader.may_read_blob(bytes(32), node=node.id)
        assert not reader.may_read_blob(bytes(32), node=other.id), "it is another attempt's"

    def test_attempts_are_told_whether_their_job_tells_of_them_or_not(self, store: Store) -> None:
        node = added_node(store)
        (job,) = submitted(store)
        out = assigned(job, node.id)
        opened = Attempt(job.id, 1, node.id, AttemptState.OPEN, NOW_MS)
        lost = replace(opened, state=AttemptState.LOST, ended_ms=NOW_MS + 1, code="lease_lost")
        queued = replace(out, state=JobState.QUEUED, losses=1)
        late = replace(queued, state=JobState.VERIFYING)
        done = replace(late, state=JobState.COMPLETED, finished_ms=NOW_MS + 5)
        paid = replace(opened, state=AttemptState.ACCEPTED, ended_ms=NOW_MS + 5)
        other = replace(paid, ended_ms=NOW_MS + 6)

        def step(after: Job, was: Job, attempt: Attempt | None) -> None:
            with store.batch() as batch:
                assert batch.save_job(after, was=was)
                if attempt == opened:
                    batch.add_attempt(attempt)
                elif attempt is not None:
                    batch.save_attempt(attempt)
            row = store.reader().job(job.id)
            assert row is not None
            told.append(row.attempts)
            with store.batch() as batch:
                assert (batch.attempt(job.id, 1),) == row.attempts
                assert batch.attempt(job.id, 2) is None

        told: list[tuple[Attempt, ...]] = []
        # It is lost, its result comes late, is verified, and ends the job.
        step(out, job, opened)
        step(replace(out, state=JobState.RUNNING), out, None)
        step(queued, replace(out, state=JobState.RUNNING), lost)
        step(late, queued, None)
        step(done, late, paid)
        # An end that the job does not tell of, and one that it does.
        step(replace(done, detail="a"), done, other)
        step(replace(done, detail="b"), done, paid)
        # The job changes, and tells no longer of what it was told.
        step(replace(done, node=0), done, None)

        assert told == [(each,) for each in (opened, opened, lost, lost, paid, other, paid, paid)]
        self.end(store, replace(done, node=0))

    def end(self, store: Store, job: Job) -> None:
        """Return a hold, so that the books are sound."""
        with store.batch() as batch:
            failed = replace(job, state=JobState.FAILED)
            source, target = hold_account(job.submitter), f"credit:{encode_address(job.submitter)}"
            assert batch.save_job(failed, was=job)
            post(batch, [Transfer(TransferKind.RETURN, 99, source, target, job.budget)])

    # who is who
    def test_a_challenge_is_taken_once(self, store: Store) -> None:
        challenge = a_challenge("n1")
        with store.batch() as batch:
            batch.add_challenge(challenge, keep=3)
            assert batch.take_challenge("unknown") is None
        with store.batch() as batch:
            assert batch.take_challenge("n1") == challenge
            assert batch.take_challenge("n1") is None
        with store.batch() as batch:
            assert batch.take_challenge("n1") is None

    def test_a_wallets_oldest_challenges_give_way(self, store: Store) -> None:
        with store.batch() as batch:
            batch.add_challenge(a_challenge("other", BOB), keep=2)
            for name in ("a", "b", "c"):
                batch.add_challenge(a_challenge(name), keep=2)
        with store.batch() as batch:
            taken = [batch.take_challenge(name) is not None for name in ("a", "b", "c", "other")]
        assert taken == [False, True, True, True]

    def test_a_wallets_challenges_are_forgotten_together(self, store: Store) -> None:
        with store.batch() as batch:
            for name, wallet in (("a", ALICE), ("b", ALICE), ("c", BOB)):
                batch.add_challenge(a_challenge(name, wallet), keep=5)
            batch.drop_challenges(ALICE)
            batch.drop_challenges(bytes(32))
        with store.batch() as batch:
            taken = [batch.take_challenge(name) is not None for name in ("a", "b", "c")]
        assert taken == [False, False, True]

    def test_a_token_remembers_what_became_of_it(self, store: Store) -> None:
        node = added_node(store)
        token = Token("n1", ALICE, b"", NOW_MS + DAY_MS)
        with store.batch() as batch:
            batch.add_token(token)
            assert batch.token("n1") == token
            assert batch.token("n2") is None
        spent = replace(token, node=node.id, is_revoked=True, node_key=bytes(32))
        with store.batch() as batch:
            batch.save_token(spent)
        with store.batch() as batch:
            assert batch.token("n1") == spent

    def test_of_a_wallets_sessions_the_youngest_stay(self, store: Store) -> None:
        with store.batch() as batch:
            for number in range(5):
                batch.add_session(Session(bytes([number]), "wallet", ALICE, 0, NOW_MS + number))
            batch.add_session(Session(b"bob's", "wallet", BOB, 0, NOW_MS))
            assert batch.trim_sessions(ALICE, 5) == []
            assert batch.trim_sessions(ALICE, 2) == [b"\x02", b"\x01", b"\x00"]
        with store.batch() as batch:
            kept = [n for n in range(5) if batch.session(bytes([n])) is not None]
            assert kept == [3, 4]
            assert batch.session(b"bob's") is not None

    def test_a_session_remembers_where_it_was_opened_and_when_it_was_used(
        self, store: Store
    ) -> None:
        session = Session(b"one", "wallet", ALICE, 0, NOW_MS, NOW_MS - 9, NOW_MS - 9, "::1")
        with store.batch() as batch:
            batch.add_session(session)
            batch.touch_session(b"one", NOW_MS - 5)
            batch.touch_session(b"one", NOW_MS - 7)
            batch.touch_session(b"none", NOW_MS)
        used = replace(session, used_ms=NOW_MS - 5)
        with store.batch() as batch:
            assert batch.sessions_of(ALICE) == [used]
            assert batch.sessions_of(BOB) == []
        assert store.reader().sessions_of(ALICE, 5) == [used]
        assert store.reader().sessions_of(BOB, 5) == []

    def test_a_wallets_unspent_tokens_are_listed_and_revoked(self, store: Store) -> None:
        node, key = added_node(store), bytes(range(32))
        with store.batch() as batch:
            batch.add_token(Token("bare", ALICE, b"", NOW_MS))
            batch.add_token(Token("named", ALICE, key, NOW_MS + 1))
            batch.add_token(Token("old", ALICE, b"", NOW_MS - 1))
            batch.add_token(Token("spent", ALICE, b"", NOW_MS, node.id))
            batch.add_token(Token("bob's", BOB, key, NOW_MS))
        reader = store.reader()
        assert [each.nonce for each in reader.tokens_of(ALICE, NOW_MS, 5)] == ["named", "bare"]
        assert [each.nonce for each in reader.tokens_of(ALICE, NOW_MS, 1)] == ["named"]
        with store.batch() as batch:
            assert batch.revoke_tokens(ALICE, key) == 1
        assert [each.nonce for each in reader.tokens_of(ALICE, NOW_MS, 5)] == ["bare"]
        with store.batch() as batch:
            assert batch.revoke_tokens(ALICE) == 2
            assert batch.revoke_tokens(ALICE) == 0
            assert batch.revoke_tokens(bytes(32)) == 0
        assert reader.tokens_of(ALICE, NOW_MS, 5) == []
        assert [each.nonce for each in reader.tokens_of(BOB, NOW_MS, 5)] == ["bob's"]
        with store.batch() as batch:
            found = {nonce: batch.token(nonce) for nonce in ("named", "bare", "spent", "bob's")}
        revoked = {nonce for nonce, token in found.items() if token and token.is_revoked}
        assert revoked == {"named", "bare"}

    def test_a_wallets_live_nodes_have_a_key_that_was_not_revoked(self, store: Store) -> None:
        node = added_node(store)
        with store.batch() as batch:
            assert batch.live_nodes_of(node.wallet) == ([node.id] if node.node_key else [])
            batch.save_node(replace(node, node_key=bytes(range(32)), is_revoked=False))
            assert batch.live_nodes_of(node.wallet) == [node.id]
            batch.save_node(replace(node, node_key=bytes(range(32)), is_revoked=True))
            assert batch.live_nodes_of(node.wallet) == []
            assert batch.live_nodes_of(bytes(32)) == []

    def test_what_expired_is_forgotten_and_spent_tokens_are_not(self, store: Store) -> None:
        node = added_node(store)
        with store.batch() as batch:
            batch.add_challenge(a_challenge("old", sign_by_ms=NOW_MS - 1), keep=9)
            batch.add_challenge(a_challenge("new", sign_by_ms=NOW_MS), keep=9)
            batch.add_token(Token("old", ALICE, b"", NOW_MS - 1))
            batch.add_token(Token("spent", ALICE, b"", NOW_MS - 1, node.id))
            batch.add_token(Token("new", ALICE, b"", NOW_MS))
            batch.add_session(Session(b"old", "wallet", ALICE, 0, NOW_MS - 1))
            batch.add_session(Session(b"new", "node", ALICE, node.id, NOW_MS))
        with store.batch() as batch:
            assert batch.drop_expired(NOW_MS) == 3
            assert batch.drop_expired(NOW_MS) == 0
        with store.batch() as batch:
            assert batch.token("old") is None
            assert batch.token("spent") is not None
            assert batch.token("new") is not None
            assert batch.session(b"old") is None
            assert batch.session(b"new") == Session(b"new", "node", ALICE, node.id, NOW_MS)
            assert batch.take_challenge("new") is not None

    def test_a_session_ends_when_it_is_dropped(self, store: Store) -> None:
        session = Session(b"hash", "admin", ALICE, 0, NOW_MS)
        with store.batch() as batch:
            batch.add_session(session)
            assert batch.session(b"hash") == session
        assert store.reader().session(b"hash") == session
        with store.batch() as batch:
            batch.drop_session(b"hash")
        assert store.reader().session(b"hash") is None

    def test_a_node_is_found_by_id_key_and_wallet(self, store: Store) -> None:
        first, second = added_node(store), added_node(store)
        with store.batch() as batch:
            keyless = [a_node(batch.next_node_id(), BOB, node_key=b"") for _ in range(2)]
            for node in keyless:
                batch.add_node(node)
            assert batch.node_by_key(first.node_key) == first
            assert batch.node_by_key(b"") is None
            assert batch.node(keyless[0].id) == keyless[0]

        reader = store.reader()
        assert reader.node(second.id) == second
        assert reader.node(99) is None
        assert reader.nodes_of(OPERATOR, 9) == [second, first]
        assert reader.nodes_of(ALICE, 9) == []
        assert reader.all_nodes(1) == [keyless[1]]

    def test_a_drain_is_written_over_the_one_before_and_listed_until_it_is_over(
        self, house: House
    ) -> None:
        store = house.store
        first, second = added_node(store), added_node(store)
        drains = [NodeDrain(node.id, NOW_MS, NOW_MS + 5, 1, "why") for node in (first, second)]
        with store.batch() as batch:
            assert batch.node_drain(first.id) is None
            for drain in drains:
                batch.save_node_drain(drain)
            assert batch.node_drain(second.id) == drains[1]
        over = replace(drains[0], until_ms=0, count=2, reason="")
        with store.batch() as batch:
            batch.save_node_drain(over)
        if house.can_reopen:
            store = house.reopen()
        reader = store.reader()
        assert list(reader.node_drains()) == [drains[1]]
        reader.close()
        with store.batch() as batch:
            assert batch.node_drain(first.id) == over

    def test_quarantined_jobs_are_listed_newest_first_and_once(self, store: Store) -> None:
        jobs = submitted(store, 4)
        for job in (jobs[2], jobs[0], jobs[3]):
            with store.batch() as batch:
                batch.add_quarantined(job.id, NOW_MS, 3)
        with pytest.raises(StoreConflict), store.batch() as batch:
            batch.add_quarantined(jobs[0].id, NOW_MS, 3)

        reader = store.reader()
        assert list(reader.quarantined_jobs(9)) == [jobs[3], jobs[2], jobs[0]]
        assert list(reader.quarantined_jobs(1)) == [jobs[3]]
        reader.close()

    def test_saving_a_node_leaves_what_it_earned_alone(self, store: Store) -> None:
        node = added_node(store)
        with store.batch() as batch:
            batch.add_earned(node.id, 5)
            batch.save_node(replace(node, last_heartbeat_ms=NOW_MS + 1, inventory=b"{}"))
            batch.add_earned(node.id, 2)
            now = batch.node(node.id)
        with store.batch() as batch:
            batch.save_node(replace(node, last_heartbeat_ms=NOW_MS + 2, node_key=b"k" * 32))

        assert now is not None
        assert now.earned == 7
        expected = replace(node, last_heartbeat_ms=NOW_MS + 2, node_key=b"k" * 32, earned=7)
        assert store.reader().node(node.id) == expected
        with store.batch() as batch:
            assert batch.node_by_key(b"k" * 32) == expected
            assert batch.node_by_key(node.node_key) is None

    def test_the_totals_are_of_everything_that_ever_was(self, store: Store) -> None:
        node = added_node(store)
        added_node(store, ALICE)
        jobs = submitted(store, 3)
        live(store, jobs[1], node)

        totals = store.reader().totals()

        assert totals.jobs == store.reader().jobs_by_state()
        assert (totals.nodes, totals.transfers) == (2, 3 + 3)

    def test_how_a_nodes_attempts_ended_is_counted_and_a_late_result_takes_back_a_loss(
        self, store: Store
    ) -> None:
        node, other = added_node(store), added_node(store, ALICE)
        jobs = submitted(store, 3)
        live(store, jobs[0], node)
        with store.batch() as batch:
            for number, (job, state) in enumerate(
                [(jobs[1], AttemptState.LOST), (jobs[2], AttemptState.REJECTED)]
            ):
                batch.add_attempt(Attempt(job.id, 1, node.id, AttemptState.OPEN, NOW_MS))
                batch.save_attempt(Attempt(job.id, 1, node.id, state, NOW_MS, NOW_MS + number))
        lost = store.reader().node_work([node.id, other.id])
        with store.batch() as batch:
            batch.save_attempt(
                Attempt(jobs[1].id, 1, node.id, AttemptState.ACCEPTED, NOW_MS, NOW_MS)
            )

        assert lost == {node.id: NodeWork(1, 2)}
        assert store.reader().node_work([node.id]) == {node.id: NodeWork(2, 1)}
        assert store.reader().node_work([]) == {}

    def test_a_probe_is_written_and_changes_nothing(self, store: Store) -> None:
        submitted(store)
        before = store.reader().totals(), store.reader().book_sums(())

        for _ in range(2):
            with store.batch() as batch:
                batch.probe()

        assert (store.reader().totals(), store.reader().book_sums(())) == before

    # the ledger
    def test_the_books_add_up_by_class_and_say_who_is_overdrawn(self, store: Store) -> None:
        node = added_node(store)
        (job, _) = submitted(store, 2)
        submitted(store, 1, BOB)
        live(store, job, node)

        sums = store.reader().book_sums(())

        assert sums.balances == {"credit": -2900, "hold": 2000, "withheld": 878, "fees": 22}
        assert sums.imbalance == store.reader().imbalance() == 0
        # These submitters spend what they never had.
        assert sums.overdrawn == 2
        assert store.reader().book_sums(("credit",)).overdrawn == 0

    def test_an_account_is_as_this_batch_left_it(self, store: Store) -> None:
        with store.batch() as batch:
            assert batch.account("fees") == Account("fees")
            post(batch, [Transfer(TransferKind.FAUCET, 1, "faucet", "fees", 5)])
            assert batch.account("fees") == Account("fees", 0, 5)
            post(batch, [Transfer(TransferKind.FAUCET, 2, "faucet", "fees", 6)])
        with store.batch() as batch:
            assert batch.account("fees") == Account("fees", 0, 11)
        assert {account.code for account in store.reader().accounts()} == {"faucet", "fees"}

    def test_a_transfer_happens_once(self, store: Store) -> None:
        transfer = Transfer(TransferKind.FAUCET, 1, "faucet", "fees", 5)
        with store.batch() as batch:
            assert not batch.has_transfer(transfer)
            post(batch, [transfer])
            assert batch.has_transfer(transfer)
        with store.batch() as batch:
            assert batch.has_transfer(replace(transfer, amount=9)), "the amount is not its name"
            assert not batch.has_transfer(replace(transfer, sequence=1))
            assert not batch.has_transfer(replace(transfer, kind=TransferKind.PAY))
            assert not batch.has_transfer(replace(transfer, reference=2))

        with pytest.raises(StoreConflict), store.batch() as batch:
            post(batch, [transfer])
        assert store.reader().account("fees").credits == 5

    def test_transfers_come_back_in_the_order_of_posting(self, store: Store) -> None:
        posted = [
            Transfer(TransferKind.FAUCET, 10 - number, "faucet", f"account-{number % 3}", number)
            for number in range(1, 8)
        ]
        for start, end in ((0, 3), (3, 4), (4, 7)):
            with store.batch() as batch:
                post(batch, posted[start:end])

        reader = store.reader()
        assert [*reader.transfers()] == posted
        batches = [*reader.ledger_batches()]
        assert [batch.transfers for batch in batches] == [3, 1, 3]
        assert batches[2].previous == batches[1].link
        with store.batch() as batch:
            assert batch.last_ledger_batch() == batches[2]

    def test_a_bucket_adds_up_until_it_is_dropped(self, store: Store) -> None:
        hour = NOW_MS // 3_600_000
        due_ms = NOW_MS + DAY_MS
        with store.batch() as batch:
            batch.add_to_bucket(Bucket(OPERATOR, hour, 5, due_ms))
            batch.add_to_bucket(Bucket(OPERATOR, hour, 6, due_ms))
            batch.add_to_bucket(Bucket(BOB, hour - 1, 1, due_ms - 1))
            assert batch.due_buckets(due_ms - 2, 9) == []
        with store.batch() as batch:
            batch.add_to_bucket(Bucket(OPERATOR, hour, 7, due_ms))
            older, newer = batch.due_buckets(due_ms, 9)
            assert older == Bucket(BOB, hour - 1, 1, due_ms - 1)
            assert newer == Bucket(OPERATOR, hour, 18, due_ms)
            assert batch.due_buckets(due_ms, 1) == [older]
            batch.drop_bucket(OPERATOR, hour)
            assert batch.due_buckets(due_ms, 9) == [older]
        with store.batch() as batch:
            batch.add_to_bucket(Bucket(OPERATOR, hour, 2, due_ms + 5))
            assert batch.due_buckets(due_ms + 5, 9)[1] == Bucket(OPERATOR, hour, 2, due_ms + 5)

    def test_test_jobs_pay_is_counted_by_the_day(self, store: Store) -> None:
        with store.batch() as batch:
            batch.add_paid_to_tests(20_000, 5)
            batch.add_paid_to_tests(20_000, 6)
            batch.add_paid_to_tests(20_001, 1)
            assert batch.paid_to_tests(20_000) == 11
        with store.batch() as batch:
            assert batch.paid_to_tests(20_000) == 11
            assert batch.paid_to_tests(20_002) == 0

    def test_earnings_add_up_from_posts_releases_and_receipts(self, store: Store) -> None:
        node = added_node(store)
        for job in submitted(store, 3):
            live(store, job, node)
        address = encode_address(OPERATOR)
        source, target = f"withheld:{address}", f"earned:{address}"
        hour = NOW_MS // 3_600_000
        with store.batch() as batch:
            post(batch, [Transfer(TransferKind.RELEASE, hour, source, target, 3 * 878)])
            batch.drop_bucket(OPERATOR, hour)
        live(store, submitted(store)[0], node)

        earnings = store.reader().earnings_of(OPERATOR, NOW_MS)
        assert earnings.total == 4 * 878
        assert earnings.withheld == 878
        assert earnings.earned == 3 * 878
        assert earnings.last_day == 4 * 878
        assert earnings.jobs == 4
        assert store.reader().earnings_of(OPERATOR, NOW_MS + 2 * DAY_MS).last_day == 0
        assert store.reader().earnings_of(BOB, NOW_MS).total == 0
        found = store.reader().node(node.id)
        assert found is not None
        assert found.earned == 4 * 878

    # receipts
    def test_receipts_are_kept_with_their_root(self, store: Store) -> None:
        node, other = added_node(store), added_node(store, BOB)
        jobs = submitted(store, 3)
        with store.batch() as batch:
            number = batch.next_receipt_batch()
            root = ReceiptRoot(number, 3, b"r" * 32, b"s" * 64, NOW_MS)
            receipts = [
                Receipt(jobs[2 - at].id, 1, at % 2 + 1, OPERATOR, number, at, b"%d" % at)
                for at in range(3)
            ]
            batch.add_receipts(root, receipts)
            assert batch.receipt_root(number) == root
            assert batch.next_receipt_batch() == number + 1

        reader = store.reader()
        assert reader.receipt(jobs[2].id) == receipts[0]
        assert reader.receipt(99) is None
        assert reader.receipts_in(number) == receipts
        assert reader.receipt_root(number) == root
        assert reader.receipt_root(number + 1) is None
        assert reader.unsigned_batches(node.id, 9) == [number]
        assert reader.unsigned_batches(other.id, 9) == [number]
        assert reader.unsigned_batches(99, 9) == []

    def test_a_counter_signature_takes_a_batch_off_the_list(self, store: Store) -> None:
        node = added_node(store)
        for job in submitted(store, 3):
            live(store, job, node)
        signature = CounterSignature(2, node.id, b"c" * 64)
        with store.batch() as batch:
            batch.add_counter_signature(signature)

        reader = store.reader()
        assert reader.unsigned_batches(node.id, 9) == [1, 3]
        assert reader.unsigned_batches(node.id, 1) == [1]
        assert reader.counter_signatures(2) == [signature]
        assert reader.counter_signatures(1) == []

    def test_lifetime_earnings_include_this_batch(self, store: Store) -> None:
        with store.batch() as batch:
            assert batch.cumulative_of(BOB) == 0
            batch.add_cumulative(BOB, 5)
            batch.add_cumulative(BOB, 6)
            assert batch.cumulative_of(BOB) == 11
        with store.batch() as batch:
            batch.add_cumulative(BOB, 1)
        with store.batch() as batch:
            assert batch.cumulative_of(BOB) == 12

    def test_a_secret_is_made_once(self, store: Store) -> None:
        with store.batch() as batch:
            assert batch.secret("ids", b"first") == b"first"
        with store.batch() as batch:
            assert batch.secret("ids", b"second") == b"first"
            assert batch.secret("other", b"second") == b"second"

    def test_a_walk_longer_than_a_readers_step_misses_nothing(self, store: Store) -> None:
        jobs = submitted(store, 2_100)

        reader = store.reader()
        assert [job.id for job in reader.open_jobs()] == [job.id for job in jobs]
        assert sum(1 for _ in reader.transfers()) == 2_100

    def test_open_jobs_are_with_a_node_or_wait(self, store: Store) -> None:
        node = added_node(store)
        jobs = submitted(store, 5)
        live(store, jobs[0], node)
        with store.batch() as batch:
            out = [assigned(job, node.id) for job in jobs[1:4]]
            verifying = replace(out[1], state=JobState.VERIFYING)
            running = replace(out[2], state=JobState.RUNNING)
            for job, was in zip((out[0], verifying, running), jobs[1:4], strict=True):
                assert batch.save_job(job, was=was)
                batch.add_attempt(Attempt(job.id, 1, node.id, AttemptState.OPEN, NOW_MS))

        reader = store.reader()
        assert [*reader.held_jobs()] == [out[0], running]
        assert reader.waiting_jobs(0, 9) == [verifying, jobs[4]]
        assert reader.waiting_jobs(0, 1) == [verifying]
        assert reader.waiting_jobs(verifying.id, 9) == [jobs[4]]
        assert reader.waiting_jobs(jobs[4].id, 9) == []
