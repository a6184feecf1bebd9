"""A job's inputs on this host: fetched before it starts, once a host, whole or not at all.

In:   tasks that name blobs; the bearer of the session that is open.
Out:  the same tasks with the paths of their files; or a `Refusal`.
Rules:
  1. A file stands under its hash only after its bytes were hashed and matched. What an earlier
     process left is hashed again before it is used: nothing is fsynced here.
  2. Tasks that wait for the same hash share one download. Each asks in its own name: where one is
     refused (its lease is over) or dropped, the next one goes on at the byte that was reached.
  3. All bytes of a task are reserved before the first one comes, tasks in order: no two wait for
     each other's room. What a task has is not evicted until it is released; of the rest the least
     recently used goes first.
  4. A coordinator's bytes beyond the size that the specification says end the download.
Not covered: a disk that is full of other things is a refusal; compression.
Not here: HTTP (`downloads.py`), how the bytes reach a worker (`warm_worker.py`).
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from functools import partial
from hashlib import file_digest
from pathlib import Path
from random import Random  # noqa: TID251 (the caller's seeded generator, as a type)
from typing import Final

import msgspec
import trio

from agent.backoff import Backoff
from agent.bells import Change
from agent.downloads import Downloader, TransferFailed
from agent.task import InputData, Task
from coordinator.limits import (
    AGENT_DOWNLOADS_MAX,
    AGENT_INPUT_WAIT_S,
    AGENT_INPUTS_BYTES_MAX,
)
from coordinator.log import get_log
from coordinator.protocol.errors import Refusal

#: Name of the folder, beside the agent's other files.
FOLDER: Final = "inputs"
_PART: Final = ".part"
#: Refusals that time heals, or another session.
_PASSING: Final = frozenset(
    {"rate_limited", "busy", "unavailable", "draining", "internal", "deadline", "slow_reader",
     "unauthenticated", "session_expired", "session_revoked"}
)  # fmt: skip
_log = get_log("agent.inputs")


class InputCache:
    """Blobs in one folder of this host, bounded."""

    def __init__(
        self,
        folder: Path,
        downloader: Downloader,
        rng: Random,
        *,
        bytes_max: int = AGENT_INPUTS_BYTES_MAX,
    ) -> None:
        self._folder = folder
        self._downloader = downloader
        self._rng = rng
        self._bytes_max = bytes_max
        #: Hash → bytes, the least recently used first.
        self._files: OrderedDict[str, int] = OrderedDict()
        #: Those whose bytes this process has hashed.
        self._checked: set[str] = set()
        #: How many tasks have each, or wait for it; and its bytes.
        self._wanted: Counter[str] = Counter()
        self._sizes: dict[str, int] = {}
        self._locks: dict[str, trio.Lock] = {}
        self._turn = trio.Lock()
        self._room = Change()
        self._downloads = trio.Semaphore(AGENT_DOWNLOADS_MAX)
        self._bearer = ""
        self._opened = Change()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._look()

    def _look(self) -> None:
        """What an earlier process left: whole files as they were used, no parts."""
        found = []
        for path in self._folder.iterdir():
            if path.name.endswith(_PART):
                path.unlink()
            else:
                stat = path.stat()
                found.append((stat.st_mtime, path.name, stat.st_size))
        self._files.update((name, size) for _, name, size in sorted(found))

    def open(self, bearer: str) -> None:
        """A session is open: downloads go on."""
        self._bearer = bearer
        self._opened.ring()

    @property
    def size(self) -> int:
        """Bytes of whole files."""
        return sum(self._files.values())

    async def fetch(self, task: Task) -> Task:
        """Bring a task's blobs here; they stay until `release`.

        Raises:
            Refusal: `input_unavailable`.
        """
        sizes = task.blobs
        await self._reserve(sizes)
        try:
            for each in task.inputs:
                if each.sha256:
                    await self._bring(task.job, each)
        except BaseException:
            self._give_back(sizes)
            raise
        return msgspec.structs.replace(
            task, inputs=tuple([self._with_path(each) for each in task.inputs])
        )

    def release(self, task: Task) -> None:
        """A task that was fetched has ended, or will not run."""
        self._give_back(task.blobs)

    def _with_path(self, each: InputData) -> InputData:
        if not each.sha256:
            return each
        return msgspec.structs.replace(each, path=str(self._folder / each.sha256))

    # ---- room ----------------------------------------------------------------------------------

    async def _reserve(self, sizes: dict[str, int]) -> None:
        """Wait until all of these fit beside what tasks have, and note that they are wanted."""
        if sum(sizes.values()) > self._bytes_max:
            raise Refusal("input_unavailable", "the inputs are larger than this host keeps")
        async with self._turn:
            while self._wanted_bytes(sizes) > self._bytes_max:
                await self._room.wait()
            self._wanted.update(sizes.keys())
            self._sizes |= sizes

    def _wanted_bytes(self, more: dict[str, int]) -> int:
        return sum({**{name: self._sizes[name] for name in self._wanted}, **more}.values())

    def _give_back(self, sizes: dict[str, int]) -> None:
        for name in sizes:
            self._wanted[name] -= 1
            if not self._wanted[name]:
                del self._wanted[name], self._sizes[name]
                self._locks.pop(name, None)
        self._room.ring()

    def _make_room(self, size: int) -> None:
        """Evict what no task wants until so many bytes more fit."""
        for name in [name for name in self._files if name not in self._wanted]:
            if self.size + size <= self._bytes_max:
                return
            self._forget(name)

    def _forget(self, name: str) -> None:
        self._files.pop(name, None)
        self._checked.discard(name)
        (self._folder / name).unlink(missing_ok=True)

    # ---- one blob ------------------------------------------------------------------------------

    async def _bring(self, job: str, each: InputData) -> None:
        lock = self._locks.setdefault(each.sha256, trio.Lock())
        async with lock:
            if not await self._has(each):
                async with self._downloads:
                    await self._download(job, each)
        self._files.move_to_end(each.sha256)

    async def _has(self, each: InputData) -> bool:
        """Whether a whole file is here; one of an earlier process is hashed first."""
        name = each.sha256
        if name in self._files and name not in self._checked:
            try:
                found = await trio.to_thread.run_sync(_hash_of, self._folder / name)
            except OSError:
                found = ""
            if found == name:
                self._checked.add(name)
            else:
                self._forget(name)
        return name in self._files

    async def _download(self, job: str, each: InputData) -> None:
        """Bring one blob; again and again from where it stopped, until the time is over."""
        part = self._folder / (each.sha256 + _PART)
        backoff = Backoff(self._rng)
        try:
            with trio.fail_after(AGENT_INPUT_WAIT_S):
                # Nothing tells when the coordinator will answer again.
                while not await self._go_on(job, each, part):  # noqa: ASYNC110
                    await trio.sleep(backoff.next_s())
        except trio.TooSlowError:
            detail = f"input {each.name} did not come within {AGENT_INPUT_WAIT_S:g} s"
            raise Refusal("input_unavailable", detail) from None
        except OSError as error:
            part.unlink(missing_ok=True)
            raise Refusal(
                "input_unavailable", f"input {each.name}: {error.strerror or error}"
            ) from error
        self._files[each.sha256] = each.size
        self._checked.add(each.sha256)

    async def _go_on(self, job: str, each: InputData, part: Path) -> bool:
        """One try; whether the blob is here."""
        while not self._bearer:
            await self._opened.wait()
        self._make_room(each.size)
        try:
            await self._append(job, each, part)
            return await self._place(each, part)
        except TransferFailed as error:
            _log.info("input_interrupted", job=job, input=each.name, reason=str(error))
        except Refusal as refusal:
            if refusal.code == "input_unavailable":
                raise
            if refusal.code not in _PASSING:
                detail = f"input {each.name}: {refusal.code}: {refusal.sentence}"
                raise Refusal("input_unavailable", detail) from refusal
            _log.info("input_put_off", job=job, input=each.name, code=refusal.code)
        return False

    async def _append(self, job: str, each: InputData, part: Path) -> None:
        async with await trio.open_file(part, "ab") as file:
            done = await file.tell()
            if done == each.size:
                return
            reading = self._downloader.read(job, each.name, done, bearer=self._bearer)
            async with reading as pieces:
                async for piece in pieces:
                    done += len(piece)
                    if done > each.size:
                        await file.truncate(0)
                        detail = f"input {each.name} has more bytes than its specification says"
                        raise Refusal("input_unavailable", detail)
                    await file.write(piece)
        if done < each.size:
            msg = f"{done} of {each.size} bytes came"
            raise TransferFailed(msg)

    async def _place(self, each: InputData, part: Path) -> bool:
        found = await trio.to_thread.run_sync(_hash_of, part)
        if found != each.sha256:
            await _in_thread(part.unlink)
            raise Refusal("input_unavailable", f"input {each.name} came with another hash")
        await _in_thread(partial(part.rename, self._folder / each.sha256))
        return True


async def _in_thread(call: Callable[[], object]) -> None:
    await trio.to_thread.run_sync(call)


def _hash_of(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
