"""What a submitter writes, as what travels: parameters to a specification's bytes, budgets to text.

Rules:
  1. Money is text, `Decimal` or a whole number; a float is refused, since it is not what was meant.
  2. A message of jobs stays well below the largest frame, whatever its specifications weigh.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, TypeAlias, TypedDict, Unpack

import msgspec
import numpy as np

from coordinator.limits import FRAME_BYTES_MAX, ITEMS_PER_MESSAGE_MAX, SPEC_BYTES_MAX
from coordinator.protocol.errors import Refusal
from coordinator.protocol.inputs import Input
from coordinator.protocol.messages import Submission
from coordinator.protocol.spec import (
    Limits,
    Policy,
    Resources,
    Spec,
    decode_spec,
    encode_spec,
)
from hypernode.errors import BadSpec
from onchain.amounts import format_hyper, parse_hyper
from onchain.errors import BadAmount

Amount: TypeAlias = str | Decimal | int

#: Bytes of specifications in one message: half a frame, the other half is room for keys.
_MESSAGE_BYTES: Final = FRAME_BYTES_MAX // 2

assert SPEC_BYTES_MAX <= _MESSAGE_BYTES


def amount_text(amount: Amount) -> str:
    """Decimal text of an amount of HYPER.

    Raises:
        BadSpec: `bad_amount`.
        TypeError: a float.
    """
    if isinstance(amount, float | bool):
        msg = 'write amounts as text, such as "0.02": a float is not the number you see'
        raise TypeError(msg)
    text = format(amount, "f") if isinstance(amount, Decimal) else str(amount)
    try:
        return format_hyper(parse_hyper(text))
    except BadAmount as error:
        raise BadSpec("bad_amount", str(error)) from error


class Options(TypedDict, total=False):
    """What may be said of a job besides its kind and parameters; absent is the default."""

    verify: Policy | None
    limits: Limits | None
    resources: Resources | None
    #: Further attempts after the first one failed.
    retries: int | None
    #: Seconds that one attempt may run, that the job may wait in the queue, and that it may take
    #: in all; each stands above the same one of `limits`.
    timeout_s: int | None
    queue_timeout_s: int | None
    total_timeout_s: int | None
    #: Input arrays by name, as the specification says of them.
    inputs: Mapping[str, Input] | None


def spec_bytes(kind: str, params: Mapping[str, Any], **options: Unpack[Options]) -> bytes:
    """The bytes of a specification; they are hashed, so they are made once.

    Raises:
        BadSpec: a parameter is not a plain value, a limit is out of its range, or there are too
            many bytes.
    """
    asked = {
        "verify": options.get("verify"),
        "limits": _limits_of(options),
        "resources": options.get("resources"),
        "retries": options.get("retries"),
        "inputs": dict(options.get("inputs") or {}) or None,
    }
    # What was not asked for stays out of the bytes: the same job has the same hash.
    said: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    try:
        encoded = msgspec.json.encode(dict(params), enc_hook=_plain_value)
        raw = encode_spec(Spec(kind, msgspec.Raw(encoded), **said))
    except (TypeError, ValueError) as error:
        raise BadSpec("bad_spec", f"{kind}: {error}") from error
    if len(raw) > SPEC_BYTES_MAX:
        raise BadSpec("too_large", f"a specification has at most {SPEC_BYTES_MAX} bytes")
    _check(raw, kind)
    return raw


def _limits_of(options: Options) -> Limits | None:
    said = {
        "execution_s": options.get("timeout_s"),
        "queue_s": options.get("queue_timeout_s"),
        "total_s": options.get("total_timeout_s"),
    }
    changes = {name: value for name, value in said.items() if value is not None}
    limits = options.get("limits")
    return msgspec.structs.replace(limits or Limits(), **changes) if changes else limits


def _check(raw: bytes, kind: str) -> None:
    """Refuse here what the coordinator would refuse: a limit out of its range, and which one."""
    try:
        decode_spec(raw)
    except Refusal as refusal:
        raise BadSpec(refusal.code, f"{kind}: {refusal.sentence}") from refusal


def _plain_value(value: Any) -> Any:
    """NumPy's scalars and small arrays as JSON values; anything else is not a parameter."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    msg = f"a parameter cannot be a {type(value).__name__}"
    raise TypeError(msg)


def submissions(specs: Sequence[bytes], budget: str, keys: Sequence[str]) -> list[Submission]:
    """One submission a specification."""
    return [
        Submission(key, msgspec.Raw(spec), budget) for key, spec in zip(keys, specs, strict=True)
    ]


def batches(jobs: Sequence[Submission]) -> Iterator[list[Submission]]:
    """The jobs in order, in portions that fit one message each."""
    part: list[Submission] = []
    size = 0
    for job in jobs:
        weight = len(bytes(job.spec))
        if part and (size + weight > _MESSAGE_BYTES or len(part) == ITEMS_PER_MESSAGE_MAX):
            yield part
            part, size = [], 0
        part.append(job)
        size += weight
    if part:
        yield part
