"""Passes over long lists of the chain, some pages a look; where each wallet's record lies: pure.

In:   how many records are expected; the time; what a look found.
Out:  the filters of the pages that this look asks for.
Rules:
  1. A list of `RECORDS_WHOLE_MAX` records is asked for whole. A longer one, or one that came too
     long, is walked by 256 pages, some of them a look, from where the last look stopped.
  2. A long pass is followed by a pause: what it would find sooner is found by its other signs, or
     can wait.
  3. Places of records take some 40 bytes a wallet, however many there are.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from onchain.chain import BytesAre
from onchain.listing import PAGES

#: Records of a market that are listed in one answer: some 400 bytes each, 4 MB. Longer lists come
#: by 256 pages.
RECORDS_WHOLE_MAX: Final = 10_000
#: Records that one look at the chain lists while it walks a long list: 20 MB, and about a second of
#: a core. A million records are walked in twenty looks, which is five minutes.
RECORDS_LISTED_MAX: Final = 50_000
#: A list is walked from end to end so often though nothing asks for it.
PASS_EVERY_S: Final = 3_600
#: From the end of a pass by pages to the next one that something asks for: 256 questions, which a
#: node answers by going through all accounts of the program.
PASS_PAUSE_S: Final = 900
assert RECORDS_WHOLE_MAX < RECORDS_LISTED_MAX
assert PASS_PAUSE_S < PASS_EVERY_S

_ADDRESS_BYTES: Final = 32
#: Places that wait to be sorted in.
_FRESH_MAX: Final = 10_000


class Sweep:
    """One list's passes."""

    def __init__(self, page: Callable[[int], BytesAre]) -> None:
        self._page = page
        #: The next page; None: no pass is under way.
        self._at: int | None = None
        self._is_paged = False
        self._began_s: int | None = None
        self._ended_s = 0
        #: Records that the last whole pass saw, or are expected; that this one saw until now.
        self._count = self._seen = 0
        self._came_too_long = False

    @property
    def is_running(self) -> bool:
        return self._at is not None

    @property
    def is_paged(self) -> bool:
        """Whether the pass that is under way, or was the last, goes by pages."""
        return self._is_paged

    @property
    def is_new(self) -> bool:
        """Whether there was no pass yet."""
        return self._began_s is None

    def may_begin(self, now_s: int) -> bool:
        """Whether a pass for a reason may begin: not within the pause after a long one."""
        return not self.is_running and (
            self.is_new or not self._is_paged or now_s - self._ended_s >= PASS_PAUSE_S
        )

    def is_due(self, now_s: int) -> bool:
        """Whether a pass begins without any reason: a first one, and one an hour."""
        return not self.is_running and (
            self._began_s is None or now_s - self._began_s >= PASS_EVERY_S
        )

    def begin(self, expected: int, now_s: int) -> None:
        """Begin a pass over some `expected` records."""
        self._count = max(expected, self._count)
        self._is_paged = self._came_too_long or self._count > RECORDS_WHOLE_MAX
        self._at, self._seen, self._began_s = 0, 0, now_s

    def pages(self) -> list[list[BytesAre]]:
        """Filters of the pages of this look, each of which is told to `saw`."""
        if self._at is None:
            return []
        if not self._is_paged:
            return [[]]
        a_page = max(1, self._count // PAGES)
        last = min(PAGES, self._at + max(1, RECORDS_LISTED_MAX // a_page))
        return [[self._page(number)] for number in range(self._at, last)]

    def saw(self, records: int, now_s: int) -> None:
        """A page was looked through."""
        assert self._at is not None
        self._seen += records
        self._at += 1
        if self._at == (PAGES if self._is_paged else 1):
            self._at, self._count, self._ended_s = None, self._seen, now_s

    def failed(self) -> None:
        """A page did not come; a whole list may have been too long, and its pass is still due."""
        if not self._is_paged:
            self._at, self._began_s, self._came_too_long = None, None, True


class Places:
    """Whose record lies at an address; as a mapping, in a few bytes.

    Kept are the first eight bytes of each address: they are hashes. Two that begin alike (a chance
    of one in 2^25 for a million) stand beside each other, and whoever asks checks the address.
    """

    def __init__(self, place: Callable[[bytes], bytes]) -> None:
        self._place = place
        self._keys = array("Q")
        self._wallets = bytearray()
        self._fresh: dict[int, list[bytes]] = {}

    def __len__(self) -> int:
        return len(self._keys) + sum(map(len, self._fresh.values()))

    def add(self, wallets: Iterable[bytes]) -> None:
        """Know where these wallets' records lie: 10 us for each."""
        for wallet in wallets:
            self._fresh.setdefault(_key(self._place(wallet)), []).append(wallet)
        if len(self._fresh) >= _FRESH_MAX:
            self._sort_in()

    def get(self, address: bytes) -> bytes | None:
        key = _key(address)
        wallets: list[bytes] = [*self._fresh.get(key, ()), *self._sorted(key)]
        for wallet in wallets:
            if self._place(wallet) == address:
                return wallet
        return None

    def _sorted(self, key: int) -> Iterator[bytes]:
        at = bisect_left(self._keys, key)
        while at < len(self._keys) and self._keys[at] == key:
            yield self._wallet(at)
            at += 1

    def _wallet(self, at: int) -> bytes:
        return bytes(self._wallets[_ADDRESS_BYTES * at : _ADDRESS_BYTES * (at + 1)])

    def _sort_in(self) -> None:
        """Merge what is fresh: one walk over all."""
        fresh = sorted((key, wallet) for key, group in self._fresh.items() for wallet in group)
        self._keys, self._wallets = _merged(self._keys, self._wallets, fresh)
        self._fresh = {}


def _merged(
    keys: array[int], wallets: bytearray, fresh: Sequence[tuple[int, bytes]]
) -> tuple[array[int], bytearray]:
    """Both in the order of their keys; blocks between two fresh ones are copied whole."""
    all_keys, all_wallets, at = array("Q"), bytearray(), 0
    for key, wallet in fresh:
        to = bisect_left(keys, key, at)
        all_keys += keys[at:to]
        all_wallets += wallets[_ADDRESS_BYTES * at : _ADDRESS_BYTES * to]
        all_keys.append(key)
        all_wallets += wallet
        at = to
    all_keys += keys[at:]
    all_wallets += wallets[_ADDRESS_BYTES * at :]
    return all_keys, all_wallets


def _key(address: bytes) -> int:
    return int.from_bytes(address[:8], "little")
