"""Hostile text in every field that keeps text: it comes back as it was sent, nothing else moves.

The corpus is what breaks statements that are joined from strings, markup, formats and shells.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx
import msgspec
import pytest

from coordinator import door
from coordinator.limits import NAME_CHARS_MAX
from coordinator.protocol import messages as m
from coordinator.protocol.signing import generate
from coordinator.store.sqlite import open_sqlite
from onchain.address import encode_address
from tests.house import House, open_house
from tests.indoors import spec_of
from tests.peer import Peer, dialled

CORPUS: Final = (
    "' OR '1'='1", "'; DROP TABLE jobs; --", '" OR ""="', "1; DELETE FROM accounts",
    "') UNION SELECT",
    "Robert'); DROP TABLE nodes;--", "%' AND 1=randomblob(1000000000) --", "\\'; --", "/* */", "--",
    "';ATTACH DATABASE 'x' AS y;--", "x' AND load_extension('y') --", "NULL", "undefined", "0x31",
    "{{7*7}}", "${jndi:ldap://x}", "%s%n%x", "<script>alert(1)</script>", "`id`", "$(id)", "a|b&c",
    "../../etc/passwd", "caf\u00e9\u202e\u2066", "\U0001f600" * 8, "?1", ":name", "@p",
)  # fmt: skip


async def _as_agent(house: House, text: str) -> Peer | None:
    """Register and say what one can, with this text in every field of it."""
    name = text[:NAME_CHARS_MAX]
    async with dialled(house) as peer:
        handshake, challenge = await peer.greet(generate())
        host = m.HostInfo(hostname=name, gpus=[m.GpuInfo(name, name)], os=name)
        answer = handshake.answer(challenge, token=await house.token(generate()), host_info=host)
        await peer.say(answer)
        await peer.expect("registered")
        device = m.Device(uuid=name, name=name, backend="cpu")
        await peer.say(
            m.Inventory([device], [name[:40] or "x"], 0, 1, 1, remarks=[name], version=name)
        )
        await peer.say(m.Resume([m.Attempt(name[:64], 1)] if name[:64].isascii() else []))
        await peer.expect("resumed")
        await peer.say(m.Results([m.ResultItem(name[:64], 1, "failed", name[:40], name)]))
        await peer.say(m.Progress([m.ProgressItem(name[:64], 1, None, text)]))
        await peer.say(m.Heartbeat(name[:64], [m.Telemetry(uuid=name)]))
        await peer.expect("ack")
    return peer


def key_of(text: str) -> str:
    """A key is printable ASCII: other texts are written out."""
    return text if text.isascii() else ascii(text)


async def _as_submitter(house: House, http: httpx.AsyncClient, text: str) -> str:
    """Submit with this text as key and as a command, and ask for things by it; the job's id."""
    key = key_of(text)
    http.headers["authorization"] = f"Bearer {await house.bearer(generate())}"
    await http.post("/api/faucet", json={"amount": "5", "key": key})
    job: dict[str, Any] = {
        "key": key, "budget": "1", "spec": {"kind": "command", "params": {"command": text}},
    }  # fmt: skip
    first, again = [(await http.post("/api/jobs", json={"jobs": [job]})).json() for _ in "ab"]
    assert first == again, text
    assert "jobs" in first, (text, first)
    assert "id" in first["jobs"][0], (text, first)
    for path in ("jobs", "nodes", "blobs", "sessions"):
        answer = await http.get(f"/api/{path}/{quote(key, safe='')}")
        assert answer.status_code < 500, (path, text)
    for query in ("wallet", "node", "scope", "quarantined"):
        answer = await http.get("/api/nodes/challenge", params={query: text})
        assert answer.status_code < 500, (query, text)
    await http.delete(f"/api/sessions/{quote('session-' + key, safe='')}")
    (listed,) = (await http.get("/api/jobs")).json()
    assert listed["key"] == key
    job_id: str = first["jobs"][0]["id"]
    assert listed["id"] == job_id
    return job_id


@pytest.mark.slow
async def test_hostile_text_in_every_field_stays_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "REQUESTS_BURST", 100_000)
    async with open_house(tmp_path) as house, house.http() as http:
        ids = {text: await _as_submitter(house, http, text) for text in CORPUS}
        for text in CORPUS:
            await _as_agent(house, text)
    store = open_sqlite(tmp_path / "house.db")
    reader = store.reader()
    keys = {job.key for job in reader.all_jobs(1000)}
    names = {node.hostname for node in reader.all_nodes(1000)}
    faults = store.check()
    reader.close()
    store.close()

    assert len(set(ids.values())) == len(ids)
    assert keys == {key_of(text) for text in CORPUS}
    assert names == set(CORPUS)
    assert faults == []


async def test_a_key_is_its_own_and_no_pattern(tmp_path: Path) -> None:
    """`%`, `_` and `*` name themselves: no listing and no lookup takes them for others."""
    keys = ["%", "_", "*", "a", "A"]
    async with open_house(tmp_path) as house, dialled(house) as peer:
        wallet = generate()
        bearer = await house.bearer(wallet)
        async with house.http(bearer) as http:
            await http.post("/api/faucet", json={"amount": "50", "key": secrets.token_hex(4)})
            mine = await http.get("/api/nodes/mine", params={"wallet": "%" * 44})
        await peer.open(bearer)
        spec = msgspec.Raw(spec_of("command", command="true"))
        await peer.say(m.Submit([m.Submission(key, spec, "1") for key in keys], 1))
        answers = (await peer.expect("submitted"))["jobs"]

    assert len({answer["id"] for answer in answers}) == len(keys)
    assert mine.json()["code"] == "bad_address"
    assert encode_address(wallet.address) not in mine.text
