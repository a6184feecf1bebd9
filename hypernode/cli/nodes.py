"""`hypernode nodes`: a wallet's agents and whether they get jobs; drains, for administrators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hypernode.cli.durations import parse_seconds
from hypernode.cli.options import URL_DEFAULT, AsAdmin, AsJson, CaFile, KeypairFile, Url

if TYPE_CHECKING:
    from hypernode.answers import NodeInfo

app = typer.Typer(
    help="List nodes, and drain or undrain them (administrators).",
    no_args_is_help=True,
    rich_markup_mode=None,
)

NodeId = Annotated[str, typer.Argument(help="The node's id.")]


@app.command("list")
def list_nodes(
    *,
    as_admin: AsAdmin = False,
    url: Url = URL_DEFAULT,
    keypair: KeypairFile = None,
    ca: CaFile = None,
    as_json: AsJson = False,
) -> None:
    """List this wallet's newest nodes; with --admin everybody's.

    Example: hypernode nodes list
    """
    from hypernode.answers import plain
    from hypernode.cli.options import open_admin, open_web
    from hypernode.cli.output import print_json
    from hypernode.cli.run import run_command

    async def ask() -> list[NodeInfo]:
        if as_admin:
            async with open_admin(url, keypair, ca) as admin:
                return await admin.all_nodes()
        async with open_web(url, keypair, ca=ca) as web:
            return await web.nodes(web.wallet)

    nodes = run_command(ask)
    if as_json:
        print_json([plain(node) for node in nodes])
    else:
        print_nodes(nodes)


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
        typer.Option("--for", parser=parse_seconds, metavar="TIME", help="So long, such as 2h."),
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
