"""Lengths of time as a command line writes and shows them: `90`, `90s`, `5m`, `2h`, `7d`."""

from __future__ import annotations

import re
from typing import Final

import typer

_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_FORM: Final = re.compile(r"(\d{1,9})([smhd]?)")


def parse_seconds(text: str | int) -> int:
    """Whole seconds; typer passes an option's default, a number of seconds, through here too.

    Raises:
        typer.BadParameter: it is not such a length of time, or none at all.
    """
    found = _FORM.fullmatch(str(text).strip())
    seconds = int(found[1]) * _SECONDS[found[2]] if found else 0
    if seconds < 1:
        msg = f"{text!r} is not a time such as 90, 5m, 2h or 1d"
        raise typer.BadParameter(msg)
    return seconds


def seconds_text(seconds: int) -> str:
    """The same in the largest unit that divides it: 7200 is `2h`."""
    for unit in ("d", "h", "m"):
        if seconds and seconds % _SECONDS[unit] == 0:
            return f"{seconds // _SECONDS[unit]}{unit}"
    return f"{seconds}s"
