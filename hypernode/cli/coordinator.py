"""`hypernode coordinator`: the market's server."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import typer

#: New objects before a search for cycles among them, and searches before older ones are looked at.
#: The last counts the searches of quiet moments too, some five a second (coordinator.garbage): a
#: search of everything, which stops the house for as long as there is, comes minutes apart.
GC_THRESHOLDS: Final = (20_000, 20, 1_000)


def _keep_for_good() -> None:
    """Look for cycles seldom, and never again among what has been made until now.

    A busy second makes 100,000 objects that live for a moment and hold no cycles. By default each
    700 of them start a search for some: a sixth of a busy coordinator's time (measured).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def coordinator(  # noqa: PLR0913 (one parameter an option)
    context: typer.Context,
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
    trusted_proxies: Annotated[
        list[str] | None,
        typer.Option(
            help="Reverse proxy, or network of some, that is believed; repeat for more.",
            show_default=False,
        ),
    ] = None,
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
    """Run a coordinator; SIGTERM ends it in good order, Ctrl-C at once.

    SIGHUP reads the certificate and its key again. Every setting is also an environment variable,
    HYPERNODE_<NAME>, and a key of --config; `hypernode config show` tells what holds.

    Example: hypernode coordinator --port 3001 --db market.db --faucet
    """
    given = dict(locals())  # an option, a setting
    del given["context"]

    import os
    from functools import partial

    from coordinator.activation import inherited_sockets
    from coordinator.config import read_config
    from coordinator.limits import DRAIN_SPARE_S
    from coordinator.log import configure_log, get_log
    from coordinator.main import run_coordinator
    from coordinator.notify import Notifier
    from coordinator.signals import run_until_signal
    from hypernode.cli.backup import is_for_another
    from hypernode.cli.exit import leaf_of
    from hypernode.cli.output import note
    from hypernode.cli.remarks import coordinator_remarks

    if is_for_another(context):
        return
    # Both take their variables out of the environment, so that no child of ours finds them.
    notifier, sockets = Notifier.of(os.environ), inherited_sockets(os.environ)
    settings, reading = read_config(flags_of(given), os.environ, config)
    reading.raise_problems()
    assert settings is not None
    configure_log(json_lines=settings.log_json)
    addresses = [each.getsockname()[0] for each in sockets]
    for remark in coordinator_remarks(settings, reading, addresses):
        get_log(__name__).warning("configuration", remark=remark)

    def ready(bound: int) -> None:
        scheme = "https" if settings.tls_cert else "http"
        host = sockets[0].getsockname()[0] if sockets else settings.host
        _keep_for_good()
        note(f"listening on {scheme}://{f'[{host}]' if ':' in host else host}:{bound}")

    _keep_for_good()
    try:
        service = partial(
            run_coordinator, settings, ready=ready, notifier=notifier, sockets=sockets
        )
        status = run_until_signal(service, end_s=settings.drain_s + DRAIN_SPARE_S)
    except OSError as error:
        raise naming(error, f"{settings.host}:{settings.port}") from error
    except BaseExceptionGroup as group:
        raise naming(leaf_of(group), f"{settings.host}:{settings.port}") from None
    raise typer.Exit(status)


def flags_of(given: Mapping[str, object]) -> dict[str, object]:
    """The options of this command as settings, by their names."""
    names = {"admin": "admin_wallets"}
    flags = {names.get(name, name): value for name, value in given.items() if name != "config"}
    return {name: None if value in ([], ()) else value for name, value in flags.items()}


def naming(error: BaseException, where: str) -> BaseException:
    """An error of the listener with the address that it is about; any other as it is."""
    import errno
    import socket

    from hypernode.cli.exit import Usage

    if isinstance(error, socket.gaierror) or (
        isinstance(error, OSError) and error.errno == errno.EADDRNOTAVAIL
    ):
        return Usage(f"cannot listen on {where}: this is no address of this machine")
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return OSError(error.errno, "the port is taken: choose another with --port", where)
    if isinstance(error, PermissionError) and error.filename is None:
        return OSError(error.errno, "this port needs more rights: choose one above 1023", where)
    return error
