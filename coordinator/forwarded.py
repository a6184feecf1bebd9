"""For whom a reverse proxy asks: X-Forwarded-For and X-Forwarded-Proto, believed of few. Pure.

Rules:
  1. Only a peer in `trusted_proxies` is believed; anybody else's headers are not even looked at.
  2. Each proxy appends the address that it saw. Read from the right, the first hop that is no
     trusted proxy is the client: what stands left of it, the client may have written itself.
  3. A hop that is no address ends the reading: the client is the last hop that was good.
  4. The scheme is the last proxy's word, `http` or `https`; anything else says nothing.
Not covered: `Forwarded` (RFC 7239), `X-Real-IP`, `X-Forwarded-Host` and the PROXY protocol are
never read. A trusted proxy that passes on what a client wrote, and appends nothing, lets it lie.
Source: nginx `real_ip_recursive on`.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias

from coordinator.limits import FORWARDED_HOPS_MAX

Address: TypeAlias = IPv4Address | IPv6Address
Networks: TypeAlias = tuple[IPv4Network | IPv6Network, ...]

_SCHEMES: Final = ("http", "https")


def check_proxy(text: str) -> None:
    """See that a setting is an address or a network, and not everybody.

    Raises:
        ValueError: it is not; the text says what to write.
    """
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        msg = f"a proxy is an address or a network like 10.0.0.0/8, not {text!r}"
        raise ValueError(msg) from None
    if network.prefixlen == 0:
        msg = f"{text} is everybody: list the proxies' own addresses"
        raise ValueError(msg)
    if "/" in text and str(network.network_address) != text.partition("/")[0]:
        msg = f"{text} is an address within a network: write {network}, or the address alone"
        raise ValueError(msg)


def networks_of(texts: Sequence[str]) -> Networks:
    """The networks of checked settings."""
    return tuple(ip_network(text) for text in texts)


def is_trusted(address: str, proxies: Networks) -> bool:
    """Whether a peer is one of the proxies."""
    if not proxies:
        return False
    parsed = _parsed(address)
    return parsed is not None and _is_in(parsed, proxies)


def is_like_a_proxy(address: str) -> bool:
    """Whether a proxy that somebody forgot to name is likely there: a machine of one's own."""
    parsed = _parsed(address)
    return parsed is not None and (parsed.is_private or parsed.is_loopback)


def client_of(peer: str, forwarded_for: str, proxies: Networks) -> str:
    """The address that a request counts for.

    Args:
        peer: The address at the other end of the connection.
        forwarded_for: The values of all `X-Forwarded-For` headers in their order, joined by commas.
        proxies: Whom to believe.
    """
    if not is_trusted(peer, proxies):
        return peer
    client = peer
    hops = forwarded_for.split(",") if forwarded_for else []
    for hop in reversed(hops[-FORWARDED_HOPS_MAX:]):
        parsed = _parsed(_bare(hop.strip()))
        if parsed is None:
            break
        client = str(parsed)
        if not _is_in(parsed, proxies):
            break
    return client


def scheme_of(scheme: str, peer: str, forwarded_proto: str, proxies: Networks) -> str:
    """The scheme that the client used, as far as it is known.

    Args:
        scheme: The connection's own.
        peer: The address at the other end of the connection.
        forwarded_proto: The values of all `X-Forwarded-Proto` headers, joined by commas.
        proxies: Whom to believe.
    """
    said = forwarded_proto.rpartition(",")[2].strip().lower()
    return said if said in _SCHEMES and is_trusted(peer, proxies) else scheme


def _bare(hop: str) -> str:
    """A hop without its port: some proxies write `192.0.2.7:1234` and `[2001:db8::1]:1234`."""
    if hop.startswith("["):
        inside, bracket, port = hop[1:].partition("]")
        return inside if bracket and (not port or port[0] == ":") else ""
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def _parsed(text: str) -> Address | None:
    """An address; an IPv4 one inside IPv6 is the IPv4 one."""
    try:
        parsed = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return mapped or parsed


def _is_in(address: Address, proxies: Networks) -> bool:
    return any(address in network for network in proxies)
