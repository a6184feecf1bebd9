"""The coordinator's configuration: flag > environment > TOML > default.

Rules:
  1. The environment is `HYPERNODE_<KEY>`, and after it the seed's `PORT`, `WS_PORT`, `CORS_ORIGIN`.
  2. An unknown flag or key of the file is refused by name; so is an environment variable that
     differs from one of ours by a slip (others belong to the agent and the client).
  3. A value out of its range is refused by name, with where it came from.
  4. Amounts are decimal text of HYPER (`"0.0001"`), never TOML's floats.
Not here: secrets (key files), what the agent and the client read.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta
from platformdirs import user_data_path

from coordinator.limits import CONNECTIONS_MAX, CONNECTIONS_PER_ADDRESS_MAX, DRAIN_S
from coordinator.pricing import BASIS_POINTS, Rules
from coordinator.protocol.signin import DOMAIN_CHARS_MAX, URI_CHARS_MAX
from onchain.address import decode_address
from onchain.amounts import parse_hyper
from onchain.errors import BadAddress, BadAmount

PREFIX: Final = "HYPERNODE_"
#: The seed's variables, by the key that they set; each gives way to its `HYPERNODE_` twin.
SEED_VARIABLES: Final = {"port": "PORT", "ws_port": "WS_PORT", "cors_origins": "CORS_ORIGIN"}

Port: TypeAlias = Annotated[int, Meta(ge=0, le=65_535)]
Text: TypeAlias = Annotated[str, Meta(min_length=1, max_length=4096)]
Texts: TypeAlias = tuple[Text, ...]


class ConfigError(ValueError):
    """The configuration is not valid; the text names the key and where it stands."""


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the owner of a coordinator may set. `load_config` fills what follows from the rest."""

    #: Address to listen on; `0.0.0.0` and `::` are all.
    host: Text = "127.0.0.1"
    #: Port for HTTP and WebSocket; 0 lets the system choose.
    port: Port = 3001
    #: A second port that serves the same, for the seed's clients.
    ws_port: Port | None = None
    #: TLS certificate chain and key, PEM files; both or neither.
    tls_cert: Text | None = None
    tls_key: Text | None = None
    #: The database: a file; in the user's data folder if not set.
    db: Text = "coordinator.db"
    #: Folder of the blobs; beside the database if not set.
    blobs: Text = "blobs"
    #: What wallets are shown: the host name under which people reach this coordinator.
    domain: Annotated[str, Meta(pattern=rf"^[!-~]{{1,{DOMAIN_CHARS_MAX}}}\Z")] = "localhost:3001"
    #: Address of this coordinator on the web.
    uri: Annotated[str, Meta(pattern=r"^https?://[!-~]+\Z", max_length=URI_CHARS_MAX)] = (
        "http://localhost:3001"
    )
    #: Solana's network, as sign-in texts name it.
    chain_id: Literal["mainnet", "testnet", "devnet", "localnet"] = "localnet"
    #: Origins whose pages may ask; `*` for any.
    cors_origins: Texts = ()
    #: Names in the `Host` header that are served; all if empty.
    allowed_hosts: Texts = ()
    #: Wallets that may open an `admin` session, base58.
    admin_wallets: Texts = ()
    #: Whether `/metrics` answers others than this machine.
    metrics_public: bool = False
    #: Open connections in all, and from one address (raise this one behind a reverse proxy).
    connections: Annotated[int, Meta(ge=1, le=1_000_000)] = CONNECTIONS_MAX
    connections_per_address: Annotated[int, Meta(ge=1, le=1_000_000)] = CONNECTIONS_PER_ADDRESS_MAX
    #: Seconds that a drain takes at most.
    drain_s: Annotated[float, Meta(ge=0.0, le=3600.0)] = DRAIN_S
    #: JSON lines (true) or text (false); by default JSON wherever there is no terminal.
    log_json: bool | None = None
    #: Whether each HTTP answer is a line in the log; refusals always are.
    access_log: bool = False
    #: The house's part of a price, in basis points.
    fee_bp: Annotated[int, Meta(ge=0, le=BASIS_POINTS)] = 250
    #: HYPER for 10^12 floating-point operations.
    price_per_tflop: Text = "0.01"
    #: HYPER for one GiB moved.
    price_per_gib: Text = "0.005"
    #: HYPER for one second of a command.
    command_price_per_s: Text = "0.01"
    #: Hours that a payment stays withheld.
    withhold_hours: Annotated[int, Meta(ge=0, le=24 * 365)] = 24
    #: HYPER that all test jobs together may earn in a day.
    test_pay_daily: Text = "0"
    #: Whether the development faucet gives.
    faucet: bool = False


_FIELDS: Final = {field.name: field for field in msgspec.structs.fields(Config)}
_AMOUNTS: Final = ("price_per_tflop", "price_per_gib", "command_price_per_s", "test_pay_daily")


