"""What is news to a subscriber of the dev node: one class for each kind of subscription.

In:   a `Machine` that has moved, and what was told before.
Out:  the `result` of each notification that is due, oldest first.
Source: the notifications of a validator's PubSub (solana.com/docs/rpc/websocket).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol

from solders.account import Account as VmAccount
from solders.pubkey import Pubkey
from solders.signature import Signature

from onchain.address import encode_address
from onchain.chain import Commitment
from onchain.devnode_accounts import account_document
from onchain.devnode_params import Config, Params, address, filters, invalid
from onchain.machine import Machine
from onchain.machine_values import Landed
from onchain.simulated import passes, status_of

_NOBODY: Final = Pubkey.default()


class Watch(Protocol):
    """One subscription."""

    #: The method of its notifications.
    notification: str
    #: It has told what it had to tell.
    is_over: bool

    def news(self, machine: Machine) -> Iterator[object]:
        """Results that were not told before."""
        ...


def _told(machine: Machine, config: Config, value: object) -> dict[str, Any]:
    return {"context": {"slot": machine.slot_at(config.commitment)}, "value": value}


class _Account:
    notification = "accountNotification"
    is_over = False

    def __init__(self, machine: Machine, params: Params) -> None:
        self._address, self._config = params.address(0), params.config(1)
        self._last = machine.account(self._address, self._config.commitment)

    def news(self, machine: Machine) -> Iterator[object]:
        account = machine.account(self._address, self._config.commitment)
        if account == self._last:
            return
        self._last = account
        shown = account or VmAccount(0, b"", _NOBODY)
        document = account_document(machine, self._address, shown, self._config)
        yield _told(machine, self._config, document)


class _Program:
    notification = "programNotification"
    is_over = False

    def __init__(self, machine: Machine, params: Params) -> None:
        self._program, self._config = params.address(0), params.config(1)
        self._filters = filters(self._config.more.get("filters"))
        self._last = self._all(machine)

    def _all(self, machine: Machine) -> dict[bytes, VmAccount]:
        return {
            each: account
            for each in machine.known
            if (account := machine.account(each, self._config.commitment)) is not None
            and bytes(account.owner) == self._program
            and passes(bytes(account.data), self._filters)
        }

    def news(self, machine: Machine) -> Iterator[object]:
        now, before = self._all(machine), self._last
        self._last = now
        for each, account in sorted(now.items()):
            if account != before.get(each):
                document = account_document(machine, each, account, self._config)
                value = {"pubkey": encode_address(each), "account": document}
                yield _told(machine, self._config, value)


class _Signature:
    notification = "signatureNotification"

    def __init__(self, _machine: Machine, params: Params) -> None:
        self._signature, self._config = params.signature(0), params.config(1)
        self._wants_receipt = self._config.more.get("enableReceivedNotification") is True
        self.is_over = False

    def news(self, machine: Machine) -> Iterator[object]:
        landed = machine.landed.get(self._signature)
        if landed is None or self.is_over:
            return
        if self._wants_receipt:
            self._wants_receipt = False
            yield _told(machine, self._config, "receivedSignature")
        if status_of(machine, landed).commitment.covers(self._config.commitment):
            self.is_over = True
            yield _told(machine, self._config, {"err": landed.outcome.error})


class _Logs:
    notification = "logsNotification"
    is_over = False

    def __init__(self, machine: Machine, params: Params) -> None:
        which, self._config = params[0], params.config(1)
        self._mentioned = None if which in ("all", "allWithVotes") else _mentions(which)
        #: All up to this slot was told; of the slot itself, these signatures.
        self._slot, self._of_slot = machine.slot, set(machine.landed)

    def _fresh(self, machine: Machine) -> list[Landed]:
        sure = machine.slot_at(self._config.commitment)
        fresh = []
        for landed in reversed(machine.landed.values()):
            if landed.slot < self._slot:
                break
            if landed.slot <= sure and landed.signature not in self._of_slot:
                fresh.append(landed)
        if sure > self._slot:
            self._slot, self._of_slot = sure, set()
        self._of_slot |= {each.signature for each in fresh if each.slot == self._slot}
        return fresh[::-1]

    def news(self, machine: Machine) -> Iterator[object]:
        for landed in self._fresh(machine):
            if self._mentioned is not None and self._mentioned not in landed.addresses:
                continue
            value = {
                "signature": str(Signature.from_bytes(landed.signature)),
                "err": landed.outcome.error,
                "logs": [*landed.outcome.logs],
            }
            yield _told(machine, self._config, value)


def _mentions(which: Any) -> bytes:
    found = which.get("mentions") if isinstance(which, dict) else None
    if not isinstance(found, list) or len(found) != 1:
        raise invalid("logs are of all, or mention one address")
    return address(found[0])


class _Slots:
    is_over = False

    def __init__(self, machine: Machine, _params: Params, *, roots: bool) -> None:
        self.notification = "rootNotification" if roots else "slotNotification"
        self._is_of_roots = roots
        self._last = machine.slot

    def news(self, machine: Machine) -> Iterator[object]:
        # A jump over many slots is one piece of news: nobody reads a million of them.
        if machine.slot == self._last:
            return
        parent, self._last = self._last, machine.slot
        root = machine.slot_at(Commitment.FINALIZED)
        yield root if self._is_of_roots else {"parent": parent, "root": root, "slot": machine.slot}


def _slots(machine: Machine, params: Params) -> Watch:
    return _Slots(machine, params, roots=False)


def _roots(machine: Machine, params: Params) -> Watch:
    return _Slots(machine, params, roots=True)


WATCHES: Final[dict[str, Callable[[Machine, Params], Watch]]] = {
    "accountSubscribe": _Account,
    "logsSubscribe": _Logs,
    "programSubscribe": _Program,
    "rootSubscribe": _roots,
    "signatureSubscribe": _Signature,
    "slotSubscribe": _slots,
}
