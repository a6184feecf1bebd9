"""What a connection stands on: tasks that fail alone, and a refusal that a person understands."""

from __future__ import annotations

import pytest
import trio

from coordinator.protocol.errors import said_in
from coordinator.protocol.signing import Keypair, generate
from hypernode.client import AsyncClient
from hypernode.connect import kept_apart
from hypernode.errors import Unreachable
from tests.house import HonestRunner, House, agent_at, captured_log, search, until
from tests.serving import local_config, serving
from tests.test_server import count


async def fail(error: Exception) -> None:
    raise error


async def test_tasks_that_fail_as_expected_end_alone_and_the_first_is_told() -> None:
    told: list[Exception] = []
    async with trio.open_nursery() as parent:
        async with kept_apart(parent, (KeyError,), told.append) as nursery:
            nursery.start_soon(fail, KeyError("a"))
            await trio.testing.wait_all_tasks_blocked()
        is_alive = not parent.cancel_scope.cancel_called

    assert [str(error) for error in told] == ["'a'"]
    assert is_alive


async def test_tasks_that_fail_otherwise_are_not_hidden() -> None:
    told: list[Exception] = []
    with pytest.RaisesGroup(pytest.RaisesGroup(ValueError)):
        async with (
            trio.open_nursery() as parent,
            kept_apart(parent, (KeyError,), told.append) as nursery,
        ):
            nursery.start_soon(fail, ValueError("b"))
            await trio.sleep_forever()

    assert told == []


async def test_the_end_of_the_block_ends_the_tasks_and_its_own_error_passes_as_it_is() -> None:
    ended = trio.Event()

    async def linger() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    async def block(parent: trio.Nursery) -> None:
        async with kept_apart(parent, (KeyError,), lambda _: None) as nursery:
            nursery.start_soon(linger)
            await trio.testing.wait_all_tasks_blocked()
            await fail(ValueError("mine"))

    async with trio.open_nursery() as parent:
        with pytest.raises(ValueError, match="mine"):
            await block(parent)
        await ended.wait()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error":"This host name is not served here.","code":"bad_host"}', "This host name is"),
        (b"<html>502 Bad Gateway</html>", "HTTP 502"),
        (b"", "HTTP 502"),
        (b'{"error":5}', "HTTP 502"),
        (b"[]", "HTTP 502"),
    ],
)
def test_a_refusal_is_our_sentence_or_a_status(body: bytes, said: str) -> None:
    assert said_in(502, body).startswith(said)


async def test_a_submitter_whose_websocket_is_refused_hears_why_and_lives_on() -> None:
    """A refusal once ended the whole client, with a group of exceptions."""
    config = local_config(allowed_hosts=["hyper.example"])
    async with (
        serving(count, config=config) as house,
        AsyncClient(house.url, generate(), patience_s=0.1) as client,
    ):
        client.web._bearer = "no need to ask over HTTP first"
        for _ in range(2):
            with pytest.raises(Unreachable, match="This host name is not served here"):
                await client.submit("hashsearch", search(), budget="1", key="k")


class Closed(House):
    """A house that issues no tokens."""

    async def token(self, _keypair: Keypair, _node_key: bytes = b"") -> str:
        return "hy1.no.matter"


async def test_an_agent_whose_websocket_is_refused_says_why() -> None:
    config = local_config(allowed_hosts=["hyper.example"])
    with captured_log() as log:
        async with (
            serving(count, config=config) as served,
            trio.open_nursery() as nursery,
            agent_at(Closed(served.port, nursery), HonestRunner()),
        ):
            await until(lambda: any(x["event"] == "disconnected" for x in log.lines()))
    reasons = {line["reason"] for line in log.lines() if line["event"] == "disconnected"}

    assert reasons == {"unreachable: This host name is not served here."}
