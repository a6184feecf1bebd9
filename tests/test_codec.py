"""Frames: what was sent is what arrives, and every bad input is refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, strategies as st

from coordinator.limits import FRAME_BYTES_MAX, FRAME_BYTES_MAX_BEFORE_AUTH, JSON_DEPTH_MAX
from coordinator.protocol import messages as m
from coordinator.protocol.codec import (
    Decoder,
    _count_depth,
    _is_plainly_shallow,
    agent_decoder,
    coordinator_decoder,
    encode,
    submitter_decoder,
)
from coordinator.protocol.errors import ProtocolError

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
IDS = st.text("abcdef0123456789-", min_size=1, max_size=40)
COUNTS = st.integers(0, 2**53 - 1)
HEX32 = st.binary(min_size=32, max_size=32).map(bytes.hex)
ARRAYS = st.builds(
    m.Array,
    dtype=st.sampled_from(("uint8", "float64")),
    shape=st.lists(COUNTS, max_size=8),
    bytes=st.integers(0, 2**20),
    offset=st.none() | COUNTS,
    sha256=st.none() | HEX32,
)
SENT_TO_COORDINATOR = st.one_of(
    st.builds(m.Register, token=TEXT, host_info=st.builds(m.HostInfo, hostname=TEXT, os=TEXT)),
    st.builds(m.JobResult, id=IDS, status=TEXT, logs=TEXT),
    st.builds(
        m.Resume,
        attempts=st.lists(st.builds(m.Attempt, job=IDS, fence=COUNTS), max_size=5),
        papers=st.none()
        | st.builds(
            m.PapersKept, epoch=COUNTS, vouched=IDS, vouched_until=COUNTS, key_epoch=COUNTS
        ),
    ),
    st.builds(
        m.Results,
        results=st.lists(
            st.builds(
                m.ResultItem,
                job=IDS,
                fence=COUNTS,
                status=st.sampled_from(("completed", "failed")),
                detail=TEXT,
                outputs=st.lists(ARRAYS, max_size=3),
                root=st.none() | HEX32,
            ),
            max_size=3,
        ),
    ),
    st.builds(m.ReceiptsSigned, batch=COUNTS, signature=IDS),
)
WALLETS = st.text("123456789abcdefg", min_size=32, max_size=44)
PROOFS = st.builds(
    m.EarningsProof, ledger=WALLETS, wallet=WALLETS, epoch=COUNTS, root=HEX32, leaf_count=COUNTS,
    index=COUNTS, lifetime=IDS, path=st.lists(HEX32, max_size=32),
)  # fmt: skip
TO_AGENT = st.one_of(
    st.builds(m.Papers, proof=st.none() | PROOFS, voucher=IDS),
    st.builds(m.Ack, message=TEXT),
    st.builds(m.Job, id=IDS, command=TEXT),
    st.builds(m.Drain, seconds=COUNTS),
    st.builds(m.Error, message=TEXT, code=IDS, ref=COUNTS),
)
TO_SUBMITTER = st.one_of(
    st.builds(m.JobOutput, id=IDS, outputs=st.lists(ARRAYS, max_size=3)),
    st.builds(
        m.Update, jobs=st.lists(st.builds(m.JobUpdate, id=IDS, state=IDS, detail=TEXT), max_size=3)
    ),
)


def decode(frame: str | bytes, **how: Any) -> tuple[m.ToCoordinator, memoryview]:
    return coordinator_decoder.decode(frame, **how)


def refusal_of(frame: str | bytes, **how: Any) -> str:
    with pytest.raises(ProtocolError) as caught:
        decode(frame, **how)
    assert len(caught.value.sentence) <= 500
    return caught.value.code


def binary(header: bytes, data: bytes = b"x") -> bytes:
    return len(header).to_bytes(4, "little") + header + data


# ---- what was sent is what arrives ------------------------------------------------------------


@pytest.mark.parametrize(
    ("decoder", "messages"),
    [
        (coordinator_decoder, SENT_TO_COORDINATOR),
        (agent_decoder, TO_AGENT),
        (submitter_decoder, TO_SUBMITTER),
    ],
    ids=["coordinator", "agent", "submitter"],
)
@given(drawn=st.data())
def test_every_message_survives_its_frame(
    decoder: Decoder[Any], messages: st.SearchStrategy[Any], drawn: st.DataObject
) -> None:
    message, data = drawn.draw(messages), drawn.draw(st.binary(max_size=40))

    frame = encode(message, data)

    assert isinstance(frame, bytes if data else str)
    for strict in (False, True):
        found, rest = decoder.decode(frame, strict=strict)
        assert (found, bytes(rest)) == (message, data)


def test_the_seeds_shapes_are_the_seeds() -> None:
    message, _ = decode(
        '{"type":"register","token":"t","hostInfo":'
        '{"hostname":"h","gpus":[{"name":"RTX","memory":"24 GB"}],"os":"linux"},"more":1}',
        strict=True,
    )
    assert message == m.Register("t", m.HostInfo("h", [m.GpuInfo("RTX", "24 GB")], "linux"))
    assert encode(m.Job("job-1", "sleep 5")) == '{"type":"job","id":"job-1","command":"sleep 5"}'
    assert encode(m.Ack()) == '{"type":"ack"}'


def test_the_data_of_a_frame_are_not_copied() -> None:
    frame = encode(m.JobOutput("job-1"), b"abc")

    assert submitter_decoder.decode(frame)[1].obj is frame


# ---- size -------------------------------------------------------------------------------------


def text_of(size: int) -> str:
    head = '{"type":"job_result","id":"","status":"","logs":""}'
    return head + " " * (size - len(head))


def bytes_of(size: int) -> bytes:
    return binary(b'{"type":"heartbeat"}', bytes(size - 24))


@pytest.mark.parametrize("frame_of", [text_of, bytes_of])
@pytest.mark.parametrize("limit", [FRAME_BYTES_MAX_BEFORE_AUTH, FRAME_BYTES_MAX])
def test_a_frame_may_be_as_large_as_its_limit_and_no_larger(
    frame_of: Callable[[int], str | bytes], limit: int
) -> None:
    for size in (limit - 1, limit):
        frame = frame_of(size)
        assert len(frame) == size
        decode(frame, limit=limit)

    assert refusal_of(frame_of(limit + 1), limit=limit) == "too_large"


def test_the_limit_counts_bytes_and_not_characters() -> None:
    frame = '{"type":"job_result","id":"","status":"","logs":"%s"}' % ("é" * 2_050)

    assert len(frame) < FRAME_BYTES_MAX_BEFORE_AUTH < len(frame.encode())
    assert refusal_of(frame, limit=FRAME_BYTES_MAX_BEFORE_AUTH) == "too_large"


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_what_we_encode_is_never_larger_than_what_a_peer_accepts(extra: int) -> None:
    header = len(msgspec.json.encode(m.Ack()))
    data = bytes(FRAME_BYTES_MAX - header - 4 + extra)

    if extra > 0:
        with pytest.raises(AssertionError, match="frame too large"):
            encode(m.Ack(), data)
    else:
        agent_decoder.decode(encode(m.Ack(), data))


# ---- bad input, by name -----------------------------------------------------------------------


def nested(depth: int, opening: str = "[", closing: str = "]") -> str:
    return '{"type":"heartbeat","x":' + opening * (depth - 1) + closing * (depth - 1) + "}"


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("", "malformed"),
        (b"", "malformed"),
        (b"\x00\x00\x00", "malformed"),
        (b"\x00\x00\x00\x00", "malformed"),
        (b"\x05\x00\x00\x00{}", "malformed"),
        (b"\xff\xff\xff\xff{}", "malformed"),
        ("null", "malformed"),
        ("[]", "malformed"),
        ("{}", "malformed"),
        ("{", "malformed"),
        ('{"type":"heartbeat"}}', "malformed"),
        ('{"type":"heartbeat"} {"type":"heartbeat"}', "malformed"),
        ('{"type":"heartbeat",}', "malformed"),
        ("{'type':'heartbeat'}", "malformed"),
        ('{"type":"heartbeat"/**/}', "malformed"),
        ('\ufeff{"type":"heartbeat"}', "malformed"),
        ('{"type":"heartbeat"}'.encode("utf-16"), "malformed"),
        (binary(b'{"type":"job_result","id":"\xff","status":""}'), "malformed"),
        (binary(b'{"type":"job_result","id":"\xed\xa0\x80","status":""}'), "malformed"),
        ('{"type":"job_result","id":"\ud800","status":""}', "malformed"),
        ('{"type":"job_result","id":"\\ud800","status":""}', "malformed"),
        ('{"type":"job_result","id":"\0","status":""}', "malformed"),
        ('{"type":"job_result","id":"\\u0000","status":""}', "malformed"),
        ('{"type":"job_result","id":"\\\\\\u0000","status":""}', "malformed"),
        ('{"type":"job_result","id":"a"}', "malformed"),
        ('{"type":"job_result","id":1,"status":""}', "malformed"),
        ('{"type":"job_result","id":null,"status":""}', "malformed"),
        ('{"type":"job_result","id":"' + "a" * 65 + '","status":""}', "malformed"),
        ('{"type":"hello","protocol":true,"nodeKey":"","clientNonce":""}', "malformed"),
        ('{"type":"receipts_signed","batch":1.5,"signature":""}', "malformed"),
        ('{"type":"receipts_signed","batch":-1,"signature":""}', "malformed"),
        ('{"type":"receipts_signed","batch":9007199254740992,"signature":""}', "malformed"),
        ('{"type":"receipts_signed","batch":1e999,"signature":""}', "malformed"),
        ('{"type":"receipts_signed","batch":NaN,"signature":""}', "malformed"),
        ('{"type":"receipts_signed","batch":' + "9" * 4_000 + ',"signature":""}', "malformed"),
        ('{"type":"results","results":[{"job":"a","fence":1,"status":"won"}]}', "malformed"),
        ('{"type":"heartbeats"}', "unknown_type"),
        ('{"type":""}', "unknown_type"),
        ('{"type":"ack"}', "unknown_type"),
        (nested(JSON_DEPTH_MAX + 1), "too_deep"),
        (nested(1_000), "too_deep"),
        (nested(500, '{"a":', "}").replace('{"a":}', "{}"), "too_deep"),
        ("[" * 100_000, "too_deep"),
        ('{"a":' * 50_000, "too_deep"),
        (binary(b"[" * 100_000), "too_deep"),
    ],
    ids=lambda value: repr(value[:40]),
)
def test_bad_input_is_refused_by_name(frame: str | bytes, code: str, *, strict: bool) -> None:
    assert refusal_of(frame, strict=strict) == code


def test_depth_is_counted_outside_of_text_only() -> None:
    decode(nested(JSON_DEPTH_MAX))
    for text in ("[" * 100, "{[" * 50, '\\"' + "[" * 100, "\\\\" + "]{" * 100):
        decode('{"type":"job_result","id":"a","status":"","logs":"' + text + '"}')

    assert refusal_of('{"a":"\\\\","b":' + "[" * 40) == "too_deep"


BRACKETS = st.text(alphabet='[]{}"\\\\ ,:a', max_size=60)


@given(BRACKETS, st.integers(0, JSON_DEPTH_MAX + 2), st.integers(0, JSON_DEPTH_MAX + 2))
def test_the_quick_look_at_the_depth_never_passes_what_counting_refuses(
    text: str, lists: int, objects: int
) -> None:
    inner = text if '"' in text else json.dumps(text)
    nested = "[" * lists + '{"a":' * objects + inner + "}" * objects + "]" * lists

    if _is_plainly_shallow(nested.encode()):
        _count_depth(nested.encode())


@pytest.mark.parametrize(
    ("document", "is_shallow"),
    [
        (b"{}", True),
        (b'{"a":[{"b":[]},{"c":"]]]{{{"}]}', True),
        (b"[" * JSON_DEPTH_MAX + b"]" * JSON_DEPTH_MAX, False),
        (b"{[" * (JSON_DEPTH_MAX // 2) + b"]}" * (JSON_DEPTH_MAX // 2), True),
        (b"[{" * (JSON_DEPTH_MAX // 2 + 1) + b"}]" * (JSON_DEPTH_MAX // 2 + 1), False),
        (rb'{"a":"\""}', False),
        (b"[[", False),
    ],
    ids=["empty", "text", "one kind", "both kinds", "too deep", "backslash", "open"],
)
def test_the_quick_look_knows_honest_frames(document: bytes, *, is_shallow: bool) -> None:
    assert _is_plainly_shallow(document) == is_shallow


def test_an_escaped_backslash_before_u0000_is_no_nul() -> None:
    message, _ = decode('{"type":"job_result","id":"\\\\u0000","status":""}')

    assert isinstance(message, m.JobResult)
    assert message.id == "\\u0000"


@pytest.mark.parametrize(
    "document",
    [
        '{"type":"heartbeat","type":"heartbeat"}',
        '{"type":"heartbeat","nodeId":"a","nodeId":"b"}',
        '{"type":"heartbeat","\\u006eodeId":"a","nodeId":"b"}',
        '{"type":"heartbeat","more":{"a":1,"a":2}}',
        '{"type":"heartbeat","more":9007199254740992}',
        '{"type":"heartbeat","more":-9007199254740992}',
        '{"type":"heartbeat","more":' + "1" * 5_000 + "}",
        '{"type":"heartbeat","more":[Infinity]}',
    ],
    ids=lambda document: document[:48],
)
def test_the_strict_pass_refuses_what_two_parsers_could_read_differently(document: str) -> None:
    assert refusal_of(document, strict=True) == "malformed"


def test_the_strict_pass_takes_the_largest_integers() -> None:
    for number in (2**53 - 1, -(2**53 - 1)):
        frame = f'{{"type":"heartbeat","more":{number}}}'
        assert isinstance(decode(frame, strict=True)[0], m.Heartbeat)


# ---- anything at all --------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=10,
)
TAGS = st.sampled_from(["register", "results", "job_result", "inventory", "submit", "x"])


@given(
    st.one_of(
        st.binary(max_size=100),
        st.text(max_size=100),
        st.binary(max_size=60).map(binary),
        st.tuples(TAGS, st.dictionaries(st.text(max_size=8), JSON, max_size=4)).map(
            lambda pair: json.dumps({"type": pair[0], **pair[1]})
        ),
    ),
    st.booleans(),
)
def test_any_frame_is_a_message_or_a_protocol_error(frame: str | bytes, strict: bool) -> None:
    try:
        message, _ = decode(frame, strict=strict)
        code = ""
    except ProtocolError as error:
        message, code = None, error.code
    assert code in {"malformed", "too_deep", "unknown_type"} if message is None else not code


@given(SENT_TO_COORDINATOR, st.data())
def test_a_broken_message_is_another_message_or_a_protocol_error(
    message: m.AnyMessage, data: st.DataObject
) -> None:
    frame = encode(message, b"data")
    assert isinstance(frame, bytes)
    raw = bytearray(frame)
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode(bytes(raw))
        code = ""
    except ProtocolError as error:
        code = error.code
    assert code in {"", "malformed", "too_deep", "unknown_type"}
