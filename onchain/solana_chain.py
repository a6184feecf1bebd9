"""The chain over JSON-RPC: `Chain` by asking nodes.

In:   addresses of nodes, the expected genesis hash, what `Chain` asks.
Out:  the values of `chain`; waiting, other nodes and requests for patience are `endpoints`' work.
Rules:
  1. No answer is older than one given before at the same commitment: nodes are told so
     (`minContextSlot`), and an answer that is older all the same is not believed.
  2. `opinions` above 1 asks so many different nodes, until they tell the same.
  3. `send` asks each node once: whoever sends knows what to do about silence.
Not covered: a cluster whose every configured node lies alike; a node that invents a slot of the
future makes the others look old, and is found only by its silence about real transactions.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

import based58

from coordinator.limits import TRANSACTION_BYTES_MAX
from onchain import rpc_values as read
from onchain.address import encode_address
from onchain.chain import (
    ACCOUNTS_PER_CALL_MAX,
    CLOCK_ADDRESS,
    SIGNATURES_PER_CALL_MAX,
    Accounts,
    ChainClock,
    Commitment,
    Filter,
    LatestBlockhash,
    ProgramAccounts,
    Simulation,
    SizeIs,
    Statuses,
    TokenBalance,
    parse_clock,
)
from onchain.chain_errors import (
    ChainBehind,
    ChainDisagrees,
    ChainLied,
    ChainRejected,
    ChainUnreachable,
    Fault,
    PacketTooLarge,
    TransactionRefused,
    parse_fault,
)
from onchain.endpoints import Node, Nodes

T = TypeVar("T")
#: How often nodes that tell different things are asked again, each time for a later slot.
COMPARISONS_MAX: Final = 4
_INVALID_PARAMS: Final = -32602
_PREFLIGHT_FAILED: Final = -32002
_BAD_SIGNATURE: Final = -32003
_NO_SUCH_BLOCK: Final = frozenset({-32001, -32007, -32009})


class SolanaChain:
    """A `Chain` of nodes; `aclose` it at the end."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._seen = dict.fromkeys(Commitment, 0)

    @classmethod
    def of(cls, *urls: str, genesis: str | None = None) -> SolanaChain:
        """The nodes at these addresses, in order of preference."""
        return cls(Nodes([Node(url) for url in urls], genesis=genesis))

    # ---- asking -----------------------------------------------------------------------------

    async def _ask(
        self, method: str, params: Sequence[object], parse: Callable[[Any], T], **how: Any
    ) -> T:
        answer, _ = await self._nodes.ask(method, params, parse, **how)
        return answer

    def _config(self, commitment: Commitment, slot_min: int = 0, **more: object) -> dict[str, Any]:
        oldest = max(slot_min, self._seen[commitment])
        return {"commitment": commitment.value, "minContextSlot": oldest, **more}

    def _dated(
        self, commitment: Commitment, parse: Callable[[Any], T], slot_min: int = 0
    ) -> Callable[[Any], T]:
        """`parse`, refusing what is older than what was answered before."""

        def check(value: Any) -> T:
            answer = parse(value)
            slot = answer if isinstance(answer, int) else getattr(answer, "slot", 0)
            oldest = max(slot_min, self._seen[commitment])
            if slot < oldest:
                msg = f"an answer of slot {slot}, where {oldest} was already known"
                raise ChainBehind(msg)
            self._seen[commitment] = max(slot, self._seen[commitment])
            return answer

        return check

    # ---- reads ------------------------------------------------------------------------------

    async def genesis_hash(self) -> bytes:
        return await self._ask("getGenesisHash", [], read.address)

    async def slot(self, commitment: Commitment = Commitment.CONFIRMED) -> int:
        parse = self._dated(commitment, partial(read.integer, what="a slot"))
        return await self._ask("getSlot", [self._config(commitment)], parse)

    async def block_height(self, commitment: Commitment = Commitment.CONFIRMED) -> int:
        parse = partial(read.integer, what="a height")
        return await self._ask("getBlockHeight", [self._config(commitment)], parse)

    async def block_time(self, slot: int) -> int | None:
        try:
            return await self._ask(
                "getBlockTime", [slot], lambda value: value and read.integer(value, "a time")
            )
        except ChainRejected as error:
            if error.code in _NO_SUCH_BLOCK:
                return None
            raise

    async def clock(self, commitment: Commitment = Commitment.CONFIRMED) -> ChainClock:
        return parse_clock((await self.accounts([CLOCK_ADDRESS], commitment)).values[0])

    async def latest_blockhash(
        self, commitment: Commitment = Commitment.CONFIRMED
    ) -> LatestBlockhash:
        parse = self._dated(commitment, read.latest_blockhash)
        return await self._ask("getLatestBlockhash", [self._config(commitment)], parse)

    async def balance(self, address: bytes, commitment: Commitment = Commitment.CONFIRMED) -> int:
        (found,) = (await self.accounts([address], commitment)).values
        return 0 if found is None else found.lamports

    async def token_balance(
        self, address: bytes, commitment: Commitment = Commitment.CONFIRMED
    ) -> TokenBalance | None:
        params = [encode_address(address), {"commitment": commitment.value}]
        try:
            parse = self._dated(commitment, read.token_balance)
            return await self._ask("getTokenAccountBalance", params, parse)
        except ChainRejected as error:
            if error.code == _INVALID_PARAMS:
                return None
            raise

    async def program_accounts(
        self,
        program: bytes,
        filters: Sequence[Filter] = (),
        commitment: Commitment = Commitment.CONFIRMED,
    ) -> ProgramAccounts:
        config = self._config(
            commitment, encoding="base64", withContext=True, filters=[*map(_filter, filters)]
        )
        parse = self._dated(commitment, read.program_accounts)
        return await self._ask("getProgramAccounts", [encode_address(program), config], parse)

    async def rent_minimum(self, size: int) -> int:
        parse = partial(read.integer, what="a rent")
        return await self._ask("getMinimumBalanceForRentExemption", [size], parse)

    async def priority_fees(self, writable: Sequence[bytes] = ()) -> tuple[int, ...]:
        return await self._ask(
            "getRecentPrioritizationFees", [[*map(encode_address, writable)]], read.fees
        )

    async def accounts(
        self,
        addresses: Sequence[bytes],
        commitment: Commitment = Commitment.CONFIRMED,
        *,
        slot_min: int = 0,
        opinions: int = 1,
    ) -> Accounts:
        parts = [
            await self._agreed(
                addresses[at : at + ACCOUNTS_PER_CALL_MAX], commitment, slot_min, opinions
            )
            for at in range(0, max(1, len(addresses)), ACCOUNTS_PER_CALL_MAX)
        ]
        values = tuple(value for part in parts for value in part.values)
        return Accounts(min(part.slot for part in parts), values)

    async def _agreed(
        self, addresses: Sequence[bytes], commitment: Commitment, slot_min: int, opinions: int
    ) -> Accounts:
        """Accounts that `opinions` different nodes tell alike."""
        if opinions > self._nodes.usable:
            msg = f"{opinions} nodes are to agree, {self._nodes.usable} are configured"
            raise ChainUnreachable(msg)
        for _ in range(COMPARISONS_MAX):
            told: list[Accounts] = []
            asked: frozenset[Node] = frozenset()
            while len(told) < opinions:
                answer, node = await self._accounts(addresses, commitment, slot_min, asked)
                told.append(answer)
                asked |= {node}
            if len({each.values for each in told}) == 1:
                return min(told, key=lambda each: each.slot)
            # An account that changed between two slots makes honest nodes differ: they are asked
            # again, and whoever was behind must have come as far as the newest of them (`_seen`).
        msg = f"{opinions} nodes tell different things about the same accounts"
        raise ChainDisagrees(msg)

    async def _accounts(
        self,
        addresses: Sequence[bytes],
        commitment: Commitment,
        slot_min: int,
        without: frozenset[Node],
    ) -> tuple[Accounts, Node]:
        config = self._config(commitment, slot_min, encoding="base64")
        parse = self._dated(commitment, partial(read.accounts, addresses), slot_min)
        params = [[*map(encode_address, addresses)], config]
        return await self._nodes.ask("getMultipleAccounts", params, parse, without=without)

    # ---- transactions -----------------------------------------------------------------------

    async def simulate(
        self, transaction: bytes, commitment: Commitment = Commitment.CONFIRMED
    ) -> Simulation:
        config = self._config(
            commitment, encoding="base64", sigVerify=False, replaceRecentBlockhash=True
        )
        params = [_packet(transaction), config]
        try:
            return await self._ask(
                "simulateTransaction", params, self._dated(commitment, read.simulation)
            )
        except ChainRejected as error:
            raise _refusal(error) from error

    async def send(self, transaction: bytes, *, preflight: bool = True) -> bytes:
        config = {
            "encoding": "base64",
            "skipPreflight": not preflight,
            "preflightCommitment": Commitment.CONFIRMED.value,
            "maxRetries": 0,
            "minContextSlot": self._seen[Commitment.CONFIRMED] if preflight else 0,
        }
        signature = transaction[1:65]
        try:
            await self._ask(
                "sendTransaction",
                [_packet(transaction), config],
                partial(_check_signature, signature),
                rounds=1,
            )
        except ChainRejected as error:
            raise _refusal(error) from error
        return signature

    async def statuses(
        self, signatures: Sequence[bytes], *, search_history: bool = False
    ) -> Statuses:
        parts = []
        for at in range(0, max(1, len(signatures)), SIGNATURES_PER_CALL_MAX):
            some = signatures[at : at + SIGNATURES_PER_CALL_MAX]
            texts = [based58.b58encode(each).decode() for each in some]
            parse = self._dated(Commitment.PROCESSED, partial(read.statuses, len(some)))
            config = {"searchTransactionHistory": search_history}
            parts.append(await self._ask("getSignatureStatuses", [texts, config], parse))
        values = tuple(value for part in parts for value in part.values)
        return Statuses(min(part.slot for part in parts), values)

    async def aclose(self) -> None:
        await self._nodes.aclose()


