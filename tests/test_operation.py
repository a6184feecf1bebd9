"""`docs/operation.md` says what is there: its settings, its commands, its codes.

Not covered: that what a command does is what the sentence beside it says. The proxies' blocks run
in `test_proxies.py`.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Final

import pytest

from agent.config import SCHEMA as AGENT
from coordinator.config import SCHEMA as COORDINATOR
from coordinator.settings import read_settings
from hypernode.cli.app import run
from hypernode.cli.chain_settings import SCHEMA as SETTLEMENT
from tests.tree import ROOT, read

PAGE: Final = read(Path("docs/operation.md"))


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("text", blocks("toml"))
def test_each_file_of_settings_is_good(text: str, tmp_path: Path) -> None:
    name = re.match(r"# (coordinator|agent|settlement)\.toml\n", text)
    assert name is not None
    file = tmp_path / "settings.toml"
    file.write_text(text)

    schema = {"coordinator": COORDINATOR, "agent": AGENT, "settlement": SETTLEMENT}[name[1]]
    reading = read_settings(schema, {}, {}, file)

    assert [str(problem) for problem in reading.problems] == []
    assert reading.values


@pytest.mark.parametrize(
    "line",
    [
        line
        for block in blocks("sh")
        for line in block.replace("\\\n", " ").splitlines()
        if line.startswith("hypernode ")
    ],
)
def test_each_command_and_its_options_exist(
    line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    words = shlex.split(line, comments=True)[1:]
    options = [word for word in words if word.startswith("--")]
    plain = words[: words.index(options[0])] if options else words
    helps = [plain]
    if plain[:1] == ["config"] and "--role" in words:
        helps.append([words[words.index("--role") + 1]])
    elif plain[:1] == ["config"]:
        helps.append(["coordinator"])

    if plain == ["nodes"]:
        helps.append(["nodes", "list"])  # what the word alone does

    assert [run([*each, "--help"]) for each in helps] == [0] * len(helps)
    shown = re.split(r"[\s,]+", capsys.readouterr().out)
    assert [option for option in options if option not in shown] == []


def test_the_codes_of_a_certificate_are_the_ones_that_exist() -> None:
    raised = set(re.findall(r'"(tls_[a-z_]+)"', read(Path("coordinator/certificate.py"))))
    told = set(re.findall(r"^\| `(tls_[a-z_]+)` \|", PAGE, re.MULTILINE))

    assert told == raised - {"tls_cert", "tls_key"}


def test_what_systemd_hands_over_has_the_names_that_are_looked_for() -> None:
    names = set(re.findall(r"^LoadCredential=([a-z_]+):", PAGE, re.MULTILINE))

    assert names <= set(COORDINATOR.credentials.values())


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)]+)\)", PAGE))
def test_a_link_leads_somewhere(target: str) -> None:
    file, _, anchor = target.partition("#")
    page = read((ROOT / "docs" / file).resolve().relative_to(ROOT)) if file else PAGE
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}

    assert not anchor or anchor in anchors
