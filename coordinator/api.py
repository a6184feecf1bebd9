"""What a caller may ask, over HTTP and over WebSocket alike.

Each method checks who asks, hands an event to the writer or a question to a reader, and turns the
answer into a view. Everything lawful that goes wrong is a `Refusal`.
Not here: routes (http), messages (submitter_link), decisions (lifecycle, identity).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import trio

from coordinator import events as ev
from coordinator.blobs import BlobFolder, parse_digest
from coordinator.claims_desk import ClaimsDesk
from coordinator.delivery import Delivery
from coordinator.desk import (
    job_view,
    node_view,
    parse_amount,
    parse_wallet,
    price_of,
    seed_result,
    short,
)
from coordinator.jobs import FINAL, LEASED
from coordinator.ledger import credit_of, hold_of
from coordinator.limits import (
    FAUCET_HYPER_MAX,
    LISTING_ROWS_MAX,
    TEST_JOB_AFTER_S,
)
from coordinator.log import get_log
from coordinator.operations import Operations
from coordinator.protocol.commitment import output_root
from coordinator.protocol.errors import Refusal
from coordinator.protocol.ids import Ids
from coordinator.protocol.messages import (
    JobOutput,
    JobUpdate,
    Price,
    Submission,
    SubmissionAnswer,
)
from coordinator.protocol.parcel import alone
from coordinator.protocol.spec import decode_spec
from coordinator.store.interface import Reader
from coordinator.store.values import Job, JobState, Output, Session
from coordinator.submissions import OnJob, Submissions
from coordinator.uploads import Part, UploadId, Uploads
from coordinator.views import (
    AccountView,
    FaucetRequest,
    JobView,
    NodeView,
    ReportRequest,
)
from coordinator.work import House
from onchain.address import encode_address
from onchain.amounts import UNITS, format_hyper

log = get_log(__name__)

#: The seed's own test job, for a client without a sandbox.
TEST_JOB_SPEC: Final = (
    b'{"kind":"command","params":{"command":"sleep 5"},'
    b'"limits":{"execution_s":30,"queue_s":60},"resources":{"sandbox":0},"retries":0}'
)
#: Between two looks at a seed client that is too busy for it.
TEST_JOB_RETRY_S: Final = 0.5


class Api(ClaimsDesk):
    """The house's counter."""

    def __init__(
        self,
        *,
        house: House,
        operations: Operations,
        reader: Reader,
        ids: Ids,
        blobs: BlobFolder,
        random_bytes: Callable[[int], bytes],
        run_thread: Callable[[Callable[[], Any]], Awaitable[Any]],
    ) -> None:
        super().__init__(house, operations, ids, reader, random_bytes, run_thread)
        self.submissions = Submissions(operations, ids, house.rules)
        self.delivery = Delivery(ids, house.keypair.address, operations.recent)
        self.blobs = blobs
        self.uploads = Uploads(blobs.root, blobs)

    # ---- nodes and jobs ------------------------------------------------------------------------

    async def nodes_mine(self, wallet: str) -> list[NodeView]:
        raw = parse_wallet(wallet)
        nodes = await self.read(lambda reader: reader.nodes_of(raw, LISTING_ROWS_MAX))
        return [node_view(self.operations, self.ids, node) for node in nodes]

    async def jobs_mine(self, wallet: str) -> list[JobView]:
        raw = parse_wallet(wallet)
        jobs = await self.read(lambda reader: reader.jobs_of_operator(raw, LISTING_ROWS_MAX))
        return [job_view(self.ids, job) for job in jobs]

    async def job(self, job: str, session: Session | None) -> JobView:
        """A job; its key, detail and money for its submitter and administrators only."""
        number = self.ids.decode("job", job)
        row = await self.read(lambda reader: reader.job(number))
        if row is None:
            raise Refusal("not_found")
        return job_view(self.ids, row.job, is_own=self._owns(session, row.job))

    async def jobs(self, session: Session) -> list[JobView]:
        """A wallet's own submissions; all jobs for an administrator."""
        self._check(session, "wallet", "admin")
        if session.scope == "admin" and session.wallet in self.house.admins:
            rows = await self.read(lambda reader: reader.all_jobs(LISTING_ROWS_MAX))
        else:
            rows = await self.read(
                lambda reader: reader.jobs_of_submitter(session.wallet, LISTING_ROWS_MAX)
            )
        return [job_view(self.ids, job, is_own=True) for job in rows]

    async def report(self, session: Session, request: ReportRequest) -> None:
        """The seed's report of a job over HTTP, by the node that holds it."""
        self._check(session, "node")
        if self.ids.decode("node", request.node_id) != session.node:
            raise Refusal("forbidden", "a node reports its own jobs only")
        number = self.ids.decode("job", request.job_id)
        row = await self.read(lambda reader: reader.job(number))
        if row is None or row.job.node != session.node:
            raise Refusal("stale")
        event = seed_result(number, row.job.fence, session.node, request.status, request.logs)
        code: str = await self.operations.writer.ask(event)
        if code != "accepted":
            raise Refusal(code)

    # ---- submitters ----------------------------------------------------------------------------

    async def submit(
        self, session: Session, jobs: Sequence[Submission], on_job: OnJob | None = None
    ) -> list[SubmissionAnswer]:
        """Submit jobs: one answer each, in order, once they are durable.

        Args:
            session: Of scope `wallet` or `admin`.
            jobs: The submissions.
            on_job: Called with each job before anything else can happen to it.
        """
        self._check(session, "wallet", "admin")
        return await self.submissions.store(session.wallet, jobs, on_job)

    def submit_soon(
        self,
        session: Session,
        jobs: Sequence[Submission],
        on_job: OnJob,
        then: Callable[[list[SubmissionAnswer] | Refusal], None],
    ) -> None:
        """Submit one message's jobs; `then` is told once they are durable (see `Submissions`)."""
        self._check(session, "wallet", "admin")
        self.submissions.store_soon(session.wallet, jobs, on_job, then)

    async def own_jobs(self, session: Session, numbers: Sequence[int]) -> list[Job]:
        """Those of the jobs that are the session's own."""

        def load(reader: Reader) -> list[Job]:
            rows = [reader.job(number) for number in dict.fromkeys(numbers)]
            return [row.job for row in rows if row is not None and self._owns(session, row.job)]

        return await self.read(load)

    async def cancel(self, session: Session, ids: Sequence[str]) -> list[JobUpdate]:
        """Withdraw jobs: one answer each, in order."""
        self._check(session, "wallet", "admin")
        return [await self._cancel(session, job) for job in ids]

    async def _cancel(self, session: Session, job: str) -> JobUpdate:
        try:
            number = self.ids.decode("job", job)
            after: Job = await self.operations.writer.ask(ev.CancelAsked(session.wallet, number))
        except Refusal as refusal:
            return JobUpdate(job, "", refusal.code, refusal.sentence)
        return JobUpdate(job, after.state, after.code, short(after.detail))

    async def quote(self, specs: Sequence[bytes]) -> list[Price]:
        """What jobs would cost: one answer each, in order."""
        return [price_of(spec, self.house.rules, self.operations.scheduler) for spec in specs]

    async def result(self, session: Session, job: str) -> tuple[JobOutput, bytes]:
        """A finished job's outputs and receipt: the message, and its inline arrays' data."""
        self._check(session, "wallet", "admin")
        number = self.ids.decode("job", job)

        def load(reader: Reader) -> tuple[JobOutput, bytes]:
            row = reader.job(number)
            if row is None or not self._owns(session, row.job):
                raise Refusal("not_found")
            if row.job.state not in FINAL:
                raise Refusal("not_finished")
            if row.job.state is not JobState.COMPLETED and not row.job.paid:
                raise Refusal(row.job.code or "not_finished", row.job.detail)
            return alone(self.delivery.load(reader, [row.job])[0])

        return await self.read(load)

    async def account(self, session: Session) -> AccountView:
        """A wallet's money here."""
        self._check(session, "wallet", "admin")
        wallet, now_ms = session.wallet, self.operations.clock.wall_ms()

        def load(reader: Reader) -> AccountView:
            earnings = reader.earnings_of(wallet, now_ms)
            return AccountView(
                wallet=encode_address(wallet),
                credit=format_hyper(reader.account(credit_of(wallet)).balance),
                held=format_hyper(reader.account(hold_of(wallet)).balance),
                earned_total=format_hyper(earnings.total),
                withheld=format_hyper(earnings.withheld),
                earned=format_hyper(earnings.earned),
                earned_last_day=format_hyper(earnings.last_day),
                paid_jobs=earnings.jobs,
            )

        return await self.read(load)

    async def faucet(self, session: Session, request: FaucetRequest) -> AccountView:
        """Development only: HYPER out of nothing, once per key."""
        self._check(session, "wallet", "admin")
        amount = parse_amount(request.amount)
        if not 0 < amount <= FAUCET_HYPER_MAX * UNITS:
            raise Refusal("bad_amount", f"the faucet gives up to {FAUCET_HYPER_MAX} HYPER")
        await self.operations.writer.ask(ev.FaucetAsked(session.wallet, amount, request.key))
        return await self.account(session)

    async def give_test_job(self, node: int) -> None:
        """Our own short test job for a seed client, a few seconds after it registered.

        A client that works already is not disturbed: it gets the job once it is idle.
        """
        await trio.sleep(TEST_JOB_AFTER_S)
        # A place frees itself at no one event: looked for now and then, for one client.
        while not self.operations.scheduler.reserve(node):  # noqa: ASYNC110
            await trio.sleep(TEST_JOB_RETRY_S)
        try:
            await self.operations.writer.ask(ev.TestJobDue(node, TEST_JOB_SPEC))
        except Refusal as refusal:
            # Not the client's fault, and nothing that it waits for.
            self.operations.scheduler.give_back(node)
            log.warning("no test job", node=node, code=refusal.code)

    # ---- blobs ---------------------------------------------------------------------------------

    async def put_blob(
        self, session: Session, digest: str, body: AsyncIterator[bytes], length: int | None
    ) -> None:
        """Store a blob of this wallet's, or of this node's operator's.

        Raises:
            Refusal: `quota`, `too_large`, `blob_mismatch`.
        """
        self._check(session, "wallet", "admin", "node")
        raw = parse_digest(digest)
        wallet = session.wallet
        is_here = self.blobs.size(raw) is not None
        if is_here and await self.operations.writer.ask(ev.BlobUsed(raw, wallet)):
            return
        # Also where another wallet has it: who knows a hash alone does not get the bytes by it.
        with self.blobs.placing(raw):
            size = await self.blobs.put(raw, body, length)
            await self._note_blob(raw, size, wallet)

    async def _note_blob(self, digest: bytes, size: int, wallet: bytes) -> None:
        try:
            await self.operations.writer.ask(ev.BlobStored(digest, size, wallet))
        except Refusal:
            if not await self.read(lambda reader: reader.has_blob(digest)):
                self.blobs.delete_refused(digest)
            raise

    async def append_upload(
        self, session: Session, digest: str, part: Part, body: AsyncIterator[bytes]
    ) -> int:
        """Take a part of a blob of this wallet's; the last one makes it a blob.

        Returns:
            Bytes that are here now.

        Raises:
            Refusal: `upload_offset`, `quota`, `too_large`, `busy`, `blob_mismatch`.
        """
        self._check(session, "wallet", "admin", "node")
        name = UploadId(session.wallet, parse_digest(digest))
        stored = await self.read(lambda reader: reader.blob_bytes_of(name.wallet))
        self.uploads.check(name, part, stored)
        here = await self.uploads.append(name, part, body)
        if here == part.length:
            with self.blobs.placing(name.digest):
                await self._note_blob(name.digest, await self.uploads.finish(name), name.wallet)
        return here

    async def upload(self, session: Session, digest: str) -> tuple[int, int]:
        """How many bytes of a wallet's unfinished upload are here, and of how many."""
        self._check(session, "wallet", "admin", "node")
        name = UploadId(session.wallet, parse_digest(digest))
        here = self.uploads.offset(name)
        if here is None:
            raise Refusal("not_found")
        return here, self.uploads.length(name)

    async def drop_upload(self, session: Session, digest: str) -> None:
        """Forget an unfinished upload of this wallet's."""
        self._check(session, "wallet", "admin", "node")
        self.uploads.drop(UploadId(session.wallet, parse_digest(digest)))

    async def root_of(self, outputs: Sequence[Output]) -> bytes:
        """Merkle root over outputs; blobs are read off Trio's loop."""
        if not any(output.sha256 for output in outputs):
            return output_root(output.data for output in outputs)

        def compute(_reader: Reader) -> bytes:
            return output_root(
                self.blobs.view(output.sha256) if output.sha256 else memoryview(output.data)
                for output in outputs
            )

        return await self.read(compute)

    async def blob(self, session: Session, digest: str) -> tuple[Path, int]:
        """Where a blob lies and its size, for a job's submitter and the holder of its lease."""
        self._check(session, "wallet", "admin", "node")
        raw = parse_digest(digest)
        owner: dict[str, Any] = (
            {"node": session.node} if session.scope == "node" else {"submitter": session.wallet}
        )
        may = await self.read(lambda reader: reader.may_read_blob(raw, **owner))
        size = self.blobs.size(raw)
        if not may or size is None:
            raise Refusal("not_found")
        return self.blobs.path(raw), size

    async def input(self, session: Session, job: str, name: str) -> tuple[Path, int]:
        """Where an input of a job lies and its size, for its submitter and the lease's holder.

        Raises:
            Refusal: `not_found`: no such job or input, it stands in the specification, the lease
                is over, or its file is gone.
        """
        self._check(session, "wallet", "admin", "node")
        number = self.ids.decode("job", job)
        row = await self.read(lambda reader: reader.job(number))
        if row is None or not (self._owns(session, row.job) or _holds(session, row.job)):
            raise Refusal("not_found")
        given = decode_spec(row.job.spec).inputs.get(name)
        if given is None or not given.digest:
            raise Refusal("not_found")
        size = self.blobs.size(given.digest)
        if size is None:
            raise Refusal("not_found")
        return self.blobs.path(given.digest), size

    # ---- the house -----------------------------------------------------------------------------

    def counts(self) -> Mapping[str, int]:
        """What is open now, by name: for metrics."""
        operations = self.operations
        return {
            "agents": len(operations.agents),
            "submitters": len(self.operations.open_links),
            "events": len(operations.writer),
            "verifications": len(operations.verifier),
            "attempts": operations.attempts_open,
            "drained_nodes": len(operations.drains),
        }


def _holds(session: Session, job: Job) -> bool:
    """Whether a node has the job's lease."""
    return session.scope == "node" and job.node == session.node and job.state in LEASED
