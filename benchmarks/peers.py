"""Other servers under a load like ours: an echo on trio-websocket, and a dispatcher on Node's `ws`.

Each is one process, pinned like the coordinator, all in memory: nothing is durable, verified, paid
or signed there, and no job is submitted. They are what a message costs, not what a job costs.
Rules:
  1. A peer's answer is read and compared: the echo's bytes, the dispatcher's job and its new id.
  2. Node's packages come from `node/package-lock.json` with their hashes, into a temporary folder;
     without Node the peer is left out, and a sentence says so.
Not covered: Node's cluster module, native add-ons of `ws` (`bufferutil`).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import trio

from benchmarks.cpu import cpu_s
from benchmarks.frames import BINARY, TEXT, frame
from benchmarks.house import CORES
from benchmarks.hub import Hub, Link
from benchmarks.record import ROOT
from benchmarks.wire import WrongAnswer

_NODE: Final = ROOT / "benchmarks" / "node"
_INSTALL_S: Final = 120.0
_START_S: Final = 30.0
_IDLE_S: Final = 10.0
_LISTENING: Final = re.compile(rb"listening on (\d+)")


class PeerMissing(Exception):
    """What a peer needs is not on this machine; the text is a sentence for people."""


# ---- processes --------------------------------------------------------------------------------


@asynccontextmanager
async def serving(command: Sequence[str], folder: Path) -> AsyncIterator[tuple[int, str]]:
    """A server that prints `listening on PORT`, on the measured core: its process and address.

    Raises:
        PeerMissing: it did not start.
    """
    log = folder / "server.log"
    with log.open("wb") as file:
        process = subprocess.Popen(  # noqa: S603, ASYNC220 (our own command; a fork takes a moment)
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            preexec_fn=partial(_settle, CORES[:1] if len(CORES) > 1 else CORES),  # noqa: PLW1509
        )
    try:
        with trio.move_on_after(_START_S):
            while (found := _LISTENING.search(log.read_bytes())) is None:
                if process.poll() is not None:
                    break
                await trio.sleep(0.02)
        if found is None:
            msg = f"{command[0]} did not start: {log.read_text()[-300:]}"
            raise PeerMissing(msg)
        yield process.pid, f"ws://127.0.0.1:{int(found[1])}/"
    finally:
        process.kill()
        process.wait()


def _settle(cores: Sequence[int]) -> None:
    os.sched_setaffinity(0, cores)


@asynccontextmanager
async def echo_server(folder: Path) -> AsyncIterator[tuple[int, str]]:
    """The echo on trio-websocket."""
    async with serving([sys.executable, "-m", "benchmarks.echo"], folder) as server:
        yield server


@asynccontextmanager
async def node_server(folder: Path) -> AsyncIterator[tuple[int, str]]:
    """The dispatcher on Node, with its packages installed into `folder`.

    Raises:
        PeerMissing: there is no Node, no npm, or its packages cannot be had.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise PeerMissing("Node is missing (apt-get install nodejs npm): its peer was left out")
    await trio.to_thread.run_sync(_install, npm, folder)
    async with serving([node, "dispatch.mjs"], folder) as server:
        yield server


