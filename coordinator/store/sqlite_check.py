"""What could be wrong with the rows, looked for one by one: an audit of the whole file.

In:   a reader. Out: sentences, one for each kind of fault and its first examples; none if all is
well. It reads everything: for a start after a crash, for `check` on demand, for tests.
Rules that are checked:
  1. SQLite finds the file intact, and every reference leads to a row.
  2. An account's debits and credits are the sums of its transfers; all balances add up to zero.
  3. An account `hold:…` holds the budgets of its wallet's open jobs, and nothing else.
  4. The hash chain, computed again from the transfers, is the one that was stored; what is kept
     beside each journal of jobs' transfers is the sum of it.
  5. What was booked of the chain (deposits, claims, exits, withdrawals) is the sum of its
     transfers, and the newest epoch promises what its transfers earned.
  6. The sums kept beside the rows (jobs by state, open jobs, receipts, blobs) are right.
Not covered: a file that was rewritten as a whole, chain included (see `chain`).
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

from coordinator.ledger import hold_of
from coordinator.store.chain import FIRST_LINK, link_of
from coordinator.store.journal import pack_moves, sums_of
from coordinator.store.rows import ALL_ATTEMPTS, FENCES_MAX, FINAL, OUTPUT_INDEXES_MAX, Row
from coordinator.store.sqlite_journal import AccountCodes, Run, posted_in
from coordinator.store.sqlite_reader import SqliteReader
from coordinator.store.values import Transfer

#: Examples named of one fault.
EXAMPLES_MAX: Final = 3

_FINAL = ", ".join(f"'{state.value}'" for state in sorted(FINAL))
_HELD: Final = (
    "SELECT w.address, sum(j.budget) FROM jobs j CROSS JOIN wallets w ON w.id = j.submitter"
    " WHERE j.is_open = 1 GROUP BY j.submitter"
)
_HOLDS: Final = (
    "SELECT code, credits - debits FROM accounts WHERE code >= 'hold:' AND code < 'hold;'"
)
#: Which blobs open jobs name as inputs, and how many jobs of which wallet do.
_NAMES: Final = """
    SELECT j.id AS job, j.submitter, json_extract(e.value, '$.sha256') AS sha256
    FROM (SELECT j.id, j.submitter, CAST(ifnull(j.spec, s.spec) AS TEXT) AS spec
    FROM jobs j LEFT JOIN specs s ON s.job = j.id WHERE j.is_open = 1) j
    CROSS JOIN json_each(CASE WHEN json_valid(j.spec) THEN j.spec END, '$.inputs') e"""
_NAMED: Final = f"""
    SELECT sha256, submitter, count(DISTINCT job) AS jobs FROM ({_NAMES})
    WHERE sha256 NOT NULL GROUP BY sha256, submitter"""

#: A sentence, and the statement that gives a row (of any columns) for each place where it is true.
_FAULTS: Final = {
    "the balances do not add up to zero": """
        SELECT sum(credits - debits) AS total FROM accounts HAVING total != 0""",
    "a job's state and its being open disagree": f"""
        SELECT id, state FROM jobs WHERE is_open != (state NOT IN ({_FINAL}))""",
    "a job has no specification": """
        SELECT id FROM jobs WHERE spec IS NULL AND id NOT IN (SELECT job FROM specs)""",
    "the count of a state is wrong": """
        SELECT state, sum(jobs) AS difference FROM
        (SELECT state, jobs FROM job_counts
        UNION ALL SELECT state, -count(*) FROM jobs GROUP BY state)
        GROUP BY state HAVING difference != 0""",
    "a wallet's count of open jobs is wrong": """
        SELECT w.id, w.open_jobs, ifnull(j.jobs, 0) AS found FROM wallets w LEFT JOIN
        (SELECT submitter, count(*) AS jobs FROM jobs WHERE is_open = 1 GROUP BY submitter) j
        ON j.submitter = w.id WHERE w.open_jobs != found""",
    "a wallet's count of receipts is wrong": """
        SELECT w.id, w.receipts, ifnull(r.receipts, 0) AS found FROM wallets w LEFT JOIN
        (SELECT wallet, count(*) AS receipts FROM receipts GROUP BY wallet) r ON r.wallet = w.id
        WHERE w.receipts != found""",
    "a wallet's bytes of blobs are wrong": """
        SELECT w.id, w.blob_bytes, ifnull(b.size, 0) AS found FROM wallets w LEFT JOIN
        (SELECT wallet, sum(size) AS size FROM blobs GROUP BY wallet) b ON b.wallet = w.id
        WHERE w.blob_bytes != found""",
    "a blob's count of the open jobs that name it is wrong": f"""
        SELECT hex(b.sha256), b.wallet, b.open_jobs, ifnull(n.jobs, 0) AS found
        FROM blobs b LEFT JOIN ({_NAMED}) n
        ON n.sha256 = lower(hex(b.sha256)) AND n.submitter = b.wallet
        WHERE b.open_jobs != found""",
    "a node's count of its attempts is wrong": f"""
        SELECT a.node, a.done, a.failed, ifnull(w.done, 0) AS has_done, ifnull(w.failed, 0) AS has
        FROM (SELECT node, sum(state = 'accepted') AS done,
        sum(state IN ('failed', 'rejected', 'lost')) AS failed
        FROM ({ALL_ATTEMPTS}) GROUP BY node) a
        LEFT JOIN node_work w ON w.node = a.node WHERE a.done != has_done OR a.failed != has""",
    "an attempt is of no job or of no node": f"""
        SELECT id FROM ({ALL_ATTEMPTS}) WHERE id / {FENCES_MAX} NOT IN (SELECT id FROM jobs)
        OR node NOT IN (SELECT id FROM nodes)""",
    "an output is of no attempt": f"""
        WITH a AS ({ALL_ATTEMPTS})
        SELECT id FROM outputs WHERE id / {OUTPUT_INDEXES_MAX} NOT IN (SELECT id FROM a)
        UNION ALL SELECT id FROM results WHERE id NOT IN (SELECT id FROM a)""",
    "a receipt is of no job or of no batch": """
        SELECT job FROM receipts WHERE job NOT IN (SELECT id FROM jobs)
        OR batch NOT IN (SELECT batch FROM receipt_roots)""",
}
_FAULTS_OF_SETTLEMENT: Final = {
    f"{what} the chain are not the sum of their transfers": f"""
        SELECT (SELECT ifnull(sum({column}), 0) FROM {table}) AS booked,
        (SELECT ifnull(sum(amount), 0) FROM transfers WHERE kind = '{kind}') AS moved
        WHERE booked != moved"""
    for what, column, table, kind in (
        ("deposits on", "deposited", "deposits", "deposit"),
        ("exits on", "exited", "deposits", "exit"),
        ("claims on", "claimed", "claims", "claim"),
        ("withdrawals to", "amount", "withdrawals", "withdraw"),
        ("withdrawals from the reserve on", "reserve_withdrawn", "settlement", "reserve"),
    )
} | {
    "the newest epoch does not promise what was earned": """
        SELECT e.number, e.total, (SELECT ifnull(sum(t.amount), 0) FROM transfers t
        CROSS JOIN accounts a ON a.id = t.credit WHERE t.id <= e.last_transfer
        AND a.code >= 'earned:' AND a.code < 'earned;') AS earned FROM epochs e
        WHERE e.number = (SELECT max(number) FROM epochs) AND e.total != earned""",
}
_BATCHES_IN_ORDER: Final = (
    "SELECT number, first_transfer, transfers, journal, previous, link, moves"
    " FROM ledger_batches ORDER BY number"
)


class Check(SqliteReader):
    """A reader that looks at everything, in one snapshot."""

    def faults(self) -> list[str]:
        """What is wrong.

        Raises:
            StoreError: the file cannot even be read.
        """
        with self._snapshot():
            found = [*self._engine_faults()]
            for sentence, sql in (_FAULTS | _FAULTS_OF_SETTLEMENT).items():
                examples = [str(tuple(row)) for row in islice(self._rows(sql), EXAMPLES_MAX)]
                if examples:
                    found.append(f"{sentence}: {', '.join(examples)}")
            found += self._hold_faults()
            found += self._book_faults()
        return found

    def _engine_faults(self) -> Iterator[str]:
        for (answer,) in self._rows("PRAGMA integrity_check"):
            if answer != "ok":
                yield f"SQLite: {answer}"
        for row in islice(self._rows("PRAGMA foreign_key_check"), EXAMPLES_MAX):
            yield f"a row of {row[0]} refers to no row of {row[2]}"

    def _hold_faults(self) -> Iterator[str]:
        held = {hold_of(wallet): amount for wallet, amount in self._rows(_HELD)}
        stand = {row[0]: row[1] for row in self._rows(_HOLDS)}
        wrong = (
            f"({code!r}, {stand.get(code, 0)}, {held.get(code, 0)})"
            for code in sorted({*held, *stand})
            if stand.get(code, 0) != held.get(code, 0)
        )
        if examples := list(islice(wrong, EXAMPLES_MAX)):
            yield f"the holds do not add up to their account's balance: {', '.join(examples)}"

    def _book_faults(self) -> Iterator[str]:
        """The first place where the chain breaks, and accounts that are not the sum of it all."""
        sums: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
        code_of = AccountCodes(self._rows)
        is_whole, last, end = True, FIRST_LINK, 1
        for expected, row in enumerate(self._rows(_BATCHES_IN_ORDER), 1):
            posted = _posted(self._rows, row, code_of)
            if is_whole and (fault := _fault_of_batch(row, posted, expected, last, end)):
                # All later links follow from it.
                is_whole = False
                yield fault
            last, end = row[5], row[1] + row[2]
            for each in posted or ():
                sums[0][each.debit] += each.amount
                sums[1][each.credit] += each.amount
        if any(self._rows("SELECT 1 FROM transfers WHERE id >= ? LIMIT 1", (end,))):
            yield "there are transfers after the last ledger batch"
        for side, found in zip(("debits", "credits"), sums, strict=True):
            wrong = (
                f"({code!r}, {has}, {found[code]})"
                for code, has in self._rows(f"SELECT code, {side} FROM accounts")
                if has != found[code]
            )
            if examples := list(islice(wrong, EXAMPLES_MAX)):
                listed = ", ".join(examples)
                yield f"an account's {side} are not the sum of its transfers: {listed}"


def _posted(run: Run, row: Row, code_of: AccountCodes) -> Sequence[Transfer] | None:
    """The transfers of a batch; None if its journal cannot be read."""
    try:
        return list(posted_in(run, row[:4], code_of))
    except (KeyError, struct.error):
        return None


def _fault_of_batch(
    row: Row, posted: Sequence[Transfer] | None, expected: int, last: bytes, end: int
) -> str:
    """What is wrong with a ledger batch; "" if nothing is.

    Args:
        row: Of `_BATCHES_IN_ORDER`.
        posted: Its transfers, if they can be read.
        expected: Its number, if none is missing.
        last: The link before it.
        end: The first number of a transfer behind those of the batch before.
    """
    number, first, count, journal, previous, link, moves = row
    if number != expected:
        return f"ledger batch {expected} is missing"
    if posted is None:
        return f"the journal of ledger batch {number} cannot be read"
    if previous != last or link_of(previous, number, posted) != link:
        return f"the hash chain breaks at ledger batch {number}"
    if first != end or len(posted) != count or moves != pack_moves(sums_of(journal)):
        return f"what is said of the journal of ledger batch {number} is wrong"
    return ""
