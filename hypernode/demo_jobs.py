"""The jobs of the demo: what is asked, and how each answer is compared with what is known.

The prices must meet a closed form within their own error bars, every hash is hashed again, the
picture becomes a file. Sizes are such that two slow cores need a few seconds for all of them.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from coordinator.protocol.spec import Sample
from coordinator.verification.sampling import sample_size
from coordinator.workloads.catalogue import get
from coordinator.workloads.hashsearch import HashSearchParams
from coordinator.workloads.montecarlo import MonteCarloParams, closed_form, estimate
from hypernode.answers import NodeInfo
from hypernode.png import png_bytes
from hypernode.result import Result

#: Standard errors that an honest estimate may be off: beyond four lies one in 16,000.
_SIGMAS: Final = 5.0
_OPTION: Final = {
    "spot": 100.0, "strike": 105.0, "rate": 0.03, "volatility": 0.2, "maturity_years": 1.0,
    "option": "call", "paths": 4_000_000, "steps": 4,
}  # fmt: skip


class DemoJob(ABC):
    """One job, and what to make of its result."""

    kind = ""
    title = ""
    budget = "0.5"

    def __init__(self, **params: Any) -> None:
        self.params: Mapping[str, Any] = params

    def obstacle(self, nodes: Sequence[NodeInfo]) -> str:
        """Why no agent here can run it; "" if one can."""
        if any(self.kind in node.kinds for node in nodes):
            return ""
        return f"no agent here runs {self.kind}"

    @abstractmethod
    def look(self, result: Result) -> str:
        """The result in a few words.

        Raises:
            AssertionError: it is wrong.
        """

    def verified(self, result: Result) -> str:
        """What the receipt says of the check, with the number of blocks recomputed."""
        if result.receipt is None:
            return ""
        workload = get(self.kind)
        if result.receipt.verdict != "accepted":
            return result.receipt.verdict
        blocks = workload.blocks(workload.decode(msgspec.json.encode(self.params)))
        policy = workload.default_policy
        checked = sample_size(policy, blocks) if isinstance(policy, Sample) else 0
        return f"{checked} of {blocks}"


class OptionJob(DemoJob):
    """The price of an option, beside Black and Scholes."""

    kind = "montecarlo"

    def __init__(self, **changes: Any) -> None:
        super().__init__(**{**_OPTION, **changes})
        self.title = f"{self.params['option']} at {self.params['strike']:g}"

    def look(self, result: Result) -> str:
        params = msgspec.convert(self.params, MonteCarloParams)
        price, error = estimate(params, result.outputs)
        exact = closed_form(params)
        assert abs(price - exact) <= _SIGMAS * error, f"{price:.4f} is not {exact:.4f}"
        return f"{price:.4f} ± {error:.4f} (exact {exact:.4f})"


class RenderJob(DemoJob):
    """A picture, written as a file."""

    kind = "render"

    def __init__(self, output: Path, **params: Any) -> None:
        super().__init__(**params)
        self.title = f"{params['width']} x {params['height']}"
        self._file = output / "picture.png"

    def look(self, result: Result) -> str:
        assert result.output.std() > 1, "the picture is empty"
        self._file.write_bytes(png_bytes(result.output))
        return os.path.relpath(self._file)


class HashJob(DemoJob):
    """Hashes below a target; each one is hashed again here."""

    kind = "hashsearch"

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self.title = f"{params['target_bits']} zero bits"

    def look(self, result: Result) -> str:
        params = msgspec.convert(self.params, HashSearchParams)
        hits = [int(nonce) for nonce in result.outputs[0]]
        for nonce in hits:
            found = int.from_bytes(params.hash_of(nonce)[:32])
            assert found >> (256 - params.target_bits) == 0, f"{nonce} is no hit"
        if not hits:
            return "no hit in this range"
        best = min(hits, key=params.hash_of)
        return f"{len(hits)} found, {best} gives {params.hash_of(best).hex()[:10]}…"


class CommandJob(DemoJob):
    """A shell command of a stranger, in the agent's sandbox."""

    kind = "command"
    budget = "0.1"

    title = "a shell line"

    def __init__(self, command: str) -> None:
        super().__init__(command=command)

    def obstacle(self, nodes: Sequence[NodeInfo]) -> str:
        level = get(self.kind).sandbox
        if any(self.kind in node.kinds and node.sandbox >= level for node in nodes):
            return ""
        remarks = [remark for node in nodes for remark in node.remarks]
        return f"needs a sandbox of level {level}: {remarks[0] if remarks else 'none here'}"

    def look(self, result: Result) -> str:
        return next(iter(result.text.splitlines()), "no output")


def demo_jobs(output: Path) -> list[DemoJob]:
    """What the demo submits."""
    return [
        OptionJob(option="call", strike=95.0, seed=1),
        OptionJob(option="call", strike=105.0, seed=2),
        OptionJob(option="put", strike=105.0, seed=3),
        RenderJob(output, width=640, height=360, samples=16, scene="marbles"),
        HashJob(prefix=b"hypernode".hex(), start=0, count=2**22, target_bits=18),
        CommandJob("echo $(uname -s), $(nproc) cores, user $(id -u)"),
    ]