def _install(npm: str, folder: Path) -> None:
    for path in _NODE.iterdir():
        if path.is_file():
            shutil.copy(path, folder)
    try:
        subprocess.run(  # noqa: S603 - our own words
            [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            cwd=folder, capture_output=True, text=True, check=True, timeout=_INSTALL_S,
        )  # fmt: skip
    except subprocess.CalledProcessError as error:
        msg = f"npm ci failed, Node was left out: {error.stderr[-300:]}"
        raise PeerMissing(msg) from error
    except subprocess.TimeoutExpired as error:
        raise PeerMissing("npm ci took too long, Node was left out") from error


# ---- clients ----------------------------------------------------------------------------------


class PeerLink(Link):
    """A client that keeps one message in flight while it is wanted."""

    __slots__ = ("done", "is_idle", "is_wanted")

    def __init__(self) -> None:
        super().__init__()
        self.done = 0
        self.is_wanted = False
        self.is_idle = True

    def start(self) -> None:
        self.is_wanted, self.is_idle = True, False
        self.begin()

    def begin(self) -> None:
        """Send the first message of a turn."""
        raise AssertionError(type(self).__name__)


class EchoLink(PeerLink):
    """Sends one of two messages by turns, and compares what comes back."""

    __slots__ = ("_batch", "_frames_out", "_messages", "_turn")

    def __init__(self, data: bytes, batch: int) -> None:
        super().__init__()
        self._batch = batch
        self._messages = (data, data[::-1])
        self._frames_out = tuple(frame(BINARY, each, self._key) for each in self._messages)
        self._turn = 0

    def begin(self) -> None:
        self._turn ^= 1
        self.send_raw(self._frames_out[self._turn])

    def on_message(self, opcode: int, data: bytes) -> None:
        if opcode != BINARY or data != self._messages[self._turn]:
            raise WrongAnswer("the echo is not what was said")
        self.done += self._batch
        if self.is_wanted:
            self.begin()
        else:
            self.is_idle = True


class _NodeJob(msgspec.Struct, tag="job"):
    id: str
    kind: str


class _Item(msgspec.Struct):
    id: str
    kind: str


class _NodeJobs(msgspec.Struct, tag="jobs"):
    jobs: list[_Item]


class _Registered(msgspec.Struct, tag="registered"):
    node_id: str = msgspec.field(name="nodeId")


_from_node: Final = msgspec.json.Decoder(_NodeJob | _NodeJobs | _Registered)
#: What an agent answers to one job, around its id: as long as one result of ours.
_RESULT_HEAD: Final = b'"id":"'
_RESULT_TAIL: Final = (
    b'","status":"completed","fence":1,"outputs":[{"dtype":"uint64","shape":[0],"size":0},'
    b'{"dtype":"uint64","shape":[1,2],"size":16}],"root":"' + b"5f" * 32 + b'"'
)


class NodeLink(PeerLink):
    """Registers, then answers each job; the last one of a turn waits for the next turn."""

    __slots__ = ("_batch", "_held", "_last")

    def __init__(self, batch: int) -> None:
        super().__init__()
        self._batch = batch
        self._held: list[str] = []
        self._last = ""

    def begin(self) -> None:
        if self._held:
            self._answer(self._held)
        else:
            said = {"type": "register", "token": "none", "batch": self._batch}
            self.send_text(msgspec.json.encode(said))

    def on_message(self, opcode: int, data: bytes) -> None:
        message = _from_node.decode(data)
        if opcode != TEXT:
            raise WrongAnswer("the dispatcher speaks JSON")
        if isinstance(message, _Registered):
            return
        items = [message] if isinstance(message, _NodeJob) else message.jobs
        ids = [item.id for item in items]
        if len(ids) != self._batch or ids[0] == self._last or items[-1].kind != "hashsearch":
            msg = f"the dispatcher gave {len(ids)} jobs, {self._batch} are due"
            raise WrongAnswer(msg)
        self._last = ids[0]
        if self._held:
            self.done += self._batch
        self._held = ids
        if self.is_wanted:
            self._answer(ids)
        else:
            self.is_idle = True

    def _answer(self, ids: list[str]) -> None:
        if self._batch == 1:
            said = b'{"type":"job_result",' + _RESULT_HEAD + ids[0].encode() + _RESULT_TAIL + b"}"
        else:
            results = (b"{" + _RESULT_HEAD + each.encode() + _RESULT_TAIL + b"}" for each in ids)
            said = b'{"type":"job_results","results":[' + b",".join(results) + b"]}"
        self.send_text(said)


# ---- sides ------------------------------------------------------------------------------------


class PeerSide:
    """A peer's server under its clients."""

    def __init__(self, name: str, what: str, process: int, links: Sequence[PeerLink]) -> None:
        self.name = name
        self.what = what
        self._process = process
        self._links = links

    @property
    def done(self) -> int:
        return sum(link.done for link in self._links)

    def server_s(self) -> float:
        return cpu_s([self._process])

    def check(self) -> None:
        """Its death is seen by its clients."""

    def close(self) -> None:
        """Hang up, before the server ends."""
        for link in self._links:
            link.close()

    def start(self) -> None:
        for link in self._links:
            link.start()

    async def stop(self) -> None:
        for link in self._links:
            link.is_wanted = False
        with trio.fail_after(_IDLE_S):
            while not all(link.is_idle for link in self._links):  # noqa: ASYNC110 - links are plain
                await trio.sleep(0.01)


async def echo_side(
    hub: Hub, server: tuple[int, str], batch: int, connections: int, data: bytes
) -> PeerSide:
    """The echo, with messages of the size of ours."""
    links = [await hub.dial(server[1], EchoLink(data, batch)) for _ in range(connections)]
    what = f"{batch} a message of {len(data)} bytes, {connections} connections; in memory, no JSON"
    return PeerSide(f"echo, {batch} a message", what, server[0], links)


async def node_side(hub: Hub, server: tuple[int, str], batch: int, connections: int) -> PeerSide:
    """The dispatcher on Node."""
    links = [await hub.dial(server[1], NodeLink(batch)) for _ in range(connections)]
    what = f"{batch} a message, {connections} connections; in memory, nothing verified or paid"
    return PeerSide(f"node, {batch} a message", what, server[0], links)
