"""Structured logs: one JSON object a line for machines, aligned text on a terminal.

Rules:
  1. A line names an event by a literal, and its values by keys. Whose connection, node or job it is
     about stands in every line of theirs, by context variables (`bound_contextvars`).
  2. Secrets do not come out, whoever logs them: not under a key that names one, and not inside any
     text that looks like a token, a bearer or a signature.
  3. A peer's text stays text: JSON escapes what is not printable, and so do we on a terminal.
  4. One noisy peer does not fill the disk: each event has `LOG_LINES_PER_S` for one peer and
     `LOG_LINES_PER_S_IN_ALL` for all of them, and a text has `LOG_TEXT_CHARS_MAX`. What is left out
     is counted in the event's next line (`lines_left_out`). `critical` lines are never left out.
Not covered: shipping and rotation (the service manager's work); a bearer, which has 43 characters
of base64url, among those of a text that happen to be base58 too (1 in 70) looks like an address.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any, Final, TextIO, cast

import structlog
from structlog.contextvars import bind_contextvars, get_contextvars, unbind_contextvars

from coordinator.limits import (
    LOG_ITEMS_MAX,
    LOG_LINES_BURST,
    LOG_LINES_BURST_IN_ALL,
    LOG_LINES_PER_S,
    LOG_LINES_PER_S_IN_ALL,
    LOG_PEERS_MAX,
    LOG_TEXT_CHARS_MAX,
    LOG_TRACE_CHARS_MAX,
)
from coordinator.ratelimit import RateLimiter

__all__ = ["SECRET_KEYS", "bound_contextvars", "configure_log", "get_log", "logging_into"]

#: Keys whose values never reach a log, whatever logs them; spelled with or without capitals and _.
SECRET_KEYS: Final = frozenset(
    {"token", "bearer", "sessionkey", "signature", "proof", "seed", "secret", "authorization"}
    | {"privatekey", "secretkey", "keypair", "password", "bearerhash", "passphrase"}
)
REDACTED: Final = "[redacted]"
#: What secrets look like inside a text.
_SECRETS: Final = re.compile(
    r"hy1[a-z]?\.[\w.-]+"  # a token of ours
    r"|(?i:\bbearer\s+)[\w+/=.-]{16,}"
    r"|[A-Za-z0-9+/]{86}==|[A-Za-z0-9+/]{43}=(?![\w=])"  # 64 and 32 bytes of base64
    r"|(?<![\w-])[\w-]{85,88}(?![\w-])"  # 64 bytes of base58 or base64url
    r"|(?<![\w-])(?=[\w-]*[-_0OIl])[\w-]{43}(?![\w-])"  # 32 bytes of base64url, no base58 address
    r"|(?<!\w)[0-9a-f]{128}(?!\w)"  # 64 bytes of hexadecimal
    r"|\[(?:\s*\d{1,3}\s*,){63}\s*\d{1,3}\s*\]"  # a key file
)
#: How much more of a text is searched for secrets than is shown.
_SEARCHED: Final = 2
_TAIL: Final = re.compile(r"[\w+/=.-]+\Z")
#: Nesting of values that is looked into.
_DEPTH_MAX: Final = 6
Event = MutableMapping[str, Any]


def redact(_logger: object, _method: str, event: Event) -> Event:
    """Replace secrets, and cut what is too long."""
    trace = event.pop("exception", None)
    for key, value in event.items():
        event[key] = _clean(key, value, 0)
    if isinstance(trace, str):
        event["exception"] = _text(trace, LOG_TRACE_CHARS_MAX)
    return event


def _clean(key: object, value: Any, depth: int) -> Any:
    if isinstance(key, str) and key.replace("_", "").lower() in SECRET_KEYS:
        return REDACTED
    if isinstance(value, str):
        return _text(value, LOG_TEXT_CHARS_MAX)
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth < _DEPTH_MAX and isinstance(value, Mapping):
        some = list(value.items())[:LOG_ITEMS_MAX]
        return {str(name): _clean(name, each, depth + 1) for name, each in some}
    if depth < _DEPTH_MAX and isinstance(value, list | tuple | set | frozenset):
        return [_clean("", each, depth + 1) for each in list(value)[:LOG_ITEMS_MAX]]
    # Whatever else it is, its text is what would be written.
    return _text(repr(value), LOG_TEXT_CHARS_MAX)


def _text(text: str, chars: int) -> str:
    """A text without secrets, of at most so many characters."""
    whole = len(text)
    if whole > _SEARCHED * chars:
        # A megabyte is not searched; and no half of a secret is left at the cut.
        text = _TAIL.sub("", text[: _SEARCHED * chars])
    text = _SECRETS.sub(REDACTED, text)
    if len(text) <= chars and whole <= _SEARCHED * chars:
        return text
    return f"{text[:chars]}… (of {whole})"


class bound_contextvars:  # noqa: N801 (structlog's name: this one lasts as long as a connection)
    """Names that stand in every line of this task's, for the time of a block.

    As structlog's own, without a generator and its frames: thousands of connections hold two each.
    """

    __slots__ = ("_names", "_saved")

    def __init__(self, **names: Any) -> None:
        self._names: Mapping[str, Any] | tuple[str, ...] = names
        self._saved: dict[str, Any] | None = None

    def __enter__(self) -> None:
        assert isinstance(self._names, Mapping), "it is entered once"
        before = get_contextvars()
        self._saved = {name: before[name] for name in self._names if name in before} or None
        bind_contextvars(**self._names)
        self._names = tuple(self._names)

    def __exit__(self, *_: object) -> None:
        unbind_contextvars(*self._names)
        bind_contextvars(**(self._saved or {}))


class Quiet:
    """Drops lines past the bounds of rule 4."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._of_peer = RateLimiter(LOG_LINES_PER_S, LOG_LINES_BURST, keys_max=LOG_PEERS_MAX)
        self._of_event = RateLimiter(
            LOG_LINES_PER_S_IN_ALL, LOG_LINES_BURST_IN_ALL, keys_max=LOG_PEERS_MAX
        )
        self._left_out: Counter[str] = Counter()
        # Threads log too.
        self._lock = threading.Lock()

    def __call__(self, _logger: object, method: str, event: Event) -> Event:
        name, peer = str(event.get("event", "")), str(event.get("peer", ""))
        with self._lock:
            now = self._now()
            # A peer's own bound first: its lines past it take nothing from the others'.
            is_one_too_many = self._of_peer.allow(f"{name}\n{peer}", now) or self._of_event.allow(
                name, now
            )
            if is_one_too_many and method != "critical":
                self._left_out[name] += 1
                raise structlog.DropEvent
            if left_out := self._left_out.pop(name, 0):
                event["lines_left_out"] = left_out
        return event


