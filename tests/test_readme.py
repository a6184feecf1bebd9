"""README says what is there: its generated parts, its commands, its paths, its Python.

Rules:
  1. Fenced blocks marked `sh` hold commands, one a line; those marked `python` are programs against
     `hypernode`; other blocks are drawings.
  2. A name in backticks that looks like a file of ours is one.
Not covered: that what a command does is what the sentence beside it says.
"""

from __future__ import annotations

import ast
import importlib
import re
import runpy
import shlex
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import trio

from coordinator.protocol.signing import save_keypair
from tests.readme_sections import FOLDERS, SECTIONS, file_map, marked
from tests.scripted import WALLET, Scripted, instantly, serving
from tests.tree import PRODUCT, ROOT, SHIPPING, WORKSHOP, files, read

README: Final = read(Path("README.md"))
_PROSE: Final = re.sub(r"^```.*?^```$", "", README, flags=re.DOTALL | re.MULTILINE)
_PATHS: Final = re.compile(
    rf"`((?:{'|'.join((*PRODUCT, *WORKSHOP, *SHIPPING, 'requirements'))})/[^`\s]*)`"
)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def commands(*programs: str) -> list[str]:
    """Lines of the shell blocks that start one of the programs; all lines without any."""
    lines = "".join(blocks("sh")).replace("\\\n", " ").splitlines()
    said = [line.removeprefix("sudo ") for line in lines if line and not line.startswith("#")]
    return [line for line in said if not programs or line.startswith(programs)]


def labels_of_run() -> set[str]:
    """The commands that the script `run` knows."""
    return set(re.findall(r"^    ([a-z]+)\) ", read(Path("run")), re.MULTILINE))


def help_of(words: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of `hypernode … --help`; its text goes to standard output."""
    monkeypatch.setenv("COLUMNS", "250")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys, "argv", ["hypernode", *words, "--help"])
    try:
        importlib.import_module("hypernode.cli").main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


@pytest.mark.parametrize("name", SECTIONS)
def test_a_generated_part_is_what_the_tree_says(name: str) -> None:
    """If it is not: `python -m tests.readme_sections --write`."""
    written = marked(name).search(README)

    assert written is not None
    assert written[0].splitlines() == SECTIONS[name]().splitlines()


def test_the_file_map_lists_each_file_once() -> None:
    listed = [line.split()[0] for line in file_map().splitlines()[1:-1]]
    names = [path.name for path in files(*FOLDERS) if path.name != "__init__.py"]

    assert sorted(entry for entry in listed if not entry.endswith("/")) == sorted(names)


def test_the_two_commands_come_first() -> None:
    assert commands()[:2] == ["./run demo", "./run test"]


def test_every_line_of_a_shell_block_is_a_known_program() -> None:
    known = {"./run", "apt-get", "git", "cd", "hypernode", "python"}

    assert [line for line in commands() if line.split()[0] not in known] == []


@pytest.mark.parametrize("line", commands("./run "))
def test_a_run_command_exists(line: str) -> None:
    _, label, *arguments = shlex.split(line)

    assert label in labels_of_run()
    assert [a for a in arguments if a.startswith("tests/") and not (ROOT / a).is_file()] == []


@pytest.mark.parametrize("line", commands("python "))
def test_a_module_to_run_exists(line: str) -> None:
    _, option, module, *_ = shlex.split(line)

    assert option == "-m"
    assert ROOT.joinpath(*module.split(".")).with_suffix(".py").is_file()


@pytest.mark.parametrize("line", commands("hypernode ", "./run hypernode "))
def test_a_hypernode_command_and_its_options_exist(
    line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = shlex.split(line.removeprefix("./run "))[1:]
    names = [word for word in words if word.startswith("--")]
    plain = words[: words.index(names[0])] if names else words

    code = help_of(plain, monkeypatch)

    shown = capsys.readouterr().out
    assert code == 0
    assert [name for name in names if name.split("=")[0] not in shown.split()] == []


@pytest.mark.parametrize("path", sorted(set(_PATHS.findall(_PROSE))))
def test_a_path_in_readme_is_in_the_tree(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.slow
@pytest.mark.parametrize("program", blocks("python"))
async def test_a_python_example_runs_as_written(
    program: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    save_keypair(tmp_path / "wallet.json", WALLET)
    sums = np.array([[10.0, 1.0], [20.0, 2.0]])
    async with serving(Scripted(instantly(array=sums))) as script:
        monkeypatch.setenv("HYPERNODE_URL", script.url)
        monkeypatch.setenv("HYPERNODE_KEYPAIR", str(tmp_path / "wallet.json"))
        # From a file: a kernel is read, not run.
        file = tmp_path / "example.py"
        file.write_text(program)
        await trio.to_thread.run_sync(runpy.run_path, str(file))

    assert "HYPER" in capsys.readouterr().out


@pytest.mark.parametrize("program", blocks("python"))
def test_a_python_example_uses_names_that_exist(program: str) -> None:
    face = importlib.import_module("hypernode")

    used = {
        node.attr
        for node in ast.walk(ast.parse(program))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "hn"
    }

    assert [name for name in used if not hasattr(face, name)] == []
