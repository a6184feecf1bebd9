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

from hypernode.cli.config_files import try_agent, try_coordinator, try_settlement
from hypernode.cli.options import AsJson
from hypernode.cli.remarks import agent_remarks, certificate_remarks, coordinator_remarks

if TYPE_CHECKING:
    from coordinator.settings import Origin, Reading

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
    #: An owner's, of a ledger: what the commands below `hypernode chain` read.
    SETTLEMENT = "settlement"


_WHOSE: Final = {Role.SETTLEMENT: "market"}
RoleOption = Annotated[
    Role | None,
    typer.Option(
        "--role", help="Whose settings (default: as the file looks, else coordinator).",
        show_default=False,
    ),
]  # fmt: skip


class Found(NamedTuple):
    """A role's settings, as far as they make sense."""

    #: By name; defaults where nothing valid was said.
    values: Mapping[str, Any]
    reading: Reading
    remarks: tuple[str, ...]


@app.command("show", context_settings=_PASS_ON)
def show(context: typer.Context, *, role: RoleOption = None, as_json: AsJson = False) -> None:
    """Show each setting with its value and where that comes from.

    Further options are the role's own, such as --config FILE or --port 4000.

    Example: hypernode config show --role agent --config agent.toml
    """
    from hypernode.cli.output import print_json, print_table

    role = role or _role_of(context.args)
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
    context: typer.Context,
    *,
    role: RoleOption = None,
    online: Annotated[
        bool, typer.Option("--online", help="Ask the chain too: ledger, cluster, roles, mint.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Name everything that a start would refuse; status 0 if there is nothing, else 2.

    Further options are the role's own, such as --config FILE or --port 4000.

    Example: hypernode config check --config coordinator.toml --online
    """
    from hypernode.cli.output import print_json

    role = role or _role_of(context.args)
    found = _found(role, context.args)
    if online and not found.reading.problems:
        found = _asked_chain(role, found)
    if as_json:
        print_json({"role": role, "ok": not found.reading.problems, **_findings(found)})
    else:
        _say(found)
        if not found.reading.problems:
            typer.echo(f"the settings of this {_WHOSE.get(role, role)} are good")
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
        Role.SETTLEMENT: _settlement,
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

    command: Any = typer.main.get_command(root)
    # An owner's file has no command of its own: `chain init` reads all of it.
    for word in ("chain", "init") if role is Role.SETTLEMENT else (role,):
        command = command.commands[word]
    context = command.make_context(f"hypernode {role}", list(arguments))
    # A group keeps its command's words elsewhere.
    if rest := [*getattr(context, "_protected_args", ()), *context.args]:
        whose = "chain init" if role is Role.SETTLEMENT else role
        msg = f"{' '.join(rest)!r} is no option of `hypernode {whose}`"
        raise Usage(msg)
    return dict(context.params)


def _coordinator(given: Mapping[str, Any], file: Path | None) -> Found:
    import os

    from coordinator.config import SCHEMA, read_config
    from hypernode.cli.coordinator import flags_of

    config, reading = read_config(flags_of(given), os.environ, file)
    tls = try_coordinator(reading)
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
    try_agent(reading)
    values = {n: reading.values.get(n, one.default) for n, one in SCHEMA.fields.items()}
    if config is not None:
        values["state_dir"] = str(config.state_dir)
    return Found(values, reading, tuple(agent_remarks(config, reading)))


def _settlement(given: Mapping[str, Any], file: Path | None) -> Found:
    import os

    from coordinator.settings import read_settings
    from hypernode.cli.chain_settings import SCHEMA

    said = {name: given.get(name) or None for name in SCHEMA.fields}
    reading = read_settings(SCHEMA, said, os.environ, file)
    if not reading.problems:
        try_settlement(reading)
    values = {n: reading.values.get(n, one.default) for n, one in SCHEMA.fields.items()}
    return Found(values, reading, ())


def _role_of(arguments: Sequence[str]) -> Role:
    """Whose settings a file holds: it has only names of that role, and some of nobody else's."""
    import tomllib

    from agent.config import SCHEMA as OF_AGENT
    from coordinator.config import SCHEMA as OF_COORDINATOR
    from hypernode.cli.chain_settings import SCHEMA as OF_SETTLEMENT

    words = [*arguments, ""]
    named = [words[at + 1] for at, word in enumerate(words) if word == "--config"]
    named += [word.removeprefix("--config=") for word in words if word.startswith("--config=")]
    try:
        said = tomllib.loads(Path(named[-1]).read_text(encoding="utf-8")) if named else {}
    except (OSError, ValueError):
        return Role.COORDINATOR  # whose reading tells what is wrong with the file
    schemas = {
        Role.COORDINATOR: OF_COORDINATOR,
        Role.SETTLEMENT: OF_SETTLEMENT,
        Role.AGENT: OF_AGENT,
    }
    fitting = [role for role, schema in schemas.items() if said.keys() <= schema.fields.keys()]
    return next(iter(fitting), Role.COORDINATOR)


def _asked_chain(role: Role, found: Found) -> Found:
    """The same, with what the chain says."""
    from hypernode.cli.chain_settings import ChainSettings, need_chain_parts, signer_in
    from hypernode.cli.config_online import Seen, look_for_coordinator, look_for_owner
    from hypernode.cli.exit import Usage
    from hypernode.cli.run import run_command

    if role is Role.AGENT:
        msg = "--online is for a coordinator or an owner: an agent asks no chain"
        raise Usage(msg)
    need_chain_parts()

    async def ask() -> Seen:
        if role is Role.COORDINATOR:
            from coordinator.config import Config

            return await look_for_coordinator(Config(**found.values))
        settings = ChainSettings(**found.reading.values)
        signer = None if settings.keypair is None else signer_in(settings).address
        return await look_for_owner(settings, signer)

    seen = run_command(ask)
    for setting, said in seen.problems:
        found.reading.wrong(setting, said)
    return found._replace(remarks=(*found.remarks, *seen.remarks))
