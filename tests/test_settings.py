"""Settings from several sources: who wins, what is refused, left alone, and kept secret."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given, strategies as st

from agent.config import SCHEMA as AGENT
from coordinator.config import SCHEMA as COORDINATOR
from coordinator.protocol.signing import generate, save_keypair
from coordinator.secret_values import secret_in
from coordinator.settings import Reading, Schema, read_settings
from hypernode.cli.remarks import CLIENT_VARIABLES
from tests.authority import Authority
from tests.tree import PRODUCT, read, sources


class Toy(msgspec.Struct, frozen=True, kw_only=True):
    name: str = "nobody"
    count: int = 1
    limit: int | None = None
    colours: tuple[str, ...] = ()
    is_loud: bool = False
    mood: Literal["calm", "wild"] = "calm"
    key_file: str | None = None


def positive(setting: str, value: Any) -> None:
    if setting == "count" and value < 1:
        msg = "at least 1"
        raise ValueError(msg)


SCHEMA = Schema(
    role="toy",
    struct=Toy,
    seed={"count": "COUNT"},
    credentials={"key_file": "key"},
    not_by_value={"key": "write it to a file, pass --key-file"},
    flags={"colours": "--colour"},
    check=positive,
)


def said(
    flags: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> Reading:
    return read_settings(SCHEMA, flags or {}, environ or {}, file)


def problems(reading: Reading) -> list[str]:
    return [str(problem) for problem in reading.problems]


# ---- who wins -----------------------------------------------------------------------------------


def test_a_flag_wins_over_our_variable_over_the_seeds_over_a_file_over_a_credential(
    tmp_path: Path,
) -> None:
    file = tmp_path / "toy.toml"
    (tmp_path / "key").write_text("secret")
    everything: list[tuple[dict[str, Any], dict[str, str], Path | None]] = [
        ({}, {}, None),
        ({}, {}, file),
        ({}, {"COUNT": "3"}, file),
        ({}, {"COUNT": "3", "HYPERNODE_COUNT": "4"}, file),
        ({"count": 5}, {"COUNT": "3", "HYPERNODE_COUNT": "4"}, file),
    ]
    file.write_text("# a comment\ncount = 2\n")

    counts = [
        (reading.values.get("count", 1), str(reading.origin("count")))
        for reading in (said(*sources) for sources in everything)
    ]

    assert counts == [
        (1, "default"), (2, f"{file}:2"), (3, "COUNT"), (4, "HYPERNODE_COUNT"), (5, "--count"),
    ]  # fmt: skip


def test_systemds_credential_stands_for_a_secrets_file_and_gives_way_to_every_other_source(
    tmp_path: Path,
) -> None:
    (tmp_path / "key").write_text("secret")
    systemd = {"CREDENTIALS_DIRECTORY": str(tmp_path)}

    alone = said({}, systemd)
    beside = said({}, {**systemd, "HYPERNODE_KEY_FILE": "/elsewhere"})
    missing = said({}, {"CREDENTIALS_DIRECTORY": str(tmp_path / "none")})

    assert alone.values == {"key_file": str(tmp_path / "key")}
    assert alone.origin("key_file").source == "credential"
    assert str(alone.origin("key_file")) == "$CREDENTIALS_DIRECTORY/key"
    assert beside.values == {"key_file": "/elsewhere"}
    assert missing.values == {}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("count = 2", 1),
        ("\n\n  count=2", 3),
        ('"count" = 2', 1),
        ("counts = 1\ncount = 2", 2),
        ("# count = 9\n\ncount = 2", 3),
    ],
)
def test_a_key_of_a_file_is_named_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    file = tmp_path / "toy.toml"
    file.write_text(text)

    assert str(said({}, {}, file).origin("count")) == f"{file}:{line}"


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [
        ("COUNT", "7", 7),
        ("IS_LOUD", "true", True),
        ("IS_LOUD", "0", False),
        ("COLOURS", "red, blue,", ("red", "blue")),
        ("COLOURS", "", ()),
        ("LIMIT", "", None),
        ("LIMIT", "9", 9),
    ],
)
def test_text_becomes_what_the_setting_is(variable: str, text: str, value: object) -> None:
    reading = said({}, {f"HYPERNODE_{variable}": text})

    assert reading.values == {variable.lower(): value}


def test_an_empty_variable_says_nothing_where_there_must_be_a_value() -> None:
    assert said({}, {"HYPERNODE_NAME": "", "HYPERNODE_COUNT": "", "COUNT": ""}).values == {}


# ---- what is refused ----------------------------------------------------------------------------


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "toy.toml"
    file.write_text('count = "many"\ncolour = 1\n[section]\n')

    slip = "HYPERNODE_COUNTT"

    reading = said({"mood": "sad"}, {"HYPERNODE_IS_LOUD": "x", slip: "1"}, file)

    assert sorted(problems(reading)) == sorted(
        [
            f"count ({file}:1): this is no whole number",
            f"colour ({file}:2): there is no setting 'colour': do you mean 'colours'?",
            f"section ({file}): there is no setting 'section'",
            "mood (--mood): choose one of calm, wild",
            "is_loud (HYPERNODE_IS_LOUD): this is neither true nor false",
            f"countt ({slip}): there is no setting of this name: do you mean HYPERNODE_COUNT?",
        ]
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("count = ", "cannot be read"),
        ("count = 1\ncount = 2", "cannot be read"),
        ("\x00", "cannot be read"),
        ("count = 0", "at least 1"),
        ("count = 1.5", "this must be a whole number, not 1.5"),
        ("count = true", "this must be a whole number, not true or false"),
        ("colours = 'red'\nname = 5", 'write it in quotes, "5"'),
        ("name = 0.00001", 'write it in quotes, "0.00001"'),
        ("name = [1]", "this must be text, not a list"),
        ("name = 2026-01-01", "this must be text, not a date"),
        ("colours = ['red', 2]", 'item 2: this must be text: write it in quotes, "2"'),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_its_name(
    tmp_path: Path, text: str, words: str
) -> None:
    file = tmp_path / "toy.toml"
    file.write_text(text)

    (problem,) = problems(said({}, {}, file))

    assert words in problem
    assert str(file) in problem


@pytest.mark.parametrize(
    ("text", "line"), [("count = 1\nname = 1 2\nmood = 2", 2), ("count = 1\n\nname = ", 3)]
)
def test_a_slip_of_syntax_is_told_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    file = tmp_path / "toy.toml"
    file.write_text(text)

    (problem,) = problems(said({}, {}, file))

    assert problem.startswith(f"config ({file}:{line}): this file cannot be read: ")


@pytest.mark.parametrize(
    ("name", "meant"),
    [("hots", "host"), ("prot", "port"), ("prt", "port"), ("hosst", "host"), ("bort", "port"),
     ("weather", ""), ("home", ""), ("fee_pb", "fee_bp"), ("dbs", "")],
)  # fmt: skip
def test_a_slip_of_one_letter_is_refused_and_another_name_is_not(name: str, meant: str) -> None:
    reading = read_settings(COORDINATOR, {}, {f"HYPERNODE_{name.upper()}": "1"}, None)

    said_of = [problem.partition(": do you mean ")[2] for problem in problems(reading)]
    assert said_of == ([f"HYPERNODE_{meant.upper()}?"] if meant else [])
    assert bool(reading.unknown) is not bool(meant)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    (problem,) = problems(said({}, {}, tmp_path / "none.toml"))

    assert problem.endswith("cannot be read: No such file or directory")


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("HYPERNODE_COUNTS", "HYPERNODE_COUNT"),
        ("HYPERNODE_COLOUR", "HYPERNODE_COLOURS"),
        ("HYPERNODE_TOY_COUNT", "HYPERNODE_COUNT"),
        ("HYPERNODE_TOY_COLOR", ""),
        ("HYPERNODE_MOODS", "HYPERNODE_MOOD"),
        ("HYPERNODE_IS", "HYPERNODE_IS_LOUD"),
    ],
)
def test_a_variable_that_is_nearly_a_setting_is_refused_with_the_near_name(
    variable: str, meant: str
) -> None:
    (problem,) = problems(said({}, {variable: "1"}))

    assert problem.startswith(f"{variable.removeprefix('HYPERNODE_').lower()} ({variable})")
    assert problem.endswith(f"do you mean {meant}?" if meant else "no setting of this name")


@pytest.mark.parametrize("role", [AGENT, COORDINATOR], ids=lambda schema: schema.role)
def test_a_variable_of_another_role_or_of_a_client_is_left_alone(role: Schema) -> None:
    names = {*AGENT.fields, *COORDINATOR.fields} - {*role.fields, *role.not_by_value}
    environ = {f"HYPERNODE_{name.upper()}": "?" for name in names}
    environ |= dict.fromkeys(
        CLIENT_VARIABLES - {f"HYPERNODE_{n.upper()}" for n in role.fields}, "?"
    )

    reading = read_settings(role, {}, environ, None)

    assert problems(reading) == []
    assert set(reading.unknown) == set(environ)


def test_what_kubernetes_sets_for_a_service_of_our_name_is_left_alone() -> None:
    environ = {
        "HYPERNODE_PORT": "tcp://10.0.0.1:3001",
        "HYPERNODE_PORT_3001_TCP": "tcp://10.0.0.1:3001",
        "HYPERNODE_PORT_3001_TCP_ADDR": "10.0.0.1",
        "HYPERNODE_SERVICE_HOST": "10.0.0.1",
        "HYPERNODE_SERVICE_PORT": "3001",
        "HYPERNODE_SERVICE_PORT_HTTP": "3001",
        "HYPERNODE_COORDINATOR_PORT": "tcp://10.0.0.1:3001",
        "HYPERNODE_COORDINATOR_SERVICE_HOST": "10.0.0.1",
        "HYPERNODE_COORDINATOR_PORT_3001_TCP_PROTO": "tcp",
    }

    reading = read_settings(COORDINATOR, {}, environ, None)

    assert (problems(reading), reading.values, reading.unknown) == ([], {}, ())


def test_every_variable_that_the_sources_name_is_a_known_one() -> None:
    fields = {*AGENT.fields, *AGENT.not_by_value, *COORDINATOR.fields}
    known = {f"HYPERNODE_{name.upper()}" for name in fields} | CLIENT_VARIABLES
    # As an explanation of the form alone.
    known |= {"HYPERNODE_", "HYPERNODE_HOME"}

    named = {
        name
        for path in sources(*PRODUCT)
        for name in re.findall(r"\bHYPERNODE_[A-Z_]*\b", read(path))
    }

    assert named <= known


# ---- secrets ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Real secrets, as people have them at hand."""
    folder = tmp_path_factory.mktemp("secrets")
    save_keypair(folder / "wallet.json", generate())
    return {
        "tls key": Authority(folder).issue().key.read_text(),
        "solana key": (folder / "wallet.json").read_text(),
        "base58 key": "5" * 87,
        "token": "hy1.c29tZXRoaW5n.c2lnbmVk",
        "hardware token": "hy1t.c29tZXRoaW5n",
        "password": "postgresql://house:hunter2@db.example/market",
    }


