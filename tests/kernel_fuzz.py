"""Kernels that nobody wrote: random texts of the language, on the CPU and in CUDA's simulator.

`NUMBA_ENABLE_CUDASIM=1 python -m tests.kernel_fuzz 200 7` makes 200 kernels from the seed 7, runs
each as whole and block by block on the CPU, and in the simulator, and wants the same integers.
What a text holds: u32 and i64 arithmetic, branches, loops, device functions, local arrays, values
exchanged through shared memory between barriers, barriers in loops and branches of the block,
threads that return early, atomics whose order does not show.
What none holds: a data race, an integer that the simulator's Python would not wrap.
"""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from agent.kernels.user import Launch, compile_cpu
from coordinator.workloads.source import parse_source

#: Threads of a block, and blocks.
THREADS: Final = 6
BLOCKS: Final = 3
#: A loop's turns, statements of a block, and how deep blocks nest.
TURNS_MAX: Final = 3
STATEMENTS_MAX: Final = 4
DEPTH_MAX: Final = 3

_DEVICES: Final = """@device
def mix(a, b):
    own = cuda.local.array(3, u32)
    for k in range(3):
        own[k] = u32(a + u32(k) * b)
    return u32(own[0] ^ u32(own[1] << u32(3)) ^ own[2])


@device
def fold(a: i64, b: i64):
    if a > b:
        return (a - b) // 3
    return (a * 3 - b) % 101


"""


@dataclass
class Writer:
    """A text as it grows; names that have a value are known, by their type."""

    random: np.random.Generator
    lines: list[str] = field(default_factory=list)
    names: int = 0

    def below(self, stop: int, start: int = 0) -> int:
        return int(self.random.integers(start, stop))

    def pick(self, *choices: str) -> str:
        return choices[self.below(len(choices))]

    def expression(self, kind: str, known: dict[str, str], depth: int = 2) -> str:
        """An expression of type `u32`, or of `i64` between -2^31 and 2^31."""
        leaves = [name for name, its in known.items() if its == kind]
        if depth == 0 or self.below(5) == 0:
            number = str(self.below(99, 1))
            return self.pick(*leaves, f"u32({number})" if kind == "u32" else number)
        a, b = (self.expression(kind, known, depth - 1) for _ in range(2))
        if kind == "u32":
            other = self.expression("i64", known, depth - 1)
            return self.pick(
                f"u32({a} + {b})", f"u32({a} * {b})", f"u32({a} - {b})", f"({a} ^ {b})",
                f"({a} & {b})", f"({a} | {b})", f"u32({a} << u32(5))", f"u32({a} >> u32(7))",
                f"u32({a} // ({b} | u32(1)))", f"u32({a} % ({b} | u32(1)))", f"mix({a}, {b})",
                f"min({a}, {b})", f"max({a}, {b})", f"u32(abs({other}))",
                f"({a} if {self.condition(known)} else {b})",
            )  # fmt: skip
        return self.pick(
            f"(({a} + {b}) % 997)", f"(({a} - {b}) // 3)", f"(({a} * {b}) % 1009)", f"(-{a})",
            f"fold({a}, {b})", f"min({a}, {b})", f"max({a}, {b})", f"abs({a})",
            f"(({a}) & 255)", f"({a} if {self.condition(known)} else {b})", f"cuda.popc({a})",
        )  # fmt: skip

    def condition(self, known: dict[str, str]) -> str:
        kind = self.pick("u32", "i64")
        a, b = (self.expression(kind, known, 0) for _ in range(2))
        return self.pick(f"{a} < {b}", f"{a} != {b}", f"({a} > {b} or {a} == {b})")

    def new(self, known: dict[str, str], kind: str) -> str:
        self.names += 1
        name = f"{kind[0]}_{self.names}"
        known[name] = kind
        return name

    def say(self, depth: int, line: str) -> None:
        self.lines.append("    " * (depth + 1) + line)

    def own(self, known: dict[str, str], depth: int) -> None:
        """A statement of one thread."""
        changing = [name for name in known if name[1:2] == "_"]
        choice = self.below(5 if depth < DEPTH_MAX else 3)
        if choice == 0 and changing:
            name = self.pick(*changing)
            self.say(depth, f"{name} = {self.expression(known[name], known)}")
        elif choice == 1:
            self.say(depth, f"cuda.atomic.add(sums, t % 2, {self.expression('i64', known)})")
        elif choice <= 2:
            kind = self.pick("u32", "i64")
            given = self.expression(kind, known)
            self.say(depth, f"{self.new(known, kind)} = {given}")
        elif choice == 3:
            self.say(depth, f"if {self.condition(known)}:")
            self.several(dict(known), depth + 1)
            self.say(depth, "else:")
            self.several(dict(known), depth + 1)
        else:
            self.names += 1
            index = f"k_{self.names}"
            stop = self.pick(str(self.below(TURNS_MAX)), "t", "t % 3")
            self.say(depth, f"for {index} in range({stop}):")
            self.several({**known, index: "i64"}, depth + 1)

    def several(self, known: dict[str, str], depth: int) -> None:
        before = set(known)
        for _ in range(self.below(STATEMENTS_MAX, 1)):
            self.own(known, depth)
        self.note(known, before, depth)

    def note(self, known: dict[str, str], before: set[str], depth: int) -> None:
        """Have every name that ends here show in the output."""
        for name in sorted(known.keys() - before):
            value = name if known[name] == "u32" else f"u32(abs({name}))"
            self.say(depth, f"w_0 = u32(w_0 * u32(31) + {value})")

    def exchange(self, known: dict[str, str], depth: int) -> None:
        """Give a value to another thread of the block."""
        self.say(depth, f"part[t] = {self.expression('u32', known)}")
        self.say(depth, "cuda.syncthreads()")
        self.names += 1
        name = f"w_{self.names}"
        step = self.below(THREADS, 1)
        self.say(depth, f"{name} = u32(part[(t + {step}) % {THREADS}])")
        self.say(depth, "cuda.syncthreads()")
        known[name] = "u32"

    def block(self, known: dict[str, str], depth: int) -> None:
        """Statements of the whole block."""
        before = set(known)
        for _ in range(self.below(STATEMENTS_MAX, 1)):
            choice = self.below(6 if depth < DEPTH_MAX else 4)
            if choice < 2:
                self.exchange(known, depth)
            elif choice < 4:
                self.own(known, depth)
            elif choice == 4:
                self.names += 1
                asked = f"w_{self.names}"
                # All read it before anybody writes there again.
                self.say(depth, f"{asked} = u32(part[0])")
                self.say(depth, "cuda.syncthreads()")
                same = self.pick("n > 3", "cuda.blockIdx.x % 2 == 0", f"{asked} % 2 == 0")
                self.say(depth, f"if {same}:")
                self.say(depth + 1, "cuda.syncthreads()")
                self.block(dict(known), depth + 1)
            else:
                self.names += 1
                index = f"k_{self.names}"
                bounds = self.pick("2", "n % 4", "t, t + 3", "cuda.blockIdx.x")
                self.say(depth, f"for {index} in range({bounds}):")
                self.block({**known, index: "i64"}, depth + 1)
        self.note(known, before, depth)


