"""`hypernode coordinator`: the market's server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def coordinator(  # noqa: PLR0913 (one parameter an option)
    *,
    host: Annotated[
        str | None,
        typer.Option(help="Address to listen on (127.0.0.1; 0.0.0.0 is all).", show_default=False),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(help="Port for HTTP, WebSocket and the page (3001).", show_default=False),
    ] = None,
    db: Annotated[
        Path | None, typer.Option(help="The database, a file.", show_default=False)
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Settings in TOML; flags win.", show_default=False)
    ] = None,
    domain: Annotated[
        str | None,
        typer.Option(help="Host and port that wallets are shown.", show_default=False),
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(help="Certificate chain, PEM.", show_default=False)
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key, PEM.", show_default=False)] = None,
    admin: Annotated[
        list[str] | None,
        typer.Option(help="Wallet that may see everything; repeat for more.", show_default=False),
    ] = None,
    faucet: Annotated[
        bool | None,
        typer.Option("--faucet/--no-faucet", help="Give development money.", show_default=False),
    ] = None,
    withhold_hours: Annotated[
        int | None,
        typer.Option(help="Hours that a payment stays withheld (24).", show_default=False),
    ] = None,
    test_pay_daily: Annotated[
        str | None,
        typer.Option(help="HYPER a day for test jobs, in all (0).", show_default=False),
    ] = None,
    log_json: Annotated[
        bool | None,
        typer.Option("--log-json/--log-text", help="Form of the log.", show_default=False),
    ] = None,
) -> None:
    """Run a coordinator.

    Every setting is also an environment variable, HYPERNODE_<NAME>, and a key of --config.

    Example: hypernode coordinator --port 3001 --db market.db --faucet
    """
    import os
    from functools import partial

    from coordinator.config import load_config
    from coordinator.log import configure_log
    from coordinator.main import run_coordinator
    from coordinator.signals import run_until_signal
    from hypernode.cli.output import note

    flags = {
        "host": host,
        "port": port,
        "db": db,
        "domain": domain,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
        "admin_wallets": admin or None,
        "faucet": faucet,
        "withhold_hours": withhold_hours,
        "test_pay_daily": test_pay_daily,
        "log_json": log_json,
    }
    settings = load_config(flags, os.environ, config)
    configure_log(json_lines=settings.log_json)

    def ready(bound: int) -> None:
        scheme = "https" if settings.tls_cert else "http"
        note(f"listening on {scheme}://{settings.host}:{bound}")

    raise typer.Exit(run_until_signal(partial(run_coordinator, settings, ready=ready)))
