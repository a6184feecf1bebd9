"""The configuration: which source wins, what is refused, what follows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from coordinator.config import Config, ConfigError, load_config, read_config, rules
from coordinator.pricing import Rules

WALLET = "11111111111111111111111111111111"


def write(folder: Path, text: str) -> Path:
    file = folder / "hypernode.toml"
    file.write_text(text)
    return file


def test_the_stronger_source_wins(tmp_path: Path) -> None:
    file = write(tmp_path, "port = 1\nfee_bp = 1\nwithhold_hours = 1\ndrain_s = 1.0\n")
    environ = {"PORT": "2", "HYPERNODE_PORT": "3", "HYPERNODE_FEE_BP": "3", "WS_PORT": "9"}
    flags = {"port": 4, "host": None}

    config = load_config(flags, environ, file)

    assert (config.port, config.fee_bp, config.withhold_hours) == (4, 3, 1)
    assert (config.ws_port, config.host, config.drain_s) == (9, "127.0.0.1", 1.0)


def test_each_value_says_where_it_came_from(tmp_path: Path) -> None:
    file = write(tmp_path, "# prices\nfee_bp = 1\n")

    _, reading = read_config({"port": 4}, {"CORS_ORIGIN": "https://a.example"}, file)

    assert str(reading.origin("port")) == "--port"
    assert str(reading.origin("cors_origins")) == "CORS_ORIGIN"
    assert str(reading.origin("fee_bp")) == f"{file}:2"
    assert str(reading.origin("drain_s")) == "default"


def test_the_defaults_of_load_are_the_struct_but_for_folders() -> None:
    loaded = load_config({}, {}, None)
    folders = {name: getattr(loaded, name) for name in ("blobs", "leaves", "journal")}
    plain = Config(db=loaded.db, **folders)

    assert loaded == plain


def test_lists_in_the_environment_are_split_at_commas() -> None:
    config = load_config(
        {}, {"HYPERNODE_CORS_ORIGINS": "https://a.example, https://b.example"}, None
    )

    assert config.cors_origins == ("https://a.example", "https://b.example")


@pytest.mark.parametrize(("text", "expected"), [("1", True), ("true", True), ("0", False)])
def test_truth_in_the_environment_is_text(text: str, *, expected: bool) -> None:
    assert load_config({}, {"HYPERNODE_FAUCET": text}, None).faucet is expected


@pytest.mark.parametrize(
    ("flags", "environ", "toml", "words"),
    [
        ({"prot": 1}, {}, "", ("prot", "--prot")),
        ({"drains": 1}, {}, "", ("drains", "'drain_s'")),
        ({}, {}, "colour = 1", ("colour", "hypernode.toml")),
        ({}, {}, "[market]\nfee_bp = 1", ("market",)),
        ({}, {"HYPERNODE_CORS_ORIGIN": "x"}, "", ("cors_origin", "HYPERNODE_CORS_ORIGIN")),
        ({"port": 70_000}, {}, "", ("port", "--port", "65535")),
        ({}, {"PORT": "many"}, "", ("port", "PORT")),
        ({}, {}, "fee_bp = 10001", ("fee_bp", "10000")),
        ({}, {}, "price_per_tflop = 0.0001", ("price_per_tflop", 'in quotes, "0.0001"')),
        ({}, {}, 'price_per_tflop = "1e-3"', ("price_per_tflop", "amount")),
        ({}, {}, 'price_per_gib = "0.0000001"', ("price_per_gib", "base unit")),
        ({}, {}, 'admin_wallets = ["nobody"]', ("admin_wallets",)),
        ({"tls_cert": "a.pem"}, {}, "", ("tls_cert", "tls_key")),
        ({"uri": "ftp://x"}, {}, "", ("uri",)),
        ({"domain": "two words"}, {}, "", ("domain",)),
        ({}, {}, 'domain = "https://x/"', ("domain", "looks like hyper.example")),
        ({}, {}, 'allowed_hosts = ["a/b"]', ("allowed_hosts", "looks like hyper.example")),
        ({}, {}, 'hots = "::"', ("hots", "'host'")),
        ({}, {}, "port = ", ("hypernode.toml",)),
    ],
)
def test_what_is_not_valid_is_refused_by_name(
    tmp_path: Path,
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    toml: str,
    words: tuple[str, ...],
) -> None:
    with pytest.raises(ConfigError) as refused:
        load_config(flags, environ, write(tmp_path, toml))

    assert all(word in str(refused.value) for word in words), str(refused.value)


def test_variables_of_the_agent_and_the_client_are_left_alone() -> None:
    others = {"HYPERNODE_URL": "x", "HYPERNODE_TOKEN_FILE": "y", "HOME": "/"}

    assert load_config({}, others, None) == load_config({}, {}, None)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config({}, {}, tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("flags", "domain", "uri"),
    [
        ({}, "localhost:3001", "http://localhost:3001"),
        ({"host": "0.0.0.0", "port": 80}, "localhost:80", "http://localhost:80"),
        ({"host": "2001:db8::1"}, "[2001:db8::1]:3001", "http://[2001:db8::1]:3001"),
        ({"domain": "hyper.example"}, "hyper.example", "http://hyper.example"),
        (
            {"domain": "hyper.example", "tls_cert": "a", "tls_key": "b"},
            "hyper.example",
            "https://hyper.example",
        ),
    ],
)
def test_what_wallets_are_shown_follows_from_the_address(
    flags: Mapping[str, object], domain: str, uri: str
) -> None:
    config = load_config(flags, {}, None)

    assert (config.domain, config.uri) == (domain, uri)


def test_blobs_lie_beside_the_database(tmp_path: Path) -> None:
    config = load_config({"db": tmp_path / "a.db"}, {}, None)

    assert config.blobs == str(tmp_path / "blobs")


def test_the_markets_numbers_are_base_units() -> None:
    config = load_config(
        {"admin_wallets": [WALLET]}, {"HYPERNODE_TEST_PAY_DAILY": "1.5 HYPER"}, None
    )

    market = rules(config)

    assert (market.price_per_tflop, market.price_per_gib) == (10_000, 5_000)
    assert rules(load_config({}, {}, None)) == Rules(), "the defaults stand in two places"
    assert (market.command_price_per_s, market.test_pay_daily) == (10_000, 1_500_000)
    assert market.withhold_ms == 86_400_000
