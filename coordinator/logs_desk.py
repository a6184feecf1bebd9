"""A job's log for its submitter: of a running job what was said lately, of a finished one all.

Rules:
  1. A command's output 0 is its log: where it is kept, it is what is shown, at the same places as
     while it ran. Of any other end what was said lately is shown, as long as that is remembered.
  2. Whoever asks for more than there is may wait for it: a change of the job or a new piece of its
     log answers. One who waits holds no thread and no lock.
Not here: routes (log_routes), what is remembered (live_logs).
"""

from __future__ import annotations

import trio
from msgspec.structs import replace

from coordinator.administration import Administration
from coordinator.blobs import BlobFolder
from coordinator.jobs import FINAL
from coordinator.limits import LOG_VIEW_CHARS_MAX, LOG_WAIT_S_MAX
from coordinator.protocol.errors import Refusal
from coordinator.protocol.text import shown
from coordinator.store.interface import Reader
from coordinator.store.values import Job, Output, Session
from coordinator.views import LogView


class Waker:
    """A watcher that waits for anything to happen to a job."""

    def __init__(self) -> None:
        self.happened = trio.Event()

    def on_change(self, job: Job) -> None:  # noqa: ARG002 (that it happened is all)
        self.happened.set()

    def on_progress(self, job: int, progress: float | None, text: str) -> None:  # noqa: ARG002
        self.happened.set()


class LogsDesk(Administration):
    """The part of the house's counter where logs are read."""

    blobs: BlobFolder

    async def logs(
        self, session: Session, job: str, *, offset: int = 0, attempt: int = 0, wait_s: float = 0.0
    ) -> LogView:
        """A job's log from a place on, up to `LOG_VIEW_CHARS_MAX` characters.

        Args:
            session: Of the job's submitter, or an administrator's.
            job: Its id.
            offset: The place, in characters; where less is kept, the text begins behind it.
            attempt: Which attempt's place it is; another one's log is shown from its beginning.
            wait_s: Where there is nothing yet, wait for it so long at most.

        Raises:
            Refusal: `not_found`.
        """
        self._check(session, "wallet", "admin")
        number = self.ids.decode("job", job)
        waker = Waker()
        # Watched before it is looked at: what happens in between is not missed.
        self.operations.watchers.watch(number, waker)
        try:
            view = await self._log_now(session, number, offset, attempt)
            if wait_s and not (view.text or view.is_final or view.attempt != attempt):
                with trio.move_on_after(min(wait_s, LOG_WAIT_S_MAX)):
                    await waker.happened.wait()
                view = await self._log_now(session, number, offset, attempt)
        finally:
            self.operations.watchers.forget(number, waker)
        return view

    async def _log_now(self, session: Session, job: int, offset: int, attempt: int) -> LogView:
        def load(reader: Reader) -> tuple[Job, str | None]:
            row = reader.job(job)
            if row is None or not self._owns(session, row.job):
                raise Refusal("not_found")
            return row.job, self._whole_log(reader, row.job)

        row, whole = await self.read(load)
        if whole is None:
            return self._said_lately(row, offset, attempt)
        begin = min(offset, len(whole)) if attempt in {0, row.fence} else 0
        text = whole[begin : begin + LOG_VIEW_CHARS_MAX]
        end = begin + len(text)
        return LogView(row.state, row.fence, begin, text, end, is_final=end == len(whole))

    def _said_lately(self, job: Job, offset: int, attempt: int) -> LogView:
        is_final = job.state in FINAL
        tail = self.operations.live_logs.tail(job.id, offset, attempt)
        if tail is None:
            begin = offset if attempt in {0, job.fence} else 0
            return LogView(job.state, job.fence, begin, "", begin, is_final=is_final)
        text = tail.text[:LOG_VIEW_CHARS_MAX]
        view = LogView(
            job.state, tail.attempt, tail.offset, text, tail.offset + len(text), tail.progress
        )
        return replace(view, is_final=is_final and len(text) == len(tail.text))

    def _whole_log(self, reader: Reader, job: Job) -> str | None:
        """A finished command's log, if it is kept."""
        if job.state not in FINAL or job.kind != "command":
            return None
        outputs = reader.outputs(job.id, job.fence)
        if not outputs:
            return None
        return shown(self._bytes_of(outputs[0]).decode(errors="replace"))

    def _bytes_of(self, output: Output) -> bytes:
        if not output.sha256:
            return output.data
        try:
            return self.blobs.path(output.sha256).read_bytes()
        except FileNotFoundError:
            return b"[the log is no longer kept]\n"

    def _owns(self, session: Session | None, job: Job) -> bool:
        if session is None:
            return False
        is_submitter = session.scope in {"wallet", "admin"} and session.wallet == job.submitter
        is_admin = session.scope == "admin" and session.wallet in self.house.admins
        return is_submitter or is_admin
