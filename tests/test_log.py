"""The log: lines that programs can read, without secrets, within bounds, whoever talks to us."""

from __future__ import annotations

import ast
import io
import json
import secrets
import sys
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import based58
import msgspec
import pytest
import structlog
import trio

from agent.task import Outcome, OutputData, Task
from coordinator import tokens
from coordinator.limits import (
    LOG_ITEMS_MAX,
    LOG_LINES_BURST,
    LOG_LINES_BURST_IN_ALL,
    LOG_LINES_PER_S,
    LOG_TEXT_CHARS_MAX,
)
from coordinator.log import REDACTED, Quiet, bound_contextvars, configure_log, get_log, redact
from coordinator.protocol import messages as m
from coordinator.protocol.arrays import to_wire
from coordinator.protocol.commitment import output_root
from coordinator.protocol.messages import Device, HostInfo
from coordinator.protocol.signing import Keypair, generate
from coordinator.protocol.spec import Resources
from hypernode.client import AsyncClient
from hypernode.errors import HypernodeError
from onchain.address import encode_address
from tests.house import (
    HonestRunner,
    House,
    Log,
    agent_at,
    captured_log,
    inventory_of,
    open_house,
    search,
    until,
)
from tests.peer import dialled
from tests.tree import read, sources

#: What a hostile host may call itself, its GPU or its command.
HOSTILE: Final = (
    'evil\n{"event":"books fine","level":"critical"}\r\n\x1b[31m\x1b]0;owned\x07\x9b2J\u202e\u2028'
)


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def cleaned(**values: Any) -> dict[str, Any]:
    return dict(redact(None, "info", dict(values)))


def text_of(write: Callable[[Any], None], *, json_lines: bool) -> str:
    """What comes out of a log."""
    stream = io.StringIO()
    configure_log(json_lines=json_lines, stream=stream)
    write(get_log("test"))
    return stream.getvalue()


# ---- secrets ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key", ["token", "Authorization", "session_key", "sessionKey", "SIGNATURE", "proof", "password"]
)
def test_a_key_that_names_a_secret_shows_none_however_deep_it_lies(key: str) -> None:
    secret = "short and plain"
    line = cleaned(**{key: secret}, inside={"list": [{key: secret}, (secret,)]}, other=secret)

    assert line[key] == REDACTED
    assert line["inside"]["list"] == [{key: REDACTED}, [secret]]
    assert line["other"] == secret


def _looks() -> dict[str, str]:
    raw = secrets.token_bytes(64)
    bearer = urlsafe_b64encode(bytes([0xFB]) + raw[:31]).decode().rstrip("=")
    return {
        "token": f"hy1.{urlsafe_b64encode(raw).decode().rstrip('=')}.{bearer}",
        "hardware token": "hy1t.QUJDREVG-_",
        "header": "Bearer abcdefgh.ijklmnop",
        "bearer": bearer,
        "base58 signature": based58.b58encode(raw).decode(),
        "base64 signature": b64encode(raw).decode(),
        "base64 key": b64encode(raw[:32]).decode(),
        "base64url signature": urlsafe_b64encode(raw).decode().rstrip("="),
        "hexadecimal signature": raw.hex(),
        "key file": json.dumps(list(raw)),
    }


@pytest.mark.parametrize("name", _looks())
def test_what_looks_like_a_secret_is_none_of_a_texts_words(name: str) -> None:
    secret = _looks()[name]
    line = cleaned(event=f"got {secret}", error=[f"({secret})"], exception=f"Oops: {secret}\nat x")

    shown = json.dumps(line)
    assert secret not in shown
    assert shown.count(REDACTED) == 3


@pytest.mark.parametrize(
    "text",
    [
        encode_address(bytes(range(32))),
        "job-1-0123456789abcdef",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "2026-11-24T08:00:00.000Z",
        "/srv/hypernode/a-long-folder-name/and-another-one/coordinator.db-wal",
        "a sentence with hyphens-and_underscores, which is not a bearer at all",
    ],
)
def test_what_people_look_for_in_a_log_stays(text: str) -> None:
    assert cleaned(event=text)["event"] == text


