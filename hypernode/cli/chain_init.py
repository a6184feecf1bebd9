"""`hypernode chain init`: a market is opened, its vault and its ledger."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from hypernode.cli.chain_options import ConfigFile, DryRun, Program, Rpc, SignerFile
from hypernode.cli.options import AsJson

if TYPE_CHECKING:
    from coordinator.protocol.signing import Keypair
    from hypernode.cli.chain_deed import Deed
    from hypernode.cli.chain_settings import ChainSettings
    from onchain.chain import Chain
    from onchain.mints import Mint
    from onchain.places import Market
    from onchain.role_calls import Roles
    from onchain.views import Limits

#: What holds where nobody says otherwise; how much may move is nobody's guess but the owner's.
LIMITS: Final = {
    "advance_cap": "0",
    "wallet_advance_cap": "0",
    "voucher_limit": "0",
    "min_deposit": "1",
    "min_epoch_interval": "24h",
    "slow_delay": "24h",
    "fast_delay": "1h",
    "window": "24h",
    "exit_after": "7d",
    "config_delay": "2d",
}
_TOKEN_BYTES: Final = 165
_Role = Annotated[str | None, typer.Option(show_default=False, help="Address of that role.")]


def init(  # noqa: PLR0913 (one parameter an option)
    *,
    config: ConfigFile = None,
    rpc: Rpc = None,
    keypair: SignerFile = None,
    base: Annotated[
        Path | None,
        typer.Option(
            help="Key file that names the ledger: one makes one ledger (default: who pays).",
            show_default=False,
        ),
    ] = None,
    program: Program = None,
    mint: Annotated[
        str | None, typer.Option(help="The token's mint: HYPER.", show_default=False)
    ] = None,
    admin: _Role = None,
    publisher: _Role = None,
    guardian: _Role = None,
    voucher_key: _Role = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Open a market: make its vault and its ledger, with roles and limits.

    Roles and limits stand in --config: max_epoch_increase and window_limit in HYPER, delays such as
    "24h"; see docs/operation.md. What it prints as the ledger is what clients pin.

    Example: hypernode chain init --rpc devnet --config settlement.toml --dry-run
    """
    given = {
        name: value
        for name, value in locals().items()
        if name not in {"config", "base", "dry_run", "as_json"}
    }
    import os

    from hypernode.cli.chain_deed import Manner, do, opened, show
    from hypernode.cli.chain_settings import need_chain_parts, read_chain, signer_in
    from hypernode.cli.run import run_command
    from hypernode.wallet_file import read_wallet

    need_chain_parts()
    settings, _reading = read_chain(given, os.environ, config)
    roles, limits = roles_in(settings), limits_in(settings)
    payer = signer_in(settings)
    named = payer if base is None else read_wallet(base)
    manner = Manner(dry_run=dry_run, as_json=as_json)

    async def ask() -> tuple[dict[str, Any], Market]:
        async with opened(settings) as chain:
            deed, market = await _deed(chain, settings, (payer, named), roles, limits)
            rent = await _rent(chain)
            return {"rent_lamports": rent, **await do(chain, deed, settings, manner)}, market

    told, market = run_command(ask)
    places = _places(market)
    names = {"token_program": "Token program"}
    facts = {names.get(name, name.capitalize()): value for name, value in places.items()}
    facts["Rent"] = f"{told['rent_lamports']} lamports stay with ledger and vault"
    show({**places, **told}, manner, facts)


async def _rent(chain: Chain) -> int:
    """What the ledger and its vault hold for good; the vault's is a plain token account's."""
    from onchain.program.layout import LEDGER

    return await chain.rent_minimum(LEDGER.size) + await chain.rent_minimum(_TOKEN_BYTES)


