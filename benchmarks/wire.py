"""Light peers of a coordinator: real WebSockets, real messages, and as little work as possible.

An agent answers a search over one nonce with its hash, which it makes on the spot (2 µs); a
submitter sends specifications that all differ, and compares what comes back with what it asked.
Rules:
  1. What they say is what our own agents and clients say: handshake, inventory, resume, results
     with roots, counter-signed receipts; open, submit.
  2. They read what they need of a message and pass over the rest; a complaint, a refusal, a wrong
     result or a result without a receipt ends the run.
  3. Nothing is kept on disk here: the coordinator is measured, not its peers.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final

import msgspec
import trio

from benchmarks.frames import BINARY
from benchmarks.hub import Hub, Link, LinkLost
from coordinator.limits import AGENT_WINDOW_MAX, ITEMS_PER_MESSAGE_MAX
from coordinator.protocol import messages as m
from coordinator.protocol.base64url import encode_base64url
from coordinator.protocol.codec import encode
from coordinator.protocol.commitment import output_root
from coordinator.protocol.countersigning import Seen, sign_seen
from coordinator.protocol.handshake import NONCE_BYTES, AgentHandshake
from coordinator.protocol.signing import Keypair, generate
from coordinator.workloads.hashsearch import leading_zeros

#: A search over one nonce; the price is set so that it has a fee.
SPEC_HEAD: Final = b'{"kind":"hashsearch","params":{"prefix":"","start":'
SPEC_TAIL: Final = b',"count":1,"target_bits":200}}'
BUDGET: Final = "0.01"
_NONCE_BYTES: Final = 8
_HEARTBEAT: Final = msgspec.json.encode(m.Heartbeat())


class WrongAnswer(Exception):
    """A coordinator said something that a run cannot believe its numbers after."""


def spec_of(start: int) -> bytes:
    """A specification of which there is only one."""
    return SPEC_HEAD + str(start).encode() + SPEC_TAIL


# ---- what is read of each message; the types of the protocol check every field ----------------


class _Job(msgspec.Struct):
    id: str
    fence: int
    spec: msgspec.Raw


class _Jobs(msgspec.Struct, tag="jobs"):
    jobs: list[_Job]


class _Ack(msgspec.Struct):
    code: str = "accepted"


class _Acks(msgspec.Struct, tag="acks"):
    acks: list[_Ack]


class _Beat(msgspec.Struct, tag="ack"):
    pass


class _Answer(msgspec.Struct):
    id: str = ""
    code: str = ""
    error: str = ""


class _Submitted(msgspec.Struct, tag="submitted"):
    jobs: list[_Answer]
    ref: int = 0


class _State(msgspec.Struct):
    id: str
    state: str
    code: str = ""
    detail: str = ""


class _Update(msgspec.Struct, tag="update"):
    jobs: list[_State]


class _Result(msgspec.Struct, tag="result"):
    id: str
    receipt: msgspec.Raw = msgspec.Raw()


class _Item(msgspec.Struct):
    id: str
    at: int = 0
    batch: int = 0


class _Results(msgspec.Struct, tag="outputs"):
    results: list[_Item]
    receipts: list[msgspec.Raw] = []


_to_agent: Final = msgspec.json.Decoder(
    _Jobs | _Acks | _Beat | m.Receipts | m.Challenge | m.Registered | m.Resumed
    | m.CancelAttempts | m.Drain | m.Error
)  # fmt: skip
_to_submitter: Final = msgspec.json.Decoder(
    _Submitted | _Update | _Result | _Results | m.Opened | m.Drain | m.Error
)


def _split(opcode: int, data: bytes) -> tuple[bytes, bytes]:
    """The JSON and the arrays of a message."""
    if opcode != BINARY:
        return data, b""
    end = 4 + int.from_bytes(data[:4], "little")
    return data[4:end], data[end:]


def _believed(message: Any) -> Any:
    if isinstance(message, m.Error):
        msg = f"{message.code}: {message.message}"
        raise WrongAnswer(msg)
    return message


class Peer(Link):
    """A link that speaks our messages."""

    __slots__ = ("_waits_for",)

    def __init__(self) -> None:
        super().__init__()
        #: Where the next message goes while a peer introduces itself.
        self._waits_for: trio.MemorySendChannel[Any] | None = None

    def say(self, message: m.AnyMessage, data: bytes = b"") -> None:
        said = encode(message, data)
        if isinstance(said, str):
            self.send_text(said.encode())
        else:
            self.send_binary(said)

    async def ask(self, message: m.AnyMessage) -> Any:
        """Say something; the next message is the answer.

        Raises:
            LinkLost: the connection ended instead.
            WrongAnswer: the answer is a complaint.
        """
        sender, receiver = trio.open_memory_channel[Any](1)
        self._waits_for = sender
        self.say(message)
        answer = await receiver.receive()
        if isinstance(answer, LinkLost):
            raise answer
        return _believed(answer)

    def _is_answer(self, message: Any) -> bool:
        if self._waits_for is None:
            _believed(message)
            return False
        sender, self._waits_for = self._waits_for, None
        sender.send_nowait(message)
        return True

    def on_lost(self, error: Exception) -> None:
        if self._waits_for is None:
            super().on_lost(error)
        elif not self.is_closed:
            self.close()
            self._is_answer(LinkLost(str(error)))


class LightAgent(Peer):
    """An agent that answers at once, or every `gap_s`, `batch` results a message at most."""

    __slots__ = (
        "_batch",
        "_coordinator_key",
        "_due",
        "_is_lazy",
        "_node_key",
        "_token",
        "beats",
        "is_ready",
    )

    def __init__(
        self, token: str, *, node_key: Keypair | None = None, batch: int = 1, is_lazy: bool = False
    ) -> None:
        """Make an agent.

        Args:
            token: With which it registers the first time.
            node_key: Its key; one of its own if none is given.
            batch: Results in one message, at most.
            is_lazy: Whether jobs wait until `answer` is called.
        """
        super().__init__()
        self._token = token
        self._batch = min(batch, ITEMS_PER_MESSAGE_MAX)
        self._is_lazy = is_lazy
        self._node_key: Keypair = node_key or generate()
        self._coordinator_key = b""
        self._due: deque[_Job] = deque()
        #: Heartbeats that were answered.
        self.beats = 0
        #: Whether it has said all that it says before its work.
        self.is_ready = False

    async def register(self, hub: Hub, url: str, *, local: str = "") -> None:
        """Dial, prove who it is, say what it can do; jobs may come from then on."""
        await hub.dial(url, self, local=local)
        handshake = AgentHandshake(self._node_key, secrets.token_bytes(NONCE_BYTES))
        challenge = await self.ask(handshake.hello())
        assert isinstance(challenge, m.Challenge)
        registered = await self.ask(handshake.answer(challenge, token=self._token))
        assert isinstance(registered, m.Registered)
        assert handshake.coordinator_key is not None
        self._coordinator_key = handshake.coordinator_key
        device = m.Device(uuid="cpu", name="a light CPU", backend="cpu")
        self.say(
            m.Inventory([device], ["hashsearch"], sandbox=0, slots=256, window=AGENT_WINDOW_MAX)
        )
        resumed = await self.ask(m.Resume())
        assert isinstance(resumed, m.Resumed)
        self.is_ready = True

    def beat(self) -> None:
        """One heartbeat."""
        self.send_text(_HEARTBEAT)

    def on_message(self, opcode: int, data: bytes) -> None:
        message = _to_agent.decode(_split(opcode, data)[0])
        if isinstance(message, _Jobs):
            self._due.extend(message.jobs)
            if not self._is_lazy:
                self.answer()
        elif isinstance(message, _Acks):
            refused = [ack.code for ack in message.acks if ack.code != "accepted"]
            if refused:
                msg = f"right results were refused: {refused}"
                raise WrongAnswer(msg)
        elif isinstance(message, _Beat):
            self.beats += 1
        elif isinstance(message, m.CancelAttempts):
            gone = {(attempt.job, attempt.fence) for attempt in message.attempts}
            self._due = deque(job for job in self._due if (job.id, job.fence) not in gone)
        elif isinstance(message, m.Receipts):
            self._sign(message.batches)
        elif not self._is_answer(message):
            msg = f"an agent at work is told {type(message).__name__}"
            raise WrongAnswer(msg)

    def answer(self) -> None:
        """Send the results of all jobs that have come."""
        while self._due and not self.is_closed:
            count = min(self._batch, len(self._due))
            message, data = results_of([self._due.popleft() for _ in range(count)])
            self.say(message, data)

    def _sign(self, batches: list[m.ReceiptBatch]) -> None:
        roots = {each.batch: each for each in batches}
        seen = [Seen(n, each.count, bytes.fromhex(each.root)) for n, each in roots.items()]
        signature = sign_seen(self._node_key, self._coordinator_key, seen)
        first, *others = roots
        self.say(m.ReceiptsSigned(first, encode_base64url(signature), others))

    @property
    def held(self) -> int:
        """Jobs that came and are not answered."""
        return len(self._due)

    def renewed(self) -> LightAgent:
        """The same agent after a lost connection, without the jobs that it had."""
        return LightAgent(
            self._token, node_key=self._node_key, batch=self._batch, is_lazy=self._is_lazy
        )


def results_of(items: list[_Job]) -> tuple[m.Results, bytes]:
    """The right results of these jobs in one message, and its data."""
    results = []
    data = bytearray()
    for item in items:
        spec = bytes(item.spec)
        start = int(spec[len(SPEC_HEAD) : -len(SPEC_TAIL)])
        nonce = start.to_bytes(_NONCE_BYTES, "little")
        bits = leading_zeros(sha256(nonce).digest())
        best = nonce + bits.to_bytes(_NONCE_BYTES, "little")
        arrays = [
            m.Array("uint64", [0], 0, offset=len(data)),
            m.Array("uint64", [1, 2], 16, offset=len(data)),
        ]
        data += best
        root = output_root((b"", best)).hex()
        results.append(m.ResultItem(item.id, item.fence, "completed", outputs=arrays, root=root))
    return m.Results(results), bytes(data)


def sample_jobs(count: int) -> list[_Job]:
    """Jobs like those that a coordinator sends, for messages of the same size elsewhere."""
    specs = (msgspec.Raw(spec_of(1_000_000 + number)) for number in range(count))
    return [_Job(f"job_{number:022d}", 1, spec) for number, spec in enumerate(specs)]


class LightSubmitter(Peer):
    """A submitter's connection: sends what it is told to, counts what comes back."""

    __slots__ = (
        *("_batch", "_bearer", "_by_job", "_by_ref", "_early", "_numbers", "_refs", "_window"),
        *("latencies", "open", "results"),
    )

    def __init__(self, bearer: str, numbers: Callable[[], int]) -> None:
        super().__init__()
        self._bearer = bearer
        self._numbers = numbers
        self._refs = 0
        self._batch = 1
        self._window = 0
        #: When each unanswered submission was due and which jobs it has, by its reference; then
        #: when a job was due and its number, by the job's id.
        self._by_ref: dict[int, tuple[float, list[int]]] = {}
        self._by_job: dict[str, tuple[float, int]] = {}
        #: What came of a job before its submission was answered: the wire allows it.
        self._early: dict[str, list[tuple[_State | _Result, bytes, float]]] = {}
        #: Results that came, with receipts; and the latencies of completed jobs, s.
        self.results = 0
        self.latencies: list[float] = []
        #: Jobs without a result.
        self.open = 0

    async def enter(self, hub: Hub, url: str, *, local: str = "") -> None:
        """Dial and open."""
        await hub.dial(url, self, local=local)
        opened = await self.ask(m.Open(bearer=self._bearer))
        assert isinstance(opened, m.Opened)

    def submit(self, count: int, due: float) -> None:
        """Submit so many jobs in one message; their latency counts from `due`."""
        numbers = [self._numbers() for _ in range(count)]
        self._refs += 1
        self._by_ref[self._refs] = due, numbers
        self.open += count
        jobs = [m.Submission(str(n), msgspec.Raw(spec_of(n)), BUDGET) for n in numbers]
        self.say(m.Submit(jobs, self._refs))

    def keep(self, batch: int, window: int) -> None:
        """Keep `window` jobs in flight from now on, `batch` a message; 0 ends it."""
        self._batch, self._window = batch, window
        self._refill()

    def _refill(self) -> None:
        while self.open + self._batch <= self._window:
            self.submit(self._batch, trio.current_time())

    def on_message(self, opcode: int, data: bytes) -> None:
        head, arrays = _split(opcode, data)
        message = _to_submitter.decode(head)
        if isinstance(message, _Update):
            now = trio.current_time()
            for state in message.jobs:
                self._note(state.id, state, b"", now)
        elif isinstance(message, _Result):
            self._note(message.id, message, arrays, 0.0)
            self._refill()
        elif isinstance(message, _Results):
            self._note_results(message, arrays)
            self._refill()
        elif isinstance(message, _Submitted):
            self._note_ids(message)
        elif not self._is_answer(message):
            msg = f"a submitter at work is told {type(message).__name__}"
            raise WrongAnswer(msg)

    def _note_results(self, message: _Results, arrays: bytes) -> None:
        ends = [item.at for item in message.results[1:]] + [len(arrays)]
        for item, end in zip(message.results, ends, strict=True):
            # The receipt that it names stands in the message, which the protocol's tests check.
            receipt = message.receipts[0] if item.batch else msgspec.Raw()
            self._note(item.id, _Result(item.id, receipt), arrays[item.at : end], 0.0)

    def _note_ids(self, message: _Submitted) -> None:
        due, numbers = self._by_ref.pop(message.ref)
        for answer, number in zip(message.jobs, numbers, strict=True):
            if not answer.id:
                msg = f"a submission was refused: {answer.code} {answer.error}"
                raise WrongAnswer(msg)
            self._by_job[answer.id] = due, number
            for each in self._early.pop(answer.id, ()):
                self._note(answer.id, *each)

    def _note(self, job: str, what: _State | _Result, arrays: bytes, now: float) -> None:
        known = self._by_job.get(job)
        if known is None:
            self._early.setdefault(job, []).append((what, arrays, now))
        elif isinstance(what, _Result):
            self._note_result(job, what, arrays, known[1])
        elif what.state == "completed":
            self.latencies.append(now - known[0])
        elif what.state in {"failed", "cancelled"}:
            msg = f"a job ended {what.state}: {what.code} {what.detail}"
            raise WrongAnswer(msg)

    def _note_result(self, job: str, result: _Result, arrays: bytes, number: int) -> None:
        if not bytes(result.receipt):
            raise WrongAnswer("a paid result came without its receipt")
        # The last array holds the best nonce, and how many bits its hash begins with.
        if int.from_bytes(arrays[-2 * _NONCE_BYTES : -_NONCE_BYTES], "little") != number:
            msg = f"the result of search {number} is of another one"
            raise WrongAnswer(msg)
        del self._by_job[job]
        self.results += 1
        self.open -= 1
