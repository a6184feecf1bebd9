"""The parts of README that the tree itself says: file map, kinds, settings, life of a job, figures.

In:   the first docstring line (or first comment) of each file; the kinds' own descriptions; the
      fields of the configuration; the table of transitions; the records of the benchmarks.
Out:  Markdown. `python -m tests.readme_sections` prints it, with `--write` it puts it into README.
Why generated: a map that people keep by hand is wrong by the second week; a module's own first
sentence is read and mended where the module is.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.figures import figures
from coordinator.config import Config
from coordinator.jobs import TRANSITIONS
from coordinator.workloads.catalogue import KINDS, get
from coordinator.workloads.describe import describe
from tests.tree import ROOT, files, read

#: In the order in which a job meets them.
FOLDERS: Final = ("hypernode", "coordinator", "agent", "onchain", "benchmarks", "deploy")
#: Column of the sentences in the map.
INDENT: Final = 36
_COMMENT: Final = re.compile(r"\s*(?:<!doctype[^>]*>\s*)?(?:/\*+|//+|<!--|#)\s*(.+)", re.IGNORECASE)

_COMMENTED: Final = {
    *(".js", ".mjs", ".css", ".html", ".c", ".h", ".sh"),
    *(".service", ".socket", ".Dockerfile", ".yml", ".conf"),
}


def sentence(path: Path) -> str:
    """What a file says of itself in its first line; nothing for data."""
    if path.suffix == ".py":
        return (ast.get_docstring(ast.parse(read(path))) or "").partition("\n")[0]
    if path.suffix in _COMMENTED:
        comment = _COMMENT.match(read(path))
        return re.sub(r"\s*(\*/|-->)\s*$", "", comment[1]) if comment else ""
    return ""


def file_map() -> str:
    """Every file of the product, a line each, under its folder."""
    return "\n".join(["```text", *(line for folder in FOLDERS for line in _lines(folder)), "```"])


def _lines(folder: str) -> Iterator[str]:
    previous: tuple[str, ...] = ()
    for path in sorted(files(folder), key=lambda path: (path.parent.parts, path.name)):
        parts = path.parent.parts
        # A folder that holds nothing but folders has a line too.
        known = sum(parts[: depth + 1] == previous[: depth + 1] for depth in range(len(parts)))
        for depth in range(known, len(parts)):
            init = Path(*parts[: depth + 1], "__init__.py")
            said = sentence(init) if (ROOT / init).is_file() else ""
            yield _line("  " * depth + parts[depth] + "/", said)
        previous = parts
        if path.name != "__init__.py":
            yield _line("  " * len(parts) + path.name, sentence(path))


def _line(name: str, said: str) -> str:
    return f"{name:<{INDENT}}{said}".rstrip()


def configuration() -> str:
    """Every setting of the coordinator with its default and its comment."""
    return settings_table(Config, Path("coordinator/config.py"))


def settings_table(struct: type[msgspec.Struct], module: Path) -> str:
    """Every setting of a role with its default and its comment."""
    rows = ["| setting | default | meaning |", "| --- | --- | --- |"]
    rows += [
        f"| {', '.join(f'`{n}`' for n in names)} | {default} | {said} |"
        for names, default, said in _settings(struct, module)
    ]
    return "\n".join(rows)


def _settings(struct: type[msgspec.Struct], module: Path) -> Iterator[tuple[list[str], str, str]]:
    """Neighbours under one comment share a row."""
    defaults = {field.name: field.default for field in msgspec.structs.fields(struct)}

    def row() -> tuple[list[str], str, str]:
        shown = dict.fromkeys(_default(defaults[name]) for name in names)
        return names, ", ".join(shown), " ".join(said)

    body = re.split(rf"^class {struct.__name__}\(.*$", read(module), flags=re.MULTILINE)
    said: list[str] = []
    names: list[str] = []
    for line in body[1].splitlines():
        if field := re.match(r"    ([a-z_]+): ", line):
            names.append(field[1])
        elif comment := re.match(r"    #: (.*)", line):
            if names:
                yield row()
                said, names = [], []
            said.append(comment[1])
        elif line and not line.startswith(" "):
            break
    yield row()


def _default(value: Any) -> str:
    if value is None or value == ():
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def kinds() -> str:
    """Every parameter of every kind."""
    rows = ["| kind | parameter | type | default | meaning |", "| --- | --- | --- | --- | --- |"]
    for kind in KINDS:
        name = f"**{kind}**"
        for one in describe(get(kind)).parameters:
            default = f"`{one.default}`" if one.default else ""
            rows.append(f"| {name} | `{one.name}` | {one.type} | {default} | {one.meaning} |")
            name = ""
    return "\n".join(rows)


def life_of_a_job() -> str:
    """The table of transitions: a row a state, a column an event."""
    events = list(dict.fromkeys(event for row in TRANSITIONS.values() for event in row))
    names = " | ".join(f"`{event.__name__}`" for event in events)
    rows = [f"| state | {names} |", "| --- |" + " --- |" * len(events)]
    for state, row in TRANSITIONS.items():
        after = " | ".join(row[event].value if event in row else "" for event in events)
        rows.append(f"| **{state.value}** | {after} |")
    return "\n".join(rows)


SECTIONS: Final[dict[str, Callable[[], str]]] = {
    "figures": figures,
    "kinds": kinds,
    "file map": file_map,
    "configuration": configuration,
    "life of a job": life_of_a_job,
}


def marked(name: str) -> re.Pattern[str]:
    """Where a section stands in README, between its two marks."""
    return re.compile(rf"(?<=<!-- {name} -->\n).*?(?=\n<!-- end of {name} -->)", re.DOTALL)


def main(arguments: list[str]) -> None:
    readme = read(Path("README.md"))
    for name, section in SECTIONS.items():
        readme = marked(name).sub(section().replace("\\", r"\\"), readme)
        if "--write" not in arguments:
            sys.stdout.write(f"<!-- {name} -->\n{section()}\n<!-- end of {name} -->\n\n")
    if "--write" in arguments:
        (ROOT / "README.md").write_text(readme, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
