"""The agent's dashboard, drawn: from a status and the last events to the lines of one screen.

In:   a `Status`, events of the log, the size of the terminal.
Out:  exactly as many lines as the screen has rows, none wider than it.
Rules:
  1. What does not fit is left out from the least important end, and it is said how much it was.
  2. A column that does not fit is left out whole: no number is ever cut.
  3. Text from outside (names, reasons, log fields) is never markup, and moves no terminal.
Not here: the terminal itself (`agent_terminal.py`), what the words mean (`agent/status.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import Any, Final, NamedTuple

from rich.style import Style
from rich.text import Text

from agent.status import DeviceStatus, RunStatus, Status
from hypernode.cli.agent_words import duration
from hypernode.cli.output import harmless

#: A terminal says 0 when it does not know; below this nothing useful fits.
WIDTH_MIN: Final = 10
_DIM: Final = Style(dim=True)
_BOLD: Final = Style(bold=True)
_GOOD: Final = Style(color="green")
_WARN: Final = Style(color="yellow")
_BAD: Final = Style(color="red", bold=True)
_ACCENT: Final = Style(color="cyan")
_LEVELS: Final = {
    "error": _BAD, "critical": _BAD, "warning": _WARN, "info": Style(), "debug": _DIM,
}  # fmt: skip
_MODES: Final = {"working": _GOOD, "warming up": _ACCENT, "paused": _WARN, "draining": _WARN}
_LINKS: Final = {"online": _GOOD, "connecting": _WARN, "offline": _BAD}
#: Rows that events keep for themselves, if there are any.
_EVENT_ROWS: Final = 3
#: Lines with the titles of sections.
_RULES: Final = 3
_LABEL: Final = 13
_UNKNOWN: Final = "-"


class Event(NamedTuple):
    """One line of the log."""

    #: Of the day, `11:08:33`.
    time: str
    level: str
    text: str


def draw(status: Status, events: Sequence[Event], width: int, height: int) -> list[Text]:
    """The screen's lines."""
    head = _head(status, width)
    foot = [_keys(status)]
    devices = [_device(device, number, width) for number, device in enumerate(status.devices)]
    runs = [_run(run, status, width) for run in status.runs]
    notes = [line for remark in status.remarks for line in _note(remark, width)]
    room = height - len(head) - len(foot) - _RULES
    # Sections in the order in which they give way: events, remarks, runs, devices.
    room_devices = _share(len(devices), room, keep=4)
    room -= room_devices
    room_notes = _share(len(notes), room - _EVENT_ROWS - 2, keep=3)
    room -= room_notes
    room_runs = _share(max(len(runs), 1), room - _EVENT_ROWS, keep=2)
    room -= room_runs
    lines = head[:2]
    lines += _cut(notes, room_notes, "line")
    lines += head[2:]
    lines += [_rule("devices", width), *_cut(devices, room_devices, "device")]
    waiting = f"{len(runs)} running, {status.jobs.waiting} waiting"
    lines += [_rule(f"jobs: {waiting}", width)]
    lines += _cut(runs or [Text(_idle(status), style=_DIM)], room_runs, "job")
    lines += [_rule("events", width), *_events(events, room)]
    return [_fit(line, width) for line in [*lines[: height - 1], *foot]][:height]


def _note(remark: str, width: int) -> list[Text]:
    """A remark with its fix, whole: in as many lines as it takes."""
    first, *more = wrap(harmless(remark), max(width - 4, 20)) or [""]
    return [Text(f" ▲ {first}", _WARN), *(Text(f"   {line}", _WARN) for line in more)]


def _rule(title: str, width: int) -> Text:
    line = "─" * max(width - len(title) - 5, 0)
    return Text.assemble((" ── ", _DIM), (title, _DIM), (f" {line}", _DIM))


def _share(wanted: int, room: int, *, keep: int) -> int:
    """Rows for a section: all that it wants, or what is left, or at least a few."""
    return max(min(wanted, max(room, keep)), 0)


def _cut(lines: list[Text], room: int, what: str) -> list[Text]:
    if len(lines) <= room:
        return lines
    hidden = len(lines) - room + 1
    more = Text(f"   … and {hidden} {what}{'s' if hidden > 1 else ''} more", style=_DIM)
    return [*lines[: room - 1], more] if room else []


