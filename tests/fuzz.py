"""Broken words in great number, from one seed: at the decoder, over a live socket, over HTTP.

`python -m tests.fuzz [decoder|socket|http|all] [--count N] [--seed N]`
In:   a seed.
Out:  one line a part: how many, what was answered, how much memory grew; exit status 1 if anything
      went wrong: an exception that is no `ProtocolError`, an answer of 500 or above, a line in the
      log with a traceback, a coordinator that no longer serves an honest job, memory that grows.
Lawful messages with one thing changed go deepest, so half are those; the rest are JSON, text and
bytes of no sense. Bodies of HTTP are made from the types that the application's own schema names.
The short form of each part runs in the suite (`test_fuzz.py`).
"""

from __future__ import annotations

import argparse
import json
import random  # noqa: TID251 - one seeded generator
import resource
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote as escape

import httpx
import trio
import trio_websocket as tw

from coordinator import door
from coordinator.limits import FRAME_BYTES_MAX
from coordinator.protocol.codec import (
    Decoder,
    agent_decoder,
    coordinator_decoder,
    encode,
    submitter_decoder,
)
from coordinator.protocol.errors import ProtocolError
from coordinator.protocol.signing import generate
from tests.house import House, Market, inventory_of, open_market
from tests.peer import Peer, dialled
from tests.test_hostile import EVERY_MESSAGE

DECODER_COUNT: Final = 100_000
SOCKET_COUNT: Final = 5_000
HTTP_COUNT: Final = 2_000
#: Megabytes by which a run may grow: buffers, caches that fill up once, the log's own text.
GROWTH_MB_MAX: Final = 64
WORDS: Final = [json.loads(encode(message)) for message in EVERY_MESSAGE.values()]
ODD: Final[list[Any]] = [
    None, True, False, 0, -1, 1, 2**31, 2**53, 2**63, 2**64, -(2**63), 2**70, 1.5, -0.0, 1e308,
    float("inf"), float("nan"), "", "x", "\x00", "\ud800", "\u202e", "9" * 400, "a" * 5_000, [], {},
    [[]], {"type": "open"}, [None] * 50, {"a": {"b": {"c": {"d": {}}}}}, "node-1", "job-1-0",
    "hy1..", "-1", "0.1", "1e9", "NaN", "' OR 1=1 --", "../..", "completed", "\U0001f600" * 40,
]  # fmt: skip


class Fuzz:
    """One seed's supply of broken things."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def value(self, depth: int = 0) -> Any:
        """A JSON value of no sense."""
        if depth < 3 and self.random.random() < 0.2:
            return {self.name(): self.value(depth + 1) for _ in range(self.random.randrange(4))}
        if depth < 3 and self.random.random() < 0.2:
            return [self.value(depth + 1) for _ in range(self.random.randrange(4))]
        return self.random.choice(ODD)

    def name(self) -> str:
        """A name of some field."""
        word = self.random.choice(WORDS)
        names: list[str] = [*word, "type", "x", ""]
        return self.random.choice(names)

    def changed(self, document: Any) -> Any:
        """A document with one thing in it changed, dropped or added, however deep it lies."""
        if isinstance(document, dict) and document:
            copy = dict(document)
            key = self.random.choice(list(copy))
            match self.random.randrange(4):
                case 0:
                    copy[key] = self.value()
                case 1:
                    del copy[key]
                case 2:
                    copy[self.name()] = self.value()
                case _:
                    copy[key] = self.changed(copy[key])
            return copy
        if isinstance(document, list) and document:
            items = list(document)
            items[self.random.randrange(len(items))] = self.value()
            return items * self.random.choice([1, 1, 2, 100])
        return self.value()

    def frame(self) -> str | bytes:
        """A frame of the wire: often nearly right."""
        kind = self.random.random()
        if kind < 0.5:
            text = json.dumps(self.changed(self.random.choice(WORDS)))
        elif kind < 0.65:
            text = self._torn(json.dumps(self.random.choice(WORDS)))
        elif kind < 0.8:
            text = json.dumps(self.value())
        elif kind < 0.85:
            text = self.random.choice("[{") * self.random.randrange(1, 3_000)
        else:
            return self.random.randbytes(self.random.randrange(200))
        if self.random.random() < 0.7:
            return text
        return self._framed(text.encode("utf-8", "surrogatepass"))

    def _torn(self, text: str) -> str:
        one, other = sorted(self.random.randrange(len(text) + 1) for _ in "ab")
        return text[:one] + self.random.choice(["", '"', "{", "\x00", "\\u0000"]) + text[other:]

    def _framed(self, header: bytes) -> bytes:
        length = len(header)
        if self.random.random() < 0.3:
            length = self.random.randrange(2**32)
        rest = self.random.randbytes(self.random.randrange(64))
        return length.to_bytes(4, "little") + header + rest


def memory_mb() -> float:
    """Memory of this process now, megabytes."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 1e6


