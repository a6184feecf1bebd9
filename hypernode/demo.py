"""The whole market on one machine: a coordinator, two agents, a submitter with real jobs.

In:   a folder for keys, database and logs, and one for the picture.
Out:  a `Report`: each job with its result, price and verdict, whether the books balance, and what
      an agent's wallet had on the chain before and after its claim.
Rules:
  1. Nothing is simulated but the chain's validators: processes, wire, checks and the settlement
     program are the real ones.
  2. What this machine cannot do is skipped, with the reason and its fix.
  3. A result is believed here only after it was compared with what is known otherwise: a closed
     form, a hash.
Not covered: without the extra `chain` money comes from a faucet, and earnings end in the books.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from agent.device import Gpus
from coordinator.protocol.signing import Keypair, generate, load_keypair, save_keypair
from coordinator.store.sqlite import open_sqlite
from hypernode.answers import NodeInfo
from hypernode.children import Child, ChildFailed, running
from hypernode.client import AsyncClient
from hypernode.demo_jobs import DemoJob, demo_jobs
from hypernode.demo_terms import CREDIT, TEST_PAY, Claim, why_no_chain
from hypernode.errors import HypernodeError
from hypernode.job import Job
from hypernode.web import Web
from onchain.address import encode_address
from onchain.amounts import format_hyper, parse_hyper

if TYPE_CHECKING:
    from hypernode.demo_chain import DemoChain

#: A cold start compiles the kernels once for each agent; a busy small machine takes this long.
START_S: Final = 120.0
#: For all jobs together.
JOBS_S: Final = 120.0
_TICK_S: Final = 0.5
_EVENT: Final = re.compile(r'"event": ?"([^"]+)"')
#: Events of an agent's log that take a while, in words.
_STEPS: Final = {
    "starting": "tests its sandbox",
    "warming up": "compiles its kernels",
    "warm": "is warm",
}
_LISTENING: Final = re.compile(r"listening on (http://\S+)")


class Row(msgspec.Struct):
    """One job, as the screen shows it."""

    kind: str
    what: str
    #: `waiting`, a job's state, or `skipped`.
    status: str = "waiting"
    result: str = ""
    #: HYPER in all, and the house's part of it.
    paid: str = ""
    fee: str = ""
    #: How much of the result was computed again.
    verified: str = ""
    agent: str = ""
    id: str = ""


class Report(msgspec.Struct):
    """What happened; grows while the demo runs."""

    jobs: list[Row]
    #: What is going on, for people.
    phase: str = ""
    agents: list[str] = []
    #: HYPER that left the submitter's credit, the sum of its receipts, and the fees in it.
    spent: str = "0"
    receipts: str = "0"
    fees: str = "0"
    ledger_balanced: bool = False
    #: What moved on the chain, or why nothing did.
    claim: Claim = msgspec.field(default_factory=Claim)
    #: What the coordinator's own audit of its database found.
    faults: list[str] = []
    seconds: float = 0.0
    #: Database, keys and logs; nothing if they were deleted.
    folder: str | None = None

    @property
    def is_good(self) -> bool:
        """Every job completed or was skipped for a reason, and every coin is accounted for."""
        done = all(row.status in {"completed", "skipped"} for row in self.jobs)
        return done and self.ledger_balanced and bool(self.claim.signature or self.claim.skipped)


Tell = Callable[[Report], None]
Say = Callable[[str], None]


async def run_demo(folder: Path, output: Path, *, cpu_only: bool, tell: Tell) -> Report:
    """Run the demo once.

    Args:
        folder: For keys, database and logs; it exists, and is kept.
        output: For the picture; it exists.
        cpu_only: Leave a GPU alone.
        tell: Called with the report at each change.

    Raises:
        ChildFailed: the coordinator or an agent did not start.
        HypernodeError: the coordinator refused something.
    """
    jobs = demo_jobs(output)
    report = Report([Row(job.kind, job.title) for job in jobs], folder=str(folder))
    started = trio.current_time()

    def say(phase: str = "") -> None:
        report.phase = phase or report.phase
        report.seconds = round(trio.current_time() - started, 2)
        tell(report)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(_tick, say)
        async with AsyncExitStack() as house:
            chain = await _chain(house, folder, report, say)
            say("starting the coordinator")
            coordinator, url = await house.enter_async_context(_coordinator(folder, chain))
            say("starting two agents")
            async with _agents(url, folder, coordinator, cpu_only=cpu_only, say=say) as nodes:
                names = {node.id: name for name, node in nodes.items()}
                report.agents = [f"{name}: {nodes[name].gpu}" for name in sorted(nodes)]
                say("running the jobs")
                await _submit_all(url, folder, jobs, report, list(nodes.values()), names, say)
                if chain is not None:
                    say("settling: an epoch, the guardian, a claim on the chain")
                    report.claim = await chain.settle(url, sorted(nodes))
            say("stopping, checking the books")
        report.faults = await trio.to_thread.run_sync(_audit, folder / "market.db")
        report.ledger_balanced = not report.faults and report.spent == report.receipts
        say("done")
        nursery.cancel_scope.cancel()
    return report


async def _tick(say: Callable[[], None]) -> None:
    """The clock on the screen moves while nothing else does."""
    while True:
        await trio.sleep(_TICK_S)
        say()


def _audit(database: Path) -> list[str]:
    store = open_sqlite(database, is_readonly=True)
    try:
        return list(store.check())
    finally:
        store.close()


# ---- the house --------------------------------------------------------------------------------


async def _chain(house: AsyncExitStack, folder: Path, report: Report, say: Say) -> DemoChain | None:
    """A chain with a market, where it can be had."""
    report.claim.skipped = why_no_chain()
    if report.claim.skipped:
        return None
    say("starting a chain")
    from hypernode.demo_chain import demo_chain  # noqa: PLC0415 - needs the extra

    return await house.enter_async_context(demo_chain(folder))


@asynccontextmanager
async def _coordinator(folder: Path, chain: DemoChain | None) -> AsyncIterator[tuple[Child, str]]:
    """A coordinator on a free port that settles, or has a faucet; nothing is withheld."""
    money = ("--faucet",) if chain is None else ("--config", str(chain.config()))
    arguments = (
        "coordinator", "--host", "127.0.0.1", "--port", "0", "--db", str(folder / "market.db"),
        *money, "--withhold-hours", "0", "--test-pay-daily", TEST_PAY, "--log-json",
    )  # fmt: skip
    async with running("coordinator", arguments, folder) as child:
        with trio.move_on_after(START_S):
            while (match := _LISTENING.search(child.text())) is None:
                child.check()
                await trio.sleep(0.05)
            yield child, match[1]
            return
        msg = f"the coordinator did not start in {START_S:.0f} s: see {child.log}"
        raise ChildFailed(msg)


@asynccontextmanager
async def _agents(
    url: str, folder: Path, coordinator: Child, *, cpu_only: bool, say: Say
) -> AsyncIterator[dict[str, NodeInfo]]:
    """Two agents of two operators, both online; by name."""
    gpus = [] if cpu_only else await trio.to_thread.run_sync(_find_gpus)
    devices = {"agent-1": "auto" if gpus else "cpu", "agent-2": "cpu"}
    async with AsyncExitStack() as stack:
        children = [coordinator]
        wallets: dict[str, str] = {}
        for name, device in devices.items():
            keypair = wallet_in(folder, name)
            wallets[name] = encode_address(keypair.address)
            arguments = await _agent_arguments(url, folder, name, keypair, device)
            children.append(await stack.enter_async_context(running(name, arguments, folder)))
        yield await _wait_online(url, wallets, children, say)


def _find_gpus() -> list[str]:
    return [device.name for device in Gpus().devices()]


async def _agent_arguments(
    url: str, folder: Path, name: str, keypair: Keypair, device: str
) -> list[str]:
    """The agent's command line; its token waits in a file that only we may read."""
    async with Web(url, keypair) as web:
        issued = await web.issue_token()
    token = folder / f"{name}.token"
    token.touch(mode=0o600)
    token.write_text(issued.token, encoding="ascii")
    return [
        "agent", "--url", url, "--token-file", str(token), "--device", device,
        "--state-dir", str(folder / name), "--allow-command", "--log-json",
    ]  # fmt: skip


