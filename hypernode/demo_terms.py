"""What the demo's parts agree on: how much money there is, and what became of the claim.

Nothing here needs the extra `chain`.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

import msgspec

#: What the submitter deposits, and the treasury for test jobs; HYPER.
CREDIT: Final = "10"
TEST_PAY: Final = "1"


class Claim(msgspec.Struct):
    """What was claimed; HYPER of the wallet's own token account."""

    wallet: str = ""
    before: str = ""
    after: str = ""
    #: Of the transaction, base58.
    signature: str = ""
    #: Why there was none.
    skipped: str = ""


def why_no_chain() -> str:
    """Why there is no chain here; `""`: there is."""
    missing = [name for name in ("anchorpy", "solana", "solders") if find_spec(name) is None]
    return f"{' and '.join(missing)} not installed: hypernode[chain]" if missing else ""
