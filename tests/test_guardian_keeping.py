"""What a guardian keeps of what agents send: each receipt once, and nothing that does not hold."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from coordinator.evidence_limits import GUARDIAN_BAD_LINES_MAX
from coordinator.protocol.base64url import encode_base64url
from coordinator.protocol.countersigning import Seen, sign_seen
from coordinator.protocol.messages import ReceiptBatch, ReceiptsSigned
from coordinator.protocol.receipts import SignedRoot, build_batch, coordinator_text, to_wire
from coordinator.protocol.signing import Keypair
from hypernode.guardian import keeping
from hypernode.guardian.evidence import read_evidence
from hypernode.guardian.keeping import ReceiptStore, StoreFull, Taken
from tests.fakes.scripted_coordinator import HOUSE, NODE, STRANGER, WALLET
from tests.test_earnings import receipt, wired


def batch(number: int = 1, jobs: range = range(1, 4), house: Keypair = HOUSE) -> ReceiptBatch:
    packed = [receipt(job).pack() for job in jobs]
    root, _levels = build_batch(packed)
    signature = house.sign(coordinator_text(house.address, number, len(packed), root))
    signed = SignedRoot(house.address, number, len(packed), root, signature)
    return to_wire(signed, packed, range(len(packed)))


def signature(*batches: ReceiptBatch, node: Keypair = NODE) -> ReceiptsSigned:
    seen = [Seen(each.batch, each.count, bytes.fromhex(each.root)) for each in batches]
    first, *others = [each.batch for each in batches]
    return ReceiptsSigned(first, encode_base64url(sign_seen(node, HOUSE.address, seen)), others)


def lines(*messages: ReceiptBatch | ReceiptsSigned) -> bytes:
    return b"".join(msgspec.json.encode(each) + b"\n" for each in messages)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "receipts"
    path.mkdir()
    return path


@pytest.fixture
def store(folder: Path) -> ReceiptStore:
    return ReceiptStore(folder, HOUSE.address)


def taken(store: ReceiptStore, body: bytes) -> tuple[int, int, int]:
    """New, kept, refused; all of it was read."""
    found = store.take(NODE.address, body)
    assert found.read == len(body)
    return found.new, found.kept, found.refused


def test_what_an_agent_sends_is_two_sided_evidence(store: ReceiptStore, folder: Path) -> None:
    first, second = batch(1), batch(2, range(4, 6))
    body = b"\n" + lines(first, second, signature(first, second))

    assert taken(store, body) == (5, 5, 0)
    evidence = read_evidence(folder, HOUSE.address)
    assert evidence.two_sided == {WALLET.address: 50}
    assert not evidence.one_sided
    assert evidence.unreadable == 0
    assert store.size == sum(path.stat().st_size for path in folder.iterdir())


def test_each_receipt_is_kept_once_in_whatever_words_it_comes_again(store: ReceiptStore) -> None:
    whole = batch(1)
    parts = [msgspec.structs.replace(whole, receipts=[each]) for each in whole.receipts]
    spaced = msgspec.json.format(msgspec.json.encode(whole), indent=0).replace(b"\n", b" ") + b"\n"
    both = signature(whole)
    taken(store, lines(parts[0], both))
    size = store.size

    assert taken(store, lines(parts[0], both, both) + lines(parts[0])) == (0, 1, 0)
    assert store.size == size
    assert taken(store, lines(whole)) == (2, 3, 0)
    size = store.size
    assert taken(store, spaced + lines(*reversed(parts), both)) == (0, 3, 0)
    assert store.size == size


WRONG: dict[str, Any] = {
    "no JSON": b"hello\n",
    "half a line": lines(batch(1))[:200] + b"\n",
    "another coordinator's": lines(batch(1, house=STRANGER)),
    "a root that nobody signed": lines(msgspec.structs.replace(batch(1), root="00" * 32)),
    "a signature of another batch": lines(msgspec.structs.replace(batch(1), batch=2)),
    "a receipt of another place": lines(
        msgspec.structs.replace(
            batch(1),
            receipts=[msgspec.structs.replace(batch(1).receipts[0], index=1)],
        )
    ),
    "a receipt that was changed": lines(batch(1)).replace(b'"receipt":"01', b'"receipt":"02', 1),
    "a signature of batches that are not here": lines(signature(batch(1))),
    "a node's signature that is none": lines(ReceiptsSigned(9, "AAAA")),
}


@pytest.mark.parametrize("body", WRONG.values(), ids=WRONG)
def test_what_does_not_hold_is_not_kept(store: ReceiptStore, folder: Path, body: bytes) -> None:
    assert taken(store, body) == (0, 0, 1)
    assert list(folder.iterdir()) == []


def test_receipts_of_another_node_and_its_signature_are_refused(store: ReceiptStore) -> None:
    body = lines(batch(1), signature(batch(1)))
    assert store.take(STRANGER.address, body) == Taken(len(body), 0, 0, 2)
    assert taken(store, lines(batch(1), signature(batch(1), node=STRANGER))) == (3, 3, 1)


def test_a_second_root_of_a_batch_is_refused(store: ReceiptStore) -> None:
    other = batch(1, range(7, 11))
    assert taken(store, lines(batch(1))) == (3, 3, 0)
    assert taken(store, lines(other)) == (0, 3, 1)


def test_many_lines_that_do_not_hold_leave_the_rest_for_the_next_post(
    store: ReceiptStore,
) -> None:
    body = b"no line\n" * (GUARDIAN_BAD_LINES_MAX + 3) + lines(batch(1))
    first = store.take(NODE.address, body)

    assert first == Taken(len(b"no line\n") * GUARDIAN_BAD_LINES_MAX, 0, 0, GUARDIAN_BAD_LINES_MAX)
    assert taken(store, body[first.read :]) == (3, 3, 3)


@pytest.mark.parametrize("limit", ["node_bytes_max", "bytes_max"])
def test_a_full_store_says_so_and_keeps_what_it_has(folder: Path, limit: str) -> None:
    first, second = lines(batch(1)), lines(batch(2, range(4, 9)))
    store = ReceiptStore(folder, HOUSE.address, **{limit: len(first) + 10})
    assert taken(store, first) == (3, 3, 0)

    with pytest.raises(StoreFull):
        store.take(NODE.address, second)
    assert taken(store, first) == (0, 3, 0)
    assert store.size == len(first)


def test_one_node_too_many_is_refused(
    store: ReceiptStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "GUARDIAN_NODES_MAX", 0)
    with pytest.raises(StoreFull):
        store.take(NODE.address, lines(batch(1)))
    assert list(folder.iterdir()) == []


def test_after_a_restart_and_half_a_line_everything_is_as_it_was(
    store: ReceiptStore, folder: Path
) -> None:
    body = lines(batch(1), signature(batch(1)))
    taken(store, body)
    (path,) = folder.iterdir()
    with path.open("ab") as file:
        file.write(lines(batch(2))[:150])
    again = ReceiptStore(folder, HOUSE.address)

    assert taken(again, body) == (0, 3, 0)
    assert taken(again, lines(batch(2, range(4, 6)))) == (2, 5, 0)
    evidence = read_evidence(folder, HOUSE.address)
    assert (evidence.two_sided[WALLET.address], evidence.one_sided[WALLET.address]) == (30, 20)
    assert evidence.unreadable == 1


def test_a_disk_that_fails_keeps_nothing_of_a_post(
    store: ReceiptStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken(store, lines(batch(1)))
    (path,) = folder.iterdir()
    before = path.read_bytes()

    def fail(_handle: int) -> None:
        raise OSError(28, "no space")

    with monkeypatch.context() as full:
        full.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="no space"):
            store.take(NODE.address, lines(batch(2, range(4, 6))))

    assert path.read_bytes() == before
    assert taken(store, lines(batch(2, range(4, 6)))) == (2, 5, 0)


def test_wired_is_what_this_file_signs() -> None:
    assert wired(1, [receipt(job) for job in range(1, 4)]) == batch(1)
