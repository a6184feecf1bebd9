"""The arrows of the house, read from every source.

Rules:
  1. A module imports its own layer and those that `LAYERS` lists for it; the longest prefix of its
     name decides which layer it is in. An import inside a function counts like one at the top.
  2. A pure module imports nothing that has a clock, a socket, a process or chance.
  3. Some libraries have one door (`DOORS`), and only the store writes SQL.
Not covered: `importlib` with a computed name, and what an object reached through a name imports.
Source: ethereum/execution-specs `import_hygiene.py`, TigerBeetle `tidy.zig`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from tests.tree import PRODUCT, ROOT, WORKSHOP, module_name, read, sources

#: Layer → the prefixes of names in it. Names of ours that no prefix fits belong nowhere: an error.
LAYERS: Final = {
    "ground": (
        *("onchain.address", "onchain.amounts", "onchain.merkle", "onchain.errors"),
        *("onchain.actions", "onchain.sponsor"),
        *("coordinator.limits", "coordinator.clock", "coordinator.log", "coordinator.settings"),
        "coordinator.evidence_limits",
        "coordinator.secret_values",
        "coordinator.setting_words",
        "coordinator.notify",
        *("coordinator.ratelimit", "coordinator.metrics_port"),
    ),
    "protocol": ("coordinator.protocol",),
    "workloads": ("coordinator.workloads",),
    "verification": ("coordinator.verification",),
    "coordinator": ("coordinator",),
    "settlement": ("coordinator.settlement",),
    "onchain": ("onchain",),
    "agent": ("agent",),
    "client": ("hypernode.",),
    "face": (
        "hypernode",
        *(
            f"hypernode.{n}"
            for n in ("__main__", "cli", "demo", "demo_chain", "local", "replay", "check", "doctor")
        ),
    ),
    "benchmarks": ("benchmarks",),
    "tests": ("tests",),
}
_SHARED: Final = {"ground", "protocol", "workloads", "verification"}
#: Layer → the other layers that it may import.
ARROWS: Final[dict[str, set[str]]] = {
    "ground": set(),
    "protocol": {"ground"},
    "workloads": {"ground", "protocol"},
    "verification": {"ground", "protocol", "workloads"},
    "coordinator": {*_SHARED, "settlement"},
    "settlement": {*_SHARED, "coordinator", "onchain"},
    "onchain": {"ground", "protocol"},
    "agent": {*_SHARED, "onchain"},
    "client": {*_SHARED, "onchain"},
    "face": {*_SHARED, "coordinator", "settlement", "onchain", "agent", "client"},
    "benchmarks": {*LAYERS} - {"tests"},
    "tests": {*LAYERS},
}

#: Modules that decide: the same arguments give the same answer, whenever and wherever.
PURE: Final = (
    *("onchain/address.py", "onchain/amounts.py", "onchain/merkle.py", "onchain/errors.py"),
    *(
        f"onchain/{name}.py"
        for name in (
            *("leaf_errors", "leaves", "settlement_tree", "places", "vouchers", "views"),
            *("program_events", "program_refusals", "anchor", "calls", "role_calls"),
            *("outlook", "sponsor", "actions", "audit", "publication", "account_words"),
            "role_keys",
            *("clusters", "token_calls", "limits_rules", "mints", "ledger_health"),
            *("loader", "deploy_rules", "security_txt"),
        )
    ),
    *(
        f"coordinator/{name}.py"
        for name in (
            *("limits", "jobs", "ledger", "lifecycle", "payroll", "pricing", "registry"),
            *("reputation", "scheduler", "tokens", "views"),
        )
    ),
    *(
        f"coordinator/protocol/{name}.py"
        for name in (
            *("arrays", "base64url", "codec", "commitment", "errors", "ids", "inputs"),
            "messages",
            *("receipts", "session", "signin", "spec", "token"),
        )
    ),
    *(
        f"onchain/program/build/{name}.py"
        for name in (
            *("checks", "disassemble", "elf", "errors", "image", "instructions", "linker"),
            *("objects", "program_file", "syscalls", "writer"),
        )
    ),
    *("coordinator/workloads/*.py", "coordinator/verification/*.py"),
    *(f"coordinator/store/{name}.py" for name in ("chain", "interface", "values")),
)
IMPURE: Final = (
    *("trio", "trio_websocket", "asyncio", "threading", "socket", "select", "subprocess", "os"),
    *("time", "random", "secrets", "sqlite3", "sqlite_utils", "pysqlite3", "psycopg", "httpx"),
)

#: Library → the only product files that may import it.
DOORS: Final[dict[str, tuple[str, ...]]] = {
    "trio_websocket": (
        *(
            "coordinator/server.py",
            "coordinator/dispatcher.py",
            "coordinator/conversation.py",
            "agent/client.py",
        ),
        *("hypernode/client.py", "onchain/devnode*.py"),
    ),
    "nacl": ("coordinator/protocol/signing.py",),
    "sqlite_utils": ("coordinator/store/*",),
    "pysqlite3": ("coordinator/store/*",),
    "sqlite3": ("coordinator/store/*",),
    "psycopg": ("coordinator/store/*",),
    "anchorpy": ("onchain/*",),
    "solana": ("onchain/*",),
    "solders": ("onchain/*",),
    "numba": ("agent/kernels/*",),
    "numba.cuda": ("agent/kernels/_cuda.py",),
    "pynvml": ("agent/device.py",),
}
#: A statement in capitals anywhere in a string, or in any case where it begins; prose does neither.
SQL: Final = (
    re.compile(
        r"\bSELECT\b.+\bFROM\b|\bINSERT (OR \w+ )?INTO\b|\bREPLACE INTO\b|\bUPDATE \w+ SET\b"
        r"|\bDELETE FROM\b|\bCREATE (UNIQUE )?(TABLE|INDEX)\b",
        re.DOTALL,
    ),
    re.compile(
        r"\s*(select\b.+\bfrom|insert (or \w+ )?into|update \w+ set|delete from"
        r"|create (unique )?(table|index)|drop table|pragma \w+|begin immediate|vacuum into)\b",
        re.DOTALL | re.IGNORECASE,
    ),
)


def layer_of(name: str) -> str:
    """The layer of a module; a prefix that ends in a dot fits what is below it only."""
    fitting = [
        (len(prefix), layer)
        for layer, prefixes in LAYERS.items()
        for prefix in prefixes
        if name == prefix or name.startswith(prefix if prefix.endswith(".") else f"{prefix}.")
    ]
    return max(fitting)[1]


@cache
def parsed(source: str) -> ast.Module:
    return ast.parse(source)


def imports(source: str) -> Iterator[tuple[int, str, str]]:
    """Line, module and name of each import; the name is empty for `import module`."""
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from ((node.lineno, module, alias.name) for alias in node.names)


def is_below(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def layer_violations(path: Path, source: str) -> list[str]:
    """Imports of ours that no arrow allows."""
    layer = layer_of(module_name(path))
    wrong = []
    for line, module, name in imports(source):
        if module.split(".")[0] not in {*PRODUCT, *WORKSHOP}:
            continue
        full = f"{module}.{name}"
        target = full if name and is_module(full) else module
        if layer_of(target) not in {layer, *ARROWS[layer]}:
            wrong.append(f"{path}:{line}: {layer} may not import {target} ({layer_of(target)})")
    return wrong


def relative_violations(path: Path, source: str) -> list[str]:
    return [
        f"{path}:{line}: {module} is relative"
        for line, module, _ in imports(source)
        if module.startswith(".")
    ]


def pure_violations(path: Path, source: str) -> list[str]:
    return [
        f"{path}:{line}: a pure module may not import {module}"
        for line, module, _ in imports(source)
        if module.split(".")[0] in IMPURE
    ]


def door_violations(path: Path, source: str, library: str) -> list[str]:
    if any(fnmatch(path.as_posix(), door) for door in DOORS[library]):
        return []
    return [
        f"{path}:{line}: only {' and '.join(DOORS[library])} may import {library}"
        for line, module, name in imports(source)
        if is_below(module, library) or is_below(f"{module}.{name}", library)
    ]


def texts(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of each string that is not a docstring; `x` stands for what is filled in."""
    prose = {
        id(node.value)
        for node in ast.walk(parsed(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.JoinedStr):
            parts = [p.value if isinstance(p, ast.Constant) else "x" for p in node.values]
            yield node.lineno, "".join(map(str, parts))
        elif (
            isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose
        ):
            yield node.lineno, node.value


def sql_violations(path: Path, source: str) -> list[str]:
    if path.is_relative_to("coordinator/store"):
        return []
    return [
        f"{path}:{line}: SQL outside coordinator/store: {text.strip()[:60]!r}"
        for line, text in texts(source)
        if SQL[0].search(text) or SQL[1].match(text)
    ]


EVERYWHERE: Final = [path.as_posix() for path in sources(*PRODUCT, *WORKSHOP)]
IN_PRODUCT: Final = [path.as_posix() for path in sources(*PRODUCT)]
IN_PURE: Final = [path for path in IN_PRODUCT if any(fnmatch(path, pure) for pure in PURE)]


@pytest.mark.parametrize("path", EVERYWHERE)
def test_imports_follow_the_arrows(path: str) -> None:
    assert layer_violations(Path(path), read(Path(path))) == []


@pytest.mark.parametrize("path", EVERYWHERE)
def test_imports_are_absolute(path: str) -> None:
    assert relative_violations(Path(path), read(Path(path))) == []


@pytest.mark.parametrize("path", IN_PURE)
def test_a_module_that_decides_has_no_clock_socket_or_chance(path: str) -> None:
    assert pure_violations(Path(path), read(Path(path))) == []


@pytest.mark.parametrize("library", DOORS)
def test_a_library_enters_by_its_door_only(library: str) -> None:
    wrong = [
        violation
        for path in sources(*PRODUCT)
        for violation in door_violations(path, read(path), library)
    ]

    assert wrong == []


@pytest.mark.parametrize("path", IN_PRODUCT)
def test_sql_is_written_in_the_store_only(path: str) -> None:
    assert sql_violations(Path(path), read(Path(path))) == []


@pytest.mark.parametrize("package", ["agent", "coordinator", "onchain"])
def test_a_package_shared_by_layers_imports_nothing_by_itself(package: str) -> None:
    """Importing `coordinator.limits` runs `coordinator/__init__.py`: it must stay empty."""
    docstring, *rest = parsed(read(Path(package, "__init__.py"))).body

    assert isinstance(docstring, ast.Expr)
    assert all(ast.unparse(node) == "from __future__ import annotations" for node in rest)


def test_the_arrows_have_no_way_back() -> None:
    """`coordinator` and its `settlement` are one knot by design; other pairs have a direction."""
    both = {
        frozenset({layer, other})
        for layer, others in ARROWS.items()
        for other in others
        if other != layer and layer in ARROWS[other]
    }

    assert both == {frozenset({"coordinator", "settlement"})}


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("coordinator.limits", "ground"),
        ("coordinator.protocol.codec", "protocol"),
        ("coordinator.protocols", "coordinator"),
        ("coordinator.settlement", "settlement"),
        ("coordinator", "coordinator"),
        ("onchain.merkle", "ground"),
        ("onchain.claim", "onchain"),
        ("hypernode", "face"),
        ("hypernode.cli.demo", "face"),
        ("hypernode.client", "client"),
        ("agent.kernels.matmul", "agent"),
    ],
)
def test_the_longest_prefix_decides_the_layer(name: str, layer: str) -> None:
    assert layer_of(name) == layer


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("coordinator/protocol/codec.py", "import coordinator.jobs"),
        ("coordinator/limits.py", "from coordinator.protocol import errors"),
        ("coordinator/api.py", "def f():\n    from agent.task import Task"),
        ("coordinator/api.py", "import onchain.claim"),
        ("agent/client.py", "from coordinator import engine"),
        ("agent/client.py", "if TYPE_CHECKING:\n    from hypernode.client import Client"),
        ("hypernode/client.py", "import hypernode.cli"),
        ("hypernode/client.py", "import agent.worker"),
        ("onchain/claim.py", "from coordinator.workloads import catalogue"),
        ("hypernode/cli/demo.py", "import tests.world"),
    ],
)
def test_an_import_against_the_arrows_is_found(path: str, source: str) -> None:
    assert len(layer_violations(Path(path), source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        (
            "coordinator/api.py",
            "from coordinator import limits, jobs\nimport coordinator.settlement",
        ),
        ("coordinator/settlement.py", "from onchain.claim import build"),
        ("agent/client.py", "from coordinator.limits import MIB\nfrom onchain.claim import build"),
        ("hypernode/cli/demo.py", "import agent.client, coordinator.server, hypernode.client"),
        ("agent/client.py", "import trio\nimport agentless.thing"),
    ],
)
def test_an_import_along_the_arrows_passes(path: str, source: str) -> None:
    assert layer_violations(Path(path), source) == []


