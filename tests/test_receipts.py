from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st
from msgspec.structs import replace

from coordinator.protocol import receipts
from coordinator.protocol.errors import HypernodeError, ProtocolError, Refusal
from coordinator.protocol.receipts import Receipt, SignedRoot
from coordinator.protocol.signing import from_seed, verify
from onchain.merkle import EMPTY_ROOT, path_of

VECTOR = json.loads((Path(__file__).parent / "vectors" / "receipt.json").read_text())
COORDINATOR, NODE = from_seed(b"\x01" * 32), from_seed(b"\x02" * 32)
EXAMPLE = Receipt(
    job=0x0102030405060708, fence=3, coordinator_key=COORDINATOR.address, node_key=NODE.address,
    wallet=b"w" * 32, submitter=b"s" * 32, spec_hash=b"h" * 32, input_root=bytes(32),
    output_root=b"o" * 32, policy="sample", verdict="accepted", paid=9750, fee=250,
    cumulative=1_009_750, time_ms=1_795_507_200_123,
)  # fmt: skip

U64 = st.integers(0, 2**64 - 1)
HASH = st.binary(min_size=32, max_size=32)
RECEIPTS = st.builds(
    Receipt,
    job=U64, fence=st.integers(0, 2**32 - 1), coordinator_key=HASH, node_key=HASH, wallet=HASH,
    submitter=HASH, spec_hash=HASH, input_root=HASH, output_root=HASH,
    policy=st.sampled_from(sorted(receipts.POLICIES)),
    verdict=st.sampled_from(sorted(receipts.VERDICTS)),
    paid=st.integers(0, 2**32), fee=U64, cumulative=st.integers(2**32, 2**64 - 1),
    time_ms=st.integers(-(2**63), 2**63 - 1),
)  # fmt: skip


def signed_batch(packed: list[bytes], batch: int = 7) -> tuple[SignedRoot, list[list[bytes]]]:
    root, levels = receipts.build_batch(packed)
    text = receipts.coordinator_text(COORDINATOR.address, batch, len(packed), root)
    return SignedRoot(COORDINATOR.address, batch, len(packed), root, COORDINATOR.sign(text)), levels


def batch_of(count: int) -> list[bytes]:
    return [replace(EXAMPLE, job=job).pack() for job in range(1, count + 1)]


def test_the_layout_is_the_one_that_was_promised() -> None:
    assert EXAMPLE.pack().hex() == VECTOR["packed"]
    assert receipts.leaf_of(EXAMPLE.pack()).hex() == VECTOR["leaf"]
    root, _levels = receipts.build_batch(batch_of(3))
    assert root.hex() == VECTOR["root_of_jobs_1_to_3"]
    text = receipts.coordinator_text(COORDINATOR.address, 7, 3, root)
    assert COORDINATOR.sign(text).hex() == VECTOR["coordinator_signature_of_batch_7"]
    text = receipts.node_text(COORDINATOR.address, 7, 3, root)
    assert NODE.sign(text).hex() == VECTOR["node_signature_of_batch_7"]


def test_the_documented_table_is_the_layout() -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (receipts.__doc__ or "").splitlines()
        if line.startswith("|")
    ][2:]
    packed = EXAMPLE.pack()
    end = 0
    for offset, size, name, _meaning in rows:
        assert int(offset) == end
        end += int(size)
        raw, value = packed[int(offset) : end], getattr(EXAMPLE, name, receipts.VERSION)
        if isinstance(value, str):
            value = {**receipts.POLICIES, **receipts.VERDICTS}[value]
        assert raw == (value if isinstance(value, bytes) else value.to_bytes(int(size), "little"))

    assert end == receipts.RECEIPT_BYTES == len(packed)
    assert {name for _, _, name, _ in rows} - {"version"} == set(Receipt.__struct_fields__)


@given(RECEIPTS)
def test_a_receipt_survives_the_round_trip(receipt: Receipt) -> None:
    packed = receipt.pack()

    assert receipts.unpack(packed) == receipt
    assert receipts.unpack(packed).pack() == packed


@given(st.binary(min_size=271, max_size=271))
def test_bytes_are_a_receipt_of_those_very_bytes_or_malformed(data: bytes) -> None:
    data = b"\x01" + data[1:237] + bytes([data[237] % 3, data[238] % 4]) + data[239:]
    try:
        receipt = receipts.unpack(data)
    except ProtocolError:
        return
    assert receipt.pack() == data


PACKED = EXAMPLE.pack()


