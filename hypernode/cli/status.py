"""`hypernode status`: a coordinator on one screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from hypernode.cli.options import URL_DEFAULT, AsJson, CaFile, KeypairFile, Url

if TYPE_CHECKING:
    from hypernode.errors import HypernodeError
    from hypernode.status_answers import CoordinatorInfo
    from hypernode.watch_web import WatchWeb

#: What to say where only the public part is shown.
_HINTS: Final = {
    "no wallet": "this is what anybody sees; the rest is for a wallet of the coordinator's"
    " admin_wallets (--keypair)",
    "forbidden": "this is what anybody sees: this wallet is none of the coordinator's"
    " admin_wallets",
}
_WIDTH: Final = 80


def status(
    *,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on, until Ctrl-C.")] = False,
    interval: Annotated[
        float, typer.Option(min=0.5, max=3600, help="Seconds between two looks of --watch.")
    ] = 2.0,
    url: Url = URL_DEFAULT,
    keypair: KeypairFile = None,
    ca: CaFile = None,
    as_json: AsJson = False,
) -> None:
    """Show how a coordinator is: queue, nodes, money, store, alerts (administrators see all).

    Example: hypernode status --watch
    """
    from hypernode.cli.options import open_watch
    from hypernode.cli.run import run_command

    async def ask() -> None:
        async with open_watch(url, keypair, ca=ca, scope="admin") as web:
            if watch:
                await _go_on(web, interval, as_json=as_json)
                return
            info = await web.status()
            _print(info, web, as_json=as_json)
            _excuse(web, info)

    run_command(ask)


def _print(info: CoordinatorInfo, web: WatchWeb, *, as_json: bool) -> None:
    import time

    from hypernode.answers import plain as plain_values
    from hypernode.cli.output import is_terminal, print_json
    from hypernode.cli.status_screen import draw, plain

    now_s = time.time_ns() / 1e9
    if as_json:
        print_json(plain_values(info))
    elif is_terminal():
        from rich.console import Console

        console = Console(highlight=False)
        for line in draw(info, web.url, min(console.width, _WIDTH), now_s=now_s):
            console.print(line, crop=False)
    else:
        for name, value in plain(info, web.url, now_s=now_s):
            typer.echo(f"{name}\t{value}")


def _excuse(web: WatchWeb, info: CoordinatorInfo) -> None:
    """Why the rest is not shown."""
    from hypernode.cli.output import note

    if info.detail is None:
        why = f"this is what anybody sees: signing in failed ({web.excuse})"
        note(_HINTS.get(web.excuse, why))


async def _go_on(web: WatchWeb, interval_s: float, *, as_json: bool) -> None:
    """Look again and again; on a terminal on a screen of its own."""
    import trio

    from hypernode.cli.output import is_terminal
    from hypernode.errors import Busy, Unreachable

    if as_json or not is_terminal():
        while True:
            try:
                _print(await web.status(), web, as_json=as_json)
            except (Unreachable, Busy) as error:
                _print_error(error, as_json=as_json)
            if not as_json:
                typer.echo("")
            await trio.sleep(interval_s)
    await _live(web, interval_s)


def _print_error(error: HypernodeError, *, as_json: bool) -> None:
    """That this look saw nothing; the next one may."""
    from hypernode.cli.output import note, print_json

    if as_json:
        print_json({"error": error.sentence, "code": error.code})
    else:
        note(f"error: {error.sentence} ({error.code})")


async def _live(web: WatchWeb, interval_s: float) -> None:
    import time

    import trio
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from hypernode.cli.status_screen import draw
    from hypernode.errors import Busy, Unreachable

    console = Console(highlight=False)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        lines: list[Text] = []
        while True:
            last = Text(" Ctrl-C ends", style="dim")
            try:
                info = await web.status()
                lines = draw(
                    info,
                    web.url,
                    min(console.width, _WIDTH),
                    now_s=time.time_ns() / 1e9,
                    height=console.height - 1,
                )
            except (Unreachable, Busy) as error:
                last = Text(f" {error.sentence}", style="bold red")
            shown = [*lines[: max(1, console.height - 1)], last]
            live.update(Text("\n").join(shown), refresh=True)
            await trio.sleep(interval_s)
