"""A pretend node of a market with many owners and wallets: `python -m benchmarks.crowd COUNT`.

It answers as a node does, in JSON over HTTP on a free port that it prints; each of COUNT owners has
a deposit record and a claim record. `hn_change [OWNERS, WALLETS]` lets so many deposit and claim.
Why pretend: LiteSVM holds a million accounts in more memory than what is measured here takes.
Not covered: how long a real node looks for accounts; here they are sorted by pages already.
"""

from __future__ import annotations

import json
import sys
from base64 import b64encode
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cached_property
from hashlib import sha256
from struct import Struct, pack
from typing import Any, Final

import trio

from benchmarks.settlement_costs import open_market
from onchain.address import decode_address, encode_address
from onchain.chain import CLOCK_ADDRESS
from onchain.devnode_http import HttpServer, Reply
from onchain.places import Market
from onchain.program.layout import CLAIM_RECORD, DEPOSIT_RECORD, LEDGER

#: What everybody has deposited at first, base units.
DEPOSITED: Final = 1_000
_SLOT: Final = 900_000_000
_OLD_SLOT: Final = 800_000_000
_AT: Final = {field.name: at for at, field in LEDGER.offsets()}
_RECENT: Final = 88
_DEPOSIT, _CLAIM = Struct("<32s32sQQQqB7x"), Struct("<QQBB6x")


def owner(number: int) -> bytes:
    """Who deposits and claims; the ledger is nobody of them."""
    return sha256(b"owner %d" % number).digest()


def claimed_by(number: int) -> int:
    """What a wallet has claimed at first: up to a thousand HYPER, base units."""
    return 1 + number * 999_983 % 10**9


