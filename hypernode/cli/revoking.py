"""`hypernode sessions`, `hypernode nodes revoke` and `hypernode token revoke`: taking back.

A wallet sees what it has given that is good now, and ends it; the effect is at once, and for good.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple, TypeVar

import typer

from hypernode.cli.hardware import HardwareWallet
from hypernode.cli.options import URL_DEFAULT, AsJson, CaFile, KeypairFile, Url

if TYPE_CHECKING:
    from coordinator.protocol.signin import Scope
    from hypernode.access_web import AccessWeb
    from hypernode.answers import OpenThing, RevokedAll

T = TypeVar("T")


class Who(NamedTuple):
    """Whose things are meant, and where."""

    url: str
    keypair: Path | None
    ca: Path | None
    hardware: str
    #: Another wallet, for administrators; `""` for one's own.
    wallet: str = ""


sessions = typer.Typer(
    help="See and end what this wallet has open.", no_args_is_help=True, rich_markup_mode=None
)

OfWallet = Annotated[
    str,
    typer.Option(
        "--wallet",
        metavar="ADDRESS",
        help="Another wallet's: for administrators of the coordinator.",
        show_default=False,
    ),
]
_COLUMNS: Final = ("Id", "Kind", "Created", "Last used", "Expires", "From or key")


@sessions.command("list")
def list_open(
    *,
    url: Url = URL_DEFAULT,
    keypair: KeypairFile = None,
    ca: CaFile = None,
    hardware: HardwareWallet = "",
    wallet: OfWallet = "",
    as_json: AsJson = False,
) -> None:
    """List the sessions, unspent tokens and node keys of this wallet; nothing secret is shown.

    The session of this very question is left out: it ends with it.

    Example: hypernode sessions list
    """
    from hypernode.answers import plain
    from hypernode.cli.output import print_json, print_table

    who = Who(url, keypair, ca, hardware, wallet)
    found = _asked(who, lambda web: web.open_things(wallet))
    things = [thing for thing in found if not thing.is_current]
    if as_json:
        print_json([plain(thing) for thing in things])
    else:
        print_table(_COLUMNS, [_row(thing) for thing in things])


def _row(thing: OpenThing) -> tuple[str, ...]:
    def short(time: str | None) -> str:
        return f"{time[:10]} {time[11:16]}" if time else "-"

    return (
        thing.id,
        thing.kind,
        short(thing.created_at),
        short(thing.last_used_at),
        short(thing.expires_at),
        thing.node_key or thing.opened_from or "-",
    )


@sessions.command("revoke")
def revoke(  # noqa: PLR0913 (one parameter an option)
    ids: Annotated[
        list[str] | None,
        typer.Argument(help="Ids of `sessions list`.", show_default=False),
    ] = None,
    *,
    everything: Annotated[
        bool,
        typer.Option("--all", help="All sessions and all tokens that have not been used."),
    ] = False,
    with_nodes: Annotated[
        bool,
        typer.Option("--nodes", help="With --all: the keys of all nodes too; they stop working."),
    ] = False,
    url: Url = URL_DEFAULT,
    keypair: KeypairFile = None,
    ca: CaFile = None,
    hardware: HardwareWallet = "",
    wallet: OfWallet = "",
    as_json: AsJson = False,
) -> None:
    """End sessions, tokens or node keys at once; --all --nodes ends everything.

    After a theft of the machine that holds bearers, tokens or node keys: --all --nodes. If the
    wallet's own key was stolen too, whoever has it signs in again: move to another wallet.

    Example: hypernode sessions revoke --all --nodes
    """
    from hypernode.answers import plain
    from hypernode.cli.exit import Usage
    from hypernode.cli.output import print_json

    if bool(ids) == everything or (with_nodes and not everything):
        msg = "sessions revoke: give ids, or --all (with --nodes for the keys of nodes too)"
        raise Usage(msg)
    who = Who(url, keypair, ca, hardware, wallet)
    if everything:
        tally = _asked(who, lambda web: web.revoke_all(wallet, with_nodes=with_nodes))
        print_json(plain(tally)) if as_json else typer.echo(_sentence(tally))
        return
    revoke_names(ids or [], who, as_json=as_json)


def _sentence(tally: RevokedAll) -> str:
    return f"revoked: {tally.sessions} sessions, {tally.tokens} tokens, {tally.nodes} node keys"


def revoke_nodes(
    ids: Annotated[list[str], typer.Argument(help="Nodes.", show_default=False)],
    *,
    url: Url = URL_DEFAULT,
    keypair: KeypairFile = None,
    ca: CaFile = None,
    hardware: HardwareWallet = "",
    as_json: AsJson = False,
) -> None:
    """Revoke the keys of nodes: they stop at once, their jobs go to others, what they earned stays.

    A node comes back when its wallet signs a new token for it.

    Example: hypernode nodes revoke node-1-0123456789abcdef
    """
    revoke_names(_with_prefix(ids, "node"), Who(url, keypair, ca, hardware), as_json=as_json)


def new_key(
    *,
    url: Annotated[
        str | None,
        typer.Option("--url", help="The agent's coordinator, as it was given to the agent."),
    ] = None,
    state_dir: Annotated[
        Path | None,
        typer.Option(help="The agent's state directory.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Give this machine's agent, while it is stopped, a new node key; then it needs a new token.

    Example: hypernode nodes new-key && hypernode token -o token
    """
    import os

    from agent.config import load
    from agent.rotation import rotate_key
    from hypernode.cli.output import note, print_json
    from hypernode.cli.run import run_command

    folder = state_dir or load({"url": url}, os.environ).state_dir
    rotated = run_command(lambda: rotate_key(folder))
    if as_json:
        print_json({"old": rotated.old, "new": rotated.new, "kept": str(rotated.kept)})
        return
    typer.echo(rotated.new)
    note(f"the old key {rotated.old} is kept in {rotated.kept}")
    note("start the agent with a new token; revoke the old node: `hypernode nodes revoke`")


