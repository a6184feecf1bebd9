"""`hypernode chain deploy`: the settlement program goes to a cluster, or is replaced there."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from hypernode.cli.chain_options import ConfigFile, DryRun, Program, Rpc, SignerFile, Yes
from hypernode.cli.options import AsJson

if TYPE_CHECKING:
    from coordinator.protocol.signing import Keypair
    from hypernode.cli.chain_settings import ChainSettings
    from onchain.chain import Chain
    from onchain.deployment import Deployment, Situation


class Version(StrEnum):
    """Which of the built files."""

    V3 = "v3"
    V0 = "v0"


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for on the command line."""

    version: Version | None
    file: Path | None
    program_key: Keypair | None
    buffer: bytes | None
    #: Who may replace the program afterwards; None: whoever may now, or who pays.
    authority: bytes | None
    is_final: bool
    accepts_single_key: bool
    closes_buffer: bool
    dry_run: bool
    yes: bool
    as_json: bool


def deploy(  # noqa: PLR0913 (one parameter an option)
    *,
    rpc: Rpc = None,
    keypair: SignerFile = None,
    program_keypair: Annotated[
        Path | None,
        typer.Option(help="Key file of the program's address: a first deployment needs it."),
    ] = None,
    program: Program = None,
    upgrade_authority: Annotated[
        str | None,
        typer.Option(help="Address that may replace it afterwards.", show_default=False),
    ] = None,
    final: Annotated[bool, typer.Option("--final", help="Nobody may replace it, ever.")] = False,
    buffer: Annotated[
        str | None,
        typer.Option(help="Another buffer than the usual one, full or not.", show_default=False),
    ] = None,
    close_buffer: Annotated[
        bool, typer.Option("--close-buffer", help="Only take a left buffer's lamports back.")
    ] = False,
    version: Annotated[
        Version | None,
        typer.Option(help="Of SBPF (default: v3; on our own chain, which has no v3: v0)."),
    ] = None,
    program_file: Annotated[
        Path | None, typer.Option(help="Another program than ours.", show_default=False)
    ] = None,
    i_accept_a_single_key: Annotated[
        bool,
        typer.Option("--i-accept-a-single-key", help="On mainnet: one key may replace it."),
    ] = False,
    config: ConfigFile = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Deploy the settlement program, or upgrade it, and compare what lies there then.

    What it costs is said before. A run that was interrupted goes on from its buffer. Where another
    may replace the program, the full buffer is handed to it, with the transaction for it to sign.

    Example: hypernode chain deploy --rpc devnet --program-keypair program.json --dry-run
    """
    import os

    from coordinator.limits import CHAIN_PATIENCE_S
    from hypernode.cli.chain_deed import opened
    from hypernode.cli.chain_settings import address_in, need_chain_parts, read_chain, signer_in
    from hypernode.cli.exit import Usage
    from hypernode.cli.run import run_command
    from hypernode.wallet_file import read_wallet

    need_chain_parts()
    if final and upgrade_authority is not None:
        msg = "--final and --upgrade-authority: nobody, or whom?"
        raise Usage(msg)
    given = {"rpc": rpc, "keypair": keypair, "program": program}
    settings, _reading = read_chain(given, os.environ, config)
    wish = Wish(
        version,
        program_file,
        None if program_keypair is None else read_wallet(program_keypair),
        None if buffer is None else address_in(buffer, "--buffer"),
        None if upgrade_authority is None else address_in(upgrade_authority, "--upgrade-authority"),
        final,
        i_accept_a_single_key,
        close_buffer,
        dry_run,
        yes,
        as_json,
    )
    payer = signer_in(settings)

    async def ask() -> dict[str, Any]:
        # Dozens of transactions make a public node ask for patience.
        async with opened(settings, patience_s=CHAIN_PATIENCE_S) as chain:
            return await _Run(chain, settings, payer, wish).through()

    _show(run_command(ask), as_json=as_json)


class _Run:
    """One call of the command."""

    def __init__(self, chain: Chain, settings: ChainSettings, payer: Keypair, wish: Wish) -> None:
        self._chain = chain
        self._settings = settings
        self._payer = payer
        self._wish = wish
        self._program = _program_in(settings, wish)

    async def through(self) -> dict[str, Any]:
        """Deploy; what came of it, for programs."""
        from onchain.address import encode_address
        from onchain.buffering import Means
        from onchain.clusters import cluster_of
        from onchain.deployment import Deployment
        from onchain.fees import Fees
        from onchain.loader import program_hash

        genesis = await self._chain.genesis_hash()
        elf = self._elf(genesis)
        means = Means(self._chain, self._payer, Fees(lamports_max=self._settings.fee_max))
        one = Deployment(
            means,
            elf,
            program=self._program,
            program_key=None if self._wish.closes_buffer else self._wish.program_key,
            buffer=self._wish.buffer,
        )
        told: dict[str, Any] = {
            "cluster": cluster_of(genesis).value,
            "hash": program_hash(elf),
            "buffer": encode_address(one.buffering.address),
        }
        if self._wish.closes_buffer:
            closed = await one.buffering.close()
            return {**told, "closed": closed is not None}
        told["program"] = encode_address(self._program)
        situation = await one.look()
        self._refuse(elf, genesis, situation)
        told |= _costs(situation, elf)
        if self._wish.dry_run:
            return {**told, "dry_run": True}
        self._agree(told)
        return {**told, **await self._carry_out(one, situation, elf)}

    def _elf(self, genesis: bytes) -> bytes:
        from onchain.deploy_rules import sbpf_version
        from onchain.localnet import GENESIS, program_bytes

        if self._wish.file is not None:
            elf = self._wish.file.read_bytes()
            sbpf_version(elf)
            return elf
        usual = Version.V0 if genesis == GENESIS else Version.V3
        return program_bytes(self._wish.version or usual)

    def _refuse(self, elf: bytes, genesis: bytes, situation: Situation) -> None:
        """What must not be, before anything is sent.

        Raises:
            Usage: with all reasons.
        """
        from hypernode.cli.exit import Usage
        from onchain.clusters import cluster_of
        from onchain.deploy_rules import deploy_problems, sbpf_version

        problems = [
            *deploy_problems(
                cluster_of(genesis),
                sbpf_version(elf),
                self._authority_afterwards(situation),
                accepts_single_key=self._wish.accepts_single_key,
            )
        ]
        deployed = situation.deployed
        if deployed is not None and deployed.authority is None and not situation.has(elf):
            problems.append("this program is final: nobody can replace it, ever")
        if deployed is None and self._wish.program_key is None:
            problems.append("there is no program yet, so its key must sign: --program-keypair FILE")
        if problems:
            raise Usage("\n".join(problems))

    def _authority_afterwards(self, situation: Situation) -> bytes | None:
        if self._wish.is_final:
            return None
        if self._wish.authority is not None:
            return self._wish.authority
        return self._payer.address if situation.deployed is None else situation.deployed.authority

    def _agree(self, told: dict[str, Any]) -> None:
        """Say what it costs, and ask.

        Raises:
            Usage: nobody can be asked.
            typer.Abort: the answer was no.
        """
        import sys

        from hypernode.cli.exit import Usage
        from hypernode.cli.output import is_terminal, note

        if self._wish.yes or told["is_there"]:
            return
        for line in _cost_lines(told):
            note(line)
        if not is_terminal(sys.stdin):
            msg = "nobody can be asked here: say --yes"
            raise Usage(msg)
        typer.confirm("Go on?", abort=True, err=True)

    async def _carry_out(self, one: Deployment, situation: Situation, elf: bytes) -> dict[str, Any]:
        from onchain.address import encode_address

        sent = None
        if not situation.has(elf):
            await one.check_payer(situation)
            await one.buffering.fill(_progress)
            deployed = situation.deployed
            if deployed is not None and deployed.authority not in {None, self._payer.address}:
                assert deployed.authority is not None
                return await self._hand_over(one, deployed.authority)
            sent = await one.release()
        if self._wish.is_final:
            await one.set_authority(None)
        elif self._wish.authority is not None:
            await one.set_authority(self._wish.authority)
        after = await one.check()
        signature = None if sent is None or sent.signature is None else sent.signature
        return {
            "deployed": True,
            "slot": after.slot,
            "authority": None if after.authority is None else encode_address(after.authority),
            "signature": _signature(signature),
        }

    async def _hand_over(self, one: Deployment, authority: bytes) -> dict[str, Any]:
        """The full buffer to the program's authority, and what that has to sign."""
        from base64 import b64encode

        from onchain.address import encode_address
        from onchain.chain import Commitment
        from onchain.drafts import Budget

        await one.buffering.hand_over(authority)
        latest = await self._chain.latest_blockhash(Commitment.FINALIZED)
        raw = one.upgrade_elsewhere(authority).unsigned(latest.blockhash, Budget())
        return {
            "deployed": False,
            "authority": encode_address(authority),
            "transaction": b64encode(raw).decode(),
        }


def _program_in(settings: ChainSettings, wish: Wish) -> bytes:
    """The program's address: its key's, or the one that was named.

    Raises:
        Usage: neither was, or they differ.
    """
    from hypernode.cli.chain_settings import need
    from hypernode.cli.exit import Usage
    from onchain.address import decode_address

    if wish.closes_buffer:
        return bytes(32)  # a buffer belongs to no program yet
    if wish.program_key is None:
        return decode_address(need(settings, "program", "which program? --program-keypair FILE"))
    if (
        settings.program is not None
        and decode_address(settings.program) != wish.program_key.address
    ):
        msg = "--program and --program-keypair name two addresses"
        raise Usage(msg)
    return wish.program_key.address


def _costs(situation: Situation, elf: bytes) -> dict[str, Any]:
    return {
        "bytes": len(elf),
        "is_there": situation.has(elf),
        "is_upgrade": situation.deployed is not None,
        "pieces": situation.pieces,
        "pieces_missing": situation.missing,
        "rent_lamports": situation.rent,
        "fee_lamports": situation.fees,
        "peak_lamports": situation.peak,
    }


def _cost_lines(told: dict[str, Any]) -> list[str]:
    from hypernode.cli.chain_dev import sol_text

    kind = "Upgrade" if told["is_upgrade"] else "Deployment"
    return [
        f"{kind} of {told['bytes']} bytes to {told['program']} on {told['cluster']}",
        f"stays there as rent: {sol_text(told['rent_lamports'])} SOL",
        f"fees, priority not counted: {sol_text(told['fee_lamports'])} SOL",
        f"must be there meanwhile: {sol_text(told['peak_lamports'])} SOL",
    ]


def _progress(done: int, pieces: int) -> None:
    """One line on a terminal, and silence elsewhere."""
    import sys

    from hypernode.cli.output import is_terminal

    if is_terminal(sys.stderr):
        typer.echo(f"\r{done} of {pieces} pieces written", nl=done == pieces, err=True)


def _signature(raw: bytes | None) -> str | None:
    from onchain.deeds import signature_text

    return None if raw is None else signature_text(raw)


_NAMES: Final = {
    "cluster": "Cluster", "program": "Program", "hash": "Hash", "buffer": "Buffer",
    "authority": "Authority", "slot": "Slot", "signature": "Signature",
}  # fmt: skip


def _show(told: dict[str, Any], *, as_json: bool) -> None:
    from hypernode.cli.output import note, print_facts, print_json

    if as_json:
        print_json(told)
        return
    if "closed" in told:
        note("closed" if told["closed"] else "there is no buffer: nothing to close")
        return
    if told.get("dry_run"):
        typer.echo("\n".join(_cost_lines(told)))
        return
    if not told["deployed"]:
        note("the program is another's: the buffer is handed to it, which signs this")
        typer.echo(told["transaction"])
        return
    if told["authority"] is None:
        told = told | {"authority": "nobody, ever"}
    facts = {name: str(told[key]) for key, name in _NAMES.items() if told.get(key) is not None}
    facts.pop("Buffer")
    print_facts(facts | {"Read back": "the same, byte by byte"})
