"""An API that answers what a test expects: no engine, no store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NoReturn

import msgspec

from coordinator.protocol.errors import Refusal
from coordinator.protocol.messages import (
    Array,
    JobOutput,
    JobUpdate,
    Price,
    Submission,
    SubmissionAnswer,
)
from coordinator.protocol.signin import Fields
from coordinator.revocation import Tally
from coordinator.store.values import Session
from coordinator.uploads import Part
from coordinator.views import (
    AccountView,
    Challenged,
    DrainRequest,
    FaucetRequest,
    IssuedToken,
    JobView,
    LogView,
    NodeView,
    OpenedSession,
    OpenThing,
    ReportRequest,
)

WALLET = "So11111111111111111111111111111111111111112"
JOB = "job-1-0123456789abcdef"
NODE = "node-1-0123456789abcdef"

NODE_VIEW = NodeView(
    id=NODE,
    hostname="rig",
    gpu="H100",
    status="online",
    last_heartbeat="2026-11-24T08:00:00.000Z",
    earned=msgspec.Raw(b"9007199254740993.000001"),
)
JOB_VIEW = JobView(
    id=JOB,
    type="matmul",
    node_id=NODE,
    status="completed",
    duration=1.5,
    created_at="2026-11-24T08:00:00.000Z",
    completed_at=None,
)
ACCOUNT = AccountView(
    wallet=WALLET,
    credit="10",
    held="0",
    earned_total="0",
    withheld="0",
    earned="0",
    earned_last_day="0",
    paid_jobs=0,
)


def session_of(scope: str) -> Session:
    return Session(b"h", scope, bytes(32), 1 if scope == "node" else 0, 2**52)


#: The log of the one job, told four characters at a time.
LOG = "line 1\nline 2\n"


class NoSettlement:
    """A house that settles on no chain; one that does: `test_settlement_http`."""

    async def settlement(self) -> NoReturn:
        raise Refusal("no_chain")

    async def voucher(self, wallet: str) -> NoReturn:
        raise Refusal("no_chain")

    async def settle_now(self, session: Session, anew: int = 0) -> NoReturn:
        raise Refusal("no_chain")

    async def epochs(self, before: int | None = None) -> NoReturn:
        raise Refusal("no_chain")

    async def epoch(self, number: int) -> NoReturn:
        raise Refusal("no_chain")

    async def leaf_file(self, number: int) -> NoReturn:
        raise Refusal("no_chain")

    async def withdrawals_in(self, number: int, after: int) -> NoReturn:
        raise Refusal("no_chain")

    async def proof(self, wallet: str) -> NoReturn:
        raise Refusal("no_chain")

    async def withdraw(self, session: Session, request: object) -> NoReturn:
        raise Refusal("no_chain")

    async def withdrawals(self, session: Session) -> NoReturn:
        raise Refusal("no_chain")

    def chain_name(self) -> str:
        return ""

    def action_rules(self) -> NoReturn:
        raise Refusal("no_chain")

    async def claim_action(self, wallet: str = "") -> NoReturn:
        raise Refusal("no_chain")

    async def offer_claim(self, wallet: str) -> NoReturn:
        raise Refusal("no_chain")

    async def accept_claim(self, claim: str, transaction: str) -> NoReturn:
        raise Refusal("no_chain")

    async def sponsored_claim(self, claim: str) -> NoReturn:
        raise Refusal("no_chain")

    async def claim_transaction(self, account: str, wallet: str = "") -> NoReturn:
        raise Refusal("no_chain")


class FakeApi(NoSettlement):
    """Bearers are the names of scopes; what was asked is kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[object] = []
        self.output = (JobOutput(id=JOB), b"")

    async def challenge(self, wallet: str, *, scope: str, node: str = "") -> Challenged:
        self.asked.append((wallet, scope, node))
        return Challenged("text", Fields(domain="d", address=wallet), "nonce", "2026")

    async def issue_token(
        self, wallet: str, nonce: str, signature: str, transaction: str = ""
    ) -> IssuedToken:
        if transaction:
            return IssuedToken(f"hy1t.{transaction}", "2026")
        if signature == "bad":
            raise Refusal("bad_signature")
        return IssuedToken(f"hy1.{wallet}.{nonce}", "2026")

    async def open_session(
        self, wallet: str, nonce: str, signature: str, transaction: str = "", *, peer: str = ""
    ) -> OpenedSession:
        return OpenedSession("bearer", "wallet", wallet, "2026")

    def is_admin(self, session: Session) -> bool:
        return session.scope == "admin"

    async def session(self, bearer: str) -> Session:
        if bearer not in {"wallet", "admin", "node"}:
            raise Refusal("session_expired" if bearer == "old" else "unauthenticated")
        return session_of(bearer)

    async def close_session(self, bearer: str) -> None:
        self.asked.append(bearer)

    async def open_things(self, session: Session, wallet: str = "") -> list[OpenThing]:
        self.asked.append((session.scope, wallet))
        return [OpenThing("session-0123456789abcdef", "session", "2026", "2026")]

    async def revoke(self, session: Session, name: str, wallet: str = "") -> None:
        self.asked.append((session.scope, name, wallet))

    async def revoke_all(
        self, session: Session, wallet: str = "", *, with_nodes: bool = False
    ) -> Tally:
        self.asked.append((session.scope, wallet, with_nodes))
        return Tally(3, 2, 1)

    async def nodes_mine(self, wallet: str) -> list[NodeView]:
        return [NODE_VIEW]

    async def jobs_mine(self, wallet: str) -> list[JobView]:
        return [JOB_VIEW]

    async def node(self, node: str) -> NodeView:
        if node != NODE:
            raise Refusal("not_found")
        return NODE_VIEW

    async def job(self, job: str, session: Session | None) -> JobView:
        if job == "fail":
            msg = f"secret of {job}"
            raise ValueError(msg)
        return msgspec.structs.replace(JOB_VIEW, key="mine" if session else "")

    async def all_nodes(self, session: Session) -> list[NodeView]:
        if session.scope != "admin":
            raise Refusal("forbidden")
        return [NODE_VIEW]

    async def drain_node(self, session: Session, node: str, request: DrainRequest) -> NodeView:
        if session.scope != "admin":
            raise Refusal("forbidden")
        self.asked.append(request)
        until = msgspec.structs.replace(NODE_VIEW, drained_until="2026")
        return msgspec.structs.replace(until, drain_reason=request.reason)

    async def undrain_node(self, session: Session, node: str) -> NodeView:
        if session.scope != "admin":
            raise Refusal("forbidden")
        return await self.node(node)

    async def jobs(self, session: Session) -> list[JobView]:
        return [JOB_VIEW]

    async def quarantined(self, session: Session) -> list[JobView]:
        if session.scope != "admin":
            raise Refusal("forbidden")
        return [msgspec.structs.replace(JOB_VIEW, code="quarantined")]

    async def report(self, session: Session, request: ReportRequest) -> None:
        if session.scope != "node":
            raise Refusal("forbidden")
        self.asked.append(request)

    async def submit(self, session: Session, jobs: Sequence[Submission]) -> list[SubmissionAnswer]:
        self.asked.append([bytes(job.spec) for job in jobs])
        return [SubmissionAnswer(job.key, id=JOB) for job in jobs]

    async def cancel(self, session: Session, ids: Sequence[str]) -> list[JobUpdate]:
        if ids == ["late"]:
            return [JobUpdate("late", "completed", code="too_late")]
        return [JobUpdate(id_, "cancelled") for id_ in ids]

    async def quote(self, specs: Sequence[bytes]) -> list[Price]:
        self.asked.append(list(specs))
        return [Price(kind="matmul", price="0.1") for _ in specs]

    async def result(self, session: Session, job: str) -> tuple[JobOutput, bytes]:
        return self.output

    async def logs(
        self,
        session: Session,
        job: str,
        *,
        offset: int = 0,
        attempt: int = 0,
        wait_s: float = 0.0,
    ) -> LogView:
        if job != JOB:
            raise Refusal("not_found")
        self.asked.append((offset, attempt, wait_s))
        text = LOG[offset : offset + 4]
        end = offset + len(text)
        return LogView("running", 1, offset, text, end, 0.5, is_final=end == len(LOG))

    async def account(self, session: Session) -> AccountView:
        return ACCOUNT

    async def faucet(self, session: Session, request: FaucetRequest) -> AccountView:
        return msgspec.structs.replace(ACCOUNT, credit=request.amount)

    async def put_blob(
        self, session: Session, sha256_: str, body: AsyncIterator[bytes], length: int | None
    ) -> None:
        data = b"".join([piece async for piece in body])
        if sha256(data).hexdigest() != sha256_:
            raise Refusal("blob_mismatch")
        (self.folder / sha256_).write_bytes(data)

    async def blob(self, session: Session, sha256_: str) -> tuple[Path, int]:
        file = self.folder / sha256_
        if not file.exists():
            raise Refusal("not_found")
        return file, file.stat().st_size

    async def append_upload(
        self, session: Session, sha256_: str, part: Part, body: AsyncIterator[bytes]
    ) -> int:
        return part.offset + sum([len(piece) async for piece in body])

    async def upload(self, session: Session, sha256_: str) -> tuple[int, int]:
        return 5, 10

    async def drop_upload(self, session: Session, sha256_: str) -> None: ...

    async def input(self, session: Session, job: str, name: str) -> tuple[Path, int]:
        if (job, name) != (JOB, "a"):
            raise Refusal("not_found")
        file = self.folder / "input"
        file.write_bytes(b"input of a job")
        return file, 14

    def counts(self) -> Mapping[str, int]:
        return {"agents": 3}


INLINE = (
    JobOutput(id=JOB, outputs=[Array("float32", [2], 8, offset=0)]),
    b"\x00\x00\x80\x3f\x00\x00\x00\x40",
)
