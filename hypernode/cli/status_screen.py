"""A coordinator's status, drawn: from the answer to the lines of one screen of 80 by 24.

In:   a `CoordinatorInfo`, where it came from, the width of the terminal.
Out:  lines, none wider than that; or names and values for a pipe.
Rules:
  1. What is wrong is red and says so in words too: colours are never alone.
  2. What is not known is a dash, never a nought.
  3. Text from outside is never markup, and moves no terminal.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from textwrap import wrap
from typing import Final, NamedTuple

from rich.style import Style
from rich.text import Text

from hypernode.cli.agent_words import duration
from hypernode.cli.output import harmless
from hypernode.status_answers import Alert, CoordinatorInfo, Detail

_DIM: Final = Style(dim=True)
_BOLD: Final = Style(bold=True)
_GOOD: Final = Style(color="green")
_WARN: Final = Style(color="yellow")
_BAD: Final = Style(color="red", bold=True)
_PLAIN: Final = Style()
_HEALTH: Final = {"ok": (_GOOD, "ready"), "draining": (_WARN, "draining")}
_LABEL: Final = 13
_UNKNOWN: Final = "-"
#: Below these many days a certificate is worth a look.
_CERTIFICATE_DAYS: Final = 14
_LAG_S: Final = 0.25
_DAY_S: Final = 86_400
_KILO: Final = 1000.0

_OPEN: Final = ("queued", "assigned", "running", "verifying")
_ENDED: Final = ("completed", "failed", "cancelled")
_ACCOUNTS: Final = {
    "credit": "credit", "hold": "held", "withheld": "withheld", "earned": "earned", "fees": "fees",
    "treasury": "treasury",
}  # fmt: skip


class Fact(NamedTuple):
    """A name, a value, and how it looks."""

    name: str
    value: str
    style: Style = _PLAIN


class Section(NamedTuple):
    """A line of the screen."""

    label: str
    facts: list[Fact]


def draw(
    info: CoordinatorInfo, url: str, width: int, *, now_s: float, height: int = 1000
) -> list[Text]:
    """The screen's lines.

    Args:
        info: The answer.
        url: Where it came from.
        width: Columns.
        now_s: Unix time, for what expires.
        height: Rows that there are: alerts share what the rest leaves.
    """
    lines = [_head(info, width), _place(info, url, width), Text("─" * width, style=_DIM)]
    for section in sections(info, now_s):
        lines += _drawn(section, width)
    if info.detail is not None:
        lines.append(Text("─" * width, style=_DIM))
        lines += _alerts(info.detail.alerts, width, max(1, height - len(lines)))
    for line in lines:
        line.rstrip()
        line.truncate(width, overflow="ellipsis")
        line.no_wrap = True
    return lines


def plain(info: CoordinatorInfo, url: str, *, now_s: float) -> Iterator[tuple[str, str]]:
    """Names and values, for a pipe."""
    yield "url", url
    yield "version", info.version
    yield "status", info.status
    yield "reasons", " ".join(info.reasons)
    yield "uptime", f"{info.uptime} s"
    label = ""
    for section in sections(info, now_s):
        label = section.label or label
        for fact in section.facts:
            yield f"{label} {fact.name}".lower(), fact.value
    for alert in info.detail.alerts if info.detail else ():
        state = "firing" if alert.is_firing else "pending"
        yield f"alert {alert.name}", f"{state} {alert.severity} {alert.for_seconds} s"


# ---- what is said -----------------------------------------------------------------------------


def sections(info: CoordinatorInfo, now_s: float) -> Iterator[Section]:
    """Everything between the two rules, in order."""
    detail = info.detail
    waits = whole_duration(detail.oldest_waiting) if detail and detail.oldest_waiting else ""
    oldest = [Fact("oldest", waits)] if waits else []
    yield Section("Jobs", [*_counts(info.jobs, _OPEN), *oldest])
    yield Section("", _counts(info.jobs, _ENDED))
    if detail is not None:
        yield _minute(detail)
    yield Section("Nodes", _nodes(info.nodes))
    if detail is None:
        return
    peers = detail.peers
    yield Section(
        "Open",
        [
            Fact("connections", _number(peers.connections)),
            Fact("submitters", _number(peers.submitters)),
            Fact("attempts", _number(peers.attempts)),
            Fact("checks", _number(peers.verifications)),
            Fact("events", _number(peers.events)),
        ],
    )
    yield from _money(detail)
    yield from _machine(detail, now_s)


def _counts(counts: Mapping[str, int], names: tuple[str, ...]) -> list[Fact]:
    return [Fact(name, _number(counts.get(name, 0))) for name in names]


def _nodes(nodes: Mapping[str, int]) -> list[Fact]:
    styles = {"online": _GOOD, "silent": _WARN}
    return [
        Fact(name, _number(count), styles.get(name, _PLAIN) if count else _PLAIN)
        for name, count in nodes.items()
    ]


def _minute(detail: Detail) -> Section:
    minute = detail.last_minute
    failed = minute.failed or 0.0
    return Section(
        "Last minute",
        [
            Fact("ended", _number(minute.finished)),
            Fact("failed", _number(minute.failed), _WARN if failed else _PLAIN),
            Fact("p50", _short(minute.p50)),
            Fact("p99", _short(minute.p99)),
        ],
    )


def _money(detail: Detail) -> Iterator[Section]:
    books = detail.books
    if books.is_balanced is None:
        balance = Fact("ledger", _UNKNOWN)
    elif books.is_balanced:
        balance = Fact("ledger", "balanced", _GOOD)
    else:
        wrong = f"WRONG by {books.imbalance} HYPER, {books.overdrawn} overdrawn"
        balance = Fact("ledger", wrong, _BAD)
    age = _UNKNOWN if books.check_age is None else f"{whole_duration(books.check_age)} ago"
    yield Section("Money", [balance, Fact("added up", age)])
    facts = [Fact(said, books.balances.get(name, _UNKNOWN)) for name, said in _ACCOUNTS.items()]
    yield Section("", facts[:3])
    yield Section("", facts[3:])


def _machine(detail: Detail, now_s: float) -> Iterator[Section]:
    store, process = detail.store, detail.process
    backup = _UNKNOWN if store.backup_age is None else f"{whole_duration(store.backup_age)} ago"
    yield Section(
        "Store",
        [
            Fact("file", _size(store.database_bytes)),
            Fact("log", _size(store.wal_bytes)),
            Fact("free", _size(store.free_bytes)),
            Fact("commit p99", _short(store.commit_p99)),
        ],
    )
    yield Section("", [Fact("backup", backup), Fact("certificate", *_certificate(detail, now_s))])
    if store.failure:
        yield Section("", [Fact("last commit", harmless(store.failure), _BAD)])
    lag = process.loop_lag or 0.0
    cpu = _UNKNOWN if process.cpu_ratio is None else f"{process.cpu_ratio:.0%}"
    yield Section(
        "Process",
        [
            Fact("cpu", cpu),
            Fact("memory", _size(process.memory_bytes)),
            Fact("files", _number(process.open_files)),
            Fact("loop lag", _short(process.loop_lag), _WARN if lag > _LAG_S else _PLAIN),
        ],
    )
    rejected = [Fact(harmless(name), _number(n)) for name, n in detail.rejected.items() if n]
    if rejected:
        yield Section("Rejected", rejected)


def _certificate(detail: Detail, now_s: float) -> tuple[str, Style]:
    if detail.certificate_expires is None:
        return "no TLS here", _DIM
    from datetime import datetime

    ends_s = datetime.fromisoformat(detail.certificate_expires).timestamp()
    days = (ends_s - now_s) / _DAY_S
    if days < 0:
        return "EXPIRED", _BAD
    return f"for {days:.0f} days", _WARN if days < _CERTIFICATE_DAYS else _PLAIN


# ---- how it is drawn --------------------------------------------------------------------------


def _head(info: CoordinatorInfo, width: int) -> Text:
    style, word = _HEALTH.get(info.status, (_BAD, "NOT READY"))
    left = Text.assemble((" HYPERNODE", _BOLD), " coordinator ", (info.version, _DIM))
    right = Text.assemble(("● ", style), (word, style), f"  up {whole_duration(info.uptime)} ")
    return Text.assemble(left, " " * max(1, width - len(left) - len(right)), right)


def _place(info: CoordinatorInfo, url: str, width: int) -> Text:
    reasons = ", ".join(harmless(reason) for reason in info.reasons)
    where = Text(f" {harmless(url)}", style=_DIM)
    if not reasons:
        return where
    room = max(1, width - len(where) - len(reasons) - 1)
    return Text.assemble(where, " " * room, (reasons, _BAD))


def _drawn(section: Section, width: int) -> Iterator[Text]:
    """A section's lines: facts side by side, as many as fit."""
    line = Text(f" {section.label:<{_LABEL}}", style=_BOLD)
    for fact in section.facts:
        piece = Text.assemble((f"{fact.name} ", _DIM), (fact.value, fact.style), "   ")
        if len(line) + len(piece) - 3 > width and len(line) > _LABEL + 1:
            yield line
            line = Text(" " * (_LABEL + 1))
        line.append_text(piece)
    yield line


