"""How money follows a job: holds, posts, voids, receipts, and the release of what was withheld.

Every function moves money and notes it in the same transaction as the job's own change.
`close_batch` ends the batch: accounts saved, one link of the chain, one signed tree of receipts.
Not here: which transfers (ledger), what a job costs (pricing).
"""

from __future__ import annotations

from hashlib import sha256

from coordinator import events as ev, ledger
from coordinator.jobs import FINAL
from coordinator.limits import BATCH_EVENTS_MAX
from coordinator.pricing import fee_of
from coordinator.protocol.errors import Refusal
from coordinator.protocol.messages import tag_of
from coordinator.protocol.receipts import Receipt, build_batch, coordinator_text
from coordinator.protocol.spec import decode_spec
from coordinator.store.chain import FIRST_LINK, link_of
from coordinator.store.values import (
    Bucket,
    Job,
    LedgerBatch,
    Node,
    Receipt as StoredReceipt,
    ReceiptRoot,
    TransferKind,
)
from coordinator.verification.verdict import policy_of
from coordinator.work import Work
from coordinator.workloads.catalogue import get
from onchain.amounts import AMOUNT_MAX


def hold_budget(work: Work, job: Job) -> None:
    """Reserve the job's budget.

    Raises:
        Refusal: `insufficient_credit`.
    """
    work.books.post(ledger.hold(job.id, job.submitter, job.budget))


def _take_hold(job: Job) -> int:
    """What is held for a job that is about to end: its budget, until its row says that it ended."""
    assert job.state not in FINAL, "a hold is resolved once"
    return job.budget


def void_hold(work: Work, job: Job) -> None:
    """Return the whole budget."""
    held = _take_hold(job)
    if held:
        work.books.post(ledger.resolve(job.id, job.submitter, held, (), 0))


def settle_hold(work: Work, job: Job, *, price: int, root: bytes, verdict: str) -> int:
    """Pay the price to the job's operator, less the fee, and return the rest of the hold.

    Returns:
        The fee, base units.
    """
    held = _take_hold(job)
    if not price:
        assert not held, "a job with a budget has a price"
        return 0
    fee = fee_of(price, work.rules)
    node = work.batch.node(job.node)
    assert node is not None, "an attempt names its node"
    pay = price - fee
    work.books.post(ledger.resolve(job.id, job.submitter, held, ((node.wallet, pay),), fee))
    if pay:
        _withhold(work, node.wallet, pay)
        work.earned[node.id] = work.earned.get(node.id, 0) + pay
        work.batch.add_cumulative(node.wallet, pay)
    _note_receipt(work, job, node, root, verdict, (pay, fee))
    return fee


def _withhold(work: Work, wallet: bytes, amount: int) -> None:
    hour = work.now_ms // ledger.HOUR_MS
    window_ms = work.rules.withhold_ms
    release_ms = (hour + 1) * ledger.HOUR_MS + window_ms if window_ms else work.now_ms
    work.batch.add_to_bucket(Bucket(wallet, hour, amount, release_ms))


def _note_receipt(
    work: Work, job: Job, node: Node, root: bytes, verdict: str, money: tuple[int, int]
) -> None:
    paid, fee = money
    policy = policy_of(decode_spec(job.spec), get(job.kind))
    receipt = Receipt(
        job=job.id,
        fence=job.fence,
        node_key=node.node_key or bytes(32),
        wallet=node.wallet,
        submitter=job.submitter,
        spec_hash=job.spec_hash,
        input_root=bytes(32),
        output_root=root,
        policy=tag_of(type(policy)),
        verdict=verdict,
        paid=paid,
        fee=fee,
        cumulative=work.batch.cumulative_of(node.wallet),
        time_ms=work.now_ms,
        coordinator_key=work.house.keypair.address,
    )
    work.receipts.append((job.node, receipt))


def grant_for_test(work: Work, seconds: int, day: int) -> int:
    """What a test job of so many seconds may earn now: 0 past the daily cap or the treasury."""
    wanted = work.rules.command_price_per_s * seconds
    left = work.rules.test_pay_daily - work.batch.paid_to_tests(day)
    treasury = work.books.account(ledger.TREASURY).balance
    return wanted if wanted <= min(left, treasury) else 0


def release_due(work: Work, _event: ev.ReleaseDue) -> int:
    """Move buckets whose window is past to `earned`."""
    due = work.batch.due_buckets(work.now_ms, BATCH_EVENTS_MAX)
    number = _next_number(work)
    # A second release in the same batch goes on counting: a transfer's name is used once.
    before = sum(transfer.kind is TransferKind.RELEASE for transfer in work.books.journal)
    for sequence, bucket in enumerate(due, before):
        work.books.post(ledger.release(bucket.wallet, bucket.amount, number, sequence))
        work.batch.drop_bucket(bucket.wallet, bucket.hour)
    return len(due)


def give(work: Work, event: ev.FaucetAsked) -> None:
    """The development faucet: once per wallet and key."""
    if not work.rules.faucet or work.house.on_chain is not None:
        raise Refusal("faucet_off")
    digest = sha256(b"faucet\x00" + event.wallet + event.key.encode()).digest()
    reference = int.from_bytes(digest[:8], "little") >> 1
    transfers = ledger.faucet(event.wallet, event.amount, reference)
    names = {(each.kind, each.reference) for each in work.books.journal}
    if work.batch.has_transfer(transfers[0]) or (TransferKind.FAUCET, reference) in names:
        return
    if work.books.account(ledger.FAUCET).debits + event.amount > AMOUNT_MAX // 2:
        raise Refusal("bad_amount", "the faucet has given as much as the books can count")
    work.books.post(transfers)


def counter_sign(work: Work, event: ev.CounterSigned) -> None:
    for signature in event.signatures:
        work.batch.add_counter_signature(signature)


def _next_number(work: Work) -> int:
    last = work.batch.last_ledger_batch()
    return last.number + 1 if last else 1


def close_batch(work: Work) -> None:
    """Save what the batch did to the books, and sign its receipts."""
    if work.books.journal:
        last = work.batch.last_ledger_batch()
        number, previous = (last.number + 1, last.link) if last else (1, FIRST_LINK)
        journal = tuple(work.books.journal)
        link = link_of(previous, number, journal)
        for account in work.books.accounts.values():
            work.batch.save_account(account)
        work.batch.add_transfers(
            journal, LedgerBatch(number, previous, link, work.now_ms, len(journal))
        )
    for node, amount in work.earned.items():
        work.batch.add_earned(node, amount)
    if work.receipts:
        _sign_receipts(work)


def _sign_receipts(work: Work) -> None:
    number = work.batch.next_receipt_batch()
    packed = [receipt.pack() for _, receipt in work.receipts]
    root, levels = build_batch(packed)
    keypair = work.house.keypair
    text = coordinator_text(keypair.address, number, len(packed), root)
    signed = ReceiptRoot(number, len(packed), root, keypair.sign(text), work.now_ms)
    receipts = tuple(
        StoredReceipt(
            job=receipt.job,
            fence=receipt.fence,
            node=node,
            wallet=receipt.wallet,
            batch=number,
            index=index,
            data=data,
        )
        for index, ((node, receipt), data) in enumerate(zip(work.receipts, packed, strict=True))
    )
    work.batch.add_receipts(signed, receipts)
    work.order_first(ev.ReceiptsReady(signed, receipts, levels))