@pytest.mark.parametrize(
    "data",
    [
        b"", PACKED[:-1], PACKED + b"\0", b"\0" + PACKED[1:], b"\2" + PACKED[1:],
        PACKED[:237] + b"\xff" + PACKED[238:], PACKED[:238] + b"\0" + PACKED[239:],
        PACKED[:238] + b"\3" + PACKED[239:], PACKED[:239] + b"\xff" * 8 + PACKED[247:],
    ],
)  # fmt: skip
def test_what_is_not_exactly_the_layout_is_malformed(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="malformed"):
        receipts.unpack(data)


@pytest.mark.parametrize(
    "changes",
    [{"wallet": b"w" * 31}, {"wallet": b"w" * 33}, {"paid": 2**63}],
    ids=str,
)
def test_a_receipt_that_could_not_be_read_again_is_never_written(changes: dict[str, Any]) -> None:
    with pytest.raises(AssertionError):
        replace(EXAMPLE, **changes).pack()


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_each_receipt_of_a_batch_is_proven_by_its_path_and_by_no_other(count: int) -> None:
    packed = batch_of(count)
    signed, levels = signed_batch(packed)

    for index, data in enumerate(packed):
        path = path_of(levels, index)
        assert receipts.verify_receipt(data, index, path, signed).job == index + 1
        for wrong in (index + 1, index - 1):
            with pytest.raises(Refusal, match="bad_signature"):
                receipts.verify_receipt(data, wrong, path, signed)
        with pytest.raises(Refusal, match="bad_signature"):
            receipts.verify_receipt(data, index, [*path, bytes(32)], signed)
        with pytest.raises(Refusal, match="bad_signature"):
            receipts.verify_receipt(data[:-1] + b"\xff", index, path, signed)


@pytest.mark.parametrize(
    "changes",
    [
        {"coordinator_key": NODE.address},
        {"batch": 8},
        {"count": 4},
        {"root": bytes(32)},
        {"root": EMPTY_ROOT},
        {"signature": bytes(64)},
        {"signature": b""},
    ],
    ids=str,
)
def test_a_root_that_the_coordinator_did_not_sign_proves_nothing(changes: dict[str, Any]) -> None:
    packed = batch_of(3)
    signed, levels = signed_batch(packed)

    with pytest.raises(Refusal, match="bad_signature"):
        receipts.verify_receipt(packed[0], 0, path_of(levels, 0), replace(signed, **changes))


@given(st.integers(0, 271 * 8 - 1))
def test_no_receipt_with_a_flipped_bit_is_proven(bit: int) -> None:
    packed = batch_of(2)
    signed, levels = signed_batch(packed)
    raw = bytearray(packed[1])
    raw[bit // 8] ^= 1 << bit % 8

    with pytest.raises(Refusal, match="bad_signature"):
        receipts.verify_receipt(bytes(raw), 1, path_of(levels, 1), signed)


def test_a_receipt_that_names_another_coordinator_is_refused() -> None:
    packed = [replace(EXAMPLE, coordinator_key=NODE.address).pack()]
    signed, _levels = signed_batch(packed)

    with pytest.raises(Refusal, match="another coordinator"):
        receipts.verify_receipt(packed[0], 0, [], signed)


def test_neither_end_can_sign_for_the_other() -> None:
    arguments = (COORDINATOR.address, 7, 3, bytes(32))
    theirs, ours = receipts.coordinator_text(*arguments), receipts.node_text(*arguments)

    assert theirs != ours
    with pytest.raises(Refusal, match="bad_signature"):
        verify(COORDINATOR.address, theirs, COORDINATOR.sign(ours))


def test_a_nodes_receipts_travel_without_the_others() -> None:
    packed = batch_of(5)
    signed, _levels = signed_batch(packed)

    message = receipts.to_wire(signed, packed, [1, 4])

    assert receipts.from_wire(message, COORDINATOR.address) == (
        signed,
        [receipts.unpack(packed[1]), receipts.unpack(packed[4])],
    )
    with pytest.raises(Refusal, match="bad_signature"):
        receipts.from_wire(message, NODE.address)


def test_a_message_of_receipts_is_refused_if_any_part_is_wrong() -> None:
    packed = batch_of(5)
    signed, _levels = signed_batch(packed)
    message = receipts.to_wire(signed, packed, [1, 4])
    item = message.receipts[0]

    for broken in (
        replace(message, signature="A"),
        replace(message, signature="é"),
        replace(message, count=4),
        replace(message, receipts=[replace(item, receipt="zz")]),
        replace(message, receipts=[replace(item, receipt="")]),
        replace(message, receipts=[replace(item, index=2)]),
        replace(message, receipts=[replace(item, path=[])]),
        replace(message, receipts=[replace(item, receipt=packed[0].hex())]),
        replace(message, count=2**53 - 1),
    ):
        with pytest.raises(HypernodeError, match=r"bad_signature|malformed"):
            receipts.from_wire(broken, COORDINATOR.address)
