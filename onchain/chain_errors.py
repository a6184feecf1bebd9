"""What can go wrong between us and a chain, each with its own name.

Rules:
  1. `ChainUnreachable` and its kind say nothing about a transaction: it may have landed anyway.
  2. `TransactionRefused` says that the chain looked at a transaction and would not have it, or ran
     it and it failed; `TransactionExpired` that it can no longer land.
  3. Nothing of an HTTP or RPC library passes this module: callers catch these names only.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a transaction failed, as the runtime names it."""

    #: The runtime's name: `InstructionError`, `BlockhashNotFound`, `AlreadyProcessed`, …
    name: str
    #: Which instruction failed, from 0; None where the transaction failed as a whole.
    instruction: int | None = None
    #: The instruction's error: `Custom`, `InvalidAccountData`, …
    detail: str | None = None
    #: The program's own number where `detail` is `Custom`; Anchor's begin at 6000.
    custom: int | None = None

    @property
    def code(self) -> str:
        """One word for tables and logs: `custom:6001`, or the most exact name that there is."""
        return f"custom:{self.custom}" if self.custom is not None else (self.detail or self.name)

    def __str__(self) -> str:
        where = "" if self.instruction is None else f" in instruction {self.instruction}"
        return f"{self.code}{where}"


def parse_fault(value: object) -> Fault | None:
    """The fault in the `err` of a JSON-RPC answer; None where there is none.

    Shapes: `"Name"`, `{"Name": …}`, `{"InstructionError": [index, "Name" | {"Name": value}]}`.
    Whatever else a node says becomes a fault named by it: unknown errors are errors too.
    """
    if value is None:
        return None
    name, body = _named(value)
    if name != "InstructionError" or not isinstance(body, list) or len(body) != 2:
        return Fault(name)
    index, inner = body
    detail, number = _named(inner)
    custom = number if detail == "Custom" and isinstance(number, int) else None
    return Fault(name, index if isinstance(index, int) else None, detail, custom)


def _named(value: object) -> tuple[str, object]:
    if isinstance(value, dict) and len(value) == 1:
        name, body = next(iter(value.items()))
        return str(name)[:64], body
    return str(value)[:64], None


class ChainError(Exception):
    """The chain, or the way to it, did not do what was asked."""


class ChainUnreachable(ChainError):
    """No node answered in time; a transaction that was being sent may have landed."""


class ChainRateLimited(ChainUnreachable):
    """The node asks for patience."""

    def __init__(self, text: str, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        #: Seconds that the node wants to be left alone; None where it did not say.
        self.retry_after_s = retry_after_s


class ChainLied(ChainError):
    """A node said what cannot be: another genesis, a slot of the past, a broken answer."""


class ChainBehind(ChainLied):
    """A node lags behind what we have already seen, for longer than our patience."""


class ChainDisagrees(ChainLied):
    """Two nodes of ours tell different things about the same accounts."""


class ChainRejected(ChainError):
    """The node refused a request by its own rules."""

    def __init__(self, text: str, code: int = 0, data: object = None) -> None:
        super().__init__(text)
        #: The number of the JSON-RPC error, or of the HTTP status.
        self.code = code
        #: What the node added to it.
        self.data = data


class TransactionError(ChainError):
    """A transaction did not do what it was to do."""


class TransactionRefused(TransactionError):
    """The chain refused the transaction, or ran it and it failed."""

    def __init__(
        self, fault: Fault, logs: tuple[str, ...] = (), signature: bytes | None = None
    ) -> None:
        super().__init__(f"the chain refused the transaction: {fault}")
        self.fault = fault
        #: What the programs said, oldest first; may be cut short by the node.
        self.logs = logs
        #: 64 bytes where the transaction landed and failed; None where it never got that far.
        self.signature = signature

    @property
    def code(self) -> str:
        return self.fault.code


class Shortage(TransactionRefused):
    """Somebody lacks what the transaction takes; nothing was moved."""

    def __init__(self, sentence: str, address: bytes, cause: TransactionRefused) -> None:
        super().__init__(cause.fault, cause.logs, cause.signature)
        self.sentence = sentence
        #: Whom to send it to, 32 bytes.
        self.address = address

    def __str__(self) -> str:
        return self.sentence


class NotEnoughSol(Shortage):
    """The payer has too little SOL for the fee, or for the rent of what is made."""


class NotEnoughTokens(Shortage):
    """A wallet has fewer tokens than it would pay in."""


class TransactionExpired(TransactionError):
    """The transaction's blockhash is too old: it can no longer land."""


class BadDraft(TransactionError):
    """A transaction cannot be built of this: no signer, no such lookup table."""


class PacketTooLarge(TransactionError):
    """The transaction does not fit in a packet of the network."""

    def __init__(self, size: int, size_max: int) -> None:
        super().__init__(f"a transaction of {size} bytes; a packet holds {size_max}")
        self.size = size
        self.size_max = size_max


class FeeTooHigh(TransactionError):
    """The transaction would cost more than the configured ceiling."""

    def __init__(self, lamports: int, lamports_max: int) -> None:
        super().__init__(f"a fee of {lamports} lamports; at most {lamports_max} are allowed")
        self.lamports = lamports
        self.lamports_max = lamports_max
