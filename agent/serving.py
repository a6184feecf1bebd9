"""One open session of an agent: say what we are, resume, then work until the connection ends.

In:   a registered link.
Out:  the reason why it ended.
Rules:
  1. `inventory` and `resume` come once the host is warm, heartbeats before; results follow when the
     coordinator has answered.
  2. A heartbeat goes out every `HEARTBEAT_S`, or sooner if the coordinator asks for it.
  3. Receipts are checked, and on disk with their counter-signatures before those leave; receipts
     that do not hold are said in the log and never signed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import partial

import trio

from agent.attempts import Attempts
from agent.keeper import disk_trouble
from agent.link import Link, LinkLost, refusal_of
from agent.sending import Sending
from agent.setup import Setup
from agent.welcome import FIXES, Unwelcome
from coordinator.limits import HEARTBEAT_S
from coordinator.log import get_log
from coordinator.protocol import messages as m
from coordinator.protocol.base64url import encode_base64url
from coordinator.protocol.countersigning import Seen, sign_seen
from coordinator.protocol.errors import HypernodeError
from coordinator.protocol.receipts import Receipt, from_wire
from onchain.amounts import format_hyper

_log = get_log("agent.serving")


def _nothing(*_: object) -> None:
    """Nobody listens."""


class _Tally:
    """What receipts have come since it was last said: a line a heartbeat, not a line a receipt."""

    def __init__(self) -> None:
        self._receipts: list[Receipt] = []

    def add(self, receipts: Iterable[Receipt]) -> None:
        self._receipts += receipts

    def say(self) -> None:
        if not self._receipts:
            return
        earned = format_hyper(sum(receipt.paid for receipt in self._receipts))
        _log.info("receipts", count=len(self._receipts), earned=f"{earned} HYPER")
        self._receipts.clear()


class Serving:
    """One open session."""

    def __init__(
        self,
        setup: Setup,
        attempts: Attempts,
        link: Link,
        registered: m.Registered,
        *,
        coordinator_key: bytes,
    ) -> None:
        self._setup = setup
        self._attempts = attempts
        self._link = link
        self._registered = registered
        self._coordinator_key = coordinator_key
        #: Called when the coordinator says that it stops soon.
        self.on_drain: Callable[[], None] = _nothing
        #: Called with the reason why it sends no jobs, or with nothing when it does again.
        self.on_standing: Callable[[str], None] = _nothing
        self._listed: list[m.Attempt] = []
        self._tally = _Tally()
        self._resumed = trio.Event()
        self._reason: Exception | None = None
        self._scope = trio.CancelScope()

    def stop(self) -> None:
        """End the session; the connection is closed in good order."""
        self._scope.cancel()

    async def be_quiet(self) -> None:
        """Say that nothing new is taken, if this session has got as far as saying anything."""
        if self._resumed.is_set():
            # A link that is lost meanwhile ends this session; the next one begins quiet.
            await self._guard(self._say_inventory)

    async def run(self) -> Exception | None:
        """Serve until the connection ends; returns why, or None if it was stopped."""
        sending = Sending(
            self._attempts,
            self._link,
            self._setup.uploader,
            self._setup.rng,
            session_key=self._registered.session_key,
        )
        if self._setup.inputs is not None:
            self._setup.inputs.open(self._registered.session_key)
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._guard, self._open)
                nursery.start_soon(self._guard, self._beat)
                nursery.start_soon(self._guard, partial(self._send_all, sending, nursery))
                nursery.start_soon(self._guard, sending.progress)
                await self._guard(self._receive)
        self._tally.say()
        return self._reason

    async def _guard(self, loop: Callable[[], Awaitable[None]]) -> None:
        """Run one loop; the first reason that ends one ends them all."""
        try:
            await loop()
        except HypernodeError as error:
            self._reason = self._reason or error
            self._scope.cancel()

    async def _say_inventory(self) -> None:
        await self._link.send(await self._attempts.inventory())

    async def _open(self) -> None:
        await self._say_inventory()
        self._listed = self._attempts.listed()
        papers = self._setup.papers
        await self._link.send(m.Resume(self._listed, None if papers is None else papers.summary))
        # A change that came before is in what was sent.
        await self._resumed.wait()
        while True:
            await self._attempts.inventories.wait()
            await self._link.send(await self._attempts.inventory())

    async def _receive(self) -> None:
        while True:
            await self._handle(await self._link.receive())

    async def _beat(self) -> None:
        asked_s = self._registered.heartbeat_s or HEARTBEAT_S
        while True:
            await trio.sleep(min(asked_s, HEARTBEAT_S))
            self._tally.say()
            telemetry = await self._setup.telemetry()
            await self._link.send(m.Heartbeat(self._registered.node_id, telemetry))

    async def _send_all(self, sending: Sending, nursery: trio.Nursery) -> None:
        # A result sent before the resume is answered would be lost with its lease.
        await self._resumed.wait()
        await sending.results(nursery)

    async def _handle(self, message: m.AnyMessage) -> None:
        match message:
            case m.Jobs():
                for item in message.jobs:
                    self._attempts.take(item)
            case m.Acks():
                self._attempts.acknowledge(message.acks)
            case m.CancelAttempts():
                self._attempts.cancel(message.attempts, message.reason)
            case m.Resumed():
                self._attempts.resume(message, self._listed)
                self._resumed.set()
            case m.Receipts() | m.Papers():
                await self._keep(message)
            case m.Drain():
                _log.info("coordinator drains", seconds=message.seconds)
                self.on_drain()
            case m.Standing():
                self.on_standing(message.reason if message.state == "drained" else "")
                _note_standing(message)
            case m.Error():
                self._complain(message)
            case _:
                # A heartbeat's ack: that it came is all that it says.
                pass

    async def _keep(self, message: m.Receipts | m.Papers) -> None:
        if isinstance(message, m.Receipts):
            await self._sign(message.batches, together=message.together)
        elif self._setup.papers is not None:
            await self._setup.papers.take(message)

    def _complain(self, error: m.Error) -> None:
        """An `error`: a line in the log, or the end of this connection.

        Raises:
            LinkLost: we may not go on; the next registration says what to do about it.
            Unwelcome: another agent has this node key: to come back would throw it out in turn.
        """
        refusal = refusal_of(error)
        _log.error("coordinator_complains", code=refusal.code, message=refusal.sentence)
        if refusal.code == "superseded":
            # It named what it holds at its `resume`; whatever it did not name is lost.
            self._attempts.stop_all()
            raise Unwelcome(refusal.code, refusal.sentence)
        if refusal.code in FIXES:
            raise LinkLost(refusal.code, refusal.sentence)

    async def _sign(self, batches: list[m.ReceiptBatch], *, together: bool) -> None:
        """Counter-sign the batches whose receipts hold and are ours."""
        good = [(batch, held) for batch in batches if (held := self._held_in(batch))]
        if not good:
            return
        # Once where a batch's receipts came in parts.
        seen = list({batch.batch: _seen(batch) for batch, _ in good}.values())
        signed = [self._signed(each) for each in ([seen] if together else [[one] for one in seen])]
        try:
            await self._setup.state.keep_receipts([batch for batch, _ in good], signed)
        except OSError as error:
            # Offered again at the next resume: what is not kept is not answered.
            _log.error("receipts not on disk", reason=disk_trouble(error))
            return
        for batch, held in good:
            self._tally.add(held)
            self._setup.earnings.add(
                batch.batch, zip((item.index for item in batch.receipts), held, strict=True)
            )
        for each in signed:
            await self._link.send(each)

    def _signed(self, seen: list[Seen]) -> m.ReceiptsSigned:
        """The node key's signature of these batches, as it is sent."""
        signature = sign_seen(self._setup.node_key, self._coordinator_key, seen)
        first, *others = [each.batch for each in seen]
        return m.ReceiptsSigned(first, encode_base64url(signature), others)

    def _held_in(self, batch: m.ReceiptBatch) -> list[Receipt]:
        """The receipts of a batch, if all of them hold and are ours."""
        try:
            _signed, receipts = from_wire(batch, self._coordinator_key)
        except HypernodeError as error:
            _log.error("receipts_refused", batch=batch.batch, code=error.code)
            return []
        if any(receipt.node_key != self._setup.node_key.address for receipt in receipts):
            _log.error("receipts_of_another_node", batch=batch.batch)
            return []
        return receipts


def _seen(batch: m.ReceiptBatch) -> Seen:
    return Seen(batch.batch, batch.count, bytes.fromhex(batch.root))


def _note_standing(standing: m.Standing) -> None:
    """The coordinator's word on this node, where its operator reads it."""
    if standing.state == "drained":
        _log.warning(
            "drained",
            reason=standing.reason,
            seconds=standing.seconds,
            fix="no new jobs until then, and test jobs after it; look at what failed here",
        )
    else:
        _log.info("not drained any more")
