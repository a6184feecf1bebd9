"""One connected submitter: submissions, updates and results on one connection.

Rules:
  1. A job is watched from the instant it is durable, so no change of it is missed.
  2. A completed job's result follows its last update, with its receipt.
  3. A submitter that does not read what it is sent is slowed down first (results wait in the store)
     and closed only when its updates pile up: it comes back and watches again.
Not here: sockets (dispatcher), who owns what (api).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from coordinator.api import Api
from coordinator.bell import Bell
from coordinator.jobs import FINAL
from coordinator.limits import ITEMS_PER_MESSAGE_MAX
from coordinator.outgoing import Outgoing, fitting
from coordinator.protocol import messages as m
from coordinator.protocol.errors import ProtocolError, Refusal
from coordinator.store.values import Job, JobState, Session

#: Results loaded in one hop to a thread, and held here until they are sent.
RESULTS_PER_HOP_MAX = 64


class SubmitterLink:
    """The house's side of one submitter's connection."""

    def __init__(self, api: Api, session: Session) -> None:
        self.api = api
        self.session = session
        api.operations.open_links.note(self)
        self.outgoing = Outgoing()
        self.broken: Refusal | None = None
        self._has_left = False
        self._watched: set[int] = set()
        self._finished: deque[Job] = deque()
        self._is_loading = False
        self._wake = Bell()
        #: Wishes whose submissions are on their way to the disk, and one for each submission.
        self._asked = 0
        self._answered = Bell()

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits to be sent."""
        return not (self.outgoing or self._finished or self._is_loading)

    @property
    def wallet(self) -> bytes:
        """Who pays."""
        return self.session.wallet

    def end(self, refusal: Refusal) -> None:
        """The session was closed or revoked elsewhere: its open connections end with it."""
        self.broken = refusal
        self.outgoing.stop()

    @property
    def is_expired(self) -> bool:
        """Whether the session's time is over."""
        return self.api.operations.clock.wall_ms() > self.session.expires_ms

    def leave(self) -> None:
        """The connection has closed."""
        self._has_left = True
        self.api.operations.open_links.forget(self)
        for job in self._watched:
            self.api.operations.watchers.forget(job, self)
        self._watched.clear()

    # ---- what happens to jobs ------------------------------------------------------------------

    def _watch(self, job: Job) -> None:
        if self._has_left:
            return
        if job.state in FINAL:
            self.on_change(job)
        elif job.id not in self._watched:
            self._watched.add(job.id)
            self.api.operations.watchers.watch(job.id, self)

    def on_change(self, job: Job) -> None:
        self.outgoing.put_update(
            m.JobUpdate(self.api.ids.encode("job", job.id), job.state, job.code, job.detail)
        )
        if job.state in FINAL:
            self._watched.discard(job.id)
            if job.state is JobState.COMPLETED or job.paid:
                self._deliver_soon(job)

    def _deliver_soon(self, job: Job) -> None:
        """With its last update, where its result is at hand and none waits; else in its turn."""
        parcel = None
        if not (self._finished or self._is_loading or self.outgoing.is_full):
            parcel = self.api.delivery.remembered(job)
        if parcel is None:
            self._finished.append(job)
            self._wake.ring()
        else:
            self.outgoing.put_parcel(parcel)

    def on_progress(self, job: int, progress: float | None, text: str) -> None:
        self.outgoing.put_saying(self.api.ids.encode("job", job), progress, text)

    async def deliver(self) -> None:
        """Send the results of finished jobs, for ever."""
        while True:
            while not self._finished:
                await self._wake.wait()
            await self.outgoing.room()
            count = min(len(self._finished), RESULTS_PER_HOP_MAX)
            self._is_loading = True
            await self._deliver([self._finished.popleft() for _ in range(count)])
            self._is_loading = False

    async def _deliver(self, jobs: Sequence[Job]) -> None:
        missing = []
        for job in jobs:
            parcel = self.api.delivery.remembered(job)
            if parcel is None:
                missing.append(job)
            else:
                self.outgoing.put_parcel(parcel)
        if missing:
            for loaded in await self.api.read(
                lambda reader: self.api.delivery.load(reader, missing)
            ):
                self.outgoing.put_parcel(loaded)

    # ---- what the submitter says ---------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        has_room = self._asked < ITEMS_PER_MESSAGE_MAX and not self.outgoing.is_full
        return self.broken is None and has_room and self.api.operations.writer.has_room()

    def receive_now(self, message: m.AnyMessage, _data: memoryview) -> bool:
        self._check_open()
        if not isinstance(message, m.Submit):
            return False
        if self._asked and self._asked + len(message.jobs) > ITEMS_PER_MESSAGE_MAX:
            return False
        self._submit(message)
        return True

    def _check_open(self) -> None:
        if self.broken is not None:
            raise ProtocolError(self.broken.code)
        if self.is_expired:
            raise ProtocolError("session_expired")

    def _submit(self, message: m.Submit) -> None:
        """Answer once it is durable: what comes meanwhile shares the commit."""
        asked, ref = 1 + len(message.jobs), message.ref

        def then(answers: list[m.SubmissionAnswer] | Refusal) -> None:
            self._asked -= asked
            self._answered.ring()
            if isinstance(answers, Refusal):
                error = m.Error(answers.sentence[:2000], answers.code, ref)
                self.outgoing.put(error)
            else:
                self.outgoing.put(m.Submitted(fitting(answers), ref))

        self._asked += asked
        try:
            self.api.submit_soon(self.session, message.jobs, self._watch, then)
        except Refusal:
            self._asked -= asked
            raise

    async def receive(self, message: m.AnyMessage, data: memoryview) -> None:
        """Act on a message that the session let pass."""
        self._check_open()
        # Who does not read its answers is not asked for more of them; and what is asked behind a
        # submission is answered behind it.
        await self.outgoing.room()
        while self._asked:
            await self._answered.wait()
        if self.receive_now(message, data):
            return
        match message:
            case m.Cancel(ids=ids, ref=ref):
                self.outgoing.put(m.Cancelled(await self.api.cancel(self.session, ids), ref))
            case m.Quote(specs=specs, ref=ref):
                prices = await self.api.quote([bytes(spec) for spec in specs])
                self.outgoing.put(m.Quoted(fitting(prices), ref))
            case m.Watch():
                await self._receive_watch(message)
            case m.Revoke():
                self.outgoing.put(await self._revoke(message))
            case _:
                raise ProtocolError("out_of_order")

    async def _revoke(self, message: m.Revoke) -> m.Revoked:
        if message.all:
            nodes = message.all == "nodes"
            tally = await self.api.revoke_all(self.session, with_nodes=nodes)
            return m.Revoked([], tally.sessions, tally.tokens, tally.nodes, message.ref)
        items = await self.api.revoke_each(self.session, message.ids)
        return m.Revoked(items, ref=message.ref)

    async def _receive_watch(self, message: m.Watch) -> None:
        numbers = [self.api.ids.decode("job", public) for public in message.ids]
        # Watched before it is read: what changes in between is told twice rather than never.
        mine = await self.api.own_jobs(self.session, numbers)
        if len(mine) != len(set(numbers)):
            raise Refusal("not_found")
        for job in mine:
            self._watch(job)
        for job in await self.api.own_jobs(self.session, numbers):
            if job.id in self._watched and job.state in FINAL:
                self.api.operations.watchers.forget(job.id, self)
            if job.id in self._watched:
                self.on_change(job)
