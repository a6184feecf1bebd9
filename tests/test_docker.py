"""The Dockerfiles, read: what they start from, what they copy, who runs; no secret is in them.

Not covered: building and running them; no test machine has Docker. `docs/operation.md` says which
of their steps were tried by hand.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final

import pytest
import trio
import typer.main
import yaml

from agent.config import SCHEMA as AGENT
from coordinator.config import SCHEMA as COORDINATOR
from coordinator.limits import DRAIN_S, DRAIN_SPARE_S
from hypernode.cli.app import app
from tests.authority import Authority
from tests.house import open_house
from tests.tree import PRODUCT, ROOT, read

FOLDER: Final = Path("deploy/docker")
NAMES: Final = ("agent", "coordinator")
COMPOSE: Final[dict[str, Any]] = yaml.safe_load(read(FOLDER / "compose.yml"))["services"]


def steps(name: str) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile, continuation lines joined, each with what follows it."""
    text = re.sub(r"^#.*\n", "", read(FOLDER / f"{name}.Dockerfile"), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [
        (word, " ".join(rest.split()))
        for word, _, rest in (li.partition(" ") for li in lines)
        if word
    ]


def of(name: str, instruction: str) -> list[str]:
    return [rest for word, rest in steps(name) if word == instruction]


def last_stage(name: str) -> list[tuple[str, str]]:
    found = steps(name)
    start = max(number for number, (word, _) in enumerate(found) if word == "FROM")
    return found[start:]


def is_sent(path: str) -> bool:
    """Whether Docker sends a path of the tree to the build: the last rule that fits it decides."""
    sent = True
    for line in read(Path(".dockerignore")).splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!").removeprefix("**/")
        parts = Path(path).parts
        above = ["/".join(parts[: depth + 1]) for depth in range(len(parts))]
        if any(fnmatch(each, pattern) for each in [*above, *parts]):
            sent = line.startswith("!")
    return sent


@pytest.mark.parametrize("name", NAMES)
def test_each_base_is_pinned_to_a_version(name: str) -> None:
    bases = [base.split()[0] for base in of(name, "FROM")]

    assert len(set(bases)) == 1, "both stages have the same Python and C library"
    assert re.search(r":\d+\.\d+\.\d+-", bases[0]), bases[0]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_copied_is_there_and_is_sent(name: str) -> None:
    copied = [
        source
        for rest in of(name, "COPY")
        if not rest.startswith("--from")
        for source in rest.split()[:-1]
    ]

    assert set(PRODUCT) <= set(copied)
    assert [source for source in copied if not (ROOT / source).exists()] == []
    assert [source for source in copied if not is_sent(source)] == []


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        ".venv/x",
        "token",
        "wallet.json",
        "market.db",
        "tests/world.py",
        "agent/__pycache__/a.pyc",
    ],
)
def test_nothing_else_is_sent(path: str) -> None:
    assert not is_sent(path)


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_as_nobody_in_particular_and_ends_in_good_order(name: str) -> None:
    stage = dict(last_stage(name))
    user, _, group = stage["USER"].partition(":")

    assert int(user) >= 10_000
    assert user == group
    assert stage["STOPSIGNAL"] == "SIGTERM"
    assert stage["ENTRYPOINT"].startswith("["), "a shell in between would keep the signal"


@pytest.mark.parametrize("name", NAMES)
def test_the_last_stage_has_no_tool_that_builds(name: str) -> None:
    words = " ".join(rest for _, rest in last_stage(name))

    assert re.findall(r"\b(pip|gcc|shiv|hatchling|build-essential|git)\b", words) == []


@pytest.mark.parametrize("name", NAMES)
def test_packages_come_with_hashes_and_never_from_source(name: str) -> None:
    installs = [rest for rest in of(name, "RUN") if "pip install" in rest and " -r " in rest]

    assert len(installs) == 1
    assert "--require-hashes" in installs[0]
    assert "--only-binary :all:" in installs[0]
    (lock,) = re.findall(r"-r (\S+)", installs[0])
    assert (ROOT / lock).is_file()


@pytest.mark.parametrize("name", NAMES)
def test_no_secret_is_in_an_image(name: str) -> None:
    text = read(FOLDER / f"{name}.Dockerfile")

    assert re.findall(r"hy1[et]?\.|BEGIN [A-Z ]*KEY|PASSWORD|SECRET=|TOKEN=(?!/)", text) == []
    assert of(name, "ARG") == [], "build arguments stay readable in the image"


