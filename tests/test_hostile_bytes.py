"""Random words to open sessions: nothing of ours fails, nobody else's job is lost.

Hypothesis makes frames: bytes, text, JSON, and lawful messages with one thing changed. They are
said in every role while an honest job is under way on two other connections.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
import trio_websocket as tw
from hypothesis import HealthCheck, example, given, settings, strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from coordinator.protocol import messages as m
from coordinator.protocol.arrays import to_wire
from coordinator.protocol.codec import encode
from coordinator.protocol.signing import Keypair, generate
from coordinator.views import FaucetRequest
from tests.house import captured_log, inventory_of, reference
from tests.indoors import Indoors, open_indoors, spec_of
from tests.peer import Peer
from tests.test_hostile import EVERY_MESSAGE

ROLES = ("nobody", "seed", "node", "submitter")
NAMES = st.sampled_from(
    ["type", "id", "jobs", "job", "fence", "ref", "ids", "specs", "results", "outputs",
     "attempts", "status", "token", "bearer", "devices", "nodeId", "logs", "progress", "batch",
     "spec", "budget", "key", "kinds", "slots", "window", "sandbox", "remarks"]
)  # fmt: skip
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["completed", "job-1", "\x00", "\ud800", "1", "hashsearch", "9" * 50]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(NAMES | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)
MESSAGES = st.sampled_from([json.loads(encode(each)) for each in EVERY_MESSAGE.values()])


@st.composite
def changed(draw: st.DrawFn) -> str:
    """A lawful message with some of its fields replaced or added."""
    return json.dumps({**draw(MESSAGES), **draw(st.dictionaries(NAMES, JSON, max_size=3))})


@st.composite
def torn(draw: st.DrawFn) -> str:
    """A lawful message with a piece cut out and another piece repeated."""
    text = json.dumps(draw(MESSAGES))
    one, other = sorted(draw(st.tuples(*[st.integers(0, len(text))] * 2)))
    return text[:one] + text[other:] + text[: draw(st.integers(0, 5))]


@st.composite
def framed(draw: st.DrawFn) -> bytes:
    """A binary frame whose header and data may have nothing to do with each other."""
    header = draw(changed() | torn()).encode("utf-8", "surrogatepass")
    length = draw(st.just(len(header)) | st.integers(0, 2**32 - 1))
    return length.to_bytes(4, "little") + header + draw(st.binary(max_size=40))


FRAMES = (
    st.binary(max_size=100)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=100)
    | JSON.map(json.dumps)
    | changed()
    | torn()
    | framed()
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(said=st.lists(st.tuples(st.sampled_from(ROLES), FRAMES), min_size=1, max_size=25))
@example(said=[(role, encode(message)) for role in ROLES for message in EVERY_MESSAGE.values()])
@pytest.mark.slow
def test_no_words_of_one_peer_harm_the_house_or_another_peer(
    said: Sequence[tuple[str, str | bytes]],
) -> None:
    with tempfile.TemporaryDirectory() as folder, captured_log() as log:
        trio.run(_play, Path(folder), said, clock=MockClock(autojump_threshold=0))
        assert log.failures() == []


async def _play(folder: Path, said: Sequence[tuple[str, str | bytes]]) -> None:
    async with open_indoors(folder) as house:
        worker, submitter, wallet = await house.connect(), await house.connect(), generate()
        await worker.register(generate(), await house.token(generate()))
        await worker.offer(inventory_of("hashsearch"))
        await submitter.open(await house.bearer(wallet))
        await _fund(house, wallet)
        params = {"prefix": "", "start": 0, "count": 20, "target_bits": 3}
        job_id = await submitter.submit(spec_of("hashsearch", **params))
        job = await worker.job()
        await _misbehave(house, said)
        await finish(worker, job, params)
        result = await submitter.expect("result")
        house.nursery.cancel_scope.cancel()

    assert (job["id"], result["id"]) == (job_id, job_id)
    assert "receipt" in result


async def _fund(house: Indoors, wallet: Keypair) -> None:
    api = house.coordinator.api
    session = await api.session(await house.bearer(wallet))
    await api.faucet(session, FaucetRequest("10", "k"))


async def finish(worker: Peer, job: dict[str, Any], params: dict[str, Any]) -> None:
    """Answer a search rightly."""
    arrays = [to_wire(array) for array in reference("hashsearch", json.dumps(params).encode())]
    outputs, data = [], b""
    for dtype, shape, raw in arrays:
        outputs.append(m.Array(dtype, list(shape), len(raw), offset=len(data)))
        data += raw
    item = m.ResultItem(job["id"], job["fence"], "completed", outputs=outputs)
    assert await worker.answer(item, data) == "accepted"


async def _misbehave(house: Indoors, said: Sequence[tuple[str, str | bytes]]) -> None:
    """Say everything, each in its role; who is thrown out comes back."""
    peers: dict[str, Peer] = {}
    for role, frame in said:
        peer = peers.get(role) or await _enter(house, role)
        peers[role] = peer
        try:
            await peer.say(frame)
        except tw.ConnectionClosed:
            peers[role] = await _enter(house, role)
            await peers[role].say(frame)
        await wait_all_tasks_blocked()


async def _enter(house: Indoors, role: str) -> Peer:
    peer = await house.connect()
    match role:
        case "seed":
            await peer.register_as_seed(await house.token(generate()))
        case "node":
            await peer.register(generate(), await house.token(generate()))
            await peer.offer(inventory_of("montecarlo"))
        case "submitter":
            await peer.open(await house.bearer(generate()))
    return peer
