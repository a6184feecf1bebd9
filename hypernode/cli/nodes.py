"""`hypernode nodes`: a wallet's agents and whether they get jobs; drains, for administrators."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
import typer.core

from hypernode.cli.durations import parse_seconds
from hypernode.cli.options import URL_DEFAULT, AsJson, CaFile, KeypairFile, Url

if TYPE_CHECKING:
    from coordinator.protocol.signin import Scope
    from hypernode.answers import NodeInfo
    from hypernode.status_answers import FleetNodeInfo

#: Characters of a host's name in a table.
_NAME_CHARS: Final = 10


class _Lists(typer.core.TyperGroup):
    """`nodes` alone lists them, and so does `nodes --all`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        is_listing = not args or (args[0].startswith("-") and args[0] != "--help")
        return super().parse_args(ctx, ["list", *args] if is_listing else args)


app = typer.Typer(
    cls=_Lists,
    help="List nodes and why each is idle; drain and undrain them (administrators).",
    rich_markup_mode=None,
)

NodeId = Annotated[str, typer.Argument(help="The node's id.")]


Everybodys = Annotated[
    bool, typer.Option("--all", "--admin", help="Everybody's nodes (administrators).")
]


@app.command("list")
def list_nodes(
    *,
    everybody: Everybodys = False,
    url: Url = URL_DEFAULT,
    keypair: KeypairFile = None,
    ca: CaFile = None,
    as_json: AsJson = False,
) -> None:
    """List this wallet's newest nodes, and why each has nothing to do; --all is everybody's.

    Example: hypernode nodes list
    """
    import time

    from hypernode.answers import plain
    from hypernode.cli.options import open_watch
    from hypernode.cli.output import print_json
    from hypernode.cli.run import run_command

    async def ask() -> list[FleetNodeInfo]:
        scope: Scope = "admin" if everybody else "wallet"
        async with open_watch(url, keypair, ca=ca, scope=scope) as web:
            return await web.fleet(everybody=everybody)

    found = run_command(ask)
    if as_json:
        print_json([plain(node) for node in found])
    else:
        print_fleet(found, now_s=time.time_ns() / 1e9)


def print_fleet(nodes: list[FleetNodeInfo], *, now_s: float) -> None:
    """A table; on a terminal devices and what is to be said of a node follow it, a line each."""
    from hypernode.cli.output import is_terminal, note, print_table

    if not nodes:
        note("no nodes: `hypernode agent` joins this machine")
        return
    columns = ("Node", "Name", "State", "Jobs", "Done", "Failed", "Earned", "Seen")
    rows = [_row(node, now_s) for node in nodes]
    if not is_terminal():
        more = [
            (_level(node), ", ".join(node.devices), node.idle, _sentence(node)) for node in nodes
        ]
        all_columns = (*columns, "Sandbox", "Devices", "Idle", "Why")
        print_table(all_columns, [(*row, *rest) for row, rest in zip(rows, more, strict=True)])
        return
    print_table(columns, rows)
    for node in nodes:
        typer.echo(f"{node.id}: {_sentence(node)}")


def _row(node: FleetNodeInfo, now_s: float) -> tuple[str, ...]:
    from hypernode.cli.output import harmless

    return (
        node.id,
        harmless(node.hostname)[:_NAME_CHARS] or "-",
        node.state,
        f"{node.held}/{node.slots}",
        str(node.done),
        str(node.failed),
        node.earned,
        _ago(node.last_seen, now_s),
    )


def _level(node: FleetNodeInfo) -> str:
    """Levels of the sandbox, for commands and for our own kinds."""
    return f"{node.sandbox}/{node.worker_sandbox}"


def _ago(seen: str, now_s: float) -> str:
    """How long ago an ISO time was."""
    from datetime import datetime

    from hypernode.cli.status_screen import whole_duration

    try:
        then_s = datetime.fromisoformat(seen).timestamp()
    except ValueError:
        return "-"
    return whole_duration(max(0, now_s - then_s))


def _sentence(node: FleetNodeInfo) -> str:
    """What it computes with, and why it does not."""
    from hypernode.cli.output import harmless

    counted = Counter(node.devices)
    devices = ", ".join(f"{n} x {name}" if n > 1 else name for name, n in counted.items())
    state = f"idle: {node.why}" if node.idle else "at work"
    parts = (devices, f"sandbox {_level(node)}", state, *node.remarks)
    return harmless("; ".join(part for part in parts if part))


def print_nodes(nodes: list[NodeInfo]) -> None:
    """A table; what is to be said of a node is too long for one and follows it on a terminal."""
    from hypernode.cli.output import is_terminal, print_table

    columns = ("Node", "Status", "GPU", "Earned")
    rows = [(node.id, _status(node), node.gpu, bytes(node.earned).decode()) for node in nodes]
    if not is_terminal():
        remarks = [" ".join(_remarks(node)) for node in nodes]
        rows_of_all = [(*row, said) for row, said in zip(rows, remarks, strict=True)]
        print_table((*columns, "Remarks"), rows_of_all)
        return
    print_table(columns, rows)
    for node in nodes:
        for remark in _remarks(node):
            typer.echo(f"{node.id}: {remark}")


def _status(node: NodeInfo) -> str:
    return f"{node.status}, drained" if node.drained_until else node.status


def _remarks(node: NodeInfo) -> list[str]:
    from hypernode.cli.output import harmless

    drained = f"drained until {node.drained_until}: {node.drain_reason}"
    return [harmless(said) for said in ([drained] if node.drained_until else []) + [*node.remarks]]


@app.command("drain")
def drain(
    node: NodeId,
    *,
    reason: Annotated[str, typer.Option(help="Told to the node's operator.")],
    time: Annotated[
        int,
        typer.Option(
            "--for",
            parser=parse_seconds,
            metavar="TIME",
            help="So long, such as 2h.",
            show_default="1h",
        ),
    ] = 3600,
    url: Url = URL_DEFAULT,
    keypair: KeypairFile = None,
    ca: CaFile = None,
    as_json: AsJson = False,
) -> None:
    """Give a node no jobs for a while (administrators); then test jobs decide.

    Example: hypernode nodes drain node-1f-9c0d3b1a2e4f5a6b --for 2h --reason "wrong results"
    """
    from hypernode.cli.options import open_admin
    from hypernode.cli.run import run_command

    async def ask() -> NodeInfo:
        async with open_admin(url, keypair, ca) as web:
            return await web.drain_node(node, reason, time)

    _say(run_command(ask), as_json=as_json)


@app.command("undrain")
def undrain(
    node: NodeId,
    *,
    url: Url = URL_DEFAULT,
    keypair: KeypairFile = None,
    ca: CaFile = None,
    as_json: AsJson = False,
) -> None:
    """Give a drained node jobs again at once (administrators).

    Example: hypernode nodes undrain node-1f-9c0d3b1a2e4f5a6b
    """
    from hypernode.cli.options import open_admin
    from hypernode.cli.run import run_command

    async def ask() -> NodeInfo:
        async with open_admin(url, keypair, ca) as web:
            return await web.undrain_node(node)

    _say(run_command(ask), as_json=as_json)


def _say(node: NodeInfo, *, as_json: bool) -> None:
    from hypernode.answers import plain
    from hypernode.cli.output import print_json

    if as_json:
        print_json(plain(node))
    elif node.drained_until:
        typer.echo(f"{node.id} is drained until {node.drained_until}")
    else:
        typer.echo(f"{node.id} gets jobs")