@pytest.mark.parametrize(
    "source", ["from . import jobs", "from .jobs import step", "from .. import x"]
)
def test_a_relative_import_is_found(source: str) -> None:
    assert len(relative_violations(Path("coordinator/api.py"), source)) == 1


@pytest.mark.parametrize("source", ["import trio", "from time import time", "import os.path"])
def test_an_impure_import_is_found(source: str) -> None:
    assert len(pure_violations(Path("coordinator/jobs.py"), source)) == 1


@pytest.mark.parametrize(
    ("path", "source", "library"),
    [
        ("agent/worker.py", "from trio_websocket import open_websocket", "trio_websocket"),
        ("coordinator/tokens.py", "import nacl.signing", "nacl"),
        ("agent/worker.py", "from numba import njit", "numba"),
        ("agent/kernels/matmul.py", "from numba import cuda", "numba.cuda"),
        ("agent/kernels/matmul.py", "import numba.cuda as cuda", "numba.cuda"),
        ("agent/kernels/matmul.py", "from numba.cuda import grid", "numba.cuda"),
    ],
)
def test_an_import_beside_the_door_is_found(path: str, source: str, library: str) -> None:
    assert len(door_violations(Path(path), source, library)) == 1
    assert door_violations(Path(DOORS[library][0].replace("*", "x.py")), source, library) == []


@pytest.mark.parametrize(
    "source",
    [
        'x = "SELECT id FROM job"',
        'x = "select id\\nfrom job"',
        'x = f"UPDATE {table} SET state = 1"',
        'x = f"insert into {table} values (1)"',
        'x = "with t as (SELECT 1 FROM a) delete from b"',
        'x = "CREATE TABLE job (id integer)"',
    ],
)
def test_sql_outside_the_store_is_found(source: str) -> None:
    assert sql_violations(Path("coordinator/api.py"), source) != []
    assert sql_violations(Path("coordinator/store/rows.py"), source) == []


@pytest.mark.parametrize(
    "source",
    [
        '"""SELECT a FROM b stands in prose."""',
        'x = "choose a device, then update the set"',
        'x = "The jobs that we select come from the queue."',
    ],
)
def test_prose_is_not_sql(source: str) -> None:
    assert sql_violations(Path("coordinator/api.py"), source) == []
