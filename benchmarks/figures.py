"""The figures that README shows, drawn from the records that are kept: none is written by hand.

In:   `benchmarks/records/*.json`.
Out:  Markdown: for each benchmark that has records where they come from, and a table.
Rules:
  1. A figure is shown with its unit and its spread; with what it was measured on.
  2. A record that is not there has no row, and a benchmark without records no table.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.record import RECORDS, Record, read


class Table(msgspec.Struct, frozen=True):
    """Some records of one file."""

    file: str
    title: str
    #: Name of a record, and what people call it.
    rows: tuple[tuple[str, str], ...]


_DISPATCH: Final = (
    ("dispatch batched", "ours, 100 jobs a message; durable, verified, paid"),
    ("dispatch unbatched 100", "ours, one job a message, 100 in flight; durable, verified, paid"),
    ("dispatch unbatched 16", "ours, one job a message, 16 in flight; durable, verified, paid"),
    ("dispatch unbatched 1", "ours, one job a message, one in flight; durable, verified, paid"),
    ("dispatch echo, 1 a message", "echo on trio-websocket, one a message; in memory, no JSON"),
    ("dispatch node, 1 a message", "Node `ws`, one job a message; in memory, nothing verified"),
    ("dispatch node, 100 a message", "Node `ws`, 100 jobs a message; in memory, nothing verified"),
    ("dispatch batched : node, 1 a message", "ours with batches to Node without"),
    ("dispatch batched : node, 100 a message", "ours to Node, both with batches"),
    ("dispatch unbatched 100 : node, 1 a message", "ours to Node, neither with batches"),
)
_PACED: Final = tuple(
    (f"dispatch paced {rate} / s, {which}", f"{rate} jobs a second, {which}")
    for rate in (200, 500, 1000, 2000)
    for which in ("p50", "p99")
)
_PEERS: Final = ("dask", "celery", "ray")
_NAMES: Final = {
    "ours, batch 1": "ours, a job a call",
    "ours, batch 100": "ours, 100 jobs a call",
    "ours, light agents, batch 100": "ours, 100 jobs a call, agents without work of their own",
    "dask": "Dask",
    "celery": "Celery with Redis",
    "ray": "Ray",
}
TABLES: Final = (
    Table("dispatch", "Durable round trips for a CPU-second of the server, and what others do",
          _DISPATCH),
    Table("dispatch", "Jobs that come one by one at random: from due to completed",
          (*_PACED, ("dispatch paced, highest rate kept", "highest rate kept"))),
    Table("idle", "Agents that wait for work", (
        ("idle agent, memory", "memory of an agent"),
        ("idle agent, a heartbeat", "a heartbeat"),
        ("idle agents, CPU time of 5000", "heartbeats of 5,000 agents"),
        ("idle agent, to register", "to register"),
    )),
    Table("storm", "A thousand agents lose their connections at once, and no job", (
        ("storm of 1000 agents, away, p50", "an agent is away, p50"),
        ("storm of 1000 agents, away, p99", "an agent is away, p99"),
        ("storm of 1000 agents, until every job has its result", "until every job has its result"),
    )),
    Table("schedulers", "Tasks a second beside other schedulers: two workers, a thousand in flight",
          tuple((f"schedulers {name}", said) for name, said in _NAMES.items())),
    Table("schedulers", "Tasks for a CPU-second of everything: clients, schedulers, workers",
          tuple((f"schedulers {name}, everything", said) for name, said in _NAMES.items())),
    Table("schedulers", "One task at a time, p50", tuple(
        (f"schedulers {name}, one task, p50", _NAMES.get(name, name)) for name in ("ours", *_PEERS)
    )),
    Table("jobs", "What a job costs an agent beside its own work, in the sandbox", (
        ("jobs, a kernel seen before", "a submitter's kernel that was compiled before"),
        ("jobs, a kernel with a new source", "a submitter's kernel, compiled first"),
        ("jobs, a search over one nonce", "the smallest job of our own kinds"),
    )),
    Table("restart", "After kill -9, with a million finished and 100,000 open jobs", (
        ("restart, ready", "ready again"),
        ("restart, queue back", "the queue is back"),
        ("restart, memory", "memory"),
    )),
    Table("settlement", "A claim on the chain, as a whole transaction", tuple(
        (f"claim, {which}, depth {depth}, {unit}", f"{leaves} leaves, {said}: {unit}")
        for depth, leaves in ((10, "1,000"), (17, "131,000"), (20, "a million"))
        for which, said in (("first", "first, with its accounts"), ("again", "later"))
        for unit in ("units", "bytes", "lamports")
    )),
    Table("settlement", "The tree of a million leaves", (
        ("tree of 1000000, file checked", "its file is checked"),
        ("tree of 1000000, root", "its root is computed"),
        ("tree of 1000000, one proof", "one proof"),
        ("tree of 1000000, peak memory", "peak memory of the process"),
    )),
    Table("chain-look", "A look at the chain, each 15 s, of a market with a million owners", (
        ("look at 1000000, nothing new", "nothing is new"),
        ("look at 1000000, nothing new, CPU", "nothing is new: CPU of the coordinator"),
        ("look at 1000000, 100 deposits", "a hundred new deposits"),
        ("look at 1000000, first pass", "a pass over all deposits, spread over"),
        ("look at 1000000, first pass, CPU", "a pass over all deposits: CPU"),
        ("look at 1000000, 100 claims", "until a hundred claims are found"),
        ("look at 1000000, peak memory", "peak memory of the process"),
    )),
    Table("start", "The coordinator's one file", (
        ("file", "its size"),
        ("cold start to listening", "first start, until it listens"),
        ("warm start to listening", "later starts, until it listens"),
    )),
)  # fmt: skip


def figures(folder: Path = RECORDS) -> str:
    """All tables that have records."""
    return "\n".join(_lines(folder)).strip()


def _lines(folder: Path) -> Iterator[str]:
    shown = ""
    for table in TABLES:
        path = folder / f"{table.file}.json"
        if not path.is_file():
            continue
        records = {each.name: each for each in read(path)}
        rows = [(records[name], said) for name, said in table.rows if name in records]
        if not rows:
            continue
        if table.file != shown:
            shown = table.file
            yield from (_source(table.file, rows[0][0]), "")
        yield from (f"| {table.title} | |", "| --- | --- |")
        yield from (f"| {said} | {_value(each)} |" for each, said in rows)
        yield ""


def _source(name: str, one: Record) -> str:
    machine = one.where.machine
    return (
        f"`./run bench {name}`: {machine.cores} cores of {machine.cpu}, {machine.filesystem}, "
        f"commit `{one.where.commit}`, {one.where.at[:10]}."
    )


def _value(one: Record) -> str:
    spread = ""
    if len(one.values) > 1:
        spread = f" ({number(one.spread[0])} to {number(one.spread[1])})"
    unit = "times" if one.unit == "ratio" else one.unit
    return f"{number(one.value)} {unit}{spread}"


def number(value: float) -> str:
    """Three digits that count, thousands apart."""
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 100 else f"{rounded:g}"
