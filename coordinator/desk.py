"""Between the wire's words and the house's values: views out, wishes and results in. Pure.

Not here: who may ask (api), what is decided (lifecycle).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from coordinator import events as ev
from coordinator.clock import iso
from coordinator.demand import demand_for
from coordinator.jobs import FINAL
from coordinator.ledger import HOUSE
from coordinator.limits import (
    DELEGATION_MS,
    FRAME_BYTES_MAX,
    INLINE_ARRAY_BYTES_MAX,
    KEY_CHARS_MAX,
    OUTPUTS_MAX,
    SEED_LOG_CHARS_MAX,
    SESSION_MS,
    TOKEN_MS,
)
from coordinator.operations import Operations
from coordinator.pricing import Rules, check_budget, quote_task
from coordinator.protocol.commitment import output_root
from coordinator.protocol.errors import Refusal
from coordinator.protocol.ids import Ids
from coordinator.protocol.inputs import blob_sizes
from coordinator.protocol.messages import Array, Inventory, Price, Submission
from coordinator.protocol.spec import check_document, decode_spec, hash_spec
from coordinator.revocation import session_name, token_name
from coordinator.scheduler import Scheduler
from coordinator.store.values import Job, Node, Output, Session, Token
from coordinator.task import task_of
from coordinator.views import JobView, NodeView, OpenThing
from onchain.address import decode_address, encode_address
from onchain.amounts import format_hyper, parse_hyper
from onchain.errors import BadAddress, BadAmount

_inventory = msgspec.json.Decoder(Inventory)
#: Bytes of one refusal's sentence among a thousand answers.
ANSWER_BYTES_MAX: Final = 300
#: What a seed client calls a success.
SEED_SUCCESS: Final = frozenset({"completed", "success", "ok"})


def parse_wallet(text: str) -> bytes:
    """A wallet's 32 bytes.

    Raises:
        Refusal: `bad_address`.
    """
    try:
        return decode_address(text)
    except BadAddress as error:
        raise Refusal("bad_address", str(error)) from error


def parse_amount(text: str) -> int:
    """Base units of an amount on the wire.

    Raises:
        Refusal: `bad_amount`.
    """
    try:
        return parse_hyper(text)
    except BadAmount as error:
        raise Refusal("bad_amount", str(error)) from error


def short(sentence: str) -> str:
    """A sentence that leaves room for a thousand of its kind in one frame."""
    return sentence.encode()[:ANSWER_BYTES_MAX].decode(errors="ignore")


def node_view(operations: Operations, ids: Ids, node: Node) -> NodeView:
    """A node, as the seed's table shows it."""
    inventory = _inventory.decode(node.inventory) if node.inventory else None
    is_online = operations.registry.is_online(node.id, operations.clock.monotonic())
    drained = operations.drains.of(node.id)
    return NodeView(
        id=ids.encode("node", node.id),
        hostname=node.hostname,
        gpu=node.gpu,
        status="online" if is_online else "offline",
        last_heartbeat=iso(last_seen_ms(operations, node)),
        earned=msgspec.Raw(format_hyper(node.earned).encode()),
        sandbox=inventory.sandbox if inventory else 0,
        kinds=tuple(inventory.kinds) if inventory else (),
        remarks=tuple(inventory.remarks) if inventory else (),
        drained_until=iso(drained.until_ms) if drained else UNSET,
        drain_reason=drained.reason if drained else UNSET,
    )


def session_thing(session: Session, asking: Session) -> OpenThing:
    """A session, as its wallet sees it."""
    return OpenThing(
        id=session_name(session.bearer_hash),
        kind="admin session" if session.scope == "admin" else "session",
        created_at=iso(session.created_ms or session.expires_ms - SESSION_MS),
        expires_at=iso(session.expires_ms),
        last_used_at=iso(session.used_ms) if session.used_ms else None,
        opened_from=session.opened_from,
        is_current=session.bearer_hash == asking.bearer_hash,
    )


def token_thing(token: Token) -> OpenThing:
    """A token that has not registered yet, as its wallet sees it."""
    life_ms = DELEGATION_MS if token.node_key else TOKEN_MS
    return OpenThing(
        id=token_name(token.nonce),
        kind="delegation" if token.node_key else "token",
        created_at=iso(token.expires_ms - life_ms),
        expires_at=iso(token.expires_ms),
        node_key=encode_address(token.node_key) if token.node_key else "",
    )


