"""An agent's status as facts for people: `hypernode agent status`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypernode.cli.agent_words import duration

if TYPE_CHECKING:
    from agent.status import DeviceStatus, PapersStatus, RunStatus, Status


def facts_of(status: Status) -> dict[str, str]:
    """Names and values; a device, a job and a remark a line each."""
    link = status.link
    reason = f": {link.reason}" if link.state == "offline" and link.reason else ""
    facts = {
        "Mode": status.mode,
        "Link": f"{link.state} for {duration(status.link_s)}{reason}",
        "Coordinator": status.url,
        "Node": status.node_id or "not registered yet",
        "Node key": status.node_key,
        "Wallet": status.wallet or "not known yet",
        "Sandbox": f"level {status.sandbox} of 2, kernels at {status.worker_sandbox}",
        "Kinds": " ".join(status.kinds) or "none now",
    }
    facts |= {f"Device {n}": _device(device) for n, device in enumerate(status.devices)}
    facts |= {f"Job {n}": _run(run) for n, run in enumerate(status.runs)}
    jobs, unsent = status.jobs, status.unsent
    facts |= {
        "Jobs": f"{jobs.completed} done, {jobs.failed} failed, {jobs.cancelled} cancelled, "
        f"{jobs.waiting} waiting",
        "Earned": f"{status.earned.today} HYPER today (UTC), {status.earned.total} in all",
        "Claimable": _papers(status.papers),
        "Unsent": f"{unsent.results} results{', the outbox is full' if unsent.is_full else ''}",
        "Running": f"{duration(status.up_s)}, process {status.pid}, {status.state_dir}",
    }
    facts |= {
        f"Guardian {n}": f"{each.url}: {each.trouble or f'has {each.kept} receipts of this node'}"
        for n, each in enumerate(status.guardians, 1)
    }
    if link.standing:
        facts["No jobs"] = link.standing
    if unsent.disk:
        facts["Disk"] = unsent.disk
    return facts | {f"Remark {n}": remark for n, remark in enumerate(status.remarks, 1)}


def _papers(papers: PapersStatus) -> str:
    """What is kept to claim by."""
    if not papers.epoch and papers.vouched == "0":
        return "no proof and no voucher here yet"
    proof = f"{papers.proven} HYPER by the proof of epoch {papers.epoch}"
    refused = f"; {papers.refused} papers refused, see the log" if papers.refused else ""
    return f"{proof}, {papers.vouched} by voucher, in all{refused}"


def farewell(status: Status) -> str:
    """One line for the terminal on which the screen was."""
    jobs, unsent = status.jobs, status.unsent
    kept = f"; {unsent.results} results unsent, kept for the next start" if unsent.results else ""
    return (
        f"{jobs.completed} jobs done, {jobs.failed} failed in {duration(status.up_s)}; "
        f"earned today: {status.earned.today} HYPER{kept}"
    )


def _device(device: DeviceStatus) -> str:
    if device.state != "works":
        return f"{device.name}: OUT, {device.reason}"
    values = [
        f"{value} {unit}"
        for value, unit in (
            (device.utilization_percent, "%"),
            (device.memory_used_mb, f"of {device.memory_mb} MB"),
            (device.temperature_celsius, "°C"),
            (device.power_watts, "W"),
        )
        if value is not None
    ]
    return f"{device.name}: {', '.join(values) or 'works'}"


def _run(run: RunStatus) -> str:
    progress = "" if run.progress is None else f", {run.progress:.0%}"
    return f"{run.kind} {run.job}, {duration(run.seconds)}{progress}"