class Secrets:
    """Everything secret that is made in this process, in every form it may be written in."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.texts: set[str] = set()
        # Under whatever name it was imported: people's sessions, and nodes'.
        makers = [
            module
            for name, module in sys.modules.items()
            if name.startswith("coordinator.") and hasattr(module, "new_bearer")
        ]
        assert len(makers) >= 3
        for module in makers:
            self._note_calls(patch, module, "new_bearer", str)
        self._note_calls(patch, tokens, "issue", lambda answer: answer[0])
        self._note_calls(patch, Keypair, "sign", self.forms)
        made = Keypair.__init__

        def init(keypair: Keypair, seed: bytes) -> None:
            self.forms(seed)
            made(keypair, seed)

        patch.setattr(Keypair, "__init__", init)

    def _note_calls(
        self, patch: pytest.MonkeyPatch, owner: object, name: str, text: Callable[[Any], str]
    ) -> None:
        real = getattr(owner, name)

        def call(*arguments: Any) -> Any:
            answer = real(*arguments)
            self.texts.add(text(answer))
            return answer

        patch.setattr(owner, name, call)

    def forms(self, raw: bytes) -> str:
        """Note all of them; the first is given back."""
        url = urlsafe_b64encode(raw).decode()
        self.texts |= {
            *(raw.hex(), b64encode(raw).decode(), url, url.rstrip("=")),
            *(based58.b58encode(raw).decode(), json.dumps(list(raw))[1:-1], repr(raw)[2:-1]),
        }
        return raw.hex()


BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


class ClumsyRunner(HonestRunner):
    """Fails, and says more than it should."""

    def __init__(self, secret: str) -> None:
        super().__init__()
        self.secret = secret

    async def run(self, task: Task, **_callbacks: Any) -> Outcome:
        msg = f"cannot open the vault with {self.secret}"
        raise RuntimeError(msg)


async def _misuse(house: House, wallet: Keypair) -> None:
    """Secrets where they do not belong: paths, wrong fields, spent tokens, broken messages."""
    token = await house.token(wallet)
    # One in 70 bearers looks like an address, and the log shows addresses: its docstring says so.
    while set(bearer := await house.bearer(wallet)) <= set(BASE58):
        pass
    async with house.http(bearer) as http:
        await http.get(f"/api/jobs/{token[:150]}")
        await http.get("/api/account", headers={"authorization": f"Basic {bearer}"})
        await http.post("/api/session", json={"wallet": bearer, "nonce": token, "signature": 3})
        await http.post("/api/jobs", content=json.dumps({"jobs": bearer}))
        await http.delete("/api/session")
        await http.get("/api/account")
    async with dialled(house) as peer:
        await peer.register_as_seed(token)
    spent = {"type": "register", "token": token}
    for words in (spent, {**spent, "proof": bearer}, {"type": bearer}, {"type": "open"}):
        async with dialled(house) as peer:
            await peer.say(json.dumps(words))
            await peer.end()


@pytest.mark.slow
async def test_no_log_of_a_whole_day_holds_a_secret_that_was_made_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every seed, signature, token and bearer of a run, in every form, is looked for in its log."""
    made = Secrets(monkeypatch)
    wallet, operator = generate(), generate()
    with captured_log() as log:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(0))
        async with open_house(tmp_path, access_log=True) as house:
            spill = await house.token(operator)
            async with (
                agent_at(house, HonestRunner(), "hashsearch", wallet=operator),
                agent_at(house, ClumsyRunner(spill), "render", wallet=operator),
                AsyncClient(house.url, wallet) as client,
            ):
                await client.faucet("100")
                await (await client.submit("hashsearch", search(), budget="1")).result()
                bad = await client.submit(
                    "render", {"width": 8, "height": 8}, budget="1", retries=0
                )
                with pytest.raises(HypernodeError):
                    await bad.result()
                await _misuse(house, wallet)
                # Receipts are counter-signed in the background.
                await trio.sleep(0.1)

    lines, text = log.lines(), log.stream.getvalue()
    assert len(made.texts) > 100
    assert {secret for secret in made.texts if secret in text} == set()
    assert any(line["event"] == "runner_failed" and REDACTED in line["exception"] for line in lines)
    assert any(line.get("path") == f"/api/jobs/{REDACTED}" for line in lines)


# ---- what peers write -------------------------------------------------------------------------


@pytest.mark.parametrize("json_lines", [True, False])
def test_a_hostile_text_is_one_line_and_moves_no_terminal(*, json_lines: bool) -> None:
    def write(log: Any) -> None:
        log.warning("connection refused", peer=HOSTILE, error=[HOSTILE], more={HOSTILE: HOSTILE})
        log.info(HOSTILE)

    text = text_of(write, json_lines=json_lines)

    assert len(text.splitlines()) == text.count("\n") == 2
    assert all(char.isprintable() or char == "\n" for char in text)


