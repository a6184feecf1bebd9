"""What the program logs, as frozen values: hints for watchers and pages.

In:   a transaction's log lines, oldest first.
Out:  events, in their order; fields as in `docs/program.md`, "Events".
Rules:
  1. Nobody credits or pays by an event: logs are cut short, and failed transactions log too.
  2. Only what the program itself logged counts: the stack of invocations says who speaks.
Not covered: an event whose line the node left out.
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from onchain.address import encode_address
from onchain.anchor import event_fields
from onchain.views import Limits


class Event(msgspec.Struct, frozen=True):
    """One event of the program."""


class RootPublished(Event, frozen=True):
    epoch: int
    root: bytes
    total: int
    activates_at: int


class RootApproved(Event, frozen=True):
    epoch: int
    root: bytes
    activates_at: int


class RootActivated(Event, frozen=True):
    epoch: int
    root: bytes
    total: int


class RootCancelled(Event, frozen=True):
    epoch: int
    root: bytes


class RootRevoked(Event, frozen=True):
    epoch: int
    root: bytes
    restored_epoch: int


class Deposited(Event, frozen=True):
    owner: bytes
    amount: int
    deposited: int


class Claimed(Event, frozen=True):
    wallet: bytes
    amount: int
    claimed: int
    covered: int
    epoch: int


class Redeemed(Event, frozen=True):
    wallet: bytes
    amount: int
    claimed: int
    advance: int


class Exited(Event, frozen=True):
    owner: bytes
    amount: int
    exited: int


class ExitAsked(Event, frozen=True):
    owner: bytes
    requested_at: int


class PausedSet(Event, frozen=True):
    flags: int
    by: bytes


class LimitsTightened(Event, frozen=True):
    limits: Limits


class VouchersVoided(Event, frozen=True):
    key_epoch: int


class ConfigProposed(Event, frozen=True):
    number: int
    kind: int
    due_at: int


class ConfigApplied(Event, frozen=True):
    number: int
    kind: int


class ConfigCancelled(Event, frozen=True):
    number: int
    kind: int


TYPES: Final[dict[str, type[Event]]] = {each.__name__: each for each in Event.__subclasses__()}

_INVOKED: Final = re.compile(r"Program (\w{32,44}) invoke \[\d+\]\Z")
_ENDED: Final = re.compile(r"Program (\w{32,44}) (?:success\Z|failed\b)")
_DATA: Final = "Program data: "


def events_in(logs: Iterable[str], program: bytes) -> Iterator[Event]:
    """The events that the program logged; whatever cannot be read is left out."""
    name, stack = encode_address(program), [""]
    for line in logs:
        if invoked := _INVOKED.match(line):
            stack.append(invoked[1])
        elif _ENDED.match(line) and len(stack) > 1:
            stack.pop()
        elif line.startswith(_DATA) and stack[-1] == name:
            event = _event(line.removeprefix(_DATA))
            if event is not None:
                yield event


def _event(text: str) -> Event | None:
    try:
        data = b64decode(text, validate=True)
    except Base64Error:
        return None
    found = event_fields(data)
    if found is None:
        return None
    name, fields = found
    return msgspec.convert(fields, TYPES[name], builtin_types=(bytes,))
