"""Settings from several sources, judged all at once.

A flag goes before the environment, that before a file, that before a credential and the default.

In:   a `Schema`: the settings of one role; flags, the environment, a TOML file.
Out:  a `Reading`: each value with its origin, and every problem, not the first one only.
Rules:
  1. The environment is `HYPERNODE_<SETTING>`, after it the seed's own names.
  2. What is no setting is refused by name with the near one: a flag, a key of the file, a variable
     that differs from one of ours by a slip or by the role's name. Other variables are left alone
     (`Reading.unknown`), and so are those that Kubernetes sets for a service named `hypernode`.
  3. A secret is a file. Where its value stands instead, in whatever source, it is refused and not
     repeated.
  4. `$CREDENTIALS_DIRECTORY` (systemd's `LoadCredential=`) may hold the files of a role's secrets.
Not here: what the settings mean (`coordinator.config`, `agent.config`), whether the files serve.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, get_args, get_origin

import msgspec

from coordinator.secret_values import secret_in
from coordinator.setting_words import in_words, is_slip

PREFIX: Final = "HYPERNODE_"
#: Where systemd puts what `LoadCredential=` names.
CREDENTIALS_VARIABLE: Final = "CREDENTIALS_DIRECTORY"

Source: TypeAlias = Literal["default", "credential", "file", "environment", "flag"]

#: Words that people write for a setting of another name.
_MEANT: Final = {
    "coordinator": "url", "endpoint": "url", "database": "db", "listen": "host", "address": "host",
    "cert": "tls_cert", "certificate": "tls_cert", "key": "tls_key", "admins": "admin_wallets",
    "admin": "admin_wallets", "proxies": "trusted_proxies", "device": "devices",
}  # fmt: skip
_SERVICE_LINK: Final = re.compile(
    r"_SERVICE_HOST\Z|_SERVICE_PORT(_\w+)?\Z|_PORT_\d+_(TCP|UDP|SCTP)(_\w+)?\Z"
)
_LINE_AT: Final = re.compile(r"\(at line (\d+), column")
_SERVICE_URLS: Final = ("tcp://", "udp://", "sctp://")


class ConfigError(ValueError):
    """The configuration is not valid; each line names a setting and where it stands."""

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))


class Origin(msgspec.Struct, frozen=True):
    """Where a value comes from: `--port`, `HYPERNODE_PORT`, `coordinator.toml:3`, `default`."""

    source: Source
    where: str = ""

    def __str__(self) -> str:
        return self.where or self.source


DEFAULT: Final = Origin("default")


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong."""

    setting: str
    origin: str
    error: str

    def __str__(self) -> str:
        origin = f" ({self.origin})" if self.origin else ""
        return f"{self.setting}{origin}: {self.error}"


def _nothing(_setting: str, _value: Any) -> None:
    """A role without rules of its own."""


