"""Values, money and lives for the tests of any store.

In:   a store. Out: rows as the engine would write them, books included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256

from msgspec.structs import replace

from coordinator.store.chain import FIRST_LINK, link_of
from coordinator.store.interface import Batch, Store
from coordinator.store.values import (
    Account,
    Attempt,
    AttemptState,
    Bucket,
    Challenge,
    Job,
    JobState,
    LedgerBatch,
    Node,
    Output,
    Receipt,
    ReceiptRoot,
    Transfer,
    TransferKind,
)
from onchain.address import encode_address

ALICE = bytes([1]) * 32
BOB = bytes([2]) * 32
OPERATOR = bytes([3]) * 32
DAY_MS = 24 * 3_600_000
NOW_MS = 1_800_000_000_000


class House:
    """One store and the way to open it again."""

    def __init__(self, open_store: Callable[[], Store], *, can_reopen: bool = True) -> None:
        self._open_store = open_store
        self.can_reopen = can_reopen
        self.store = open_store()

    def reopen(self) -> Store:
        """Close the store and open what it left behind."""
        self.store.close()
        self.store = self._open_store()
        return self.store


def a_job(number: int, submitter: bytes = ALICE, **changes: object) -> Job:
    spec = b'{"kind":"sorting","params":{"seed":%d}}' % number
    job = Job(
        id=number,
        submitter=submitter,
        key=f"key-{number}",
        kind="sorting",
        spec=spec,
        spec_hash=sha256(spec).digest(),
        budget=1_000,
        price=900,
        state=JobState.QUEUED,
        created_ms=NOW_MS,
    )
    return replace(job, **changes)


def a_node(number: int, wallet: bytes = OPERATOR, **changes: object) -> Node:
    node = Node(
        id=number,
        wallet=wallet,
        node_key=number.to_bytes(32, "little"),
        key_expires_ms=NOW_MS + DAY_MS,
        hostname="host",
        gpu="a GPU",
        os="linux",
        created_ms=NOW_MS,
        last_heartbeat_ms=NOW_MS,
    )
    return replace(node, **changes)


def a_challenge(nonce: str, wallet: bytes = ALICE, sign_by_ms: int = NOW_MS) -> Challenge:
    return Challenge(nonce, wallet, "token", b"", f"sign {nonce}", sign_by_ms, NOW_MS + DAY_MS)


def post(batch: Batch, transfers: Sequence[Transfer]) -> None:
    """Apply transfers to their accounts and add one link of the chain."""
    accounts: dict[str, Account] = {}
    for each in transfers:
        debit = accounts.get(each.debit) or batch.account(each.debit)
        accounts[each.debit] = replace(debit, debits=debit.debits + each.amount)
        credit = accounts.get(each.credit) or batch.account(each.credit)
        accounts[each.credit] = replace(credit, credits=credit.credits + each.amount)
    for account in accounts.values():
        batch.save_account(account)
    last = batch.last_ledger_batch()
    number, previous = (last.number + 1, last.link) if last else (1, FIRST_LINK)
    link = link_of(previous, number, transfers)
    batch.add_transfers(transfers, LedgerBatch(number, previous, link, NOW_MS, len(transfers)))


def hold_account(wallet: bytes) -> str:
    return f"hold:{encode_address(wallet)}"


def submit(batch: Batch, submitter: bytes = ALICE, **changes: object) -> tuple[Job, Transfer]:
    """Add a job with its hold; the transfer is still to be posted."""
    job = a_job(batch.next_job_id(), submitter, **changes)
    batch.add_job(job)
    source = f"credit:{encode_address(submitter)}"
    target = hold_account(submitter)
    return job, Transfer(TransferKind.HOLD, job.id, source, target, job.budget)


def submitted(store: Store, count: int = 1, submitter: bytes = ALICE) -> list[Job]:
    """Jobs that were submitted in a batch of their own, money included."""
    with store.batch() as batch:
        pairs = [submit(batch, submitter) for _ in range(count)]
        post(batch, [transfer for _, transfer in pairs])
    return [job for job, _ in pairs]


def assigned(job: Job, node: int, fence: int = 1) -> Job:
    return replace(job, state=JobState.ASSIGNED, node=node, fence=fence, assigned_ms=NOW_MS)


def live(store: Store, job: Job, node: Node) -> Job:
    """Carry a submitted job through assignment, result and payment, a batch a step."""
    paid, fee = 878, 22
    with store.batch() as batch:
        out = assigned(job, node.id)
        assert batch.save_job(out, was=job)
        batch.add_attempt(Attempt(job.id, 1, node.id, AttemptState.OPEN, NOW_MS))
    with store.batch() as batch:
        verifying = replace(out, state=JobState.VERIFYING)
        assert batch.save_job(verifying, was=out)
        batch.add_outputs([Output(job.id, 1, 0, "<f4", (2, 3), bytes(24), b"", 24)])
    with store.batch() as batch:
        done = replace(
            verifying, state=JobState.COMPLETED, paid=paid + fee, fee=fee, finished_ms=NOW_MS
        )
        assert batch.save_job(done, was=verifying)
        batch.save_attempt(Attempt(job.id, 1, node.id, AttemptState.ACCEPTED, NOW_MS, NOW_MS + 5))
        held = hold_account(job.submitter)
        withheld = f"withheld:{encode_address(node.wallet)}"
        credit = f"credit:{encode_address(job.submitter)}"
        post(
            batch,
            [
                Transfer(TransferKind.PAY, job.id, held, withheld, paid),
                Transfer(TransferKind.FEE, job.id, held, "fees", fee),
                Transfer(TransferKind.RETURN, job.id, held, credit, 100),
            ],
        )
        batch.add_earned(node.id, paid)
        batch.add_cumulative(node.wallet, paid)
        batch.add_to_bucket(Bucket(node.wallet, NOW_MS // 3_600_000, paid, NOW_MS + DAY_MS))
        number = batch.next_receipt_batch()
        root = ReceiptRoot(number, 1, bytes(32), bytes(64), NOW_MS)
        batch.add_receipts(root, [Receipt(job.id, 1, node.id, node.wallet, number, 0, b"receipt")])
    return done


def added_node(store: Store, wallet: bytes = OPERATOR) -> Node:
    with store.batch() as batch:
        node = a_node(batch.next_node_id(), wallet)
        batch.add_node(node)
    return node
