"""`hypernode chain dev`: a chain on this machine, with the program, its clock and its money."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import typer

from hypernode.cli.durations import parse_seconds
from hypernode.cli.options import AsJson
from hypernode.cli.sol import parse_sol
from onchain.amounts import format_sol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from onchain.chain import Commitment
    from onchain.devnode import DevNode, Ports
    from onchain.localnet import LocalNet

T = TypeVar("T")
PORT: Final = 8899
app = typer.Typer(rich_markup_mode=None)

Rpc = Annotated[
    str,
    typer.Option("--rpc", envvar="HYPERNODE_RPC", help="The development node's address."),
]
Address = Annotated[str, typer.Argument(metavar="WALLET", help="An address.")]
RPC_DEFAULT: Final = f"http://127.0.0.1:{PORT}"


@app.callback(invoke_without_command=True)
def dev(
    context: typer.Context,
    *,
    port: Annotated[
        int, typer.Option(min=0, max=65_534, help="Of HTTP; the next one is the WebSocket's.")
    ] = PORT,
    state: Annotated[
        Path | None,
        typer.Option(help="Folder that keeps the chain (default: in memory).", show_default=False),
    ] = None,
    slot_ms: Annotated[
        int,
        typer.Option(min=0, max=60_000, help="Time of a slot; 0: only `advance` moves slots."),
    ] = 400,
    program: Annotated[
        Path | None,
        typer.Option(
            "--program-file", help="Another program (default: ours, v0).", show_default=False
        ),
    ] = None,
    deployable: Annotated[
        bool,
        typer.Option("--deployable", help="Take `chain deploy` (v0 only); some features are off."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run a Solana chain on this machine, with the settlement program in it.

    JSON-RPC and subscriptions as wallets and libraries expect them; there is no consensus, and
    its money is worth nothing. It listens on this machine only, until Ctrl-C.

    Example: hypernode chain dev --state ~/.local/share/hypernode/chain
    """
    from hypernode.cli.backup import is_for_another
    from hypernode.cli.chain_settings import need_chain_parts
    from hypernode.cli.coordinator import naming
    from hypernode.cli.exit import leaf_of
    from hypernode.cli.run import run_command

    if is_for_another(context):
        return
    need_chain_parts()
    node = _node(state, slot_ms, program, deployable=deployable)

    async def serve() -> None:
        import trio

        async with trio.open_nursery() as nursery:
            ports = await nursery.start(node.serve, "127.0.0.1", port)
            _show(ports, state, as_json=as_json)

    try:
        run_command(serve)
    except (OSError, BaseExceptionGroup) as error:
        raise naming(leaf_of(error), f"127.0.0.1:{port}") from None


def _node(state: Path | None, slot_ms: int, program: Path | None, *, deployable: bool) -> DevNode:
    from hypernode.cli.exit import Usage
    from onchain.localnet import open_node

    try:
        return open_node(
            folder=None if state is None else state.expanduser(),
            slot_s=slot_ms / 1000 if slot_ms else None,
            program=None if program is None else program.read_bytes(),
            deployable=deployable,
        )
    except ValueError as error:  # a state or a program that cannot be loaded
        raise Usage(str(error)) from error


def _show(ports: Ports, state: Path | None, *, as_json: bool) -> None:
    """What a client needs."""
    from hypernode.cli.output import print_facts, print_json
    from onchain.address import encode_address
    from onchain.localnet import GENESIS, development_mint
    from onchain.program import DEVELOPMENT_ID

    told = {
        "rpc": f"http://127.0.0.1:{ports.http}",
        "websocket": f"ws://127.0.0.1:{ports.websocket}",
        "program": encode_address(DEVELOPMENT_ID),
        "mint": encode_address(development_mint().new.mint),
        "genesis": encode_address(GENESIS),
    }
    if as_json:
        print_json(told | {"state": None if state is None else str(state)})
        return
    names = {"rpc": "RPC", "websocket": "WebSocket", "mint": "Mint (HYPER)"}
    facts = {names.get(name, name.capitalize()): value for name, value in told.items()}
    print_facts(facts | {"State": "in memory" if state is None else str(state)})


