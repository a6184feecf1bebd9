"""`hypernode guardian`: recompute each root on a machine of one's own; approve it or cancel it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hypernode.cli.chain_options import ConfigFile, Ledger, Rpc, SignerFile
from hypernode.cli.durations import parse_seconds
from hypernode.cli.options import URL_DEFAULT, AsJson, CaFile, Url

if TYPE_CHECKING:
    from ssl import SSLContext

    import trio

    from hypernode.cli.chain_settings import ChainSettings
    from hypernode.guardian.judgement import Bounds
    from hypernode.guardian.port import ReceiptPort
    from hypernode.guardian.watching import Guardian, Report


def guardian(  # noqa: PLR0913 (one parameter an option)
    *,
    folder: Annotated[
        Path, typer.Option("--folder", help="Its own: leaf files, receipts, what it approved.")
    ] = Path("guardian"),
    url: Url = URL_DEFAULT,
    ca: CaFile = None,
    rpc: Rpc = None,
    ledger: Ledger = None,
    keypair: SignerFile = None,
    config: ConfigFile = None,
    fee_wallet: Annotated[
        str, typer.Option(help="The house's wallet for fees.", show_default=False)
    ] = "",
    treasury_wallet: Annotated[
        str, typer.Option(help="The house's treasury.", show_default=False)
    ] = "",
    one_sided_max: Annotated[
        str, typer.Option(help="HYPER that may rest on receipts which no node has signed.")
    ] = "0",
    unproven_max: Annotated[
        str, typer.Option(help="HYPER that may rise without any receipt.")
    ] = "0",
    cancel_before: Annotated[
        int,
        typer.Option(
            parser=parse_seconds,
            metavar="TIME",
            help="Cancel what could not be fetched so long before it would become active.",
        ),
    ] = "6h",  # type: ignore[assignment]
    every: Annotated[
        int, typer.Option(parser=parse_seconds, metavar="TIME", help="Between two looks.")
    ] = "1m",  # type: ignore[assignment]
    once: Annotated[bool, typer.Option("--once", help="Look once and end.")] = False,
    metrics_port: Annotated[
        int | None,
        typer.Option(help="Serve /metrics on this port of this machine.", show_default=False),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(help="Take receipts from agents on this port.", show_default=False),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address of that port; without TLS this machine's only.")
    ] = "127.0.0.1",
    tls_cert: Annotated[
        Path | None, typer.Option(help="Certificate chain of that port, PEM.", show_default=False)
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key, PEM.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Watch a ledger's roots: recompute each from the published leaves, approve it or cancel it.

    Run it on another machine than the coordinator, with nodes of the chain of your own choosing.
    Agents send their receipts to --port (`hypernode agent --guardian`), or copy their
    `receipts.jsonl` into FOLDER/receipts. It says why it cancels. After `--once` the status is 0
    where it approved or had nothing to do, 1 where it waits, cancelled or paused.

    Example: hypernode guardian --url https://hyper.example --ledger 7tB3… -k guardian.json
    """
    from hypernode.cli.chain_settings import need_chain_parts
    from hypernode.cli.run import run_command

    need_chain_parts()
    import os

    from coordinator.log import configure_log
    from hypernode.cli.chain_settings import read_chain

    settings, _ = read_chain({"rpc": rpc, "ledger": ledger, "keypair": keypair}, os.environ, config)
    bounds = _bounds(fee_wallet, treasury_wallet, one_sided_max, unproven_max)
    tls = context_of(host, tls_cert, tls_key)
    configure_log(json_lines=as_json or None)

    async def run() -> Report | None:
        async with _open(settings, folder, url, ca, bounds, cancel_before) as watcher:
            if once:
                return await watcher.round()
            await _watch(watcher, every, metrics_port, None if port is None else (host, port, tls))
        return None

    report = run_command(run)
    if report is not None:
        _show(report, as_json=as_json)
        if report.did in {"cancelled", "waiting"} or report.paused_for:
            raise typer.Exit(1)


def _bounds(fee: str, treasury: str, one_sided: str, unproven: str) -> Bounds:
    from hypernode.cli.chain_settings import address_in
    from hypernode.cli.exit import Usage
    from hypernode.guardian.judgement import Bounds
    from onchain.amounts import parse_hyper
    from onchain.errors import BadAmount

    try:
        return Bounds(
            one_sided_max=parse_hyper(one_sided),
            unproven_max=parse_hyper(unproven),
            fee_wallet=address_in(fee, "--fee-wallet") if fee else b"",
            treasury_wallet=address_in(treasury, "--treasury-wallet") if treasury else b"",
        )
    except BadAmount as error:
        msg = f"--one-sided-max, --unproven-max: {error}"
        raise Usage(msg) from error


