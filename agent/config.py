"""What the operator tells an agent: flag > `HYPERNODE_*` > the seed's names > default.

In:   flags, environment.
Out:  an `AgentConfig`, or a `ConfigError` that names what is wrong and what to write instead.
Rules:
  1. `HYPERNODE_URL`, `HYPERNODE_TOKEN`; after them the seed's `HN_ENDPOINT`, `HN_NODE_TOKEN`. The
     default address is this machine's port 3001, as for the client.
  2. A token is optional: a node key that a wallet has bound needs none. A file that should hold one
     must.
  3. Each coordinator has a state directory of its own: another coordinator, another node key.
Not here: reading and writing that directory (`main.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import msgspec
from platformdirs import user_state_path

from coordinator.limits import DEVICES_MAX, TOKEN_BYTES_MAX

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


class ConfigError(ValueError):
    """The agent cannot start like this."""

    def __init__(self, detail: str = "") -> None:
        """The text is the class's own sentence, which says what to do, and the detail."""
        super().__init__(f"{self.__doc__} ({detail})" if detail else self.__doc__)


class UrlMalformed(ConfigError):
    """A coordinator's address looks like http://host:3001 or wss://host."""


class TokenTooLong(ConfigError):
    """This is no token: it is longer than one can be. Copy it again, from `hy1` to its end."""


class TokenEmpty(ConfigError):
    """The token file is empty: make a token with `hypernode token` and write it there."""


class TokenUnreadable(ConfigError):
    """The token file cannot be read: check --token-file and its permissions."""


class SlotsOutOfRange(ConfigError):
    """Slots are a number from 1 to 64; leave --slots away for one."""


class DeviceUnknown(ConfigError):
    """Devices are auto, cuda, cpu or none, or a list of `nvidia-smi`'s indices and UUIDs: 0,2."""


class AgentFlags(msgspec.Struct, frozen=True, kw_only=True):
    """The flags as typed; None for those that were not."""

    #: `--url`, or the seed's `--endpoint`.
    url: str | None = None
    token: str | None = None
    token_file: Path | None = None
    state_dir: Path | None = None
    #: Places on the processor; 0 for one.
    slots: int = 0
    #: A list, separated by commas.
    devices: str = "auto"
    allow_command: bool = False


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

    def __repr__(self) -> str:
        """Without the token: configurations are logged."""
        return f"AgentConfig(url={self.url!r}, state_dir={self.state_dir!s})"


def load(flags: AgentFlags, environ: Mapping[str, str]) -> AgentConfig:
    """The configuration of one agent.

    Raises:
        ConfigError: the first thing that is wrong, as one of its subclasses.
    """
    given = flags.url or _first(environ, "HYPERNODE_URL", "HN_ENDPOINT") or URL_DEFAULT
    url, http_url = _urls(given.strip())
    if not 0 <= flags.slots <= SLOTS_MAX:
        raise SlotsOutOfRange
    state_dir = flags.state_dir or _state_dir(url, environ)
    return AgentConfig(
        url=url,
        http_url=http_url,
        token=_token(flags, environ),
        state_dir=state_dir.expanduser(),
        slots=flags.slots,
        devices=_devices(flags.devices),
        allow_command=flags.allow_command,
    )


def _devices(text: str) -> tuple[str, ...]:
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",")))
    for word in words:
        is_index = word.isascii() and word.isdecimal() and len(word) <= len(str(DEVICES_MAX))
        if not (is_index or word in DEVICE_WORDS or word.startswith(_UUID_PREFIX)):
            raise DeviceUnknown(word)
        if word in DEVICE_WORDS and word != "cpu" and len(words) > 1:
            alone = f"{word} stands alone"
            raise DeviceUnknown(alone)
    return words


def _first(environ: Mapping[str, str], *names: str) -> str:
    return next((environ[name] for name in names if environ.get(name)), "")


def _urls(text: str) -> tuple[str, str]:
    """The WebSocket address, and the HTTP address of the same host."""
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, _port = parts.hostname, parts.port
    except ValueError as error:
        raise UrlMalformed(str(error)) from error
    if parts.scheme not in _SCHEMES or not host or parts.username is not None:
        raise UrlMalformed
    scheme = _SCHEMES[parts.scheme]
    url = urlunsplit((scheme, parts.netloc, parts.path or "/", parts.query, ""))
    return url, f"{'https' if scheme == 'wss' else 'http'}://{parts.netloc}"


def _token(flags: AgentFlags, environ: Mapping[str, str]) -> str:
    if flags.token:
        token = flags.token
    elif flags.token_file is not None:
        try:
            with flags.token_file.open(encoding="ascii") as file:
                token = file.read(TOKEN_BYTES_MAX + 2)
        except (OSError, UnicodeDecodeError) as error:
            raise TokenUnreadable(str(error)) from error
    else:
        token = _first(environ, "HYPERNODE_TOKEN", "HN_NODE_TOKEN")
    token = token.strip()
    if not token and not flags.token and flags.token_file is not None:
        raise TokenEmpty(str(flags.token_file))
    if len(token) > TOKEN_BYTES_MAX:
        raise TokenTooLong
    return token


def _state_dir(url: str, environ: Mapping[str, str]) -> Path:
    chosen = environ.get("HYPERNODE_STATE_DIR")
    root = Path(chosen) if chosen else user_state_path("hypernode")
    return root / f"agent-{sha256(url.encode()).hexdigest()[:_HASH_CHARS]}"