def kernel(seed: int) -> str:
    """The text of one kernel."""
    writer = Writer(np.random.default_rng(seed))
    known = {"t": "i64", "n": "i64", "i": "i64", "word": "u32", "w_0": "u32"}
    writer.block(known, 0)
    if writer.below(5) < 2:
        writer.say(0, f"if t % {writer.below(5, 2)} == 1:")
        writer.say(1, "return")
        writer.say(0, "cuda.syncthreads()")
        writer.several(known, 0)
    a, b = writer.expression("u32", known, 3), writer.expression("u32", known)
    writer.say(0, f"out[i] = u32(w_0 * u32(31) + u32({a} + {b}))")
    body = "\n".join(writer.lines)
    return f"""{_DEVICES}@kernel
def made(n: i64, words: In[u32], out: Out[u32], sums: Out[i64]):
    part = cuda.shared.array({THREADS}, u32)
    t = cuda.threadIdx.x
    i = cuda.grid(1)
    word = words[i]
    w_0 = word
    part[t] = word
    cuda.syncthreads()
{body}
"""


def arrays(seed: int) -> dict[str, Any]:
    words = np.random.default_rng(seed).integers(0, 2**32, THREADS * BLOCKS).astype(np.uint32)
    return {"words": words, "out": np.zeros_like(words), "sums": np.zeros(2, np.int64)}


def check(seed: int) -> None:
    """Run one kernel everywhere.

    Raises:
        AssertionError: With the text, where two do not agree.
    """
    from agent.kernels.user_cuda import run_cuda  # noqa: PLC0415

    text = kernel(seed)
    source = parse_source(text)
    launch = Launch(grid=(BLOCKS,), block=(THREADS,))
    whole, parts, simulated = arrays(seed), arrays(seed), arrays(seed)
    compiled = compile_cpu(source)
    compiled.run(whole, {"n": seed % 7}, launch)
    for block in reversed(range(BLOCKS)):
        compiled.run(parts, {"n": seed % 7}, launch, blocks=[block])
    run_cuda(source, simulated, {"n": seed % 7}, launch)
    for name in ("out", "sums"):
        assert np.array_equal(whole[name], parts[name]), f"{seed} {name}, by blocks\n{text}"
        assert np.array_equal(whole[name], simulated[name]), f"{seed} {name}, simulated\n{text}"


def main(count: int, first: int) -> None:
    """Check some kernels; what Python warns of is what CUDA does by nature."""
    warnings.simplefilter("ignore", RuntimeWarning)
    for seed in range(first, first + count):
        check(seed)
    print(f"{count} kernels agree")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