def fuzz_decoder(count: int, seed: int) -> Counter[str]:
    """Frames at every decoder, strictly and not: a message or a `ProtocolError` each.

    Raises:
        Exception: whatever else a decoder lets out.
    """
    fuzz, found = Fuzz(seed), Counter[str]()
    # Most of these words are meant for a coordinator.
    decoders: list[Decoder[Any]] = [
        *[coordinator_decoder] * 4, agent_decoder, submitter_decoder,
    ]  # fmt: skip
    for number in range(count):
        frame = fuzz.frame()
        try:
            decoder = decoders[number % len(decoders)]
            decoder.decode(frame, limit=FRAME_BYTES_MAX, strict=bool(number & 8))
        except ProtocolError as error:
            found[error.code] += 1
        else:
            found["a message"] += 1
    return found


# ---- over a socket ------------------------------------------------------------------------------


async def _enter(house: House, peer: Peer, role: int) -> None:
    if role == 1:
        await peer.register_as_seed(await house.token(generate()))
    elif role == 2:
        await peer.register(generate(), await house.token(generate()))
        await peer.offer(inventory_of("montecarlo"))
    elif role == 3:
        await peer.open(await house.bearer(generate()))


async def fuzz_socket(market: Market, count: int, seed: int) -> Counter[str]:
    """Frames in every role over TCP; whoever is thrown out comes back as somebody new."""
    fuzz, found = Fuzz(seed), Counter[str]()
    while found["frames"] < count:
        role = fuzz.random.randrange(4)
        async with dialled(market.house) as peer:
            await _enter(market.house, peer, role)
            found["connections"] += 1
            try:
                while found["frames"] < count:
                    frame = fuzz.frame()
                    if isinstance(frame, str):
                        frame = frame.encode("utf-8", "replace").decode()
                    await peer.socket.send_message(frame)
                    found["frames"] += 1
                    with trio.move_on_after(0.002):
                        await peer.socket.get_message()
            except tw.ConnectionClosed:
                found["thrown out"] += 1
    await market.prove_alive()
    return found


# ---- over HTTP ----------------------------------------------------------------------------------


async def fuzz_http(market: Market, count: int, seed: int) -> Counter[str]:
    """Every operation of `/openapi.json` with parameters and bodies of wrong types.

    Raises:
        AssertionError: an answer of 500 or above, or one without its shape.
    """
    fuzz, found = Fuzz(seed), Counter[str]()
    async with market.house.http() as http:
        schema = (await http.get("/openapi.json")).json()
        operations = [
            (method.upper(), path, operation)
            for path, methods in schema["paths"].items()
            for method, operation in methods.items()
        ]
        bearers = ["", await market.house.bearer(generate()), "x" * 43]
        for _ in range(count):
            method, path, operation = fuzz.random.choice(operations)
            bearer = fuzz.random.choice(bearers)
            answer = await _ask(http, fuzz, schema, bearer, method, path, operation)
            found[f"{answer.status_code // 100}xx"] += 1
            assert answer.status_code < 500, (method, answer.url, answer.text)
            if answer.status_code == 401 and bearer and bearer == bearers[1]:
                # It was asked to end its own session, and did.
                bearers[1] = await market.house.bearer(generate())
    await market.prove_alive()
    return found


