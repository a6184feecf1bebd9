"""Specifications: bytes that are hashed as they came, and refused by name."""

from __future__ import annotations

from hashlib import sha256

import msgspec
import pytest
from hypothesis import given, strategies as st

from coordinator.limits import ATTEMPTS_MAX, EXECUTION_S_MAX, SPEC_BYTES_MAX
from coordinator.protocol.errors import Refusal
from coordinator.protocol.spec import (
    Limits,
    Resources,
    Sample,
    Spec,
    Unverified,
    decode_spec,
    encode_spec,
    hash_spec,
)

SPECS = st.builds(
    Spec,
    kind=st.text(min_size=1, max_size=32),
    params=st.dictionaries(st.text(max_size=5), st.integers(-9, 9), max_size=3).map(
        lambda params: msgspec.Raw(msgspec.json.encode(params))
    ),
    limits=st.builds(Limits, execution_s=st.integers(1, EXECUTION_S_MAX)),
    resources=st.builds(Resources, gpu=st.booleans(), sandbox=st.none() | st.integers(0, 2)),
    verify=st.none()
    | st.just(Unverified())
    | st.builds(Sample, rate=st.floats(0, 1), floor=st.integers(1, 4096)),
    retries=st.integers(0, ATTEMPTS_MAX - 1),
)


@given(SPECS)
def test_every_specification_survives_its_bytes(spec: Spec) -> None:
    raw = encode_spec(spec)

    assert encode_spec(decode_spec(raw)) == raw
    assert decode_spec(raw) == msgspec.structs.replace(spec, params=decode_spec(raw).params)
    assert bytes(decode_spec(raw).params) == bytes(spec.params)


def test_defaults_are_left_out_and_are_what_an_absent_field_means() -> None:
    assert encode_spec(Spec("command")) == b'{"kind":"command"}'
    assert decode_spec(b'{"kind":"command"}') == Spec("command")


def test_the_hash_is_of_the_bytes_and_not_of_their_meaning() -> None:
    one, other = b'{"kind":"command"}', b'{"kind": "command"}'

    assert decode_spec(one) == decode_spec(other)
    assert hash_spec(one) == sha256(one).digest() != hash_spec(other)


def test_parameters_keep_the_bytes_that_came() -> None:
    raw = b'{"kind":"x","params":{ "a" : 1e2 , "b":[1,2 ]}}'

    assert bytes(decode_spec(raw).params) == b'{ "a" : 1e2 , "b":[1,2 ]}'


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"kind":""}',
        b'{"kind":"%s"}' % (b"k" * 33),
        b'{"kind":1}',
        b'{"kind":"x","key":"k"}',
        b'{"kind":"x","budget":"1"}',
        b'{"kind":"x"} ,',
        b'\xef\xbb\xbf{"kind":"x"}',
        b'{"kind":"\xff"}',
        b'{"kind":"\\ud800"}',
        b'{"kind":"x","retries":-1}',
        b'{"kind":"x","retries":%d}' % ATTEMPTS_MAX,
        b'{"kind":"x","retries":1.5}',
        b'{"kind":"x","retries":true}',
        b'{"kind":"x","limits":{"execution_s":0}}',
        b'{"kind":"x","limits":{"execution_s":%d}}' % (EXECUTION_S_MAX + 1),
        b'{"kind":"x","limits":{"executionS":5}}',
        b'{"kind":"x","resources":{"sandbox":3}}',
        b'{"kind":"x","verify":{"policy":"sample","rate":1.1}}',
        b'{"kind":"x","verify":{"policy":"sample","rate":NaN}}',
        b'{"kind":"x","verify":{"policy":"sample","floor":0}}',
        b'{"kind":"x","verify":{"policy":"trust"}}',
        b'{"kind":"x","verify":{}}',
        b"[" * 50_000,
        b'{"kind":"x","params":' + b"[" * 50_000,
    ],
    ids=lambda raw: repr(raw[:48]),
)
def test_a_bad_specification_is_refused_by_name(raw: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        decode_spec(raw)

    assert caught.value.code == "bad_spec"


def padded(size: int) -> bytes:
    raw = b'{"kind":"x"}'
    return raw + b" " * (size - len(raw))


def test_the_size_is_bounded_on_both_sides() -> None:
    assert decode_spec(padded(SPEC_BYTES_MAX)).kind == "x"
    with pytest.raises(Refusal) as caught:
        decode_spec(padded(SPEC_BYTES_MAX + 1))
    assert caught.value.code == "too_large"


def test_a_refusal_does_not_repeat_a_specification_of_any_length() -> None:
    with pytest.raises(Refusal) as caught:
        decode_spec(b'{"kind":"x","%s":1}' % (b"f" * 60_000))

    # The field of a message that carries it takes 2000 characters.
    assert len(caught.value.sentence) <= 600


@given(st.binary(max_size=200))
def test_any_bytes_are_a_specification_or_are_refused(raw: bytes) -> None:
    try:
        spec = decode_spec(raw)
    except Refusal:
        return
    assert encode_spec(decode_spec(encode_spec(spec))) == encode_spec(spec)