class Crowd:
    """Owners, their records, and the ledger that counts them."""

    def __init__(self, count: int) -> None:
        market, machine = trio.run(open_market)
        self.market: Market = market
        self.genesis = machine.genesis
        self._few = {}
        for address in (market.ledger, market.vault, CLOCK_ADDRESS):
            account = machine.newest(address)
            assert account is not None
            self._few[address] = (bytes(account.owner), bytearray(account.data))
        self.slot = _SLOT
        self.deposited, self.claimed = [DEPOSITED] * count, [*map(claimed_by, range(count))]
        self.owners = [owner(number) for number in range(count)]
        self._recent: dict[int, int] = {}
        self._claim_pages: dict[int, list[int]] = {}
        self._count_money()

    def _count_money(self) -> None:
        """Let ledger and vault count what the records hold, and some more."""
        data = self._few[self.market.ledger][1]
        total, out = sum(self.deposited), sum(self.claimed)
        reserve = int.from_bytes(data[_AT["reserve"] : _AT["reserve"] + 8], "little")
        data[_AT["total_deposited"] : _AT["total_deposited"] + 8] = pack("<Q", total + reserve)
        data[_AT["total_claimed"] : _AT["total_claimed"] + 8] = pack("<Q", out)

    @cached_property
    def by_page(self) -> dict[int, list[int]]:
        pages: dict[int, list[int]] = defaultdict(list)
        for number, each in enumerate(self.owners):
            pages[each[0]].append(number)
        return pages

    def change(self, owners: int, wallets: int) -> None:
        """So many owners deposit, so many wallets claim, one base unit each."""
        self.slot += 100
        for number in range(owners):
            self.deposited[number] += 1
            self._recent[number] = self.slot
        for number in range(wallets):
            self.claimed[number] += 1
        self._claim_pages = {}
        self._count_money()

    def deposit(self, number: int) -> tuple[bytes, bytes]:
        address = self.market.deposit_record(self.owners[number])
        slot = self._recent.get(number, _OLD_SLOT)
        body = _DEPOSIT.pack(
            self.market.ledger, self.owners[number], self.deposited[number], 0, slot, 0, 255
        )
        return address, DEPOSIT_RECORD.discriminator + body

    def claim(self, number: int) -> tuple[bytes, bytes]:
        address = self.market.claim_record(self.owners[number])
        claimed = self.claimed[number]
        return address, CLAIM_RECORD.discriminator + _CLAIM.pack(claimed, claimed, 255, 255)

    # ---- answers ------------------------------------------------------------------------------

    def listed(self, filters: list[dict[str, Any]]) -> Iterable[tuple[bytes, bytes]]:
        size = filters[0]["dataSize"]
        more = [(each["memcmp"]["offset"], _bytes_of(each["memcmp"])) for each in filters[2:]]
        if size == DEPOSIT_RECORD.size:
            return self._deposits(more)
        return self._claims(more)

    def _deposits(self, more: list[tuple[int, bytes]]) -> Iterator[tuple[bytes, bytes]]:
        if more and more[0][0] >= _RECENT:
            found = map(self.deposit, self._recent)
            yield from (each for each in found if each[1][more[0][0] :].startswith(more[0][1]))
            return
        numbers = self.by_page[more[0][1][0]] if more else range(len(self.owners))
        yield from map(self.deposit, numbers)

    def _claims(self, more: list[tuple[int, bytes]]) -> Iterator[tuple[bytes, bytes]]:
        if not self._claim_pages:
            for number, claimed in enumerate(self.claimed):
                self._claim_pages.setdefault(claimed >> 8 & 255, []).append(number)
        pages = [more[0][1][0]] if more else sorted(self._claim_pages)
        for page in pages:
            yield from map(self.claim, self._claim_pages.get(page, ()))

    def account(self, address: bytes) -> dict[str, object] | None:
        if address in self._few:
            program, data = self._few[address]
            return _account(program, bytes(data))
        number = self.at.get(address)
        if number is None:
            return None
        which = self.deposit if number >= 0 else self.claim
        return _account(self.market.program, which(number if number >= 0 else ~number)[1])

    @cached_property
    def at(self) -> dict[bytes, int]:
        """Number of who has a record at an address; of claims its complement. The first only."""
        some = range(min(len(self.owners), 2_000))
        places = {self.market.deposit_record(self.owners[n]): n for n in some}
        return places | {self.market.claim_record(self.owners[n]): ~n for n in some}

    async def answer(self, body: bytes) -> Reply:
        asked = json.loads(body)
        await trio.lowlevel.checkpoint()
        result = self._result(asked["method"], asked["params"])
        text = json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result})
        return Reply(text.encode())

    def _result(self, method: str, params: list[Any]) -> object:
        context = {"slot": self.slot}
        if method == "getGenesisHash":
            return encode_address(self.genesis)
        if method == "hn_change":
            self.change(*params)
            return self.slot
        if method == "getMultipleAccounts":
            found = [self.account(decode_address(each)) for each in params[0]]
            return {"context": context, "value": found}
        assert method == "getProgramAccounts", method
        program = self.market.program
        listed = [
            {"pubkey": encode_address(address), "account": _account(program, data)}
            for address, data in self.listed(params[1]["filters"])
        ]
        return {"context": context, "value": listed}


def _bytes_of(memcmp: dict[str, str]) -> bytes:
    import based58  # noqa: PLC0415

    return bytes(based58.b58decode(memcmp["bytes"].encode()))


def _account(program: bytes, data: bytes) -> dict[str, object]:
    return {
        "data": [b64encode(data).decode(), "base64"],
        "executable": False,
        "lamports": 2_000_000,
        "owner": encode_address(program),
        "rentEpoch": 2**64 - 1,
        "space": len(data),
    }


async def _serve(crowd: Crowd) -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    market = crowd.market
    port = listeners[0].socket.getsockname()[1]
    told = {"port": port, "ledger": market.ledger.hex(), "mint": market.mint.hex()}
    sys.stdout.write(json.dumps(told | {"genesis": crowd.genesis.hex()}) + "\n")
    sys.stdout.flush()
    await HttpServer(crowd.answer).serve(listeners)


if __name__ == "__main__":
    trio.run(_serve, Crowd(int(sys.argv[1])))