def harmless(_logger: object, _method: str, event: Event) -> Event:
    """For people's terminals: nothing in a text moves the cursor, colours it or ends its line."""
    for key, value in event.items():
        if isinstance(value, str):
            keep = "\n\t" if key == "exception" else ""
            event[key] = _escape(value, keep)
        elif not isinstance(value, bool | int | float | None):
            event[key] = _escape(repr(value), "")
    return event


def _escape(text: str, keep: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in keep else char.encode("unicode_escape").decode()
        for char in text
    )


def configure_log(*, json_lines: bool | None = None, stream: TextIO | None = None) -> None:
    """Set up structlog for this process.

    Args:
        json_lines: One JSON object a line; by default wherever the stream is not a terminal.
        stream: Where lines go; standard error by default.
    """
    out = stream if stream is not None else sys.stderr
    as_json = not out.isatty() if json_lines is None else json_lines
    last: list[Any] = (
        [structlog.processors.JSONRenderer()]
        if as_json
        else [harmless, structlog.dev.ConsoleRenderer(colors=out.isatty())]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            Quiet(),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            cast("structlog.typing.Processor", redact),
            *last,
        ],
        # Lines of `debug` are for those who change the code, and change this too.
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )


@contextmanager
def logging_into(stream: TextIO) -> Iterator[None]:
    """JSON lines into that stream for the time of a block; as it was before, after it."""
    before = structlog.get_config()
    configure_log(json_lines=True, stream=stream)
    try:
        yield
    finally:
        structlog.configure(**before)


def get_log(name: str) -> structlog.typing.FilteringBoundLogger:
    """A logger that names its module in each line; it follows the configuration of the moment."""
    log: structlog.typing.FilteringBoundLogger = structlog.get_logger(module=name)
    return log