@pytest.mark.parametrize("name", NAMES)
def test_the_command_and_its_options_exist(name: str) -> None:
    entry, words = ([*map(str, yaml.safe_load(of(name, key)[0]))] for key in ("ENTRYPOINT", "CMD"))
    known = typer.main.get_command(app).commands[words[0]]  # type: ignore[attr-defined]
    options = {option for each in known.params for option in (*each.opts, *each.secondary_opts)}

    assert entry[-1] == "hypernode"
    assert [word for word in words if word.startswith("--") and word not in options] == []


@pytest.mark.parametrize(("name", "schema"), [("agent", AGENT), ("coordinator", COORDINATOR)])
def test_each_variable_of_ours_is_a_setting(name: str, schema: Any) -> None:
    said = " ".join([*of(name, "ENV"), *(f"{key}=" for key in COMPOSE[name]["environment"])])
    ours = {key.lower() for key in re.findall(r"\bHYPERNODE_([A-Z_]+)=", said)}

    assert ours
    assert ours <= set(schema.fields)


def test_the_coordinator_is_asked_whether_it_is_ready() -> None:
    (check,) = of("coordinator", "HEALTHCHECK")
    words = shlex.split(check.partition("CMD ")[2].strip("[]").replace('", "', '" "'))

    assert "/readyz" in words[-1]
    compile(words[-1], "HEALTHCHECK", "exec")


def commented() -> Any:
    """compose.yml with the lines for TLS, as an owner gets it who takes the number signs away."""
    text = re.sub(r"^( *)#(?=\S)", r"\1", read(FOLDER / "compose.yml"), flags=re.MULTILINE)
    return yaml.safe_load(text)


def test_the_lines_for_tls_fit_together() -> None:
    with_tls = commented()
    service = with_tls["services"]["coordinator"]
    named = {service["environment"][f"HYPERNODE_{name}"] for name in ("TLS_CERT", "TLS_KEY")}

    assert named == {f"/run/secrets/{name}" for name in service["secrets"]}
    assert set(service["secrets"]) < set(with_tls["secrets"])
    assert with_tls["services"]["agent"] == COMPOSE["agent"]


@pytest.mark.slow
@pytest.mark.parametrize("is_tls", [False, True])
async def test_the_health_check_is_answered_and_fails_where_nobody_answers(
    tmp_path: Path, is_tls: bool
) -> None:
    authority = Authority(tmp_path)
    flags = authority.issue().flags() if is_tls else {}
    checks = [json.loads(of("coordinator", "HEALTHCHECK")[0].partition("CMD ")[2])]
    if is_tls:
        checks.append(commented()["services"]["coordinator"]["healthcheck"]["test"][1:])
    environment = {"HYPERNODE_TLS_CERT": "/x"} if is_tls else {}

    async def status_of(words: list[str], port: int) -> int:
        code = words[-1].replace(":3001/", f":{port}/")
        done = await trio.run_process(
            [sys.executable, words[1], code], env=environment, check=False, capture_stderr=True
        )
        return done.returncode

    async with open_house(tmp_path, **flags) as house:
        answered = [await status_of(words, house.port) for words in checks]
    silent = [await status_of(words, house.port) for words in checks]

    assert answered == [0] * len(checks)
    assert silent == [1] * len(checks)


@pytest.mark.parametrize("name", NAMES)
def test_compose_builds_it_from_here_and_gives_it_time_to_drain(name: str) -> None:
    service = COMPOSE[name]

    assert (ROOT / service["build"]["dockerfile"]).is_file()
    assert (ROOT / FOLDER / service["build"]["context"]).resolve() == ROOT
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert int(service["stop_grace_period"].removesuffix("s")) > DRAIN_S + DRAIN_SPARE_S


def test_only_the_agent_has_walls_of_docker_lifted() -> None:
    lifted = {
        name: [o for o in COMPOSE[name]["security_opt"] if "unconfined" in o] for name in NAMES
    }

    assert lifted["coordinator"] == []
    assert len(lifted["agent"]) == 3
    text = read(FOLDER / "agent.Dockerfile")
    assert [each for each in lifted["agent"] if each.replace(":", "=") not in text] == []
    assert COMPOSE["coordinator"]["read_only"] is True
