"""The sender's journal: what was promised to be on the disk is there, whatever was torn off."""

from __future__ import annotations

from pathlib import Path

import pytest

from onchain import journal as journal_module
from onchain.journal import Attempt, End, FileJournal, JournalBroken, MemoryJournal


def attempt(number: int, intent: str = "publish:1") -> Attempt:
    return Attempt(intent, bytes([number]) * 64, b"raw %d" % number, 150 + number)


def content_of(path: Path) -> bytes:
    return path.read_bytes()


def put(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def mode_of(path: Path) -> int:
    return path.stat().st_mode


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "sender.journal"


async def test_an_attempt_is_open_until_it_ends(path: Path) -> None:
    for made in (MemoryJournal(), FileJournal(path)):
        await made.write(attempt(1))
        await made.write(attempt(2, "claim:7"))
        assert await made.open_intents() == ("publish:1", "claim:7")
        assert await made.open_attempts("publish:1") == (attempt(1),)
        await made.close(attempt(1), End.EXPIRED)
        await made.write(attempt(3))
        await made.close(attempt(3), End.LANDED)

        assert await made.open_attempts("publish:1") == ()
        assert await made.landed("publish:1") == attempt(3).signature
        assert await made.landed("claim:7") is None


async def test_a_restart_finds_what_was_written(path: Path) -> None:
    first = FileJournal(path)
    await first.write(attempt(1))
    await first.write(attempt(2))
    await first.close(attempt(1), End.EXPIRED)
    await first.write(attempt(3, "done"))
    await first.close(attempt(3, "done"), End.LANDED)
    first.release()

    second = FileJournal(path)

    assert await second.open_attempts("publish:1") == (attempt(2),)
    assert await second.landed("done") == attempt(3).signature


@pytest.mark.slow
async def test_a_power_cut_at_any_byte_loses_at_most_the_line_it_cut(path: Path) -> None:
    whole = FileJournal(path)
    sizes = []
    for number in range(3):
        await whole.write(attempt(number, f"i{number}"))
        sizes.append(len(content_of(path)))
    whole.release()
    content = content_of(path)

    for cut in range(len(content) + 1):
        put(path, content[:cut])
        again = FileJournal(path)
        kept = sum(size <= cut for size in sizes)
        assert len(await again.open_intents()) == kept
        await again.write(attempt(9, "next"))
        again.release()
        last = FileJournal(path)
        assert await last.open_attempts("next") == (attempt(9, "next"),)
        last.release()


async def test_a_last_line_with_a_hole_is_torn_too(path: Path) -> None:
    made = FileJournal(path)
    await made.write(attempt(1, "a"))
    await made.write(attempt(2, "b"))
    made.release()
    content = content_of(path)
    put(path, content[:-40] + bytes(30) + content[-10:])

    assert await FileJournal(path).open_intents() == ("a",)


@pytest.mark.parametrize("change", [b"x", b"\0", b" "])
async def test_a_changed_line_is_refused_and_left_alone(path: Path, change: bytes) -> None:
    made = FileJournal(path)
    await made.write(attempt(1))
    await made.write(attempt(2))
    made.release()
    content = content_of(path)
    broken = content[:20] + change + content[21:]
    put(path, broken)

    with pytest.raises(JournalBroken):
        FileJournal(path)
    assert content_of(path) == broken


async def test_one_process_holds_the_journal(path: Path) -> None:
    held = FileJournal(path)
    with pytest.raises(JournalBroken):
        FileJournal(path)
    held.release()

    assert await FileJournal(path).open_intents() == ()


async def test_after_a_failed_write_nothing_more_is_written(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_file: int, _line: bytes) -> None:
        raise OSError(28, "No space left on device")

    made = FileJournal(path)
    await made.write(attempt(1))
    with monkeypatch.context() as patch:
        patch.setattr(journal_module, "_write_through", full)
        with pytest.raises(JournalBroken):
            await made.write(attempt(2))
    with pytest.raises(JournalBroken):
        await made.write(attempt(3))
    made.release()

    assert await FileJournal(path).open_attempts("publish:1") == (attempt(1),)


async def test_a_grown_file_is_written_anew_without_what_has_ended(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "_SHORT_BYTES", 100)
    made = FileJournal(path)
    for number in range(20):
        await made.write(attempt(number, f"i{number}"))
        await made.close(attempt(number, f"i{number}"), End.EXPIRED if number % 4 else End.LANDED)
    await made.write(attempt(99, "open"))
    made.release()
    before = len(content_of(path))

    again = FileJournal(path)
    await again.write(attempt(100, "later"))
    again.release()
    last = FileJournal(path)

    assert len(content_of(path)) < before / 2
    assert await last.open_intents() == ("open", "later")
    assert await last.landed("i4") == attempt(4).signature
    assert await last.landed("i5") is None


async def test_the_journal_is_its_owners_alone(path: Path) -> None:
    made = FileJournal(path)
    await made.write(attempt(1))

    assert mode_of(path) & 0o077 == 0
