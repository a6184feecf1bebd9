"""`hypernode config`: what holds, where it comes from, and everything that a start would refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hypernode.cli.app import run
from hypernode.cli.exit import Exit
from tests.authority import Authority


@pytest.fixture(autouse=True)
def _nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PORT", "WS_PORT", "CORS_ORIGIN", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)


def asked(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Status, output, errors."""
    status = run(["config", *arguments])
    heard = capsys.readouterr()
    return status, heard.out, heard.err


def document(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    _status, out, _err = asked(capsys, *arguments, "--json")
    found: dict[str, Any] = json.loads(out)
    return found


def test_every_value_is_shown_with_its_origin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "coordinator.toml"
    file.write_text("# the house\nfee_bp = 100\nport = 1\n")
    monkeypatch.setenv("PORT", "3005")
    monkeypatch.setenv("WS_PORT", "3006")
    monkeypatch.setenv("CORS_ORIGIN", "https://a.example,https://b.example")
    monkeypatch.setenv("HYPERNODE_WITHHOLD_HOURS", "2")

    status, out, err = asked(
        capsys, "show", "--config", str(file), "--admin", "1" * 32, "--no-faucet"
    )
    rows = [line.split("\t") for line in out.splitlines()]
    shown = {name: (value, origin) for name, value, origin in rows}

    assert (status, err) == (Exit.OK, "")
    assert shown["setting"] == ("value", "from")
    assert shown["fee_bp"] == ("100", f"{file}:2")
    assert shown["port"] == ("3005", "PORT")
    assert shown["ws_port"] == ("3006", "WS_PORT")
    assert shown["cors_origins"] == ("https://a.example, https://b.example", "CORS_ORIGIN")
    assert shown["withhold_hours"] == ("2", "HYPERNODE_WITHHOLD_HOURS")
    assert shown["admin_wallets"] == ("1" * 32, "--admin")
    assert shown["faucet"] == ("false", "--faucet")
    assert shown["domain"] == ("localhost:3005", "default"), "as it follows from the port"
    assert shown["tls_key"] == ("none", "default")


def test_the_same_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "show", "--port", "4000")
    by_name = {one["name"]: one for one in found["settings"]}

    assert found["role"] == "coordinator"
    assert by_name["port"] == {
        "name": "port", "value": 4000, "source": "flag", "origin": "--port",
    }  # fmt: skip
    assert by_name["cors_origins"]["value"] == []
    assert by_name["drain_s"]["source"] == "default"
    assert (found["problems"], found["remarks"]) == ([], [])


def test_a_value_that_was_refused_is_not_shown_as_where_the_default_comes_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "coordinator.toml"
    file.write_text("port = 70000\n")

    _status, out, _err = asked(capsys, "show", "--config", str(file))
    found = document(capsys, "show", "--config", str(file))

    assert f"port\t3001\tdefault; refused: {file}:1" in out.splitlines()
    (port,) = [one for one in found["settings"] if one["name"] == "port"]
    assert (port["value"], port["source"]) == (3001, "default")


def test_an_agents_settings_are_shown_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    token = tmp_path / "token"
    token.write_text("hy1.not.shown")
    token.chmod(0o600)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("HN_ENDPOINT", "https://hyper.example")

    found = document(capsys, "show", "--role", "agent", "--devices", "cpu", "--allow-command")
    by_name = {one["name"]: (one["value"], one["origin"]) for one in found["settings"]}

    assert by_name["url"] == ("https://hyper.example", "HN_ENDPOINT")
    assert by_name["token_file"] == (str(token), "$CREDENTIALS_DIRECTORY/token")
    assert by_name["allow_command"] == (True, "--allow-command")
    assert by_name["devices"] == ("cpu", "--devices")
    assert by_name["state_dir"][0].startswith(str(tmp_path / "hypernode" / "agent-"))
    assert "not.shown" not in json.dumps(found)
    assert (found["problems"], found["remarks"]) == ([], [])


def test_everything_that_a_start_would_refuse_is_named_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "coordinator.toml"
    file.write_text('fee_bp = 99999\ncolour = "red"\n')
    files = Authority(tmp_path).issue(begins_days=-2, ends_days=-1)
    monkeypatch.setenv("HYPERNODE_COORDINATOR_PORT", "9")
    monkeypatch.setenv("CORS_ORIGIN", "https://a.example/app")

    status, out, err = asked(
        capsys, "check", "--config", str(file), "--port", "70000", "--db", "/nowhere/at/all.db",
        "--tls-cert", str(files.cert), "--tls-key", str(files.key),
        "--trusted-proxies", "10.0.0.1/8",
    )  # fmt: skip

    lines = err.splitlines()
    named = {line.removeprefix("error: ").partition(" ")[0] for line in lines}
    assert (status, out) == (Exit.USAGE, "")
    assert named == {
        "fee_bp", "colour", "coordinator_port", "cors_origins", "port", "db", "tls_cert",
        "trusted_proxies",
    }  # fmt: skip
    assert any(f"({file}:1)" in line for line in lines)
    assert any("do you mean HYPERNODE_PORT?" in line for line in lines)
    assert any("expired on" in line for line in lines)
    assert any("without a path" in line for line in lines)