def _fit(line: Text, width: int) -> Text:
    line.truncate(width, overflow="ellipsis", pad=True)
    line.no_wrap, line.end = True, ""
    return line


# ---- the head -----------------------------------------------------------------------------------


def _head(status: Status, width: int) -> list[Text]:
    link = status.link
    state = Text.assemble(("● ", _LINKS[link.state]), (link.state, _LINKS[link.state]))
    state.append(f" {duration(status.link_s)}")
    mode = (status.mode, _MODES[status.mode])
    title = Text.assemble((" HYPERNODE", _BOLD), " agent ", (status.version, _DIM), "  ", mode)
    lines = [_ends(title, state, width), _trouble(status)]
    level = min(status.sandbox, 2)
    sandbox = Text.assemble(
        (f"level {level} of 2", (_BAD, _WARN, _GOOD)[level]),
        (f"  kernels {status.worker_sandbox}", _DIM),
    )
    if not status.is_tested:
        sandbox = Text("is being tested", style=_DIM)
    is_wide = width >= 76
    wallet = shorten(status.wallet, 44 if width >= 110 else 12) or _UNKNOWN
    node = status.node_id or _UNKNOWN
    url = status.url.removesuffix("/")
    lines += _pair(_fact("coordinator", url), _fact("wallet", wallet), width, is_wide)
    lines += _pair(_fact("node", node), _fact("sandbox", sandbox), width, is_wide)
    earned, total = status.earned.today, status.earned.total
    lines += _pair(
        _fact("today", Text.assemble((earned, _GOOD), " HYPER")),
        _fact("in all", Text.assemble((total, _GOOD), " HYPER")),
        *(width, is_wide),
    )
    lines += _pair(_jobs(status), _unsent(status), width, is_wide)
    return lines


def _trouble(status: Status) -> Text:
    """The worst that is wrong now."""
    link, unsent = status.link, status.unsent
    if unsent.disk:
        return Text(f" {harmless(unsent.disk)}", _BAD)
    if link.state == "offline":
        return Text(f" {harmless(link.reason)}; next try in {link.retry_s:.0f} s", _BAD)
    if unsent.is_full:
        return Text(f" the outbox is full ({unsent.results} results): no job starts now", _BAD)
    if link.standing:
        return Text(f" the coordinator sends no jobs: {harmless(link.standing)}", _BAD)
    if link.is_draining:
        return Text(" the coordinator is about to stop: what runs goes on", _WARN)
    return Text("")


def _fact(label: str, value: str | Text) -> Text:
    shown = Text(harmless(value)) if isinstance(value, str) else value
    return Text.assemble((f" {label:<{_LABEL}}", _DIM), shown)


def _pair(left: Text, right: Text, width: int, is_wide: bool) -> list[Text]:
    """Two facts beside each other, or below."""
    if not is_wide:
        return [left, right]
    half = width // 2
    left.truncate(half - 1, overflow="ellipsis", pad=True)
    return [Text.assemble(left, " ", right)]


def _jobs(status: Status) -> Text:
    jobs = status.jobs
    text = Text.assemble((str(jobs.completed), _GOOD), " done")
    text.append(f", {jobs.failed} failed", _BAD if jobs.failed else _DIM)
    return _fact("jobs", text)


def _unsent(status: Status) -> Text:
    unsent = status.unsent
    style = _BAD if unsent.is_full else _WARN if unsent.results else _DIM
    return _fact("unsent", Text(f"{unsent.results} results", style=style))


def _ends(left: Text, right: Text, width: int) -> Text:
    gap = width - left.cell_len - right.cell_len - 1
    return Text.assemble(left, " " * max(gap, 1), right)


# ---- devices and jobs ---------------------------------------------------------------------------


def _device(device: DeviceStatus, number: int, width: int) -> Text:
    if device.state != "works":
        name = f" {number} {harmless(device.name)} "
        # Why, and what to do, is among the remarks.
        return Text.assemble((name, _DIM), (f"OUT: {device.state}", _BAD))
    percent, used = device.utilization_percent, device.memory_used_mb
    memory = f"{_gib(used)}/{_gib(device.memory_mb)} GiB" if device.memory_mb else _UNKNOWN
    heat = device.temperature_celsius
    columns: list[tuple[int, str, Style]] = [
        (0, f"{_UNKNOWN if percent is None else percent:>4} %", _BOLD),
        (60, f"{memory:>16}", Style()),
        (70, "" if heat is None else f"{heat:>4} °C", _heat(heat)),
        (78, "" if device.power_watts is None else f"{device.power_watts:>5} W", Style()),
    ]
    shown = [(text, style) for least, text, style in columns if width >= least and text]
    taken = sum(len(text) for text, _ in shown)
    bar = bar_of(None if percent is None else percent / 100, 10 if width >= 60 else 5)
    room = max(width - taken - bar.cell_len - 6, 2)
    name = harmless(device.name)
    name = name if len(name) <= room else f"{name[: room - 1]}…"
    return Text.assemble(f" {number} {name:<{room}} ", bar, *shown)