def wallet_in(folder: Path, name: str) -> Keypair:
    """The wallet of this name; made at its first use."""
    path = folder / f"{name}.json"
    if not path.exists():
        save_keypair(path, generate())
    return load_keypair(path)


async def _wait_online(
    url: str, wallets: dict[str, str], children: list[Child], say: Say
) -> dict[str, NodeInfo]:
    online: dict[str, NodeInfo] = {}
    async with Web(url, None) as web:
        with trio.move_on_after(START_S):
            while len(online) < len(wallets):
                for child in children:
                    child.check()
                for name, wallet in wallets.items():
                    for node in filter(_is_ready, await web.nodes(wallet)):
                        online[name] = node
                steps = {child.name: _step_of(child) for child in children[1:]}
                steps |= dict.fromkeys(online, "ready")
                said = ", ".join(f"{name} {step}" for name, step in steps.items())
                say(f"starting two agents: {said}")
                await trio.sleep(0.3)
            return online
    msg = f"the agents did not come online in {START_S:.0f} s: see {children[-1].log}"
    raise ChildFailed(msg)


def _step_of(child: Child) -> str:
    """What an agent does now: the newest event of its log that says so."""
    said = _EVENT.findall(child.text())
    return next((_STEPS[event] for event in reversed(said) if event in _STEPS), "starts")


