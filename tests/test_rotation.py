"""A new node key for an agent that stands still."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.disk import FolderDisk
from agent.main import StateDirMissing, StateInUse, locked, node_key_in
from agent.outbox import Kept, Outbox
from agent.rotation import ResultsUnsent, rotate_key
from agent.state import State
from coordinator.protocol.messages import ResultItem
from coordinator.protocol.signing import load_keypair
from onchain.address import encode_address


async def test_a_new_node_key_takes_the_place_of_the_old_one_which_is_kept(tmp_path: Path) -> None:
    old = node_key_in(tmp_path)
    state = await State.load(FolderDisk(tmp_path))
    await state.remember(bytes(range(32)))

    rotated = await rotate_key(tmp_path)

    new = node_key_in(tmp_path)
    assert (rotated.old, rotated.new) == (
        encode_address(old.address), encode_address(new.address),
    )  # fmt: skip
    assert load_keypair(rotated.kept).address == old.address
    assert rotated.kept.stat().st_mode & 0o077 == 0
    after = await State.load(FolderDisk(tmp_path))
    assert (after.pinned, after.is_bound) == (bytes(range(32)), False)
    again = await rotate_key(tmp_path)
    assert again.old == rotated.new


async def test_no_new_node_key_while_the_agent_runs_or_has_results_to_send(tmp_path: Path) -> None:
    with pytest.raises(StateDirMissing):
        await rotate_key(tmp_path / "nowhere")
    key = node_key_in(tmp_path)
    with locked(tmp_path), pytest.raises(StateInUse):
        await rotate_key(tmp_path)
    outbox = await Outbox.load(FolderDisk(tmp_path))
    await outbox.put([Kept(ResultItem("job-1", 1, "completed"))], {})
    with pytest.raises(ResultsUnsent):
        await rotate_key(tmp_path)

    assert node_key_in(tmp_path).address == key.address
