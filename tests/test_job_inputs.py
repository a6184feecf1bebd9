"""Jobs with input arrays in a real house: brought, fetched, computed, checked; and what is tried
against it.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import numpy.typing as npt
import pytest
import trio

from agent.task import OnLog, OnProgress, Outcome, OutputData, Task
from agent.worker import LocalRunner
from coordinator.protocol.arrays import to_wire
from coordinator.protocol.commitment import output_root
from coordinator.protocol.inputs import Input
from coordinator.protocol.signing import Keypair, generate
from coordinator.protocol.spec import Spec, encode_spec
from coordinator.store.sqlite import open_sqlite
from hypernode.client import AsyncClient
from hypernode.errors import HypernodeError, JobFailed
from hypernode.job import Job
from tests.house import House, agent_at, open_house, until

F32 = npt.NDArray[np.float32]
#: Sides of a product whose matrices are blobs.
M, K, N = 70, 65, 33


def matrices(seed: int = 0) -> dict[str, F32]:
    rng = np.random.default_rng(seed)
    return {
        "a": rng.standard_normal((M, K), dtype=np.float32),
        "b": rng.standard_normal((K, N), dtype=np.float32),
    }


@dataclass
class Multiplier:
    """A runner that multiplies what it finds in the files; it may wait, or be told to lie."""

    slots: int = 1
    is_liar: bool = False
    tasks: list[Task] = field(default_factory=list)
    may_end: Callable[[], bool] = lambda: True

    async def run(
        self,
        task: Task,
        *,
        on_log: OnLog | None = None,
        on_progress: OnProgress | None = None,
    ) -> Outcome:
        self.tasks.append(task)
        a, b = (_array(task, name) for name in ("a", "b"))
        while not self.may_end():  # noqa: ASYNC110 - the test's own condition
            await trio.sleep(0.01)
        c = a @ b
        if self.is_liar:
            c[0, 0] += 1
        dtype, shape, data = to_wire(c)
        return Outcome(
            "completed", outputs=(OutputData(dtype, shape, data),), root=output_root([data])
        )

    async def aclose(self) -> None:
        """Nothing to end."""


def _array(task: Task, name: str) -> F32:
    (each,) = [each for each in task.inputs if each.name == name]
    data = Path(each.path).read_bytes() if each.data is None else each.data
    assert len(data) == each.size
    return np.frombuffer(data, dtype=each.dtype).reshape(each.shape)


@asynccontextmanager
async def submitter(house: House, keypair: Keypair | None = None) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(house.url, keypair or generate()) as client:
        await client.faucet("100")
        yield client


async def multiply(client: AsyncClient, inputs: dict[str, F32] | None = None, **more: Any) -> Job:
    inputs = inputs or matrices()
    m, k = inputs["a"].shape
    params = {"m": m, "k": k, "n": inputs["b"].shape[1]}
    return await client.submit("matmul", params, budget="0.01", inputs=inputs, **more)


def close_to(found: npt.NDArray[Any], inputs: dict[str, F32]) -> bool:
    return bool(np.allclose(found, inputs["a"] @ inputs["b"], rtol=1e-4, atol=1e-4))


async def test_a_product_goes_all_the_way_and_its_inputs_are_brought_and_fetched_once(
    tmp_path: Path,
) -> None:
    runner, inputs = Multiplier(), matrices()
    async with (
        open_house(tmp_path) as house,
        agent_at(house, runner, "matmul", inputs=tmp_path / "inputs"),
        submitter(house) as client,
    ):
        jobs = [await multiply(client, inputs) for _ in range(3)]
        results = [await job.result() for job in jobs]

    assert all(close_to(result.output, inputs) for result in results)
    assert [task.kind for task in runner.tasks] == ["matmul"] * 3
    assert sorted(path.stat().st_size for path in (tmp_path / "inputs").iterdir()) == sorted(
        array.nbytes for array in inputs.values()
    )


async def test_small_inputs_ride_in_the_specification(tmp_path: Path) -> None:
    inputs = {"a": np.eye(4, dtype=np.float32), "b": np.full((4, 2), 3, np.float32)}
    runner = Multiplier()
    async with (
        open_house(tmp_path) as house,
        agent_at(house, runner, "matmul"),
        submitter(house) as client,
    ):
        result = await (await multiply(client, inputs)).result()

    assert (result.output == 3).all()
    assert runner.tasks[0].blobs == {}


async def test_wrong_products_are_found_in_blobs_and_inline_and_never_paid(tmp_path: Path) -> None:
    small = {"a": np.eye(4, dtype=np.float32), "b": np.eye(4, dtype=np.float32)}
    async with (
        open_house(tmp_path) as house,
        agent_at(house, Multiplier(is_liar=True), "matmul", inputs=tmp_path / "inputs"),
        submitter(house) as client,
    ):
        for inputs in (small, matrices()):
            job = await multiply(client, inputs, retries=0)
            with pytest.raises(JobFailed) as caught:
                await job.result()

            assert caught.value.code == "rejected"
        assert (await client.account()).held == "0"


@pytest.mark.slow
async def test_the_real_worker_multiplies_what_came_through_its_pipe(tmp_path: Path) -> None:
    runner, inputs = LocalRunner(), matrices()
    async with (
        open_house(tmp_path) as house,
        agent_at(house, runner, "matmul", inputs=tmp_path / "inputs"),
        submitter(house) as client,
    ):
        result = await (await multiply(client, inputs)).result()
        assert close_to(result.output, inputs)
        await runner.aclose()


async def test_a_stream_of_products_has_inputs_of_its_own_and_shared_ones(tmp_path: Path) -> None:
    shared = matrices()
    own = [matrices(seed)["b"] for seed in range(1, 6)]
    params = {"m": M, "k": K, "n": N}
    async with (
        open_house(tmp_path) as house,
        agent_at(house, Multiplier(), "matmul", inputs=tmp_path / "inputs"),
        submitter(house) as client,
    ):
        many = [(params, {"b": b}) for b in own]
        stream = client.map(
            "matmul", many, budget="0.01", inputs={"a": shared["a"]}, max_in_flight=2
        )
        results = [result.output async for result in stream]

    for b, c in zip(own, results, strict=True):
        assert close_to(c, {"a": shared["a"], "b": b})


# ---- what is tried against it -------------------------------------------------------------------


def named(digest: str, **changes: Any) -> dict[str, Any]:
    """A submission of a product whose `a` is a blob of this hash."""
    b = Input("float32", (1, 1), data=bytes(4))
    a = Input("float32", (2048, 1), sha256=digest)
    params = msgspec.Raw(b'{"m":2048,"k":1,"n":1}')
    spec = Spec("matmul", params, inputs={"a": a, "b": b})
    document = json.loads(encode_spec(spec)) | changes
    return {"key": secrets.token_hex(8), "budget": "0.01", "spec": document}


async def asked(web: httpx.AsyncClient, client: AsyncClient, *jobs: dict[str, Any]) -> list[Any]:
    headers = {"Authorization": f"Bearer {await client.web.bearer()}"}
    answer = await web.post("/api/jobs", json={"jobs": jobs}, headers=headers)
    assert answer.status_code == 200, answer.text
    found: list[Any] = answer.json()["jobs"]
    return found


async def brought(
    web: httpx.AsyncClient, client: AsyncClient, data: bytes, digest: str = ""
) -> httpx.Response:
    headers = {"Authorization": f"Bearer {await client.web.bearer()}"}
    digest = digest or sha256(data).hexdigest()
    return await web.put(f"/api/blobs/{digest}", content=data, headers=headers)


DATA = bytes(4 * 2048)
DIGEST = sha256(DATA).hexdigest()


async def test_a_blob_that_was_not_brought_is_named_and_one_of_another_size_refused(
    tmp_path: Path,
) -> None:
    async with (
        open_house(tmp_path) as house,
        submitter(house) as client,
        httpx.AsyncClient(base_url=house.url) as web,
    ):
        (missing,) = await asked(web, client, named(DIGEST))
        assert missing["code"] == "input_missing"
        assert DIGEST in missing["error"]

        short = sha256(DATA[:-4]).hexdigest()
        assert (await brought(web, client, DATA[:-4])).status_code == 204
        (wrong,) = await asked(web, client, named(short))
        assert wrong["code"] == "bad_spec"
        assert "8188 bytes, type and shape take 8192" in wrong["error"]

        assert (await brought(web, client, DATA)).status_code == 204
        (taken,) = await asked(web, client, named(DIGEST))
        assert taken["id"]


async def test_who_knows_anothers_hash_gets_nothing_by_it(tmp_path: Path) -> None:
    """Agents see hashes: a thief submits a job that names one, or claims to bring the blob."""
    async with (
        open_house(tmp_path) as house,
        submitter(house) as owner,
        submitter(house) as thief,
        httpx.AsyncClient(base_url=house.url) as web,
    ):
        await brought(web, owner, DATA)

        (answer,) = await asked(web, thief, named(DIGEST))
        assert answer["code"] == "input_missing"
        assert (await brought(web, thief, b"", DIGEST)).status_code == 422
        (answer,) = await asked(web, thief, named(DIGEST))
        assert answer["code"] == "input_missing"
        headers = {"Authorization": f"Bearer {await thief.web.bearer()}"}
        for method in ("GET", "HEAD"):
            got = await web.request(method, f"/api/blobs/{DIGEST}", headers=headers)
            assert got.status_code == 404

        # The owner's stays, and who has the bytes may bring them too.
        (kept,) = await asked(web, owner, named(DIGEST))
        assert kept["id"]
        assert (await brought(web, thief, DATA)).status_code == 204
        (taken,) = await asked(web, thief, named(DIGEST))
        assert taken["id"]


async def test_inputs_are_read_by_the_submitter_and_the_leases_holder_alone(tmp_path: Path) -> None:
    ends: list[bool] = []
    runner = Multiplier(may_end=lambda: bool(ends))
    async with (
        open_house(tmp_path) as house,
        agent_at(house, runner, "matmul", inputs=tmp_path / "inputs") as agent,
        submitter(house) as owner,
        submitter(house) as stranger,
        httpx.AsyncClient(base_url=house.url) as web,
    ):
        inputs = matrices()
        job = await multiply(owner, inputs)
        await until(lambda: runner.tasks)
        serving = agent._serving
        assert serving is not None
        node = serving._registered.session_key

        async def status(bearer: str, name: str = "a", number: str = job.id) -> int:
            path = f"/api/jobs/{number}/inputs/{name}"
            return (await web.get(path, headers={"Authorization": f"Bearer {bearer}"})).status_code

        assert await status(node) == 200
        assert await status(await owner.web.bearer()) == 200
        assert await status(await stranger.web.bearer()) == 404
        assert await status(node, "c") == 404
        assert await status(node, "..%2Fa") == 404
        assert await status(node, number=job.id[:-1] + ("0" if job.id[-1] != "0" else "1")) == 404
        assert await status("nobody") == 401
        part = await web.get(
            f"/api/jobs/{job.id}/inputs/a",
            headers={"Authorization": f"Bearer {node}", "Range": "bytes=4-7"},
        )
        assert (part.status_code, part.content) == (206, inputs["a"].tobytes()[4:8])

        ends.append(True)
        await job.result()
        assert await status(node) == 404, "its lease is over"
        assert await status(await owner.web.bearer()) == 200


async def test_a_blob_that_is_lost_in_the_middle_of_a_job_costs_nobody_anything(
    tmp_path: Path,
) -> None:
    async with (
        open_house(tmp_path) as house,
        submitter(house) as client,
    ):
        job = await multiply(client)
        for path in (tmp_path / "blobs").rglob("*"):
            if path.is_file():
                path.unlink()
        async with agent_at(house, Multiplier(), "matmul", inputs=tmp_path / "inputs"):
            with pytest.raises(JobFailed) as caught:
                await job.result()

        assert caught.value.code == "input_unavailable"
        account = await client.account()
        assert (account.held, account.credit) == ("0", "100")


async def test_a_blob_that_was_swept_is_brought_again(tmp_path: Path) -> None:
    inputs = matrices()
    async with (
        open_house(tmp_path) as house,
        agent_at(house, Multiplier(), "matmul", inputs=tmp_path / "inputs"),
        submitter(house) as client,
    ):
        await (await multiply(client, inputs)).result()
        client._submitting._uploads._known["0" * 64] = None
        small = dict(inputs, a=inputs["a"][:40].copy())
        digest = sha256(small["a"].tobytes()).hexdigest()
        # What this client believes to be there, and is not.
        client._submitting._uploads._known[digest] = None
        result = await (await multiply(client, small)).result()

    assert close_to(result.output, small)


async def test_one_blob_that_many_jobs_name_is_one_row(tmp_path: Path) -> None:
    async with (
        open_house(tmp_path) as house,
        submitter(house) as client,
        httpx.AsyncClient(base_url=house.url, timeout=60) as web,
    ):
        await brought(web, client, DATA)
        answers = await asked(web, client, *[named(DIGEST) for _ in range(2_000)])
        assert all(answer["id"] for answer in answers)
        headers = {"Authorization": f"Bearer {await client.web.bearer()}"}
        for answer in answers[:10]:
            await web.delete(f"/api/jobs/{answer['id']}", headers=headers)

    store = open_sqlite(tmp_path / "house.db")
    blobs = [
        store.reader().blob(digest, client.web.signer.address)  # type: ignore[union-attr]
        for digest in store.reader().blob_hashes(b"", 10)
    ]
    assert [blob.open_jobs for blob in blobs if blob is not None] == [1_990]
    assert store.check() == []
    store.close()


async def test_a_key_written_in_another_way_hides_no_input(tmp_path: Path) -> None:
    """`inp\\u0075ts` is `inputs` to every reader of JSON."""
    async with (
        open_house(tmp_path) as house,
        submitter(house) as client,
        httpx.AsyncClient(base_url=house.url) as web,
    ):
        text = json.dumps({"jobs": [named(DIGEST)]}).replace('"inputs"', '"inp\\u0075ts"')
        headers = {
            "Authorization": f"Bearer {await client.web.bearer()}",
            "Content-Type": "application/json",
        }
        answer = await web.post("/api/jobs", content=text, headers=headers)

    assert answer.json()["jobs"][0]["code"] == "input_missing"


async def test_arrays_that_do_not_travel_are_refused_before_anything_is_sent(
    tmp_path: Path,
) -> None:
    async with open_house(tmp_path) as house, submitter(house) as client:
        for wrong in (np.array([object()]), np.array(["text"]), np.zeros(1, np.complex64)):
            with pytest.raises(HypernodeError, match="do not travel"):
                await client.submit("matmul", m=1, k=1, n=1, budget="1", inputs={"a": wrong})
        with pytest.raises(HypernodeError, match="at most"):
            await client.submit(
                "matmul", m=1, k=1, n=1, budget="1", inputs={"a": np.zeros(1)[:0].reshape(0, 2**40)}
            )