def _open(
    settings: ChainSettings,
    folder: Path,
    url: str,
    ca: Path | None,
    bounds: Bounds,
    cancel_before: int,
) -> AbstractAsyncContextManager[Guardian]:
    """The guardian for the time of the command."""
    from contextlib import asynccontextmanager
    from functools import partial

    import trio

    from coordinator.clock import SystemClock
    from hypernode.cli.chain_deed import ledger_in, opened
    from hypernode.cli.chain_settings import signer_in
    from hypernode.guardian.fetching import Coordinator
    from hypernode.guardian.watching import Guardian
    from hypernode.wallet_file import default_wallet_path
    from hypernode.web import http_url
    from onchain.fees import Fees
    from onchain.journal import FileJournal
    from onchain.role_keys import HeldKey, check_keys
    from onchain.sender import Sender

    @asynccontextmanager
    async def guard() -> AsyncIterator[Guardian]:
        key = signer_in(settings)
        where = settings.keypair or str(default_wallet_path())
        held = {"guardian": HeldKey(key.address, f"keypair: {where}")}
        (folder / "receipts").mkdir(parents=True, exist_ok=True)
        journal = FileJournal(folder / "guardian.journal")
        try:
            async with (
                opened(settings) as chain,
                Coordinator(http_url(url), ca) as coordinator,
            ):
                market, now = await ledger_in(chain, settings)
                check_keys(now.ledger, held)
                yield Guardian(
                    chain=chain,
                    market=market,
                    sender=Sender(chain, journal, fees=Fees(lamports_max=settings.fee_max)),
                    key=key,
                    key_where=f"keypair: {where}",
                    coordinator=coordinator,
                    folder=folder,
                    bounds=bounds,
                    cancel_before_s=cancel_before,
                    run_thread=trio.to_thread.run_sync,
                    unix_s=lambda: SystemClock().wall_ms() / 1000,
                )
        finally:
            await trio.to_thread.run_sync(partial(journal.release))

    return guard()


def context_of(host: str, cert: Path | None, key: Path | None) -> SSLContext | None:
    """TLS of the port for receipts; None where it is this machine's alone.

    Raises:
        Usage: receipts would travel in the open.
        TlsError: the certificate cannot serve.
    """
    from coordinator.certificate import load_pair
    from coordinator.clock import SystemClock
    from hypernode.cli.exit import Usage

    if cert is not None and key is not None:
        return load_pair(cert, key, SystemClock().wall_ms() / 1000).context
    if cert is not None or key is not None:
        msg = "--tls-cert and --tls-key go together"
        raise Usage(msg)
    if host not in {"127.0.0.1", "::1", "localhost"}:
        msg = "--host other than this machine's own needs --tls-cert and --tls-key"
        raise Usage(msg)
    return None


async def _watch(
    watcher: Guardian,
    every_s: int,
    metrics_port: int | None,
    port: tuple[str, int, SSLContext | None] | None,
) -> None:
    import trio

    from coordinator.metrics_port import open_metrics_port, serve_metrics
    from hypernode.guardian.watching import page_of, watch

    taking = None if port is None else receipt_port(watcher)

    async def page() -> bytes:
        await trio.lowlevel.checkpoint()
        return page_of(watcher.tally) + (b"" if taking is None else taking.page())

    async with trio.open_nursery() as nursery:
        if metrics_port is not None:
            nursery.start_soon(serve_metrics, await open_metrics_port(metrics_port), page)
        if port is not None and taking is not None:
            nursery.start_soon(taking.serve, await open_port(*port))
        await watch(watcher, every_s)


def receipt_port(watcher: Guardian) -> ReceiptPort:
    """What takes receipts for a guardian."""
    import trio

    from coordinator.admission import network_of
    from hypernode.guardian.port import ReceiptPort

    return ReceiptPort(
        watcher.receipt_store, run_thread=trio.to_thread.run_sync, network_of=network_of
    )


async def open_port(
    host: str, port: int, tls: SSLContext | None
) -> Sequence[trio.abc.Listener[Any]]:
    """Listeners for receipts.

    Raises:
        OSError: the port is taken, or there is no such address here.
    """
    import trio

    from coordinator.log import get_log

    listeners = await trio.open_tcp_listeners(port, host=host)
    number = listeners[0].socket.getsockname()[1]
    get_log(__name__).info("receipts", port=number, tls=tls is not None)
    if tls is None:
        return listeners
    return [trio.SSLListener(each, tls, https_compatible=True) for each in listeners]


def _show(report: Report, *, as_json: bool) -> None:
    from hypernode.cli.moments import moment
    from hypernode.cli.output import print_facts, print_json

    if as_json:
        findings = [{"code": each.code, "said": each.said} for each in report.findings]
        print_json(
            {
                "did": report.did,
                "epoch": report.epoch,
                "findings": findings,
                "paused_for": list(report.paused_for),
                "until": report.until_s or None,
            }
        )
        return
    facts = {"Did": report.did, "Epoch": str(report.epoch or "none")}
    if report.until_s:
        facts["Cancels at"] = moment(report.until_s, report.clock_s)
    facts |= {f"Wrong: {each.code}": each.said for each in report.findings}
    if report.paused_for:
        facts["Paused for"] = ", ".join(report.paused_for)
    print_facts(facts)
