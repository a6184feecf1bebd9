"""The systemd units: verified by systemd's own tools, measured, and in step with the programs.

Not covered: that they work under a running systemd (no test machine has one as its first process);
`docs/operation.md` says what was tried by hand.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Final

import pytest
import typer.main

from agent import config as agent_config
from coordinator.activation import NAMES
from coordinator.limits import DRAIN_S, DRAIN_SPARE_S, LEASE_S
from hypernode.cli.app import app
from hypernode.cli.exit import Exit
from tests.tree import ROOT, files, read

UNITS: Final = sorted(path for path in files("deploy/systemd") if path.suffix != ".md")
#: Of `systemd-analyze security`, 0 to 10. The agent's is what its sandbox allows: see the unit.
EXPOSURE_MAX: Final = {"hypernode-coordinator.service": 1.5, "hypernode-agent.service": 2.8}
#: What strangers reach, or what runs strangers' code, has none of these.
DENIED: Final = {
    *("NoNewPrivileges", "ProtectHome", "PrivateTmp", "PrivateUsers", "ProtectKernelModules"),
    *("ProtectKernelLogs", "ProtectClock", "RestrictSUIDSGID", "RestrictRealtime", "DynamicUser"),
}


def settings(unit: Path) -> dict[str, list[str]]:
    """Each setting of a unit with its values in order."""
    found: dict[str, list[str]] = defaultdict(list)
    for line in read(unit).splitlines():
        if line and not line.startswith(("#", "[")):
            key, _, value = line.partition("=")
            found[key].append(value)
    return found


def unit(name: str) -> dict[str, list[str]]:
    return settings(Path("deploy/systemd", name))


def seconds(name: str, key: str) -> int:
    (value,) = unit(name)[key]
    return int(value)


def systemd(*words: str) -> subprocess.CompletedProcess[str]:
    """Run `systemd-analyze`; where there is none, only a laptop may go without."""
    if shutil.which("systemd-analyze") is None:
        assert "CI" not in os.environ, "install systemd: the units are to be verified"
        pytest.skip("needs systemd-analyze")
    return subprocess.run(
        ["systemd-analyze", *words], capture_output=True, text=True, timeout=30, check=False
    )


@pytest.mark.parametrize("name", EXPOSURE_MAX)
def test_a_services_exposure_is_no_more_than_it_was(name: str) -> None:
    done = systemd("security", "--offline=true", "--no-pager", str(ROOT / "deploy/systemd" / name))
    (found,) = re.findall(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)

    assert float(found) <= EXPOSURE_MAX[name]


def test_a_loose_unit_is_found(tmp_path: Path) -> None:
    text = read(Path("deploy/systemd/hypernode-coordinator.service"))
    loose = tmp_path / "loose.service"
    loose.write_text(text.replace("PrivateUsers=yes", "").replace("CapabilityBoundingSet=\n", ""))
    done = systemd("security", "--offline=true", "--no-pager", str(loose))
    (found,) = re.findall(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)

    assert float(found) > EXPOSURE_MAX["hypernode-coordinator.service"]


def test_systemd_understands_every_line(tmp_path: Path) -> None:
    """With programs that are there: ours are installed by whoever installs the units."""
    for path in UNITS:
        text = re.sub(r"/opt/hypernode/\S+", "/bin/true", read(path))
        (tmp_path / path.name).write_text(text)

    done = systemd("verify", *(str(tmp_path / path.name) for path in UNITS))

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", EXPOSURE_MAX)
def test_a_service_says_itself_how_it_goes_and_has_no_privilege(name: str) -> None:
    found = unit(name)

    assert found["Type"] == ["notify"]
    assert int(found["WatchdogSec"][0]) >= 10
    assert [key for key in DENIED if found[key] != ["yes"]] == []
    assert found["CapabilityBoundingSet"] == found["AmbientCapabilities"] == [""]
    assert found["ProtectSystem"] == ["strict"]


@pytest.mark.parametrize("name", EXPOSURE_MAX)
def test_a_service_is_given_the_time_that_its_drain_takes(name: str) -> None:
    assert seconds(name, "TimeoutStopSec") > DRAIN_S + DRAIN_SPARE_S


def test_an_agent_is_stopped_before_its_leases_end() -> None:
    """Whatever was not given back by then goes elsewhere after the lease."""
    assert seconds("hypernode-agent.service", "TimeoutStopSec") <= LEASE_S


def test_a_stop_does_not_reach_the_agents_workers() -> None:
    assert unit("hypernode-agent.service")["KillMode"] == ["mixed"]


@pytest.mark.parametrize(
    ("name", "statuses"),
    [
        ("hypernode-coordinator.service", {Exit.USAGE}),
        ("hypernode-agent.service", {Exit.USAGE, Exit.REFUSED}),
    ],
)
def test_what_a_restart_does_not_heal_is_not_restarted(name: str, statuses: set[Exit]) -> None:
    (found,) = unit(name)["RestartPreventExitStatus"]

    assert {Exit(int(status)) for status in found.split()} == statuses


@pytest.mark.parametrize("name", EXPOSURE_MAX)
def test_the_command_and_its_options_exist(name: str) -> None:
    (line,) = unit(name)["ExecStart"]
    _, command, *words = shlex.split(line)
    known = typer.main.get_command(app).commands[command]  # type: ignore[attr-defined]
    options = {option for each in known.params for option in (*each.opts, *each.secondary_opts)}

    assert [word for word in words if word.startswith("--") and word not in options] == []


def test_the_socket_has_a_name_that_is_served() -> None:
    found = unit("hypernode-coordinator.socket")

    assert found["FileDescriptorName"][0] in NAMES
    assert found["ListenStream"] == ["3001"]


def test_secrets_come_as_credentials_and_no_unit_holds_one() -> None:
    agent = unit("hypernode-agent.service")

    assert agent["LoadCredential"] == ["token:/etc/hypernode/agent.token"]
    assert "token" in agent_config.SCHEMA.credentials.values(), "it is found by this name"
    assert [path for path in UNITS if re.search(r"hy1[et]?\.|--token |TOKEN=", read(path))] == []


def test_what_the_sandbox_needs_is_said_where_it_is_loose() -> None:
    """Each setting of the agent that is off has its reason in a comment above it."""
    lines = read(Path("deploy/systemd/hypernode-agent.service")).splitlines()
    loose = [
        number
        for number, line in enumerate(lines)
        if re.match(r"(Protect|Private|MemoryDeny)\w+=no$|ProcSubset=all$", line)
    ]

    assert len(loose) >= 5
    assert [lines[number] for number in loose if not lines[number - 1].startswith("#")] == []
