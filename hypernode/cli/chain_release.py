"""One deployment from the command line: what must not be, what it costs, and then the steps.

In:   a `Wish`, the settings, who pays. Out: what came of it, for programs.
Rule: nothing is sent before all that speaks against it was told, and the owner agreed to the costs.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

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


class Run:
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
        told["authority_afterwards"] = _address(self._authority_afterwards(situation))
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
        if deployed is not None and self._is_anothers(deployed.authority):
            problems.append("only the program's authority can say who may replace it afterwards")
        if deployed is None and self._wish.program_key is None:
            problems.append("there is no program yet, so its key must sign: --program-keypair FILE")
        if problems:
            raise Usage("\n".join(problems))

    def _is_anothers(self, authority: bytes | None) -> bool:
        """Whether who may replace the program is to change, and is not ours to change."""
        wanted = self._wish.authority
        changes = (self._wish.is_final or wanted is not None) and authority != wanted
        return changes and authority != self._payer.address

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
        for line in cost_lines(told):
            note(line)
        if not is_terminal(sys.stdin):
            msg = "nobody can be asked here: say --yes"
            raise Usage(msg)
        typer.confirm("Go on?", abort=True, err=True)

    async def _carry_out(self, one: Deployment, situation: Situation, elf: bytes) -> dict[str, Any]:

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
            "authority": _address(after.authority),
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


def _address(raw: bytes | None) -> str | None:
    from onchain.address import encode_address

    return None if raw is None else encode_address(raw)


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


def _progress(done: int, pieces: int) -> None:
    """One line on a terminal, and silence elsewhere."""
    import sys

    from hypernode.cli.output import is_terminal

    if is_terminal(sys.stderr):
        typer.echo(f"\r{done} of {pieces} pieces written", nl=done == pieces, err=True)


def _signature(raw: bytes | None) -> str | None:
    from onchain.deeds import signature_text

    return None if raw is None else signature_text(raw)


def cost_lines(told: dict[str, Any]) -> list[str]:
    """What it costs, for people."""
    from onchain.amounts import format_sol

    kind = "Upgrade" if told["is_upgrade"] else "Deployment"
    return [
        f"{kind} of {told['bytes']} bytes to {told['program']} on {told['cluster']}",
        f"stays there as rent: {format_sol(told['rent_lamports'])} SOL",
        f"fees, priority not counted: {format_sol(told['fee_lamports'])} SOL",
        f"must be there meanwhile: {format_sol(told['peak_lamports'])} SOL",
        f"may replace it afterwards: {told['authority_afterwards'] or 'nobody, ever'}",
    ]