def test_a_traceback_keeps_its_lines_and_nothing_else_on_a_terminal() -> None:
    def write(log: Any) -> None:
        try:
            int(HOSTILE)
        except ValueError:
            log.exception("event failed")

    text = text_of(write, json_lines=False)

    assert "Traceback" in text
    assert all(char.isprintable() or char in "\n\t" for char in text)


class TalkativeRunner(HonestRunner):
    """Answers commands with a log full of surprises."""

    async def run(self, task: Task, *, on_log: Any = None, on_progress: Any = None) -> Outcome:
        on_log(HOSTILE)
        output = OutputData(*to_wire(_bytes(HOSTILE)))
        return Outcome("completed", outputs=(output,), root=output_root([output.data]))


def _bytes(text: str) -> Any:
    import numpy as np  # noqa: PLC0415 (for one line)

    return np.frombuffer(text.encode(), dtype=np.uint8)


@pytest.mark.slow
async def test_hostile_names_and_commands_leave_lines_that_parse(tmp_path: Path) -> None:
    """A host, a GPU, a kind and a command that are made of line ends and escape sequences."""
    wallet = generate()
    with captured_log() as log:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(0))
        async with open_house(tmp_path, access_log=True) as house:
            async with dialled(house) as peer:
                await peer.say(
                    m.Register(await house.token(wallet), host_info=HostInfo(hostname=HOSTILE[:90]))
                )
                await peer.expect("registered")
            node_key = generate()
            async with dialled(house) as peer:
                await peer.register(node_key, await house.token(wallet))
                device = Device(uuid=HOSTILE[:60], name=HOSTILE[:60], backend="cpu")
                inventory = msgspec.structs.replace(
                    inventory_of("command"), devices=[device], sandbox=2, remarks=[HOSTILE]
                )
                await peer.offer(inventory)
            async with (
                agent_at(house, TalkativeRunner(), "command"),
                AsyncClient(house.url, wallet) as client,
            ):
                await client.faucet("10")
                command = {"command": f"echo '{HOSTILE}'"}
                job = await client.submit(
                    "command", command, budget="1", resources=Resources(sandbox=0), retries=0
                )
                assert (await job.result()).outputs
            async with house.http() as http:
                await http.get("/api/jobs/%0a%1b[31m%7b%22event%22:1%7d")
                await http.get("/api/none", headers={"user-agent": "\x1b[31m"})

    text = log.stream.getvalue()
    lines = log.lines()
    assert len(lines) == text.count("\n") > 5
    assert all(line["event"] and line["level"] for line in lines)
    assert all(char.isprintable() or char == "\n" for char in text)
    assert "books fine" not in {line["event"] for line in lines}


# ---- bounds -----------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Tap:
    """A `Quiet` under a clock: which lines pass, and what they say was left out."""

    def __init__(self) -> None:
        self.clock = Clock()
        self._quiet = Quiet(self.clock)

    def passes(self, event: str, peer: str = "", method: str = "info") -> int | None:
        """None: left out; else the number of lines before it that were."""
        try:
            line = self._quiet(None, method, {"event": event, "peer": peer})
        except structlog.DropEvent:
            return None
        return int(line.get("lines_left_out", 0))


def test_one_noisy_peer_has_its_lines_and_takes_nothing_from_the_others() -> None:
    tap = Tap()
    noise = [tap.passes("request refused", "192.0.2.1") for _ in range(1000)]

    assert noise == [0] * LOG_LINES_BURST + [None] * (1000 - LOG_LINES_BURST)
    assert tap.passes("node registered", "192.0.2.1") == 0, "another event"
    assert tap.passes("request refused", "192.0.2.2") == 1000 - LOG_LINES_BURST, "another peer"
    tap.clock.now += 1 / LOG_LINES_PER_S
    assert tap.passes("request refused", "192.0.2.1") == 0
    assert tap.passes("request refused", "192.0.2.1") is None


def test_many_noisy_peers_have_a_bound_together_but_what_is_critical_is_never_left_out() -> None:
    tap = Tap()
    passed = [tap.passes("request refused", f"peer {number}") for number in range(5000)]

    assert sum(each is not None for each in passed) == LOG_LINES_BURST_IN_ALL
    for _ in range(LOG_LINES_BURST_IN_ALL):
        assert tap.passes("request refused", "", "critical") is not None


