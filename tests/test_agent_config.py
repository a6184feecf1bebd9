from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from agent.config import (
    AgentFlags,
    ConfigError,
    DeviceUnknown,
    SlotsOutOfRange,
    TokenEmpty,
    TokenTooLong,
    TokenUnreadable,
    UrlMalformed,
    load,
)
from agent.main import StateDirMissing, StateInUse, _locked, node_key_in
from coordinator.limits import TOKEN_BYTES_MAX
from coordinator.protocol.signing import KeyFileExposed

URL = "ws://gpu.example:3001"


def flags(**changes: Any) -> AgentFlags:
    return AgentFlags(**{"url": URL, **changes})


@pytest.mark.parametrize(
    ("flag", "environ", "expected"),
    [
        ("ws://flag", {"HYPERNODE_URL": "ws://ours", "HN_ENDPOINT": "ws://seed"}, "ws://flag/"),
        (None, {"HYPERNODE_URL": "ws://ours", "HN_ENDPOINT": "ws://seed"}, "ws://ours/"),
        (None, {"HN_ENDPOINT": "ws://seed:3002"}, "ws://seed:3002/"),
        (None, {"HYPERNODE_URL": "", "HN_ENDPOINT": "ws://seed"}, "ws://seed/"),
        (None, {}, "ws://127.0.0.1:3001/"),
    ],
)
def test_a_flag_goes_before_our_variable_and_that_before_the_seeds(
    flag: str | None, environ: dict[str, str], expected: str
) -> None:
    assert load(flags(url=flag), environ).url == expected


@pytest.mark.parametrize(
    ("given", "url", "http_url"),
    [
        ("ws://h:3001", "ws://h:3001/", "http://h:3001"),
        ("wss://h/ws", "wss://h/ws", "https://h"),
        ("http://h:3001", "ws://h:3001/", "http://h:3001"),
        ("https://h", "wss://h/", "https://h"),
        ("h:3001", "ws://h:3001/", "http://h:3001"),
        (" ws://[::1]:3001 ", "ws://[::1]:3001/", "http://[::1]:3001"),
    ],
)
def test_blobs_go_to_the_same_host_over_http(given: str, url: str, http_url: str) -> None:
    config = load(flags(url=given), {})

    assert (config.url, config.http_url) == (url, http_url)


@pytest.mark.parametrize(
    ("changes", "environ", "error"),
    [
        ({"url": "  "}, {}, UrlMalformed),
        ({"url": "ftp://gpu.example"}, {}, UrlMalformed),
        ({"url": "ws://"}, {}, UrlMalformed),
        ({"url": "ws://h:99999"}, {}, UrlMalformed),
        ({"url": "ws://[::1"}, {}, UrlMalformed),
        ({"url": "ws://user:secret@h"}, {}, UrlMalformed),
        ({"slots": -1}, {}, SlotsOutOfRange),
        ({"slots": 65}, {}, SlotsOutOfRange),
        ({"devices": "tpu"}, {}, DeviceUnknown),
        ({"devices": ""}, {}, DeviceUnknown),
        ({"devices": "0,,1"}, {}, DeviceUnknown),
        ({"devices": "-1"}, {}, DeviceUnknown),
        ({"devices": "auto,cpu"}, {}, DeviceUnknown),
        ({"devices": "0,none"}, {}, DeviceUnknown),
        ({"token": "x" * (TOKEN_BYTES_MAX + 1)}, {}, TokenTooLong),
        ({}, {"HYPERNODE_TOKEN": "x" * (TOKEN_BYTES_MAX + 1)}, TokenTooLong),
        ({"token_file": Path("/nowhere/token")}, {}, TokenUnreadable),
        ({"token_file": Path("/dev/null")}, {"HYPERNODE_TOKEN": "ours"}, TokenEmpty),
    ],
)
def test_what_is_wrong_is_named(
    changes: dict[str, Any], environ: dict[str, str], error: type[ConfigError]
) -> None:
    with pytest.raises(ConfigError) as info:
        load(flags(**changes), environ)

    assert type(info.value) is error
    assert str(error.__doc__) in str(info.value)


@pytest.mark.parametrize(
    ("changes", "environ", "token"),
    [
        ({"token": "flag", "token_file": "file"}, {"HYPERNODE_TOKEN": "ours"}, "flag"),
        ({"token_file": "file"}, {"HYPERNODE_TOKEN": "ours"}, "from the file"),
        ({}, {"HYPERNODE_TOKEN": " ours\n", "HN_NODE_TOKEN": "seed"}, "ours"),
        ({}, {"HN_NODE_TOKEN": "seed"}, "seed"),
        ({}, {}, ""),
    ],
)
def test_a_token_comes_from_flag_file_variable_or_the_seeds_variable(
    tmp_path: Path, changes: dict[str, Any], environ: dict[str, str], token: str
) -> None:
    (tmp_path / "file").write_text("from the file\n")
    if "token_file" in changes:
        changes = {**changes, "token_file": tmp_path / changes["token_file"]}

    assert load(flags(**changes), environ).token == token


def test_a_configuration_does_not_show_its_token() -> None:
    assert "secret" not in repr(load(flags(token="secret"), {}))


def test_each_coordinator_has_a_state_directory_of_its_own(tmp_path: Path) -> None:
    environ = {"HYPERNODE_STATE_DIR": str(tmp_path)}
    one = load(flags(url="ws://one"), environ).state_dir
    two = load(flags(url="ws://two"), environ).state_dir

    assert one != two
    assert one.parent == two.parent == tmp_path
    assert load(flags(url="http://one/"), environ).state_dir == one
    assert load(flags(state_dir=Path("/x")), environ).state_dir == Path("/x")


def test_the_node_key_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    key = node_key_in(tmp_path)
    path = tmp_path / "node-key.json"

    assert node_key_in(tmp_path).address == key.address
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    with pytest.raises(KeyFileExposed):
        node_key_in(tmp_path)


def test_of_a_state_directory_that_was_named_only_the_last_folder_is_made(tmp_path: Path) -> None:
    with pytest.raises(StateDirMissing, match="nonexist"), _locked(tmp_path / "nonexist" / "a"):
        pass
    assert not (tmp_path / "nonexist").exists()


def test_the_default_state_directory_is_made_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "new"))
    with _locked(load(flags(), {}).state_dir):
        assert (tmp_path / "new" / "hypernode").is_dir()


def test_two_agents_do_not_share_a_state_directory(tmp_path: Path) -> None:
    folder = tmp_path / "agent"
    with _locked(folder), pytest.raises(StateInUse, match="agent"), _locked(folder):
        pass
    with _locked(folder):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
