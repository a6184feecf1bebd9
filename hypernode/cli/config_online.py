"""`hypernode config check --online`: whether what the settings name is so on the chain.

In:   settings that are good as far as this machine knows; nodes of the chain.
Out:  problems with the setting that each is about, and remarks.
Rules:
  1. A start of a coordinator on new books refuses what is a problem here; the rest are remarks.
  2. Nothing is signed and nothing is written.
Not covered: what changes afterwards; a running coordinator tells that as an alarm.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coordinator.config import Config
    from coordinator.protocol.signing import Keypair
    from hypernode.cli.chain_settings import ChainSettings
    from onchain.chain import Chain
    from onchain.views import Ledger

ROLES: Final = ("admin", "publisher", "guardian", "voucher_key")


@dataclass
class Seen:
    """What was found on the chain."""

    #: Setting, and what is wrong with it.
    problems: list[tuple[str, str]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


async def look_for_coordinator(config: Config) -> Seen:
    """Ledger, cluster and keys of a coordinator that settles.

    Raises:
        ChainUnreachable: no node answers.
    """
    from coordinator.settlement.shell import OtherCluster, find_market, held_keys
    from onchain.chain import Commitment
    from onchain.clusters import url_of
    from onchain.errors import OnchainError
    from onchain.role_keys import wrong_keys
    from onchain.solana_chain import SolanaChain

    seen = Seen()
    if config.ledger is None or not config.rpc:
        missing = "ledger" if config.ledger is None else "rpc"
        seen.remarks.append(f"{missing} is not set: this coordinator reads no chain")
        return seen
    publisher = _key(config.publisher_key)
    keys = held_keys(config, publisher=publisher, voucher_key=_key(config.voucher_key))
    chain = SolanaChain.of(*map(url_of, config.rpc))
    try:
        _, ledger = await find_market(chain, config, Commitment.CONFIRMED)
        for role, said in wrong_keys(ledger, keys).items():
            setting = "publisher_key" if role == "publisher" else role
            seen.problems.append((setting, said.removeprefix(f"{setting}: ")))
        seen.remarks += await _payer(chain, publisher)
        seen.remarks += await _sponsor(chain, config)
        seen.remarks += _of_house(config, ledger)
    except OtherCluster as error:
        seen.problems.append(("chain_id", str(error)))
    except OnchainError as error:
        seen.problems.append(("ledger", str(error)))
    finally:
        await chain.aclose()
    return seen


def _key(path: str | None) -> Keypair | None:
    from pathlib import Path

    from coordinator.protocol.signing import load_keypair

    return None if path is None else load_keypair(Path(path))


async def _payer(chain: Chain, publisher: Keypair | None) -> list[str]:
    from onchain.address import encode_address
    from onchain.amounts import format_sol

    if publisher is None:
        return ["publisher_key is not set: no root is published"]
    lamports = await chain.balance(publisher.address)
    who = encode_address(publisher.address)
    if lamports >= 10_000_000:  # some hundred roots, activations included
        return []
    has = format_sol(lamports)
    return [f"publisher_key: {who} pays for its transactions and has {has} SOL: send it some"]


async def _sponsor(chain: Chain, config: Config) -> list[str]:
    from onchain.address import encode_address
    from onchain.amounts import format_sol

    sponsor = _key(config.sponsor_key)
    if sponsor is None:
        return []
    lamports = await chain.balance(sponsor.address)
    if lamports >= config.sponsor_lamports_daily:
        return []
    who, has = encode_address(sponsor.address), format_sol(lamports)
    return [f"sponsor_key: {who} has {has} SOL, less than it may spend in a day: send it some"]


def _of_house(config: Config, ledger: Ledger) -> Iterator[str]:
    from onchain.amounts import DECIMALS

    if ledger.decimals != DECIMALS:
        yield f"ledger: its mint has {ledger.decimals} decimals, and amounts here have {DECIMALS}"
    if config.voucher_key and not min(ledger.reserve, ledger.limits.advance_cap):
        yield (
            "voucher_key: no voucher is given before a reserve and an advance_cap back it: "
            f"`hypernode deposit AMOUNT --for {config.ledger}`"
        )


async def look_for_owner(settings: ChainSettings, signer: bytes | None) -> Seen:
    """What an owner's file says, against the ledger; or the mint that one is to be made for.

    Args:
        settings: Of settlement.toml.
        signer: Address of the key file that it names; None where there is none.

    Raises:
        ChainUnreachable: no node answers.
    """
    from hypernode.cli.chain_deed import ledger_in, opened
    from onchain.errors import OnchainError

    seen = Seen()
    async with opened(settings) as chain:
        if settings.ledger is None:
            await _look_for_mint(chain, settings, seen)
            return seen
        try:
            _, now = await ledger_in(chain, settings)
        except OnchainError as error:
            seen.problems.append(("ledger", str(error)))
            return seen
        _compare(settings, now.ledger, signer, seen)
    return seen


def _compare(settings: ChainSettings, ledger: Ledger, signer: bytes | None, seen: Seen) -> None:
    from onchain.address import encode_address

    for name in ("mint", *ROLES):
        said, holds = getattr(settings, name), encode_address(getattr(ledger, name))
        if name == "voucher_key" and getattr(ledger, name) == bytes(32):
            holds = "nobody: vouchers are off"
        if said is not None and said != holds:
            seen.problems.append((name, f"the file says {said}; this ledger's is {holds}"))
    if signer is not None:
        held = [name for name in ROLES if getattr(ledger, name) == signer]
        whose = f"this ledger's {held[0].replace('_', ' ')}" if held else "none of its roles"
        seen.remarks.append(f"keypair: {encode_address(signer)} is {whose}")


async def _look_for_mint(chain: Chain, settings: ChainSettings, seen: Seen) -> None:
    from hypernode.cli.chain_init import mint_at
    from onchain.address import decode_address
    from onchain.program_refusals import ProgramRefused

    seen.remarks.append("ledger is not set: `hypernode chain init` makes one and tells its address")
    if settings.mint is None:
        return
    try:
        await mint_at(chain, decode_address(settings.mint))
    except ProgramRefused as error:
        seen.problems.append(("mint", str(error)))