def _alerts(alerts: list[Alert], width: int, room: int) -> list[Text]:
    """What fires and what may soon; with its sentence where there is room."""
    label = f" {'Alerts':<{_LABEL}}"
    if not alerts:
        return [Text.assemble((label, _BOLD), ("none", _GOOD))]
    whole = [line for alert in alerts for line in _alert(alert, width)]
    lines = whole if len(whole) <= room else [_alert(alert, width)[0] for alert in alerts]
    if len(lines) > room:
        hidden = len(lines) - room + 1
        lines = [*lines[: room - 1], Text(f"{' ' * len(label)}… and {hidden} more", style=_DIM)]
    return [Text.assemble((label, _BOLD), lines[0][len(label) :]), *lines[1:]]


def _alert(alert: Alert, width: int) -> list[Text]:
    """A line, and its sentence below where it does not fit beside."""
    indent = " " * (_LABEL + 1)
    style = _BAD if alert.severity == "critical" else _WARN
    name, since = harmless(alert.name), whole_duration(alert.for_seconds)
    if alert.is_firing:
        line = Text.assemble(indent, (f"▲ {name}", style), (f" for {since}", _DIM))
    else:
        return [Text(f"{indent}△ {name}, pending for {since}", style=_DIM)]
    summary = harmless(alert.summary)
    if len(line) + len(summary) + 2 <= width:
        return [line.append(f"  {summary}")]
    return [line, *(Text(f"{indent}  {part}") for part in wrap(summary, width - len(indent) - 2))]


def whole_duration(seconds: float) -> str:
    """As `duration`, in whole seconds: nobody counts tenths of an age."""
    return duration(seconds) if seconds >= 10 else f"{round(seconds)} s"


def _number(number: float | None) -> str:
    """`1,204,331`."""
    return _UNKNOWN if number is None else f"{round(number):,}"


def _size(size: float | None) -> str:
    """Bytes: `16 MB`, `1.2 GB`."""
    if size is None:
        return _UNKNOWN
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < _KILO or unit == "TB":
            break
        size /= _KILO
    digits = 0 if size >= 10 or unit == "B" else 1
    return f"{size:.{digits}f} {unit}"


def _short(seconds: float | None) -> str:
    """A time that is short: `0.4 ms`, `120 ms`, `3.1 s`, `12:05`."""
    if seconds is None:
        return _UNKNOWN
    if seconds >= 1:
        return duration(seconds)
    ms = seconds * 1000
    return f"{ms:.0f} ms" if ms >= 10 else f"{math.floor(ms * 10 + 0.5) / 10:.1f} ms"