async def _deed(
    chain: Chain,
    settings: ChainSettings,
    keys: tuple[Keypair, Keypair],
    roles: Roles,
    limits: Limits,
) -> tuple[Deed, Market]:
    """The opening, and the market that it makes.

    Raises:
        ProgramRefused: the mint or the ledger's address cannot be had, by the program's words.
    """
    from hypernode.cli.chain_deed import Deed
    from hypernode.cli.chain_settings import need, program_in
    from onchain.address import decode_address, encode_address
    from onchain.opening import market_of, opening
    from onchain.program_refusals import refusal_named

    program = program_in(settings)
    address = decode_address(need(settings, "mint", "a market has a token"))
    genesis, mint = await chain.genesis_hash(), await mint_at(chain, address)
    market = market_of(program, keys[1].address, address, genesis, mint.token_program)

    async def is_done() -> bool:
        (found,) = (await chain.accounts([market.ledger])).values
        return found is not None and found.owner == program

    if await is_done():
        at = encode_address(market.ledger)
        detail = f"{at}, made by the key {encode_address(keys[1].address)}; --base names another"
        raise refusal_named("AlreadyInitialized", detail=detail)
    recipe = opening(market, payer=keys[0], base=keys[1], roles=roles, limits=limits)
    return Deed("init", recipe, program, is_done), market


async def mint_at(chain: Chain, address: bytes) -> Mint:
    """A mint that a market may have.

    Raises:
        ProgramRefused: there is none, or none that the program takes; with what lies there.
    """
    from onchain.mints import parse_mint
    from onchain.program_refusals import refusal_named

    (account,) = (await chain.accounts([address])).values
    if account is None:
        detail = _no_mint(address, await chain.genesis_hash())
        raise refusal_named("WrongMint", detail=detail)
    mint = parse_mint(account)
    if refusal := mint.refused_for():
        raise refusal
    return mint


def _no_mint(address: bytes, genesis: bytes) -> str:
    from onchain.address import encode_address
    from onchain.localnet import GENESIS, development_mint

    said = f"there is no mint at {encode_address(address)} on this cluster"
    makers = {
        development_mint(token_2022=each).new.mint: " --token-2022" if each else ""
        for each in (False, True)
    }
    if genesis == GENESIS and address in makers:
        return f"{said}; make it with `hypernode chain dev mint WALLET 1000{makers[address]}`"
    return said


def _places(market: Market) -> dict[str, str]:
    from onchain.address import encode_address

    return {
        "ledger": encode_address(market.ledger),
        "vault": encode_address(market.vault),
        "mint": encode_address(market.mint),
        "program": encode_address(market.program),
        "token_program": encode_address(market.token_program),
    }


def roles_in(settings: ChainSettings) -> Roles:
    """The four roles.

    Raises:
        Usage: one is missing, or two are the same; in the program's words.
    """
    from hypernode.cli.chain_settings import need
    from onchain.address import decode_address
    from onchain.limits_rules import role_problems
    from onchain.role_calls import Roles

    named = {
        name: decode_address(need(settings, name, f"a market has its {name}"))
        for name in ("admin", "publisher", "guardian")
    }
    if settings.voucher_key is not None:
        named["voucher_key"] = decode_address(settings.voucher_key)
    roles = Roles(**named)
    _refuse("RoleConflict", [*role_problems(roles)])
    return roles


def limits_in(settings: ChainSettings, before: Limits | None = None) -> Limits:
    """The limits that were given; what was not is as before, or the default.

    Raises:
        Usage: one is missing, or outside what the program allows; in the program's words.
    """
    import msgspec

    from hypernode.cli.chain_settings import AMOUNTS, DURATIONS, need
    from hypernode.cli.durations import parse_seconds
    from onchain.amounts import parse_hyper
    from onchain.limits_rules import limit_problems
    from onchain.views import Limits

    values = {} if before is None else msgspec.structs.asdict(before)
    defaults = LIMITS if before is None else {}
    for name in (*AMOUNTS, *DURATIONS):
        field = "window_secs" if name == "window" else name
        text = getattr(settings, name) or defaults.get(name)
        if text is None and before is None:
            text = need(settings, name, "how much may move is the owner's to say")
        if text is not None:
            values[field] = parse_hyper(text) if name in AMOUNTS else parse_seconds(text)
    limits = Limits(**values)
    _refuse("BadLimits", [*limit_problems(limits)])
    return limits


def _refuse(name: str, problems: list[str]) -> None:
    from hypernode.cli.exit import Usage
    from onchain.program_refusals import refusal_named

    if problems:
        raise Usage("\n".join([f"{name}: {refusal_named(name).sentence}", *problems]))