def _heat(celsius: int | None) -> Style:
    if celsius is None:
        return _DIM
    return _BAD if celsius >= 88 else _WARN if celsius >= 80 else Style()


def _run(run: RunStatus, status: Status, width: int) -> Text:
    numbers = {device.uuid: str(number) for number, device in enumerate(status.devices)}
    where = numbers.get(run.device, "·") if run.kind != "command" else "$"
    line = Text.assemble((f" {where} ", _ACCENT), f"{harmless(run.kind):<11} ")
    line.append(f"{duration(run.seconds):>8} ", _BOLD)
    if run.progress is not None:
        line.append(bar_of(run.progress, 10 if width >= 60 else 5))
        line.append(f" {run.progress:>4.0%} ")
    elif width >= 60:
        line.append(f"of {duration(run.limit_s)} at most ", _DIM)
    line.append(f" {harmless(run.job)}", _DIM)
    return line


def _idle(status: Status) -> str:
    if status.mode == "warming up":
        return " · kernels are being compiled and tried"
    if status.mode == "paused":
        return " · takes no jobs: press p to go on"
    if status.jobs.last:
        return f" · no job now; the last one: {harmless(status.jobs.last)}"
    return " · no job now"


def bar_of(part: float | None, cells: int) -> Text:
    """A bar of eighths of a cell."""
    if part is None:
        return Text("·" * cells + " ", style=_DIM)
    eighths = round(min(max(part, 0.0), 1.0) * cells * 8)
    full, rest = divmod(eighths, 8)
    filled = "█" * full + (" ▏▎▍▌▋▊▉"[rest] if rest else "")
    return Text.assemble((filled, _ACCENT), ("░" * (cells - len(filled)), _DIM), " ")


# ---- events and keys ----------------------------------------------------------------------------


def _events(events: Sequence[Event], room: int) -> list[Text]:
    """The newest events, the last one at the bottom."""
    if room <= 0:
        return []
    shown = [
        Text.assemble((f" {event.time} ", _DIM), (harmless(event.text), _LEVELS[event.level]))
        for event in events[max(len(events) - room, 0) :]
    ]
    return [*shown, *(Text("") for _ in range(room - len(shown)))]


def _keys(status: Status) -> Text:
    keys = [("p", "go on" if status.mode == "paused" else "pause"), ("q", "finish and quit")]
    if status.mode == "draining":
        keys = [("q", "quit now: what runs is given back")]
    line = Text(" ")
    for key, meaning in keys:
        line.append(f" {key} ", Style(reverse=True))
        line.append(f" {meaning}   ", _DIM)
    return line


# ---- words --------------------------------------------------------------------------------------


def shorten(text: str, room: int) -> str:
    """The beginning and the end of an address."""
    return text if len(text) <= room else f"{text[:4]}…{text[-4:]}"


def _gib(megabytes: int | None) -> str:
    return _UNKNOWN if megabytes is None else f"{megabytes / 1024:.1f}"


def event_of(line: dict[str, Any]) -> Event:
    """One line of the log, as people read it."""
    known = {"event", "level", "timestamp", "module", "exception"}
    more = " ".join(f"{key}={value}" for key, value in line.items() if key not in known)
    text = f"{line.get('event', '')}  {more}".strip()
    if line.get("event") == "job done":
        end = line.get("code") or line.get("status", "")
        text = f"{line.get('kind')} {end} in {line.get('seconds')} s  {line.get('job')}"
    # What has several lines is told by its first; the whole is in the log of `--no-dashboard`.
    clock = str(line.get("timestamp", ""))[11:19]
    level = str(line.get("level", "info"))
    return Event(clock, level if level in _LEVELS else "info", text.split("\n")[0])