def _is_ready(node: NodeInfo) -> bool:
    """Registered, and its inventory has come."""
    return node.status == "online" and bool(node.kinds)


# ---- the jobs ---------------------------------------------------------------------------------


async def _submit_all(
    url: str,
    folder: Path,
    jobs: list[DemoJob],
    report: Report,
    nodes: list[NodeInfo],
    names: dict[str, str],
    say: Callable[[], None],
) -> None:
    """Submit what can run, wait for all of it, and compare the money."""
    async with AsyncClient(url, wallet_in(folder, "submitter")) as client:
        if report.claim.skipped:
            await client.faucet(CREDIT)
        before = parse_hyper((await client.account()).credit)
        with trio.move_on_after(JOBS_S):
            async with trio.open_nursery() as nursery:
                for job, row in zip(jobs, report.jobs, strict=True):
                    reason = job.obstacle(nodes)
                    if reason:
                        row.status, row.result = "skipped", reason
                        continue
                    nursery.start_soon(_run_one, client, job, row, say)
        infos = {info.id: info for info in await client.jobs()}
        for row in report.jobs:
            if row.id in infos:
                row.agent = names.get(infos[row.id].node_id or "", "")
        after = parse_hyper((await client.account()).credit)
    report.spent = format_hyper(before - after)
    report.receipts = format_hyper(sum(parse_hyper(row.paid or "0") for row in report.jobs))
    report.fees = format_hyper(sum(parse_hyper(row.fee or "0") for row in report.jobs))


async def _run_one(
    client: AsyncClient, demo_job: DemoJob, row: Row, say: Callable[[], None]
) -> None:
    try:
        job = await client.submit(demo_job.kind, demo_job.params, budget=demo_job.budget)
        _follow(job, row, say)
        say()
        result = await job.result()
    except HypernodeError as error:
        row.status, row.result = "failed", f"{error.sentence} ({error.code})"
        say()
        return
    row.paid = result.paid
    row.fee = format_hyper(result.receipt.fee) if result.receipt else ""
    row.verified = demo_job.verified(result)
    wrong = ""
    try:
        row.result = await trio.to_thread.run_sync(demo_job.look, result)
    except AssertionError as error:
        wrong = str(error)
    row.status, row.result = ("failed", wrong) if wrong else ("completed", row.result)
    say()


def _follow(job: Job, row: Row, say: Callable[[], None]) -> None:
    row.id, row.status = job.id, job.state

    def changed() -> None:
        if job.state != "completed":  # said once its result was looked at
            row.status = job.state
            say()

    job.when_changed(changed)