@app.command("advance")
def advance(
    duration: Annotated[
        int, typer.Argument(parser=parse_seconds, metavar="TIME", help="Such as 90s, 1h or 30d.")
    ],
    *,
    rpc: Rpc = RPC_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Let time pass at once on a running development node: its clock and its slots move.

    Example: hypernode chain dev advance 1h
    """
    from hypernode.cli.moments import utc
    from hypernode.cli.output import print_facts, print_json

    async def ask(net: LocalNet) -> tuple[int, int]:
        slot = await net.advance(duration * 1000)
        return slot, (await net.chain.clock(_processed())).unix_s

    slot, unix_s = _asked(rpc, ask)
    if as_json:
        print_json({"slot": slot, "unix_s": unix_s})
    else:
        print_facts({"Slot": str(slot), "Clock": utc(unix_s)})


@app.command("airdrop")
def airdrop(
    wallet: Address,
    sol: Annotated[str, typer.Argument(metavar="SOL", help="How much.")] = "10",
    *,
    rpc: Rpc = RPC_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Give SOL on a development node.

    Example: hypernode chain dev airdrop 9xQeWvG816bUx9EPjHmaT23yvVM2ZWbrrpZb9PusVFin 5
    """
    from hypernode.cli.chain_settings import address_in
    from hypernode.cli.output import print_facts, print_json

    address, lamports = address_in(wallet, "WALLET"), parse_sol(sol)

    async def ask(net: LocalNet) -> int:
        await net.airdrop(address, lamports)
        return await net.chain.balance(address, _processed())

    balance = _asked(rpc, ask)
    if as_json:
        print_json({"wallet": wallet, "lamports": balance})
    else:
        print_facts({"Wallet": wallet, "Balance": f"{format_sol(balance)} SOL"})


@app.command("mint")
def mint(
    wallet: Address,
    amount: Annotated[str, typer.Argument(metavar="AMOUNT", help="HYPER, such as 1000.")] = "1000",
    *,
    token_2022: Annotated[
        bool,
        typer.Option("--token-2022", help="The mint of Token-2022: its name is on the chain."),
    ] = False,
    rpc: Rpc = RPC_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Give HYPER on a development node; the mint (6 decimals) is made where there is none.

    Example: hypernode chain dev mint 9xQeWvG816bUx9EPjHmaT23yvVM2ZWbrrpZb9PusVFin 1000
    """
    from hypernode.cli.chain_settings import address_in
    from hypernode.cli.exit import Usage
    from hypernode.cli.output import print_facts, print_json
    from onchain.address import encode_address
    from onchain.amounts import format_hyper, parse_hyper
    from onchain.errors import BadAmount

    address = address_in(wallet, "WALLET")
    try:
        units = parse_hyper(amount)
    except BadAmount as error:
        msg = f"AMOUNT: {error}"
        raise Usage(msg) from error

    async def ask(net: LocalNet) -> dict[str, str]:
        from onchain.localnet import development_mint

        made = development_mint(token_2022=token_2022)
        account = await net.mint(made, address, units)
        found = await net.chain.token_balance(account, _processed())
        return {
            "mint": encode_address(made.new.mint),
            "wallet": wallet,
            "account": encode_address(account),
            "balance": format_hyper(0 if found is None else found.amount),
        }

    told = _asked(rpc, ask)
    if as_json:
        print_json(told)
    else:
        told["balance"] += " HYPER"
        print_facts({name.capitalize(): value for name, value in told.items()})


def _asked(rpc: str, ask: Callable[[LocalNet], Awaitable[T]]) -> T:
    """What a running development node answers."""
    from hypernode.cli.chain_settings import need_chain_parts
    from hypernode.cli.exit import Usage
    from hypernode.cli.run import run_command
    from onchain.clusters import url_of

    need_chain_parts()
    try:
        url = url_of(rpc)
    except ValueError as error:
        msg = f"--rpc: {error}"
        raise Usage(msg) from error

    async def run() -> T:
        from onchain.localnet import LocalNet

        net = LocalNet(url)
        try:
            return await ask(net)
        finally:
            await net.aclose()

    return run_command(run)


def _processed() -> Commitment:
    from onchain.chain import Commitment

    return Commitment.PROCESSED
