"""`hypernode submit`, `hypernode quote` and `hypernode jobs`: what a submitter asks for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hypernode.cli.options import URL_DEFAULT, AsJson, KeypairFile, Url

if TYPE_CHECKING:
    from hypernode.answers import JobInfo
    from hypernode.result import Result

app = typer.Typer(help="List, show and cancel jobs.", no_args_is_help=True, rich_markup_mode=None)

Kind = Annotated[str, typer.Argument(help="montecarlo, render, hashsearch, command, …")]
Param = Annotated[
    list[str],
    typer.Option(
        "--param",
        "-p",
        metavar="NAME=VALUE",
        help="One parameter; the value is JSON, or else text. Repeat it for more.",
        show_default=False,
    ),
]
Params = Annotated[
    str,
    typer.Option(
        "--params",
        metavar="JSON",
        help="All parameters as one JSON object; @FILE reads it from a file.",
        show_default=False,
    ),
]
JobId = Annotated[str, typer.Argument(help="The job's id.")]


def submit(  # noqa: PLR0913 (one parameter an option)
    kind: Kind,
    *,
    param: Param = [],  # noqa: B006 (typer copies it)
    params: Params = "",
    budget: Annotated[str, typer.Option(help="Pay at most this many HYPER, such as 0.02.")],
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the result.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write the result to FILE.npy, .npz (all outputs), .png or .txt; waits for it.",
            show_default=False,
        ),
    ] = None,
    key: Annotated[
        str,
        typer.Option(
            help="Your own name for the job: the same again is the same job.", show_default=False
        ),
    ] = "",
    timeout: Annotated[
        float | None, typer.Option(help="Seconds to wait at most.", show_default=False)
    ] = None,
    url: Url = URL_DEFAULT,
    keypair: KeypairFile = None,
    as_json: AsJson = False,
) -> None:
    """Submit one job; prints its id, or with --wait its result.

    Example: hypernode submit render -p width=640 -p height=360 --budget 0.1 -o picture.png
    """
    from hypernode.cli.options import open_client
    from hypernode.cli.parameters import check_output_path, read_params
    from hypernode.cli.progress import follow
    from hypernode.cli.run import run_command
    from hypernode.job import Job

    values = read_params(param, params)
    if output is not None:
        check_output_path(output)

    async def ask() -> tuple[Job, Result | None]:
        async with open_client(url, keypair) as client:
            job = await client.submit(kind, values, budget=budget, key=key or None)
            if not wait and output is None:
                return job, None
            return job, await follow(job, timeout, is_quiet=as_json)

    job, result = run_command(ask)
    _print_submitted(job.id, job.price, kind, result, output, as_json=as_json)


def _print_submitted(
    job: str, price: str, kind: str, result: Result | None, output: Path | None, *, as_json: bool
) -> None:
    from hypernode.cli.output import is_terminal, note, print_json
    from hypernode.cli.parameters import describe, save_output
    from hypernode.result import receipt_document

    if result is None:
        print_json({"id": job, "price": price}) if as_json else typer.echo(job)
        return
    if output is not None:
        save_output(output, result)
    if as_json:
        print_json(
            {
                "id": job,
                "status": "completed",
                "paid": result.paid or price,
                "outputs": [
                    {"dtype": array.dtype.name, "shape": array.shape} for array in result.outputs
                ],
                "file": str(output) if output else None,
                "text": result.text if kind == "command" else None,
                "receipt": receipt_document(result.receipt) if result.receipt else None,
            }
        )
    elif output is not None:
        typer.echo(str(output))
    else:
        typer.echo(describe(kind, result))
    if is_terminal() and not as_json and result.receipt is not None:
        note(f"{job}: {result.receipt.verdict}, paid {result.paid} HYPER")


def quote(
    kind: Kind,
    *,
    param: Param = [],  # noqa: B006 (typer copies it)
    params: Params = "",
    url: Url = URL_DEFAULT,
    keypair: KeypairFile = None,
    as_json: AsJson = False,
) -> None:
    """Show what a job would cost now.

    Example: hypernode quote hashsearch -p prefix=68690a -p start=0 -p count=1e6 -p target_bits=20
    """
    from coordinator.protocol.messages import Price
    from hypernode.answers import plain
    from hypernode.cli.options import open_client
    from hypernode.cli.output import print_facts, print_json
    from hypernode.cli.parameters import read_params
    from hypernode.cli.run import run_command

    values = read_params(param, params)

    async def ask() -> Price:
        async with open_client(url, keypair, is_needed=False) as client:
            return await client.quote(kind, values)

    price = run_command(ask)
    if as_json:
        print_json(plain(price))
        return
    print_facts(
        {
            "price": f"{price.price} HYPER",
            "operations": f"{price.flop:.3g}",
            "bytes moved": f"{price.bytes:.3g}",
            "agents that could take it": str(price.agents),
        }
    )


@app.command("list")
def list_jobs(
    *, url: Url = URL_DEFAULT, keypair: KeypairFile = None, as_json: AsJson = False
) -> None:
    """List this wallet's newest jobs.

    Example: hypernode jobs list --json
    """
    from hypernode.answers import plain
    from hypernode.cli.options import open_web
    from hypernode.cli.output import print_json, print_table
    from hypernode.cli.run import run_command

    async def ask() -> list[JobInfo]:
        async with open_web(url, keypair) as web:
            return await web.jobs()

    jobs = run_command(ask)
    if as_json:
        print_json([plain(job) for job in jobs])
        return
    rows = [
        (job.id, job.type, job.status, job.paid, _seconds(job.duration), job.created_at, job.code)
        for job in jobs
    ]
    print_table(("Job", "Kind", "Status", "Paid", "Time", "Created", "Code"), rows)


@app.command("show")
def show(
    job: JobId, *, url: Url = URL_DEFAULT, keypair: KeypairFile = None, as_json: AsJson = False
) -> None:
    """Show one job; its payment is shown to its submitter only.

    Example: hypernode jobs show job-1f-9c0d3b1a2e4f5a6b
    """
    from hypernode.answers import plain
    from hypernode.cli.options import open_web
    from hypernode.cli.output import print_facts, print_json
    from hypernode.cli.run import run_command

    async def ask() -> JobInfo:
        async with open_web(url, keypair, is_needed=False) as web:
            return await web.job(job)

    info = run_command(ask)
    document = plain(info)
    if as_json:
        print_json(document)
        return
    facts = {name: str(value) for name, value in document.items() if value not in (None, "")}
    print_facts(facts)


@app.command("cancel")
def cancel(
    job: JobId, *, url: Url = URL_DEFAULT, keypair: KeypairFile = None, as_json: AsJson = False
) -> None:
    """Stop a job; what is held for it returns to the wallet.

    Example: hypernode jobs cancel job-1f-9c0d3b1a2e4f5a6b
    """
    from hypernode.cli.options import open_web
    from hypernode.cli.output import print_json
    from hypernode.cli.run import run_command

    async def ask() -> None:
        async with open_web(url, keypair) as web:
            await web.cancel(job)

    run_command(ask)
    if as_json:
        print_json({"id": job, "status": "cancelled"})
    else:
        typer.echo(f"{job} cancelled")


def _seconds(duration: float | None) -> str:
    return "" if duration is None else f"{duration:.2f} s"
