"""What the operator tells an agent, and what follows from it.

In:   flags, environment, a TOML file, systemd's credentials (`coordinator.settings` says who wins).
Out:  an `AgentConfig`, or a `ConfigError` that names everything that is wrong.
Rules:
  1. The default address is this machine's port 3001, as for the client; the seed's `HN_ENDPOINT` is
     read too.
  2. A token comes from a file, never as a value: command lines and environments are seen by others.
     It is optional: a node key that a wallet has bound needs none.
  3. Each coordinator has a state directory of its own: another coordinator, another node key.
Not here: reading and writing that directory (`main.py`), whether a token is good (`welcome.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias
from urllib.parse import urlsplit, urlunsplit

import msgspec
from msgspec import Meta
from platformdirs import user_state_path

from coordinator import settings
from coordinator.evidence_limits import GUARDIANS_MAX
from coordinator.limits import DEVICES_MAX, TOKEN_BYTES_MAX
from coordinator.settings import Reading, Schema, read_settings
from onchain.address import decode_address
from onchain.errors import BadAddress

Text: TypeAlias = Annotated[str, Meta(min_length=1, max_length=4096)]

#: Where a coordinator listens by default: the client's default too.
URL_DEFAULT: Final = "http://127.0.0.1:3001"
#: Words that stand for devices; each stands alone, but for `cpu`.
DEVICE_WORDS: Final = ("auto", "cuda", "cpu", "none")
#: How NVML's UUIDs begin.
_UUID_PREFIX: Final = "GPU-"
#: Jobs at the same time beside the GPUs, at most: each has a user of the sandbox's pool.
SLOTS_MAX: Final = 64
_SCHEMES: Final = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}
_HASH_CHARS: Final = 12
_HERE: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_BY_FILE: Final = (
    "a token is read from a file, where nobody else sees it: write it there "
    "(`hypernode token -o FILE`) and pass --token-file FILE"
)


class ConfigError(settings.ConfigError):
    """The agent cannot start like this."""

    def __init__(self, detail: str = "") -> None:
        """The text is the class's own sentence, which says what to do, and the detail."""
        super().__init__(f"{self.__doc__} ({detail})" if detail else str(self.__doc__))


class AgentSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator may set."""

    #: The coordinator's address: http(s):// or ws(s)://, host and port.
    url: Text = URL_DEFAULT
    #: Certificates of the authorities that are believed, PEM; the system's if not set.
    ca: Text | None = None
    #: File with the token; needed once, to register.
    token_file: Text | None = None
    #: Folder of node key, outbox, receipts, papers; one a coordinator in your state if not set.
    state_dir: Text | None = None
    #: Jobs at the same time beside the GPUs: commands, and kernels on the CPU; 0 is one.
    slots: Annotated[int, Meta(ge=0, le=SLOTS_MAX)] = 0
    #: `auto`, `cuda` (every GPU), `cpu`, `none`, or GPUs by index or UUID: `0,2`.
    devices: Text = "auto"
    #: Whether strangers' commands may run here, in the sandbox.
    allow_command: bool = False
    #: Whether strangers' kernels may run here, in the sandbox; they are checked before.
    allow_kernels: bool = True
    #: JSON lines (true) or text (false); by default JSON wherever there is no terminal.
    log_json: bool | None = None
    #: Whether a terminal shows a screen that tells how it goes, or the log.
    dashboard: bool = True
    #: Port of `/metrics` for Prometheus, on 127.0.0.1 only; 0 lets the system choose.
    metrics_port: Annotated[int, Meta(ge=0, le=65_535)] | None = None
    #: Ledger whose proofs and vouchers are kept, base58; that of the first one if not set.
    ledger: Text | None = None
    #: Guardians that are sent the receipts of this node: https://, host and port.
    guardians: Annotated[tuple[Text, ...], Meta(max_length=GUARDIANS_MAX)] = ()


class AgentConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent needs to start."""

    #: The coordinator's WebSocket address.
    url: str
    #: The same host over HTTP, without a path: for blobs.
    http_url: str
    #: May be empty.
    token: str
    state_dir: Path
    #: Places on the processor, for commands and, with `cpu` among the devices, for kernels; 0 for
    #: one.
    slots: int
    #: A word of `DEVICE_WORDS`; or indices, UUIDs and `cpu`.
    devices: tuple[str, ...]
    #: Whether strangers' commands may run here, in the sandbox.
    allow_command: bool
    #: Whether strangers' kernels may run here, in the sandbox.
    allow_kernels: bool = True
    #: Whom to believe under TLS; the system's authorities if None.
    ca: Path | None = None
    log_json: bool | None = None
    dashboard: bool = True
    #: Where `/metrics` is, on 127.0.0.1; nowhere if None.
    metrics_port: int | None = None
    #: The ledger that earnings papers must be of, base58; empty: that of the first paper.
    ledger: str = ""
    #: Addresses of guardians, which are sent the receipts.
    guardians: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Without the token: configurations are logged."""
        return f"AgentConfig(url={self.url!r}, state_dir={self.state_dir!s})"


def _check(setting: str, value: Any) -> None:
    if setting == "url":
        _urls(value)
    elif setting == "devices":
        _devices(value)
    elif setting == "ledger":
        _address(value)
    elif setting == "guardians":
        for each in value:
            guardian_url(each)


SCHEMA: Final = Schema(
    role="agent",
    struct=AgentSettings,
    seed={"url": "HN_ENDPOINT", "token": "HN_NODE_TOKEN"},
    credentials={"token_file": "token", "ca": "ca"},
    not_by_value={"token": _BY_FILE},
    flags={"guardians": "--guardian"},
    check=_check,
)


def read_config(
    flags: Mapping[str, object], environ: Mapping[str, str], file: Path | None
) -> tuple[AgentConfig | None, Reading]:
    """The effective configuration, if there is one, and where everything comes from."""
    reading = read_settings(SCHEMA, flags, environ, file)
    said = AgentSettings(**reading.values)
    token = _token(said, reading)
    if reading.problems:
        return None, reading
    url, http_url = _urls(said.url)
    return AgentConfig(
        url=url,
        http_url=http_url,
        token=token,
        state_dir=Path(said.state_dir).expanduser() if said.state_dir else _state_dir(url),
        slots=said.slots,
        devices=_devices(said.devices),
        allow_command=said.allow_command,
        allow_kernels=said.allow_kernels,
        ca=Path(said.ca).expanduser() if said.ca else None,
        log_json=said.log_json,
        dashboard=said.dashboard,
        metrics_port=said.metrics_port,
        ledger=said.ledger or "",
        guardians=tuple(map(guardian_url, said.guardians)),
    ), reading


def load(
    flags: Mapping[str, object], environ: Mapping[str, str], file: Path | None = None
) -> AgentConfig:
    """The configuration of one agent.

    Args:
        flags: What the command line said; a key that is None was not said.
        environ: The process's environment.
        file: A TOML file, or None.

    Raises:
        ConfigError: of `coordinator.settings`: everything that is wrong.
    """
    config, reading = read_config(flags, environ, file)
    reading.raise_problems()
    assert config is not None
    return config


def _devices(text: str) -> tuple[str, ...]:
    """The devices of a list.

    Raises:
        ValueError: it is none.
    """
    wrong = "devices are auto, cuda, cpu or none, or a list of `nvidia-smi`'s indices and UUIDs"
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",")))
    for word in words:
        is_index = word.isascii() and word.isdecimal() and len(word) <= len(str(DEVICES_MAX))
        if not (is_index or word in DEVICE_WORDS or word.startswith(_UUID_PREFIX)):
            msg = f"{wrong}: 0,2; not {word!r}"
            raise ValueError(msg)
        if word in DEVICE_WORDS and word != "cpu" and len(words) > 1:
            msg = f"{wrong}; {word} stands alone"
            raise ValueError(msg)
    return words


def _address(text: str) -> None:
    """Check an address of the chain.

    Raises:
        ValueError: it is none.
    """
    try:
        decode_address(text)
    except BadAddress as error:
        raise ValueError(str(error)) from error


def guardian_url(text: str) -> str:
    """The address of a guardian, without a path.

    Raises:
        ValueError: it is none, or receipts would travel in the open.
    """
    msg = "a guardian's address looks like https://host:9466; http:// is for this machine alone"
    try:
        parts = urlsplit(text.strip())
        host, _port = parts.hostname, parts.port
    except ValueError as error:
        msg = f"{msg} ({error})"
        raise ValueError(msg) from error
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and host in _HERE)
    if not host or not is_safe or parts.username is not None or parts.path not in {"", "/"}:
        raise ValueError(msg)
    return f"{parts.scheme}://{parts.netloc}"


def _urls(text: str) -> tuple[str, str]:
    """The WebSocket address, and the HTTP address of the same host.

    Raises:
        ValueError: this is no address.
    """
    msg = "a coordinator's address looks like https://host or http://host:3001"
    text = text.strip()
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, _port = parts.hostname, parts.port
    except ValueError as error:
        msg = f"{msg} ({error})"
        raise ValueError(msg) from error
    if parts.scheme not in _SCHEMES or not host or parts.username is not None:
        raise ValueError(msg)
    scheme = _SCHEMES[parts.scheme]
    url = urlunsplit((scheme, parts.netloc, parts.path or "/", parts.query, ""))
    return url, f"{'https' if scheme == 'wss' else 'http'}://{parts.netloc}"


def _token(said: AgentSettings, reading: Reading) -> str:
    """The token of the file that is named, if one is; what is wrong with it becomes a problem."""
    if said.token_file is None:
        return ""
    path = Path(said.token_file).expanduser()
    try:
        with path.open(encoding="ascii") as file:
            token = file.read(TOKEN_BYTES_MAX + 2).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        reading.wrong("token_file", f"{path} cannot be read: {reason}")
        return ""
    if not token:
        reading.wrong("token_file", f"{path} is empty: make a token with `hypernode token`")
    if len(token) > TOKEN_BYTES_MAX:
        sentence = "holds no token: it is longer than one can be. Copy it again, `hy1` to its end"
        reading.wrong("token_file", f"{path} {sentence}")
    return token


def _state_dir(url: str) -> Path:
    return user_state_path("hypernode") / f"agent-{sha256(url.encode()).hexdigest()[:_HASH_CHARS]}"