def test_what_is_wrong_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "check", "--port", "70000")

    assert found["ok"] is False
    (problem,) = found["problems"]
    assert (problem["setting"], problem["origin"]) == ("port", "--port")


def test_an_agents_mistakes_are_named_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    status, _out, err = asked(
        capsys, "check", "--role", "agent", "--url", "ftp://x", "--ca", str(tmp_path / "ca.pem"),
        "--token", "hy1.secret.secret", "--slots", "999", "--state-dir", "/nowhere/at/all",
    )  # fmt: skip

    named = {line.removeprefix("error: ").partition(" ")[0] for line in err.splitlines()}
    assert status == Exit.USAGE
    assert named == {"url", "ca", "token", "slots", "state_dir"}
    assert "secret" not in err


@pytest.mark.parametrize("role", ["coordinator", "agent"])
def test_good_settings_are_good(role: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = asked(capsys, "check", "--role", role)

    assert (status, err) == (Exit.OK, "")
    assert out == f"the settings of this {role} are good\n"
    assert document(capsys, "check", "--role", role)["ok"] is True


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", "0.0.0.0"], ["without TLS"]),
        (["--host", "0.0.0.0", "--trusted-proxies", "10.0.0.1"], ["uri http"]),
        (["--host", "::", "--faucet"], ["without TLS", "money out of nothing"]),
        (["--host", "::1", "--faucet"], []),
        (["--role", "agent", "--url", "http://hyper.example"], ["use https"]),
        (["--role", "agent", "--url", "http://127.0.0.1:1"], []),
        (["--role", "agent", "--coordinator", "https://hyper.example"], []),
    ],
)
def test_what_is_lawful_and_rarely_meant_is_remarked(
    arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    status, _out, err = asked(capsys, "check", *arguments)

    assert status == Exit.OK
    remarks = err.splitlines()
    assert len(remarks) == len(words)
    assert all(word in line for word, line in zip(words, remarks, strict=True))


def test_a_certificate_or_a_list_of_hosts_that_does_not_fit_the_domain_is_remarked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = Authority(tmp_path).issue("other.example", ends_days=3)
    (tmp_path / "coordinator.toml").write_text('allowed_hosts = ["other.example"]')

    status, _out, err = asked(
        capsys, "check", "--config", str(tmp_path / "coordinator.toml"), "--domain", "a.example",
        "--tls-cert", str(files.cert), "--tls-key", str(files.key),
    )  # fmt: skip

    assert status == Exit.OK
    hosts, names, ends = err.splitlines()
    assert "allowed_hosts: a.example is not listed" in hosts
    assert "names other.example, not a.example" in names
    assert "expires soon" in ends


def test_a_variable_that_names_nothing_is_remarked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HYPERNODE_WEATHER", "fine")
    monkeypatch.setenv("HYPERNODE_KEYPAIR", "/a/wallet.json")
    monkeypatch.setenv("HYPERNODE_ALLOW_COMMAND", "1")

    _status, _out, err = asked(capsys, "check")

    (line,) = err.splitlines()
    assert line.startswith("remark: HYPERNODE_WEATHER:")


def test_a_token_file_that_others_can_read_is_remarked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "token").write_text("hy1.a.b")
    (tmp_path / "token").chmod(0o644)

    status, _out, err = asked(
        capsys, "check", "--role", "agent", "--token-file", str(tmp_path / "token")
    )

    assert status == Exit.OK
    assert f"chmod 600 {tmp_path / 'token'}" in err


@pytest.mark.parametrize("arguments", [["--nothing"], ["--port", "many"], ["x"]])
def test_an_option_that_the_role_does_not_have_is_a_usage_error(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = asked(capsys, "check", *arguments)

    assert (status, out) == (Exit.USAGE, "")
    assert arguments[0] in err or arguments[-1] in err


def test_a_start_names_everything_that_is_wrong_too(capsys: pytest.CaptureFixture[str]) -> None:
    status = run(["coordinator", "--port", "70000", "--withhold-hours", "-1"])
    err = capsys.readouterr().err

    assert status == Exit.USAGE
    assert sum(line.startswith("error: ") for line in err.splitlines()) == 2
