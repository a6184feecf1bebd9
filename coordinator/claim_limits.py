"""Bounds of claims that are asked for over HTTP, each with its reason; the rest is in `limits`."""

from __future__ import annotations

from typing import Final

#: Questions about claims a minute from one network: each asks the chain's nodes three to six times.
CLAIM_READS_PER_MINUTE: Final = 20
#: Claims that are built at once: nodes that anybody may use allow some forty questions in 10 s.
CLAIMS_BUILT_AT_ONCE_MAX: Final = 4
#: Time for one: three slow answers of a node.
CLAIM_BUILD_S: Final = 10.0
#: Offers of claims that wait for a signature: 2 KB each; one network makes 20 while one is good.
CLAIM_OFFERS_MAX: Final = 4_096
#: Sponsored claims that are out at once: for each a node is asked every second.
SPONSORED_OUT_MAX: Final = 32
