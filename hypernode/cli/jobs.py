"""`hypernode jobs`: list, show, follow, wait for, fetch and cancel jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from hypernode.cli.options import URL_DEFAULT, AsAdmin, AsJson, CaFile, KeypairFile, Url
from hypernode.cli.results import OutputFile

if TYPE_CHECKING:
    from hypernode.answers import JobInfo
    from hypernode.result import Result

app = typer.Typer(
    help="List, show, follow, wait for, fetch and cancel jobs.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

#: Rows of a listing: as many as a coordinator gives.
LIST_MAX: Final = 50
JobId = Annotated[str, typer.Argument(help="The job's id.")]
Timeout = Annotated[float | None, typer.Option(help="Seconds to wait at most.", show_default=False)]
State = Literal["queued", "assigned", "running", "verifying", "completed", "failed", "cancelled"]


@app.command("list")
def list_jobs(  # noqa: PLR0913 (one parameter an option)
    *,
    status: Annotated[
        State | None, typer.Option(help="Only jobs of this status.", show_default=False)
    ] = None,
    quarantined: Annotated[
        bool, typer.Option("--quarantined", help="Only jobs given up since they ended hosts.")
    ] = False,
    as_admin: AsAdmin = False,
    limit: Annotated[
        int, typer.Option(min=1, max=LIST_MAX, help="Show at most so many.")
    ] = LIST_MAX,
    url: Url = URL_DEFAULT,
    ca: CaFile = None,
    keypair: KeypairFile = None,
    as_json: AsJson = False,
) -> None:
    """List this wallet's newest jobs; with --admin everybody's.

    Example: hypernode jobs list --status failed --json
    """
    from hypernode.answers import plain
    from hypernode.cli.options import open_admin, open_web
    from hypernode.cli.output import note, print_json
    from hypernode.cli.run import run_command

    async def ask() -> list[JobInfo]:
        if as_admin:
            async with open_admin(url, keypair, ca) as admin:
                return await (admin.quarantined_jobs() if quarantined else admin.jobs())
        async with open_web(url, keypair, ca=ca) as web:
            return await web.jobs()

    newest = run_command(ask)
    fitting = [
        job
        for job in newest
        if status in {None, job.status} and (not quarantined or job.code == "quarantined")
    ]
    shown = fitting[:limit]
    if as_json:
        print_json([plain(job) for job in shown])
    else:
        _print_jobs(shown)
    if len(shown) < len(fitting):
        note(f"{len(shown)} of {len(fitting)} shown: --limit {LIST_MAX} shows more")
    elif len(newest) == LIST_MAX:
        note(f"these are of the newest {LIST_MAX}; older jobs are found by their id (jobs show)")


def _print_jobs(jobs: list[JobInfo]) -> None:
    """For a terminal as narrow as is usual; for a pipe with nothing left out."""
    from hypernode.cli.output import is_terminal, note, print_table

    if not is_terminal():
        rows = [
            (job.id, job.type, job.status, job.paid, _time(job), job.created_at, job.code)
            for job in jobs
        ]
        print_table(("Job", "Kind", "Status", "Paid", "Time", "Created", "Code"), rows)
        return
    if not jobs:
        note("no jobs")
        return
    # Why a job failed says that it failed: one column for both.
    brief = [
        (job.id, job.type, job.code or job.status, job.paid, _time(job), _moment(job.created_at))
        for job in jobs
    ]
    print_table(("Job", "Kind", "Status", "Paid", "Time", "Created"), brief)


@app.command("show")
def show(
    job: JobId,
    *,
    url: Url = URL_DEFAULT,
    ca: CaFile = None,
    keypair: KeypairFile = None,
    as_json: AsJson = False,
) -> None:
    """Show one job; its payment is shown to its submitter only.

    Example: hypernode jobs show job-1f-9c0d3b1a2e4f5a6b
    """
    from hypernode.answers import plain
    from hypernode.cli.options import open_web
    from hypernode.cli.output import print_facts, print_json
    from hypernode.cli.run import run_command

    async def ask() -> JobInfo:
        async with open_web(url, keypair, is_needed=False, ca=ca) as web:
            return await web.job(job)

    info = run_command(ask)
    if as_json:
        # What is not known is left out: an empty budget would look like one.
        document = plain(info)
        hidden = [name for name in ("budget", "paid", "fee") if not document[name]]
        print_json({name: value for name, value in document.items() if name not in hidden})
        return
    facts = {
        "Job": info.id,
        "Kind": info.type,
        "Status": info.status,
        "Code": info.code,
        "Detail": info.detail,
        "Budget": _hyper(info.budget),
        "Paid": _hyper(info.paid),
        "Fee": f"{info.fee} HYPER of it" if info.fee else "",
        "Time": _time(info),
        "Created": info.created_at,
        "Ended": info.completed_at or "",
        "Attempts": _attempts(info),
        "Timeouts": _timeouts(info),
        "Node": info.node_id or "",
        "Job key": info.key,
    }
    print_facts({name: value for name, value in facts.items() if value})


@app.command("wait")
def wait(
    job: JobId,
    *,
    timeout: Timeout = None,
    url: Url = URL_DEFAULT,
    ca: CaFile = None,
    keypair: KeypairFile = None,
    as_json: AsJson = False,
) -> None:
    """Wait for a job's end; the exit status is 0 if it completed, 5 if it did not.

    Example: hypernode jobs wait job-1f-9c0d3b1a2e4f5a6b && echo done
    """
    from hypernode.cli.options import open_client
    from hypernode.cli.output import print_json
    from hypernode.cli.progress import GoingOn, follow
    from hypernode.cli.run import run_command

    async def ask() -> None:
        async with open_client(url, keypair, ca=ca) as client:
            handle = client.handle(job)
            await follow(handle, timeout, is_quiet=as_json)
            if handle.state != "completed":
                await handle.result()  # it raises why there is none

    with GoingOn(job):
        run_command(ask)
    if as_json:
        print_json({"id": job, "status": "completed"})
    else:
        typer.echo(f"{job} completed")


@app.command("result")
def result(
    job: JobId,
    *,
    output: OutputFile = None,
    url: Url = URL_DEFAULT,
    ca: CaFile = None,
    keypair: KeypairFile = None,
    as_json: AsJson = False,
) -> None:
    """Print a finished job's result, or write it to a file.

    Example: hypernode jobs result job-1f-9c0d3b1a2e4f5a6b -o picture.png
    """
    from hypernode.cli.options import open_client
    from hypernode.cli.results import check_output_path, print_result
    from hypernode.cli.run import run_command
    from hypernode.errors import NotFinished
    from hypernode.inbox import FINAL

    if output is not None:
        check_output_path(output)

    async def ask() -> tuple[str, Result]:
        async with open_client(url, keypair, ca=ca) as client:
            info = await client.job(job)
            if info.status not in FINAL:
                sentence = f"{job} is {info.status}: `hypernode jobs wait {job}` waits for it"
                raise NotFinished("not_finished", sentence)
            return info.type, await client.result(job)

    kind, found = run_command(ask)
    print_result(kind, found, output, as_json=as_json)


@app.command("logs")
def logs(
    job: JobId,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the job ends.")
    ] = False,
    url: Url = URL_DEFAULT,
    keypair: KeypairFile = None,
    ca: CaFile = None,
    as_json: AsJson = False,
) -> None:
    """Print a job's log: of a running job its last part, of a finished command all of it.

    With --json each part is a document on a line of its own.

    Example: hypernode jobs logs --follow job-1f-9c0d3b1a2e4f5a6b
    """
    from hypernode.cli.options import open_client
    from hypernode.cli.progress import GoingOn, LogScreen
    from hypernode.cli.run import run_command

    screen = LogScreen(job, as_json=as_json)

    async def ask() -> None:
        async with open_client(url, keypair, ca=ca) as client:
            async for piece in client.logs(job, follow=follow, on_part=screen.note_part):
                screen.write(piece)

    if follow:
        with GoingOn(job):
            run_command(ask)
    else:
        run_command(ask)
    screen.end()


@app.command("cancel")
def cancel(
    job: JobId,
    *,
    url: Url = URL_DEFAULT,
    ca: CaFile = None,
    keypair: KeypairFile = None,
    as_json: AsJson = False,
) -> None:
    """Stop a job; what is held for it returns to the wallet.

    Example: hypernode jobs cancel job-1f-9c0d3b1a2e4f5a6b
    """
    from hypernode.cli.options import open_web
    from hypernode.cli.output import print_json
    from hypernode.cli.run import run_command

    async def ask() -> None:
        async with open_web(url, keypair, ca=ca) as web:
            await web.cancel(job)

    run_command(ask)
    if as_json:
        print_json({"id": job, "status": "cancelled"})
    else:
        typer.echo(f"{job} cancelled")


def _time(job: JobInfo) -> str:
    return "" if job.duration is None else f"{job.duration:.2f} s"


def _attempts(job: JobInfo) -> str:
    retries = "" if job.retries is None else f" (retries after failures: {job.retries})"
    return f"{job.attempts}{retries}"


def _timeouts(job: JobInfo) -> str:
    from hypernode.cli.durations import seconds_text

    if not job.total_timeout:
        return ""
    queue, run, total = map(
        seconds_text, (job.queue_timeout, job.execution_timeout, job.total_timeout)
    )
    return f"{run} an attempt, {queue} in the queue, {total} in all"


def _hyper(amount: str) -> str:
    return f"{amount} HYPER" if amount else ""


def _moment(text: str) -> str:
    """A time of today as the clock here shows it, an older one as its date."""
    from datetime import datetime

    from coordinator.clock import SystemClock

    try:
        moment = datetime.fromisoformat(text).astimezone()
    except ValueError:
        return text
    now = datetime.fromtimestamp(SystemClock().wall_ms() / 1000, moment.tzinfo)
    is_today = moment.date() == now.date()
    return f"{moment:%H:%M}" if is_today else f"{moment:%d %b}"