async def _ask(
    http: httpx.AsyncClient,
    fuzz: Fuzz,
    schema: dict[str, Any],
    bearer: str,
    method: str,
    path: str,
    operation: dict[str, Any],
) -> httpx.Response:
    """One request: each parameter and each field is right, wrong or missing."""
    query: dict[str, str] = {}
    for parameter in operation.get("parameters", ()):
        text = _text(fuzz)
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", escape(text or "x", safe=""))
        elif fuzz.random.random() < 0.8:
            query[parameter["name"]] = text
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    content = None
    if body is not None:
        document = _instance(fuzz, schema, body["schema"])
        if fuzz.random.random() < 0.8:
            document = fuzz.changed(document)
        content = json.dumps(document).encode("utf-8", "surrogatepass")
        if fuzz.random.random() < 0.1:
            content = content[: fuzz.random.randrange(len(content) + 1)]
    headers = {"content-type": "application/json"}
    if bearer:
        headers["authorization"] = f"Bearer {bearer}"
    return await http.request(method, path, params=query, content=content, headers=headers)


def _text(fuzz: Fuzz) -> str:
    value = fuzz.random.choice(ODD)
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", "replace").decode()[:300]


def _instance(fuzz: Fuzz, schema: dict[str, Any], part: dict[str, Any]) -> Any:
    """Something that a part of the schema allows."""
    if "$ref" in part:
        return _instance(fuzz, schema, schema["components"]["schemas"][part["$ref"].split("/")[-1]])
    if options := part.get("oneOf") or part.get("anyOf"):
        return _instance(fuzz, schema, fuzz.random.choice(options))
    if "enum" in part:
        return fuzz.random.choice(part["enum"])
    if "properties" in part:
        inner = part["properties"].items()
        return {name: _instance(fuzz, schema, each) for name, each in inner}
    if part.get("type") == "array":
        return [_instance(fuzz, schema, part.get("items", {}))]
    plain: dict[str, list[Any]] = {
        "integer": [0, 1, 1000],
        "number": [0, 0.5],
        "boolean": [True, False],
    }
    text = ["x", "1", "completed", "wallet", "1" * 40]
    return fuzz.random.choice(plain.get(part.get("type", ""), text))


# ---- all of it ----------------------------------------------------------------------------------


async def live(part: Callable[..., Any], count: int, seed: int) -> tuple[Counter[str], float]:
    """A part against a whole market; what it found, and by how much memory grew, megabytes.

    Raises:
        AssertionError: something of the coordinator's own failed: its log says so.
    """
    with tempfile.TemporaryDirectory() as folder:
        async with open_market(Path(folder)) as market:
            # Once, for what is made at first use.
            await part(market, max(10, count // 20), seed + 1)
            market.log.forget()
            before = memory_mb()
            found: Counter[str] = await part(market, count, seed)
            return found, memory_mb() - before


def main(arguments: list[str]) -> int:
    """Run one part or all of them, in their long form unless told otherwise."""
    parser = argparse.ArgumentParser(description="Broken words in great number, from one seed.")
    choices = ["decoder", "socket", "http", "all"]
    parser.add_argument("part", nargs="?", default="all", choices=choices)
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args(arguments)
    # The rate of requests has tests of its own; here it would answer instead of what is meant.
    setattr(door, "REQUESTS_BURST", 10**9)  # noqa: B010 (the module's own constant)
    is_good = True
    if asked.part in {"decoder", "all"}:
        before = memory_mb()
        found = fuzz_decoder(asked.count or DECODER_COUNT, asked.seed)
        is_good &= _say("decoder", found, memory_mb() - before)
    parts = {"socket": (fuzz_socket, SOCKET_COUNT), "http": (fuzz_http, HTTP_COUNT)}
    for name, (part, count) in parts.items():
        if asked.part in {name, "all"}:
            is_good &= _say(name, *trio.run(live, part, asked.count or count, asked.seed))
    return 0 if is_good else 1


def _say(name: str, found: Counter[str], grown_mb: float) -> bool:
    counts = ", ".join(f"{count} {what}" for what, count in found.most_common())
    sys.stdout.write(f"{name}: {counts}; memory {grown_mb:+.1f} MB\n")
    return grown_mb < GROWTH_MB_MAX


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
