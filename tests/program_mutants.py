"""The mutation run: every mutant of the settlement program must fail a case of the tables.

`python -m tests.program_mutants [--jobs N] [FILE …]` builds each mutant, plays the cases on it
until one goes otherwise, and prints those that live. A mutant that is said to change nothing (see
`program_mutations`) may live, and must: a reason that no longer holds is told too.
Rules:
  1. Cases that killed before are played first: most mutants of a source die of its neighbours'.
  2. What does not compile, link or load is no mutant, and is counted: few may be.
Not covered: SBPF v3 (the same objects, proved the same by the build); the fuzz and the drills.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from onchain.program.build.compile import compile_folder
from onchain.program.build.construct import FOLDER
from onchain.program.build.errors import BuildError
from onchain.program.build.image import Version
from onchain.program.build.linker import link
from onchain.program.build.objects import Object
from onchain.program.build.writer import write
from tests.program_cases import Case, Stage
from tests.program_mutations import Mutant, all_mutants, excuses
from tests.program_neighbours import CALLED, load_samples
from tests.program_suite import CASES
from tests.program_world import World

SOURCES: Final = FOLDER / "src"
#: Made from declarations, or without code.
LEFT_OUT: Final = {"interface.h", "security.c"}
#: A mutant whose condition is always true is no reason not to compile it.
_FLAGS: Final = ("-w",)
LIVES: Final = "lives"
UNBUILT: Final = "no program"


class Fate(NamedTuple):
    mutant: Mutant
    #: `LIVES`, `UNBUILT`, or the case that it died of.
    by: str


class Builder:
    """Builds the program with one source changed; what is not changed is compiled once."""

    def __init__(self, objects: dict[str, Object]) -> None:
        self._objects = objects

    @classmethod
    def of_sources(cls, work: Path) -> Builder:
        work.mkdir()
        return cls({each.name: each for each in compile_folder(SOURCES, work, extra=_FLAGS)})

    def built(self, mutant: Mutant, work: Path) -> bytes:
        """The mutant's file, SBPF v0.

        Raises:
            BuildError: it does not compile or link.
        """
        changed, folder = work / "changed", work / "objects"
        for each in (changed, folder):
            each.mkdir()
        for source in SOURCES.iterdir():
            if source.suffix == ".h" or mutant.file.endswith(".h") or source.name == mutant.file:
                (changed / source.name).write_text(source.read_text("utf-8"), "utf-8")
        (changed / mutant.file).write_text(mutant.text, "utf-8")
        new = {each.name: each for each in compile_folder(changed, folder, extra=_FLAGS)}
        objects = self._objects | new
        return write(link([objects[name] for name in sorted(objects)], Version.V0))


class Hunt:
    """Plays the cases on mutants, the killers of before first."""

    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self._cases: list[Case] = [*CALLED, *CASES]

    def fate(self, mutant: Mutant) -> Fate:
        with TemporaryDirectory(prefix="hypernode-mutant-") as work:
            try:
                program = self._builder.built(mutant, Path(work))
            except BuildError:
                return Fate(mutant, UNBUILT)
        world = World(None)
        try:
            world.load(program)
        except BaseException as error:
            # LiteSVM panics at what it cannot load: an exception that is none of `Exception`.
            if type(error).__name__ != "PanicException":
                raise
            return Fate(mutant, UNBUILT)
        load_samples(world)
        return Fate(mutant, self._killer(Stage(world)))

    def _killer(self, stage: Stage) -> str:
        for at, case in enumerate(self._cases):
            if _goes_otherwise(stage, case):
                self._cases.insert(0, self._cases.pop(at))
                return case.id
        return LIVES


def _goes_otherwise(stage: Stage, case: Case) -> bool:
    try:
        return stage.told(case) is not None
    except AssertionError:
        # What the mutant wrote is no account or event of the program.
        return True


_hunt: Hunt | None = None


def _begin(objects: dict[str, Object]) -> None:
    """Make a worker's hunt."""
    global _hunt  # noqa: PLW0603 - what a worker process keeps between its tasks
    _hunt = Hunt(Builder(objects))


def _fate(mutant: Mutant) -> Fate:
    assert _hunt is not None
    return _hunt.fate(mutant)


def sources(files: Sequence[str] = ()) -> dict[str, str]:
    """The sources to be mutated: all, or those named."""
    return {
        path.name: path.read_text("utf-8")
        for path in sorted(SOURCES.iterdir())
        if path.suffix in {".c", ".h"}
        and path.name not in LEFT_OUT
        and (not files or path.name in files)
    }


def hunt(texts: dict[str, str], jobs: int) -> Iterator[Fate]:
    """The fate of every mutant of those sources, as they are known."""
    with TemporaryDirectory(prefix="hypernode-mutants-") as work:
        builder = Builder.of_sources(Path(work) / "objects")
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(jobs, _begin, (builder._objects,)) as pool:
        yield from pool.imap_unordered(_fate, all_mutants(texts), chunksize=4)


class Verdict(NamedTuple):
    fates: list[Fate]
    #: Lives, and no reason is given.
    living: list[Mutant]
    #: A reason is given, but it died or is not made any more: (file, line, mistake).
    stale: list[tuple[str, int, str]]


def judged(texts: dict[str, str], fates: Iterable[Fate]) -> Verdict:
    said = {one for file, text in texts.items() for one in excuses(file, text)}
    known = list(fates)
    lived = {(m.file, m.line, m.mistake): m for m, by in known if by == LIVES}
    living = [lived[at] for at in sorted(lived) if at not in said]
    return Verdict(known, living, sorted(said - set(lived)))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.program_mutants", description=__doc__)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("files", nargs="*", help="names of sources, such as roots.c")
    chosen = parser.parse_args(arguments)
    texts = sources(chosen.files)
    start = time.monotonic()
    verdict = judged(texts, hunt(texts, chosen.jobs))
    for mutant in verdict.living:
        print("lives:", mutant.name)
    for file, line, mistake in verdict.stale:
        print(f"not equal any more: {file}:{line}: {mistake}")
    told = Counter(by if by in {LIVES, UNBUILT} else "killed" for _, by in verdict.fates)
    print(f"{len(verdict.fates)} mutants in {time.monotonic() - start:.0f} s:", dict(told))
    return int(bool(verdict.living or verdict.stale))


if __name__ == "__main__":
    sys.exit(main())
