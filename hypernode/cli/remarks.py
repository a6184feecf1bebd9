"""What is lawful in a configuration, and rarely meant: told by `config check`, and at a start."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from agent.config import AgentConfig
    from coordinator.config import Config
    from coordinator.settings import Reading
    from coordinator.tls import Tls

#: Variables with our prefix that clients and commands read.
CLIENT_VARIABLES: Final = frozenset({"HYPERNODE_URL", "HYPERNODE_KEYPAIR", "HYPERNODE_CA"})


def coordinator_remarks(
    config: Config | None, reading: Reading, sockets: Sequence[str] = ()
) -> Iterator[str]:
    """What is lawful for a coordinator, and rarely meant.

    Args:
        config: The settings; None if they are refused.
        reading: Where they come from.
        sockets: Addresses of the sockets that the service manager opened; they count, not `host`.
    """
    from coordinator.admission import is_host_allowed

    yield from _unknown(reading)
    if config is None:
        return
    if config.allowed_hosts and not is_host_allowed(config.domain, config.allowed_hosts):
        yield f"allowed_hosts: {config.domain} is not listed; who asks for it by that name gets 421"
    is_https = config.uri.startswith("https:")
    if config.trusted_proxies and not is_https:
        yield f"uri {config.uri}: wallets are shown this; behind a proxy with TLS it begins https:"
    if sockets and config.ws_port is not None:
        yield f"ws_port {config.ws_port}: not opened; the socket unit needs a second ListenStream="
    hosts = [host for host in sockets or [config.host] if not _is_near(host)]
    if not hosts:
        return
    if config.tls_cert is None and not config.trusted_proxies:
        where = f"{'the socket unit, on' if sockets else 'host'} {hosts[0]}"
        yield (
            f"{where}: others can reach this without TLS, and read sessions and jobs on the way: "
            "set tls_cert and tls_key, or trusted_proxies behind a proxy with TLS"
        )
    if config.faucet:
        yield "faucet: everybody who can reach this makes money out of nothing"


def certificate_remarks(config: Config | None, tls: Tls | None) -> Iterator[str]:
    """What a start says in its log."""
    if tls is None:
        return
    if config is not None and not tls.stands_for(config.domain):
        yield f"tls_cert {tls.cert}: names {', '.join(tls.pair.names)}, not {config.domain}"
    if tls.is_ending:
        yield f"tls_cert {tls.cert}: expires soon, {tls.expires}"


def agent_remarks(config: AgentConfig | None, reading: Reading) -> Iterator[str]:
    """What is lawful for an agent, and rarely meant."""
    from urllib.parse import urlsplit

    yield from _unknown(reading)
    token_file = reading.values.get("token_file")
    if token_file is not None and _is_open(Path(token_file).expanduser()):
        yield f"token_file {token_file}: others on this machine can read it: chmod 600 {token_file}"
    if config is None:
        return
    if config.url.startswith("ws:") and not _is_near(urlsplit(config.url).hostname or ""):
        yield f"url {config.http_url}: what is said on the way can be read and changed: use https"
    if config.ca is not None and config.url.startswith("ws:"):
        yield f"ca {config.ca}: not used, since {config.http_url} is not https"


def _unknown(reading: Reading) -> Iterator[str]:
    """Variables that look like ours and are nothing of ours."""
    from agent.config import SCHEMA as OF_AGENT
    from coordinator.config import SCHEMA as OF_COORDINATOR
    from coordinator.settings import PREFIX

    names = {*OF_AGENT.fields, *OF_AGENT.not_by_value, *OF_COORDINATOR.fields}
    known = {PREFIX + name.upper() for name in names} | CLIENT_VARIABLES
    for variable in reading.unknown:
        if variable not in known:
            yield f"{variable}: there is no setting of this name; it is not read"


def _is_near(host: str) -> bool:
    """Whether an address is this machine's own."""
    from coordinator.admission import is_loopback

    return host == "localhost" or is_loopback(host)


def _is_open(path: Path) -> bool:
    return path.is_file() and bool(path.stat().st_mode & 0o077)