def load_config(
    flags: Mapping[str, object], environ: Mapping[str, str], file: Path | None
) -> Config:
    """The effective configuration.

    Args:
        flags: What the command line said; a key that is None was not said.
        environ: The process's environment.
        file: A TOML file, or None.

    Raises:
        ConfigError: an unknown key, a value out of range, or a file that cannot be read.
    """
    values, origins = _gather(flags, environ, file)
    checked: dict[str, Any] = {
        key: _checked(key, value, origins[key]) for key, value in values.items()
    }
    config = Config(**{**_derived(checked), **checked})
    _check_together(config, origins)
    return config


def origins_of(
    flags: Mapping[str, object], environ: Mapping[str, str], file: Path | None
) -> dict[str, str]:
    """Where the value of each key comes from, for people: `--port`, `HYPERNODE_PORT`, `default`."""
    _, origins = _gather(flags, environ, file)
    return {key: origins.get(key, "default") for key in _FIELDS}


def rules(config: Config) -> Rules:
    """The market's numbers in base units."""
    return Rules(
        fee_bp=config.fee_bp,
        price_per_tflop=parse_hyper(config.price_per_tflop),
        price_per_gib=parse_hyper(config.price_per_gib),
        command_price_per_s=parse_hyper(config.command_price_per_s),
        withhold_ms=config.withhold_hours * 3600 * 1000,
        test_pay_daily=parse_hyper(config.test_pay_daily),
        faucet=config.faucet,
    )


def _gather(
    flags: Mapping[str, object], environ: Mapping[str, str], file: Path | None
) -> tuple[dict[str, object], dict[str, str]]:
    """Values by key, the weakest source first, and where each one came from."""
    values: dict[str, object] = {}
    origins: dict[str, str] = {}

    def take(key: str, value: object, origin: str) -> None:
        if key not in _FIELDS:
            msg = f"there is no setting {key!r} ({origin}){_suggestion(key)}"
            raise ConfigError(msg)
        values[key], origins[key] = value, origin

    for key, value in _read_toml(file).items():
        take(key, value, str(file))
    for key, variable in SEED_VARIABLES.items():
        if environ.get(variable):
            take(key, environ[variable], variable)
    for variable in environ:
        key = variable.removeprefix(PREFIX).lower()
        if variable.startswith(PREFIX) and (key in _FIELDS or _suggestion(key)):
            take(key, environ[variable], variable)
    for key, value in flags.items():
        if value is not None:
            take(key, value, "--" + key.replace("_", "-"))
    return values, origins


def _suggestion(key: str) -> str:
    near = get_close_matches(key, _FIELDS, n=1, cutoff=0.85)
    return f": do you mean {near[0]!r}?" if near else ""


def _read_toml(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"the configuration {file} cannot be read: {error}"
        raise ConfigError(msg) from error


def _checked(key: str, value: object, origin: str) -> object:
    """A value of the type that its key has; text becomes numbers, truth values and lists."""
    field = _FIELDS[key]
    if field.type == Texts and isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if field.type != Texts and isinstance(value, Path):
        value = str(value)
    if value == "" and field.default is None:
        return None
    try:
        checked = msgspec.convert(value, field.type, strict=not isinstance(value, str))
        _check_meaning(key, checked)
    except (msgspec.ValidationError, BadAmount, BadAddress) as error:
        msg = f"{key} ({origin}): {error}"
        raise ConfigError(msg) from error
    return checked


def _check_meaning(key: str, value: Any) -> None:
    if key in _AMOUNTS:
        parse_hyper(value)
    if key == "admin_wallets":
        for wallet in value:
            decode_address(wallet)


def _derived(checked: Mapping[str, Any]) -> dict[str, Any]:
    """What follows from other keys where it was not said."""
    host, port = checked.get("host", "127.0.0.1"), checked.get("port", 3001)
    is_local = host in {"127.0.0.1", "::1", "localhost", "0.0.0.0", "::"}  # noqa: S104 (a test)
    name = "localhost" if is_local else f"[{host}]" if ":" in host else host
    domain = checked.get("domain", f"{name}:{port}")
    scheme = "https" if checked.get("tls_cert") else "http"
    db = Path(checked.get("db") or user_data_path("hypernode") / "coordinator.db")
    return {
        "domain": domain,
        "uri": f"{scheme}://{domain}",
        "db": str(db),
        "blobs": str(db.parent / "blobs"),
    }


def _check_together(config: Config, origins: Mapping[str, str]) -> None:
    if (config.tls_cert is None) != (config.tls_key is None):
        key = "tls_cert" if config.tls_key is None else "tls_key"
        msg = f"tls_cert and tls_key go together: only {key} is set ({origins[key]})"
        raise ConfigError(msg)
