"""Who may come in: networks, hosts, origins and counts."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from coordinator.admission import (
    Connections,
    is_host_allowed,
    is_loopback,
    is_origin_allowed,
    network_of,
)
from coordinator.protocol.errors import Refusal


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unknown", "unknown"),
    ],
)
def test_an_address_counts_as_its_network(address: str, network: str) -> None:
    assert network_of(address) == network


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("", False),
    ],
)
def test_only_this_machine_is_loopback(address: str, *, expected: bool) -> None:
    assert is_loopback(address) is expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("hyper.example", True),
        ("HYPER.example:3001", True),
        ("other.example:3001", True),
        ("other.example", False),
        ("other.example:80", False),
        ("hyper.example.evil", False),
        ("evil-hyper.example", False),
        ("[::1]:3001", True),
        ("[::2]:3001", False),
        ("", False),
    ],
)
def test_a_host_is_served_if_it_is_listed_with_or_without_its_port(
    host: str, *, expected: bool
) -> None:
    assert is_host_allowed(host, ("hyper.example", "other.example:3001", "[::1]")) is expected


def test_every_host_is_served_if_none_is_listed() -> None:
    assert is_host_allowed("anything", ())


@pytest.mark.parametrize(
    ("origin", "allowed", "expected"),
    [
        (None, (), True),
        ("https://hyper.example", (), False),
        ("https://hyper.example", ("https://hyper.example",), True),
        ("http://hyper.example", ("https://hyper.example",), False),
        ("https://hyper.example.evil", ("https://hyper.example",), False),
        ("null", ("https://hyper.example",), False),
        ("https://evil.example", ("*",), True),
    ],
)
def test_a_page_may_ask_only_from_a_listed_origin(
    origin: str | None, allowed: tuple[str, ...], *, expected: bool
) -> None:
    assert is_origin_allowed(origin, allowed) is expected


def test_one_network_may_not_take_every_place() -> None:
    connections = Connections(total_max=10, per_network_max=2)

    with connections.open("2001:db8::1"), connections.open("2001:db8::2"):
        with pytest.raises(Refusal) as refused, connections.open("2001:db8::3"):
            pass
        with connections.open("192.0.2.1"):
            assert connections.total == 3

    assert refused.value.code == "rate_limited"
    assert connections.total == 0


def test_past_the_total_everybody_is_refused_and_a_free_place_is_taken_again() -> None:
    connections = Connections(total_max=2, per_network_max=2)

    with connections.open("192.0.2.1"):
        second = connections.open("192.0.2.2")
        with second, pytest.raises(Refusal) as refused, connections.open("192.0.2.3"):
            pass
        with connections.open("192.0.2.3"):
            pass

    assert refused.value.code == "busy"


def test_strangers_have_a_bound_and_leave_it_when_they_authenticate() -> None:
    connections = Connections(before_auth_max=1)

    with ExitStack() as stack:
        authenticated = stack.enter_context(connections.stranger())
        with pytest.raises(Refusal), connections.stranger():
            pass
        authenticated()
        authenticated()
        with connections.stranger():
            assert connections.before_auth == 1

    assert connections.before_auth == 0
