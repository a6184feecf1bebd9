"""Words that the agent's screen and its status share."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """`8.3 s`, `12:05`, `3 h 20 min`, `5 d 2 h`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02}" if whole >= 60 else f"{whole} s"
    if whole < 48 * 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"
