"""kill -9 with everything switched on: TLS, backups each second, commands, blobs, cancellations.

`python -m tests.kill_runs --kills 50 [--seed N] [--runs N]` plays `tests.test_kill` with more: the
coordinator serves TLS and backs itself up every second while it is killed; a part of the jobs are
commands, paid by time, and searches with results that travel as blobs; two agents with eight slots
each upload them; withheld money is released each second.
In the end, besides what `test_kill` audits: the house's own whole audit is clean, the newest backup
passes it as well and holds nothing that the database has lost, and every blob of an accepted result
has the bytes that its hash says.
Not covered: agents with compiled kernels and a real sandbox: starting takes longer than they live.
"""

from __future__ import annotations

import argparse
import random  # noqa: TID251 - seeded generators
import secrets
import sys
import tempfile
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

from coordinator.audit import audit
from coordinator.backup import read_manifest
from coordinator.restore import restore_backup
from coordinator.store.sqlite import open_sqlite
from coordinator.store.values import JobState
from tests.authority import Authority
from tests.test_kill import House, Wanted, a_search, live

#: Searches whose hits are more than rides in a message: about half of these are hits of 8 bytes.
BLOB_NONCES: Final = 3_000


class FullHouse(House):
    """The programs with everything on."""

    scheme = "https"

    def __init__(self, seed: int, folder: Path, kills: int) -> None:
        self._backups = folder / "backups"
        authority = Authority(folder)
        self.ca = authority.ca
        files = authority.issue("127.0.0.1")
        self._chain, self._key_file = files.cert, files.key
        super().__init__(seed, folder, kills)

    def settings(self) -> dict[str, str]:
        return {
            "HYPERNODE_TLS_CERT": str(self._chain),
            "HYPERNODE_TLS_KEY": str(self._key_file),
            "HYPERNODE_BACKUP_FOLDER": str(self._backups),
            "HYPERNODE_BACKUP_EVERY_S": "1",
            "HYPERNODE_BACKUP_KEEP": "3",
            "HYPERNODE_BACKUP_BLOBS": "true",
        }

    def wanted(self, rng: random.Random, count: int) -> Wanted:
        match rng.choice(("search", "search", "search", "command", "blob")):
            case "command":
                return Wanted("command", [{"command": "true"} for _ in range(count)], "0.05")
            case "blob" if count == 1:
                search = a_search(rng, bits=1) | {"count": BLOB_NONCES}
                return Wanted("hashsearch", [search], "0.2")
        return super().wanted(rng, count)

    def audit(self) -> None:
        super().audit()
        store = open_sqlite(self.database)
        try:
            faults = audit(store)
            assert not faults, f"the whole audit: {faults}"
            reader = store.reader()
            for job in reader.all_jobs(1_000_000):
                if job.state is JobState.COMPLETED:
                    self.seen[f"{job.kind} completed"] += 1
                    for output in reader.outputs(job.id, job.fence):
                        if output.sha256:
                            self._check_blob(output.sha256, output.size)
            now = reader.jobs_by_state()
        finally:
            store.close()
        self._check_backups(sum(now.values()))

    def _check_blob(self, digest: bytes, size: int) -> None:
        name = digest.hex()
        data = (self.folder / "blobs" / name[:2] / name).read_bytes()
        assert len(data) == size, f"a blob is whole: {name}"
        assert sha256(data).digest() == digest, f"a blob is whole: {name}"
        self.seen["blobs"] += 1

    def _check_backups(self, jobs: int) -> None:
        made = sorted(self._backups.glob("market-*"))
        assert 1 <= len(made) <= 4, f"three backups are kept, and one may be new: {made}"
        for each in made:
            assert sum(read_manifest(each).jobs.values()) <= jobs, "a backup is of the past"
        newest = restore_backup(made[-1], self.database, self.folder / "blobs", only_look=True)
        self.seen["jobs in the newest backup"] = sum(newest.manifest.jobs.values())
        self.seen["backups"] = self.coordinator.log.read_text().count("backup made")


def main(arguments: Sequence[str]) -> int:
    """Play; 0 if every promise was kept."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.kill_runs", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--kills", type=int, default=50, help="in each history (50)")
    parser.add_argument("--runs", type=int, default=1, help="histories (1)")
    parser.add_argument("--seed", type=int, help="of the first one (by chance)")
    options = parser.parse_args(arguments)
    first = secrets.randbits(32) if options.seed is None else options.seed
    for seed in range(first, first + options.runs):
        with tempfile.TemporaryDirectory() as folder:
            seen = live(seed, Path(folder), options.kills, FullHouse).seen
        print(f"seed {seed}: every promise kept; {dict(sorted(seen.items()))}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
