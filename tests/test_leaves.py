"""The leaf file: one file for one list of leaves, and a name for whatever is wrong with another."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from struct import pack

import pytest
from hypothesis import given, strategies as st

from onchain.leaf_errors import (
    LeafFileError,
    LeafFileMalformed,
    LeafFileTooLarge,
    LeafIsZero,
    LeafSumWrong,
    LeavesUnsorted,
)
from onchain.leaves import (
    HEAD,
    LEAVES_MAX,
    MAGIC,
    ROW_BYTES,
    U64_MAX,
    VERSION,
    Head,
    Kind,
    LeafFile,
    leaf_hash,
    parse_head,
    write_leaves,
)
from tests.tree import read

LEDGER = bytes(range(32))
ADDRESSES = st.binary(min_size=32, max_size=32)
LISTS = st.dictionaries(ADDRESSES, st.integers(1, 2**56), max_size=40)


def written(
    earnings: list[tuple[bytes, int]], exits: Sequence[tuple[bytes, int]] = (), epoch: int = 7
) -> bytearray:
    file = BytesIO()
    write_leaves(file, ledger=LEDGER, epoch=epoch, earnings=earnings, exits=exits)
    return bytearray(file.getvalue())


def row(number: int, amount: int) -> tuple[bytes, int]:
    return number.to_bytes(32, "big"), amount


def opened(raw: bytes | bytearray) -> LeafFile:
    return LeafFile(BytesIO(raw))


SMALL = [row(1, 5), row(2, 6), row(2**250, 7)]


def test_the_layout_is_what_the_table_says() -> None:
    raw = written(SMALL, [row(9, 3)])

    assert raw[:80] == pack("<8s4I", b"hyperlvs", 1, 3, 1, 0) + LEDGER + pack("<3Q", 7, 18, 3)
    assert raw[80:120] == bytes(31) + b"\x01" + pack("<Q", 5)
    assert raw[200:] == bytes(31) + b"\x09" + pack("<Q", 3)
    assert opened(raw).check() == sha256(raw).digest()


def test_the_page_has_the_same_layout() -> None:
    page = read(Path("docs/program.md"))

    assert f'`"{MAGIC.decode()}"` | version u32 = {VERSION} | earnings u32' in page
    assert f"{HEAD.size} bytes; then a row of {ROW_BYTES} bytes a leaf" in page


def test_a_leaf_is_hashed_as_the_page_says() -> None:
    wallet = bytes(range(32, 64))

    assert leaf_hash(Kind.EARNINGS, LEDGER, wallet, 258) == (
        sha256(b"\x00\x01" + LEDGER + wallet + b"\x02\x01" + bytes(6)).digest()
    )
    assert leaf_hash(Kind.EXIT, LEDGER, wallet, 258) == (
        sha256(b"\x00\x02" + LEDGER + wallet + b"\x02\x01" + bytes(6)).digest()
    )


@given(LISTS, LISTS)
def test_what_was_written_is_read_again(
    earnings: dict[bytes, int], exits: dict[bytes, int]
) -> None:
    if not earnings and not exits:
        return
    raw = written(sorted(earnings.items()), sorted(exits.items()))

    file = opened(raw)

    assert file.check() == sha256(raw).digest()
    assert dict(file.leaves(Kind.EARNINGS)) == earnings
    assert dict(file.leaves(Kind.EXIT)) == exits
    assert file.head.total == sum(earnings.values())
    assert file.head.total_exitable == sum(exits.values())


@given(LISTS.filter(bool), ADDRESSES)
def test_each_address_is_found_and_no_other(leaves: dict[bytes, int], stranger: bytes) -> None:
    ordered = sorted(leaves.items())
    file = opened(written(ordered, ordered))

    for index, (address, amount) in enumerate(ordered):
        assert file.find(Kind.EARNINGS, address) == (index, amount)
        assert file.find(Kind.EXIT, address) == (len(ordered) + index, amount)
    if stranger not in leaves:
        assert file.find(Kind.EARNINGS, stranger) is None
        assert file.find(Kind.EXIT, stranger) is None


@given(st.data())
def test_no_changed_byte_passes_for_the_same_file(data: st.DataObject) -> None:
    """It is another file (another hash), or none."""
    good = written(SMALL, [row(9, 3)])
    at = data.draw(st.integers(0, len(good) - 1))
    bad = bytearray(good)
    bad[at] ^= data.draw(st.integers(1, 255))

    try:
        found = opened(bad).check()
    except LeafFileError:
        return

    assert found == sha256(bad).digest() != sha256(good).digest()


@pytest.mark.parametrize("size", [0, 1, 79, 80, 81, 120, 239, 241, 280])
def test_a_file_of_another_length_is_refused(size: int) -> None:
    good = written(SMALL, [row(9, 3)])
    bad = (good + bytes(100))[:size]

    with pytest.raises(LeafFileMalformed):
        opened(bad).check()


@pytest.mark.parametrize(
    ("offset", "value"),
    [(0, b"H"), (8, b"\x02"), (20, b"\x01"), (56, bytes(8)), (12, bytes(8))],
    ids=["magic", "version", "zero", "epoch 0", "no leaves"],
)
def test_another_head_is_refused(offset: int, value: bytes) -> None:
    bad = written(SMALL)
    bad[offset : offset + len(value)] = value

    with pytest.raises(LeafFileMalformed):
        opened(bad)


def test_the_number_of_leaves_is_bounded_on_both_sides() -> None:
    def head(count: int) -> bytes:
        return Head(
            ledger=LEDGER, epoch=1, earnings=count, exits=1, total=1, total_exitable=1
        ).pack()

    assert parse_head(head(LEAVES_MAX - 1)).leaf_count == LEAVES_MAX
    with pytest.raises(LeafFileTooLarge):
        parse_head(head(LEAVES_MAX))


@pytest.mark.parametrize(
    "leaves",
    [
        [row(2, 1), row(1, 1)],
        [row(1, 1), row(1, 2)],
        [row(2**192, 1), row(2**64, 1)],
        [row(2**8, 1), row(1, 1)],
        [row(2**255, 1), row(2**254, 1)],
    ],
    ids=["falling", "twice", "by the third number", "by the last byte", "by the highest bit"],
)
def test_leaves_out_of_order_are_refused(leaves: list[tuple[bytes, int]]) -> None:
    with pytest.raises(LeavesUnsorted, match="earnings"):
        opened(written(leaves)).check()
    with pytest.raises(LeavesUnsorted, match="exit"):
        opened(written([row(1, 1)], leaves)).check()


def test_order_holds_across_the_pieces_in_which_a_file_is_read() -> None:
    many = [row(number, 1) for number in range(1, 16_386)]
    good = written(many)
    last = 80 + 16_384 * ROW_BYTES
    bad = bytearray(good)
    bad[last : last + 32] = bad[last - 40 : last - 8]

    assert opened(good).check() == sha256(good).digest()
    with pytest.raises(LeavesUnsorted):
        opened(bad).check()


def test_a_wallet_may_have_earnings_and_an_exit() -> None:
    raw = written([row(9, 1)], [row(9, 1)])

    assert opened(raw).check() == sha256(raw).digest()


def test_a_leaf_of_nothing_is_refused() -> None:
    with pytest.raises(LeafIsZero):
        opened(written([row(1, 1), row(2, 0)])).check()


@pytest.mark.parametrize("offset", [64, 72])
def test_another_sum_is_refused(offset: int) -> None:
    bad = written(SMALL, [row(9, 3)])
    bad[offset] += 1

    with pytest.raises(LeafSumWrong):
        opened(bad).check()


def test_a_sum_of_64_bits_is_the_largest() -> None:
    raw = written([row(1, U64_MAX - 1), row(2, 1)], [row(1, U64_MAX)])

    assert opened(raw).check() == sha256(raw).digest()
    with pytest.raises(LeafSumWrong):
        written([row(1, U64_MAX), row(2, 1)])


def test_a_head_cannot_hide_a_sum_that_wrapped_around() -> None:
    bad = written([row(1, 1), row(2, 1)])
    bad[112:120] = bad[152:160] = (2**63).to_bytes(8, "little")
    bad[64:72] = bytes(8)

    with pytest.raises(LeafSumWrong):
        opened(bad).check()


def test_a_file_that_shrinks_is_told() -> None:
    file = BytesIO(written(SMALL))
    leaves = LeafFile(file)
    file.truncate(HEAD.size + 50)

    with pytest.raises(LeafFileMalformed):
        leaves.check()
