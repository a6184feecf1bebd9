"""Who may come in: networks, hosts, origins, and how many at a time. Pure.

Rules:
  1. An address counts as its network: itself for IPv4, its /64 for IPv6 (one customer has 2^64).
  2. Past `CONNECTIONS_MAX` in all: `busy`. Past `CONNECTIONS_PER_ADDRESS_MAX` of one network:
     `rate_limited`. Past `CONNECTIONS_BEFORE_AUTH_MAX` strangers: `busy`.
  3. A reverse proxy's connections count in all only: what it asks for counts for whom it asks.
  4. A browser says its origin, an agent has none. No origin is let in: there are no cookies that a
     foreign page could use. An origin that is not listed is refused, on WebSockets too, which
     browsers open across origins without asking.
Not here: who asks behind a reverse proxy (`forwarded`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Generic, TypeVar

from coordinator.limits import (
    CONNECTIONS_BEFORE_AUTH_MAX,
    CONNECTIONS_MAX,
    CONNECTIONS_PER_ADDRESS_MAX,
)
from coordinator.protocol.errors import Refusal

W = TypeVar("W")

#: Any origin may ask; only for APIs without cookies, as ours is.
ANY_ORIGIN = "*"


def network_of(address: str) -> str:
    """The network that an address counts as: `192.0.2.7`, or `2001:db8::/64`."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ip_network((parsed, 64), strict=False))


def is_loopback(address: str) -> bool:
    """Whether a peer's address is this machine's own."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        return parsed.ipv4_mapped.is_loopback
    return parsed.is_loopback


def is_host_allowed(host: str, allowed: Collection[str]) -> bool:
    """Whether a `Host` header names one of `allowed` (with or without its port); all if empty."""
    if not allowed:
        return True
    asked = host.strip().lower()
    name, colon, port = asked.rpartition(":")
    bare = name if colon and port.isdigit() else asked
    return asked in allowed or bare in allowed


def is_origin_allowed(origin: str | None, allowed: Collection[str]) -> bool:
    """Whether a page of this origin may ask; who says no origin is no page."""
    return origin is None or origin in allowed or ANY_ORIGIN in allowed


class Place(Generic[W]):
    """A place that was taken, and is given back at the end of a block.

    Not a generator's context: it lasts as long as its connection, and would be three times as big.
    """

    __slots__ = ("_give_back", "_whose")

    def __init__(self, give_back: Callable[[W], None], whose: W) -> None:
        """Be given back by `give_back(whose)`."""
        self._give_back = give_back
        self._whose = whose

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        self._give_back(self._whose)


class Connections:
    """Counts open connections; the server and the dispatcher share one."""

    def __init__(
        self,
        *,
        total_max: int = CONNECTIONS_MAX,
        per_network_max: int = CONNECTIONS_PER_ADDRESS_MAX,
        before_auth_max: int = CONNECTIONS_BEFORE_AUTH_MAX,
    ) -> None:
        self._total_max = total_max
        self._per_network_max = per_network_max
        self._before_auth_max = before_auth_max
        self._of_network: Counter[str] = Counter()
        #: Open connections.
        self.total = 0
        #: WebSockets that have not said who they are.
        self.before_auth = 0
        #: Bound once, for all places.
        self._on_leave = self._leave

    def open(self, address: str | None) -> Place[str | None]:
        """A place for one connection from `address`; `None` is a reverse proxy.

        Raises:
            Refusal: `busy` or `rate_limited`.
        """
        if self.total >= self._total_max:
            raise Refusal("busy", "the coordinator has as many connections as it can take")
        network = None if address is None else self._enter(address)
        self.total += 1
        return Place(self._on_leave, network)

    def of_one_network(self, address: str) -> Place[str]:
        """One of the places that the network of `address` has.

        Raises:
            Refusal: `rate_limited`.
        """
        return Place(self._leave_network, self._enter(address))

    def _enter(self, address: str) -> str:
        network = network_of(address)
        if self._of_network[network] >= self._per_network_max:
            raise Refusal("rate_limited", "too many connections from this address")
        self._of_network[network] += 1
        return network

    def _leave(self, network: str | None) -> None:
        self.total -= 1
        if network is not None:
            self._leave_network(network)

    def _leave_network(self, network: str) -> None:
        self._of_network[network] -= 1
        if not self._of_network[network]:
            del self._of_network[network]

    @contextmanager
    def stranger(self) -> Iterator[Callable[[], None]]:
        """Hold a place for a peer that has not authenticated.

        Yields:
            A function to call once it has: the place is free again then, or at the end.

        Raises:
            Refusal: `busy`.
        """
        if self.before_auth >= self._before_auth_max:
            raise Refusal("busy", "too many connections wait to authenticate")
        self.before_auth += 1
        is_waiting = True

        def authenticated() -> None:
            nonlocal is_waiting
            if is_waiting:
                is_waiting = False
                self.before_auth -= 1

        try:
            yield authenticated
        finally:
            authenticated()