@dataclass(frozen=True, kw_only=True)
class Schema:
    """The settings of one role."""

    role: str
    #: Their names, types and defaults.
    struct: type[msgspec.Struct]
    #: Setting → the seed's variable for it.
    seed: Mapping[str, str] = field(default_factory=dict)
    #: Setting that is a file → its name in `$CREDENTIALS_DIRECTORY`.
    credentials: Mapping[str, str] = field(default_factory=dict)
    #: Name that would hold a secret's value → what to do instead.
    not_by_value: Mapping[str, str] = field(default_factory=dict)
    #: Setting → its flag, where that is not `--` and the name.
    flags: Mapping[str, str] = field(default_factory=dict)
    #: Raises `ValueError` for a value of the right type that makes no sense.
    check: Callable[[str, Any], None] = _nothing

    @property
    def fields(self) -> dict[str, msgspec.structs.FieldInfo]:
        return {one.name: one for one in msgspec.structs.fields(self.struct)}

    def flag(self, setting: str) -> str:
        return self.flags.get(setting, "--" + setting.replace("_", "-"))

    def near(self, name: str) -> str | None:
        """The setting that a wrong name probably means."""
        meant = _MEANT.get(name, name)
        if meant in self.fields:
            return meant
        longer = [setting for setting in self.fields if setting.startswith(f"{name}_")]
        if len(longer) == 1:
            return longer[0]
        slips = [setting for setting in self.fields if is_slip(name, setting)]
        if slips:
            return slips[0]
        return next(iter(get_close_matches(name, self.fields, n=1, cutoff=0.85)), None)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What the sources say together."""

    #: Valid values that somebody set, of the setting's type.
    values: dict[str, Any]
    #: Of every setting that somebody set, valid or not.
    origins: dict[str, Origin]
    problems: list[Problem]
    #: Variables with our prefix that are nothing of this role.
    unknown: tuple[str, ...]

    def origin(self, setting: str) -> Origin:
        return self.origins.get(setting, DEFAULT)

    def wrong(self, setting: str, error: str) -> None:
        """Note a problem of a setting."""
        self.problems.append(Problem(setting, str(self.origin(setting)), error))

    def raise_problems(self) -> None:
        """Refuse all that is wrong.

        Raises:
            ConfigError: something is.
        """
        if self.problems:
            raise ConfigError(*map(str, self.problems))


def read_settings(
    schema: Schema, flags: Mapping[str, object], environ: Mapping[str, str], file: Path | None
) -> Reading:
    """Everything that the sources say about a role's settings.

    Args:
        schema: The role's settings.
        flags: What the command line said; a key that is None was not said.
        environ: The process's environment.
        file: A TOML file, or None.
    """
    problems: list[Problem] = []
    unknown: list[str] = []
    found: dict[str, tuple[object, Origin]] = {}
    fields = schema.fields
    for name, value, origin in _said(schema, flags, environ, file, problems):
        if name in schema.not_by_value:
            problems.append(Problem(name, str(origin), schema.not_by_value[name]))
        elif name in fields:
            found[name] = value, origin
        elif origin.source != "environment":
            problems.append(_no_setting(schema, name, origin))
        elif schema.near(name) or name.startswith(f"{schema.role}_"):
            problems.append(_no_variable(schema, name, origin))
        else:
            unknown.append(origin.where)
    reading = Reading(
        values={},
        origins={name: origin for name, (_value, origin) in found.items()},
        problems=problems,
        unknown=tuple(unknown),
    )
    for name, (value, _origin) in found.items():
        _judge(schema, reading, name, value)
    return reading


def _said(
    schema: Schema,
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    file: Path | None,
    problems: list[Problem],
) -> Iterator[tuple[str, object, Origin]]:
    """Names and values from the weakest source to the strongest."""
    folder = environ.get(CREDENTIALS_VARIABLE)
    for setting, name in schema.credentials.items() if folder else ():
        path = Path(folder or "", name)
        if path.is_file():
            yield setting, str(path), Origin("credential", f"${CREDENTIALS_VARIABLE}/{name}")
    yield from _in_file(file, problems)
    for setting, variable in schema.seed.items():
        if environ.get(variable):
            yield setting, environ[variable], Origin("environment", variable)
    for variable in sorted(environ):
        if variable.startswith(PREFIX) and not _is_service_link(variable, environ[variable]):
            name, value = variable.removeprefix(PREFIX).lower(), environ[variable]
            if value or _may_be_empty(schema.fields.get(name)):
                yield name, value, Origin("environment", variable)
    for name, given in flags.items():
        if given is not None:
            yield name, given, Origin("flag", schema.flag(name))


def _in_file(file: Path | None, problems: list[Problem]) -> Iterator[tuple[str, object, Origin]]:
    if file is None:
        return
    text = ""
    try:
        text = file.read_text(encoding="utf-8")
        document = tomllib.loads(text)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        where = f"{file}{_line_in(str(error), text)}"
        problems.append(Problem("config", where, f"this file cannot be read: {reason}"))
        return
    for key, value in document.items():
        line = re.search(rf"""^[ \t]*["']?{re.escape(key)}["']?[ \t]*=""", text, re.MULTILINE)
        number = f":{text.count(chr(10), 0, line.start()) + 1}" if line else ""
        yield key, value, Origin("file", f"{file}{number}")


def _line_in(error: str, text: str) -> str:
    """The line that a parser's sentence speaks of, as editors write it; "" if of none."""
    if "(at end of document)" in error:
        return f":{len(text.splitlines())}"
    line = _LINE_AT.search(error)
    return f":{line[1]}" if line else ""


def _may_be_empty(one: msgspec.structs.FieldInfo | None) -> bool:
    """Whether an empty variable says something: that a setting has no value, where it may."""
    return one is not None and one.default in (None, ())


def _is_service_link(variable: str, value: str) -> bool:
    """Whether Kubernetes set it, for a service whose name begins with ours."""
    if variable.endswith("_PORT") and value.startswith(_SERVICE_URLS):
        return True
    return _SERVICE_LINK.search(variable) is not None


def _no_setting(schema: Schema, name: str, origin: Origin) -> Problem:
    near = schema.near(name)
    hint = f": do you mean {near!r}?" if near else ""
    return Problem(name, str(origin), f"there is no setting {name!r}{hint}")


def _no_variable(schema: Schema, name: str, origin: Origin) -> Problem:
    bare = name.removeprefix(f"{schema.role}_")
    near = bare if bare in schema.fields else schema.near(bare)
    hint = f": do you mean {PREFIX}{near.upper()}?" if near else ""
    return Problem(name, str(origin), f"there is no setting of this name{hint}")


def _judge(schema: Schema, reading: Reading, name: str, value: object) -> None:
    """Take a value of the type that its setting has; text becomes numbers, truth and lists."""
    kind = secret_in(value)
    if kind:
        reading.wrong(name, f"this is {kind} itself; it belongs into a file of its own")
        return
    one = schema.fields[name]
    if isinstance(value, Path):
        value = str(value)
    if value == "" and one.default is None:
        reading.values[name] = None
        return
    is_text = isinstance(value, str)
    if isinstance(value, str) and "tuple" in str(one.type):
        value = [part.strip() for part in value.split(",") if part.strip()]
    try:
        converted = msgspec.convert(value, one.type, strict=not is_text)
        schema.check(name, converted)
    except ValueError as error:  # msgspec's ValidationError is one
        choices = get_args(one.type) if get_origin(one.type) is Literal else ()
        said = f"choose one of {', '.join(choices)}" if choices else str(error)
        reading.wrong(name, in_words(said, value))
    else:
        reading.values[name] = converted
