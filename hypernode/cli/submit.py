"""`hypernode submit` and `hypernode quote`: a job is asked for, or its price."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hypernode.cli.durations import parse_seconds
from hypernode.cli.options import URL_DEFAULT, AsJson, CaFile, KeypairFile, Url
from hypernode.cli.progress import GoingOn

if TYPE_CHECKING:
    from coordinator.protocol.messages import Price
    from hypernode.client import AsyncClient
    from hypernode.job import Job
    from hypernode.result import Result

Kind = Annotated[str, typer.Argument(help="montecarlo, render, … (see: hypernode kinds)")]
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


Inputs = Annotated[
    list[str],
    typer.Option(
        "--input",
        "-i",
        metavar="NAME=FILE.npy",
        help="One input array; repeat it for more. Large ones are uploaded first.",
        show_default=False,
    ),
]


def submit(  # noqa: PLR0913 (one parameter an option)
    kind: Kind,
    *,
    param: Param = [],  # noqa: B006 (typer copies it)
    params: Params = "",
    input_: Inputs = [],  # noqa: B006 (typer copies it)
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
    job_key: Annotated[
        str,
        typer.Option(
            "--job-key",
            help="Your own name for the job: the same again is the same job.",
            show_default=False,
        ),
    ] = "",
    key: Annotated[str, typer.Option("--key", hidden=True)] = "",
    timeout: Annotated[
        int | None,
        typer.Option(
            parser=parse_seconds,
            metavar="TIME",
            help="One attempt may run so long, such as 90, 5m or 2h (default: 5m).",
            show_default=False,
        ),
    ] = None,
    queue_timeout: Annotated[
        int | None,
        typer.Option(
            parser=parse_seconds,
            metavar="TIME",
            help="It may wait so long for an agent (default: 1d).",
            show_default=False,
        ),
    ] = None,
    total_timeout: Annotated[
        int | None,
        typer.Option(
            parser=parse_seconds,
            metavar="TIME",
            help="It may take so long in all, waits and attempts (default: 7d).",
            show_default=False,
        ),
    ] = None,
    retries: Annotated[
        int | None,
        typer.Option(
            min=0, help="Further attempts after a failed one (default: 2).", show_default=False
        ),
    ] = None,
    wait_timeout: Annotated[
        float | None,
        typer.Option(help="Wait so many seconds at most; the job goes on.", show_default=False),
    ] = None,
    url: Url = URL_DEFAULT,
    ca: CaFile = None,
    keypair: KeypairFile = None,
    as_json: AsJson = False,
) -> None:
    """Submit one job; prints its id, or with --wait its result.

    Example: hypernode submit render -p width=640 -p height=360 --budget 0.1 -o picture.png
    """
    from hypernode.cli.kinds import explaining
    from hypernode.cli.options import open_client
    from hypernode.cli.output import print_json
    from hypernode.cli.parameters import read_inputs, read_params
    from hypernode.cli.progress import follow
    from hypernode.cli.results import check_output_kind, check_output_path, print_result
    from hypernode.cli.run import run_command

    values = read_params(param, params, kind)
    arrays = read_inputs(input_)
    if output is not None:
        check_output_path(output)
        check_output_kind(output, kind, values)
    going_on = GoingOn()

    async def ask() -> tuple[Job, Result | None]:
        async with open_client(url, keypair, ca=ca) as client:
            job = await client.submit(
                kind,
                values,
                budget=budget,
                key=job_key or key or None,
                retries=retries,
                timeout_s=timeout,
                queue_timeout_s=queue_timeout,
                total_timeout_s=total_timeout,
                inputs=arrays,
            )
            going_on.job = job.id
            await _note_if_nobody(client, kind, values, queue_timeout, total_timeout)
            if not wait and output is None:
                return job, None
            await follow(job, wait_timeout, is_quiet=as_json)
            return job, await job.result()

    with explaining(kind), going_on:
        job, result = run_command(ask)
    if result is not None:
        print_result(kind, result, output, as_json=as_json, params=values)
    elif as_json:
        print_json({"id": job.id, "price": job.price})
    else:
        typer.echo(job.id)


async def _note_if_nobody(
    client: AsyncClient, kind: str, values: Mapping[str, Any], *timeouts: int | None
) -> None:
    """Say that a job will wait where no agent is there that could take it."""
    from coordinator.limits import QUEUE_S_DEFAULT, TOTAL_S_DEFAULT
    from hypernode.cli.durations import seconds_text
    from hypernode.cli.output import note
    from hypernode.errors import HypernodeError

    # A remark is not worth a failure: the job is submitted.
    with suppress(HypernodeError):
        price = await client.quote(kind, values)
        if not price.agents:
            queue_s, total_s = timeouts
            wait = seconds_text(min(queue_s or QUEUE_S_DEFAULT, total_s or TOTAL_S_DEFAULT))
            note(
                "no agent that could take this job is online and ready now: it waits up to "
                f"{wait} (an agent that has just started may be warming up; `hypernode nodes` of "
                "an operator says why one gets no jobs)"
            )


def quote(
    kind: Kind,
    *,
    param: Param = [],  # noqa: B006 (typer copies it)
    params: Params = "",
    timeout: Annotated[
        int | None,
        typer.Option(
            parser=parse_seconds,
            metavar="TIME",
            help="A command may run so long, such as 90, 5m or 2h (default: 5m).",
            show_default=False,
        ),
    ] = None,
    url: Url = URL_DEFAULT,
    ca: CaFile = None,
    as_json: AsJson = False,
) -> None:
    """Show what a job would cost now; needs no wallet.

    Example: hypernode quote hashsearch -p prefix=68690a -p start=0 -p count=1e6 -p target_bits=20
    """
    from hypernode.answers import plain
    from hypernode.cli.kinds import explaining
    from hypernode.cli.options import open_client
    from hypernode.cli.output import print_facts, print_json
    from hypernode.cli.parameters import read_params
    from hypernode.cli.run import run_command

    values = read_params(param, params, kind)

    async def ask() -> Price:
        async with open_client(url, None, is_needed=False, ca=ca) as client:
            return await client.quote(kind, values, timeout_s=timeout)

    with explaining(kind):
        price = run_command(ask)
    if as_json:
        print_json(plain(price))
    else:
        print_facts(_facts_of(price, timeout))


def _facts_of(price: Price, timeout_s: int | None) -> dict[str, str]:
    """A price in words: of a command a rate, since its work is not known."""
    from coordinator.limits import EXECUTION_S_DEFAULT
    from coordinator.workloads.catalogue import KINDS, get
    from onchain.amounts import format_hyper, parse_hyper

    able = {"agents that could take it": str(price.agents)}
    if price.kind in KINDS and get(price.kind).is_timed:
        limit_s = timeout_s or EXECUTION_S_DEFAULT
        rate = format_hyper(parse_hyper(price.price) // limit_s)
        most = f"at most {price.price} (after {limit_s} s) or the budget"
        return {"price": f"{rate} HYPER a second, {most}", **able}
    work = {"operations": f"{price.flop:.3g}", "bytes moved": f"{price.bytes:.3g}"}
    return {"price": f"{price.price} HYPER", **work, **able}
