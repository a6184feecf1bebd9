"""`hypernode status` and `hypernode nodes`: one screen of 80 by 24, a pipe, a program."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from msgspec.structs import fields, replace
from trio.testing import MockClock

from coordinator import status_views, watch
from coordinator.alerts import RULES
from coordinator.protocol.signing import Keypair, generate, save_keypair
from hypernode import status_answers
from hypernode.cli.nodes import print_fleet
from hypernode.cli.status import _go_on
from hypernode.cli.status_screen import draw, plain, whole_duration
from hypernode.client import AsyncClient
from hypernode.errors import error_of
from hypernode.status_answers import Alert, CoordinatorInfo, FleetNodeInfo
from hypernode.watch_web import WatchWeb
from onchain.address import encode_address
from tests.house import HonestRunner, House, agent_at, open_house, search
from tests.test_cli import environment

URL = "https://market.example:3001"
NOW_S = 1_780_000_000.0
HOSTILE = "\x1b[31mowned\x07\r"


def a_detail(**changes: Any) -> status_answers.Detail:
    detail = status_answers.Detail(
        oldest_waiting=4.2,
        last_minute=status_answers.Minute(1204.0, 5.0, 0.0421, 1.23),
        peers=status_answers.Peers(44, 3, 12, 19, 7, 0),
        books=status_answers.Books(
            True, "0", 0, 12.0,
            {
                "credit": "1234.567891", "hold": "12.3", "withheld": "44.1", "earned": "9000.5",
                "fees": "1.2", "treasury": "9",
            },
        ),
        store=status_answers.Store(1_204_000_000, 16_000_000, 50_000_000_000, 0.0012, 720.0),
        process=status_answers.Process(0.34, 210e6, 60.0, 0.002),
        certificate_expires="2026-08-05T20:26:40.000Z",
        rejected={"stale": 4, "rejected": 2, "other": 0},
    )  # fmt: skip
    return replace(detail, **changes)


def info(**changes: Any) -> CoordinatorInfo:
    whole = CoordinatorInfo(
        status="ok",
        version="1.2.3",
        uptime=273_600,
        jobs={
            "queued": 12, "assigned": 3, "running": 4, "verifying": 0, "completed": 1_204_331,
            "failed": 211, "cancelled": 7,
        },
        nodes={"online": 3, "starting": 0, "silent": 1, "offline": 1},
        detail=a_detail(),
    )  # fmt: skip
    return replace(whole, **changes)


def screen(told: CoordinatorInfo, width: int = 80, height: int = 24) -> list[str]:
    return [line.plain for line in draw(told, URL, width, now_s=NOW_S, height=height)]


# ---- the screen -------------------------------------------------------------------------------


def test_the_screen_says_everything_at_a_glance() -> None:
    assert screen(info()) == [
        " HYPERNODE coordinator 1.2.3                                ● ready  up 3 d 4 h",
        " https://market.example:3001",
        "─" * 80,
        " Jobs         queued 12   assigned 3   running 4   verifying 0   oldest 4 s",
        "              completed 1,204,331   failed 211   cancelled 7",
        " Last minute  ended 1,204   failed 5   p50 42 ms   p99 1.2 s",
        " Nodes        online 3   starting 0   silent 1   offline 1",
        " Open         connections 44   submitters 12   attempts 19   checks 7   events 0",
        " Money        ledger balanced   added up 12 s ago",
        "              credit 1234.567891   held 12.3   withheld 44.1",
        "              earned 9000.5   fees 1.2   treasury 9",
        " Store        file 1.2 GB   log 16 MB   free 50 GB   commit p99 1.2 ms",
        "              backup 12:00 ago   certificate for 69 days",
        " Process      cpu 34%   memory 210 MB   files 60   loop lag 2.0 ms",
        " Rejected     stale 4   rejected 2",
        "─" * 80,
        " Alerts       none",
    ]


def test_what_is_wrong_is_said_in_words() -> None:
    detail = a_detail(
        books=status_answers.Books(False, "0.000007", 1, 1.0),
        store=status_answers.Store(failure="OperationalError: disk is full"),
        certificate_expires="2020-01-01T00:00:00.000Z",
        alerts=[Alert("HypernodeReadOnly", "critical", True, 75, "It has stopped itself.", "p")],
    )
    text = "\n".join(screen(info(status="failing", reasons=("read_only",), detail=detail)))

    for words in (
        "● NOT READY", "read_only", "ledger WRONG by 0.000007 HYPER, 1 overdrawn",
        "last commit OperationalError: disk is full", "certificate EXPIRED",
        "▲ HypernodeReadOnly for 1:15  It has stopped itself.",
    ):  # fmt: skip
        assert words in text


def test_what_is_not_known_is_a_dash_and_never_a_nought() -> None:
    detail = status_answers.Detail()
    text = "\n".join(screen(info(detail=detail)))

    assert "p50 -   p99 -" in text
    assert "ledger -   added up -" in text
    assert "backup -   certificate no TLS here" in text
    assert "cpu -   memory -" in text


def test_a_stranger_sees_jobs_and_nodes() -> None:
    lines = screen(info(detail=None))

    assert len(lines) == 6
    assert lines[-1].startswith(" Nodes ")


@pytest.mark.parametrize("height", [24, 18, 30])
@pytest.mark.parametrize("count", [0, 1, 3, len(RULES)])
def test_it_fits_the_screen_whatever_fires(count: int, height: int) -> None:
    alerts = [
        Alert(rule.name, rule.severity, index % 3 != 2, 10**index, rule.summary, rule.page)
        for index, rule in enumerate(RULES[:count])
    ]
    lines = screen(info(detail=a_detail(alerts=alerts)), height=height)

    assert len(lines) <= height
    assert max(map(len, lines)) <= 80
    shown = sum(rule.name in line for rule in RULES[:count] for line in lines)
    hidden = sum(int(n) for n in re.findall(r"and (\d+) more", "\n".join(lines)))
    assert shown + hidden == count


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_no_line_is_wider_than_the_terminal_and_no_text_moves_it(width: int) -> None:
    detail = a_detail(
        store=status_answers.Store(failure=HOSTILE * 20),
        rejected={HOSTILE: 3},
        alerts=[Alert(HOSTILE, HOSTILE, True, 1, HOSTILE, HOSTILE)],
    )
    told = info(reasons=(HOSTILE,), status="failing", detail=detail)

    lines = [line.plain for line in draw(told, URL + HOSTILE, width, now_s=NOW_S)]

    assert max(map(len, lines)) <= width
    assert all(char.isprintable() for line in lines for char in line)


def test_a_pipe_gets_names_and_values() -> None:
    alerts = [Alert("HypernodeFlood", "warning", False, 3, "A flood.", "p")]
    told = dict(plain(info(detail=a_detail(alerts=alerts)), URL, now_s=NOW_S))

    assert told["jobs queued"] == "12"
    assert told["jobs completed"] == "1,204,331"
    assert told["last minute p99"] == "1.2 s"
    assert told["money ledger"] == "balanced"
    assert told["alert HypernodeFlood"] == "pending warning 3 s"


def test_ages_are_whole_seconds() -> None:
    assert [whole_duration(s) for s in (0.2, 9.6, 75, 7300)] == ["0 s", "10 s", "1:15", "2 h 1 min"]


# ---- the answers ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (status_answers.CoordinatorInfo, status_views.StatusView),
        (status_answers.Detail, status_views.StatusDetail),
        (status_answers.Minute, status_views.MinuteView),
        (status_answers.Peers, status_views.PeersView),
        (status_answers.Books, status_views.BooksView),
        (status_answers.Store, status_views.StoreView),
        (status_answers.Process, status_views.ProcessView),
        (status_answers.Alert, status_views.AlertView),
        (status_answers.FleetNodeInfo, status_views.FleetNode),
    ],
)
def test_each_answer_has_the_names_that_the_coordinator_writes(ours: Any, theirs: Any) -> None:
    names = [(field.name, field.encode_name) for field in fields(theirs)]

    assert [(field.name, field.encode_name) for field in fields(ours)] == names
    assert msgspec.json.decode(b'{"id":"n","name":"a","status":"ok","new":1}', type=ours)


# ---- nodes ------------------------------------------------------------------------------------

NODE = FleetNodeInfo(
    id="node-1f-9c0d3b1a2e4f5a6b",
    hostname="rig-in-the-cellar",
    state="online",
    devices=("NVIDIA H100", "NVIDIA H100"),
    sandbox=2,
    worker_sandbox=2,
    slots=2,
    held=1,
    done=1204,
    failed=3,
    earned="12.5",
    last_seen="2026-05-28T20:26:32.000Z",
)


def test_nodes_are_a_table_and_a_line_each(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hypernode.cli.output.is_terminal", lambda *_: True)
    monkeypatch.setenv("COLUMNS", "80")
    idle = replace(NODE, held=0, idle="no_work", why="no job waits", remarks=(HOSTILE,))

    print_fleet([NODE, idle], now_s=NOW_S)

    out = capsys.readouterr().out
    assert "node-1f-9c0d3b1a2e4f5a6b: 2 x NVIDIA H100; sandbox 2/2; at work" in out
    assert "node-1f-9c0d3b1a2e4f5a6b: 2 x NVIDIA H100; sandbox 2/2; idle: no job waits; " in out
    assert max(len(line) for line in out.splitlines() if ": " not in line) <= 80
    assert "\x1b[31m" not in out


def test_nodes_in_a_pipe_have_every_column(capsys: pytest.CaptureFixture[str]) -> None:
    print_fleet([NODE], now_s=NOW_S)

    head, row = (line.split("\t") for line in capsys.readouterr().out.splitlines())
    told = dict(zip(head, row, strict=True))
    assert told["jobs"] == "1/2"
    assert (told["done"], told["failed"], told["earned"]) == ("1204", "3", "12.5")
    assert (told["name"], told["idle"], told["seen"]) == ("rig-in-the", "", "8 s")


# ---- the commands, against a live house -------------------------------------------------------


@pytest.fixture(autouse=True)
def _quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIGURES_EVERY_S", "BOOKS_EVERY_S"):
        monkeypatch.setattr(watch, name, 0.1)


async def hypernode(
    house: House, key: Path | None, *words: str
) -> subprocess.CompletedProcess[bytes]:
    keypair = {"HYPERNODE_KEYPAIR": str(key)} if key else {}
    return await trio.run_process(
        [sys.executable, "-m", "hypernode", *words],
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        env=environment(HYPERNODE_URL=house.url, **keypair),
    )


def node_id(listed: subprocess.CompletedProcess[bytes]) -> str:
    (node,) = json.loads(listed.stdout)
    name: str = node["id"]
    return name


def key_file(folder: Path, keypair: Keypair, name: str) -> Path:
    path = folder / name
    save_keypair(path, keypair)
    return path


@pytest.mark.slow
async def test_the_commands_show_a_live_house_to_each_as_much_as_it_may_see(
    tmp_path: Path,
) -> None:
    admin, operator = generate(), generate()
    files = [key_file(tmp_path, key, name) for key, name in ((admin, "a"), (operator, "o"))]
    async with (
        open_house(tmp_path, admin_wallets=[encode_address(admin.address)]) as house,
        agent_at(house, HonestRunner(), "hashsearch", wallet=operator),
        AsyncClient(house.url, generate()) as client,
    ):
        await client.faucet("10")
        await (await client.submit("hashsearch", search(), budget="1")).result()
        await trio.sleep(0.3)
        whole = await hypernode(house, files[0], "status", "--json")
        part = await hypernode(house, files[1], "status")
        nobody = await hypernode(house, None, "status", "--json")
        own = await hypernode(house, files[1], "nodes", "--json")
        everybodys = await hypernode(house, files[0], "nodes", "--all")
        nosy = await hypernode(house, files[1], "nodes", "--all", "--json")
        drained = await hypernode(house, files[0], "nodes", "drain", node_id(own), "--reason", "x")
        unknown = [
            await hypernode(house, files[0], "nodes", "drain", "node-nope", "--reason", "x"),
            await hypernode(house, files[0], "nodes", "undrain", "node-nope"),
        ]

    assert json.loads(whole.stdout)["detail"]["books"]["isBalanced"] is True
    assert b"jobs completed\t1" in part.stdout
    assert b"money" not in part.stdout
    assert b"none of the coordinator's admin_wallets" in part.stderr
    assert json.loads(nobody.stdout)["detail"] is None
    (node,) = json.loads(own.stdout)
    assert (node["hostname"], node["done"], node["idle"]) == ("honest", 1, "no_work")
    assert everybodys.stdout.count(b"\n") == 2
    assert (nosy.returncode, json.loads(nosy.stdout)["code"]) == (3, "forbidden")
    assert "admin_wallets" in json.loads(nosy.stdout)["error"]
    assert b"is drained until" in drained.stdout, "for an hour, without --for"
    assert {(ended.returncode, ended.stderr) for ended in unknown} == {
        (1, b"error: there is no node 'node-nope' (not_found)\n")
    }


class Away(WatchWeb):
    """A coordinator that is away at first, restarts, answers, and is away again."""

    looks = 0

    async def status(self) -> CoordinatorInfo:
        self.looks += 1
        if self.looks == 3:
            return info()
        raise error_of("unreachable" if self.looks % 2 else "draining", f"look {self.looks}")


@pytest.mark.parametrize("as_json", [True, False])
async def test_a_watch_goes_on_where_the_coordinator_is_away(
    as_json: bool, capsys: pytest.CaptureFixture[str], autojump_clock: MockClock
) -> None:
    web = Away(URL, None)
    with trio.move_on_after(3.5):
        await _go_on(web, 1, as_json=as_json)
    heard = capsys.readouterr()

    assert web.looks == 4
    if as_json:
        documents = [json.loads(line) for line in heard.out.splitlines()]
        codes = [document.get("code", "") for document in documents]
        assert codes == ["unreachable", "draining", "", "draining"]
        assert documents[0]["error"] == "look 1"
    else:
        assert "error: look 1 (unreachable)" in heard.err
        assert heard.err.count("error: ") == 3
        assert heard.out.count("jobs queued\t12") == 1


@pytest.mark.slow
async def test_a_coordinator_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    house = House(9, None)  # type: ignore[arg-type]
    ended = await hypernode(house, key_file(tmp_path, generate(), "k"), "status")

    assert ended.returncode == 4
    assert b"no answer from http://127.0.0.1:9" in ended.stderr
