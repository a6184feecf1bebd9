"""`hypernode chain verify`: is the program on the chain that of these sources, and whose is it?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hypernode.cli.chain_options import ConfigFile, Ledger, Program, Rpc
from hypernode.cli.options import AsJson

if TYPE_CHECKING:
    from hypernode.cli.chain_settings import ChainSettings
    from onchain.chain import Chain
    from onchain.mints import Mint
    from onchain.program_check import ProgramFacts


def verify(
    *,
    rpc: Rpc = None,
    program: Program = None,
    ledger: Ledger = None,
    mint: Annotated[
        str | None,
        typer.Option(help="A mint to check too (default: the ledger's).", show_default=False),
    ] = None,
    build: Annotated[
        bool, typer.Option("--build/--no-build", help="Build the sources here, if zig is there.")
    ] = True,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Compare the program on the chain with the committed files and a fresh build.

    It names who may replace the program, and what the mint's authorities may do. No key is needed.
    Status 1 where the program is none of ours, or no market may have the mint.

    Example: hypernode chain verify --rpc mainnet --program HYPERp1… --ledger 7tB3…
    """
    import os

    from hypernode.cli.chain_deed import opened
    from hypernode.cli.chain_settings import need_chain_parts, read_chain
    from hypernode.cli.exit import Exit
    from hypernode.cli.run import run_command

    need_chain_parts()
    given = {"rpc": rpc, "program": program, "ledger": ledger, "mint": mint}
    settings, _reading = read_chain(given, os.environ, config)

    async def ask() -> tuple[ProgramFacts, Mint | None]:
        async with opened(settings) as chain:
            return await _look(chain, settings)

    facts, token = run_command(ask)
    told = document(facts, token, _builds(build=build))
    _show(told, as_json=as_json)
    if not (told["ours"] and told["mint_refused"] is None):
        raise typer.Exit(Exit.FAILED)


async def _look(chain: Chain, settings: ChainSettings) -> tuple[ProgramFacts, Mint | None]:
    from hypernode.cli.chain_deed import market_in
    from hypernode.cli.chain_settings import program_in
    from onchain.address import decode_address
    from onchain.mints import parse_mint
    from onchain.program_check import read_program

    program = program_in(settings)
    address = None if settings.mint is None else decode_address(settings.mint)
    if settings.ledger is not None:
        market = await market_in(chain, settings)
        program, address = market.program, address or market.mint
    facts = await read_program(chain, program)
    if address is None:
        return facts, None
    return facts, parse_mint((await chain.accounts([address])).values[0])


def _builds(*, build: bool) -> dict[str, Any]:
    """Hashes of the committed files, and of a fresh build where there is a compiler."""
    from onchain.loader import program_hash
    from onchain.localnet import program_bytes
    from onchain.program.build.errors import BuildError, CompilerMissing
    from onchain.program_check import fresh_builds

    committed = {version: program_hash(program_bytes(version)) for version in ("v3", "v0")}
    built: dict[str, str] | None = None
    reason = "not asked for"
    if build:
        try:
            built, reason = fresh_builds(), ""
        except CompilerMissing:
            reason = "zig is not installed: pip install ziglang==0.17.1"
        except BuildError as error:
            reason = str(error)
    return {"committed": committed, "built": built, "not_built": reason}


def document(facts: ProgramFacts, mint: Mint | None, builds: dict[str, Any]) -> dict[str, Any]:
    """What was found, for programs."""
    from onchain.address import encode_address

    known = builds["committed"]
    version = next((name for name, each in known.items() if each == facts.hash), None)
    same = None if builds["built"] is None else builds["built"] == known
    return {
        "program": encode_address(facts.address),
        "hash": facts.hash,
        "size": facts.size,
        "slot": facts.slot,
        "version": version,
        **builds,
        "reproduced": same,
        "ours": version is not None and same is not False,
        "authority": None if facts.authority is None else encode_address(facts.authority),
        "authority_kind": facts.authority_kind,
        "security": facts.security,
        "mint": None if mint is None else _mint_document(mint),
        "mint_refused": _mint_refused(mint),
    }


def _mint_document(mint: Mint) -> dict[str, Any]:
    from onchain.address import encode_address

    def named(key: bytes | None) -> str | None:
        return None if key is None else encode_address(key)

    return {
        "address": encode_address(mint.address),
        "token_program": encode_address(mint.token_program),
        "supply": str(mint.supply),
        "decimals": mint.decimals,
        "mint_authority": named(mint.mint_authority),
        "freeze_authority": named(mint.freeze_authority),
        "extensions": list(mint.extensions),
    }


def _mint_refused(mint: Mint | None) -> str | None:
    refused = None if mint is None else mint.refused_for()
    return None if refused is None else str(refused)


def _show(told: dict[str, Any], *, as_json: bool) -> None:
    from hypernode.cli.output import harmless, print_facts, print_json

    if as_json:
        print_json(told)
        return
    facts = {
        "Program": told["program"],
        "Hash": told["hash"],
        "Is": f"ours, SBPF {told['version']}" if told["version"] else "NONE OF OURS",
        **{f"Committed {name}": value for name, value in told["committed"].items()},
        "Fresh build": _build_words(told),
        "Authority": _authority_words(told),
    }
    if told["mint"] is not None:
        facts |= _mint_facts(told)
    # Whoever deploys a program writes these: one line each, and nothing that moves a terminal.
    named = {
        harmless(" ".join(f"Security {name}".split())): harmless(" ".join(value.split()))
        for name, value in told["security"].items()
    }
    print_facts(facts | (named or {"Security.txt": "none"}))


def _build_words(told: dict[str, Any]) -> str:
    if told["reproduced"] is None:
        return f"none: {told['not_built']}"
    return "the same as committed" if told["reproduced"] else "OTHER than committed"


def _authority_words(told: dict[str, Any]) -> str:
    kinds = {
        "none": "nobody can replace it, ever",
        "key": "a single key",
        "derived": "derived by a program, as a multisig's vault is",
    }
    words = kinds[told["authority_kind"]]
    return words if told["authority"] is None else f"{told['authority']}, {words}"


def _mint_facts(told: dict[str, Any]) -> dict[str, str]:
    mint = told["mint"]
    return {
        "Mint": mint["address"],
        "Mint is": told["mint_refused"] or "one that a market may have",
        "Mint authority": mint["mint_authority"] or "nobody",
        "Freeze authority": mint["freeze_authority"] or "nobody",
        "Extensions": ", ".join(mint["extensions"]) or "none",
    }