KINDS = ["tls key", "solana key", "base58 key", "token", "hardware token", "password"]


@pytest.mark.parametrize("source", ["flag", "variable", "file"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_secret_that_stands_where_its_path_should_is_refused_and_not_repeated(
    tmp_path: Path, secrets: dict[str, str], kind: str, source: str
) -> None:
    secret = secrets[kind]
    file = tmp_path / "toy.toml"
    file.write_bytes(b"key_file = " + msgspec.json.encode(secret) if source == "file" else b"")

    reading = said(
        {"key_file": secret} if source == "flag" else {},
        {"HYPERNODE_KEY_FILE": secret} if source == "variable" else {},
        file,
    )

    (problem,) = problems(reading)
    assert "a file of its own" in problem
    assert reading.values == {}
    assert not any(part in problem for part in secret.split() if len(part) > 4)
    assert secret not in problem


def test_a_key_as_a_list_of_numbers_is_a_secret_too() -> None:
    assert secret_in(list(range(64))) == "a private key"
    assert secret_in(["red", "hy1.a.b"]) == "a token"


@pytest.mark.parametrize(
    "value",
    [
        "/etc/hypernode/tls.key",
        "https://hyper.example:3001",
        "wss://hyper.example/ws?a=b:c@d",
        "11111111111111111111111111111111",
        "hyper.example",
        "hy1",
        ("https://a.example", "*"),
        [1, 2, 3],
        3001,
        None,
        "2001:db8::1",
    ],
)
def test_what_is_no_secret_is_not_taken_for_one(value: object) -> None:
    assert not secret_in(value)


@pytest.mark.parametrize(
    ("flags", "environ", "toml", "where"),
    [
        ({"key": "s3cret"}, {}, "", "--key"),
        ({}, {"HYPERNODE_KEY": "s3cret"}, "", "HYPERNODE_KEY"),
        ({}, {}, 'key = "s3cret"', "toy.toml:1"),
    ],
)
def test_a_setting_that_would_hold_a_secret_is_refused_with_what_to_do(
    tmp_path: Path, flags: dict[str, Any], environ: dict[str, str], toml: str, where: str
) -> None:
    file = tmp_path / "toy.toml"
    file.write_text(toml)

    (problem,) = problems(said(flags, environ, file))

    assert where in problem
    assert "pass --key-file" in problem
    assert "s3cret" not in problem


@given(st.dictionaries(st.text(min_size=1), st.text()), st.dictionaries(st.text(), st.text()))
def test_nothing_that_stands_in_the_sources_is_more_than_a_problem(
    environ: dict[str, str], flags: dict[str, str]
) -> None:
    reading = said(flags, {f"HYPERNODE_{name}": value for name, value in environ.items()})

    assert set(reading.values) <= set(SCHEMA.fields)
