"""The coordinator's configuration: what its owner may set, and what follows from that.

In:   flags, environment, a TOML file, systemd's credentials (`settings` says who wins).
Out:  a `Config`, or a `ConfigError` that names everything that is wrong.
Rules:
  1. A value out of its range is refused by name, with where it came from.
  2. Amounts are decimal text of HYPER (`"0.0001"`), never TOML's floats.
  3. The seed's `PORT`, `WS_PORT` and `CORS_ORIGIN` are read; each gives way to its own
     `HYPERNODE_` twin.
Not here: whether files serve (`tls`, the store); what the agent and the client read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta
from platformdirs import user_data_path

from coordinator.chain_place import OnChain
from coordinator.forwarded import check_proxy
from coordinator.limits import (
    CHAIN_NODES_MAX,
    CONNECTIONS_MAX,
    CONNECTIONS_PER_ADDRESS_MAX,
    DRAIN_S,
    TRUSTED_PROXIES_MAX,
)
from coordinator.pricing import BASIS_POINTS, Rules
from coordinator.protocol.signin import DOMAIN_CHARS_MAX, URI_CHARS_MAX
from coordinator.settings import ConfigError, Reading, Schema, read_settings
from onchain.address import decode_address
from onchain.amounts import parse_hyper
from onchain.sponsor import SponsorRules

__all__ = [
    "SCHEMA",
    "Config",
    "ConfigError",
    "load_config",
    "on_chain",
    "read_config",
    "rules",
    "sponsor_rules",
]

Port: TypeAlias = Annotated[int, Meta(ge=0, le=65_535)]
Text: TypeAlias = Annotated[str, Meta(min_length=1, max_length=4096)]
Texts: TypeAlias = tuple[Text, ...]


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
    #: Folder of scheduled backups: one for each coordinator, best on another disk; none are made if
    #: not set.
    backup_folder: Text | None = None
    #: Seconds between two of them.
    backup_every_s: Annotated[float, Meta(ge=1.0, le=7 * 24 * 3600.0)] = 3600.0
    #: Backups that are kept: the newest.
    backup_keep: Annotated[int, Meta(ge=1, le=100_000)] = 48
    #: Whether they hold the blobs too.
    backup_blobs: bool = False
    #: What wallets are shown: the host name under which people reach this coordinator.
    domain: Annotated[str, Meta(min_length=1, max_length=DOMAIN_CHARS_MAX)] = "localhost:3001"
    #: Address of this coordinator on the web.
    uri: Annotated[str, Meta(min_length=1, max_length=URI_CHARS_MAX)] = "http://localhost:3001"
    #: Solana's network, as sign-in texts name it.
    chain_id: Literal["mainnet", "testnet", "devnet", "localnet"] = "localnet"
    #: Origins whose pages may ask; `*` for any.
    cors_origins: Texts = ()
    #: Names in the `Host` header that are served; all if empty.
    allowed_hosts: Texts = ()
    #: Reverse proxies that are believed when they say for whom they ask: addresses or networks.
    trusted_proxies: Annotated[Texts, Meta(max_length=TRUSTED_PROXIES_MAX)] = ()
    #: Wallets that may open an `admin` session, base58.
    admin_wallets: Texts = ()
    #: Whether `/metrics` answers others than this machine.
    metrics_public: bool = False
    #: A port of its own for `/metrics`, on 127.0.0.1 only; with the rest if not set.
    metrics_port: Port | None = None
    #: Open connections in all, and from one address (a network of 2^64 for IPv6).
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
    #: Address of this market's ledger on the chain; nothing is settled if not set.
    ledger: Text | None = None
    #: Wallets whose earnings the house's fees and treasury become; they stay where they are if not
    #: set. What the treasury's wallet deposits makes a loss good, then pays test jobs.
    fee_wallet: Text | None = None
    treasury_wallet: Text | None = None
    #: Folder of the leaf files of epochs; beside the database if not set.
    leaves: Text = "leaves"
    #: Nodes of the chain, in order of preference: addresses, or localnet, devnet, testnet, mainnet.
    #: The chain is not read if not set.
    rpc: Annotated[Texts, Meta(max_length=CHAIN_NODES_MAX)] = ()
    #: Address of the settlement program; the development one if not set.
    program: Text | None = None
    #: Key file of the publisher, which signs roots and pays for them; none are published without.
    publisher_key: Text | None = None
    #: Key file that signs vouchers, and nothing else; none are given without.
    voucher_key: Text | None = None
    #: Key file of the sponsor, which pays fee and rents of hosts' claims; nobody does without.
    sponsor_key: Text | None = None
    #: HYPER that a claim pays out, at least, for the sponsor to pay for it.
    sponsor_payout_min: Text = "1"
    #: Sponsored claims of one wallet in a day.
    sponsor_claims_daily: Annotated[int, Meta(ge=1, le=100)] = 2
    #: Lamports for one claim and for all in a day, at most. A wallet's first one takes 3,162,880
    #: where it has no token account yet, a later one 10,000; a priority fee comes on top.
    sponsor_lamports: Annotated[int, Meta(ge=10_000, le=1_000_000_000)] = 3_250_000
    sponsor_lamports_daily: Annotated[int, Meta(ge=10_000, le=10**12)] = 100_000_000
    #: Seconds from the closing of one epoch to the next.
    epoch_every_s: Annotated[float, Meta(ge=1.0, le=7 * 24 * 3600.0)] = 24 * 3600.0
    #: Seconds between two looks at the chain.
    chain_every_s: Annotated[float, Meta(ge=0.1, le=3600.0)] = 15.0
    #: HYPER from which on new money on the chain is asked of a second node, where there are two.
    second_opinion: Text = "1000"
    #: Lamports of one transaction, at most; micro-lamports of a compute unit, at most.
    fee_max: Annotated[int, Meta(ge=5_000, le=1_000_000_000)] = 1_000_000
    fee_price_max: Annotated[int, Meta(ge=0, le=1_000_000_000)] = 1_000_000
    #: Address of the market's lookup table on the chain: claims of very many wallets need one.
    lookup_table: Text | None = None
    #: Folder of what was signed for the chain; beside the database if not set.
    journal: Text = "journal"


_AMOUNTS: Final = (
    "price_per_tflop", "price_per_gib", "command_price_per_s", "test_pay_daily", "second_opinion",
    "sponsor_payout_min",
)  # fmt: skip
_ADDRESSES: Final = ("ledger", "fee_wallet", "treasury_wallet", "program", "lookup_table")
_HOST: Final = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?")
_URI: Final = re.compile(r"https?://[!-~]+")
_NODE: Final = re.compile(r"localnet|devnet|testnet|mainnet|https?://[!-~]+")
_ORIGIN: Final = re.compile(r"\*|[a-z][a-z0-9+.-]*://[^/?#\s]+")


def _check(setting: str, value: Any) -> None:
    """What a type cannot say of a setting.

    Raises:
        ValueError: the value makes no sense; the text says what would.
    """
    if setting in _AMOUNTS:
        parse_hyper(value)
    elif setting in _ADDRESSES and value is not None:
        decode_address(value)
    elif setting == "domain":
        _check_host(value)
    elif setting == "uri" and not _URI.fullmatch(value):
        msg = f"an address on the web looks like https://hyper.example; not {value!r}"
        raise ValueError(msg)
    for item in value if isinstance(value, tuple) else ():
        _check_item(setting, item)


def _check_item(setting: str, item: str) -> None:
    """The same for one of a list."""
    if setting == "admin_wallets":
        decode_address(item)
    elif setting == "allowed_hosts":
        _check_host(item)
    elif setting == "trusted_proxies":
        check_proxy(item)
    elif setting == "rpc" and not _NODE.fullmatch(item):
        msg = f"a node is localnet, devnet, testnet, mainnet or https://…, not {item[:80]!r}"
        raise ValueError(msg)
    elif setting == "cors_origins" and not _ORIGIN.fullmatch(item):
        msg = f"an origin looks like https://app.example, without a path; not {item!r}"
        raise ValueError(msg)


def _check_host(text: str) -> None:
    if not _HOST.fullmatch(text):
        msg = f"a host looks like hyper.example or hyper.example:3001, without more; not {text!r}"
        raise ValueError(msg)


SCHEMA: Final = Schema(
    role="coordinator",
    struct=Config,
    seed={"port": "PORT", "ws_port": "WS_PORT", "cors_origins": "CORS_ORIGIN"},
    credentials={
        "tls_cert": "tls_cert",
        "tls_key": "tls_key",
        "publisher_key": "publisher_key",
        "voucher_key": "voucher_key",
        "sponsor_key": "sponsor_key",
    },
    flags={"admin_wallets": "--admin"},
    check=_check,
)


def read_config(
    flags: Mapping[str, object], environ: Mapping[str, str], file: Path | None
) -> tuple[Config | None, Reading]:
    """The effective configuration, if there is one, and where everything comes from."""
    reading = read_settings(SCHEMA, flags, environ, file)
    _check_together(reading)
    if reading.problems:
        return None, reading
    return Config(**{**_derived(reading.values), **reading.values}), reading


def load_config(
    flags: Mapping[str, object], environ: Mapping[str, str], file: Path | None
) -> Config:
    """The effective configuration.

    Args:
        flags: What the command line said; a key that is None was not said.
        environ: The process's environment.
        file: A TOML file, or None.

    Raises:
        ConfigError: unknown names, values out of range, a file that cannot be read.
    """
    config, reading = read_config(flags, environ, file)
    reading.raise_problems()
    assert config is not None
    return config


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


def sponsor_rules(config: Config) -> SponsorRules:
    """For which claims the house pays."""
    return SponsorRules(
        payout_min=parse_hyper(config.sponsor_payout_min),
        claims_max=config.sponsor_claims_daily,
        lamports_max=config.sponsor_lamports,
        lamports_window_max=config.sponsor_lamports_daily,
    )


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
        "leaves": str(db.parent / "leaves"),
        "journal": str(db.parent / "journal"),
    }


def _check_together(reading: Reading) -> None:
    is_set = {name: reading.values.get(name) is not None for name in ("tls_cert", "tls_key")}
    wrong = {problem.setting for problem in reading.problems}
    if is_set["tls_cert"] != is_set["tls_key"] and wrong.isdisjoint(is_set):
        one, other = sorted(is_set, key=lambda name: not is_set[name])
        reading.wrong(one, f"tls_cert and tls_key go together: {other} is not set")
    if reading.values.get("ledger") is not None:
        if reading.values.get("faucet"):
            reading.wrong("faucet", "no faucet beside a ledger: on a chain it is a mint, a deposit")
        wallets = [reading.values.get(name) for name in ("fee_wallet", "treasury_wallet")]
        if reading.values["ledger"] in wallets:
            reading.wrong("ledger", "the ledger is no wallet: fees and treasury have one of theirs")
    for key in ("publisher_key", "voucher_key", "sponsor_key"):
        for name in ("ledger", "rpc"):
            is_missing = not reading.values.get(name) and name not in wrong
            if reading.values.get(key) is not None and is_missing:
                reading.wrong(key, f"what it signs is for a ledger of some chain: set {name} too")


def on_chain(config: Config) -> OnChain | None:
    """Where the house settles, if it does."""
    if config.ledger is None:
        return None
    return OnChain(
        decode_address(config.ledger),
        decode_address(config.fee_wallet) if config.fee_wallet else b"",
        decode_address(config.treasury_wallet) if config.treasury_wallet else b"",
    )