def test_a_long_text_and_a_long_list_are_cut() -> None:
    line = cleaned(text="x" * 100_000, items=list(range(10_000)), deep=_nest(50))

    assert len(line["text"]) < LOG_TEXT_CHARS_MAX + 50
    assert line["text"].endswith("… (of 100000)")
    assert len(line["items"]) == LOG_ITEMS_MAX
    assert len(json.dumps(line)) < 3 * LOG_TEXT_CHARS_MAX


def test_no_half_of_a_secret_is_left_where_a_long_text_is_cut() -> None:
    """Wherever the cut falls, and however much was taken out before it."""
    signature = based58.b58encode(secrets.token_bytes(64)).decode()
    for length in range(0, 3 * LOG_TEXT_CHARS_MAX, 7):
        for filler in ("a ", signature + " "):
            before = filler * (length // len(filler)) + " " * (length % len(filler))
            shown = cleaned(text=f"{before} {signature}{' b' * 5000}")["text"]
            assert signature[:12] not in shown


@pytest.mark.slow
def test_a_hostile_text_costs_little() -> None:
    began = time.perf_counter()
    hostile = ("A" * 10**6, "A+" * 500_000, "[" + "1," * 500_000, "hy1." * 250_000, "a-" * 500_000)
    for text in hostile:
        cleaned(text=text, exception=text)

    assert time.perf_counter() - began < 2.0


def _nest(depth: int) -> Any:
    value: Any = "y" * 100_000
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.slow
async def test_a_flood_of_bad_requests_is_some_lines_in_the_log(tmp_path: Path) -> None:
    with captured_log() as log:
        async with open_house(tmp_path) as house, house.http() as http:
            for _ in range(300):
                await http.get("/api/none")
        refused = [line for line in log.lines() if line["event"] == "request refused"]

    assert LOG_LINES_BURST <= len(refused) < LOG_LINES_BURST + 10


# ---- whose line it is -------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_line_names_the_connection_and_the_request_that_it_is_about(tmp_path: Path) -> None:
    with captured_log() as log:
        async with open_house(tmp_path, access_log=True) as house:
            async with house.http() as http:
                await http.get("/livez")
                await http.get("/api/none")
            async with house.http() as http:
                await http.get("/livez")
            # An answer is on its way before its line is.
            await until(lambda: sum("request" in line for line in log.lines()) == 4)
    lines = [line for line in log.lines() if "request" in line]

    assert [(line["event"], line["path"], line["status"]) for line in lines] == [
        ("request answered", "/livez", 200),
        ("request refused", "/api/none", 404),
        ("request answered", "/api/none", 404),
        ("request answered", "/livez", 200),
    ]
    first, other = {line["connection"] for line in lines[:3]}, {lines[3]["connection"]}
    assert len(first) == len(other) == 1
    assert first != other
    assert [line["request"] for line in lines] == [1, 2, 2, 3]
    assert {"method", "peer", "scope", "sent_bytes", "ms"} <= lines[0].keys()
    assert lines[0]["sent_bytes"] > 0


async def test_lines_of_tasks_side_by_side_keep_their_own_names() -> None:
    log = Log()
    configure_log(json_lines=True, stream=log.stream)

    async def talk(number: int) -> None:
        with bound_contextvars(connection=number):
            for _ in range(3):
                await trio.to_thread.run_sync(partial(get_log("test").info, "said", own=number))
                get_log("test").info("said", own=number)

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(talk, number)

    assert len(log.lines()) == 18
    assert all(line["connection"] == line["own"] for line in log.lines())


# ---- names of events --------------------------------------------------------------------------

_LEVELS: Final = {"debug", "info", "warning", "error", "exception", "critical"}


def _log_calls(path: Path) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(read(path))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            is_log = isinstance(owner, ast.Name) and owner.id in {"log", "_log"}
            if is_log and node.func.attr in _LEVELS:
                yield node


@pytest.mark.slow
def test_each_event_is_named_by_a_literal_so_that_it_can_be_searched_for() -> None:
    calls = [
        (path, call)
        for path in sources("agent", "coordinator", "hypernode", "onchain")
        for call in _log_calls(path)
    ]
    unnamed = [
        f"{path}:{call.lineno}"
        for path, call in calls
        if not (
            len(call.args) == 1
            and isinstance(call.args[0], ast.Constant)
            and isinstance(call.args[0].value, str)
            and len(call.args[0].value) <= 72
        )
    ]

    assert len(calls) > 50
    assert unnamed == []
