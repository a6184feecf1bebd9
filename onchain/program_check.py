"""A program on the chain beside the one of this package: hash, authority, security.txt.

In:   a chain, an address; builds to compare with.
Out:  `ProgramFacts`.
Rule: hashes are those of verifiers: SHA-256 of the file without the zeros behind it.
Not covered: who is behind an authority: a multisig's members and timelock are for its program.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from onchain import loader
from onchain.address import decode_address
from onchain.chain import Account, Chain
from onchain.deploy_rules import is_single_key
from onchain.loader import Deployed, NoProgram, program_hash
from onchain.security_txt import read_security_txt

#: Programs of this one lie in one account and are final: so does ours on a development chain.
LOADER_2: Final = decode_address("BPFLoader2111111111111111111111111111111111")


@dataclass(frozen=True, slots=True)
class ProgramFacts:
    """What lies at a program's address."""

    address: bytes
    hash: str
    #: Bytes of its file, the zeros behind it not counted.
    size: int
    #: Slot of its latest deployment; 0: not told.
    slot: int
    #: Who may replace it; None: nobody, ever.
    authority: bytes | None
    security: dict[str, str]

    @property
    def authority_kind(self) -> str:
        """`none`, `key` (somebody may hold its secret), or `derived` (a multisig's, for one)."""
        if self.authority is None:
            return "none"
        return "key" if is_single_key(self.authority) else "derived"


async def read_program(chain: Chain, address: bytes) -> ProgramFacts:
    """The program at an address.

    Raises:
        NoProgram: there is none.
        ChainError: the chain could not be asked.
    """
    found = await chain.accounts([address, loader.data_address(address)])
    deployed = _deployed(found.values[0], found.values[1])
    data = deployed.data.rstrip(b"\0")
    return ProgramFacts(
        address,
        program_hash(data),
        len(data),
        deployed.slot,
        deployed.authority,
        read_security_txt(data),
    )


def _deployed(program: Account | None, data: Account | None) -> Deployed:
    if program is not None and program.owner == LOADER_2 and program.executable:
        return Deployed(program.address, 0, None, program.data)
    deployed = loader.parse_deployed(program, data)
    if deployed is None:
        msg = "nothing lies at this program's address: is it this cluster's?"
        raise NoProgram(msg)
    return deployed


def fresh_builds() -> dict[str, str]:
    """Version → hash of what the sources of this package give here, now.

    Raises:
        CompilerMissing: there is no zig.
        BuildError: the sources do not build.
    """
    from onchain.program.build.construct import FOLDER, build  # noqa: PLC0415 - zig may be missing

    built = build(Path(FOLDER) / "src")
    return {version.name.lower(): program_hash(data) for version, data in built.files.items()}
