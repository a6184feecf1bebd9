"""One answer of the doctor: what was looked at, how it is, and what to do about it."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

#: `failure`: this role does not work like this; `warning`: it works, and will hurt one day.
State: TypeAlias = Literal["ok", "warning", "failure", "skipped"]


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line."""

    #: What was looked at; stable, for programs.
    check: str
    state: State
    #: How it is, in plain words.
    said: str
    #: What to do; empty where nothing is to be done.
    fix: str = ""


def ok(check: str, said: str) -> Finding:
    return Finding(check, "ok", said)


def warning(check: str, said: str, fix: str) -> Finding:
    return Finding(check, "warning", said, fix)


def failure(check: str, said: str, fix: str) -> Finding:
    return Finding(check, "failure", said, fix)


def skipped(check: str, said: str) -> Finding:
    return Finding(check, "skipped", said)
