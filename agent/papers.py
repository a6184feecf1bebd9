"""The earnings papers of an agent on its disk: what its owner can claim by, with nobody else left.

In:   `papers` messages.
Out:  one file a wallet, `papers-<wallet>.json`, beside the receipts; what the coordinator is told
      of it at a `resume`.
Rules:
  1. A paper is checked (`paper_rules`), then on the disk, then believed. The file is replaced
     whole: a kill at any instant leaves the old one or the new one.
  2. What is refused is named in the log and counted, and what was there stays.
  3. A wallet's file is never touched by a paper of another wallet: a node key that is bound anew
     leaves the former owner's papers where they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
from msgspec.structs import replace

from agent.disk import Disk, Hop, in_thread
from agent.keeper import disk_trouble
from agent.paper_rules import Kept, PaperRefused, proofs_in, vouchers_in, with_proof, with_voucher
from agent.status import PapersStatus
from coordinator.log import get_log
from coordinator.protocol.messages import Papers, PapersKept
from onchain.address import decode_address
from onchain.errors import BadAddress

_PREFIX: Final = "papers-"
_SUFFIX: Final = ".json"
_log = get_log("agent.papers")


class PapersDamaged(Exception):
    """A file of papers that cannot be read."""


def papers_file(wallet: str) -> str:
    """Name of a wallet's file in a state directory."""
    return f"{_PREFIX}{wallet}{_SUFFIX}"


def parse_papers(raw: bytes, wallet: str) -> Kept:
    """The papers in the bytes of a wallet's file; every signature among them is checked.

    Raises:
        PapersDamaged: they are none, or another wallet's.
    """
    try:
        kept = msgspec.json.decode(raw, type=Kept)
        vouchers_in(kept)
        proofs_in(kept)
    except (msgspec.DecodeError, PaperRefused) as error:
        raise PapersDamaged(str(error)) from error
    if kept.wallet != wallet:
        msg = f"it names wallet {kept.wallet}"
        raise PapersDamaged(msg)
    return kept


def read_papers(folder: Path, wallet: str) -> Kept | None:
    """A wallet's papers in an agent's state directory; None: it keeps none of this wallet.

    Raises:
        PapersDamaged: there is a file, and it cannot be read.
    """
    path = folder / papers_file(wallet)
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return parse_papers(raw, wallet)
    except PapersDamaged as error:
        msg = f"{path}: {error}"
        raise PapersDamaged(msg) from error


class PapersKeeper:
    """One agent's papers; made by `load`."""

    def __init__(
        self,
        disk: Disk,
        *,
        wallet: Callable[[], str],
        now_ms: Callable[[], int],
        ledger: str,
        hop: Hop,
    ) -> None:
        self._disk = disk
        self._wallet = wallet
        self._now_ms = now_ms
        self._ledger = ledger
        self._hop = hop
        self._kept = Kept("")
        #: Papers that were refused since the start, by code.
        self.refused: Counter[str] = Counter()

    @classmethod
    async def load(
        cls,
        disk: Disk,
        *,
        wallet: Callable[[], str],
        now_ms: Callable[[], int],
        ledger: str = "",
        hop: Hop = in_thread,
    ) -> PapersKeeper:
        """What an earlier process kept.

        Args:
            disk: Of the state directory.
            wallet: Base58 of the wallet that this node earns for; empty while that is unknown.
            now_ms: This machine's clock.
            ledger: Base58 of the one that papers must be of; the first paper's if not said.
            hop: Where blocking calls are made.
        """
        keeper = cls(disk, wallet=wallet, now_ms=now_ms, ledger=ledger, hop=hop)
        names = [name for name in await hop(disk.names) if _is_papers(name)]
        owner = wallet() or (_owner_of(names[0]) if len(names) == 1 else "")
        if owner:
            keeper._kept = await keeper._read(owner)
        return keeper

    @property
    def kept(self) -> Kept:
        """What is on the disk."""
        return self._kept

    @property
    def summary(self) -> PapersKept:
        """What the coordinator is told at a `resume`."""
        return self._kept.summary

    @property
    def status(self) -> PapersStatus:
        """What its operator sees of them."""
        kept, said = self._kept, self._kept.summary
        proven = kept.proofs[0].lifetime if kept.proofs else "0"
        return PapersStatus(said.epoch, proven, said.vouched, self.refused.total())

    async def take(self, message: Papers) -> None:
        """Keep what holds of a message: each of its papers by itself, all in one write."""
        changes: list[Callable[[Kept], Kept]] = []
        if message.proof is not None:
            changes.append(partial(with_proof, paper=message.proof))
        if message.voucher:
            now_s = self._now_ms() // 1000
            changes.append(partial(with_voucher, text=message.voucher, now_s=now_s))
        said = "" if message.proof is None else message.proof.wallet
        try:
            before = await self._papers_of(said)
        except PaperRefused as refused:
            self._refuse(refused)
            return
        after = before
        for change in changes:
            try:
                after = change(after)
            except PaperRefused as refused:
                self._refuse(refused)
        if after != before:
            await self._keep(after)

    def _refuse(self, refused: PaperRefused) -> None:
        self.refused[refused.code] += 1
        _log.error("paper refused", code=refused.code, reason=str(refused))

    async def _papers_of(self, said: str) -> Kept:
        """The papers of the wallet that this agent earns for."""
        owner = self._wallet() or self._kept.wallet or said
        try:
            # It names a file.
            decode_address(owner)
        except BadAddress as error:
            reason = "this agent does not know yet for which wallet it earns"
            raise PaperRefused("wallet_unknown", reason) from error
        if owner != self._kept.wallet:
            self._kept = await self._read(owner)
        return self._kept

    async def _keep(self, after: Kept) -> None:
        raw = msgspec.json.encode(after)
        try:
            await self._hop(partial(self._disk.replace, papers_file(after.wallet), raw))
        except OSError as error:
            # What the coordinator is told at the next resume is what the disk has.
            _log.error("papers not on disk", reason=disk_trouble(error))
            return
        self._kept = after
        said = after.summary
        _log.info("papers", epoch=said.epoch, vouched=f"{said.vouched} HYPER")

    async def _read(self, owner: str) -> Kept:
        raw = await self._hop(partial(self._disk.read, papers_file(owner)))
        kept = Kept(owner)
        if raw is not None:
            try:
                kept = parse_papers(raw, owner)
            except PapersDamaged as error:
                await self._set_aside(f"{papers_file(owner)}.damaged", raw, str(error))
        if self._ledger and not kept.ledger:
            kept = replace(kept, ledger=self._ledger)
        if self._ledger not in {"", kept.ledger}:
            fix = f"move {papers_file(owner)} away if the market has moved, or set ledger right"
            _log.error("papers of another ledger", ledger=kept.ledger, fix=fix)
        return kept

    async def _set_aside(self, name: str, raw: bytes, why: str) -> None:
        _log.error("papers damaged", error=why, kept_as=name)
        try:
            await self._hop(partial(self._disk.replace, name, raw))
        except OSError as error:
            _log.error("papers not on disk", reason=disk_trouble(error))


def _is_papers(name: str) -> bool:
    return name.startswith(_PREFIX) and name.endswith(_SUFFIX)


def _owner_of(name: str) -> str:
    return name.removeprefix(_PREFIX).removesuffix(_SUFFIX)
