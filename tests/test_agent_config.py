"""What an operator tells an agent: which source wins, what is refused, what follows."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from agent.config import load
from agent.main import StateDirMissing, StateInUse, locked, node_key_in
from coordinator.limits import TOKEN_BYTES_MAX
from coordinator.protocol.signing import KeyFileExposed
from coordinator.settings import ConfigError

URL = "ws://gpu.example:3001"


def flags(**changes: Any) -> dict[str, Any]:
    return {"url": URL, **changes}


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


def test_every_setting_may_come_from_a_file_a_variable_or_a_flag(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text('url = "wss://file"\nslots = 3\ndevices = "cpu"\nallow_command = true\n')
    environ = {"HYPERNODE_SLOTS": "5", "HYPERNODE_DEVICES": "cuda"}

    config = load({"devices": "1,2", "slots": None}, environ, file)

    assert (config.url, config.slots, config.devices) == ("wss://file/", 5, ("1", "2"))
    assert config.allow_command


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
    ("changes", "environ", "words"),
    [
        ({"url": "  "}, {}, ("url (--url)", "looks like")),
        ({"url": "ftp://gpu.example"}, {}, ("url (--url)", "looks like")),
        ({"url": "ws://"}, {}, ("url (--url)", "looks like")),
        ({"url": "ws://h:99999"}, {}, ("url (--url)", "looks like")),
        ({"url": "ws://[::1"}, {}, ("url (--url)", "looks like")),
        ({"url": "ws://user@h"}, {}, ("url (--url)", "looks like")),
        ({"url": "ws://user:secret@h"}, {}, ("url (--url)", "a password itself")),
        ({"slots": -1}, {}, ("slots (--slots)", "0")),
        ({}, {"HYPERNODE_SLOTS": "65"}, ("slots (HYPERNODE_SLOTS)", "64")),
        ({"devices": "tpu"}, {}, ("devices (--devices)", "not 'tpu'")),
        ({"devices": ""}, {}, ("devices (--devices)",)),
        ({"devices": "0,,1"}, {}, ("devices (--devices)", "not ''")),
        ({"devices": "-1"}, {}, ("devices (--devices)", "not '-1'")),
        ({"devices": "auto,cpu"}, {}, ("devices (--devices)", "auto stands alone")),
        ({}, {"HYPERNODE_DEVICES": "0,none"}, ("devices (HYPERNODE_DEVICES)", "none stands")),
        ({"token_file": Path("/nowhere/token")}, {}, ("token_file (--token-file)", "No such file")),
        ({"token_file": Path("/dev/null")}, {}, ("token_file (--token-file)", "empty")),
        ({"token_file": Path("/dev/zero")}, {}, ("token_file (--token-file)", "longer")),
    ],
)
def test_what_is_wrong_is_named(
    changes: dict[str, Any], environ: dict[str, str], words: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError) as info:
        load(flags(**changes), environ)

    assert all(word in str(info.value) for word in words), str(info.value)
    assert "secret" not in str(info.value)


def test_everything_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(ConfigError) as info:
        load(
            {"url": "ftp://x", "slots": 999, "token_file": Path("/nowhere")},
            {"HYPERNODE_DEVICES": "tpu", "HYPERNODE_SLOT": "1"},
        )

    named = {line.partition(" ")[0] for line in str(info.value).splitlines()}
    assert named == {"url", "slots", "token_file", "devices", "slot"}


@pytest.mark.parametrize(
    ("given", "environ", "where"),
    [
        ({"token": "hy1.secret.secret"}, {}, "--token"),
        ({}, {"HYPERNODE_TOKEN": "hy1.secret.secret"}, "HYPERNODE_TOKEN"),
        ({}, {"HN_NODE_TOKEN": "secret"}, "HN_NODE_TOKEN"),
        ({"token_file": "hy1.secret.secret"}, {}, "--token-file"),
    ],
)
def test_a_token_itself_is_refused_wherever_it_stands_and_is_not_repeated(
    given: dict[str, Any], environ: dict[str, str], where: str
) -> None:
    with pytest.raises(ConfigError) as info:
        load(flags(**given), environ)

    assert where in str(info.value)
    assert "file" in str(info.value)
    assert "secret" not in str(info.value)


def test_a_token_in_the_configuration_file_is_refused_too(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text('token = "secret"\n')

    with pytest.raises(ConfigError, match="--token-file") as info:
        load(flags(), {}, file)

    assert f"{file}:1" in str(info.value)
    assert '"secret"' not in str(info.value)


@pytest.mark.parametrize("source", ["flag", "variable", "systemd"])
def test_a_token_is_read_from_its_file(tmp_path: Path, source: str) -> None:
    (tmp_path / "token").write_text("of the file\n")
    path = str(tmp_path / "token")
    environ = {
        "flag": {},
        "variable": {"HYPERNODE_TOKEN_FILE": path},
        "systemd": {"CREDENTIALS_DIRECTORY": str(tmp_path)},
    }[source]
    given = flags(token_file=path if source == "flag" else None)

    assert load(given, environ).token == "of the file"


def test_a_token_may_be_missing_and_is_never_shown(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("x" * TOKEN_BYTES_MAX)

    assert not load(flags(), {}).token
    assert "xxx" not in repr(load(flags(token_file=tmp_path / "token"), {}))


def test_each_coordinator_has_a_state_directory_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    one = load(flags(url="ws://one"), {}).state_dir
    two = load(flags(url="ws://two"), {}).state_dir

    assert one != two
    assert one.parent == two.parent == tmp_path / "hypernode"
    assert load(flags(url="http://one/"), {}).state_dir == one
    assert load(flags(), {"HYPERNODE_STATE_DIR": "/x"}).state_dir == Path("/x")
    assert load(flags(state_dir=Path("/y")), {"HYPERNODE_STATE_DIR": "/x"}).state_dir == Path("/y")


def test_the_node_key_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    key = node_key_in(tmp_path)
    path = tmp_path / "node-key.json"

    assert node_key_in(tmp_path).address == key.address
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    with pytest.raises(KeyFileExposed):
        node_key_in(tmp_path)


def test_of_a_state_directory_that_was_named_only_the_last_folder_is_made(tmp_path: Path) -> None:
    with pytest.raises(StateDirMissing, match="nonexist"), locked(tmp_path / "nonexist" / "a"):
        pass
    assert not (tmp_path / "nonexist").exists()


def test_the_default_state_directory_is_made_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "new"))
    with locked(load(flags(), {}).state_dir):
        assert (tmp_path / "new" / "hypernode").is_dir()


def test_two_agents_do_not_share_a_state_directory(tmp_path: Path) -> None:
    folder = tmp_path / "agent"
    with locked(folder), pytest.raises(StateInUse, match="agent"), locked(folder):
        pass
    with locked(folder):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
