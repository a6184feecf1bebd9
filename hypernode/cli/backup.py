"""`hypernode coordinator backup`, `restore`, `audit`: what an owner does with a database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from coordinator.config import Config

DbOption = Annotated[
    Path | None,
    typer.Option(help="The database, a file.", show_default=False),
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="Settings in TOML.", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def is_for_another(context: typer.Context) -> bool:
    """Whether the coordinator's own function was called on the way to a command below it.

    Raises:
        Usage: options of the coordinator stand before that command.
    """
    from hypernode.cli.exit import Usage

    if context.invoked_subcommand is None:
        return False
    given = [
        name
        for name in context.params
        if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
    ]
    if given:
        option = "--" + given[0].replace("_", "-")
        msg = f"put {option} after `{context.invoked_subcommand}`, if it is an option of that"
        raise Usage(msg)
    return True


def add_commands(app: typer.Typer) -> None:
    """Add the commands to `hypernode coordinator`."""
    app.command("backup")(backup)
    app.command("restore")(restore)
    app.command("audit")(audit)


def backup(
    target: Annotated[Path, typer.Argument(metavar="DEST", help="A new folder.")],
    *,
    db: DbOption = None,
    config: ConfigOption = None,
    blobs: Annotated[
        bool, typer.Option("--blobs", help="With the files of results above 4 KiB an array.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Back the database up, also while its coordinator runs.

    DEST then holds every committed row and a manifest. It holds the coordinator's key too: whoever
    has it can sign as this coordinator.

    Example: hypernode coordinator backup /mnt/backup/market-monday --db market.db
    """
    from coordinator.backup import make_backup
    from coordinator.clock import SystemClock
    from coordinator.main import package_version

    settings = settings_of(db, config)
    made = make_backup(
        Path(settings.db),
        target,
        now_ms=SystemClock().wall_ms(),
        program=package_version(),
        blobs=Path(settings.blobs) if blobs else None,
    )
    _tell(made, {"Backup": str(target)}, as_json=as_json)


def restore(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="A folder made by `backup`.")],
    *,
    db: DbOption = None,
    config: ConfigOption = None,
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="Audit every row and receipt first.")
    ] = True,
    check: Annotated[bool, typer.Option("--check", help="Only verify; put nothing in place.")] = (
        False
    ),
    blobs: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the blobs; beside the database if not set.", show_default=False
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Put a backup in the database's place, after the whole audit.

    No coordinator may run on it. The database that is there is moved aside, and its new name is
    printed: nothing is deleted. Missing blobs that the backup has are added. Run by root, it gives
    what it makes to the owner of the database's folder. For a drill beside the real database give
    --blobs too: both would use one folder.

    Example: hypernode coordinator restore /mnt/backup/market-monday --verify --db market.db
    """
    from coordinator.restore import restore_backup

    settings = settings_of(db, config, blobs)
    if verify:
        _ask_for_patience()
    done = restore_backup(
        source, Path(settings.db), Path(settings.blobs), verify=verify, only_look=check
    )
    facts = {"Verified": "the whole audit" if verify else "hashes and schema only"}
    if not check:
        facts["Restored"] = settings.db
        facts["Before"] = str(done.aside) if done.aside else "there was no database"
    where = "in the backup" if check else f"added to {settings.blobs}"
    facts["Blobs"] = f"{done.blobs} {where}"
    if not check and (others := _beside(Path(settings.db), Path(settings.blobs))):
        facts["Shared"] = f"{settings.blobs} is the folder of blobs of {', '.join(others)} too"
    if done.owner is not None:
        facts["Owner"] = f"user {done.owner[0]}, as of the database's folder"
    _tell(done.manifest, facts, as_json=as_json)


def audit(
    *,
    db: DbOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read every row of a database, also of a running coordinator, and say what is wrong.

    Example: hypernode coordinator audit --db market.db
    """
    from coordinator.audit import audit as faults_of
    from coordinator.store.sqlite import open_sqlite
    from hypernode.cli.exit import Exit
    from hypernode.cli.output import print_json

    settings = settings_of(db, config)
    _ask_for_patience()
    store = open_sqlite(Path(settings.db), is_readonly=True)
    try:
        faults = faults_of(store)
    finally:
        store.close()
    if as_json:
        print_json({"db": settings.db, "faults": faults})
    else:
        for line in faults or [f"{settings.db}: nothing is wrong"]:
            typer.echo(line)
    if faults:
        raise typer.Exit(Exit.FAILED)


def _ask_for_patience() -> None:
    """Tell whoever watches a terminal why it takes so long."""
    import sys

    from hypernode.cli.output import is_terminal, note

    if is_terminal(sys.stderr):
        note("auditing every row: some seconds, or a minute for a million jobs …")


def _beside(db: Path, blobs: Path) -> list[str]:
    """Names of other databases that have their blobs in the same folder unless told otherwise."""
    return sorted(path.name for path in blobs.parent.glob("*.db") if path.resolve() != db.resolve())


def settings_of(db: Path | None, config: Path | None, blobs: Path | None = None) -> Config:
    import os

    from coordinator.config import load_config

    return load_config({"db": db, "blobs": blobs}, os.environ, config)


def _tell(manifest: Any, facts: dict[str, str], *, as_json: bool) -> None:
    """What was done, and with what."""
    import msgspec

    from hypernode.cli.output import print_facts, print_json

    if as_json:
        document = msgspec.to_builtins(manifest)
        print_json({**document, **{name.lower(): fact for name, fact in facts.items()}})
        return
    jobs = ", ".join(f"{count} {state}" for state, count in manifest.jobs.items() if count)
    print_facts(
        {
            **facts,
            "Made": manifest.made,
            "Database": f"{manifest.size} bytes, SHA-256 {manifest.sha256}",
            "Schema": str(manifest.schema),
            "Jobs": jobs or "none",
            "Ledger": f"batch {manifest.ledger_batch}, link {manifest.ledger_link or 'none'}",
            "Files": f"{manifest.blobs_copied} of {manifest.blobs} blobs"
            + (f", {manifest.blobs_missing} were gone" if manifest.blobs_missing else ""),
        }
    )