def revoke_token(
    tokens: Annotated[
        list[str],
        typer.Argument(
            help="Ids of `sessions list`, or files with the tokens themselves.", show_default=False
        ),
    ],
    *,
    url: Url = URL_DEFAULT,
    keypair: KeypairFile = None,
    ca: CaFile = None,
    hardware: HardwareWallet = "",
    as_json: AsJson = False,
) -> None:
    """Revoke tokens, and the keys of the nodes that registered with them.

    Example: hypernode token revoke ./token
    """
    names = [_name_of(token) for token in tokens]
    revoke_names(_with_prefix(names, "token"), Who(url, keypair, ca, hardware), as_json=as_json)


def _name_of(token: str) -> str:
    """The id of a token: as given, or read from a file that holds the token."""
    from coordinator.limits import TOKEN_BYTES_MAX
    from coordinator.protocol.errors import Refusal
    from coordinator.protocol.token import nonce_of
    from hypernode.cli.exit import Usage

    path = Path(token)
    if not path.is_file():
        return token
    with path.open(encoding="ascii", errors="replace") as file:
        text = file.read(TOKEN_BYTES_MAX + 1).strip()
    try:
        return f"token-{nonce_of(text)}"
    except Refusal as refusal:
        msg = f"{token}: {refusal.sentence}"
        raise Usage(msg) from refusal


def _with_prefix(ids: list[str], prefix: str) -> list[str]:
    return [name if name.startswith(f"{prefix}-") else f"{prefix}-{name}" for name in ids]


def revoke_names(names: list[str], who: Who, *, as_json: bool) -> None:
    """Revoke things one by one and say which; one that is not there keeps no other open."""
    from hypernode.cli.exit import Exit
    from hypernode.cli.output import note, print_json
    from hypernode.errors import NotFound

    revoked: list[str] = []
    failed: list[dict[str, str]] = []

    async def ask(web: AccessWeb) -> None:
        for name in names:
            try:
                await web.revoke(name, who.wallet)
            except NotFound as error:
                failed.append({"id": name, "error": error.sentence, "code": error.code})
                if not as_json:
                    note(f"error: {error.sentence} ({error.code})")
                continue
            revoked.append(name)
            if not as_json:
                typer.echo(f"revoked {name}")

    _asked(who, ask)
    if as_json:
        print_json({"revoked": revoked, **({"failed": failed} if failed else {})})
    if failed:
        raise typer.Exit(Exit.FAILED)


def _asked(who: Who, ask: Callable[[AccessWeb], Awaitable[T]]) -> T:
    """Ask in a session of this wallet's; in an administrator's for somebody else's things."""
    from hypernode.cli.options import open_access
    from hypernode.cli.run import run_command

    async def run() -> T:
        scope: Scope = "admin" if who.wallet else "wallet"
        web = open_access(who.url, who.keypair, who.ca, hardware=who.hardware, scope=scope)
        async with web:
            return await ask(web)

    return run_command(run)
