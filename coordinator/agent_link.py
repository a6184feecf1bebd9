"""One connected agent: what it says becomes events, what the house orders becomes messages.

Two kinds of peer: an agent of ours (a node key, `State.NODE`), and a seed client (a bare token,
`State.SEED`), which declares nothing and so is level 0, one slot, commands only.
Rules:
  1. No job is sent before the agent has said what it holds (`resume`); what we thought it holds and
     it does not name is lost at once.
  2. An acknowledgement is sent after the commit, and never for a result that the store refused:
     the connection ends then, and the agent sends the result again.
  3. The root of a result's outputs is computed here and compared with the agent's.
Not here: sockets (dispatcher), order and size of messages (protocol.session), receipts
(agent_receipts).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache, partial

import msgspec

from coordinator import agent_receipts, events as ev
from coordinator.api import Api
from coordinator.desk import seed_result
from coordinator.limits import DEVICES_MAX, ITEMS_PER_MESSAGE_MAX
from coordinator.log import get_log
from coordinator.operations import Operations
from coordinator.outgoing import Outgoing
from coordinator.protocol import messages as m
from coordinator.protocol.commitment import output_root
from coordinator.protocol.errors import ProtocolError, Refusal
from coordinator.protocol.parts import compute_capability_of
from coordinator.protocol.spec import decode_spec
from coordinator.results import outputs_of
from coordinator.scheduler import Capability, DeviceKind
from coordinator.store.values import Job, JobState, Node, NodeDrain, Output
from coordinator.workloads.catalogue import get
from coordinator.workloads.command import CommandParams
from onchain.merkle import EMPTY_ROOT

log = get_log(__name__)

#: A seed client: our own level 0, one job at a time.
SEED_CAPABILITY = Capability(
    kinds=frozenset({"command"}),
    has_gpu=False,
    vram_gib=0,
    sandbox=0,
    worker_sandbox=0,
    slots=1,
    window=1,
)
#: Different capabilities that are kept once for all agents that have them.
SHARED_CAPABILITIES_MAX = 256
_NO_ATTEMPTS: frozenset[tuple[int, int]] = frozenset()


class AgentLink:
    """The house's side of one agent's connection."""

    __slots__ = (
        *("_capability", "_fences", "_started", "api", "broken", "connection", "is_ready"),
        *("_offered", "is_seed", "node", "operations", "outgoing", "papers"),
    )

    def __init__(self, api: Api, node: Node, *, is_seed: bool) -> None:
        self.api = api
        self.operations: Operations = api.operations
        self.node = node
        self.is_seed = is_seed
        self.outgoing = Outgoing()
        self.is_ready = is_seed
        #: Set when the connection must end: why.
        self.broken: Refusal | None = None
        #: What it can do, once it has said so.
        self._capability: Capability | None = None
        self._fences: dict[int, int] = {}
        self._started = _NO_ATTEMPTS
        #: The last of the unsigned batches that it was offered; 0 for none.
        self._offered = 0
        #: The earnings papers that it has; None: it keeps none.
        self.papers: m.PapersKept | None = None
        self.connection = self.operations.join(node.id, self)
        if is_seed:
            self.operations.settle_resume(node.id, set())
            self.operations.set_capability(node.id, SEED_CAPABILITY)

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits to be sent."""
        return not self.outgoing

    @property
    def wallet(self) -> bytes:
        """The operator's."""
        return self.node.wallet

    def leave(self) -> None:
        """The connection has closed."""
        self.operations.leave(self.node.id, self.connection)

    def end(self, refusal: Refusal) -> None:
        """A newer connection took over, or the node was revoked: it is told so, and closed."""
        self.broken = refusal
        self.outgoing.stop()

    # ---- orders of the house -------------------------------------------------------------------

    def send_job(self, job: Job, execution_s: int) -> None:
        public = self.api.ids.encode("job", job.id)
        if self.is_seed:
            self._fences[job.id] = job.fence
            params = get(job.kind).decode(bytes(decode_spec(job.spec).params))
            assert isinstance(params, CommandParams), "a seed client is given commands only"
            self.outgoing.put(m.Job(public, params.command))
        else:
            self.outgoing.put_job(m.JobItem(public, job.fence, msgspec.Raw(job.spec), execution_s))

    def stop(self, job: int, fence: int, code: str) -> None:
        # A seed client knows no way to stop a job: its late result will be stale.
        if not self.is_seed:
            attempt = m.Attempt(self.api.ids.encode("job", job), fence)
            self.outgoing.put_stop(attempt, code)

    def send_receipts(self, batches: Sequence[ev.ReceiptsReady]) -> None:
        if not self.is_seed:
            for message in agent_receipts.messages_of(self.api, self.node, batches):
                self.outgoing.put(message)

    def send_papers(self, papers: m.Papers, after: m.PapersKept) -> None:
        self.papers = after
        self.outgoing.put(papers)

    def drain(self, seconds: int) -> None:
        if not self.is_seed:
            self.outgoing.put(m.Drain(seconds))

    def send_standing(self, drained: NodeDrain | None) -> None:
        # A seed client has no word for it: its operator sees it in the listing of nodes.
        if self.is_seed:
            return
        if drained is None:
            self.outgoing.put(m.Standing("active"))
            return
        left_ms = drained.until_ms - self.operations.clock.wall_ms()
        self.outgoing.put(m.Standing("drained", drained.reason, max(0, left_ms) // 1000))

    # ---- what the agent says -------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        return self.broken is None and self.operations.writer.has_room()

    def receive_now(self, message: m.AnyMessage, data: memoryview) -> bool:
        self._check_current()
        self.operations.registry.hear(self.node.id, self.operations.clock.monotonic())
        if isinstance(message, m.Heartbeat):
            # It renews leases, whatever else has to wait.
            self._check_key()
            self.outgoing.answer(m.Ack())
            return True
        return isinstance(message, m.Results) and self._receive_results_now(message, data)

    async def receive(self, message: m.AnyMessage, data: memoryview) -> None:
        """Act on a message that the session let pass."""
        if self.receive_now(message, data):
            return
        await self.operations.writer.room()
        # Its permission, or its place, may have gone while it waited.
        self._check_current()
        match message:
            case m.JobResult():
                self._receive_seed_result(message)
            case m.Inventory():
                await self._receive_inventory(message)
            case m.Resume():
                await self._receive_resume(message)
            case m.Results():
                await self._receive_results(message, data)
            case m.Progress():
                self._receive_progress(message)
            case m.ReceiptsSigned():
                await self._receive_counter_signature(message)
            case _:
                raise ProtocolError("out_of_order")

    def _check_current(self) -> None:
        if self.broken is not None:
            raise ProtocolError(self.broken.code)
        if not self.operations.registry.is_current(self.node.id, self.connection):
            raise ProtocolError("superseded")

    def _check_key(self) -> None:
        """A node key's permission ends while its connection is open, too."""
        if self.node.node_key and self.operations.clock.wall_ms() > self.node.key_expires_ms:
            raise ProtocolError("token_expired")

    def _receive_seed_result(self, message: m.JobResult) -> None:
        job = self.api.ids.decode("job", message.id)
        fence = self._fences.get(job, 0)
        event = seed_result(job, fence, self.node.id, message.status, message.logs)

        def then(outcome: ev.Outcome) -> None:
            if outcome.refusal is None:
                self._fences.pop(job, None)
                self.outgoing.put(m.Ack(f"job {message.id}: {outcome.value}"))
            else:
                self.outgoing.put(m.Error(outcome.refusal.sentence, outcome.refusal.code))

        self.operations.writer.tell(event, then)

    async def _receive_inventory(self, message: m.Inventory) -> None:
        self._capability = _shared(capability_of(message))
        if self.is_ready:
            self.operations.set_capability(self.node.id, self._capability)
        gpu = ", ".join(device.name for device in message.devices[:DEVICES_MAX])
        # Waited for: inventories are large and rare, and a flood of them must not pile up.
        await self.operations.writer.ask(
            ev.InventoryReceived(self.node.id, gpu, msgspec.json.encode(message))
        )

    async def _receive_resume(self, message: m.Resume) -> None:
        if self._capability is None:
            raise ProtocolError("out_of_order", "inventory comes before resume")
        held = self.operations.registry.holds(self.node.id)
        keep, abandon = [], []
        kept = set()
        for attempt in message.attempts:
            if not (attempt.job.isascii() and attempt.job.isprintable()):
                # No coordinator gave it; and its answer could be larger than a frame.
                raise ProtocolError("malformed", "an attempt is named by a job's id")
            key = self._key_of(attempt)
            if key in held:
                keep.append(attempt)
                kept.add(key)
            else:
                abandon.append(attempt)
        self.operations.settle_resume(self.node.id, kept)
        self.is_ready = True
        self.outgoing.put(m.Resumed(keep, abandon))
        self.operations.set_capability(self.node.id, self._capability)
        self.papers = message.papers
        if self.papers is not None and self.api.on_papers is not None:
            self.api.on_papers(self)
        await self._offer_unsigned()

    def _key_of(self, attempt: m.Attempt | m.ResultItem | m.ProgressItem) -> tuple[int, int]:
        try:
            return self.api.ids.decode("job", attempt.job), attempt.fence
        except Refusal:
            return (0, 0)

    async def _offer_unsigned(self, after: int = 0) -> None:
        """Offer the next batches behind this one that the node has not signed.

        The signature of the last of them asks for more: as fast as the node takes them.
        """
        offered = await agent_receipts.unsigned(self.api, self.node, after)
        self._offered = offered[-1].root.batch if offered else 0
        self.send_receipts(offered)

    def _receive_results_now(self, message: m.Results, data: memoryview) -> bool:
        """Take results in whose attempts this node holds, and which are whole in the message."""
        registry, node = self.operations.registry, self.node.id
        keys = [self._key_of(item) for item in message.results]
        if not self.operations.writer.has_room(len(keys)):
            return False
        for key, item in zip(keys, message.results, strict=True):
            if not registry.has(node, key) or any(array.sha256 for array in item.outputs):
                return False
        for key, item in zip(keys, message.results, strict=True):
            try:
                outputs = outputs_of(*key, item.outputs, data, self.api.blobs)
                root = output_root([output.data for output in outputs])
                event = self._checked(key, item, outputs, root)
            except Refusal as refusal:
                event = self._rejection(key, refusal)
            self._tell_held(key, item, event)
        return True

    async def _receive_results(self, message: m.Results, data: memoryview) -> None:
        for item in message.results:
            key = self._key_of(item)
            event = await self._result_event(key, item, data)
            await self.operations.writer.room()
            self._tell_result(key, item, event)

    def _tell_result(self, key: tuple[int, int], item: m.ResultItem, event: ev.Event) -> None:
        if self.operations.registry.has(self.node.id, key):
            self._tell_held(key, item, event)
        else:
            self.operations.writer.tell(event, partial(self._acknowledge, item))

    def _tell_held(self, key: tuple[int, int], item: m.ResultItem, event: ev.Event) -> None:
        """Tell of the result of an attempt that this node holds: it has room for another one."""
        self.operations.matching.note_answer(self.node.id, key)
        self.operations.writer.tell(event, partial(self._acknowledge, item))

    async def _is_late_but_wanted(self, key: tuple[int, int]) -> bool:
        """Whether this attempt's lease is over, but its job waits and nobody else has it."""
        row = await self.api.read(lambda reader: reader.job(key[0]))
        return (
            row is not None
            and row.job.state is JobState.QUEUED
            and (row.job.fence, row.job.node) == (key[1], self.node.id)
        )

    async def _result_event(
        self, key: tuple[int, int], item: m.ResultItem, data: memoryview
    ) -> ev.ResultArrived:
        is_held = self.operations.registry.has(self.node.id, key)
        if not is_held and not await self._is_late_but_wanted(key):
            # Stale, or known already: the engine says which; its outputs are of no use.
            return self._arrival(key, item, (), EMPTY_ROOT)
        try:
            outputs = outputs_of(*key, item.outputs, data, self.api.blobs)
            return self._checked(key, item, outputs, await self.api.root_of(outputs))
        except Refusal as refusal:
            return self._rejection(key, refusal)

    def _checked(
        self, key: tuple[int, int], item: m.ResultItem, outputs: tuple[Output, ...], root: bytes
    ) -> ev.ResultArrived:
        """A result whose outputs must have the root that was claimed.

        Raises:
            Refusal: `rejected`: they do not have it.
        """
        is_claimed = item.status == "completed" and item.root is not None
        if is_claimed and bytes.fromhex(item.root or "") != root:
            raise Refusal("rejected", "the outputs do not have the root that was claimed")
        return self._arrival(key, item, outputs, root)

    def _arrival(
        self, key: tuple[int, int], item: m.ResultItem, outputs: tuple[Output, ...], root: bytes
    ) -> ev.ResultArrived:
        code = item.code or "agent_error"
        is_completed = item.status == "completed"
        return ev.ResultArrived(*key, self.node.id, is_completed, code, item.detail, outputs, root)

    def _rejection(self, key: tuple[int, int], refusal: Refusal) -> ev.ResultArrived:
        return ev.ResultArrived(
            *key, self.node.id, False, "rejected", refusal.sentence, (), EMPTY_ROOT
        )

    def _acknowledge(self, item: m.ResultItem, outcome: ev.Outcome) -> None:
        if outcome.refusal is None:
            self.outgoing.put_ack(m.AckItem(item.job, item.fence, outcome.value))
            if outcome.value != "accepted":
                self.operations.metrics.result_rejected(outcome.value)
        else:
            # Nothing was written: the agent must keep the result and send it again.
            self.broken = outcome.refusal
            self.outgoing.stop()

    def _receive_progress(self, message: m.Progress) -> None:
        held = self.operations.registry.holds(self.node.id)
        for item in message.attempts:
            key = self._key_of(item)
            if key not in held:
                continue
            job, fence = key
            if key not in self._started:
                self._started = frozenset(k for k in self._started if k in held) | {key}
                self.operations.writer.tell(ev.AttemptStarted(job, fence, self.node.id))
            self.operations.note_progress(job, fence, item.progress, item.log)

    async def _receive_counter_signature(self, message: m.ReceiptsSigned) -> None:
        signed = await agent_receipts.check(self.api, self.node, message)
        self.operations.writer.tell(signed)
        if self._offered in {each.batch for each in signed.signatures}:
            await self._offer_unsigned(after=self._offered)


@lru_cache(maxsize=SHARED_CAPABILITIES_MAX)
def _shared(capability: Capability) -> Capability:
    """The first of all equal ones: thousands of agents can do the same."""
    return capability


def capability_of(inventory: m.Inventory) -> Capability:
    """What an agent that says this can take."""
    devices = Counter(_kind_of(device) for device in inventory.devices)
    # A GPU has one place; a CPU has the rest.
    gpus = sum(count for device, count in devices.items() if device.is_gpu)
    devices = Counter(
        {
            device: count if device.is_gpu else max(count, inventory.slots - gpus)
            for device, count in devices.items()
        }
    )
    return Capability(
        kinds=frozenset(inventory.kinds),
        has_gpu=any(device.is_gpu for device in devices),
        vram_gib=max((device.vram_gib for device in devices), default=0),
        sandbox=inventory.sandbox,
        worker_sandbox=inventory.worker_sandbox,
        slots=inventory.slots,
        window=max(inventory.slots, min(inventory.window, ITEMS_PER_MESSAGE_MAX)),
        devices=tuple(
            msgspec.structs.replace(device, count=count) for device, count in devices.items()
        ),
    )


def _kind_of(device: m.Device) -> DeviceKind:
    if device.backend != "cuda":
        return DeviceKind(is_gpu=False, vram_gib=0, compute=0)
    return DeviceKind(
        is_gpu=True,
        # Rounded: a card of 24 GiB says 24,564 MB.
        vram_gib=round(device.memory_mb / 1024),
        compute=compute_capability_of(device),
    )
