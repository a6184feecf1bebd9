"""What a job asks for: the specification, whose bytes are hashed and kept as received.

Its hash is the SHA-256 of those bytes. `key` and `budget` stand in the submission's envelope, not
here, so that the same work has the same hash whoever pays. Seconds, MB (2^20 bytes) and bytes are
whole numbers. `params` belong to the kind: `coordinator.workloads` decodes them.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import sha256
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta

from coordinator.limits import (
    ATTEMPTS_MAX,
    CACHED_SPEC_BYTES,
    CACHED_SPECS_MAX,
    COMPUTE_CAPABILITY_MAX,
    EXECUTION_S_DEFAULT,
    EXECUTION_S_MAX,
    MEMORY_MB_DEFAULT,
    MEMORY_MB_MAX,
    OUTPUT_BYTES_MAX,
    QUEUE_S_DEFAULT,
    QUEUE_S_MAX,
    SPEC_BYTES_MAX,
    TOTAL_S_DEFAULT,
    TOTAL_S_MAX,
)
from coordinator.protocol.codec import check_json
from coordinator.protocol.errors import ProtocolError, Refusal
from coordinator.protocol.inputs import Input, InputName, check_inputs


class _Document(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False
):
    """A signed or hashed document: unknown fields are refused, defaults are left out."""


class Sample(_Document, frozen=True, tag_field="policy", tag="sample"):
    """Recompute a random sample of the output's blocks; a wrong block rejects the result."""

    #: Share of the blocks that is recomputed, 0 to 1.
    rate: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.01
    #: Blocks that are recomputed in any case.
    floor: Annotated[int, Meta(ge=1, le=4096)] = 8


class Unverified(_Document, frozen=True, tag_field="policy", tag="none"):
    """No check at all: the receipt says so."""


Policy: TypeAlias = Sample | Unverified


class Limits(_Document, frozen=True):
    #: Seconds that one attempt may run, on the coordinator's clock.
    execution_s: Annotated[int, Meta(ge=1, le=EXECUTION_S_MAX)] = EXECUTION_S_DEFAULT
    #: Seconds that the job may wait in the queue before it fails, anew after each attempt.
    queue_s: Annotated[int, Meta(ge=1, le=QUEUE_S_MAX)] = QUEUE_S_DEFAULT
    #: Seconds from submission to the end, whatever happens in between.
    total_s: Annotated[int, Meta(ge=1, le=TOTAL_S_MAX)] = TOTAL_S_DEFAULT
    #: Memory of the attempt, MB.
    memory_mb: Annotated[int, Meta(ge=16, le=MEMORY_MB_MAX)] = MEMORY_MB_DEFAULT
    #: All outputs together, bytes.
    output_bytes: Annotated[int, Meta(ge=1, le=OUTPUT_BYTES_MAX)] = OUTPUT_BYTES_MAX


class Resources(_Document, frozen=True):
    #: Whether the job must run on a CUDA device; otherwise any device will do.
    gpu: bool = False
    #: Memory of the device, MB.
    vram_mb: Annotated[int, Meta(ge=0, le=MEMORY_MB_MAX)] = 0
    #: Least CUDA compute capability of the device: 90 is 9.0; 0 for any device.
    compute_capability: Annotated[int, Meta(ge=0, le=COMPUTE_CAPABILITY_MAX)] = 0
    #: Least level of the agent's sandbox, 0 to 2; the kind's own default if absent.
    sandbox: Annotated[int, Meta(ge=0, le=2)] | None = None


class Spec(_Document, frozen=True):
    #: Name of the workload.
    kind: Annotated[str, Meta(min_length=1, max_length=32)]
    #: The workload's own parameters, a JSON object.
    params: msgspec.Raw = msgspec.Raw(b"{}")
    limits: Limits = Limits()
    resources: Resources = Resources()
    #: How the result is checked; the kind's own default if absent.
    verify: Policy | None = None
    #: Further attempts after the first one failed.
    retries: Annotated[int, Meta(ge=0, le=ATTEMPTS_MAX - 1)] = 2
    #: Input arrays by name; which ones belongs to the kind, most take none.
    inputs: dict[InputName, Input] = {}


_decoder = msgspec.json.Decoder(Spec)
_encoder = msgspec.json.Encoder()
_any_decoder: Final[msgspec.json.Decoder[object]] = msgspec.json.Decoder()
#: What an integer beyond 2^53 has at least.
_SIXTEEN_DIGITS: Final = re.compile(rb"[0-9]{16}")


def decode_spec(raw: bytes) -> Spec:
    """Parse the bytes of a specification.

    Raises:
        Refusal: `too_large`, or `bad_spec` naming the field.
    """
    # A job's specification is read at each of its steps.
    return _decode_cached(raw) if len(raw) <= CACHED_SPEC_BYTES else _decode(raw)


def _decode(raw: bytes) -> Spec:
    if len(raw) > SPEC_BYTES_MAX:
        raise Refusal("too_large", f"a specification has at most {SPEC_BYTES_MAX} bytes")
    try:
        spec = _decoder.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Refusal("bad_spec", f"the specification is not valid: {error}"[:500]) from error
    if spec.inputs:
        check_inputs(spec.inputs, spec.limits.memory_mb)
    return spec


_decode_cached = lru_cache(maxsize=CACHED_SPECS_MAX)(_decode)


def check_document(raw: bytes) -> None:
    """Refuse what two readers could read differently: a hashed document has one meaning.

    Raises:
        Refusal: `too_large`, or `bad_spec` for a key that stands twice, NUL, or an integer beyond
            2^53.
    """
    if len(raw) > SPEC_BYTES_MAX:
        raise Refusal("too_large", f"a specification has at most {SPEC_BYTES_MAX} bytes")
    try:
        check_json(raw, strict=not _is_plain(raw))
    except ProtocolError as error:
        raise Refusal("bad_spec", error.sentence) from error


def _is_plain(raw: bytes) -> bool:
    """Whether a document is what our own encoder writes: no key twice, no integer beyond 2^53.

    A tenth of the strict pass's time. A key that stands twice would come out once; so "no" means
    that it takes the strict pass to tell.
    """
    if _SIXTEEN_DIGITS.search(raw):
        return False
    try:
        return _encoder.encode(_any_decoder.decode(raw)) == raw
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return False


def encode_spec(spec: Spec) -> bytes:
    """The bytes of a specification, as a client sends them."""
    return _encoder.encode(spec)


def hash_spec(raw: bytes) -> bytes:
    """SHA-256 of a specification's bytes, 32 bytes."""
    return sha256(raw).digest()
