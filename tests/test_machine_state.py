"""A chain in a folder: what was there is there again, and nothing half written is taken for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from onchain.chain import Commitment
from onchain.devnode import DevNode
from onchain.drafts import Budget
from onchain.machine import Machine
from onchain.machine_state import FILE, BadState, load, save
from onchain.machine_values import NotRun
from onchain.transactions import Recipe
from tests.chains import SOL, fresh_machine, key, pay, put_mint, put_tokens, served

ALICE, BOB = key("alice"), key("bob").address


def lived() -> tuple[Machine, bytes]:
    """A machine with a past, and a transaction of it."""
    machine = fresh_machine(confirm_slots=1, finalize_slots=31)
    machine.airdrop(ALICE.address, 10 * SOL)
    put_mint(machine, key("mint").address)
    put_tokens(machine, key("holder").address, key("mint").address, BOB, 77)
    machine.advance(40, blocks=35)
    blockhash, _ = machine.latest_blockhash(Commitment.PROCESSED)
    raw = Recipe((pay(ALICE, BOB, SOL),), (ALICE,)).sign(blockhash, Budget(10_000)).raw
    machine.submit(raw)
    machine.advance(3, ms=5_000)
    return machine, raw


def again(folder: Path) -> Machine:
    machine = fresh_machine(confirm_slots=1, finalize_slots=31)
    assert load(machine, folder)
    return machine


def test_all_that_a_chain_knows_is_there_again(tmp_path: Path) -> None:
    before, raw = lived()
    save(before, tmp_path)
    after = again(tmp_path)

    for name in ("genesis", "slot", "height", "time_ms", "known", "landed", "airdrops"):
        assert getattr(after, name) == getattr(before, name), name
    assert [*after.blockhashes.items()][-100:] == [*before.blockhashes.items()][-100:]
    assert all(after.newest(each) == before.newest(each) for each in before.known)
    with pytest.raises(NotRun) as refused:
        after.submit(raw)
    assert refused.value.error == "AlreadyProcessed"
    after.airdrop(BOB, 5)
    assert after.newest(BOB).lamports == SOL + 5  # type: ignore[union-attr]


def test_a_program_runs_again(tmp_path: Path) -> None:
    """Any program of LiteSVM's own stands for one of ours: its file is its account's data."""
    before, _ = lived()
    memo = before.newest(_memo())
    assert memo is not None
    before.add_program(key("program").address, bytes(memo.data))
    save(before, tmp_path)
    after = again(tmp_path)

    loaded = after.newest(key("program").address)
    assert loaded is not None
    assert loaded.executable


def _memo() -> bytes:
    from solders.pubkey import Pubkey  # noqa: PLC0415 (only here)

    return bytes(Pubkey.from_string("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr"))


def test_what_is_no_program_is_refused_and_the_machine_lives() -> None:
    machine, _ = lived()

    for elf in (b"", b"\x7fELF", bytes(1000)):
        with pytest.raises(ValueError, match="not a program"):
            machine.add_program(key("program").address, elf)
    machine.airdrop(BOB, SOL)


def test_an_empty_folder_holds_no_chain(tmp_path: Path) -> None:
    assert load(fresh_machine(), tmp_path) is False
    assert load(fresh_machine(), tmp_path / "none") is False


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-1],
        lambda _text: "",
        lambda _text: "[]",
        lambda text: text.replace("hypernode chain 1", "hypernode chain 2"),
        lambda text: text.replace('"slot":', '"sloth":'),
        lambda text: text.replace('"accounts":[[', '"accounts":[7,['),
    ],
    ids=["torn", "empty", "list", "format", "name", "row"],
)
def test_a_broken_file_is_refused_and_left_alone(
    tmp_path: Path, change: Callable[[str], str]
) -> None:
    machine, _ = lived()
    save(machine, tmp_path)
    broken = change((tmp_path / FILE).read_text())
    (tmp_path / FILE).write_text(broken)

    with pytest.raises(BadState):
        again(tmp_path)
    assert (tmp_path / FILE).read_text() == broken


def test_a_chain_of_another_name_is_refused(tmp_path: Path) -> None:
    save(Machine(name="other"), tmp_path)

    with pytest.raises(BadState):
        load(fresh_machine(), tmp_path)


def test_a_save_that_dies_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine, _ = lived()
    save(machine, tmp_path)
    before = (tmp_path / FILE).read_bytes()
    machine.airdrop(BOB, SOL)
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", _full)
        with pytest.raises(OSError, match="space"):
            save(machine, tmp_path)

    assert (tmp_path / FILE).read_bytes() == before


def _full(_file: int) -> None:
    raise OSError(28, "No space left on device")


@dataclass
class StoppedClock:
    ms: int

    def wall_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return trio.current_time()


async def test_a_node_goes_on_where_it_stopped(tmp_path: Path) -> None:
    clock = StoppedClock(1_800_000_000_000)
    first = DevNode(folder=tmp_path, clock=clock)
    async with served(first):
        first.machine.airdrop(BOB, SOL)
    clock.ms = first.machine.time_ms + 3_600_000

    second = DevNode(folder=tmp_path, clock=clock)

    assert second.machine.slot == first.machine.slot + 9_000  # an hour of slots has passed
    assert second.machine.time_ms == clock.ms
    assert second.machine.newest(BOB).lamports == SOL  # type: ignore[union-attr]
    assert json.loads((tmp_path / FILE).read_text())["format"] == "hypernode chain 1"