def _filter(each: Filter) -> dict[str, object]:
    if isinstance(each, SizeIs):
        return {"dataSize": each.size}
    text = based58.b58encode(each.value).decode()
    return {"memcmp": {"offset": each.offset, "bytes": text, "encoding": "base58"}}


def _packet(transaction: bytes) -> str:
    if len(transaction) > TRANSACTION_BYTES_MAX:
        raise PacketTooLarge(len(transaction), TRANSACTION_BYTES_MAX)
    return b64encode(transaction).decode()


def _check_signature(signature: bytes, value: Any) -> None:
    if value != based58.b58encode(signature).decode():
        msg = "the node took the transaction under another signature"
        raise ChainLied(msg)


def _refusal(error: ChainRejected) -> TransactionRefused | ChainRejected:
    """What a node's refusal says about the transaction; itself where it says nothing of it."""
    if error.code == _PREFLIGHT_FAILED and isinstance(error.data, dict):
        fault = parse_fault(error.data.get("err"))
        return TransactionRefused(fault or Fault("Unknown"), read.logs(error.data.get("logs")))
    if error.code == _BAD_SIGNATURE:
        return TransactionRefused(Fault("SignatureFailure"))
    if error.code == _INVALID_PARAMS:
        return TransactionRefused(Fault("SanitizeFailure"), (str(error),))
    return error