def node_thing(operations: Operations, ids: Ids, node: Node) -> OpenThing:
    """A node key that may open sessions, as its wallet sees it."""
    return OpenThing(
        id=ids.encode("node", node.id),
        kind="node key",
        created_at=iso(node.created_ms),
        expires_at=iso(node.key_expires_ms),
        last_used_at=node_view(operations, ids, node).last_heartbeat,
        node_key=encode_address(node.node_key),
    )


def last_seen_ms(operations: Operations, node: Node) -> int:
    """When the node was last heard, Unix ms: rows know it only now and then."""
    heard = operations.registry.heard_at(node.id)
    if heard is None:
        return node.last_heartbeat_ms
    age_ms = int((operations.clock.monotonic() - heard) * 1000)
    return max(node.last_heartbeat_ms, operations.clock.wall_ms() - age_ms)


def job_view(ids: Ids, job: Job, *, is_own: bool = False) -> JobView:
    """A job, as the seed's table shows it; more for who may know."""
    is_final = job.state in FINAL
    end_ms = job.finished_ms if is_final and job.assigned_ms else 0
    view = JobView(
        id=ids.encode("job", job.id),
        type="test" if job.submitter == HOUSE else job.kind,
        node_id=ids.encode("node", job.node) if job.node else None,
        status=job.state,
        duration=(end_ms - job.assigned_ms) / 1000 if end_ms else None,
        created_at=iso(job.created_ms),
        completed_at=iso(job.finished_ms) if is_final else None,
        attempts=job.fence,
    )
    if not is_own:
        return view
    spec = decode_spec(job.spec)
    return replace(
        view,
        key=job.key,
        queue_timeout=spec.limits.queue_s,
        execution_timeout=spec.limits.execution_s,
        total_timeout=spec.limits.total_s,
        retries=spec.retries,
        code=job.code,
        detail=job.detail,
        budget=format_hyper(job.budget),
        paid=format_hyper(job.paid),
        fee=format_hyper(job.fee),
    )


def wish_of(submission: Submission, rules: Rules) -> ev.Wish:
    """A submission, checked and priced.

    Raises:
        Refusal: the first that applies: `malformed` key, `bad_amount`, `bad_spec`, `unknown_kind`,
            `over_budget`.
    """
    if not 0 < len(submission.key) <= KEY_CHARS_MAX:
        raise Refusal("malformed", f"a key has 1 to {KEY_CHARS_MAX} characters")
    budget = parse_amount(submission.budget)
    raw = bytes(submission.spec)
    check_document(raw)
    task = task_of(raw)
    asked = quote_task(task, rules)
    check_budget(asked, budget)
    return ev.Wish(
        key=submission.key,
        kind=asked.kind,
        spec=raw,
        spec_hash=hash_spec(raw),
        budget=budget,
        price=0 if asked.is_timed else asked.price,
        blobs=blob_sizes(task.spec.inputs),
    )


def price_of(raw: bytes, rules: Rules, scheduler: Scheduler) -> Price:
    """What a specification would cost, or why it has no price."""
    try:
        task = task_of(raw)
        asked = quote_task(task, rules)
    except Refusal as refusal:
        return Price(code=refusal.code, error=short(refusal.sentence))
    return Price(
        kind=asked.kind,
        price=format_hyper(asked.price),
        flop=asked.flop,
        bytes=asked.bytes,
        agents=scheduler.able(demand_for(task.spec)),
    )


def output_message(outputs: Sequence[Output]) -> tuple[list[Array], bytes]:
    """Outputs as arrays of a message, and the data section that small ones ride in."""
    arrays, data = [], bytearray()
    for output in outputs:
        is_blob = bool(output.sha256)
        arrays.append(
            Array(
                dtype=output.dtype,
                shape=list(output.shape),
                bytes=output.size,
                offset=None if is_blob else len(data),
                sha256=output.sha256.hex() if is_blob else None,
            )
        )
        data += output.data
    return arrays, bytes(data)


def seed_result(job: int, fence: int, node: int, status: str, logs: str) -> ev.ResultArrived:
    """The event of a seed client's result: its log is the job's only output."""
    log = logs.encode()[:SEED_LOG_CHARS_MAX]
    is_completed = status in SEED_SUCCESS
    output = Output(job, fence, 0, "uint8", (len(log),), log, size=len(log))
    return ev.ResultArrived(
        job=job,
        fence=fence,
        node=node,
        is_completed=is_completed,
        code="" if is_completed else "agent_error",
        detail="" if is_completed else logs[-500:],
        outputs=(output,) if is_completed else (),
        root=output_root((log,)) if is_completed else b"",
    )


assert OUTPUTS_MAX * INLINE_ARRAY_BYTES_MAX < FRAME_BYTES_MAX, "a result fits one frame"
