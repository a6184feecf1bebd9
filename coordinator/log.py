"""Structured logs: one JSON object a line for machines, aligned text on a terminal.

Not covered: shipping and rotation (the service manager's work).
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO, cast

import structlog

#: Keys whose values never reach a log, whatever logs them.
SECRET_KEYS = frozenset(
    {"token", "bearer", "session_key", "signature", "proof", "seed", "secret", "authorization"}
)


def redact(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Replace the value of each secret key."""
    for key in SECRET_KEYS & event.keys():
        event[key] = "[redacted]"
    return event


def configure_log(*, json_lines: bool | None = None, stream: TextIO | None = None) -> None:
    """Set up structlog for this process.

    Args:
        json_lines: One JSON object a line; by default wherever the stream is not a terminal.
        stream: Where lines go; standard error by default.
    """
    out = stream if stream is not None else sys.stderr
    as_json = not out.isatty() if json_lines is None else json_lines
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            cast("structlog.typing.Processor", redact),
            renderer,
        ],
        # Lines of `debug` are for those who change the code, and change this too.
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )


def get_log(name: str) -> structlog.typing.FilteringBoundLogger:
    """A logger that names its module in each line; it follows the configuration of the moment."""
    log: structlog.typing.FilteringBoundLogger = structlog.get_logger(module=name)
    return log
