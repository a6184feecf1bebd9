"""What the commands below `hypernode chain` are told: flags, environment, a TOML file.

In:   `--config settlement.toml`, HYPERNODE_*, flags; `coordinator.settings` says who wins.
Out:  `ChainSettings`: texts; what is needed of them is turned into bytes here, or refused by name.
Rules:
  1. One file serves all commands: the ledger's roles and limits stand where its address stands.
  2. A key is a file of 64 bytes with mode 0600; never a value.
Not here: limits in the program's terms (`chain_init`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import msgspec
import typer
from msgspec import Meta

from coordinator.settings import Reading, Schema, read_settings
from hypernode.cli.durations import parse_seconds
from hypernode.cli.exit import Usage
from onchain.address import decode_address
from onchain.amounts import parse_hyper
from onchain.clusters import LOCAL_URL, url_of
from onchain.errors import BadAddress

if TYPE_CHECKING:
    from coordinator.protocol.signing import Keypair
    from onchain.solana_chain import SolanaChain

Text: TypeAlias = Annotated[str, Meta(min_length=1, max_length=4096)]


class ChainSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What an owner may set; limits and roles are those of a ledger that is to be made."""

    #: Nodes, in order of preference: addresses, or localnet, devnet, testnet, mainnet.
    rpc: tuple[Text, ...] = (LOCAL_URL,)
    #: Genesis hash that the nodes must have; the first to answer decides if not set.
    genesis: Text | None = None
    #: Key file of who signs and pays; the wallet's if not set.
    keypair: Text | None = None
    #: Address of the settlement program; the development one if not set.
    program: Text | None = None
    #: Address of the ledger: what clients pin.
    ledger: Text | None = None
    mint: Text | None = None
    admin: Text | None = None
    publisher: Text | None = None
    guardian: Text | None = None
    #: Address of the key that signs vouchers; vouchers are off without.
    voucher_key: Text | None = None
    max_epoch_increase: Text | None = None
    window_limit: Text | None = None
    advance_cap: Text | None = None
    wallet_advance_cap: Text | None = None
    voucher_limit: Text | None = None
    min_deposit: Text | None = None
    min_epoch_interval: Text | None = None
    slow_delay: Text | None = None
    fast_delay: Text | None = None
    window: Text | None = None
    exit_after: Text | None = None
    config_delay: Text | None = None
    #: Most lamports that one transaction may cost, signatures and priority together.
    fee_max: Annotated[int, Meta(ge=5_000, le=1_000_000_000)] = 1_000_000


#: Time for one question, s: somebody waits for it, and may ask again.
PATIENCE_S: Final = 5.0
ADDRESSES: Final = (
    "genesis", "program", "ledger", "mint", "admin", "publisher", "guardian", "voucher_key",
)  # fmt: skip
AMOUNTS: Final = (
    "max_epoch_increase", "window_limit", "advance_cap", "wallet_advance_cap", "voucher_limit",
    "min_deposit",
)  # fmt: skip
DURATIONS: Final = (
    "min_epoch_interval", "slow_delay", "fast_delay", "window", "exit_after", "config_delay",
)  # fmt: skip


def _check(setting: str, value: Any) -> None:
    """Refuse a value that cannot be meant.

    Raises:
        ValueError: it is none of what the setting takes.
    """
    if value is None:
        return
    if setting in ADDRESSES:
        decode_address(value)
    elif setting in AMOUNTS:
        parse_hyper(value)
    elif setting in DURATIONS:
        try:
            parse_seconds(value)
        except typer.BadParameter as error:
            raise ValueError(str(error)) from error
    elif setting == "rpc":
        if not value:
            msg = "at least one node"
            raise ValueError(msg)
        for url in value:
            url_of(url)


_BY_FILE: Final = "a key is read from a file, where nobody else sees it: --keypair FILE"
SCHEMA: Final = Schema(
    role="settlement",
    struct=ChainSettings,
    not_by_value=dict.fromkeys(("secret", "secret_key", "private_key", "seed"), _BY_FILE),
    check=_check,
)


def read_chain(
    flags: Mapping[str, object], environ: Mapping[str, str], file: Path | None
) -> tuple[ChainSettings, Reading]:
    """The settings of one command.

    Raises:
        ConfigError: something is wrong; each line names it.
    """
    said = {name: value or None for name, value in flags.items()}
    reading = read_settings(SCHEMA, said, environ, file)
    reading.raise_problems()
    return ChainSettings(**reading.values), reading


def need(settings: ChainSettings, name: str, what: str) -> str:
    """A setting that a command cannot do without.

    Raises:
        Usage: nobody said it.
    """
    value: str | None = getattr(settings, name)
    if value is None:
        is_in_file = name in AMOUNTS or name in DURATIONS  # of these there are no options
        flag = "" if is_in_file else f"pass {SCHEMA.flag(name)}, "
        msg = f"{what}: {flag}set HYPERNODE_{name.upper()}, or write {name!r} into --config"
        raise Usage(msg)
    return value


def address_in(text: str, what: str) -> bytes:
    """An address that stood on the command line.

    Raises:
        Usage: it is none.
    """
    try:
        return decode_address(text)
    except BadAddress as error:
        msg = f"{what}: {error}"
        raise Usage(msg) from error


def program_in(settings: ChainSettings) -> bytes:
    """The settlement program's address."""
    from onchain.program import DEVELOPMENT_ID

    return DEVELOPMENT_ID if settings.program is None else decode_address(settings.program)


def open_chain(settings: ChainSettings, *, patience_s: float = PATIENCE_S) -> SolanaChain:
    """The nodes; `aclose` them at the end."""
    from onchain.endpoints import Node, Nodes
    from onchain.solana_chain import SolanaChain

    nodes = [Node(url_of(each)) for each in settings.rpc]
    return SolanaChain(Nodes(nodes, genesis=settings.genesis, patience_s=patience_s))


def signer_in(settings: ChainSettings) -> Keypair:
    """Who signs and pays.

    Raises:
        Usage: there is no key file.
        KeyFileError: it is none, or others may read it.
    """
    from hypernode.cli.options import wallet_path
    from hypernode.wallet_file import read_wallet

    path = wallet_path(None if settings.keypair is None else Path(settings.keypair))
    assert path is not None
    return read_wallet(path)


def need_chain_parts() -> None:
    """Refuse where the extra is missing.

    Raises:
        Usage: there is no anchorpy, solana or solders.
    """
    from importlib.util import find_spec

    missing = [name for name in ("anchorpy", "solana", "solders") if find_spec(name) is None]
    if missing:
        msg = f"this needs {' and '.join(missing)}: pip install 'hypernode[chain]'"
        raise Usage(msg)
