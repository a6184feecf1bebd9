"""`hypernode config`: what a coordinator or an agent would run with, and what is wrong with it.

Rules:
  1. The options of the role itself are understood here too, read by the role's own command.
  2. `check` tries what a start would refuse: names, values, and the files that they name. What
     only a start can find out (a port that is taken, a database that somebody has) it does not.
  3. A remark changes no status: it is lawful, and rarely meant.
  4. Nothing secret is shown: secrets are files, and here stand their paths.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import typer

from hypernode.cli.options import AsJson
from hypernode.cli.remarks import agent_remarks, certificate_remarks, coordinator_remarks

if TYPE_CHECKING:
    from coordinator.settings import Origin, Reading
    from coordinator.tls import Tls

app = typer.Typer(
    help="Show and check the settings of a coordinator or an agent.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_PASS_ON: Final = {"allow_extra_args": True, "ignore_unknown_options": True}


class Role(StrEnum):
    """Whose settings."""

    COORDINATOR = "coordinator"
    AGENT = "agent"


RoleOption = Annotated[Role, typer.Option("--role", help="Whose settings.")]


class Found(NamedTuple):
    """A role's settings, as far as they make sense."""

    #: By name; defaults where nothing valid was said.
    values: Mapping[str, Any]
    reading: Reading
    remarks: tuple[str, ...]


@app.command("show", context_settings=_PASS_ON)
def show(
    context: typer.Context, *, role: RoleOption = Role.COORDINATOR, as_json: AsJson = False
) -> None:
    """Show each setting with its value and where that comes from.

    Further options are the role's own, such as --config FILE or --port 4000.

    Example: hypernode config show --role agent --config agent.toml
    """
    from hypernode.cli.output import print_json, print_table

    found = _found(role, context.args)
    origins = {name: _origin(found, name) for name in found.values}
    if as_json:
        settings = [
            {"name": name, "value": value, "source": origins[name].source}
            | {"origin": str(origins[name])}
            for name, value in found.values.items()
        ]
        print_json({"role": role, "settings": settings, **_findings(found)})
    else:
        rows = [(name, _text(value), str(origins[name])) for name, value in found.values.items()]
        print_table(("Setting", "Value", "From"), rows)
        _say(found)
    _end(found)


@app.command("check", context_settings=_PASS_ON)
def check(
    context: typer.Context, *, role: RoleOption = Role.COORDINATOR, as_json: AsJson = False
) -> None:
    """Name everything that a start would refuse; status 0 if there is nothing, else 2.

    Further options are the role's own, such as --config FILE or --port 4000.

    Example: hypernode config check --config coordinator.toml
    """
    from hypernode.cli.output import print_json

    found = _found(role, context.args)
    if as_json:
        print_json({"role": role, "ok": not found.reading.problems, **_findings(found)})
    else:
        _say(found)
        if not found.reading.problems:
            typer.echo(f"the settings of this {role} are good")
    _end(found)


def _origin(found: Found, name: str) -> Origin:
    """Where the shown value comes from: of one that was refused, the default is shown."""
    from coordinator.settings import DEFAULT, Origin

    said = found.reading.origin(name)
    if said == DEFAULT or name in found.reading.values:
        return said
    return Origin("default", f"default; refused: {said}")


def _findings(found: Found) -> dict[str, Any]:
    import msgspec

    return {
        "problems": msgspec.to_builtins(found.reading.problems),
        "remarks": list(found.remarks),
    }


def _say(found: Found) -> None:
    from hypernode.cli.output import note

    for problem in found.reading.problems:
        note(f"error: {problem}")
    for remark in found.remarks:
        note(f"remark: {remark}")


def _end(found: Found) -> None:
    from hypernode.cli.exit import Exit

    if found.reading.problems:
        raise typer.Exit(Exit.USAGE)


def _text(value: Any) -> str:
    """A value as people write it."""
    if value is None or value == ():
        return "none"
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


# ---- reading ------------------------------------------------------------------------------------


def _found(role: Role, arguments: Sequence[str]) -> Found:
    given = _given(role, arguments)
    file = Path(given["config"]) if given.get("config") else None
    look: Callable[[Mapping[str, Any], Path | None], Found] = {
        Role.COORDINATOR: _coordinator,
        Role.AGENT: _agent,
    }[role]
    return look(given, file)


def _given(role: Role, arguments: Sequence[str]) -> dict[str, Any]:
    """The options of a role's own command, read by that command.

    Raises:
        Usage: a word is no option's.
    """
    import typer.main

    from hypernode.cli.app import app as root
    from hypernode.cli.exit import Usage

    command = typer.main.get_command(root).commands[role]  # type: ignore[attr-defined]
    context = command.make_context(f"hypernode {role}", list(arguments))
    # A group keeps its command's words elsewhere.
    if rest := [*getattr(context, "_protected_args", ()), *context.args]:
        msg = f"{' '.join(rest)!r} is no option of `hypernode {role}`"
        raise Usage(msg)
    return dict(context.params)


def _coordinator(given: Mapping[str, Any], file: Path | None) -> Found:
    import os

    from coordinator.config import SCHEMA, read_config
    from hypernode.cli.coordinator import flags_of

    config, reading = read_config(flags_of(given), os.environ, file)
    tls = _try_coordinator(reading)
    values = {n: reading.values.get(n, one.default) for n, one in SCHEMA.fields.items()}
    if config is not None:
        values = {name: getattr(config, name) for name in values}
    remarks = [*coordinator_remarks(config, reading), *certificate_remarks(config, tls)]
    return Found(values, reading, tuple(remarks))


def _agent(given: Mapping[str, Any], file: Path | None) -> Found:
    import os

    from agent.config import SCHEMA, read_config
    from hypernode.cli.agent import flags_of

    config, reading = read_config(flags_of(given), os.environ, file)
    _try_agent(reading)
    values = {n: reading.values.get(n, one.default) for n, one in SCHEMA.fields.items()}
    if config is not None:
        values["state_dir"] = str(config.state_dir)
    return Found(values, reading, tuple(agent_remarks(config, reading)))


# ---- what a start would refuse ------------------------------------------------------------------


def _try_coordinator(reading: Reading) -> Tls | None:
    """Note which files cannot serve; the certificate, if it can."""
    from coordinator.certificate import TlsError
    from coordinator.clock import SystemClock
    from coordinator.tls import Tls

    tls = None
    cert, key, db = (reading.values.get(name) for name in ("tls_cert", "tls_key", "db"))
    try:
        if cert and key:
            tls = Tls(Path(cert), Path(key), SystemClock())
    except TlsError as error:
        reading.wrong(error.setting, str(error))
    if db:
        _try_folder("db", Path(db).parent, reading)
    if folder := reading.values.get("backup_folder"):
        _try_folder("backup_folder", Path(folder), reading)
    return tls


def _try_agent(reading: Reading) -> None:
    from coordinator.protocol.trust import CaError, client_context

    ca, state_dir = (reading.values.get(name) for name in ("ca", "state_dir"))
    try:
        if ca:
            client_context(Path(ca).expanduser())
    except CaError as error:
        reading.wrong("ca", str(error))
    if state_dir:
        _try_folder("state_dir", Path(state_dir).expanduser(), reading)


def _try_folder(setting: str, folder: Path, reading: Reading) -> None:
    """A folder that is there can be written; one that is not can be made, as a start does it."""
    import os

    nearest = folder if folder.exists() else folder.parent
    if not nearest.is_dir():
        reading.wrong(setting, f"there is no folder {nearest}")
    elif not os.access(nearest, os.W_OK):
        reading.wrong(setting, f"nothing can be written into {nearest}")
